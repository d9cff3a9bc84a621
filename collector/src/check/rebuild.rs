//! Makes anew what can be made from what was received: what could not be read before, every report, every cell.

use std::sync::Arc;

use tokwatt_domain::ids::{DeviceId, Epoch, Seq};

use super::CheckError;
use crate::{
    ingest::content,
    rollup,
    store::{Content, Delivery, Place, Received, Store, StoredRecord},
    vitals::Vitals,
};

/// What was made anew.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Serialize)]
pub struct Rebuilt {
    /// Records that could not be read before, and can.
    pub readmitted: usize,
    /// Cells.
    pub cells: usize,
}

/// Takes in what this version can read and an earlier one could not, measures all runs again that have their raw samples, and
/// makes the cells anew. Stopped in the middle, it is finished by the next start of the collector, or by itself.
///
/// # Errors
/// The store could not.
pub async fn rebuild(store: &Arc<Store>, vitals: &Arc<Vitals>) -> Result<Rebuilt, CheckError> {
    let readmitted = readmit_all(store).await?;
    store.measure_again().await?;
    rollup::settle(store, vitals).await?;
    let cells = rollup::rebuild(store).await?.len();
    Ok(Rebuilt { readmitted, cells })
}

async fn readmit_all(store: &Store) -> Result<usize, CheckError> {
    let mut after = Place::default();
    let mut readmitted = 0;
    loop {
        let records = store.unread_records(after).await?;
        let Some(last) = records.last() else {
            return Ok(readmitted);
        };
        after = last.place.clone();
        for record in records {
            if let Some(delivery) = readable(record) {
                readmitted += usize::from(store.readmit(delivery).await?);
            }
        }
    }
}

/// The record as if it came now, if it can be used now.
fn readable(record: StoredRecord) -> Option<Delivery> {
    let Place { device, epoch, seq } = record.place;
    let device = DeviceId::parse(&device).ok()?;
    let content = content(&device, &record.bytes);
    if matches!(content, Content::Unusable(_)) {
        return None;
    }
    Some(Delivery {
        device,
        epoch: Epoch(u64::try_from(epoch).ok()?),
        records: vec![Received {
            seq: Seq(u64::try_from(seq).ok()?),
            bytes: record.bytes.into(),
            content,
        }],
    })
}
