//! Whether a model fits into the memory of each device: tried there, or by what it needs.

use std::collections::BTreeMap;

use tokwatt_domain::metrics::fit::{KvCache, Needs};

use super::{EstimateError, FitPlan, FitRow, Outcome};
use crate::rank::{Key, RankedCell};

/// A device's memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// Its name.
    pub device: String,
    /// `system` or `gpu`.
    pub memory: &'static str,
    /// How much there is; absent where the device could not say.
    pub total_bytes: Option<u64>,
    /// In use before a model is loaded, where it was measured.
    pub baseline_bytes: Option<u64>,
}

/// Runs of the model on a device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tried {
    /// Cell by cell.
    pub attempts: Vec<Attempt>,
}

/// Runs of one cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attempt {
    /// How many.
    pub n_runs: u32,
    /// The most memory that they took; absent where it was not sampled.
    pub peak_bytes: Option<f64>,
    /// The context that they ran with, where their engine says so.
    pub context: Option<u64>,
    /// Requests at once that their engine took, where it says so.
    pub slots: Option<u64>,
    /// Requests that ended for want of memory or because the engine died, by kind.
    pub failures: BTreeMap<String, u32>,
}

impl Machine {
    /// The most of this memory that a cell's runs took, by the mean of its repetitions.
    pub fn peak_of(&self, cell: &RankedCell) -> Option<f64> {
        let own = format!("memory_peak.{}", self.memory);
        let figure = cell.figure(&own);
        figure
            .or_else(|| cell.figure("memory_peak.process_tree"))
            .map(|figure| figure.mean)
    }
}

/// Judges every device, by name.
///
/// # Errors
/// A figure of the model that nobody gave, and that no run knows.
pub fn fit(
    plan: &FitPlan,
    machines: &[Machine],
    tried: &BTreeMap<String, Tried>,
) -> Result<Vec<FitRow>, EstimateError> {
    let needs = needs(plan)?;
    let nothing = Tried::default();
    let row = |machine: &Machine| {
        let tried = tried.get(&machine.device).unwrap_or(&nothing);
        row(plan, needs, machine, tried)
    };
    Ok(machines.iter().map(row).collect())
}

/// Fills in what runs of the model say of it, in the words of its weights file.
pub fn facts_of(plan: &FitPlan, cells: &[RankedCell]) -> FitPlan {
    let is_same = |cell: &&RankedCell| {
        let is = |wanted: &Option<String>, key: Key| {
            wanted
                .as_ref()
                .is_none_or(|wanted| *wanted == cell.value(key))
        };
        is(&plan.model, Key::Model) && plan.model.is_some() && is(&plan.precision, Key::Precision)
    };
    let known = cells.iter().filter(is_same).map(|cell| Facts {
        facts: &cell.cell.configuration.model_facts,
    });
    let mut plan = plan.clone();
    for facts in known {
        plan.layers = plan.layers.or_else(|| facts.of_language("block_count"));
        plan.kv_heads = plan.kv_heads.or_else(|| {
            facts
                .of_language("attention.head_count_kv")
                .or_else(|| facts.of_language("attention.head_count"))
        });
        plan.head_size = plan.head_size.or_else(|| facts.head_size());
    }
    plan
}

/// What a weights file says of itself.
struct Facts<'a> {
    facts: &'a BTreeMap<String, String>,
}

impl Facts<'_> {
    /// A fact under the architecture's name.
    fn of_language(&self, name: &str) -> Option<u64> {
        let architecture = self.facts.get("general.architecture")?;
        let value = self.facts.get(&format!("{architecture}.{name}"))?;
        value.parse().ok()
    }

    fn head_size(&self) -> Option<u64> {
        self.of_language("attention.key_length").or_else(|| {
            let heads = self.of_language("attention.head_count")?;
            self.of_language("embedding_length")?.checked_div(heads)
        })
    }
}

fn needs(plan: &FitPlan) -> Result<Needs, EstimateError> {
    let known = |flag: &str, value: Option<u64>| {
        value.filter(|value| *value > 0).ok_or_else(|| {
            EstimateError::Figure(format!(
                "{flag} is missing, and no run of this model knows it: its weights file or its card says it"
            ))
        })
    };
    let cache = KvCache {
        layers: known("--layers", plan.layers)?,
        kv_heads: known("--kv-heads", plan.kv_heads)?,
        head_size: known("--head-size", plan.head_size)?,
        context: plan.context,
        slots: plan.slots,
        kind: plan.kv_kind,
    };
    Ok(Needs {
        weights_bytes: plan.weights_bytes,
        kv_cache_bytes: cache.bytes(),
        encoder_bytes: plan.encoder_bytes,
        scratch_bytes: plan.scratch_bytes,
        baseline_bytes: None,
    })
}

fn row(plan: &FitPlan, needs: Needs, machine: &Machine, tried: &Tried) -> FitRow {
    let needs = Needs {
        baseline_bytes: machine.baseline_bytes,
        ..needs
    };
    let headroom = machine.total_bytes.map(|total| needs.headroom_bytes(total));
    let outcome = outcome(plan, headroom, tried);
    FitRow {
        device: machine.device.clone(),
        memory: machine.memory.to_owned(),
        total_bytes: machine.total_bytes,
        needs,
        needed_bytes: needs.total_bytes(),
        headroom_bytes: headroom,
        outcome,
        n_runs: tried.n_runs(),
        measured_peak_bytes: tried.peak_bytes(),
        failures: failures(tried.attempts.iter()),
        text: text(plan, outcome, needs, tried),
    }
}

/// Runs that had less context or fewer slots show nothing about more of them, and a failure with more of them nothing about less.
fn outcome(plan: &FitPlan, headroom: Option<i64>, tried: &Tried) -> Outcome {
    if tried.failed(plan).next().is_some() {
        return Outcome::Failed;
    }
    match (tried.covers(plan), headroom) {
        (Some(true), _) => Outcome::Tested,
        (None, None | Some(0..)) => Outcome::Tested,
        (_, None) => Outcome::Unknown,
        (_, Some(0..)) => Outcome::Estimated,
        (_, Some(_)) => Outcome::WillNotFit,
    }
}

impl Tried {
    fn n_runs(&self) -> u32 {
        self.attempts.iter().map(|attempt| attempt.n_runs).sum()
    }

    fn peak_bytes(&self) -> Option<f64> {
        let peaks = self.attempts.iter().filter_map(|one| one.peak_bytes);
        peaks.reduce(f64::max)
    }

    /// Those that failed, and had no more than the plan, as far as their engine says.
    fn failed(&self, plan: &FitPlan) -> impl Iterator<Item = &Attempt> {
        let failing = self.attempts.iter().filter(|one| !one.failures.is_empty());
        failing.filter(|one| !one.is_larger(plan))
    }

    /// Whether one of those that worked had as much context and as many slots as the plan; absent where their engine does not say.
    fn covers(&self, plan: &FitPlan) -> Option<bool> {
        let worked = self.attempts.iter().filter(|one| one.worked());
        let covering: Vec<Option<bool>> = worked.map(|one| one.covers(plan)).collect();
        if covering.contains(&Some(true)) {
            return Some(true);
        }
        match covering.contains(&None) {
            true => None,
            false => Some(false),
        }
    }
}

impl Attempt {
    fn worked(&self) -> bool {
        self.n_runs > 0 && self.peak_bytes.is_some() && self.failures.is_empty()
    }

    fn is_larger(&self, plan: &FitPlan) -> bool {
        let is_more = |own: Option<u64>, wanted| own.is_some_and(|own| own > wanted);
        is_more(self.context, plan.context) || is_more(self.slots, plan.slots)
    }

    /// Whether it had as much context and as many slots as the plan; absent where its engine does not say.
    fn covers(&self, plan: &FitPlan) -> Option<bool> {
        let is_less = |own: Option<u64>, wanted| own.is_some_and(|own| own < wanted);
        if is_less(self.context, plan.context) || is_less(self.slots, plan.slots) {
            return Some(false);
        }
        (self.context.is_some() && self.slots.is_some()).then_some(true)
    }
}

/// How often what went wrong, over some attempts.
fn failures<'a>(attempts: impl Iterator<Item = &'a Attempt>) -> BTreeMap<String, u32> {
    let mut failures: BTreeMap<String, u32> = BTreeMap::new();
    for (kind, n) in attempts.flat_map(|attempt| &attempt.failures) {
        *failures.entry(kind.clone()).or_default() += n;
    }
    failures
}

fn text(plan: &FitPlan, outcome: Outcome, needs: Needs, tried: &Tried) -> String {
    let n_runs = tried.n_runs();
    let in_words = |failures: BTreeMap<String, u32>| {
        let words = failures.iter().map(|(kind, n)| format!("{kind} {n} times"));
        words.collect::<Vec<_>>().join(", ")
    };
    let mut text = match outcome {
        Outcome::Tested => format!("{n_runs} runs of it there"),
        Outcome::Failed => format!(
            "{n_runs} runs of it there: {}",
            in_words(failures(tried.failed(plan)))
        ),
        Outcome::Estimated => "by the formula".to_owned(),
        Outcome::WillNotFit => "by the formula it needs more than there is".to_owned(),
        Outcome::Unknown => "the device does not say how much memory it has".to_owned(),
    };
    if n_runs > 0 && outcome != Outcome::Failed {
        let larger = tried.attempts.iter().filter(|one| one.is_larger(plan));
        let failures = failures(larger);
        if !failures.is_empty() {
            text += &format!("; with more context or slots: {}", in_words(failures));
        }
        text += match tried.covers(plan) {
            Some(true) => "",
            Some(false) => {
                "; no run of it there that worked, and whose memory was measured, had as much context and as many slots"
            }
            None => "; with which context and slots the runs of it there were is not known",
        };
    }
    let is_by_formula = matches!(outcome, Outcome::Estimated | Outcome::WillNotFit);
    if is_by_formula && needs.baseline_bytes.is_none() {
        text += "; what the system itself takes was never measured there, and is not counted";
    }
    text
}
