//! Who is let in with a certificate, and for how long.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, Semaphore},
    time::MissedTickBehavior,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokwatt_proto::identity::CertificateFacts;
use tonic::Status;

use super::{
    ending::Ending,
    seats::{Seat, Seats},
};
use crate::{
    clock::Clock,
    enrol::standing,
    peer::{Certified, Peer},
    store::{CertificateRow, Store, StoreError},
    vitals::{NotLetIn, Vitals},
};

/// Looks certificates up when somebody comes, and again for as long as they stay.
pub(super) struct Reception {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    vitals: Arc<Vitals>,
    tasks: TaskTracker,
    seats: Arc<Seats<Guest>>,
    look_ups: Semaphore,
}

/// Somebody with a certificate of ours.
#[derive(Clone)]
pub(super) struct Guest {
    certified: Certified,
    /// It had ended when they came: they may stay to renew it.
    came_expired: bool,
}

impl Reception {
    pub(super) fn new(
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        vitals: Arc<Vitals>,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            clock,
            vitals,
            tasks,
            seats: Seats::new(CONNECTIONS_OF_A_NAME_MAX, is_same_name),
            look_ups: Semaphore::new(LOOK_UPS_MAX),
        })
    }

    /// Somebody who proved to have the key of a certificate. Their calls are answered by what it is good for; if it is good for nothing, each
    /// of them with the reason, since a handshake has no words for it.
    pub(super) async fn receive(&self, facts: CertificateFacts) -> (Peer, Seat<Guest>) {
        let certified = Certified {
            role: facts.subject.role,
            name: facts.subject.name,
            serial: facts.serial,
            not_after: facts.not_after,
        };
        // Seated before it is looked up, so that no revocation falls between the two.
        let seat = self.seats.take(Guest {
            certified: certified.clone(),
            came_expired: certified.not_after <= self.clock.wall(),
        });
        let peer = match self.look_up(vec![certified.serial.clone()]).await {
            Ok(rows) => self.judge(&certified, rows.first().and_then(Option::as_ref)),
            Err(error) => Err(Status::unavailable(error.to_string())),
        };
        match peer {
            Ok(peer) => (peer, seat),
            Err(status) => {
                let who = Peer::Certified(certified.clone());
                self.vitals
                    .strangers
                    .refused(NotLetIn::Certificate, &who, &status.message());
                seat.ending().end(status);
                (who, seat)
            }
        }
    }

    /// Ends the stay of those whose certificate is not good any more: at once when told, and in any case after a while.
    pub(super) async fn watch(self: Arc<Self>, revoked: Arc<Notify>, stopping: CancellationToken) {
        let mut tick = tokio::time::interval(REVIEW);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = revoked.notified() => {}
                _ = tick.tick() => self.vitals.strangers.sum_up(),
            }
            if let Err(error) = self.review().await {
                tracing::error!(%error, "cannot look up whose certificates are still good");
            }
        }
    }

    async fn review(&self) -> Result<(), StoreError> {
        let guests = self.seats.guests();
        let serials = guests
            .iter()
            .map(|(guest, _)| guest.certified.serial.clone());
        let rows = self.look_up(serials.collect()).await?;
        for ((guest, ending), row) in guests.iter().zip(&rows) {
            self.review_one(guest, ending, row.as_ref());
        }
        Ok(())
    }

    fn review_one(&self, guest: &Guest, ending: &Ending, row: Option<&CertificateRow>) {
        let certified = &guest.certified;
        let reason = match standing(certified.clone(), row, self.clock.wall()) {
            Ok(Peer::Expired(_)) if !guest.came_expired => {
                "the certificate has expired: renew it and connect again".to_owned()
            }
            Ok(_) => return,
            Err(reason) => reason,
        };
        if ending.status().is_none() {
            tracing::warn!(role = %certified.role, name = certified.name, reason, "connection ended");
            ending.end(Status::permission_denied(reason));
        }
    }

    fn judge(&self, certified: &Certified, row: Option<&CertificateRow>) -> Result<Peer, Status> {
        let now = self.clock.wall();
        let peer = standing(certified.clone(), row, now).map_err(Status::permission_denied)?;
        if row.is_some_and(|row| !row.is_used) {
            self.note_use(certified.serial.clone(), now.0);
        }
        Ok(peer)
    }

    /// Apart, since a stalled disk must not keep anybody out.
    fn note_use(&self, serial: Vec<u8>, now_us: i64) {
        let store = Arc::clone(&self.store);
        self.tasks.spawn(async move {
            if let Err(error) = store.put_used(serial, now_us).await {
                tracing::warn!(%error, "cannot note that a certificate is in use");
            }
        });
    }

    async fn look_up(
        &self,
        serials: Vec<Vec<u8>>,
    ) -> Result<Vec<Option<CertificateRow>>, StoreError> {
        // Closed by nobody.
        let _turn = self.look_ups.acquire().await;
        self.store.certificates(serials).await
    }
}

fn is_same_name(one: &Guest, other: &Guest) -> bool {
    let [one, other] = [one, other].map(|guest| (guest.certified.role, &guest.certified.name));
    one == other
}

/// Control, delivery, renewal, and as much again from before the network went away without a word.
const CONNECTIONS_OF_A_NAME_MAX: usize = 16;

/// When a fleet comes back all at once: each look-up has a thread and a connection to the database.
const LOOK_UPS_MAX: usize = 4;

/// Half of what a revocation may take in the worst case.
const REVIEW: Duration = Duration::from_secs(30);
