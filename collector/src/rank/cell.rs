//! Cells with every figure that they have: what charts, comparisons and pages are made from, beside boards. Pure.

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::{
    ids::{DeviceId, RunId},
    metrics::spread::log_t_interval,
    power::{Provenance, Scope},
    run::Cell,
    time::WallTime,
    workload::Limits,
};

use super::{
    Catalogue, CellName, Columns, Condition, Key, MemoryIndex, Metric, RankError, RankedRun,
    candidate::mean,
    catalogue::IndexedCell,
    index::{Column, Doubt, IndexedRun, damaged, metrics},
    selection::scopes_of,
};

/// What the repetitions of one configuration come to.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedCell {
    /// Where.
    pub device: DeviceId,
    /// What was run.
    pub cell: Cell,
    /// What a request had to keep to, to count for goodput.
    pub limits: Option<Limits>,
    /// Its repetitions of the provenance asked for, by their number, then their start, then their id.
    pub runs: Vec<RunId>,
    /// Start of the first of them, by the agent's wall clock.
    pub started: WallTime,
    /// Requests in them.
    pub n_requests: u32,
    /// Of these, those that failed.
    pub n_failed: u32,
    /// Flags of its runs.
    pub flags: BTreeSet<String>,
    /// Key to why it is absent, in the words of the first run that lacks it.
    pub reasons: BTreeMap<String, String>,
    /// Metric id, with `@scope` for those over energy, to its figure; what no run has is not there.
    pub figures: BTreeMap<String, CellFigure>,
}

/// One figure of a cell.
#[derive(Clone, Debug, PartialEq)]
pub struct CellFigure {
    /// One for each repetition that has it, in the order of the cell's runs; infinite where the percentile is a failed request.
    pub values: Vec<f64>,
    /// The repetition behind each value.
    pub repetitions: Vec<Repetition>,
    /// Mean over them: arithmetic for shares and what may be negative, else geometric; infinite if one is.
    pub mean: f64,
    /// t interval on the logarithms of the values, with at least three of them.
    pub ci95: Option<(f64, f64)>,
    /// How far sampling may have led the energy astray, as a share of it; 0 for what is not over energy.
    pub relative_bound: f64,
    /// Whether all its repetitions are flagged, so that it is shown and not ranked; else those that are flagged are left out.
    pub is_blocked: bool,
    /// Flags of the repetitions that stand in `values`.
    pub flags: BTreeSet<String>,
}

/// A run of a cell, as one of its repetitions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Repetition {
    /// Which run.
    pub run: RunId,
    /// The number of the repetition, and which of the cell's runs with that number it is, from 1.
    pub position: (u32, usize),
}

impl CellFigure {
    /// The value of the repetition at a position.
    pub fn at(&self, position: (u32, usize)) -> Option<f64> {
        let mut repetitions = self.repetitions.iter().zip(&self.values);
        let found = repetitions.find(|(repetition, _)| repetition.position == position);
        found.map(|(_, value)| *value)
    }

    /// Positions at which all of these figures have a value, in order.
    pub fn shared_positions(figures: &[&Self]) -> Vec<(u32, usize)> {
        let Some((first, others)) = figures.split_first() else {
            return Vec::new();
        };
        let positions = first.repetitions.iter().map(|one| one.position);
        let is_shared =
            |position: &(u32, usize)| others.iter().all(|other| other.at(*position).is_some());
        positions.filter(is_shared).collect()
    }
}

impl RankedCell {
    /// A figure by `id` or `id@scope`.
    pub fn figure(&self, id: &str) -> Option<&CellFigure> {
        self.figures.get(id)
    }

    /// Requests in its runs, which are of that provenance; absent where other tools' files do not say how many there were.
    pub fn stated_requests(&self, provenance: Provenance) -> Option<u32> {
        Some(self.n_requests).filter(|n| provenance < Provenance::Imported || *n > 0)
    }

    /// Its value of a key, as text; `none` where it is absent.
    pub fn value(&self, key: Key) -> String {
        key.of_cell(&self.device, &self.cell, self.limits)
    }

    /// Whether it meets a condition.
    pub fn meets(&self, condition: &Condition) -> bool {
        self.value(condition.key) == condition.value
    }

    /// The scopes of which it has energies.
    pub fn scopes(&self) -> BTreeSet<Scope> {
        let scopes = self.figures.keys().filter_map(|id| id.split_once('@'));
        scopes.filter_map(|(_, scope)| scope.parse().ok()).collect()
    }

    /// Why a figure is absent, in the report's own words where it has some.
    pub fn reason(&self, metric: &Metric) -> Option<&str> {
        let id = metric.definition.id;
        let scoped = metric.to_string();
        let power = metric.definition.needs_scope.then_some("power");
        let base = id.split('.').next();
        let keys = [
            Some(scoped.as_str()),
            Some(id),
            power,
            base,
            Some("quality").filter(|_| metric.definition.is_share()),
        ];
        let mut said = keys.into_iter().flatten();
        said.find_map(|key| self.reasons.get(key))
            .map(String::as_str)
    }
}

/// Cells of the runs that meet all conditions, with their figures of one provenance; by device and name, whatever order the runs are in.
pub fn cells(
    runs: &[RankedRun],
    conditions: &[Condition],
    provenance: Provenance,
) -> Vec<RankedCell> {
    // Whoever has the reports has an index that can be read.
    MemoryIndex::of(runs)
        .and_then(|index| cells_of(&index.catalogue, &index, conditions, provenance))
        .unwrap_or_default()
}

/// The same from an index.
///
/// # Errors
/// The index cannot be read.
pub fn cells_of<C: Columns>(
    catalogue: &Catalogue,
    columns: &C,
    conditions: &[Condition],
    provenance: Provenance,
) -> Result<Vec<RankedCell>, C::Error>
where
    C::Error: From<RankError>,
{
    let meets = |cell: &&IndexedCell| {
        let mut conditions = conditions.iter();
        !cell.runs.is_empty()
            && conditions
                .all(|condition| Some(cell.key(condition.key)) == catalogue.word(&condition.value))
    };
    let order = catalogue.order();
    let mut groups: BTreeMap<Vec<u32>, Group<'_>> = BTreeMap::new();
    let mut members: Vec<(i64, Vec<u32>)> = Vec::new();
    for cell in catalogue.cells().filter(meets) {
        let name = Key::ALL.map(|key| order.rank(cell.key(key))).to_vec();
        members.push((cell.number, name.clone()));
        groups.entry(name).or_default().cells.push(cell);
    }
    let numbers: Vec<i64> = members.iter().map(|(number, _)| *number).collect();
    let names = columns.names(&numbers)?;
    for ((_, name), text) in members.iter().zip(names) {
        let group = groups.entry(name.clone()).or_default();
        group.name.get_or_insert(text);
    }
    for group in groups.values_mut() {
        group.arrange(catalogue, provenance);
    }
    let all: Vec<&IndexedCell> = groups
        .values()
        .flat_map(|group| group.cells.clone())
        .collect();
    for metric in metrics(scopes_of(catalogue, &all, provenance)) {
        let mut damage = None;
        columns.columns(&metric.to_string(), &numbers, &mut |position, bytes| {
            let (number, name) = &members[position];
            let outcome = groups.get_mut(name).map(|group| group.read(*number, bytes));
            damage = damage.take().or(outcome.and_then(Result::err));
        })?;
        if let Some(error) = damage {
            return Err(error.into());
        }
        for group in groups.values_mut() {
            group.conclude(catalogue, &metric, provenance);
        }
    }
    let cells = groups
        .into_values()
        .filter(|group| !group.figures.is_empty());
    let cells: Result<Vec<RankedCell>, RankError> =
        cells.map(|group| group.cell(catalogue)).collect();
    Ok(cells?)
}

/// Cells of the same keys, which is nearly always one.
#[derive(Default)]
struct Group<'a> {
    cells: Vec<&'a IndexedCell>,
    name: Option<String>,
    /// In order.
    runs: Vec<&'a IndexedRun>,
    /// Of each run, by cell and position in it, where it stands in `runs`, if it does.
    places: BTreeMap<i64, Vec<Option<usize>>>,
    /// Of the metric that is being read, for each run.
    entries: Vec<Option<Read>>,
    figures: BTreeMap<String, CellFigure>,
}

struct Read {
    value: f64,
    relative_bound: f64,
    doubts: Vec<Doubt>,
}

impl Group<'_> {
    /// Runs of which nothing is of the provenance are not there.
    fn arrange(&mut self, catalogue: &Catalogue, of: Provenance) {
        let runs = self.cells.iter().flat_map(|cell| {
            let runs = cell.runs.iter().enumerate();
            runs.map(|(position, run)| (run, cell.number, position))
        });
        let is_of = |(run, ..): &(&IndexedRun, i64, usize)| catalogue.kind(run.kind).has(of);
        let mut runs: Vec<(&IndexedRun, i64, usize)> = runs.filter(is_of).collect();
        runs.sort_by_key(|(run, ..)| (run.repetition, run.started, run.id));
        for cell in &self.cells {
            self.places.insert(cell.number, vec![None; cell.runs.len()]);
        }
        for (place, (_, number, position)) in runs.iter().enumerate() {
            if let Some(places) = self.places.get_mut(number) {
                places[*position] = Some(place);
            }
        }
        self.entries.resize_with(runs.len(), || None);
        self.runs = runs.into_iter().map(|(run, ..)| run).collect();
    }

    fn read(&mut self, number: i64, bytes: &[u8]) -> Result<(), RankError> {
        let places = self.places.get(&number).map_or(&[][..], Vec::as_slice);
        let column = Column::read(bytes, places.len())?;
        for (place, entry) in places.iter().zip(column.entries()) {
            let Some(place) = place else { continue };
            self.entries[*place] = entry.map(|entry| Read {
                value: entry.value,
                relative_bound: entry.relative_bound,
                doubts: column.doubts.get(entry.doubts).cloned().unwrap_or_default(),
            });
        }
        Ok(())
    }

    /// Makes a figure of what was read, and forgets that.
    fn conclude(&mut self, catalogue: &Catalogue, metric: &Metric, of: Provenance) {
        let entries = self.entries.iter_mut().map(Option::take);
        let mut parts: [Vec<Part>; 2] = Default::default();
        for ((run, repetition), entry) in self.runs.iter().zip(repetitions(&self.runs)).zip(entries)
        {
            let kind = catalogue.kind(run.kind);
            let Some(entry) = entry.filter(|_| kind.provenance(metric) == of) else {
                continue;
            };
            let flags = || kind.flags.iter().chain(&entry.doubts);
            let is_blocked = flags().any(|flag| flag.blocks(metric.definition));
            let names = flags().map(|flag| flag.id.clone()).collect();
            parts[usize::from(is_blocked)].push(Part {
                read: entry,
                repetition,
                flags: names,
            });
        }
        let [ranked, blocked] = parts;
        let is_blocked = ranked.is_empty();
        let figures = if is_blocked { blocked } else { ranked };
        self.figures
            .extend(figure(figures, is_blocked, metric).map(|own| (metric.to_string(), own)));
    }

    fn cell(self, catalogue: &Catalogue) -> Result<RankedCell, RankError> {
        let name: Option<CellName> = self.name.and_then(|name| serde_json::from_str(&name).ok());
        let name = name.ok_or_else(|| damaged("the name of a cell"))?;
        let mut reasons = BTreeMap::new();
        for kind in self.runs.iter().map(|run| catalogue.kind(run.kind)) {
            for (key, reason) in &kind.reasons {
                reasons.entry(key.clone()).or_insert_with(|| reason.clone());
            }
        }
        let kinds: BTreeSet<u32> = self.runs.iter().map(|run| run.kind).collect();
        let flags = kinds.iter().flat_map(|kind| &catalogue.kind(*kind).flags);
        let flags = flags.filter(|flag| !flag.is_ours());
        Ok(RankedCell {
            device: name.device,
            cell: name.cell,
            limits: name.limits,
            runs: self.runs.iter().map(|run| run.id).collect(),
            n_requests: self.runs.iter().map(|run| run.n_requests).sum(),
            n_failed: self.runs.iter().map(|run| run.n_failed).sum(),
            started: self
                .runs
                .iter()
                .map(|run| run.started)
                .min()
                .unwrap_or_default(),
            reasons,
            flags: flags.map(|flag| flag.id.clone()).collect(),
            figures: self.figures,
        })
    }
}

/// What a run adds to a figure.
struct Part {
    read: Read,
    repetition: Repetition,
    flags: BTreeSet<String>,
}

/// The runs, which are in order, as repetitions.
fn repetitions(runs: &[&IndexedRun]) -> Vec<Repetition> {
    let mut last = (0, 0);
    let repetition = |run: &&IndexedRun| {
        let nth = match last {
            (number, nth) if number == run.repetition => nth + 1,
            _ => 1,
        };
        last = (run.repetition, nth);
        Repetition {
            run: run.id,
            position: last,
        }
    };
    runs.iter().map(repetition).collect()
}

fn figure(figures: Vec<Part>, is_blocked: bool, metric: &Metric) -> Option<CellFigure> {
    let values: Vec<f64> = figures.iter().map(|part| part.read.value).collect();
    let is_logarithmic = !metric.definition.is_share() && values.iter().all(|value| *value > 0.0);
    let bounds = figures.iter().map(|part| part.read.relative_bound);
    Some(CellFigure {
        mean: mean(&values, !is_logarithmic)?,
        ci95: log_t_interval(&values).map(|interval| (interval.low, interval.high)),
        relative_bound: bounds.fold(0.0, f64::max),
        is_blocked,
        repetitions: figures.iter().map(|part| part.repetition).collect(),
        flags: figures.into_iter().flat_map(|part| part.flags).collect(),
        values,
    })
}
