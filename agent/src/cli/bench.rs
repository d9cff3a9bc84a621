//! `bench`: measures a model on this device, shows what came out, keeps it for the collector.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use tempfile::TempDir;
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokwatt_domain::{
    campaign::JobRef,
    device::DeviceProfile,
    ids::{Name, RunId},
    metrics::RunReport,
    power::Provenance,
    time::Stamp,
    workload::Sampling,
};
use tracing::Instrument;

use self::{events::Events, instruments::Instruments, kept::Kept, load::LoadArgs};
use super::{
    Exit, Format, General, complain, gate, runtime,
    simulate::{SimulateArgs, virtual_runtime},
    stop,
};
use crate::{
    clock::{Clock, SystemClock, VirtualClock},
    device::{HostRoot, probe},
    enrol::Renewal,
    runner::{Group, Outcome, Progress, QuietGate, Runner, RunnerError, RunnerSettings},
    settings::{Given, Settings},
    simulate::Simulated,
    spool::{BenchLock, Spool},
    uplink::{Address, LinkState, Uplink},
    workload::{
        plan::{Plan, PlanOptions},
        suite::Suite,
    },
};

mod bundle;
mod document;
mod events;
pub(super) mod groups;
pub(super) mod instruments;
mod kept;
mod load;
mod modes;
mod named;
pub(super) mod progress;
pub(super) mod server;
mod summary;
mod truth;
mod unfinished;

#[derive(Args)]
pub(super) struct BenchArgs {
    /// What to ask: a suite by its name, built in or in the configuration's folder (`tokwatt-agent suites list`), or a file
    #[arg(long, default_value = "edge-vision", value_name = "NAME|FILE")]
    suite: String,
    /// Who answers
    #[arg(long, value_enum, default_value_t = BackendKind::Embedded)]
    backend: BackendKind,
    /// Address of the server that answers, with --backend openai or ollama: http://HOST:PORT; `backend.url` of the configuration
    /// without it, and for Ollama http://127.0.0.1:11434
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A server to start before its runs and to stop after them, with --backend openai: a command (a program and its arguments,
    /// read by no shell), or the name of a [[server]] of the configuration. It answers at --url, or where
    /// `--host H` and `--port N` of the command say, on this machine without the first
    #[arg(long, value_name = "COMMAND|NAME")]
    server: Option<String>,
    /// Longest time from the start of --server to its first answer
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = some_time)]
    server_ready_within: Duration,
    /// File with the server's API key; else the environment's TOKWATT_API_KEY. It is shown to that server only, and kept nowhere
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Certificate in PEM form of the authority that vouches for an https server; the system's authorities without it
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Look at the server's own metrics about once a second: KV cache, queue, preemptions, and tokens that somebody else asked for;
    /// at URL, else at /metrics of --url. Without it the server is asked for nothing but answers
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    server_metrics: Option<String>,
    /// Ask for answers in one piece: of their times only the latency is left
    #[arg(long)]
    no_stream: bool,
    /// Weights, a GGUF file; without it the tiny reference model that is built in. Of a server the name it serves a model by;
    /// without it the only one. With --simulate a size, such as made-up-2b, or one with a nature of its own, such as made-up-heron-4b
    #[arg(long, value_name = "FILE|NAME")]
    model: Option<PathBuf>,
    /// The picture projector of --model
    #[arg(long, value_name = "FILE")]
    mmproj: Option<PathBuf>,
    /// Precisions to run, one after the other: NAME-{precision}.gguf beside the model. Of a server one, and what it is called:
    /// a label
    #[arg(long, value_delimiter = ',', value_name = "P,…")]
    precision: Vec<String>,
    /// Models of the configuration's [[model]] by name, and tiny-vlm, which is built in: one after the other in one bench, each in the
    /// precisions of --precision, or in all that are there
    #[arg(long, value_delimiter = ',', value_name = "NAME,…", value_parser = Name::parse, conflicts_with_all = ALONE)]
    models: Vec<Name>,
    /// Servers of the configuration's [[server]] by name, one after the other, behind --models
    #[arg(long, value_delimiter = ',', value_name = "NAME,…", value_parser = Name::parse, conflicts_with_all = ALONE)]
    servers: Vec<Name>,
    #[command(flatten)]
    load: LoadArgs,
    /// Repetitions of every cell; three or more give an interval
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// Idle baselines of 10 s instead of 60, at most 5 s of waiting for flat temperatures and power before a run instead of 60; everything is marked `quick`, energy is shown and not ranked
    #[arg(long)]
    quick: bool,
    /// Load every model so many times from disk (its pages dropped from the page cache) and as many from memory before its
    /// runs, and report both load times; 0 loads once, from whatever is cached, and says what that was
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    load_times: u32,
    /// Most pictures of each task, or questions where they have none
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Sides of the drawn pictures in pixels, 96 to 1024
    #[arg(long, value_delimiter = ',', value_name = "PX,…")]
    size: Option<Vec<u32>>,
    /// Own pictures (PNG, JPEG) instead of drawn ones; `labels.jsonl` beside them is optional
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Where the generator of the scenes starts; the suite's own without it
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Longest time a request may take, such as 500ms, 60s or 5m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = some_time)]
    timeout: Duration,
    /// Threads of the embedded engine; one core is left free without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Most tokens of an answer, instead of the suite's limit
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// auto, none, or a list of ina, tegrastats, nvml, spbm, rapl, replay:FILE, and of a meter's files that grow meanwhile,
    /// csv:FILE?time=COLUMN&power=COLUMN&scope=wall|system_in&offset=SECONDS&uncertainty=SECONDS (without options the columns
    /// are unix_s and power_w) and spl:FILE?offset=SECONDS; the configuration's without it, and then auto
    #[arg(long, value_name = "SOURCES")]
    power: Option<String>,
    /// Time between two power samples, 10ms to 10s; the configuration's without it, and then 100ms
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    power_interval: Option<Duration>,
    /// Any command that prints lines like NVIDIA's tegrastats
    #[arg(long, value_name = "PATH")]
    tegrastats: Option<PathBuf>,
    /// Power modes of a Jetson to run everything in, by number or name, such as 0,MODE_30W; needs sudo, asks before it
    /// switches, and puts the mode in force back at the end
    #[arg(long, value_delimiter = ',', value_name = "MODE,…")]
    power_modes: Vec<String>,
    /// Switch power modes without asking
    #[arg(long, requires = "power_modes")]
    yes: bool,
    /// Go on with the bench that was interrupted by kill -9, SIGTERM, a reboot or a full disk, asked for in the same way; without such,
    /// begin
    #[arg(long, conflicts_with = "abandon")]
    resume: bool,
    /// Give up the bench that was interrupted, with what was measured kept as cancelled, and begin this one
    #[arg(long)]
    abandon: bool,
    /// Folder for the bundle: bench.json, every raw trace, SHA256SUMS
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Whom to deliver to; without it the collector where this device is enrolled. If there is none, or it is away, results wait in the spool
    #[arg(long, env = "TOKWATT_COLLECTOR", value_name = "URL")]
    collector: Option<String>,
    /// How to write what came out
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    simulate: SimulateArgs,
    /// Tell where it stands on standard output, for the agent that started it
    #[arg(long, hide = true)]
    events: bool,
    /// The lease of the job that it is for
    #[arg(long, hide = true, requires = "events", value_name = "JOB:ATTEMPT")]
    job: Option<JobRef>,
}

/// Flags that say otherwise who answers.
const ALONE: [&str; 7] = [
    "backend",
    "url",
    "server",
    "model",
    "mmproj",
    "server_metrics",
    "simulate",
];

/// A duration that is not zero: nothing is answered in no time.
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("no request is answered in no time; try 60s".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

/// Who answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum BackendKind {
    /// The engine inside this binary
    Embedded,
    /// A server of the OpenAI interface: vLLM, llama.cpp, SGLang, TensorRT-LLM and others
    Openai,
    /// Ollama, by its native interface, which loads and unloads
    Ollama,
}

impl BackendKind {
    /// As it is written on the command line and stored with a run.
    fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Openai => "openai",
            Self::Ollama => "ollama",
        }
    }
}

/// Delivery in the background, while the bench runs.
struct Delivery {
    address: Address,
    link: watch::Receiver<LinkState>,
    hurry: Arc<Notify>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

pub(super) fn bench(general: General, args: BenchArgs) -> anyhow::Result<Exit> {
    if !args.events {
        return measure(general, &args, None);
    }
    let events = Events::start(args.simulate.is_asked())?;
    let result = measure(general, &args, Some(&events));
    if let Err(error) = &result {
        events.end(events::class(error), format!("{error:#}"));
    }
    result
}

/// With `events`, for whoever started it: told to them, delivered by them.
fn measure(
    general: General,
    args: &BenchArgs,
    events: Option<&Arc<Events>>,
) -> anyhow::Result<Exit> {
    args.check()?;
    let settings = general.settings(given(args))?;
    let plan = plan(args, &settings)?;
    let simulated = args.simulate.make()?;
    if let Some(out) = &args.out {
        bundle::check(out)?;
    }
    let now = SystemClock::start().wall();
    let aside = simulated.as_ref().map(|_| tempfile::tempdir());
    let aside = aside.transpose()?;
    let folder = outbox(&settings, aside.as_ref());
    let spool = Spool::open(&folder, now, settings.spool_bytes_max.value)?;
    let given = settings.collector.value.as_deref();
    let address = match events {
        None => Address::in_force(given, &folder).context("--collector")?,
        Some(_) => None,
    };
    let _lock = BenchLock::take(&folder)?;
    let after = unfinished::take_up(&spool, args, &settings, &plan)?;
    if let Some(events) = events.filter(|_| after.is_some()) {
        events.begun();
    }
    let here = Here {
        args,
        events: events.cloned(),
        settings: &settings,
        plan,
        after,
        spool: Arc::new(spool),
        address,
    };
    let Measured {
        device,
        mut outcome,
        mut kept,
        delivered,
    } = match &simulated {
        None => {
            let runtime = runtime()?;
            let measured = runtime.block_on(here.measure());
            // A gauge that hangs in its driver must not keep anybody from the results.
            runtime.shutdown_timeout(HANGING_MOST);
            measured?
        }
        Some(simulated) => here.simulate(simulated)?,
    };
    if let Some(events) = events {
        let (how, reason) = events::verdict(&outcome);
        events.end(how, reason);
        return Ok(exit(&outcome));
    }
    for warning in &outcome.warnings {
        complain(&anyhow::Error::msg(warning.clone()));
    }
    if outcome.is_unfinished {
        complain(&anyhow::anyhow!(
            "the bench is not finished; the same command with --resume goes on with it"
        ));
    }
    let has_run = outcome.is_unfinished || !outcome.reports.iter().all(RunReport::ended_early);
    let is_all = |error: &mut RunnerError| match error {
        RunnerError::Setup(_) if !has_run => true,
        _ => outcome.reports.is_empty(),
    };
    if let Some(error) = outcome.error.take_if(is_all) {
        return Err(error.into());
    }
    if let Some(error) = kept.error.take() {
        return Err(error);
    }
    let truth = simulated.as_ref().map(|_| &*kept.truth);
    let document = document::Document::new(&device, &outcome, truth);
    if let Some(out) = args.out.as_deref().filter(|_| !outcome.is_unfinished) {
        let runs: Vec<RunId> = outcome.reports.iter().map(|report| report.run).collect();
        let n_missing = bundle::write(out, &document, &runs)?;
        if n_missing > 0 {
            complain(&anyhow::anyhow!(
                "--out: {n_missing} runs of before the interruption have no trace in the bundle: they ran without it"
            ));
        }
    }
    show(
        &here,
        &device,
        &outcome,
        &document,
        &kept,
        delivered.as_deref(),
    )?;
    let mut exit = exit(&outcome);
    // A device's results wait for the collector, a made-up machine's do not.
    if truth.is_some() && delivered.is_some() && here.spool.status()?.waiting_records > 0 {
        exit = Exit::FoundWrong;
    }
    if let Some(error) = outcome.error {
        complain(&error.into());
    }
    Ok(exit)
}

impl BenchArgs {
    /// Whether who answers stands in the configuration.
    fn is_named(&self) -> bool {
        !self.models.is_empty() || !self.servers.is_empty()
    }

    /// What clap cannot know.
    fn check(&self) -> anyhow::Result<()> {
        let is_simulated = self.simulate.is_asked();
        ensure!(
            !is_simulated || self.server_metrics.is_none(),
            "--server-metrics: a simulated machine has no server"
        );
        ensure!(
            !is_simulated || self.power_modes.is_empty(),
            "--power-modes: a simulated machine has one mode only"
        );
        ensure!(
            !is_simulated || !(self.resume || self.abandon),
            "--resume and --abandon: a simulated bench leaves nothing that could go on, and its seed brings it back"
        );
        match self.backend {
            BackendKind::Embedded => self.check_embedded(is_simulated),
            BackendKind::Openai | BackendKind::Ollama => self.check_server(is_simulated),
        }
    }

    /// A server has its own files, threads and precision.
    fn check_server(&self, is_simulated: bool) -> anyhow::Result<()> {
        let backend = self.backend.name();
        ensure!(
            !is_simulated,
            "--backend {backend}: a simulated machine has an engine of its own"
        );
        ensure!(
            self.server.is_none() || self.backend == BackendKind::Openai,
            "--server: a server that we start is asked by the OpenAI interface; Ollama starts its models itself"
        );
        ensure!(
            self.mmproj.is_none(),
            "--mmproj: a server is started with its projector: it belongs into the server's own command"
        );
        ensure!(
            self.threads.is_none(),
            "--threads: a server is started with its threads: they belong into the server's own command"
        );
        ensure!(
            self.precision.len() <= 1,
            "--precision: a server has one, and --backend {backend} only calls it by that name"
        );
        Ok(())
    }

    fn check_embedded(&self, is_simulated: bool) -> anyhow::Result<()> {
        let of_servers = [
            ("--url", self.url.is_some()),
            ("--server", self.server.is_some()),
            ("--api-key-file", self.api_key_file.is_some()),
            ("--ca-file", self.ca_file.is_some()),
        ];
        if let Some((flag, _)) = of_servers.iter().find(|(_, is_given)| *is_given) {
            bail!(
                "{flag} is about a server, and the embedded engine is none: add --backend openai"
            );
        }
        match (&self.model, &self.mmproj) {
            (Some(_), None) if !is_simulated => {
                bail!("--model: the picture projector is missing; name it with --mmproj FILE")
            }
            (None, Some(_)) => bail!("--mmproj goes with --model FILE"),
            (_, Some(_)) if is_simulated => {
                bail!("--mmproj: a simulated machine has no files to read")
            }
            _ => Ok(()),
        }
    }
}

/// What was asked for, checked, and where results go.
struct Here<'a> {
    args: &'a BenchArgs,
    /// Who is told, if that is not a person.
    events: Option<Arc<Events>>,
    settings: &'a Settings,
    plan: Plan,
    /// The last stamp of the bench that this one goes on with.
    after: Option<Stamp>,
    spool: Arc<Spool>,
    address: Option<Address>,
}

/// What came of it.
struct Measured<'a> {
    device: DeviceProfile,
    outcome: Outcome,
    kept: Kept<'a>,
    /// What became of the delivery, if one was asked for.
    delivered: Option<String>,
}

/// What answers and what is read, and the time by which.
struct Bench {
    device: DeviceProfile,
    host_root: HostRoot,
    clock: Arc<dyn Clock>,
    instruments: Instruments,
    groups: Vec<Group>,
    /// Where the words of a server that we start are kept.
    server_log: Option<PathBuf>,
}

impl<'a> Here<'a> {
    /// On this machine, delivering meanwhile.
    async fn measure(&self) -> anyhow::Result<Measured<'a>> {
        let root = HostRoot::at(&self.settings.host_root.value);
        let device = super::named(&root, self.settings);
        let clock: Arc<dyn Clock> = Arc::new(match self.after {
            Some(last) => SystemClock::start_after(last),
            None => SystemClock::start(),
        });
        let groups = groups::groups(self.args, self.settings, &self.plan, &clock)?;
        let baseline = match self.settings.power.value.as_str() {
            "none" => Duration::ZERO,
            _ => idle(self.args.quick),
        };
        let groups = modes::multiply(groups, self.args, &device, &root, baseline)?;
        let metrics = server::metrics(self.args, self.settings, &clock)?;
        let bench = Bench {
            instruments: instruments::start(self.settings, &device, &root, &clock, metrics)?,
            groups,
            server_log: groups::server(self.args, self.settings)?.map(|chosen| chosen.server.log()),
            device,
            host_root: root,
            clock,
        };
        let tasks = TaskTracker::new();
        let (stop, leave) = stop::or_leave(&tasks)?;
        let grown = Arc::new(Notify::new());
        let mut quiet = gate(self.settings)?;
        if let Some(events) = &self.events {
            quiet = quiet.with_notice(events.notice());
            let (gone, stop, leave) = (events.gone().clone(), stop.clone(), leave.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = gone.cancelled() => {
                        leave.cancel();
                        stop.cancel();
                    }
                    () = stop.cancelled() => {}
                }
            });
        }
        let delivery = self.address.clone().map(|address| {
            Delivery::start(address, &bench.device, &self.spool, &quiet, &grown, &tasks)
        });
        let device = bench.device.clone();
        let mut kept = Kept::new(self.args.out.as_deref(), None);
        let run = self.run(bench, quiet, grown, (stop.clone(), leave), &mut kept);
        let outcome = run.await;
        // What was measured before an error is delivered and shown all the same.
        let delivered = match delivery {
            Some(delivery) => Some(delivery.finish(&self.spool, &stop).await?),
            None => None,
        };
        Ok(Measured {
            device,
            outcome,
            kept,
            delivered,
        })
    }

    /// On a machine that does not exist, in virtual time; delivered afterwards, for the network knows no such time.
    fn simulate(&self, simulated: &'a Simulated) -> anyhow::Result<Measured<'a>> {
        let device = simulated.profile();
        let mut kept = Kept::new(self.args.out.as_deref(), Some(simulated));
        let (outcome, is_stopped) = virtual_runtime()?.block_on(async {
            let tasks = TaskTracker::new();
            let stop = stop::on_signal(&tasks)?;
            let clock: Arc<dyn Clock> = Arc::new(VirtualClock::start());
            let bench = Bench {
                instruments: instruments::made_up(self.settings, simulated, &clock, &tasks)?,
                groups: groups::simulated(self.args, simulated, &self.plan, &clock)?,
                server_log: None,
                device: device.clone(),
                host_root: simulated.root(),
                clock,
            };
            let (quiet, grown) = (QuietGate::default(), Arc::default());
            let stops = (stop.clone(), CancellationToken::new());
            let outcome = self.run(bench, quiet, grown, stops, &mut kept).await;
            anyhow::Ok((outcome, stop.is_cancelled()))
        })?;
        let delivered = match self.address.clone().filter(|_| !is_stopped) {
            Some(address) => Some(runtime()?.block_on(self.deliver(address, &device))?),
            None => None,
        };
        Ok(Measured {
            device,
            outcome,
            kept,
            delivered,
        })
    }

    async fn deliver(&self, address: Address, device: &DeviceProfile) -> anyhow::Result<String> {
        let tasks = TaskTracker::new();
        let stop = stop::on_signal(&tasks)?;
        let (quiet, grown) = (QuietGate::default(), Arc::default());
        let delivery = Delivery::start(address, device, &self.spool, &quiet, &grown, &tasks);
        delivery.finish(&self.spool, &stop).await
    }

    async fn run(
        &self,
        bench: Bench,
        quiet: QuietGate,
        grown: Arc<Notify>,
        (stop, leave): (CancellationToken, CancellationToken),
        kept: &mut Kept<'a>,
    ) -> Outcome {
        let mut watcher = Watcher::of(self.events.as_ref());
        let why = bench.instruments.why.iter().cloned();
        why.for_each(|why| watcher.show(Progress::Stage(why)));
        let provenance = match self.args.simulate.is_asked() {
            true => Provenance::Simulated,
            false => bench.host_root.provenance(),
        };
        if let Some(log) = &bench.server_log {
            let log = log.display();
            watcher.show(Progress::Stage(format!(
                "what the server prints is kept in {log}"
            )));
        }
        if provenance == Provenance::Replayed {
            watcher.show(Progress::Stage(recorded(&self.settings.host_root.value)));
        }
        let runner = Runner {
            device: bench.device,
            clock: bench.clock,
            sampler: bench.instruments.sampler,
            power_reasons: bench.instruments.reasons,
            host_root: bench.host_root,
            gauges: bench.instruments.gauges,
            spool: self.spool.clone(),
            grown,
            quiet,
            settings: runner_settings(self.args, &self.plan, provenance),
            stop,
            leave,
        };
        let mut watch = |step| match step {
            Progress::Finished(trace) => kept.keep(&trace),
            step => watcher.show(step),
        };
        let bench_of = runner.bench(&self.plan, &bench.groups, &mut watch);
        let mut outcome = bench_of.await;
        watcher.end();
        runner.put_mode_back(&bench.groups, &mut outcome).await;
        outcome
    }
}

/// Who sees where a bench stands.
enum Watcher {
    Person(progress::Bar),
    Parent(Arc<Events>),
}

impl Watcher {
    fn of(events: Option<&Arc<Events>>) -> Self {
        match events {
            Some(events) => Self::Parent(events.clone()),
            None => Self::Person(progress::Bar::start()),
        }
    }

    fn show(&mut self, step: Progress) {
        match self {
            Self::Person(bar) => bar.show(step),
            Self::Parent(events) => events.show(step),
        }
    }

    fn end(&self) {
        if let Self::Person(bar) = self {
            bar.end();
        }
    }
}

fn given(args: &BenchArgs) -> Given {
    Given {
        collector: args.collector.clone(),
        backend_url: args.url.clone(),
        api_key_file: args.api_key_file.clone(),
        ca_file: args.ca_file.clone(),
        tegrastats: args.tegrastats.clone(),
        power: args.power.clone(),
        power_interval: args.power_interval,
        ..Given::default()
    }
}

fn plan(args: &BenchArgs, settings: &Settings) -> anyhow::Result<Plan> {
    let own = settings.suites.value.as_deref();
    let suite = Suite::find(&args.suite, own).context("--suite")?;
    let options = PlanOptions {
        limit: args.limit,
        sizes: args.size.clone(),
        images: args.images.clone(),
        seed: args.seed,
    };
    Ok(Plan::make(&suite, &options)?)
}

fn runner_settings(args: &BenchArgs, plan: &Plan, provenance: Provenance) -> RunnerSettings {
    RunnerSettings {
        repeat: args.repeat,
        loads: args.load.loads(&plan.concurrency),
        limits: args.load.limits(),
        job: args.job,
        timeout: args.timeout,
        max_tokens: args.max_tokens,
        sampling: Sampling::Greedy,
        is_streaming: !args.no_stream,
        idle: idle(args.quick),
        is_quick: args.quick,
        load_trials: args.load_times,
        provenance,
    }
}

/// Where results wait. A spool is one device's outbox: what is there is delivered under one name, and the collector sets aside what
/// is another's. So a recorded device has one of its own, and one that does not exist none that lasts.
fn outbox(settings: &Settings, aside: Option<&TempDir>) -> PathBuf {
    let data = &settings.data.value;
    let root = HostRoot::at(&settings.host_root.value);
    match (aside, root.provenance()) {
        (Some(aside), _) => aside.path().to_owned(),
        (None, Provenance::Measured) => data.clone(),
        (None, _) => data.join("recorded").join(probe(&root, data).id.as_str()),
    }
}

/// How to deliver what waits.
fn delivery(settings: &Settings, spool: &Spool, address: Option<&Address>) -> String {
    let root = &settings.host_root.value;
    let is_enrolled = address.is_some_and(|address| address.identity().is_some());
    let run = if is_enrolled {
        "run --until-empty"
    } else {
        "run --collector URL --until-empty"
    };
    match HostRoot::at(root).provenance() {
        Provenance::Measured => format!("tokwatt-agent {run}"),
        _ => {
            let folder = spool.path().parent().unwrap_or(Path::new("."));
            format!(
                "tokwatt-agent --data '{}' --host-root '{}' {run}",
                folder.display(),
                root.display()
            )
        }
    }
}

/// This machine answers, and the device that is named is another one.
fn recorded(root: &Path) -> String {
    format!(
        "the host root `{}` is a recording: everything of this bench is marked replayed, and none of it is on the default boards",
        root.display()
    )
}

/// How long idle power is watched.
pub(super) fn idle(is_quick: bool) -> Duration {
    if is_quick { QUICK_IDLE } else { IDLE }
}

fn show(
    here: &Here<'_>,
    device: &DeviceProfile,
    outcome: &Outcome,
    document: &document::Document<'_>,
    kept: &Kept<'_>,
    delivered: Option<&str>,
) -> anyhow::Result<()> {
    let Here {
        args,
        settings,
        spool,
        address,
        ..
    } = here;
    let mut out = std::io::stdout().lock();
    if args.format == Format::Json {
        return document.write(&mut out);
    }
    summary::write(
        &mut out,
        device,
        outcome,
        document::AgentCost::of_this_process(),
        kept,
    )?;
    if args.simulate.is_asked() {
        let bundle = args.out.as_deref();
        let waiting = spool.status()?.waiting_records;
        return summary::write_simulated_whereabouts(&mut out, delivered, waiting, bundle);
    }
    let how = delivery(settings, spool, address.as_ref());
    let waiting = summary::Waiting {
        records: spool.status()?.waiting_records,
        spool: spool.path(),
        how: &how,
    };
    summary::write_whereabouts(&mut out, delivered, &waiting, args.out.as_deref())
}

fn exit(outcome: &Outcome) -> Exit {
    let has_failures = outcome
        .reports
        .iter()
        .any(|report| report.requests.succeeded < report.requests.issued);
    let is_incomplete = outcome.is_unfinished || outcome.reports.iter().any(RunReport::ended_early);
    let is_marred = outcome.is_cancelled || !outcome.warnings.is_empty() || outcome.error.is_some();
    if has_failures || is_incomplete || is_marred {
        Exit::FoundWrong
    } else {
        Exit::Done
    }
}

impl Delivery {
    fn start(
        address: Address,
        device: &DeviceProfile,
        spool: &Arc<Spool>,
        quiet: &QuietGate,
        grown: &Arc<Notify>,
        tasks: &TaskTracker,
    ) -> Self {
        let (state, link) = watch::channel(LinkState::Connecting);
        let hurry = Arc::<Notify>::default();
        let uplink = Uplink {
            address: address.clone(),
            device: device.id.clone(),
            spool: spool.clone(),
            quiet: quiet.clone(),
            grown: grown.clone(),
            hurry: hurry.clone(),
            state,
        };
        let stop = CancellationToken::new();
        if let Some(renewal) = Renewal::of(&address, quiet, &hurry) {
            let span = tracing::info_span!("renewal", device = %device.id);
            tasks.spawn(renewal.run(stop.clone()).instrument(span));
        }
        let span = tracing::info_span!("uplink", device = %device.id);
        let task = tasks.spawn(uplink.run(stop.clone()).instrument(span));
        Self {
            address,
            link,
            hurry,
            stop,
            task,
        }
    }

    /// Tries once more, until the collector has everything or is found to be away, or a person has waited enough; says which.
    async fn finish(mut self, spool: &Spool, stop: &CancellationToken) -> anyhow::Result<String> {
        // What the link said before is no word on now.
        self.link.mark_unchanged();
        self.hurry.notify_one();
        let verdict = tokio::select! {
            verdict = self.verdict(spool) => verdict?,
            () = tokio::time::sleep(LAST_DELIVERY) => {
                format!("{} did not take everything within {} s", self.address, LAST_DELIVERY.as_secs())
            }
            () = stop.cancelled(), if !stop.is_cancelled() => {
                format!("not everything is delivered to {}: stopped", self.address)
            }
        };
        self.stop.cancel();
        self.task.await?;
        Ok(verdict)
    }

    async fn verdict(&mut self, spool: &Spool) -> anyhow::Result<String> {
        while spool.status()?.waiting_records > 0 {
            self.link.changed().await?;
            if let LinkState::Down { reason } = &*self.link.borrow_and_update() {
                return Ok(format!("not delivered to {}: {reason}", self.address));
            }
        }
        Ok(format!("delivered to {}", self.address))
    }
}

/// Idle power is watched this long, as METRICS.md asks.
const IDLE: Duration = Duration::from_secs(60);

/// Idle power of `--quick`.
const QUICK_IDLE: Duration = Duration::from_secs(10);

/// How long the end of a bench waits for a look at the device that hangs.
const HANGING_MOST: Duration = Duration::from_secs(1);

/// How long the end of a bench waits for the collector to acknowledge the rest.
const LAST_DELIVERY: Duration = Duration::from_secs(30);
