//! Control, where agents wait for work, and Campaigns, where people create, watch and cancel it, over gRPC.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokwatt_domain::{
    campaign::{Campaign, JobRef, Offer},
    ids::DeviceId,
};
use tokwatt_proto::{
    control::{self, CAMPAIGN, CAMPAIGN_FILE, CAMPAIGNS, CONTROL_BYTES_MAX, OFFER},
    v1::{self, campaigns_server::CampaignsServer, control_server::ControlServer, report},
};
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

use super::{
    Dispatch,
    session::{self, Session, unreadable},
    status,
};
use crate::peer::Peer;

/// Where agents wait for work.
#[derive(Clone)]
pub struct Control(Arc<Dispatch>);

/// Where people ask for it.
#[derive(Clone)]
pub struct Campaigns(Arc<Dispatch>);

/// A device that is there.
struct Attendance {
    device: DeviceId,
    agent_version: String,
    offer: Offer,
    in_hand: Option<JobRef>,
}

impl Dispatch {
    /// The service for agents.
    pub fn control(self: &Arc<Self>) -> ControlServer<Control> {
        ControlServer::new(Control(Arc::clone(self)))
            .max_decoding_message_size(CONTROL_BYTES_MAX)
            .max_encoding_message_size(CONTROL_BYTES_MAX)
    }

    /// The service for people.
    pub fn campaigns(self: &Arc<Self>) -> CampaignsServer<Campaigns> {
        CampaignsServer::new(Campaigns(Arc::clone(self)))
            .max_decoding_message_size(CONTROL_BYTES_MAX)
            .max_encoding_message_size(VIEW_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl v1::control_server::Control for Control {
    type AttendStream = ReceiverStream<Result<v1::Order, Status>>;

    async fn attend(
        &self,
        request: Request<Streaming<v1::Report>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        let peer = Peer::of(&request)?;
        let mut reports = request.into_inner();
        let Attendance {
            device,
            agent_version,
            offer,
            in_hand,
        } = attendance(reports.message().await?)?;
        peer.speaks_for(&device)?;
        let dispatch = Arc::clone(&self.0);
        let noted = dispatch
            .store
            .put_offer(device.clone(), agent_version, offer);
        noted.await.map_err(|error| status(&error))?;
        let span = tracing::info_span!("attendance", %device);
        let (seat, dismissed) = span.in_scope(|| dispatch.roster.sit(&device));
        let (orders, answers) = mpsc::channel(ORDERS_MAX);
        let welcomed = orders.send(Ok(session::welcome())).await;
        welcomed.map_err(|_| Status::internal("there is nobody to welcome"))?;
        let session = Session {
            device,
            seat: Arc::new(seat),
            orders,
            stopping: dispatch.stopping.clone(),
            dispatch: Arc::clone(&dispatch),
        };
        let running = session.run(reports, dismissed, in_hand);
        dispatch.tasks.spawn(running.instrument(span));
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

#[tonic::async_trait]
impl v1::campaigns_server::Campaigns for Campaigns {
    type WatchStream = ReceiverStream<Result<v1::Document, Status>>;

    async fn create(
        &self,
        request: Request<v1::CreateCampaignRequest>,
    ) -> Result<Response<v1::Document>, Status> {
        Peer::of(&request)?.may_operate()?;
        let campaign = request.into_inner().campaign;
        let campaign: Campaign =
            control::read(CAMPAIGN_FILE, campaign, "campaign").map_err(unreadable)?;
        let view = self.0.create(campaign).await?;
        Ok(Response::new(control::write(CAMPAIGN, &view)))
    }

    async fn list(
        &self,
        request: Request<v1::ListCampaignsRequest>,
    ) -> Result<Response<v1::Document>, Status> {
        Peer::of(&request)?.may_ask()?;
        let list = self.0.list().await?;
        Ok(Response::new(control::write(CAMPAIGNS, &list)))
    }

    async fn show(
        &self,
        request: Request<v1::ShowCampaignRequest>,
    ) -> Result<Response<v1::Document>, Status> {
        Peer::of(&request)?.may_ask()?;
        let view = self.0.show(&request.into_inner().name).await?;
        Ok(Response::new(control::write(CAMPAIGN, &view)))
    }

    async fn watch(
        &self,
        request: Request<v1::ShowCampaignRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Peer::of(&request)?.may_ask()?;
        let documents = self.0.follow(&request.into_inner().name).await?;
        Ok(Response::new(documents))
    }

    async fn cancel(
        &self,
        request: Request<v1::CancelCampaignRequest>,
    ) -> Result<Response<v1::Document>, Status> {
        Peer::of(&request)?.may_operate()?;
        let view = self.0.cancel(&request.into_inner().name).await?;
        Ok(Response::new(control::write(CAMPAIGN, &view)))
    }
}

fn attendance(first: Option<v1::Report>) -> Result<Attendance, Status> {
    let Some(report::Kind::Attendance(attendance)) = first.and_then(|report| report.kind) else {
        return Err(Status::failed_precondition(
            "the first message must be attendance",
        ));
    };
    let device = DeviceId::parse(&attendance.device)
        .map_err(|error| Status::invalid_argument(format!("`attendance.device`: {error}")))?;
    let in_hand = attendance
        .in_hand
        .map(|job| control::job_ref(Some(job), "attendance.in_hand"));
    Ok(Attendance {
        device,
        agent_version: attendance.agent_version,
        offer: control::read(OFFER, attendance.offer, "attendance.offer").map_err(unreadable)?,
        in_hand: in_hand.transpose().map_err(unreadable)?,
    })
}

/// An assignment, a cancellation and a settlement at most wait for an agent that reads slowly; a few more do no harm.
const ORDERS_MAX: usize = 8;

/// A campaign of thousands of devices.
const VIEW_BYTES_MAX: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use tokio_util::{sync::CancellationToken, task::TaskTracker};
    use tokwatt_domain::time::WallTime;
    use tonic::Code;
    use v1::campaigns_server::Campaigns as _;

    use super::*;
    use crate::{
        clock::SystemClock,
        peer::{Certified, Role},
        store::Store,
    };

    fn from<T>(role: Role, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.extensions_mut().insert(Peer::Certified(Certified {
            role,
            name: "orin-1".to_owned(),
            serial: vec![1],
            not_after: WallTime(0),
        }));
        request
    }

    #[tokio::test]
    async fn a_viewer_watches_and_an_operator_creates_and_cancels() {
        let folder = TempDir::new().unwrap();
        let dispatch = Dispatch::new(
            Arc::new(Store::open(folder.path()).unwrap()),
            Arc::new(SystemClock),
            Arc::default(),
            TaskTracker::new(),
            CancellationToken::new(),
        );
        let campaigns = Campaigns(dispatch);
        for (role, may_ask, may_operate) in [
            (Role::Device, false, false),
            (Role::Viewer, true, false),
            (Role::Operator, true, true),
        ] {
            let name = "c".to_owned();
            let show = v1::ShowCampaignRequest { name: name.clone() };
            let cancel = v1::CancelCampaignRequest { name };
            let asked = [
                code(
                    campaigns
                        .list(from(role, v1::ListCampaignsRequest {}))
                        .await,
                ),
                code(campaigns.show(from(role, show.clone())).await),
                code(campaigns.watch(from(role, show)).await),
            ];
            let operated = [
                code(
                    campaigns
                        .create(from(role, v1::CreateCampaignRequest::default()))
                        .await,
                ),
                code(campaigns.cancel(from(role, cancel)).await),
            ];
            let is_refused = |code: &Code| *code == Code::PermissionDenied;
            assert!(
                asked.iter().all(|code| is_refused(code) != may_ask),
                "{role}: {asked:?}"
            );
            assert!(
                operated.iter().all(|code| is_refused(code) != may_operate),
                "{role}: {operated:?}"
            );
        }
    }

    fn code<T>(answer: Result<Response<T>, Status>) -> Code {
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    }
}
