//! A fleet of machines that do not exist: measured by the real agent, delivered to a real collector, and known to the last digit.

use std::{
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use tokwatt_agent::{
    simulate::{Expected, Model, Spec, Work},
    workload::{
        plan::{Plan, PlanOptions, PlannedCell},
        suite::Suite,
    },
};

use crate::agent;

/// Made-up machines, and what each of them is to measure.
pub struct SimulatedFleet {
    machines: Vec<SimulatedMachine>,
    /// A question of each task.
    works: Vec<(String, Work)>,
}

/// A made-up machine and its benches.
struct SimulatedMachine {
    /// As `--simulate` takes it.
    spec: String,
    /// What the collector calls it.
    device: String,
    benches: Vec<Bench>,
}

/// One call of the agent.
struct Bench {
    model: &'static str,
    precision: &'static str,
    suite: &'static str,
    /// Flags of its own.
    more: Vec<String>,
}

impl SimulatedFleet {
    /// Two Orins, a Thor and a GB10; another seed is another fleet of the same kind.
    ///
    /// # Errors
    /// The suites that it measures are not built in.
    pub fn of_seed(seed: u64) -> anyhow::Result<Self> {
        let works = works()?;
        let spare = ["f16", "q8_0"].map(|precision| ("made-up-robin-2b", precision));
        let machines = [
            ("gb10", seed, whole_matrix()),
            ("thor", seed, whole_matrix()),
            ("orin", seed, whole_matrix()),
            ("orin", seed + 1, spare.to_vec()),
        ];
        let machines = machines.into_iter();
        let machines =
            machines.map(|(name, seed, matrix)| SimulatedMachine::new(name, seed, &matrix, &works));
        Ok(Self {
            machines: machines.collect::<anyhow::Result<_>>()?,
            works,
        })
    }

    /// Measures everything and delivers it to the collector at `url`, two machines at a time; `folder` is for what the agents keep
    /// meanwhile, and `say` is told what is done.
    ///
    /// # Errors
    /// An agent could not start, or measured and delivered something else than it should have.
    pub fn deliver(
        &self,
        url: &str,
        folder: &Path,
        say: &(dyn Fn(&str) + Sync),
    ) -> anyhow::Result<()> {
        let next = AtomicUsize::new(0);
        // Whoever is done takes the next machine.
        let lane = || {
            while let Some(machine) = self.machines.get(next.fetch_add(1, Ordering::Relaxed)) {
                machine.deliver(url, &folder.join(&machine.device), say)?;
            }
            anyhow::Ok(())
        };
        thread::scope(|scope| {
            let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
            for lane in lanes {
                match lane.join() {
                    Ok(outcome) => outcome?,
                    Err(_) => bail!("a thread that measured died"),
                }
            }
            Ok(())
        })
    }

    /// The device that has the whole matrix and is called so by `--simulate`.
    pub fn device(&self, machine: &str) -> Option<&str> {
        let is_it = |known: &&SimulatedMachine| known.spec.starts_with(machine);
        let machine = self.machines.iter().find(is_it)?;
        Some(&machine.device)
    }

    /// A question of a task of the suite that it answers.
    pub fn work(&self, task: &str) -> Option<Work> {
        let work = self.works.iter().find(|(name, _)| name == task)?;
        Some(work.1)
    }

    /// What is to be expected of one of its devices; `None` for a device or model that it does not have.
    pub fn expected(
        &self,
        device: &str,
        model: &str,
        precision: &str,
        work: &Work,
    ) -> Option<Expected> {
        let is_it = |machine: &&SimulatedMachine| machine.device == device;
        let machine = self.machines.iter().find(is_it)?;
        let model = Model::parse(model, precision).ok()?;
        Some(machine.spec().ok()?.expected(&model, work))
    }
}

impl SimulatedMachine {
    fn new(
        name: &str,
        seed: u64,
        matrix: &[(&'static str, &'static str)],
        works: &[(String, Work)],
    ) -> anyhow::Result<Self> {
        let mut machine = Self {
            spec: format!("{name}?seed={seed}"),
            device: format!("simulated-{name}-{seed}"),
            benches: Vec::new(),
        };
        let spec = machine.spec()?;
        for (model, precision) in matrix {
            let shortest = shortest_latency(&spec, &Model::parse(model, precision)?, works);
            let (pictures, interval) = (pictures(shortest), power_interval(shortest));
            let more = format!(
                "--size {SIDE_PX} --limit {pictures} --power-interval {}ms",
                interval.as_millis()
            );
            machine.benches.push(Bench {
                model,
                precision,
                suite: SUITE,
                more: more.split(' ').map(str::to_owned).collect(),
            });
        }
        let has_whole_matrix = matrix.len() > 2;
        machine.benches.extend(has_whole_matrix.then(under_load));
        Ok(machine)
    }

    fn spec(&self) -> anyhow::Result<Spec> {
        Ok(self.spec.parse()?)
    }

    fn deliver(&self, url: &str, data: &Path, say: &(dyn Fn(&str) + Sync)) -> anyhow::Result<()> {
        for bench in &self.benches {
            bench.deliver(&self.spec, url, data)?;
            let Bench {
                model,
                precision,
                suite,
                ..
            } = bench;
            say(&format!("{} {suite} {model} {precision}", self.device));
        }
        Ok(())
    }
}

impl Bench {
    fn deliver(&self, spec: &str, url: &str, data: &Path) -> anyhow::Result<()> {
        let output = agent(data)
            .args(["bench", "--simulate", spec, "--suite", self.suite])
            .args(["--model", self.model, "--precision", self.precision])
            .args(&self.more)
            .args(["--collector", url])
            .stdin(Stdio::null())
            .output()
            .context("cannot start the agent")?;
        let said = String::from_utf8_lossy(&output.stdout);
        // 1 is what a model that does not fit ends with, which is a result.
        if matches!(output.status.code(), Some(0 | 1)) && said.contains("delivered to http") {
            return Ok(());
        }
        bail!(
            "the bench of {} {} on {spec} ended with {}:\n{said}{}",
            self.model,
            self.precision,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    }
}

/// A question of each task.
///
/// # Errors
/// The suite is not built in.
fn works() -> anyhow::Result<Vec<(String, Work)>> {
    let options = PlanOptions {
        limit: Some(1),
        sizes: Some(vec![SIDE_PX]),
        ..PlanOptions::default()
    };
    let plan = Plan::make(&Suite::find(SUITE, None)?, &options)?;
    let work = |cell: &PlannedCell| {
        let item = cell.items.first()?;
        let work = Work {
            prompt_bytes: item.prompt.len(),
            side_px: cell.image_px,
            max_tokens: cell.max_tokens,
            is_fixed_length: cell.is_fixed_length,
        };
        Some((cell.task.clone(), work))
    };
    Ok(plan.cells.iter().filter_map(work).collect())
}

fn whole_matrix() -> Vec<(&'static str, &'static str)> {
    let models = [
        "made-up-wren-1b",
        "made-up-robin-2b",
        "made-up-finch-2b",
        "made-up-heron-4b",
        "made-up-stork-7b",
    ];
    let precisions = ["f16", "bf16", "q8_0", "q4_k_m"];
    let of = |model| precisions.map(|precision| (model, precision));
    let mut matrix: Vec<_> = models.into_iter().flat_map(of).collect();
    // Of these an Orin has no room for the first.
    matrix.extend(["f16", "q4_k_m"].map(|precision| ("made-up-eagle-32b", precision)));
    matrix
}

/// Text, 256 px and 512 px, with several requests in flight.
fn under_load() -> Bench {
    let more = ["--concurrency", "1,2,8", "--timeout", "10m"];
    Bench {
        model: "made-up-heron-4b",
        precision: "q8_0",
        suite: "concurrency",
        more: more.map(str::to_owned).to_vec(),
    }
}

fn shortest_latency(spec: &Spec, model: &Model, works: &[(String, Work)]) -> Duration {
    let latencies = works
        .iter()
        .map(|(_, work)| spec.expected(model, work).latency());
    latencies.min().unwrap_or_default()
}

/// So many that a run lasts for more than the minute that an energy needs to be ranked.
fn pictures(latency: Duration) -> u32 {
    let needed = (PICTURES_LEAST..PICTURES_MAX).find(|n| latency * *n >= WINDOW);
    needed.unwrap_or(PICTURES_MAX)
}

/// Often enough for requests so short: a quarter of the median is what an energy needs to be ranked, and the median is not the mean.
fn power_interval(latency: Duration) -> Duration {
    (latency / 6).clamp(Duration::from_millis(20), Duration::from_millis(100))
}

const SUITE: &str = "edge-vision";
/// The suite's own. Larger ones are drawn for a load of several only: drawing takes longer than all the rest.
const SIDE_PX: u32 = 96;

/// Machines that measure at a time.
const LANES: usize = 2;

const WINDOW: Duration = Duration::from_secs(72);

/// What a load of one needs to be ranked, and what the suite has.
const PICTURES_LEAST: u32 = 24;
const PICTURES_MAX: u32 = 500;
