//! `swap`: two models that take turns in memory; what each switch costs, and when it pays.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use clap::Args;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokwatt_domain::{
    device::DeviceProfile,
    power::Provenance,
    workload::{Load, Sampling},
};

use super::{
    Exit, Format, General,
    bench::{
        BackendKind, groups,
        instruments::{self, Instruments},
        progress, server,
    },
    complain, runtime, servers,
    simulate::{SimulateArgs, virtual_runtime},
    stop,
};
use crate::{
    backend::{
        embedded::{CONTEXT_DEFAULT, Weights},
        ollama::OllamaSettings,
        openai::{OpenAiSettings, Patience},
    },
    clock::{Clock, SystemClock, VirtualClock},
    device::HostRoot,
    runner::{Group, Progress, QuietGate, Runner, RunnerSettings, Swapped},
    settings::{Given, Settings},
    simulate::Simulated,
    spool::Spool,
    workload::{
        plan::{Plan, PlanOptions},
        suite::Suite,
    },
};

mod document;
mod summary;

#[derive(Args)]
pub(super) struct SwapArgs {
    /// One model: a precision of the model that is built in, a GGUF file; with --backend openai a command that starts a server, or the
    /// name of a [[server]] of the configuration; with --backend ollama a model's name
    #[arg(long, value_name = "MODEL")]
    a: String,
    /// The other one
    #[arg(long, value_name = "MODEL")]
    b: String,
    /// Who answers
    #[arg(long, value_enum, default_value_t = BackendKind::Embedded)]
    backend: BackendKind,
    /// The picture projector of --a, where that is a file
    #[arg(long, value_name = "FILE")]
    mmproj_a: Option<PathBuf>,
    /// The picture projector of --b, where that is a file
    #[arg(long, value_name = "FILE")]
    mmproj_b: Option<PathBuf>,
    /// Where the server of --a answers; without it at http://127.0.0.1:N where its command has `--port N`, or at its `--host H`,
    /// Ollama where `bench` looks for it
    #[arg(long, value_name = "URL")]
    url_a: Option<String>,
    /// Where the server of --b answers
    #[arg(long, value_name = "URL")]
    url_b: Option<String>,
    /// Turns of each model: 2 is A, B, A, B
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// What to ask each model in each turn: a built-in suite, one of the configuration's folder, or a file
    #[arg(long, default_value = "edge-vision", value_name = "NAME|FILE")]
    suite: String,
    /// Most pictures of each task, in each turn
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Idle baselines of 10 s instead of 60
    #[arg(long)]
    quick: bool,
    /// Longest time a request may take, such as 500ms, 60s or 5m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = super::bench::some_time)]
    timeout: Duration,
    /// Longest time a server may take from its start to its first answer
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = super::bench::some_time)]
    server_ready_within: Duration,
    /// File with the servers' API key; else the environment's TOKWATT_API_KEY
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Threads of the embedded engine; one core is left free without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Most tokens of an answer, instead of the suite's limit
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// Power sources, as of `bench`
    #[arg(long, value_name = "SOURCES")]
    power: Option<String>,
    /// Time between two power samples, as of `bench`
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    power_interval: Option<Duration>,
    /// Any command that prints lines like NVIDIA's tegrastats
    #[arg(long, value_name = "PATH")]
    tegrastats: Option<PathBuf>,
    /// How to write what came out
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    simulate: SimulateArgs,
}

/// Where it runs, and with what.
struct Bench {
    device: DeviceProfile,
    host_root: HostRoot,
    clock: Arc<dyn Clock>,
    instruments: Instruments,
    models: [Group; 2],
    provenance: Provenance,
    quiet: QuietGate,
    stop: CancellationToken,
}

pub(super) fn swap(general: General, args: &SwapArgs) -> anyhow::Result<Exit> {
    args.check()?;
    let settings = general.settings(Given {
        tegrastats: args.tegrastats.clone(),
        api_key_file: args.api_key_file.clone(),
        power: args.power.clone(),
        power_interval: args.power_interval,
        ..Given::default()
    })?;
    let own = settings.suites.value.as_deref();
    let suite = Suite::find(&args.suite, own).context("--suite")?;
    let plan = Plan::make(
        &suite,
        &PlanOptions {
            limit: Some(args.limit),
            ..PlanOptions::default()
        },
    )?;
    let (device, reasons, swapped, provenance) = match args.simulate.make()? {
        None => {
            let runtime = runtime()?;
            let swapped = runtime.block_on(measure(args, &settings, &plan));
            runtime.shutdown_timeout(HANGING_MOST);
            swapped?
        }
        Some(simulated) => {
            virtual_runtime()?.block_on(simulate(args, &settings, &plan, &simulated))?
        }
    };
    let mut swapped = swapped;
    if let Some(error) = swapped.error.take_if(|_| swapped.switches.is_empty()) {
        return Err(error.into());
    }
    let document = document::Document::new(&device, provenance, args.rounds, &swapped, reasons);
    let mut out = std::io::stdout().lock();
    match args.format {
        Format::Json => document.write(&mut out)?,
        Format::Table => summary::write(&mut out, &document)?,
    }
    let has_failures = document.has_failures();
    if let Some(error) = swapped.error {
        complain(&error.into());
    }
    match has_failures || swapped.is_cancelled {
        true => Ok(Exit::FoundWrong),
        false => Ok(Exit::Done),
    }
}

/// The device, what is not known and why, what came of it, and how.
type Came = (
    DeviceProfile,
    std::collections::BTreeMap<String, String>,
    Swapped,
    Provenance,
);

async fn measure(args: &SwapArgs, settings: &Settings, plan: &Plan) -> anyhow::Result<Came> {
    let root = HostRoot::at(&settings.host_root.value);
    let device = super::named(&root, settings);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let tasks = TaskTracker::new();
    let bench = Bench {
        models: [
            args.model(0, settings, plan, &clock)?,
            args.model(1, settings, plan, &clock)?,
        ],
        instruments: instruments::start(settings, &device, &root, &clock, None)?,
        provenance: root.provenance(),
        quiet: super::gate(settings)?,
        stop: stop::on_signal(&tasks)?,
        host_root: root,
        device,
        clock,
    };
    bench.run(args, plan).await
}

async fn simulate(
    args: &SwapArgs,
    settings: &Settings,
    plan: &Plan,
    simulated: &Simulated,
) -> anyhow::Result<Came> {
    let tasks = TaskTracker::new();
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::start());
    let model = |text: &str| groups::made_up(text, "f16", simulated, plan, &clock);
    let bench = Bench {
        models: [model(&args.a)?, model(&args.b)?],
        instruments: instruments::made_up(settings, simulated, &clock, &tasks)?,
        provenance: Provenance::Simulated,
        quiet: QuietGate::default(),
        stop: stop::on_signal(&tasks)?,
        host_root: simulated.root(),
        device: simulated.profile(),
        clock,
    };
    bench.run(args, plan).await
}

impl Bench {
    async fn run(self, args: &SwapArgs, plan: &Plan) -> anyhow::Result<Came> {
        let mut bar = progress::Bar::start();
        let why = self.instruments.why.iter().cloned();
        why.for_each(|why| bar.show(Progress::Stage(why)));
        // A runner keeps its runs; here are none.
        let aside = tempfile::tempdir()?;
        let spool = Spool::open(aside.path(), self.clock.wall(), SPOOL_BYTES)?;
        let runner = Runner {
            device: self.device,
            clock: self.clock,
            sampler: self.instruments.sampler,
            power_reasons: self.instruments.reasons,
            host_root: self.host_root,
            gauges: self.instruments.gauges,
            spool: Arc::new(spool),
            grown: Arc::default(),
            quiet: self.quiet,
            settings: RunnerSettings {
                repeat: 1,
                loads: vec![Load::Closed(1)],
                limits: None,
                job: None,
                timeout: args.timeout,
                max_tokens: args.max_tokens,
                sampling: Sampling::Greedy,
                is_streaming: true,
                idle: super::bench::idle(args.quick),
                is_quick: args.quick,
                load_trials: 0,
                provenance: self.provenance,
            },
            stop: self.stop,
            leave: CancellationToken::new(),
        };
        let swapped = runner
            .swap(plan, &self.models, args.rounds, &mut |step| bar.show(step))
            .await;
        bar.end();
        Ok((
            runner.device,
            runner.power_reasons,
            swapped,
            self.provenance,
        ))
    }
}

impl SwapArgs {
    /// What clap cannot know.
    fn check(&self) -> anyhow::Result<()> {
        let is_server = self.backend != BackendKind::Embedded;
        ensure!(
            !is_server || !self.simulate.is_asked(),
            "--simulate: a simulated machine has an engine of its own, and no servers"
        );
        ensure!(
            !is_server || self.threads.is_none(),
            "--threads: a server is started with its threads: they belong into the server's own command"
        );
        let names_urls = self.url_a.is_some() || self.url_b.is_some();
        ensure!(
            is_server || !names_urls,
            "--url-a and --url-b are about servers: add --backend openai or ollama"
        );
        let names_mmproj = self.mmproj_a.is_some() || self.mmproj_b.is_some();
        ensure!(
            !names_mmproj || (!is_server && !self.simulate.is_asked()),
            "--mmproj-a and --mmproj-b go with files of the embedded engine"
        );
        Ok(())
    }

    /// A is 0, B is 1.
    fn model(
        &self,
        which: usize,
        settings: &Settings,
        plan: &Plan,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Group> {
        let (text, mmproj, url, flag) = match which {
            0 => (&self.a, &self.mmproj_a, &self.url_a, "--a"),
            _ => (&self.b, &self.mmproj_b, &self.url_b, "--b"),
        };
        match self.backend {
            BackendKind::Embedded => {
                let weights = embedded_weights(text, mmproj.as_ref()).context(flag)?;
                Ok(groups::embedded(weights, self.threads, settings, clock))
            }
            BackendKind::Openai => {
                let within = self.server_ready_within;
                let chosen = servers::choose(text, url.as_deref(), within, settings);
                let chosen = chosen.context(flag)?;
                let asked = OpenAiSettings {
                    endpoint: server::started(chosen.url, settings).context(flag)?,
                    model: chosen.model,
                    precision: None,
                    has_pictures: plan.has_pictures(),
                    is_streaming: true,
                    patience: Patience::SOMEBODY_ELSES,
                };
                Ok(groups::started(chosen.server, asked, clock))
            }
            BackendKind::Ollama => {
                let endpoint = match url {
                    Some(url) => server::started(url.parse().context(flag)?, settings)?,
                    None => server::endpoint(self.backend, settings)?,
                };
                let asked = OllamaSettings {
                    endpoint,
                    model: text.clone(),
                    precision: None,
                    context: CONTEXT_DEFAULT,
                    has_pictures: plan.has_pictures(),
                    has_fixed_length: plan.cells.iter().any(|cell| cell.is_fixed_length),
                    concurrency: 1,
                };
                groups::of_ollama(asked, clock)
            }
        }
    }
}

/// A file, or a precision of the model that is built in.
fn embedded_weights(text: &str, mmproj: Option<&PathBuf>) -> anyhow::Result<Weights> {
    let path = PathBuf::from(text);
    if path
        .extension()
        .is_some_and(|extension| extension == "gguf")
    {
        let mmproj = mmproj.with_context(|| {
            format!("the picture projector of `{text}` is missing; name it with --mmproj-a or --mmproj-b")
        })?;
        return Ok(Weights::files(&path, mmproj, None));
    }
    ensure!(
        mmproj.is_none(),
        "`{text}` is no GGUF file, so that it takes no picture projector"
    );
    Ok(Weights::Shipped {
        precision: text.to_owned(),
    })
}

/// How long the end waits for a look at the device that hangs.
const HANGING_MOST: Duration = Duration::from_secs(1);
/// Nothing is kept in it.
const SPOOL_BYTES: u64 = 1 << 20;
