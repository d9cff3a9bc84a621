//! What a report takes from the store: cells, boards over them, and the traces of so many runs.

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::{
    ids::RunId,
    power::{Provenance, Scope},
};

use super::{
    Asked, Material,
    setting::Setting,
    titles::{BY_MODEL, BY_MODEL_AND_SCOPE, OVERALL, OVERALL_BY_SCOPE},
};
use crate::{
    chart::{
        Group,
        make::{self, Latencies},
    },
    query::{Query, QueryError},
    rank::{Condition, Key, Question, RankedCell},
};

impl Material {
    /// Asks for everything.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn gather(
        query: &Query,
        conditions: Vec<Condition>,
        provenance: Provenance,
    ) -> Result<Self, QueryError> {
        let (cells, waiting) = query.cells(&conditions, provenance).await?;
        let mut material = Self {
            provenance,
            conditions,
            setting: Setting::principal(&cells),
            cells,
            by_model: BTreeMap::new(),
            overall: BTreeMap::new(),
            latencies: BTreeMap::new(),
            powers: Vec::new(),
            left_out: [unmeasured(query).await?, waiting].concat(),
        };
        if material.cells.is_empty() {
            let left_out = other_provenances(query, &material).await?;
            material.left_out.extend(left_out);
        }
        if let Some(setting) = material.setting.clone() {
            material.ask_boards(query, &setting).await?;
            material.read_traces(query).await?;
        }
        Ok(material)
    }

    async fn ask_boards(&mut self, query: &Query, setting: &Setting) -> Result<(), QueryError> {
        let (models, scopes) = (self.models(), self.scopes());
        let fixed: Vec<Condition> = self
            .conditions
            .iter()
            .cloned()
            .chain(setting.conditions())
            .collect();
        for metric in metrics(&BY_MODEL, &BY_MODEL_AND_SCOPE, &scopes) {
            let mut asked = Asked::default();
            for model in &models {
                let of_model = Condition {
                    key: Key::Model,
                    value: model.clone(),
                };
                let conditions = [fixed.as_slice(), &[of_model]].concat();
                asked
                    .ask(
                        query,
                        (model, &metric),
                        &["device", "precision"],
                        &conditions,
                        self.provenance,
                    )
                    .await?;
            }
            self.by_model.insert(metric, asked);
        }
        for metric in metrics(&OVERALL, &OVERALL_BY_SCOPE, &scopes) {
            let mut asked = Asked::default();
            let by = ["device", "model", "precision"];
            asked
                .ask(query, ("", &metric), &by, &fixed, self.provenance)
                .await?;
            self.overall.insert(metric, asked);
        }
        Ok(())
    }

    /// Latencies of single requests, and power of the first run of each device.
    async fn read_traces(&mut self, query: &Query) -> Result<(), QueryError> {
        let chosen = self.chosen();
        let mut latencies: BTreeMap<RunId, Latencies> = BTreeMap::new();
        let mut devices: BTreeSet<String> = BTreeSet::new();
        let (mut unreadable, mut powers) = (Vec::new(), Vec::new());
        let mut n_imported = 0;
        for (cell, run) in &chosen {
            let trace = match query.trace(*run).await {
                Ok(trace) => trace,
                Err(QueryError::Imported(_)) => {
                    n_imported += 1;
                    continue;
                }
                Err(error) if error.is_without_trace() => {
                    unreadable.push(error.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            };
            latencies.entry(*run).or_default().add(&trace);
            if devices.len() < POWERS_MAX && devices.insert(cell.value(Key::Device)) {
                powers.extend(
                    Scope::ALL
                        .into_iter()
                        .filter_map(|scope| make::power(&trace, scope)),
                );
            }
        }
        if n_imported > 0 {
            unreadable.push(format!(
                "of {n_imported} runs from other tools' files there are no single requests and no power over time"
            ));
        }
        let n_runs: usize = self
            .drawn()
            .iter()
            .map(|cell| repetitions(cell).len())
            .sum();
        if n_runs > chosen.len() {
            unreadable.push(format!(
                "single requests are of {} of {n_runs} runs: the first repetitions of each cell; figures and boards are of all",
                chosen.len()
            ));
        }
        self.latencies = self.grouped(&latencies);
        self.powers = powers;
        self.left_out.extend(unreadable);
        Ok(())
    }

    /// Runs of which single requests are looked at: as many repetitions of every cell as may be, at least the first of some.
    fn chosen(&self) -> Vec<(RankedCell, RunId)> {
        let cells = self.drawn();
        let n_each = TRACES_MAX.checked_div(cells.len()).unwrap_or(0).max(1);
        let of = |cell: &RankedCell| -> Vec<(RankedCell, RunId)> {
            let runs = repetitions(cell).into_iter().take(n_each);
            runs.map(|run| (cell.clone(), run)).collect()
        };
        let runs = cells.into_iter().flat_map(of);
        runs.take(TRACES_MAX).collect()
    }

    /// Model to tasks to configurations.
    fn grouped(
        &self,
        latencies: &BTreeMap<RunId, Latencies>,
    ) -> BTreeMap<String, Vec<Group<Latencies>>> {
        let mut models: BTreeMap<String, Vec<&RankedCell>> = BTreeMap::new();
        for cell in self.drawn() {
            models.entry(cell.value(Key::Model)).or_default().push(cell);
        }
        let groups = |cells: Vec<&RankedCell>| {
            let mut tasks: BTreeMap<String, Vec<(String, Latencies)>> = BTreeMap::new();
            for (cell, name) in cells.iter().zip(make::cell_names(&cells, &[Key::Task])) {
                let mut pooled = Latencies::default();
                for latencies in repetitions(cell)
                    .iter()
                    .filter_map(|run| latencies.get(run))
                {
                    pooled.seconds.extend(&latencies.seconds);
                    pooled.n_failed += latencies.n_failed;
                    pooled.n_runs += latencies.n_runs;
                }
                if pooled.n_runs > 0 {
                    tasks
                        .entry(cell.value(Key::Task))
                        .or_default()
                        .push((name, pooled));
                }
            }
            tasks
                .into_iter()
                .map(|(name, rows)| Group { name, rows })
                .collect()
        };
        models
            .into_iter()
            .map(|(model, cells)| (model, groups(cells)))
            .collect()
    }

    fn models(&self) -> BTreeSet<String> {
        self.drawn()
            .iter()
            .map(|cell| cell.value(Key::Model))
            .collect()
    }

    fn scopes(&self) -> BTreeSet<Scope> {
        let cells = self.drawn();
        let ids = cells.iter().flat_map(|cell| cell.figures.keys());
        let scopes = ids.filter_map(|id| id.split_once('@'));
        scopes.filter_map(|(_, scope)| scope.parse().ok()).collect()
    }
}

/// Runs that stand in a cell's latency, or all where it has none: what is drawn beside a figure is of the same runs.
fn repetitions(cell: &RankedCell) -> Vec<RunId> {
    let figure = cell.figure("request_latency");
    figure.map_or_else(
        || cell.runs.clone(),
        |figure| figure.repetitions.iter().map(|one| one.run).collect(),
    )
}

impl Asked {
    async fn ask(
        &mut self,
        query: &Query,
        (heading, metric): (&str, &str),
        by: &[&str],
        conditions: &[Condition],
        provenance: Provenance,
    ) -> Result<(), QueryError> {
        let by: Vec<String> = by.iter().map(|key| (*key).to_owned()).collect();
        let conditions = conditions
            .iter()
            .map(|condition| format!("{}={}", condition.key.as_str(), condition.value));
        let conditions: Vec<String> = conditions.collect();
        let question = Question::parse(metric, &by, &conditions, provenance.as_str(), false)?;
        match query.board(&question).await {
            Ok(board) => self.boards.push((heading.to_owned(), board)),
            Err(QueryError::Rank(error)) => self.refused.push(error.to_string()),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Those over energy once for each scope.
fn metrics(plain: &[&str], scoped: &[&str], scopes: &BTreeSet<Scope>) -> Vec<String> {
    let plain = plain.iter().map(|id| (*id).to_owned());
    let scoped = scoped
        .iter()
        .flat_map(|id| scopes.iter().map(move |scope| format!("{id}@{scope}")));
    plain.chain(scoped).collect()
}

/// Runs that are in no figure, whatever is asked.
async fn unmeasured(query: &Query) -> Result<Vec<String>, QueryError> {
    let runs = query.runs(&[], usize::MAX).await?;
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for run in runs.runs.iter().filter(|run| run.state != "complete") {
        *states.entry(&run.state).or_default() += 1;
    }
    let said = states.iter().map(|(state, n)| {
        format!("runs that are {state}, and in no figure: {n} (`runs list` names them)")
    });
    Ok(said.chain(runs.notes.iter().cloned()).collect())
}

/// Where there is nothing, what there is instead.
async fn other_provenances(query: &Query, material: &Material) -> Result<Vec<String>, QueryError> {
    let all = [
        Provenance::Measured,
        Provenance::Replayed,
        Provenance::Simulated,
        Provenance::Imported,
        Provenance::Estimated,
    ];
    let mut said = Vec::new();
    for other in all
        .into_iter()
        .filter(|other| *other != material.provenance)
    {
        let (cells, _) = query.cells(&material.conditions, other).await?;
        let n_runs: usize = cells.iter().map(|cell| cell.runs.len()).sum();
        if n_runs > 0 {
            said.push(format!("{n_runs} {other} runs are in a report of their own: `report OUT --provenance {other}`"));
        }
    }
    Ok(said)
}

/// Traces that are read: some seconds.
const TRACES_MAX: usize = 120;

/// Devices whose power over time is drawn.
const POWERS_MAX: usize = 6;
