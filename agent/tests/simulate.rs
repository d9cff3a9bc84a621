//! Whole benches on made-up machines, in virtual time: what was measured against what was truly drawn.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is tests; the lint sees only functions marked as such"
)]

use std::{fmt, sync::Arc, thread, time::Duration};

use futures::StreamExt;
use tempfile::TempDir;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokwatt_agent::{
    backend::{Backend, Event, Question},
    clock::{Clock, VirtualClock},
    power::{
        sampler::{Cadence, Sampler},
        select,
    },
    runner::{Group, Progress, QuietGate, Runner, RunnerSettings},
    simulate::{Model, Simulated},
    spool::Spool,
    workload::{
        plan::{Item, ItemPicture, Plan, PlannedCell},
        turn::{Speaker, Turn},
    },
};
use tokwatt_domain::{
    ids::Digest,
    metrics::{PowerReport, RunReport},
    power::{Provenance, Scope},
    run::{GaugeKind, GaugeTrace, RunTrace},
    time::{WallTime, Window},
    workload::{Load, Sampling, Scoring},
};

/// What came of one bench, and what was drawn.
struct Bench {
    report: RunReport,
    trace: RunTrace,
    simulated: Simulated,
}

impl Bench {
    /// One run of `n_items` questions on `machine` (a word of `--simulate`), read by `power` (one of `--power`).
    fn run(spool: &Arc<Spool>, machine: &str, power: &str, n_items: usize) -> Self {
        let simulated = Simulated::make(&machine.parse().unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let (mut outcome, mut traces) = runtime.block_on(async {
            let clock: Arc<dyn Clock> = Arc::new(VirtualClock::start());
            let tasks = TaskTracker::new();
            let choices = select::parse(power).unwrap();
            let selection = simulated.instruments(&choices, PERIOD);
            let cadence = Cadence {
                period: PERIOD,
                seed: simulated.seed(),
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
            let model = Model::parse("made-up-2b", "f16").unwrap();
            let group = Group {
                power_mode: None,
                backend_name: "simulated".to_owned(),
                expected: model.card(),
                backend: Arc::new(simulated.engine(model, clock.clone(), None)),
            };
            let (plan, groups) = (plan(n_items), [group]);
            let mut traces = Vec::new();
            let mut keep = |step| {
                if let Progress::Finished(trace) = step {
                    traces.push(*trace);
                }
            };
            let outcome = runner.bench(&plan, &groups, &mut keep).await;
            (outcome, traces)
        });
        assert!(outcome.error.is_none(), "{:?}", outcome.error);
        Self {
            report: outcome.reports.remove(0),
            trace: traces.remove(0),
            simulated,
        }
    }

    fn truth(&self, scope: Scope) -> f64 {
        let windows = self.trace.segments.iter().map(|segment| segment.window);
        let energies = windows.map(|window| self.simulated.energy(scope, window).unwrap().0);
        energies.sum()
    }
}

fn settings() -> RunnerSettings {
    RunnerSettings {
        repeat: 1,
        loads: vec![Load::Closed(1)],
        limits: None,
        job: None,
        timeout: Duration::from_secs(60),
        max_tokens: None,
        sampling: Sampling::Greedy,
        is_streaming: true,
        // A minute of idle power is as much work as a minute of answers.
        idle: Duration::from_secs(10),
        is_quick: true,
        load_trials: 0,
        provenance: Provenance::Simulated,
    }
}

fn plan(n_items: usize) -> Plan {
    let item = |name: String| Item {
        prompt: "What is in this picture, in one sentence?".to_owned(),
        name,
        history: Vec::new(),
        picture: Some(ItemPicture::File([0].into())),
        truth: None,
    };
    Plan {
        suite: "made-up".to_owned(),
        digest: Digest([0; 32]),
        concurrency: vec![1],
        cells: vec![PlannedCell {
            task: "caption_brief".to_owned(),
            image_px: Some(512),
            max_tokens: 64,
            is_fixed_length: false,
            scoring: Scoring::Caption,
            requests_per_slot: None,
            items: (0..n_items).map(|n| item(format!("q{n}"))).collect(),
            warm_up: (0..2).map(|n| item(format!("w{n}"))).collect(),
        }],
    }
}

fn spool() -> (TempDir, Arc<Spool>) {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), WallTime(1), 1 << 33).unwrap();
    (folder, Arc::new(spool))
}

/// How far a measured energy is from the truth, and how far it says that it may be; as shares of the truth.
struct Off {
    machine: String,
    scope: Scope,
    error: f64,
    bound: f64,
}

impl fmt::Display for Off {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (error, bound) = (100.0 * self.error, 100.0 * self.bound);
        let Self { machine, scope, .. } = self;
        write!(
            f,
            "{machine}, {scope}: off by {error:.3} %, bound {bound:.3} %"
        )
    }
}

fn off(machine: &str, spool: &Arc<Spool>) -> Vec<Off> {
    let bench = Bench::run(spool, machine, "auto", ITEMS);
    assert!(bench.report.window_s >= 60.0, "{}", bench.report.window_s);
    let offs = bench.report.power.iter().map(|power| {
        let truth = bench.truth(power.scope);
        Off {
            machine: machine.to_owned(),
            scope: power.scope,
            error: (power.energy_j.unwrap() - truth).abs() / truth,
            bound: power.error_bound_j.unwrap() / truth,
        }
    });
    offs.collect()
}

fn quantile(values: impl Iterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    let place = (share * (values.len() - 1) as f64).round() as usize;
    values[place]
}

/// On two threads: the machines of CI have two cores.
#[test]
#[expect(clippy::print_stdout, reason = "the figures are what this is for")]
fn a_thousand_runs_are_within_their_bounds_of_the_truth() {
    let half = |first: u64| {
        thread::spawn(move || {
            let (_folder, spool) = spool();
            let seeds = (first..RUNS).step_by(2);
            let machines = seeds.map(|seed| {
                let name = ["orin", "thor", "gb10"][usize::try_from(seed % 3).unwrap()];
                format!("{name}?seed={seed}")
            });
            machines
                .flat_map(|machine| off(&machine, &spool))
                .collect::<Vec<Off>>()
        })
    };
    let halves = [half(0), half(1)];
    let offs: Vec<Off> = halves
        .into_iter()
        .flat_map(|half| half.join().unwrap())
        .collect();
    let outside = offs.iter().filter(|off| off.error > off.bound);
    let outside: Vec<String> = outside.map(Off::to_string).collect();
    let beyond = offs.iter().filter(|off| off.error > 0.015);
    let beyond: Vec<String> = beyond.map(Off::to_string).collect();
    let bound = quantile(offs.iter().map(|off| off.bound), 0.5);
    let error = quantile(offs.iter().map(|off| off.error), 1.0);
    println!(
        "{RUNS} runs, {} energies: outside their bound {}; bound: median {:.2} %, most {:.2} %; error: median {:.3} %, most {:.3} %",
        offs.len(),
        outside.len(),
        100.0 * bound,
        100.0 * quantile(offs.iter().map(|off| off.bound), 1.0),
        100.0 * quantile(offs.iter().map(|off| off.error), 0.5),
        100.0 * error,
    );
    println!("  off by more than 1.5 %: {}", beyond.join("; "));
    for scope in Scope::ALL {
        let of_scope = || offs.iter().filter(|off| off.scope == scope);
        if of_scope().next().is_some() {
            println!(
                "  {scope}: {} energies, bound: median {:.2} %, error: median {:.3} %, most {:.3} %",
                of_scope().count(),
                100.0 * quantile(of_scope().map(|off| off.bound), 0.5),
                100.0 * quantile(of_scope().map(|off| off.error), 0.5),
                100.0 * quantile(of_scope().map(|off| off.error), 1.0),
            );
        }
    }
    assert!(outside.len() <= 1, "{}", outside.join("\n"));
    assert!(bound <= 0.05, "median bound {bound}");
    // Which of a thousand draws is the worst one is luck: one may be.
    assert!(beyond.len() <= 1, "{}", beyond.join("\n"));
}

fn one(bench: &Bench, scope: Scope) -> &PowerReport {
    bench.report.power_of(scope).unwrap()
}

#[test]
fn lost_readings_show_in_coverage_and_bound() {
    let (_folder, spool) = spool();
    let whole = Bench::run(&spool, "orin?seed=5", "ina", ITEMS);
    let holed = Bench::run(&spool, "orin?seed=5&drop=0.2", "ina", ITEMS);
    let (sound, power) = (one(&whole, Scope::Module), one(&holed, Scope::Module));
    assert!((sound.coverage - 1.0).abs() < 1e-12, "{}", sound.coverage);
    assert!(
        (0.85..0.999).contains(&power.coverage),
        "{}",
        power.coverage
    );
    assert!(power.error_terms_j["gaps"] > 0.0);
    assert!(power.error_bound_j.unwrap() > 1.2 * sound.error_bound_j.unwrap());
    let error = (power.energy_j.unwrap() - holed.truth(Scope::Module)).abs();
    assert!(error <= power.error_bound_j.unwrap(), "{error}");
}

#[test]
fn a_seed_repeats_every_figure_and_every_instrument_sees_the_same_machine() {
    let (_folder, spool) = spool();
    let energies = |power: &str| {
        let bench = Bench::run(&spool, "thor?seed=11", power, ITEMS);
        let energies = bench.report.power.iter().map(|power| {
            let (joules, truth) = (power.energy_j.unwrap(), bench.truth(power.scope));
            assert!((joules - truth).abs() < 0.01 * truth, "{power:?} {truth}");
            (power.scope, joules.to_bits())
        });
        energies.collect::<Vec<(Scope, u64)>>()
    };
    let (first, again, by_tool) = (energies("ina"), energies("ina"), energies("tegrastats"));
    assert_eq!(first, again);
    assert_ne!(first, by_tool);
    let scopes = |energies: &[(Scope, u64)]| energies.iter().map(|(scope, _)| *scope).collect();
    let (by_files, by_tool): (Vec<Scope>, Vec<Scope>) = (scopes(&first), scopes(&by_tool));
    assert_eq!(by_files, by_tool);
}

/// Of monitors that are read five times before they have something new, by their driver's word or without one.
#[test]
fn slow_monitors_have_wide_bounds_and_keep_to_them() {
    let (_folder, spool) = spool();
    for seed in 0..SLOW_RUNS {
        for machine in ["orin", "thor"] {
            let bench = Bench::run(
                &spool,
                &format!("{machine}?refresh=500&seed={seed}"),
                "ina",
                ITEMS,
            );
            for power in &bench.report.power {
                let (joules, bound) = (power.energy_j.unwrap(), power.error_bound_j.unwrap());
                let error = (joules - bench.truth(power.scope)).abs();
                assert!(error <= bound, "{machine} {seed}: {error} J, {power:?}");
            }
        }
    }
}

#[test]
fn heat_slows_a_machine_down_and_the_run_says_so() {
    let (_folder, spool) = spool();
    let flags = |machine: &str| {
        let bench = Bench::run(&spool, machine, "auto", ITEMS);
        let flags = bench.report.flags.iter().map(|flag| flag.id.clone());
        flags.collect::<Vec<String>>()
    };
    for machine in ["orin", "thor", "gb10"] {
        let cool = flags(machine);
        assert!(
            !cool.contains(&"throttled".to_owned()),
            "{machine} {cool:?}"
        );
        let hot = flags(&format!("{machine}?ambient=95"));
        assert!(hot.contains(&"throttled".to_owned()), "{machine} {hot:?}");
    }
}

#[test]
fn a_run_is_waited_for_and_its_warmth_is_in_the_trace_every_second() {
    let (_folder, spool) = spool();
    let bench = Bench::run(&spool, "thor?seed=3", "ina", ITEMS);
    let settle = &bench.report.reasons["settle"];
    assert!(settle.contains("flat after "), "{settle}");
    let segment = &bench.trace.segments[0];
    let is_warmth = |gauge: &&GaugeTrace| gauge.kind == GaugeKind::Temperature;
    let samples = &segment.gauges.iter().find(is_warmth).unwrap().samples;
    assert!(samples.last().unwrap().1 > samples.first().unwrap().1);
    let seconds = usize::try_from(segment.window.length().as_secs()).unwrap();
    assert!((seconds..seconds + 4).contains(&samples.len()), "{seconds}");
}

/// The power of what nobody waits for any more must not be drawn for ever.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_given_up_leaves_the_machine_at_rest() {
    let simulated = Simulated::make(&"orin".parse().unwrap()).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::start());
    let model = Model::parse("made-up-2b", "f16").unwrap();
    let engine = simulated.engine(model, clock.clone(), None);
    engine.load().await.unwrap();
    let watts = |from, to| {
        let window = Window { from, to };
        simulated.energy(Scope::Module, window).unwrap().0 / window.length().as_secs_f64()
    };
    let second = Duration::from_secs(1);
    let loaded = clock.now();
    tokio::time::sleep(second).await;
    let idle = watts(loaded, clock.now());
    for n_events in [1, 2, 5] {
        let mut answer = engine.ask(question());
        for _ in 0..n_events {
            let arrival = answer.next().await.unwrap().unwrap();
            assert!(!matches!(arrival.event, Event::Done(_)));
        }
        drop(answer);
        let given_up = clock.now();
        tokio::time::sleep(second).await;
        let after = watts(given_up, clock.now());
        assert!((after - idle).abs() < 0.1 * idle, "{after} W, {idle} W");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_has_the_length_that_is_fixed_and_a_prompt_what_was_said_before() {
    let simulated = Simulated::make(&"orin".parse().unwrap()).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::start());
    let engine = simulated.engine(Model::parse("made-up-2b", "f16").unwrap(), clock, None);
    engine.load().await.unwrap();
    let counts = async |question| {
        let arrivals: Vec<_> = engine.ask(question).collect().await;
        match &arrivals.last().unwrap().as_ref().unwrap().event {
            Event::Done(finish) => finish.tokens.unwrap(),
            other => panic!("an answer ends with its counts, not with {other:?}"),
        }
    };
    let fixed = Question {
        max_tokens: 150,
        is_fixed_length: true,
        ..question()
    };
    let later = Question {
        history: vec![Turn {
            speaker: Speaker::User,
            text: "word ".repeat(80),
        }],
        ..fixed.clone()
    };
    let (fixed, later) = (counts(fixed).await, counts(later).await);
    assert_eq!((fixed.completion, later.completion), (150, 150));
    assert_eq!(later.prompt, fixed.prompt + 100);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_does_not_fit_is_out_of_memory() {
    let simulated = Simulated::make(&"orin".parse().unwrap()).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::start());
    let model = Model::parse("made-up-72b", "f16").unwrap();
    let error = simulated
        .engine(model, clock, None)
        .load()
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("out_of_memory: simulated: 144.0 GB"),
        "{error}"
    );
}

fn question() -> Question {
    Question::new("What is in this picture?".to_owned(), Some([0].into()), 64)
}

const PERIOD: Duration = Duration::from_millis(100);

/// A minute and more on the fastest machine.
const ITEMS: usize = 90;

const RUNS: u64 = 1000;

const SLOW_RUNS: u64 = 25;
