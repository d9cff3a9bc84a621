//! Comparisons, recommendations and estimates: which cells they are made from, and what has to be read beside those.

use std::collections::BTreeMap;

use tokwatt_domain::{
    device::DeviceKind, ids::RunId, metrics::RunReport, power::Provenance, run::FailureClass,
};

use super::{Device, Query, QueryError};
use crate::{
    compare::{self, Comparison, History, Items},
    estimate::{
        self, Answer, Attempt, ESTIMATE_SCHEMA, Estimate, FitPlan, Machine, Plan, Tried, facts_of,
    },
    rank::{Condition, Key, Metric, PROVENANCES, RankError, RankedCell},
    recommend::{self, Recommendation, UseCase},
};

impl Query {
    /// Two sides against each other, cell by cell and picture by picture.
    ///
    /// # Errors
    /// What is not there, or does not match.
    pub async fn compare(
        &self,
        question: &compare::Question,
        conditions: &[Condition],
    ) -> Result<Comparison, QueryError> {
        let (cells, notes) = self.some_cells(conditions, question.provenance).await?;
        let mut comparison = compare::compare(&cells, question)?;
        comparison.notes.extend(notes);
        self.pair_pictures(&mut comparison).await?;
        Ok(comparison)
    }

    /// What became of every figure from one value of a key to the next.
    ///
    /// # Errors
    /// What is not there.
    pub async fn history(
        &self,
        over: Key,
        metrics: &[Metric],
        conditions: &[Condition],
        provenance: Provenance,
    ) -> Result<History, QueryError> {
        let (cells, notes) = self.some_cells(conditions, provenance).await?;
        let mut history = compare::history(&cells, over, metrics, provenance)?;
        history.notes.extend(notes);
        Ok(history)
    }

    /// The best for a use case.
    ///
    /// # Errors
    /// What is not there, or cannot be weighed against each other.
    pub async fn recommend(
        &self,
        use_case: &UseCase,
        provenance: Provenance,
    ) -> Result<Recommendation, QueryError> {
        let (cells, notes) = self.some_cells(&use_case.conditions, provenance).await?;
        let mut recommendation = recommend::recommend(&cells, use_case, provenance)?;
        recommendation.notes.extend(notes);
        Ok(recommendation)
    }

    /// What a plan comes to.
    ///
    /// # Errors
    /// What is not there, or is missing in the plan.
    pub async fn estimate(
        &self,
        plan: &Plan,
        conditions: &[Condition],
        provenance: Provenance,
    ) -> Result<Estimate, QueryError> {
        // A model that was never run may fit all the same.
        let (cells, waiting) = match plan {
            Plan::Fit(_) => self.cells(conditions, provenance).await?,
            _ => self.some_cells(conditions, provenance).await?,
        };
        let mut plan = plan.clone();
        let answer = match &mut plan {
            Plan::Fit(fit) => {
                *fit = facts_of(fit, &cells);
                let machines = self.machines(&cells, conditions).await?;
                let tried = self.tried(fit, &cells, &machines).await?;
                Answer::Fit(estimate::fit(fit, &machines, &tried)?)
            }
            Plan::Batch(batch) => Answer::Batch(estimate::batch(batch, &cells)?),
            Plan::Cost(cost) => Answer::Cost(estimate::cost(cost, &cells)?),
            Plan::Swap(swap) => {
                let machines = self.machines(&cells, conditions).await?;
                Answer::Swap(estimate::swap(swap, &cells, &machines)?)
            }
        };
        Ok(Estimate {
            schema: ESTIMATE_SCHEMA.to_owned(),
            provenance,
            notes: [estimate::notes(&answer), waiting].concat(),
            plan,
            answer,
        })
    }

    /// Cells that meet the conditions, and what is to be known of their age; if there are none, what there is instead.
    async fn some_cells(
        &self,
        conditions: &[Condition],
        provenance: Provenance,
    ) -> Result<(Vec<RankedCell>, Vec<String>), QueryError> {
        let (cells, notes) = self.cells(conditions, provenance).await?;
        if !cells.is_empty() {
            return Ok((cells, notes));
        }
        let mut instead = Vec::new();
        let mut all = Vec::new();
        for other in PROVENANCES {
            if other != provenance {
                let n = self.cells(conditions, other).await?.0.len();
                instead.extend((n > 0).then(|| format!("provenance {other} has some")));
            }
            all.extend(self.cells(&[], other).await?.0);
        }
        if instead.is_empty() {
            return Err(unmet(&all, conditions, provenance));
        }
        Err(QueryError::NothingOfThat {
            provenance,
            advice: instead.join(", "),
        })
    }

    /// Reads the traces of all pairs, and puts the ratios over the same pictures beside those over repetitions.
    async fn pair_pictures(&self, comparison: &mut Comparison) -> Result<(), QueryError> {
        let n_of = |items: &Items| items.runs().len();
        let n: usize = (0..comparison.pairs.len())
            .map(|pair| comparison.items_of(pair).iter().map(n_of).sum::<usize>())
            .sum();
        if n > TRACES_MAX {
            comparison.notes.push(format!(
                "{n} runs are too many to pair pictures: asking for one task leaves fewer"
            ));
            return Ok(());
        }
        let mut n_without = 0;
        for pair in 0..comparison.pairs.len() {
            let [left, right] = comparison.items_of(pair);
            let left = self.items(left, &mut n_without).await?;
            let right = self.items(right, &mut n_without).await?;
            comparison.add_items(pair, &left, &right);
        }
        if n_without > 0 {
            comparison.notes.push(format!(
                "of {n_without} runs there are no single requests: their pictures are not paired"
            ));
        }
        Ok(())
    }

    /// The items with their runs.
    async fn items(&self, mut items: Items, n_without: &mut usize) -> Result<Items, QueryError> {
        for run in items.runs() {
            match self.trace(run).await {
                Ok(trace) => {
                    let add = move || {
                        items.add(&trace);
                        items
                    };
                    items = match tokio::task::spawn_blocking(add).await {
                        Ok(items) => items,
                        Err(error) => {
                            return Err(QueryError::Unreadable {
                                run,
                                problem: error.to_string(),
                            });
                        }
                    };
                }
                // What another tool measured has a report and no trace.
                Err(error) if error.is_without_trace() => *n_without += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(items)
    }

    /// Memory of all devices that the conditions leave.
    async fn machines(
        &self,
        cells: &[RankedCell],
        conditions: &[Condition],
    ) -> Result<Vec<Machine>, QueryError> {
        let rows = self.store.devices().await?;
        let is_meant = |device: &str| {
            let mut of_device = conditions.iter().filter(|one| one.key == Key::Device);
            of_device.all(|condition| condition.value == device)
        };
        let mut machines = Vec::new();
        for row in rows.iter().filter(|row| is_meant(&row.device)) {
            machines.push(machine(&Device::new(row)?, cells));
        }
        Ok(machines)
    }

    /// Runs of the model, by device.
    async fn tried(
        &self,
        plan: &FitPlan,
        cells: &[RankedCell],
        machines: &[Machine],
    ) -> Result<BTreeMap<String, Tried>, QueryError> {
        let mut tried: BTreeMap<String, Tried> = BTreeMap::new();
        let is_meant = |cell: &&RankedCell| {
            let identity = &cell.cell.identity;
            plan.model.as_ref() == Some(&identity.model)
                && plan
                    .precision
                    .as_ref()
                    .is_none_or(|precision| *precision == identity.precision)
        };
        for cell in cells.iter().filter(is_meant) {
            let device = cell.device.to_string();
            let memory = machines.iter().find(|machine| machine.device == device);
            let own = tried.entry(device).or_default();
            let flags = &cell.cell.configuration.engine_flags;
            let flag = |name: &str| flags.get(name).and_then(|value| value.parse::<u64>().ok());
            let mut attempt = Attempt {
                n_runs: u32::try_from(cell.runs.len()).unwrap_or(u32::MAX),
                peak_bytes: memory.and_then(|machine| machine.peak_of(cell)),
                context: flag("context"),
                slots: flag("engine_slots"),
                failures: BTreeMap::new(),
            };
            if cell.n_failed > 0 {
                for run in &cell.runs {
                    self.add_failures(*run, &mut attempt.failures).await?;
                }
            }
            own.attempts.push(attempt);
        }
        Ok(tried)
    }

    async fn add_failures(
        &self,
        run: RunId,
        failures: &mut BTreeMap<String, u32>,
    ) -> Result<(), QueryError> {
        for row in self.store.runs_named(run.to_string()).await? {
            let Some(report) = row.report.as_deref() else {
                continue;
            };
            let report: RunReport = serde_json::from_str(report)?;
            let fatal = [FailureClass::OutOfMemory, FailureClass::Crashed];
            for class in fatal.map(FailureClass::as_str) {
                let n = report.requests.failed.get(class).copied().unwrap_or(0);
                if n > 0 {
                    *failures.entry(class.to_owned()).or_default() += n;
                }
            }
        }
        Ok(())
    }
}

/// Which condition no cell meets, and what there is instead.
fn unmet(cells: &[RankedCell], conditions: &[Condition], provenance: Provenance) -> QueryError {
    let mut left: Vec<&RankedCell> = cells.iter().collect();
    for condition in conditions {
        let mut there_are: Vec<String> =
            left.iter().map(|cell| cell.value(condition.key)).collect();
        there_are.sort();
        there_are.dedup();
        left.retain(|cell| cell.meets(condition));
        if left.is_empty() && !there_are.is_empty() {
            return QueryError::Rank(RankError::NoSuchValue {
                key: condition.key.as_str(),
                value: condition.value.clone(),
                there_are,
            });
        }
    }
    QueryError::NothingOfThat {
        provenance,
        advice: "no run is measured yet, `tokwatt-agent bench --collector …` delivers some"
            .to_owned(),
    }
}

/// On a machine whose GPU has its own memory, that one; else the system's.
fn machine(device: &Device, cells: &[RankedCell]) -> Machine {
    let profile = device.profile.as_ref();
    let fact = |name: &str| -> Option<u64> { profile?.facts.get(name)?.parse().ok() };
    let is_generic = profile.is_some_and(|profile| profile.kind == DeviceKind::Generic);
    let gpu = fact("gpu_memory_total_bytes").filter(|_| is_generic);
    let memory = if gpu.is_some() { "gpu" } else { "system" };
    let own = cells
        .iter()
        .filter(|cell| cell.device.as_str() == device.device);
    let id = format!("memory_baseline.{memory}");
    let baselines = own.filter_map(|cell| Some(cell.figure(&id)?.mean));
    Machine {
        device: device.device.clone(),
        memory,
        total_bytes: gpu.or_else(|| fact("memory_total_bytes")),
        baseline_bytes: baselines.reduce(f64::max).and_then(estimate::whole_bytes),
    }
}

/// Traces are read one after the other: more take too long to be waited for.
const TRACES_MAX: usize = 240;
