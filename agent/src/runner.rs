//! One run after the other: load, idle, settle, warm up, ask, observe, measure, spool.
//!
//! Order: group (a model at one precision, in one power mode) by group, repetition by repetition, concurrency by concurrency,
//! cell by cell in the suite's order. So the repetitions of a cell are spread over the group's time instead of standing side by
//! side, and a slow drift of the machine shows as spread, not as a difference between tasks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokwatt_domain::{
    device::DeviceProfile,
    ids::RunId,
    metrics::{RunReport, measure},
    power::Provenance,
    run::{
        CacheProbe, Cell, Configuration, Identity, IdleBaseline, LoadTime, RunEnd, RunHeader,
        RunTrace, Segment,
    },
    workload::{CachePolicy, Load, Sampling},
};
use tokwatt_proto::record::Record;

use crate::{
    backend::{Backend, BackendError, ModelCard},
    clock::Clock,
    device::{HostRoot, gauges::Gauges},
    power::sampler::{Health, Sampler},
    power_mode::Target,
    spool::{Spool, SpoolError},
    workload::{
        album::Album,
        plan::{Item, ItemPicture, Plan, PlannedCell},
    },
};

mod closed_loop;
mod conditions;
mod memory;
mod mode;
mod observe;
mod probe;
mod quiet;
mod settle;
mod watch;

pub use quiet::{Quiet, QuietGate};

/// Runs a plan on this device.
pub struct Runner {
    /// Where it runs.
    pub device: DeviceProfile,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What it draws; without an instrument the energy is absent.
    pub sampler: Option<Arc<Sampler>>,
    /// Why an instrument is missing: reason key to text.
    pub power_reasons: BTreeMap<String, String>,
    /// Where /proc is.
    pub host_root: HostRoot,
    /// Under which conditions it works.
    pub gauges: Gauges,
    /// Where results are safe.
    pub spool: Arc<Spool>,
    /// Rung when the spool has grown, for the uplink.
    pub grown: Arc<Notify>,
    /// Keeps the rest of the agent still inside a measured window.
    pub quiet: QuietGate,
    /// How to run.
    pub settings: RunnerSettings,
    /// Ends it early, with what was measured kept.
    pub stop: CancellationToken,
}

/// How to run.
#[derive(Clone, Debug)]
pub struct RunnerSettings {
    /// Repetitions of each cell.
    pub repeat: u32,
    /// Concurrencies of the closed loop, in this order.
    pub concurrency: Vec<u32>,
    /// Longest time a request may take.
    pub timeout: Duration,
    /// Token limit that replaces the suite's.
    pub max_tokens: Option<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Whether answers come in pieces.
    pub is_streaming: bool,
    /// How long idle power is watched.
    pub idle: Duration,
    /// Whether idle baselines were shortened.
    pub is_quick: bool,
    /// How the requests' figures come to be: measured on a device, simulated on a made-up one.
    pub provenance: Provenance,
}

/// What is loaded once and then runs all cells.
#[derive(Clone)]
pub struct Group {
    /// `embedded`, `openai`, `ollama`.
    pub backend_name: String,
    /// Who answers.
    pub backend: Arc<dyn Backend>,
    /// What it is called until it has been loaded, and if it never is.
    pub expected: ModelCard,
    /// Which power mode to run it in; absent: the one in force.
    pub power_mode: Option<Target>,
}

/// What a bench came to.
#[derive(Default)]
pub struct Outcome {
    /// One for each run, in order.
    pub reports: Vec<RunReport>,
    /// The traces behind them, in the same order.
    pub traces: Vec<RunTrace>,
    /// How each power instrument fared.
    pub instruments: Vec<Health>,
    /// What happened to the machine meanwhile that a person should know; nothing, if all is well.
    pub warnings: Vec<String>,
    /// Whether a person stopped it.
    pub is_cancelled: bool,
    /// Why it could not go on, if it could not; what was measured before stands.
    pub error: Option<RunnerError>,
}

/// Where a bench stands.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Something outside the measured windows that takes a while.
    Stage(String),
    /// A run begins.
    Run {
        /// Which one, from 1.
        number: usize,
        /// Of how many.
        total: usize,
        /// Its cell and repetition.
        label: String,
    },
    /// Requests of all runs that have ended so far.
    Requests {
        /// So many.
        done: u64,
        /// Of so many.
        total: u64,
    },
}

/// A bench could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The engine cannot be started as it is set up.
    #[error(transparent)]
    Setup(BackendError),
    /// Nowhere to keep results.
    #[error("cannot keep what was measured")]
    Spool(#[from] SpoolError),
}

/// What a group's runs share.
struct Loaded {
    card: ModelCard,
    idle: Vec<IdleBaseline>,
    load_time: Option<LoadTime>,
    memory: memory::Baseline,
    image_tokens: BTreeMap<Option<u32>, u32>,
    cache_probe: Option<CacheProbe>,
    /// How the waits before the idle baselines ended, for `reasons`.
    settled: BTreeMap<String, String>,
}

/// Counts what has been done, for the progress bar.
struct Tally<'a> {
    done: u64,
    total: u64,
    report: &'a mut (dyn FnMut(Progress) + Send),
}

impl Runner {
    /// Runs every cell of the plan with every group. Each run is in the spool when it is reported. If groups have power modes,
    /// [`Self::put_mode_back`] comes next.
    pub async fn bench(
        &self,
        plan: &Plan,
        groups: &[Group],
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Outcome {
        let mut tally = Tally::new(self.total_requests(plan, groups), progress);
        let mut outcome = Outcome::default();
        let result = self.run_groups(plan, groups, &mut tally, &mut outcome);
        outcome.error = result.await.err();
        let sampler = self.sampler.as_ref();
        outcome.instruments = sampler.map_or_else(Vec::new, |sampler| sampler.health());
        outcome.is_cancelled = self.stop.is_cancelled();
        outcome
    }

    async fn run_groups(
        &self,
        plan: &Plan,
        groups: &[Group],
        tally: &mut Tally<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), RunnerError> {
        self.keep(vec![Record::Device(self.device.clone())]).await?;
        let album = Arc::new(Album::new(PICTURES_BYTES_MAX));
        for group in groups {
            if self.stop.is_cancelled() {
                break;
            }
            if let Err(reason) = self.enter_mode(group, tally).await? {
                self.keep_failed_group(plan, group, &reason, outcome)
                    .await?;
                continue;
            }
            self.run_group(plan, group, groups.len(), &album, tally, outcome)
                .await?;
            group.backend.unload().await.map_err(RunnerError::Setup)?;
        }
        Ok(())
    }

    async fn run_group(
        &self,
        plan: &Plan,
        group: &Group,
        n_groups: usize,
        album: &Arc<Album>,
        tally: &mut Tally<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), RunnerError> {
        let prepared = tokio::select! {
            prepared = self.prepare(plan, group, tally) => prepared,
            () = self.stop.cancelled() => return Ok(()),
        };
        let loaded = match prepared {
            Ok(loaded) => loaded,
            Err(error @ BackendError::Setup { .. }) => return Err(RunnerError::Setup(error)),
            Err(error) => {
                let reason = error.to_string();
                return self.keep_failed_group(plan, group, &reason, outcome).await;
            }
        };
        let total = n_groups * self.runs_per_group(plan);
        for repetition in 1..=self.settings.repeat {
            for &concurrency in &self.settings.concurrency {
                for planned in &plan.cells {
                    let mut header =
                        self.header(plan, planned, group, &loaded, repetition, concurrency);
                    let cell = header.cell.label();
                    let label = format!("{}{cell} #{repetition}", mode::prefix(group));
                    tally.tell(Progress::Run {
                        number: outcome.reports.len() + 1,
                        total,
                        label: label.clone(),
                    });
                    let begun_in = self.note_mode(group, &mut header, outcome).await;
                    let run = self.run_cell(planned, group, &loaded, album, header, tally);
                    let Some(trace) = run.await? else {
                        return Ok(());
                    };
                    if let Some(mode) = begun_in {
                        outcome.warn(self.stray_since(&mode, &label).await);
                    }
                    self.finish(trace, outcome).await?;
                }
            }
        }
        Ok(())
    }

    /// One run: settle, warm up, then segments, each safe on disk before the next begins. Nothing if it was stopped before its first
    /// question.
    async fn run_cell(
        &self,
        planned: &PlannedCell,
        group: &Group,
        loaded: &Loaded,
        album: &Arc<Album>,
        mut header: RunHeader,
        tally: &mut Tally<'_>,
    ) -> Result<Option<RunTrace>, RunnerError> {
        let identity = header.cell.identity.clone();
        let drive = closed_loop::Drive {
            backend: &*group.backend,
            cell: planned,
            identity: &identity,
            timeout: self.settings.timeout,
            clock: &*self.clock,
            stop: &self.stop,
        };
        self.check_room().await?;
        let settled = tokio::select! {
            settled = self.settle(tally) => settled,
            () = self.stop.cancelled() => return Ok(None),
        };
        header
            .reasons
            .extend(settled.map(|what| ("settle".to_owned(), what)));
        // Settling has looked at all gauges.
        let gauges = self.gauges.clone();
        let silences = watch::patiently(move || gauges.silences()).await;
        header.reasons.extend(silences.unwrap_or_default());
        header.started = self.clock.wall();
        let mut end = self.make_ready(&drive, &mut header.reasons).await;
        if end == RunEnd::Cancelled {
            return Ok(None);
        }
        self.keep(vec![Record::RunOpened(Box::new(header.clone()))])
            .await?;
        let mut segments: Vec<Segment> = Vec::new();
        let mut asked = 0;
        let items = planned.items_at(identity.load);
        while asked < items.len() && end == RunEnd::Complete {
            let files = next_files(album, &items[asked..]).await;
            let (segment, ended) = self.segment(&drive, loaded, asked, &files).await;
            asked += segment.requests.len();
            tally.add(segment.requests.len() as u64);
            if !segment.requests.is_empty() {
                let index = u32::try_from(segments.len()).unwrap_or(u32::MAX);
                self.keep(Record::segment(header.run, index, &segment))
                    .await?;
                segments.push(segment);
            }
            end = match ended {
                closed_loop::End::Drained => RunEnd::Complete,
                closed_loop::End::Stopped => RunEnd::Cancelled,
                // How it died stands with the request that it died of.
                closed_loop::End::EngineLost => self.make_ready(&drive, &mut BTreeMap::new()).await,
            };
        }
        Ok(Some(RunTrace {
            header,
            segments,
            end,
        }))
    }

    /// Loads the engine if it is gone, and warms it up; dying of that twice aborts the run, with the reason.
    async fn make_ready(
        &self,
        drive: &closed_loop::Drive<'_>,
        reasons: &mut BTreeMap<String, String>,
    ) -> RunEnd {
        let mut why = String::new();
        for _ in 0..WARM_UP_TRIES {
            let load = tokio::select! {
                load = drive.backend.load() => load.map_err(|error| error.to_string()),
                () = self.stop.cancelled() => return RunEnd::Cancelled,
            };
            let ready = match load {
                Ok(_) => drive.warm_up().await,
                Err(error) => Err(error),
            };
            match ready {
                _ if self.stop.is_cancelled() => return RunEnd::Cancelled,
                Ok(()) => return RunEnd::Complete,
                Err(error) => why = error,
            }
        }
        tracing::error!(why, "the engine is lost");
        reasons.insert("run".to_owned(), why);
        RunEnd::Aborted
    }

    /// One drained stretch of requests, with what was drawn and used meanwhile.
    async fn segment(
        &self,
        drive: &closed_loop::Drive<'_>,
        loaded: &Loaded,
        asked: usize,
        files: &[Option<Arc<[u8]>>],
    ) -> (Segment, closed_loop::End) {
        let watch = watch::Watch {
            memory: loaded.memory.clone(),
            engine: drive.backend.process(),
            gauges: self.gauges.clone(),
            clock: self.clock.clone(),
        };
        let quiet = self.quiet.close().await;
        let (driven, watched) = watch
            .during(async {
                self.bracket().await;
                drive.segment(asked, files).await
            })
            .await;
        // The sample after the window counts, too.
        let power = self.power(driven.window).await;
        drop(quiet);
        let segment = Segment {
            window: driven.window,
            requests: driven.requests,
            power,
            memory: watched.memory,
            gauges: watched.gauges,
        };
        (segment, driven.end)
    }

    async fn finish(&self, trace: RunTrace, outcome: &mut Outcome) -> Result<(), RunnerError> {
        let report = measure(&trace);
        self.keep(vec![Record::RunFinished {
            run: trace.header.run,
            n_segments: u32::try_from(trace.segments.len()).unwrap_or(u32::MAX),
            end: trace.end,
            report: Box::new(report.clone()),
        }])
        .await?;
        outcome.reports.push(report);
        outcome.traces.push(trace);
        Ok(())
    }

    /// The engine died while it was being loaded, or its power mode is not to be had: one run of each cell that says so.
    async fn keep_failed_group(
        &self,
        plan: &Plan,
        group: &Group,
        reason: &str,
        outcome: &mut Outcome,
    ) -> Result<(), RunnerError> {
        tracing::error!(
            reason,
            model = group.expected.model,
            "nothing of a model can be run"
        );
        let loaded = Loaded {
            card: group.expected.clone(),
            idle: Vec::new(),
            load_time: None,
            memory: memory::Baseline::take(&self.host_root, None),
            image_tokens: BTreeMap::new(),
            cache_probe: None,
            settled: BTreeMap::new(),
        };
        for planned in &plan.cells {
            let concurrency = self.settings.concurrency.first().copied().unwrap_or(1);
            let mut header = self.header(plan, planned, group, &loaded, 1, concurrency);
            header.reasons.insert("run".to_owned(), reason.to_owned());
            let trace = RunTrace {
                header,
                segments: Vec::new(),
                end: RunEnd::Aborted,
            };
            self.keep(vec![Record::RunOpened(Box::new(trace.header.clone()))])
                .await?;
            self.finish(trace, outcome).await?;
        }
        Ok(())
    }

    fn header(
        &self,
        plan: &Plan,
        planned: &PlannedCell,
        group: &Group,
        loaded: &Loaded,
        repetition: u32,
        concurrency: u32,
    ) -> RunHeader {
        let mut reasons = self.power_reasons.clone();
        reasons.extend(loaded.settled.clone());
        let has_pictures = planned.has_pictures();
        let image_tokens = loaded.image_tokens.get(&planned.image_px).copied();
        let image_tokens = image_tokens.filter(|_| has_pictures);
        if image_tokens.is_none() && has_pictures {
            reasons.insert(
                "image_tokens".to_owned(),
                "the engine did not say how many tokens a picture takes".to_owned(),
            );
        }
        let is_simulated = self.settings.provenance == Provenance::Simulated;
        if is_simulated {
            reasons.insert(
                "quality".to_owned(),
                "a simulated engine does not look at pictures".to_owned(),
            );
        }
        RunHeader {
            run: random_run_id(),
            device: self.device.id.clone(),
            cell: Cell {
                identity: self.identity(plan, planned, &loaded.card, concurrency),
                configuration: configuration(&self.device, group, &loaded.card),
            },
            repetition,
            started: self.clock.wall(),
            scoring: (!is_simulated).then_some(planned.scoring),
            has_pictures,
            requests_provenance: self.settings.provenance,
            is_quick: self.settings.is_quick,
            idle: loaded.idle.clone(),
            load_time: loaded.load_time,
            image_tokens,
            cache_probe: loaded.cache_probe.clone(),
            reasons,
        }
    }

    fn identity(
        &self,
        plan: &Plan,
        planned: &PlannedCell,
        card: &ModelCard,
        concurrency: u32,
    ) -> Identity {
        Identity {
            suite: plan.suite.clone(),
            suite_digest: plan.digest,
            task: planned.task.clone(),
            image_px: planned.image_px,
            model: card.model.clone(),
            precision: card.precision.clone(),
            max_tokens: self.settings.max_tokens.unwrap_or(planned.max_tokens),
            sampling: self.settings.sampling,
            load: Load::Closed(concurrency),
            cache_policy: CachePolicy::Cold,
            is_streaming: self.settings.is_streaming,
        }
    }

    /// Appends to the spool off the async threads; on disk when it returns.
    async fn keep(&self, records: Vec<Record>) -> Result<(), SpoolError> {
        let spool = self.spool.clone();
        tokio::task::spawn_blocking(move || {
            let encoded: Vec<Vec<u8>> = records.iter().map(Record::encode).collect();
            spool.append(&encoded)
        })
        .await
        .expect("appending does not panic")?;
        self.grown.notify_one();
        Ok(())
    }

    /// What is measured must fit: a full spool ends the bench before a run, not after it.
    async fn check_room(&self) -> Result<(), SpoolError> {
        let spool = self.spool.clone();
        tokio::task::spawn_blocking(move || spool.check_room())
            .await
            .expect("looking does not panic")
    }

    fn runs_per_group(&self, plan: &Plan) -> usize {
        self.settings.repeat as usize * self.settings.concurrency.len() * plan.cells.len()
    }

    fn total_requests(&self, plan: &Plan, groups: &[Group]) -> u64 {
        let at = |concurrency: &u32| -> usize {
            let asked = |cell: &PlannedCell| cell.items_at(Load::Closed(*concurrency)).len();
            plan.cells.iter().map(asked).sum()
        };
        let per_pass: usize = self.settings.concurrency.iter().map(at).sum();
        (per_pass * groups.len() * self.settings.repeat as usize) as u64
    }
}

impl Outcome {
    /// Keeps a warning, once.
    fn warn(&mut self, warning: Option<String>) {
        let new = warning.filter(|warning| !self.warnings.contains(warning));
        self.warnings.extend(new);
    }
}

impl<'a> Tally<'a> {
    fn new(total: u64, report: &'a mut (dyn FnMut(Progress) + Send)) -> Self {
        Self {
            done: 0,
            total,
            report,
        }
    }

    fn add(&mut self, requests: u64) {
        self.done += requests;
        self.tell(Progress::Requests {
            done: self.done,
            total: self.total,
        });
    }

    fn tell(&mut self, progress: Progress) {
        (self.report)(progress);
    }
}

fn configuration(device: &DeviceProfile, group: &Group, card: &ModelCard) -> Configuration {
    let fact = |name: &str| device.facts.get(name).cloned();
    Configuration {
        backend: group.backend_name.clone(),
        engine: card.engine.clone(),
        engine_flags: card.engine_flags.clone(),
        model_digest: card.digest,
        mmproj_digest: card.mmproj_digest,
        mmproj_precision: card.mmproj_precision.clone(),
        model_facts: card.facts.clone(),
        power_mode: group
            .power_mode
            .as_ref()
            .map(|target| target.mode.mode.clone())
            .or_else(|| fact("power_mode")),
        os: [fact("os_name"), fact("kernel")]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// The files of a segment's pictures, drawn before it begins: inside a window nothing of ours takes a processor's time.
async fn next_files(album: &Arc<Album>, items: &[Item]) -> Vec<Option<Arc<[u8]>>> {
    let items = items.iter().take(closed_loop::SEGMENT_REQUESTS_MAX);
    let pictures: Vec<Option<ItemPicture>> = items.map(|item| item.picture.clone()).collect();
    let album = album.clone();
    tokio::task::spawn_blocking(move || album.files(&pictures))
        .await
        .expect("drawing does not panic")
}

/// 128 random bits: two agents never make the same.
fn random_run_id() -> RunId {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    RunId(bytes)
}

/// An engine that dies of its warm-up once may have had bad luck.
const WARM_UP_TRIES: u32 = 2;

/// Memory for drawn pictures: some 2,000 of 1,024 px, 30,000 of the reference model's size. A segment has no more than fit.
const PICTURES_BYTES_MAX: usize = 256 << 20;
