//! Raw power samples of runs that were measured long ago give way to declared gaps, if that is set; all else is kept for ever.
//!
//! A record's bytes are replaced by a gap that says how many samples they held, so that the run's account still balances; the digest
//! of what was there recognises the record should it come again. Report, requests and the ends of segments stay as they are. Such a
//! run cannot be measured again, and says so.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tokwatt_domain::{
    gap::{Gap, GapCause, Part},
    ids::RunId,
    time::WallTime,
};
use tokwatt_proto::Record;

use crate::{
    clock::{Clock, SystemClock},
    store::{RawSamples, Replacement, Store, StoreError, StoredRecord},
};

/// Looks every hour until `stopping` for what has been kept for so many days.
pub async fn run(store: Arc<Store>, days: u32, stopping: CancellationToken) {
    while !stopping.is_cancelled() {
        match thin(&store, days, SystemClock.wall()).await {
            Ok(0) => {}
            Ok(runs) => tracing::info!(runs, days, "raw power samples gave way to declared gaps"),
            Err(error) => {
                tracing::error!(%error, source = ?std::error::Error::source(&error), "raw power samples are kept for longer than they need be");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = stopping.cancelled() => {}
        }
    }
}

/// Replaces what has been kept for `days`; returns of how many runs.
///
/// # Errors
/// The store could not; what was replaced by then stays so, and the rest is for the next time.
pub async fn thin(store: &Store, days: u32, now: WallTime) -> Result<usize, StoreError> {
    let before = now.0.saturating_sub(i64::from(days) * DAY_US);
    let runs = store.runs_to_thin(now, WallTime(before)).await?;
    for run in &runs {
        thin_run(store, *run, days).await?;
    }
    Ok(runs.len())
}

async fn thin_run(store: &Store, run: RunId, days: u32) -> Result<(), StoreError> {
    let records = store.stored_records_of(run).await?;
    let replacements: Vec<Replacement> = records
        .into_iter()
        .filter_map(|record| replacement(record, days))
        .collect();
    for some in replacements.chunks(REPLACED_AT_ONCE) {
        store.replace(run, some.to_vec(), RawSamples::Going).await?;
    }
    store.replace(run, Vec::new(), RawSamples::Gone).await
}

/// A gap for a record that has samples.
fn replacement(record: StoredRecord, days: u32) -> Option<Replacement> {
    let Ok(Record::Power {
        run,
        segment,
        sensor_index,
        trace,
        ..
    }) = Record::decode(&record.bytes)
    else {
        return None;
    };
    let count = u32::try_from(trace.samples.len()).ok()?;
    let gap = Gap {
        part: Part::Samples(sensor_index),
        count,
        cause: GapCause::Retention,
        note: format!("retention.raw_samples_days = {days}"),
    };
    (count > 0).then(|| Replacement {
        place: record.place,
        gap: Record::Gap { run, segment, gap }.encode(),
    })
}

/// Days are long enough that an hour is nothing.
const INTERVAL: Duration = Duration::from_secs(3600);

const DAY_US: i64 = 86_400_000_000;

/// Short transactions: deliveries go on in between.
const REPLACED_AT_ONCE: usize = 16;
