//! The first certificate: for a token that is good once.

use std::sync::Arc;

use tokio::sync::{Notify, Semaphore};
use tokwatt_domain::time::WallTime;
use tokwatt_proto::{
    identity::{Role, Subject, Token},
    v1,
};
use tonic::{Request, Response, Status};

use super::{Identity, identity::Issued, request::public_key, status};
use crate::{
    clock::Clock,
    peer::Peer,
    store::{NotRedeemed, Redemption, Store, TokenRow},
    vitals::{NotLetIn, Vitals},
};

/// The gRPC service Enrol.
pub struct Enrolment {
    /// Where tokens and certificates are.
    pub store: Arc<Store>,
    /// What issues them.
    pub identity: Arc<Identity>,
    /// By which certificates are dated.
    pub clock: Arc<dyn Clock>,
    /// Told when certificates are not good any more.
    pub revoked: Arc<Notify>,
    /// Counts who is sent away.
    pub vitals: Arc<Vitals>,
    /// Where certificates are good.
    pub port: u16,
    /// How many are looked at at the same time; the others wait.
    pub turns: Semaphore,
}

#[tonic::async_trait]
impl v1::enrol_server::Enrol for Enrolment {
    async fn enrol(
        &self,
        request: Request<v1::EnrolRequest>,
    ) -> Result<Response<v1::Issued>, Status> {
        let peer = Peer::of(&request)?;
        let request = request.into_inner();
        // Never closed. Strangers share a few readers of the database, however many they are.
        let _turn = self.turns.acquire().await;
        let outcome = self.issue(&request).await;
        match outcome {
            Ok(issued) => {
                tracing::info!(
                    subject = %issued.certificate.subject,
                    token = request.token,
                    from = %peer,
                    "enrolled"
                );
                let now = self.clock.wall();
                Ok(Response::new(issued.answer(&self.identity, self.port, now)))
            }
            Err(status) => {
                let (name, token) = (shown(&request.name), shown(&request.token));
                let who = format!("{peer} as {name} with token {token}");
                self.vitals
                    .strangers
                    .refused(NotLetIn::Token, &who, &status.message());
                Err(status)
            }
        }
    }
}

impl Enrolment {
    async fn issue(&self, request: &v1::EnrolRequest) -> Result<Issued, Status> {
        let token = self
            .store
            .token(request.token.clone())
            .await
            .map_err(|error| status(&error))?;
        let secret_sha256 = Token::secret_sha256(&request.secret);
        let token = token.filter(|token| token.secret_sha256 == secret_sha256);
        let token = token.ok_or_else(|| not_redeemed(&NotRedeemed::Unknown))?;
        let subject = subject(&token, &request.name)?;
        let key = public_key(&request.certificate_request)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let issued = self
            .identity
            .issue(subject, &key, self.clock.wall())
            .map_err(|error| Status::internal(error.to_string()))?;
        let redemption = Redemption {
            token: token.id,
            secret_sha256,
            certificate: issued.certificate.clone(),
            version: request.version.clone(),
        };
        let redeemed = self.store.redeem(redemption).await;
        let redeemed = redeemed.map_err(|error| status(&error))?;
        let replaced = redeemed.map_err(|refusal| not_redeemed(&refusal))?;
        if replaced > 0 {
            self.revoked.notify_one();
        }
        Ok(issued)
    }
}

impl Issued {
    /// As it goes over the wire.
    pub(super) fn answer(self, identity: &Identity, port: u16, now: WallTime) -> v1::Issued {
        let Subject { role, name } = self.certificate.subject;
        v1::Issued {
            chain: self.chain,
            site: identity.site().to_string(),
            role: v1::Role::from(role).into(),
            name,
            now_us: now.0,
            port: port.into(),
        }
    }
}

/// A stranger's text for the log: short, and in one line.
fn shown(text: &str) -> String {
    let beginning: String = text.chars().take(64).collect();
    format!("{beginning:?}")
}

/// Whoever asks for no name gets the token's.
fn subject(token: &TokenRow, asked: &str) -> Result<Subject, Status> {
    let role = Role::parse(&token.role)
        .ok_or_else(|| Status::internal(format!("the token is for `{}`", token.role)))?;
    let name = match (&token.name, asked) {
        (Some(name), "") => name,
        (None, "") => {
            return Err(Status::invalid_argument(
                "this token is for any name: choose one with --name",
            ));
        }
        (_, asked) => asked,
    };
    Subject::new(role, name).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn not_redeemed(refusal: &NotRedeemed) -> Status {
    match refusal {
        NotRedeemed::Exists(_) => Status::already_exists(refusal.to_string()),
        _ => Status::permission_denied(refusal.to_string()),
    }
}
