//! A fleet of one Orin, one Thor and one GB10 of one seed, and what each of them measured, with what was truly drawn.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tokwatt_agent::{
    clock::{Clock, VirtualClock},
    power::{
        sampler::{Cadence, Sampler},
        select,
    },
    runner::{Group, Outcome, Progress, QuietGate, Runner, RunnerSettings},
    simulate::{Expected, Model, Simulated, Spec, Work},
    spool::Spool,
    workload::plan::{Item, ItemPicture, Plan, PlannedCell},
};
use tokwatt_collector::rank::{RankedCell, RankedRun, cells};
use tokwatt_domain::{
    ids::Digest,
    power::{Provenance, Scope},
    run::RunTrace,
    time::WallTime,
    workload::{Load, Sampling, Scoring},
};

/// What every machine runs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Configuration {
    RobinF16,
    /// As large as the other, and so in truth the same.
    RobinBf16,
    StorkQ8,
}

/// Machines of one seed.
pub(crate) struct Fleet {
    cells: Vec<(&'static str, Configuration, Measured)>,
}

/// What the repetitions of one configuration on one machine came to.
pub(crate) struct Measured {
    pub(crate) runs: Vec<RankedRun>,
    pub(crate) cell: RankedCell,
    /// Of each repetition and scope, what was truly drawn in J.
    drawn: Vec<Vec<(Scope, f64)>>,
}

pub(crate) const MACHINES: [&str; 3] = ["orin", "thor", "gb10"];

impl Configuration {
    pub(crate) const ALL: [Self; 3] = [Self::RobinF16, Self::RobinBf16, Self::StorkQ8];

    fn model(self) -> Model {
        let (name, precision) = match self {
            Self::RobinF16 => ("made-up-robin-2b", "f16"),
            Self::RobinBf16 => ("made-up-robin-2b", "bf16"),
            Self::StorkQ8 => ("made-up-stork-7b", "q8_0"),
        };
        Model::parse(name, precision).unwrap()
    }
}

/// What is to be expected of it for each question.
pub(crate) fn expected(machine: &str, configuration: Configuration) -> Expected {
    let spec: Spec = machine.parse().unwrap();
    let work = Work {
        prompt_bytes: PROMPT.len(),
        side_px: Some(SIDE_PX),
        max_tokens: MAX_TOKENS,
        is_fixed_length: false,
    };
    spec.expected(&configuration.model(), &work)
}

impl Fleet {
    pub(crate) fn measure(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), WallTime(1), 1 << 33).unwrap();
        let spool = Arc::new(spool);
        let machines = MACHINES.into_iter();
        let cells = machines.flat_map(|machine| measure(machine, seed, &spool));
        Self {
            cells: cells.collect(),
        }
    }

    pub(crate) fn cell(&self, (machine, configuration): (&str, Configuration)) -> &Measured {
        let is_it =
            |cell: &&(&str, Configuration, Measured)| (cell.0, cell.1) == (machine, configuration);
        &self.cells.iter().find(is_it).unwrap().2
    }
}

impl Measured {
    fn new(outcome: Outcome, drawn: Vec<Vec<(Scope, f64)>>) -> Self {
        assert!(outcome.error.is_none(), "{:?}", outcome.error);
        let ranked = |report| RankedRun {
            report,
            report_differs: false,
        };
        let runs: Vec<RankedRun> = outcome.reports.into_iter().map(ranked).collect();
        let mut cells = cells(&runs, &[], Provenance::Simulated);
        assert_eq!(cells.len(), 1, "one configuration is one cell");
        Self {
            runs,
            cell: cells.remove(0),
            drawn,
        }
    }

    /// The metric of each repetition, from what was truly drawn.
    pub(crate) fn truly_drawn(&self, metric: &str) -> Vec<f64> {
        let (id, scope) = metric.split_once('@').unwrap();
        let total = match id {
            "j_per_output_token" => "completion_tokens",
            "j_per_image" => "images",
            other => panic!("{other} is not over energy"),
        };
        let scope: Scope = scope.parse().unwrap();
        let of = |(run, drawn): (&RankedRun, &Vec<(Scope, f64)>)| {
            let joules = drawn.iter().find(|(known, _)| *known == scope).unwrap().1;
            joules / run.report.totals[total]
        };
        self.runs.iter().zip(&self.drawn).map(of).collect()
    }
}

fn measure(
    machine: &'static str,
    seed: u64,
    spool: &Arc<Spool>,
) -> Vec<(&'static str, Configuration, Measured)> {
    // Their own, so that no two machines of a fleet have the same luck.
    let position = MACHINES.iter().position(|name| *name == machine).unwrap();
    let seed = 1 + 3 * seed + position as u64;
    let spec: Spec = format!("{machine}?seed={seed}").parse().unwrap();
    let simulated = Simulated::make(&spec).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::start());
        let tasks = tokio_util::task::TaskTracker::new();
        let selection = simulated.instruments(&select::parse("auto").unwrap(), PERIOD);
        let cadence = Cadence {
            period: PERIOD,
            seed,
        };
        let sampler = Sampler::start_tasks(selection.sources, cadence, clock.clone(), &tasks);
        let runner = Runner {
            device: simulated.profile(),
            clock: clock.clone(),
            sampler: Some(Arc::new(sampler)),
            gauges: simulated.gauges(clock.clone()),
            power_reasons: [].into(),
            host_root: simulated.root(),
            spool: spool.clone(),
            grown: Arc::default(),
            quiet: QuietGate::default(),
            settings: settings(),
            stop: CancellationToken::new(),
            leave: CancellationToken::new(),
        };
        let mut measured = Vec::new();
        for configuration in Configuration::ALL {
            let model = configuration.model();
            let group = Group {
                power_mode: None,
                backend_name: "simulated".to_owned(),
                expected: model.card(),
                backend: Arc::new(simulated.engine(model, clock.clone(), None)),
            };
            let mut drawn = Vec::new();
            let mut keep = |step| {
                if let Progress::Finished(trace) = step {
                    drawn.push(truly_drawn(&simulated, &trace));
                }
            };
            let plan = plan(machine, configuration);
            let outcome = runner.bench(&plan, &[group], &mut keep).await;
            measured.push((machine, configuration, Measured::new(outcome, drawn)));
        }
        measured
    })
}

fn truly_drawn(simulated: &Simulated, trace: &RunTrace) -> Vec<(Scope, f64)> {
    let of_scope = |scope: Scope| {
        let windows = trace.segments.iter().map(|segment| segment.window);
        let joules = windows.map(|window| Some(simulated.energy(scope, window)?.0));
        Some((scope, joules.sum::<Option<f64>>()?))
    };
    Scope::ALL.into_iter().filter_map(of_scope).collect()
}

fn settings() -> RunnerSettings {
    RunnerSettings {
        repeat: REPETITIONS,
        loads: vec![Load::Closed(1)],
        limits: None,
        job: None,
        timeout: Duration::from_secs(60),
        max_tokens: None,
        sampling: Sampling::Greedy,
        is_streaming: true,
        // Idle power is not what this is about.
        idle: Duration::from_secs(1),
        is_quick: false,
        load_trials: 0,
        provenance: Provenance::Simulated,
    }
}

/// Questions for more than the minute that an energy needs to be ranked.
fn plan(machine: &str, configuration: Configuration) -> Plan {
    let latency = expected(machine, configuration).latency();
    let n_items = (24_u32..).find(|n| latency * *n >= WINDOW).unwrap();
    let item = |name: String| Item {
        prompt: PROMPT.to_owned(),
        name,
        history: Vec::new(),
        picture: Some(ItemPicture::File([0].into())),
        truth: None,
    };
    Plan {
        suite: "coverage".to_owned(),
        digest: Digest([0; 32]),
        concurrency: vec![1],
        cells: vec![PlannedCell {
            task: "caption_brief".to_owned(),
            image_px: Some(SIDE_PX),
            max_tokens: MAX_TOKENS,
            is_fixed_length: false,
            scoring: Scoring::Caption,
            requests_per_slot: None,
            items: (0..n_items).map(|n| item(format!("q{n}"))).collect(),
            warm_up: (0..2).map(|n| item(format!("w{n}"))).collect(),
        }],
    }
}

/// As without `--repeat`, and the fewest that have an interval.
pub(crate) const REPETITIONS: u32 = 3;

const PROMPT: &str = "Describe this image in one sentence.";
const MAX_TOKENS: u32 = 64;
const SIDE_PX: u32 = 96;
const PERIOD: Duration = Duration::from_millis(100);

/// Answers are of random length: a run of so many is some percents longer or shorter.
const WINDOW: Duration = Duration::from_secs(75);
