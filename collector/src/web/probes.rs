//! For whoever watches: whether the collector lives, whether it is ready and what is in the way, and its figures.

use std::{sync::Arc, time::Duration};

use hyper::StatusCode;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::door::{Answer, text, with_type};
use crate::{
    store::{Store, StoreError},
    vitals::{Tally, Vitals},
};

/// What its answers are made from.
#[derive(Debug)]
pub struct Probes {
    /// Asked whether it answers.
    pub store: Arc<Store>,
    /// What was counted.
    pub vitals: Arc<Vitals>,
    /// Set when the collector takes no more deliveries.
    pub stopping: CancellationToken,
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Probe {
    Health,
    Readiness,
    Metrics,
}

impl Probe {
    pub(super) fn at(path: &str) -> Option<Self> {
        match path {
            "/healthz" => Some(Self::Health),
            "/readyz" => Some(Self::Readiness),
            "/metrics" => Some(Self::Metrics),
            _ => None,
        }
    }
}

impl Probes {
    pub(super) async fn answer(&self, probe: Probe) -> Answer {
        match probe {
            Probe::Health => text(StatusCode::OK, "alive\n"),
            Probe::Readiness => self.readiness().await,
            Probe::Metrics => self.metrics().await,
        }
    }

    async fn readiness(&self) -> Answer {
        let in_the_way = self.in_the_way().await;
        if in_the_way.is_empty() {
            return text(StatusCode::OK, "ready\n");
        }
        let lines: String = in_the_way
            .iter()
            .map(|what| format!("not ready: {what}\n"))
            .collect();
        text(StatusCode::SERVICE_UNAVAILABLE, &lines)
    }

    /// Everything that keeps the collector from admitting a delivery.
    async fn in_the_way(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.stopping.is_cancelled() {
            found.push("it is stopping".to_owned());
        }
        match self.vitals.disk.free_bytes() {
            // Forgotten when there is room, though nothing was delivered since.
            Ok(bytes) if bytes < FREE_BYTES_MIN && self.vitals.is_disk_full() => {
                found.push("the disk is full: what was delivered last found no room".to_owned());
            }
            Ok(bytes) if bytes < FREE_BYTES_MIN => found.push(format!(
                "the disk is nearly full: {} MiB are left, {} are needed",
                bytes / MIB,
                FREE_BYTES_MIN / MIB
            )),
            Ok(_) => {}
            Err(error) => found.push(format!("the disk does not say how full it is: {error}")),
        }
        match timeout(PATIENCE, self.store.answers()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => found.push(format!("the database does not answer: {error}")),
            Err(_) => found.push(format!(
                "the database has not answered for {} s: its disk is slow, or another program has locked it",
                PATIENCE.as_secs()
            )),
        }
        found
    }

    async fn metrics(&self) -> Answer {
        let tallies = match timeout(PATIENCE, self.tallies()).await {
            Ok(Ok(tallies)) => tallies,
            // Figures are wanted most when something is wrong: those of the database are left out then.
            Ok(Err(error)) => {
                tracing::warn!(%error, "the database could not be asked for its figures");
                Vec::new()
            }
            Err(_) => Vec::new(),
        };
        match self.vitals.exposition(&tallies) {
            Ok(figures) => with_type(StatusCode::OK, METRICS_TYPE, figures),
            Err(error) => {
                tracing::error!(%error, "the figures could not be written");
                text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the figures could not be written\n",
                )
            }
        }
    }

    /// What stands in the database is counted there, so that nothing can have been forgotten.
    async fn tallies(&self) -> Result<Vec<Tally>, StoreError> {
        let tally = |name, help, counts| Tally {
            name,
            help,
            label: "state",
            counts,
        };
        Ok(vec![
            tally(
                "tokwatt_runs",
                "Runs in the database, by state",
                self.store.runs_by_state().await?,
            ),
            tally(
                "tokwatt_jobs",
                "Jobs in the database, by state",
                self.store.jobs_by_state().await?,
            ),
        ])
    }
}

/// How long the database may take. Shorter than those wait who ask, so that they hear why.
const PATIENCE: Duration = Duration::from_secs(2);

/// Room for the write-ahead log, which may grow to this before it is folded in.
const FREE_BYTES_MIN: u64 = 64 * MIB;

const MIB: u64 = 1024 * 1024;

/// Prometheus' own text format.
const METRICS_TYPE: &str = prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
