//! What the collector counts of itself, for Prometheus and for whoever asks whether it is ready.
//!
//! An event is counted and logged by one function here, so that log and figures cannot disagree. Figures are of the whole
//! collector: what there is of each device, `devices list` says.

mod disk;
mod process;
mod strangers;

use std::{
    fmt::{self, Display},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, prometheus_text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Metric, Registry},
};
use tokio::time::Instant;
use tokwatt_domain::ids::Seq;
use tonic::{Code, Status};

use self::process::Process;

pub use self::{
    disk::Disk,
    strangers::{NotLetIn, Strangers},
};

/// Figures of one collector.
#[derive(Debug)]
pub struct Vitals {
    /// Where the database is.
    pub disk: Disk,
    is_disk_full: AtomicBool,
    devices_connected: Gauge,
    deliveries_ended: Labelled<Counter>,
    records_admitted: Counter,
    records_repeated: Counter,
    records_set_aside: Counter,
    record_bytes: Counter,
    runs_finished: Counter,
    batches_waiting: Gauge,
    acknowledgement: Histogram,
    commits: Labelled<Counter>,
    commit: Histogram,
    calls_refused: Labelled<Counter>,
    /// Who was not let in.
    pub strangers: Strangers,
    lag: Arc<Lag>,
    registry: Registry,
}

/// A figure for each value of one label.
type Labelled<T> = Family<[(&'static str, &'static str); 1], T>;

/// What a delivery came to.
#[derive(Clone, Copy, Debug)]
pub struct Admission<'a> {
    /// Records that were new.
    pub n_new: u64,
    /// Records that were there already.
    pub n_repeated: u64,
    /// Bytes of all of them.
    pub n_bytes: u64,
    /// Runs that they finished.
    pub n_finished: u64,
    /// Sequence number and problem of those that cannot be used.
    pub set_aside: &'a [(Seq, String)],
}

/// Figures that somebody else keeps, and that are asked for when they are read: one for each value of a label.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Of the figure.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Of the label.
    pub label: &'static str,
    /// The label's values, and how many there are of each now.
    pub counts: Vec<(String, i64)>,
}

/// Why a call was refused before it began.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// What it began with cannot be understood.
    Hello,
    /// Who called may not.
    Forbidden,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Commit {
    /// It is on the disk.
    Committed,
    /// There was no room for it.
    Full,
    /// File or disk failed.
    Failed,
}

/// A delivery stream that is open.
#[derive(Debug)]
pub struct OpenDelivery(Arc<Vitals>);

/// A batch that was received and is not acknowledged yet.
#[derive(Debug)]
pub struct WaitingBatch {
    vitals: Arc<Vitals>,
    since: Instant,
}

/// Since when the roll-up has been behind.
#[derive(Debug, Default)]
struct Lag(Mutex<Option<Instant>>);

impl Vitals {
    /// Nothing has happened yet. `database` is the file of the database.
    pub fn new(database: &Path) -> Self {
        let mut registry = Registry::default();
        let disk = Disk::of(database);
        let lag = Arc::<Lag>::default();
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("tokwatt_build", "Which collector this is", version);
        registry.register_collector(Box::new(Process));
        registry.register_collector(Box::new(disk.clone()));
        registry.register_collector(Box::new(Arc::clone(&lag)));
        let r = &mut registry;
        Self {
            disk,
            lag,
            is_disk_full: AtomicBool::new(false),
            devices_connected: add(
                r,
                "tokwatt_devices_connected",
                "Delivery streams that are open",
            ),
            deliveries_ended: add(
                r,
                "tokwatt_deliveries_ended",
                "Delivery streams that ended, by how",
            ),
            records_admitted: add(r, "tokwatt_records_admitted", "Records that were new"),
            records_repeated: add(
                r,
                "tokwatt_records_repeated",
                "Records that came again and are stored once",
            ),
            records_set_aside: add(
                r,
                "tokwatt_records_set_aside",
                "Records that are kept and cannot be used",
            ),
            record_bytes: add(
                r,
                "tokwatt_record_bytes",
                "Bytes of the records that came, repeated ones too",
            ),
            runs_finished: add(r, "tokwatt_runs_finished", "Runs of which all has come"),
            batches_waiting: add(
                r,
                "tokwatt_batches_waiting",
                "Batches that were received and are not acknowledged",
            ),
            acknowledgement: seconds(
                r,
                "tokwatt_acknowledgement_seconds",
                "From a batch's arrival to its acknowledgement",
            ),
            commits: add(
                r,
                "tokwatt_commits",
                "Transactions that changed something, by what became of them",
            ),
            commit: seconds(
                r,
                "tokwatt_commit_seconds",
                "From the beginning of a transaction until it is on the disk",
            ),
            calls_refused: add(
                r,
                "tokwatt_calls_refused",
                "Calls that were refused before they began, by reason",
            ),
            strangers: Strangers::new(add(
                r,
                "tokwatt_connections_refused",
                "Connections and enrolments that were refused, by reason",
            )),
            registry,
        }
        .with_all_labels()
    }

    /// A figure that appears with its first event looks like no event before it: so all are there from the start.
    fn with_all_labels(self) -> Self {
        for end in [DONE, STOPPING, LOST, REFUSED] {
            drop(self.deliveries_ended.get_or_create(&[("end", end)]));
        }
        for commit in [Commit::Committed, Commit::Full, Commit::Failed] {
            drop(self.commits.get_or_create(&commit.label()));
        }
        for refusal in [Refusal::Hello, Refusal::Forbidden] {
            drop(self.calls_refused.get_or_create(&refusal.label()));
        }
        self
    }

    /// A device said hello; the delivery is open until it ends or is dropped.
    pub fn delivery_began(self: &Arc<Self>, through: u64) -> OpenDelivery {
        tracing::info!(through, "device connected");
        self.devices_connected.inc();
        OpenDelivery(Arc::clone(self))
    }

    /// A batch came; it waits until it is acknowledged or dropped.
    pub fn batch_waits(self: &Arc<Self>) -> WaitingBatch {
        self.batches_waiting.inc();
        WaitingBatch {
            vitals: Arc::clone(self),
            since: Instant::now(),
        }
    }

    /// Whether a batch waits for its acknowledgement right now.
    pub fn has_waiting_batches(&self) -> bool {
        self.batches_waiting.get() > 0
    }

    /// Records were committed.
    pub fn admitted(&self, admission: &Admission<'_>) {
        self.records_admitted.inc_by(admission.n_new);
        self.records_repeated.inc_by(admission.n_repeated);
        self.record_bytes.inc_by(admission.n_bytes);
        self.runs_finished.inc_by(admission.n_finished);
        let n = admission.set_aside.len();
        // One line however many they are; all of them stand in the database.
        if let Some((seq, problem)) = admission.set_aside.first() {
            tracing::warn!(n, seq = seq.0, problem, "records kept and set aside");
        }
        self.records_set_aside
            .inc_by(u64::try_from(n).unwrap_or(u64::MAX));
    }

    /// A transaction that would have changed something came to its end.
    pub fn transaction_ended(&self, commit: Commit, took: Duration) {
        self.commits.get_or_create(&commit.label()).inc();
        if commit == Commit::Committed {
            self.commit.observe(took.as_secs_f64());
        }
        let is_full = commit == Commit::Full;
        let was_full = self.is_disk_full.swap(is_full, Ordering::Relaxed);
        match (was_full, is_full) {
            (false, true) => {
                tracing::error!("the disk is full: nothing is admitted until there is room");
            }
            (true, false) => tracing::info!("the disk has room again"),
            _ => {}
        }
    }

    /// Somebody called who may not, or in a way that cannot be understood.
    pub fn call_refused(&self, refusal: Refusal, who: &dyn Display, why: &str) {
        tracing::warn!(?refusal, %who, why, "call refused");
        self.calls_refused.get_or_create(&refusal.label()).inc();
    }

    /// There are runs to be measured.
    pub fn rollup_has_work(&self) {
        self.lag.since().get_or_insert_with(Instant::now);
    }

    /// All finished runs are measured.
    pub fn rollup_caught_up(&self) {
        *self.lag.since() = None;
    }

    /// Delivery streams that are open.
    pub fn n_devices_connected(&self) -> i64 {
        self.devices_connected.get()
    }

    /// Whether the last transaction found no room.
    pub fn is_disk_full(&self) -> bool {
        self.is_disk_full.load(Ordering::Relaxed)
    }

    /// All figures in Prometheus' text format, and those of others.
    ///
    /// # Errors
    /// The figures cannot be written.
    pub fn exposition(&self, others: &[Tally]) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        for tally in others {
            let figure: Family<[(&str, String); 1], Gauge> =
                add(&mut registry, tally.name, tally.help);
            for (value, n) in &tally.counts {
                let label = [(tally.label, value.clone())];
                figure.get_or_create(&label).set(*n);
            }
        }
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry)?;
        prometheus_text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl OpenDelivery {
    /// Says how it ended.
    pub fn ended(self, how: &Result<(), Status>) {
        let end = how
            .as_ref()
            .map_or_else(|status| end_of(status.code()), |()| DONE);
        match how {
            Ok(()) => tracing::info!("device disconnected"),
            // Every device is told so at every stop; and what is wrong with a database says whoever found it.
            Err(status) if end == STOPPING => {
                tracing::info!(reason = status.message(), "delivery ended")
            }
            Err(status) => {
                tracing::warn!(code = ?status.code(), reason = status.message(), "delivery ended");
            }
        }
        let ended = &self.0.deliveries_ended;
        ended.get_or_create(&[("end", end)]).inc();
    }
}

/// Also when its task is dropped.
impl Drop for OpenDelivery {
    fn drop(&mut self) {
        self.0.devices_connected.dec();
    }
}

impl WaitingBatch {
    /// It is on the disk, and the device has been told.
    pub fn acknowledged(self) {
        let waited = self.since.elapsed();
        self.vitals.acknowledgement.observe(waited.as_secs_f64());
    }
}

impl Drop for WaitingBatch {
    fn drop(&mut self) {
        self.vitals.batches_waiting.dec();
    }
}

impl Commit {
    fn label(self) -> [(&'static str, &'static str); 1] {
        let outcome = match self {
            Self::Committed => "committed",
            Self::Full => "full",
            Self::Failed => "failed",
        };
        [("outcome", outcome)]
    }
}

impl Refusal {
    fn label(self) -> [(&'static str, &'static str); 1] {
        let reason = match self {
            Self::Hello => "hello",
            Self::Forbidden => "forbidden",
        };
        [("reason", reason)]
    }
}

impl Lag {
    fn since(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Lag {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let behind = self.since().map_or(Duration::ZERO, |since| since.elapsed());
        write(
            &mut encoder,
            "tokwatt_rollup_lag_seconds",
            "Since when finished runs wait to be measured; 0 without any",
            &ConstGauge::new(behind.as_secs_f64()),
        )
    }
}

fn end_of(code: Code) -> &'static str {
    match code {
        Code::Unavailable => STOPPING,
        // h2 and tonic call it by any of these when the other end is gone.
        Code::Cancelled | Code::Unknown | Code::Internal | Code::Aborted => LOST,
        _ => REFUSED,
    }
}

fn add<T: Clone + Default + Metric>(registry: &mut Registry, name: &str, help: &str) -> T {
    let figure = T::default();
    registry.register(name, help, figure.clone());
    figure
}

fn seconds(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let figure = Histogram::new(exponential_buckets(FIRST_BUCKET_S, 2.0, N_BUCKETS));
    registry.register(name, help, figure.clone());
    figure
}

/// One figure of a collector that is asked when somebody reads.
fn write(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    figure: &impl EncodeMetric,
) -> fmt::Result {
    figure.encode(encoder.encode_descriptor(name, help, None, figure.metric_type())?)
}

/// The device said that it was done.
const DONE: &str = "done";
/// We stop, or the database does.
const STOPPING: &str = "stopping";
/// The device went away.
const LOST: &str = "lost";
/// The device did something wrong, or there is no room.
const REFUSED: &str = "refused";

/// From 1 ms, of a fast disk, to 16 s: longer than an agent waits.
const FIRST_BUCKET_S: f64 = 0.001;
const N_BUCKETS: u16 = 15;

#[cfg(test)]
mod tests {
    use super::*;

    fn vitals() -> Arc<Vitals> {
        Arc::new(Vitals::new(Path::new("/nowhere/collector.sqlite")))
    }

    #[track_caller]
    fn shows(vitals: &Vitals, lines: &[&str]) {
        let runs = Tally {
            name: "tokwatt_runs",
            help: "Runs",
            label: "state",
            counts: vec![("complete".to_owned(), 3)],
        };
        let text = vitals.exposition(&[runs]).unwrap();
        for line in lines {
            assert!(
                text.lines().any(|found| found == *line),
                "`{line}` is not in:\n{text}"
            );
        }
    }

    #[test]
    fn every_figure_is_there_before_anything_happens() {
        shows(
            &vitals(),
            &[
                concat!(
                    "tokwatt_build_info{version=\"",
                    env!("CARGO_PKG_VERSION"),
                    "\"} 1"
                ),
                "tokwatt_devices_connected 0",
                "tokwatt_deliveries_ended_total{end=\"lost\"} 0",
                "tokwatt_records_admitted_total 0",
                "tokwatt_commits_total{outcome=\"full\"} 0",
                "tokwatt_commit_seconds_count 0",
                "tokwatt_acknowledgement_seconds_count 0",
                "tokwatt_calls_refused_total{reason=\"forbidden\"} 0",
                "tokwatt_runs{state=\"complete\"} 3",
                "tokwatt_rollup_lag_seconds 0.0",
            ],
        );
    }

    #[test]
    fn what_is_open_or_waits_is_counted_until_it_is_dropped() {
        let vitals = vitals();
        let delivery = vitals.delivery_began(0);
        let (first, second) = (vitals.batch_waits(), vitals.batch_waits());
        shows(
            &vitals,
            &["tokwatt_devices_connected 1", "tokwatt_batches_waiting 2"],
        );
        first.acknowledged();
        drop(second);
        delivery.ended(&Err(Status::cancelled("gone")));
        shows(
            &vitals,
            &[
                "tokwatt_devices_connected 0",
                "tokwatt_batches_waiting 0",
                "tokwatt_acknowledgement_seconds_count 1",
                "tokwatt_deliveries_ended_total{end=\"lost\"} 1",
            ],
        );
    }

    #[test]
    fn a_full_disk_is_full_until_something_is_committed() {
        let vitals = vitals();
        for (commit, is_full) in [
            (Commit::Committed, false),
            (Commit::Full, true),
            (Commit::Full, true),
            (Commit::Committed, false),
        ] {
            vitals.transaction_ended(commit, Duration::from_millis(3));
            assert_eq!(vitals.is_disk_full(), is_full);
        }
        shows(
            &vitals,
            &[
                "tokwatt_commits_total{outcome=\"full\"} 2",
                "tokwatt_commit_seconds_count 2",
                "tokwatt_commit_seconds_bucket{le=\"0.004\"} 2",
            ],
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_roll_up_is_behind_from_the_first_run_that_waits() {
        let vitals = vitals();
        vitals.rollup_has_work();
        tokio::time::advance(Duration::from_secs(2)).await;
        vitals.rollup_has_work();
        tokio::time::advance(Duration::from_secs(1)).await;
        shows(&vitals, &["tokwatt_rollup_lag_seconds 3.0"]);
        vitals.rollup_caught_up();
        shows(&vitals, &["tokwatt_rollup_lag_seconds 0.0"]);
    }
}
