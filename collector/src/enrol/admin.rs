//! What an operator does: tokens, revocations, labels.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;
use tokwatt_domain::ids::{DeviceId, Name};
use tokwatt_proto::{
    identity::{Role, Subject, Token},
    v1,
};
use tonic::{Request, Response, Status};

use super::{Identity, Tokens, identity::later, status};
use crate::{
    clock::Clock,
    peer::Peer,
    store::{Labels, NewToken, Store},
};

/// The gRPC service Admin.
pub struct Admin {
    /// Where tokens, certificates and labels are.
    pub store: Arc<Store>,
    /// The collector's identity, if it has one.
    pub identity: Option<Arc<Identity>>,
    /// By which tokens are dated.
    pub clock: Arc<dyn Clock>,
    /// Told when certificates are not good any more.
    pub revoked: Arc<Notify>,
    /// Where one enrols.
    pub enrol_port: u16,
}

#[tonic::async_trait]
impl v1::admin_server::Admin for Admin {
    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::Token>, Status> {
        let peer = operator(&request)?;
        let identity = self.identity()?;
        let request = request.into_inner();
        let role = role(request.role)?;
        let name = Some(request.name).filter(|name| !name.is_empty());
        if name.is_none() && request.replace {
            return Err(Status::invalid_argument(
                "a token that may replace a certificate is for one name, or it would be good against everybody: say --device NAME with --replace",
            ));
        }
        if let Some(name) = &name {
            self.check_name(role, name, request.replace).await?;
        }
        let token = Token::generate(identity.authority().key_sha256())
            .map_err(|error| Status::internal(error.to_string()))?;
        let now = self.clock.wall();
        let expires_us = later(now, TOKEN_LIFE).0;
        let new = NewToken {
            id: token.id.clone(),
            secret_sha256: Token::secret_sha256(&token.secret),
            role,
            name,
            may_replace: request.replace,
            created_us: now.0,
            created_by: peer.to_string(),
            expires_us,
        };
        tracing::info!(token = new.id, %role, name = new.name, replace = new.may_replace, by = %peer, "token made");
        self.store
            .put_token(new)
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(v1::Token {
            token: token.to_string(),
            expires_us,
            enrol_address: self.enrol_address(identity),
        }))
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::Document>, Status> {
        operator(&request)?;
        self.identity()?;
        let rows = self.store.tokens().await.map_err(|error| status(&error))?;
        let tokens = Tokens::new(rows, self.clock.wall());
        Ok(Response::new(v1::Document {
            json: serde_json::to_vec(&tokens)
                .map_err(|error| Status::internal(error.to_string()))?,
            schema: tokens.schema,
        }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let peer = operator(&request)?;
        self.identity()?;
        let id = request.into_inner().token;
        let known = self
            .store
            .revoke_token(id.clone(), self.clock.wall().0)
            .await
            .map_err(|error| status(&error))?;
        if !known {
            return Err(Status::not_found(format!(
                "there is no token `{id}`: `tokwatt-collector token list` shows them"
            )));
        }
        tracing::info!(token = id, by = %peer, "token revoked");
        Ok(Response::new(v1::RevokeTokenResponse {}))
    }

    async fn revoke(
        &self,
        request: Request<v1::RevokeRequest>,
    ) -> Result<Response<v1::RevokeResponse>, Status> {
        let peer = operator(&request)?;
        self.identity()?;
        let request = request.into_inner();
        let subject = Subject::new(role(request.role)?, &request.name)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        if !self.has_certificate(&subject).await? {
            return Err(Status::not_found(format!(
                "{subject} never had a certificate: `tokwatt-collector devices list` shows devices by name"
            )));
        }
        let why = match request.reason.as_str() {
            "" => format!("by {peer}"),
            reason => format!("{reason} (by {peer})"),
        };
        let n = self
            .store
            .revoke(subject.clone(), why.clone(), self.clock.wall().0)
            .await
            .map_err(|error| status(&error))?;
        self.revoked.notify_one();
        tracing::warn!(%subject, n_certificates = n, why, "certificates revoked");
        Ok(Response::new(v1::RevokeResponse {
            certificates: u32::try_from(n).unwrap_or(u32::MAX),
        }))
    }

    async fn label_device(
        &self,
        request: Request<v1::LabelDeviceRequest>,
    ) -> Result<Response<v1::LabelDeviceResponse>, Status> {
        let peer = operator(&request)?;
        let request = request.into_inner();
        let invalid = |error: &dyn std::error::Error| Status::invalid_argument(error.to_string());
        let device = DeviceId::parse(&request.device).map_err(|error| invalid(&error))?;
        let set: Labels = request.set.into_iter().collect();
        let words = Iterator::chain(labels_and_values(&set), &request.remove);
        for word in words {
            Name::parse(word).map_err(|error| invalid(&error))?;
        }
        let known = self
            .store
            .label(device.clone(), set.clone(), request.remove.clone())
            .await
            .map_err(|error| status(&error))?;
        if !known {
            return Err(Status::not_found(format!(
                "there is no device `{device}`: `tokwatt-collector devices list` shows them"
            )));
        }
        tracing::info!(%device, ?set, remove = ?request.remove, by = %peer, "device labelled");
        Ok(Response::new(v1::LabelDeviceResponse {}))
    }
}

impl Admin {
    fn identity(&self) -> Result<&Identity, Status> {
        self.identity.as_deref().ok_or_else(|| {
            Status::failed_precondition(
                "this collector has no identity, so anybody on this machine may do anything, and nobody else: make one with `tokwatt-collector init`, then start the collector again",
            )
        })
    }

    async fn has_certificate(&self, subject: &Subject) -> Result<bool, Status> {
        let known = self.store.has_certificate(subject.clone()).await;
        known.map_err(|error| status(&error))
    }

    async fn check_name(&self, role: Role, name: &str, replace: bool) -> Result<(), Status> {
        let subject = Subject::new(role, name)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        if !replace && self.has_certificate(&subject).await? {
            return Err(Status::already_exists(format!(
                "{subject} has a certificate already: if it is to get another one, which revokes the earlier one, say --replace"
            )));
        }
        Ok(())
    }

    fn enrol_address(&self, identity: &Identity) -> String {
        let host = identity.addresses().first().map_or("", String::as_str);
        if host.contains(':') {
            format!("[{host}]:{}", self.enrol_port)
        } else {
            format!("{host}:{}", self.enrol_port)
        }
    }
}

fn operator<T>(request: &Request<T>) -> Result<Peer, Status> {
    let peer = Peer::of(request)?;
    peer.may_operate()?;
    Ok(peer)
}

fn role(role: i32) -> Result<Role, Status> {
    v1::Role::try_from(role)
        .unwrap_or_default()
        .try_into()
        .map_err(|error: tokwatt_proto::identity::InvalidName| {
            Status::invalid_argument(error.to_string())
        })
}

fn labels_and_values(labels: &Labels) -> impl Iterator<Item = &String> {
    labels.iter().flat_map(|(label, value)| [label, value])
}

/// Time to walk from one keyboard to another.
const TOKEN_LIFE: Duration = Duration::from_mins(15);
