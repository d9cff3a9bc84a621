//! The next certificate: for whoever has one, with a new key.

use std::sync::Arc;

use tokwatt_proto::{identity::Subject, v1};
use tonic::{Request, Response, Status};

use super::{Identity, request::public_key, standing::no_longer, status};
use crate::{
    clock::Clock,
    peer::Peer,
    store::{NotRenewed, Store},
};

/// The gRPC service Renew.
pub struct Renewal {
    /// Where certificates are.
    pub store: Arc<Store>,
    /// What issues them.
    pub identity: Arc<Identity>,
    /// By which they are dated.
    pub clock: Arc<dyn Clock>,
    /// Where they are good.
    pub port: u16,
}

#[tonic::async_trait]
impl v1::renew_server::Renew for Renewal {
    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::Issued>, Status> {
        let peer = Peer::of(&request)?;
        let own = peer.may_renew()?;
        let key = public_key(&request.get_ref().certificate_request)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let now = self.clock.wall();
        let subject = Subject {
            role: own.role,
            name: own.name.clone(),
        };
        let issued = self
            .identity
            .issue(subject, &key, now)
            .map_err(|error| Status::internal(error.to_string()))?;
        let renewed = self
            .store
            .renew(own.serial.clone(), issued.certificate.clone())
            .await
            .map_err(|error| status(&error))?;
        renewed.map_err(|refusal| {
            let message = match refusal {
                NotRenewed::Early => {
                    let message = format!(
                        "the certificate of {} was issued not long ago, and is renewed when half of its life is over: if it seems older, the clock of that machine is ahead (`timedatectl`)",
                        issued.certificate.subject
                    );
                    return Status::failed_precondition(message);
                }
                NotRenewed::NotGood => no_longer(own, "was revoked or replaced"),
                NotRenewed::Followed => no_longer(
                    own,
                    "was renewed before, and the later one is in use: if not by this machine, then somebody copied its key",
                ),
            };
            tracing::warn!(%peer, message, "not renewed");
            Status::permission_denied(message)
        })?;
        tracing::info!(subject = %issued.certificate.subject, "certificate renewed");
        Ok(Response::new(issued.answer(&self.identity, self.port, now)))
    }
}
