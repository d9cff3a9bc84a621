//! One run after the other: load, idle, settle, warm up, ask, observe, measure, spool.
//!
//! Order: group (a model at one precision, in one power mode) by group, repetition by repetition, load by load, cell by cell in the
//! suite's order. So the repetitions of a cell are spread over the group's time instead of standing side by
//! side, and a slow drift of the machine shows as spread, not as a difference between tasks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokwatt_domain::{
    campaign::JobRef,
    device::DeviceProfile,
    ids::RunId,
    metrics::{
        RunReport,
        live::{Live, live},
        projection::{Projection, Stretch, project},
    },
    power::Provenance,
    run::{
        CacheProbe, Cell, Configuration, Identity, IdleBaseline, LoadTime, RunEnd, RunHeader,
        RunTrace, Segment,
    },
    time::{Stamp, WallTime},
    workload::{CachePolicy, Limits, Load, Sampling},
};
use tokwatt_proto::{ContractError, record::Record};
use tracing::Instrument;

use crate::{
    backend::{Backend, BackendError, ModelCard},
    blocking::off_thread,
    clock::Clock,
    device::{HostRoot, gauges::Gauges},
    power::sampler::{Health, Sampler},
    power_mode::Target,
    spool::{OpenRun, Spool, SpoolError, Unfinished},
    workload::{
        album::Album,
        plan::{Item, ItemPicture, Plan, PlannedCell},
    },
};

mod closed_loop;
mod conditions;
mod drive;
mod load;
mod memory;
mod mode;
mod observe;
mod open_loop;
mod probe;
mod quiet;
mod resume;
mod settle;
mod shortage;
mod swap;
mod watch;

pub use quiet::{Notice, Passage, Quiet, QuietGate};
pub use resume::{abandon, asked_so_far, last_stamp, missing_so_far};
pub use swap::{Drawn, Swapped, SwappedModel, Switch};

use drive::{Drive, End, Questions};
use resume::Interrupted;
use shortage::Shortened;

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
    /// Once it has been stopped: that it is to be resumed, so that the run in hand has no end.
    pub leave: CancellationToken,
}

/// How to run.
#[derive(Clone, Debug)]
pub struct RunnerSettings {
    /// Repetitions of each cell.
    pub repeat: u32,
    /// How requests are offered, one load after the other.
    pub loads: Vec<Load>,
    /// What a request has to keep to, to count for goodput.
    pub limits: Option<Limits>,
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
    /// How often each model is loaded cold and warm before its runs, for the load times alone.
    pub load_trials: u32,
    /// The lease of a job that it is run for, if nobody is sitting here.
    pub job: Option<JobRef>,
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
    /// How each power instrument fared.
    pub instruments: Vec<Health>,
    /// What happened to the machine meanwhile that a person should know; nothing, if all is well.
    pub warnings: Vec<String>,
    /// Whether a person stopped it.
    pub is_cancelled: bool,
    /// Whether it can be resumed: it was told to leave, or has nowhere to keep results.
    pub is_unfinished: bool,
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
        /// What is left, from how long it has taken so far.
        left: Option<Projection>,
    },
    /// A segment is over and kept, and this is how it went.
    Segment(Live),
    /// A run has ended and is in the spool, and this is what happened.
    Finished(Box<RunTrace>),
}

/// A bench could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The engine cannot be started as it is set up, or is a server that does not answer.
    #[error(transparent)]
    Setup(BackendError),
    /// Nowhere to keep results.
    #[error("cannot keep what was measured")]
    Spool(#[from] SpoolError),
    /// The last segment is kept with less than was measured, and more was to be asked.
    #[error(
        "there was no room for all of a segment: {given_up} are given up and declared missing, all else is kept"
    )]
    Shortened {
        /// What is not kept.
        given_up: String,
        /// Why.
        #[source]
        because: Box<SpoolError>,
    },
    /// What the spool has of a run cannot be read.
    #[error("cannot go on with the bench that was interrupted; `--abandon` gives it up")]
    Unreadable(#[from] ContractError),
    /// What was interrupted is not what would go on.
    #[error(
        "cannot go on with run {run}: since it was interrupted, {}; put it back as it was, or give the run up with `--abandon`",
        changed.join(", ")
    )]
    Changed {
        /// Which run.
        run: RunId,
        /// What is different, with what it was and is.
        changed: Vec<String>,
    },
}

/// A bench in the making.
struct Work<'a> {
    plan: &'a Plan,
    n_groups: usize,
    album: Arc<Album>,
    /// Number of the first run that is not finished.
    next: u64,
    /// That run, if an agent that is gone began it.
    open: Option<OpenRun>,
    /// Why a group could not be set up.
    unfit: Option<BackendError>,
}

/// One run of a group: which repetition of which cell under which load.
struct Turn<'a> {
    /// From 0, over all groups.
    number: u64,
    repetition: u32,
    load: Load,
    planned: &'a PlannedCell,
}

/// What a group's runs share.
struct Loaded {
    card: ModelCard,
    idle: Vec<IdleBaseline>,
    load_trials: Vec<LoadTime>,
    load_time: Option<LoadTime>,
    memory: memory::Baseline,
    image_tokens: BTreeMap<Option<u32>, u32>,
    cache_probe: Option<CacheProbe>,
    /// How the waits before the idle baselines ended, and why no load was cold.
    reasons: BTreeMap<String, String>,
}

impl Group {
    /// What its model is called before it has been loaded, for people.
    fn name(&self) -> String {
        let ModelCard {
            model, precision, ..
        } = &self.expected;
        match precision.as_str() {
            "unknown" => model.clone(),
            precision => format!("{model} {precision}"),
        }
    }
}

/// Counts what has been done, for the progress bar.
struct Tally<'a> {
    done: u64,
    total: u64,
    clock: &'a dyn Clock,
    /// When the last segment ended, or the first one of a run was near.
    since: Stamp,
    /// Of this agent's life.
    stretches: Vec<Stretch>,
    report: &'a mut (dyn FnMut(Progress) + Send),
}

impl Runner {
    /// Runs every cell of the plan with every group, or what is left of them, if the spool has a bench that was interrupted. Each run
    /// is in the spool when it is reported. If groups have power modes, [`Self::put_mode_back`] comes next.
    pub async fn bench(
        &self,
        plan: &Plan,
        groups: &[Group],
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Outcome {
        let total = self.total_requests(plan, groups);
        let mut tally = Tally::new(total, &*self.clock, progress);
        let mut outcome = Outcome::default();
        let goes_on = self.is_unfinished(Unfinished::has_measured).await;
        let result = self.run_groups(plan, groups, &mut tally, &mut outcome);
        let (unfit, error) = match result.await {
            Ok(unfit) => (unfit, None),
            Err(error) => (None, Some(error)),
        };
        outcome.error = error;
        let sampler = self.sampler.as_ref();
        outcome.instruments = sampler.map_or_else(Vec::new, |sampler| sampler.health());
        outcome.is_cancelled = self.stop.is_cancelled();
        outcome.is_unfinished = self.leave.is_cancelled()
            || match outcome.error {
                None => false,
                // A bench that cannot go on yet, for its server is not back, is not over.
                Some(RunnerError::Setup(_)) => {
                    goes_on || self.is_unfinished(|bench| bench.open.is_some()).await
                }
                Some(_) => true,
            };
        // A job's is ended by whoever has noted how it ended: killed before that, it would begin anew.
        if !outcome.is_unfinished && self.settings.job.is_none() {
            let ended = self.with_spool(Spool::end_bench).await;
            outcome.error = outcome.error.or(ended.err().map(RunnerError::Spool));
        }
        outcome.error = outcome.error.or(unfit.map(RunnerError::Setup));
        outcome
    }

    /// Whether the spool has a bench without an end of which this is true.
    async fn is_unfinished(&self, is_so: impl FnOnce(&Unfinished) -> bool) -> bool {
        let unfinished = self.with_spool(Spool::unfinished).await;
        unfinished.is_ok_and(|bench| bench.is_some_and(|bench| is_so(&bench)))
    }

    /// Why no group could be set up, if none could. One of several that cannot be is no reason to give up the others.
    async fn run_groups(
        &self,
        plan: &Plan,
        groups: &[Group],
        tally: &mut Tally<'_>,
        outcome: &mut Outcome,
    ) -> Result<Option<BackendError>, RunnerError> {
        let mut work = self.take_up(plan, groups, outcome).await?;
        tally.done = outcome
            .reports
            .iter()
            .map(|r| u64::from(r.requests.issued))
            .sum();
        self.keep(vec![Record::Device(self.device.clone())]).await?;
        for (group, first) in groups.iter().zip((0..).step_by(self.runs_per_group(plan))) {
            if self.stop.is_cancelled() {
                break;
            }
            let turns = self.turns(plan, first);
            let turns: Vec<Turn<'_>> = turns.filter(|turn| turn.number >= work.next).collect();
            if turns.is_empty() {
                continue;
            }
            if let Err(reason) = self.enter_mode(group, tally).await? {
                self.keep_failed_group(&mut work, group, &turns, &reason, tally, outcome)
                    .await?;
                continue;
            }
            self.run_group(&mut work, group, &turns, tally, outcome)
                .await?;
            if let Err(error) = group.backend.unload().await {
                let model = group.name();
                tracing::warn!(%error, model, "a model cannot be unloaded");
                let warning = format!("{model}: cannot be unloaded after its runs: {error}");
                outcome.warn(Some(warning));
            }
        }
        // A person stopped it before it went on with that run.
        if work.open.take().is_some() && !self.leave.is_cancelled() {
            self.finish(work.next, RunEnd::Cancelled, tally, outcome)
                .await?;
        }
        let has_run = outcome.reports.iter().any(|report| !report.ended_early());
        Ok(work.unfit.filter(|_| !has_run))
    }

    async fn run_group(
        &self,
        work: &mut Work<'_>,
        group: &Group,
        turns: &[Turn<'_>],
        tally: &mut Tally<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), RunnerError> {
        let prepared = tokio::select! {
            prepared = self.prepare(work.plan, group, tally) => prepared,
            () = self.stop.cancelled() => return Ok(()),
        };
        let loaded = match prepared {
            Ok(loaded) => loaded,
            Err(error) => {
                let is_unfit = matches!(
                    error,
                    BackendError::Setup { .. } | BackendError::Absent { .. }
                );
                let has_begun = work.open.is_some() || turns.len() < self.runs_per_group(work.plan);
                // What could be loaded before can be once more: the bench goes on another time.
                if is_unfit && has_begun {
                    return Err(RunnerError::Setup(error));
                }
                let reason = error.to_string();
                work.unfit = Some(error).filter(|_| is_unfit);
                if is_unfit && work.n_groups == 1 {
                    return Ok(());
                }
                return self
                    .keep_failed_group(work, group, turns, &reason, tally, outcome)
                    .await;
            }
        };
        let total = work.n_groups * self.runs_per_group(work.plan);
        for turn in turns {
            let mut header = self.header(work.plan, turn, group, &loaded);
            let cell = header.cell.label();
            let label = format!("{}{cell} #{}", mode::prefix(group), turn.repetition);
            tally.tell(Progress::Run {
                number: usize::try_from(turn.number).unwrap_or(usize::MAX) + 1,
                total,
                label: label.clone(),
            });
            let interrupted = match work.open.take() {
                Some(open) => Some(self.go_on_with(open, &header).await?),
                None => None,
            };
            let begun_in = self.note_mode(group, &mut header, outcome).await;
            let span = tracing::info_span!("run", device = %header.device, run = %header.run);
            let run = self.run_cell(
                work,
                turn.planned,
                group,
                &loaded,
                header,
                interrupted,
                tally,
            );
            let Some(end) = run.instrument(span).await? else {
                return Ok(());
            };
            if let Some(mode) = begun_in {
                outcome.warn(self.stray_since(&mode, &label).await);
            }
            self.finish(turn.number + 1, end, tally, outcome).await?;
        }
        Ok(())
    }

    /// One run, or the rest of one that was interrupted: settle, warm up, then segments, each safe on disk before the next begins. How
    /// it ended; nothing if it has no end, because it was stopped before its first question, or is to be resumed.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call, and each is another thing"
    )]
    async fn run_cell(
        &self,
        work: &Work<'_>,
        planned: &PlannedCell,
        group: &Group,
        loaded: &Loaded,
        mut header: RunHeader,
        interrupted: Option<Interrupted>,
        tally: &mut Tally<'_>,
    ) -> Result<Option<RunEnd>, RunnerError> {
        let identity = header.cell.identity.clone();
        let drive = Drive {
            backend: &*group.backend,
            cell: planned,
            identity: &identity,
            repetition: header.repetition,
            timeout: self.settings.timeout,
            clock: &*self.clock,
            stop: &self.stop,
        };
        self.check_room().await?;
        tally.begin();
        let settled = tokio::select! {
            settled = self.settle(tally) => settled,
            () = self.stop.cancelled() => return Ok(self.stopped(interrupted.as_ref())),
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
            return Ok(self.stopped(interrupted.as_ref()));
        }
        let mut so_far = match interrupted {
            Some(interrupted) => interrupted,
            None => Interrupted::fresh(header.run),
        };
        match so_far.n_resumptions {
            None => self.open(&header).await?,
            Some(number) => {
                self.keep(vec![so_far.resumed(number, self.clock.wall(), loaded)])
                    .await?
            }
        }
        tally.add_asked_before(so_far.asked);
        let items = planned.items_at(identity.load);
        let n_items = items.len();
        while so_far.asked < items.len() && end == RunEnd::Complete {
            if so_far.n_segments > 0 {
                self.check_room().await?;
            }
            let items = &items[so_far.asked..];
            let files = next_files(&work.album, items).await;
            let questions = Questions {
                items,
                files: &files,
                first: so_far.asked,
                longest: drive::SEGMENT_LENGTH_MAX,
            };
            let (segment, ended) = self.segment(&drive, loaded, &questions).await;
            if self.leave.is_cancelled() {
                return Ok(None);
            }
            so_far.asked += segment.requests.len();
            if !segment.requests.is_empty() {
                let (went, n_requests) = (live(&segment), segment.requests.len() as u64);
                let shortened = self.keep_segment(&so_far, segment).await?;
                so_far.n_segments += 1;
                tally.add(n_requests);
                tally.tell(Progress::Segment(went));
                if let Some(Shortened { given_up, because }) = shortened {
                    if so_far.asked < n_items {
                        return Err(RunnerError::Shortened { given_up, because });
                    }
                    tally.tell(Progress::Stage(format!(
                        "there was no room for all of a segment: {given_up} are given up and declared missing"
                    )));
                }
            }
            end = match ended {
                End::Drained => RunEnd::Complete,
                End::Stopped => RunEnd::Cancelled,
                // How it died stands with the request that it died of.
                End::EngineLost => self.make_ready(&drive, &mut BTreeMap::new()).await,
            };
        }
        Ok(Some(end).filter(|_| !self.leave.is_cancelled()))
    }

    /// A run that was interrupted has requests that are kept; one that had not begun is no run.
    fn stopped(&self, interrupted: Option<&Interrupted>) -> Option<RunEnd> {
        interrupted
            .filter(|_| !self.leave.is_cancelled())
            .map(|_| RunEnd::Cancelled)
    }

    /// Loads the engine if it is gone, and warms it up; dying of that twice aborts the run, with the reason.
    async fn make_ready(
        &self,
        drive: &Drive<'_>,
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
        drive: &Drive<'_>,
        loaded: &Loaded,
        questions: &Questions<'_>,
    ) -> (Segment, End) {
        let watch = watch::Watch {
            memory: loaded.memory.clone(),
            engine: drive.backend.process(),
            gauges: self.gauges.clone(),
            clock: self.clock.clone(),
        };
        let quiet = self.quiet.close(self.longest()).await;
        let (driven, watched) = watch
            .during(async {
                self.bracket().await;
                drive.segment(questions).await
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
            gaps: Vec::new(),
        };
        (segment, driven.end)
    }

    /// How long a segment keeps the rest of the agent still at most: what is sent last may take as long as it may.
    fn longest(&self) -> Duration {
        drive::SEGMENT_LENGTH_MAX + self.settings.timeout + AROUND_A_WINDOW
    }

    /// The run in hand ends; it is measured from what the spool has of it, and from nothing else.
    async fn finish(
        &self,
        next: u64,
        end: RunEnd,
        tally: &mut Tally<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), RunnerError> {
        let (trace, report) =
            on_spool(&self.spool, move |spool| resume::close(spool, next, end)).await?;
        self.grown.notify_one();
        outcome.reports.push(report);
        tally.tell(Progress::Finished(Box::new(trace)));
        Ok(())
    }

    /// The engine cannot be started or died while it was being loaded, or its power mode is not to be had: one run of each cell that says so. A run that was
    /// interrupted ends with what it has.
    async fn keep_failed_group(
        &self,
        work: &mut Work<'_>,
        group: &Group,
        turns: &[Turn<'_>],
        reason: &str,
        tally: &mut Tally<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), RunnerError> {
        tracing::error!(
            reason,
            model = group.expected.model,
            "nothing of a model can be run"
        );
        let (Some(first), Some(last)) = (turns.first(), turns.last()) else {
            return Ok(());
        };
        let next = last.number + 1;
        if work.open.take().is_some() {
            return self.finish(next, RunEnd::Aborted, tally, outcome).await;
        }
        let loaded = Loaded {
            card: group.expected.clone(),
            idle: Vec::new(),
            load_trials: Vec::new(),
            load_time: None,
            memory: memory::Baseline::take(&self.host_root, None),
            image_tokens: BTreeMap::new(),
            cache_probe: None,
            reasons: BTreeMap::new(),
        };
        let mut cells = work.plan.cells.iter().peekable();
        while let Some(planned) = cells.next() {
            let turn = Turn { planned, ..*first };
            let mut header = self.header(work.plan, &turn, group, &loaded);
            header.reasons.insert("run".to_owned(), reason.to_owned());
            self.open(&header).await?;
            // Killed before the last of them, the bench goes on with this group.
            let next = match cells.peek() {
                Some(_) => first.number,
                None => next,
            };
            self.finish(next, RunEnd::Aborted, tally, outcome).await?;
        }
        Ok(())
    }

    fn header(&self, plan: &Plan, turn: &Turn<'_>, group: &Group, loaded: &Loaded) -> RunHeader {
        let planned = turn.planned;
        let mut reasons = self.power_reasons.clone();
        reasons.extend(loaded.reasons.clone());
        let has_pictures = planned.has_pictures();
        let image_tokens = loaded.image_tokens.get(&planned.image_px).copied();
        let image_tokens = image_tokens.filter(|_| has_pictures);
        if image_tokens.is_none() && has_pictures {
            reasons.insert(
                "image_tokens".to_owned(),
                "the engine did not say how many tokens a picture takes".to_owned(),
            );
        }
        let is_scored = group.backend.answers_mean_something();
        if !is_scored {
            reasons.insert(
                "quality".to_owned(),
                "a simulated engine does not look at pictures".to_owned(),
            );
        }
        let started = self.clock.wall();
        RunHeader {
            run: new_run_id(started),
            device: self.device.id.clone(),
            cell: Cell {
                identity: self.identity(plan, planned, &loaded.card, turn.load),
                configuration: configuration(&self.device, group, &loaded.card),
            },
            repetition: turn.repetition,
            started,
            scoring: is_scored.then_some(planned.scoring),
            has_pictures,
            requests_provenance: self.settings.provenance,
            is_quick: self.settings.is_quick,
            idle: loaded.idle.clone(),
            load_time: loaded.load_time,
            load_trials: loaded.load_trials.clone(),
            image_tokens,
            cache_probe: loaded.cache_probe.clone(),
            limits: self.settings.limits,
            job: self.settings.job,
            reasons,
        }
    }

    fn identity(
        &self,
        plan: &Plan,
        planned: &PlannedCell,
        card: &ModelCard,
        load: Load,
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
            load,
            cache_policy: CachePolicy::Cold,
            is_streaming: self.settings.is_streaming,
        }
    }

    /// Appends to the spool off the async threads; on disk when it returns.
    async fn keep(&self, records: Vec<Record>) -> Result<(), SpoolError> {
        self.with_spool(move |spool| {
            let encoded: Vec<Vec<u8>> = records.iter().map(Record::encode).collect();
            spool.append(&encoded)
        })
        .await?;
        self.grown.notify_one();
        Ok(())
    }

    /// Keeps as much of a segment as there is room for.
    async fn keep_segment(
        &self,
        so_far: &Interrupted,
        segment: Segment,
    ) -> Result<Option<Shortened>, SpoolError> {
        let (run, index) = (so_far.run, so_far.n_segments);
        let shortened = self
            .with_spool(move |spool| shortage::keep(spool, run, index, segment))
            .await?;
        self.grown.notify_one();
        Ok(shortened)
    }

    /// A run begins.
    async fn open(&self, header: &RunHeader) -> Result<(), SpoolError> {
        let run = header.run;
        let record = Record::RunOpened(Box::new(header.clone()));
        self.with_spool(move |spool| spool.open_run(run, record.encode()))
            .await?;
        self.grown.notify_one();
        Ok(())
    }

    /// What is measured must fit: a full spool ends the bench before it asks, not after it.
    async fn check_room(&self) -> Result<(), SpoolError> {
        self.with_spool(Spool::check_room).await
    }

    async fn with_spool<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Spool) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T, SpoolError> {
        on_spool(&self.spool, work).await
    }

    /// A group's runs, the first of which has that number.
    fn turns<'a>(&'a self, plan: &'a Plan, first: u64) -> impl Iterator<Item = Turn<'a>> {
        let loads = |repetition| {
            self.settings
                .loads
                .iter()
                .map(move |load| (repetition, *load))
        };
        let passes = (1..=self.settings.repeat).flat_map(loads);
        let runs = passes.flat_map(|pass| plan.cells.iter().map(move |planned| (pass, planned)));
        (first..)
            .zip(runs)
            .map(|(number, ((repetition, load), planned))| Turn {
                number,
                repetition,
                load,
                planned,
            })
    }

    fn runs_per_group(&self, plan: &Plan) -> usize {
        self.settings.repeat as usize * self.settings.loads.len() * plan.cells.len()
    }

    fn total_requests(&self, plan: &Plan, groups: &[Group]) -> u64 {
        let at = |load: &Load| -> usize {
            let asked = |cell: &PlannedCell| cell.items_at(*load).len();
            plan.cells.iter().map(asked).sum()
        };
        let per_pass: usize = self.settings.loads.iter().map(at).sum();
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
    fn new(total: u64, clock: &'a dyn Clock, report: &'a mut (dyn FnMut(Progress) + Send)) -> Self {
        Self {
            done: 0,
            total,
            clock,
            since: clock.now(),
            stretches: Vec::new(),
            report,
        }
    }

    /// A run is near: what it does before its first request belongs to its first segment.
    fn begin(&mut self) {
        self.since = self.clock.now();
    }

    /// Of a run that goes on.
    fn add_asked_before(&mut self, requests: usize) {
        self.done += requests as u64;
    }

    /// A segment is over and kept.
    fn add(&mut self, requests: u64) {
        self.done += requests;
        let now = self.clock.now();
        self.stretches.push(Stretch {
            requests,
            time: now.since(self.since),
        });
        self.since = now;
        self.tell(Progress::Requests {
            done: self.done,
            total: self.total,
            left: project(&self.stretches, self.total.saturating_sub(self.done)),
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

async fn on_spool<T: Send + 'static>(
    spool: &Arc<Spool>,
    work: impl FnOnce(&Spool) -> T + Send + 'static,
) -> T {
    let spool = spool.clone();
    off_thread(move || work(&spool)).await
}

/// The files of a segment's pictures, drawn before it begins: inside a window nothing of ours takes a processor's time.
async fn next_files(album: &Arc<Album>, items: &[Item]) -> Vec<Option<Arc<[u8]>>> {
    let items = items.iter().take(drive::SEGMENT_REQUESTS_MAX);
    let pictures: Vec<Option<ItemPicture>> = items.map(|item| item.picture.clone()).collect();
    let album = album.clone();
    off_thread(move || album.files(&pictures)).await
}

fn new_run_id(now: WallTime) -> RunId {
    let mut random = [0; 10];
    getrandom::fill(&mut random).expect("the kernel has random bytes");
    RunId::new(now, random)
}

/// Looks at the conditions and waits for samples, before and after a window.
const AROUND_A_WINDOW: Duration = Duration::from_secs(15);

/// An engine that dies of its warm-up once may have had bad luck.
const WARM_UP_TRIES: u32 = 2;

/// Memory for drawn pictures: some 2,000 of 1,024 px, 30,000 of the reference model's size. A segment has no more than fit.
const PICTURES_BYTES_MAX: usize = 256 << 20;
