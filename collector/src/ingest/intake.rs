//! Records in, by whatever way they came: what each is about, committed once for ever, and counted.

use std::sync::Arc;

use tokio::sync::Notify;
use tokwatt_domain::ids::{DeviceId, Epoch};
use tokwatt_proto::delivery::Envelope;

use super::content::content;
use crate::{
    store::{Admitted, Delivery, Received, Store, StoreError},
    vitals::{Admission, Vitals},
};

/// Takes records of one device and epoch.
#[derive(Debug)]
pub struct Intake {
    /// Whose.
    pub device: DeviceId,
    /// Of which life of its spool.
    pub epoch: Epoch,
    /// Where they go.
    pub store: Arc<Store>,
    /// Told when a run is finished.
    pub finished: Arc<Notify>,
    /// Counts.
    pub vitals: Arc<Vitals>,
}

impl Intake {
    /// Commits consecutive records of the epoch.
    ///
    /// # Errors
    /// As [`Store::admit`].
    pub async fn admit(&self, envelopes: Vec<Envelope>) -> Result<Admitted, StoreError> {
        let n_records = count(envelopes.len());
        let n_bytes = count(envelopes.iter().map(|envelope| envelope.record.len()).sum());
        let read = || self.read(envelopes);
        let admitted = self.store.admit_in_turn(read).await?;
        self.vitals.admitted(&Admission {
            n_new: admitted.stored.into(),
            n_repeated: n_records.saturating_sub(admitted.stored.into()),
            n_bytes,
            n_finished: admitted.finished.into(),
            set_aside: &admitted.set_aside,
        });
        if admitted.finished > 0 {
            self.finished.notify_one();
        }
        Ok(admitted)
    }

    fn read(&self, envelopes: Vec<Envelope>) -> Delivery {
        let records = envelopes.into_iter().map(|envelope| Received {
            seq: envelope.seq,
            content: content(&self.device, &envelope.record),
            bytes: envelope.record,
        });
        Delivery {
            device: self.device.clone(),
            epoch: self.epoch,
            records: records.collect(),
        }
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
