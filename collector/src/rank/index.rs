//! What ranking reads of a cell's reports, packed: the store's index of figures. A board over one metric reads the figures of that metric
//! and no report.
//!
//! The index of a cell is a pure function of its reports. It consists of
//!
//! - its *runs*: a version, how many runs, for each of them 40 bytes (id, repetition, start, requests, failures, number of its kind), then
//!   its kinds as JSON: what runs have in common that decides where their figures stand;
//! - for each metric that any of its runs has a *column*: a form, and for each run its value, or the two sums that it is made of and, over
//!   energy, how far off it may be and which doubts there are; then the doubts as JSON. What a run does not have is NaN; a ratio that is
//!   stated without its sums is a value above NaN.
//!
//! Numbers are little-endian. Runs are in the order of their repetition, their start, their id, and so are the values of columns.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tokwatt_domain::{
    ids::{DeviceId, RunId},
    metrics::{
        Flag, MetricValue, RunReport,
        dictionary::{Definition, Kind as Making, definition, definitions, total_id},
    },
    power::{Provenance, Scope},
    run::Cell,
    time::WallTime,
    workload::Limits,
};

use super::{Metric, RankError, RankedRun, reciprocal::contradicts};

/// What makes two runs repetitions of each other: the name of a cell, as the store has it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CellName {
    /// Where.
    pub device: DeviceId,
    /// What was run.
    #[serde(flatten)]
    pub cell: Cell,
    /// Goodput under other limits is another figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// The index of one cell.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CellIndex {
    /// Its runs.
    pub runs: Vec<u8>,
    /// Metric as `id` or `id@scope` to its column.
    pub columns: BTreeMap<String, Vec<u8>>,
}

/// A run without its figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct IndexedRun {
    pub(super) id: RunId,
    pub(super) repetition: u32,
    pub(super) started: WallTime,
    pub(super) n_requests: u32,
    pub(super) n_failed: u32,
    /// Which kind of run it is: a position, in the packed form among those of its cell, in memory among all.
    pub(super) kind: u32,
}

/// What decides where the figures of a run stand. Few runs of a cell differ in it.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(super) struct Kind {
    pub(super) requests: Provenance,
    pub(super) power: Option<Provenance>,
    pub(super) scopes: BTreeSet<Scope>,
    pub(super) flags: Vec<Doubt>,
    /// Of metrics, of power and of quality only.
    pub(super) reasons: BTreeMap<String, String>,
    /// Prompt tokens of a picture, a whole number.
    pub(super) image_tokens: Option<String>,
}

/// A flag without its figures.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(super) struct Doubt {
    pub(super) id: String,
    pub(super) blocking: bool,
}

/// A column, read in place.
pub(super) struct Column<'b> {
    form: Form,
    values: &'b [u8],
    /// Which there are.
    pub(super) doubts: Vec<Vec<Doubt>>,
}

/// A run's figure in a column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Infinite where the percentile is a failed request: slower than any.
    pub(super) value: f64,
    /// What the value is made of, for metrics that are ratios of sums.
    pub(super) sums: Option<Sums>,
    /// How far sampling may have led the energy astray, as a share of it; 0 for what is not over energy.
    pub(super) relative_bound: f64,
    /// Position among the column's doubts.
    pub(super) doubts: usize,
}

/// What a ratio is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sums {
    pub(super) numerator: f64,
    pub(super) denominator: f64,
}

/// What a column has for each run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Values,
    Sums,
    /// With the bound, and a byte for the doubts.
    Energies,
}

impl CellName {
    /// Of the cell that a run belongs to.
    pub fn of(report: &RunReport) -> Self {
        Self {
            device: report.device.clone(),
            cell: report.cell.clone(),
            limits: report.limits,
        }
    }
}

impl CellIndex {
    /// Of these runs, which are of one cell.
    pub fn of(runs: &[RankedRun]) -> Self {
        let mut runs: Vec<&RankedRun> = runs.iter().collect();
        runs.sort_by_key(|run| (run.report.repetition, run.report.started, run.report.run));
        let columns = metrics_of(&runs).filter_map(|metric| {
            let column = column(&runs, &metric)?;
            Some((metric.to_string(), column))
        });
        Self {
            columns: columns.collect(),
            runs: packed_runs(&runs),
        }
    }
}

impl Kind {
    fn of(run: &RankedRun) -> Self {
        let report = &run.report;
        let flags = report.flags.iter().map(Doubt::of);
        let differs = run.report_differs.then(|| Doubt::note(DIFFERS));
        let reciprocal = contradicts(report).then(|| Doubt::note(RECIPROCAL));
        let is_asked_for = |key: &str| {
            let id = key.split('@').next().unwrap_or_default();
            [POWER, QUALITY].contains(&id) || definition(id).is_ok()
        };
        let reasons = report.reasons.iter();
        Self {
            requests: report.provenance.requests,
            power: report.provenance.power,
            scopes: report.power.iter().map(|power| power.scope).collect(),
            flags: flags.chain(differs).chain(reciprocal).collect(),
            reasons: reasons
                .filter(|(key, _)| is_asked_for(key))
                .map(|(key, reason)| (key.clone(), reason.clone()))
                .collect(),
            image_tokens: match report.metrics.get("image_tokens") {
                Some(Some(MetricValue::Number(tokens))) => Some(format!("{tokens:.0}")),
                _ => None,
            },
        }
    }

    /// Provenance that a metric has; one over energy without a sensor stands with the run's other figures, to be left out there with its
    /// reason.
    pub(super) fn provenance(&self, metric: &Metric) -> Provenance {
        match metric.definition.needs_scope {
            true => self.of_energy(),
            false => self.requests,
        }
    }

    /// Provenance of its energies, if it has any.
    pub(super) fn of_energy(&self) -> Provenance {
        self.power
            .map_or(self.requests, |power| power.weaker(self.requests))
    }

    /// Whether any of its figures may be of a provenance.
    pub(super) fn has(&self, provenance: Provenance) -> bool {
        [self.requests, self.of_energy()].contains(&provenance)
    }

    /// Why a figure is absent, in the report's own words where it has some.
    pub(super) fn reason(&self, metric: &Metric) -> String {
        let id = metric.definition.id;
        let scoped = metric.scope.map(|scope| format!("{id}@{scope}"));
        let keys = [scoped.as_deref(), Some(id), metric.scope.map(|_| POWER)];
        let said = keys
            .into_iter()
            .flatten()
            .find_map(|key| self.reasons.get(key));
        let name = scoped.as_deref().unwrap_or(id);
        match said {
            Some(reason) => format!("no `{name}` ({reason})"),
            None => format!("no `{name}`"),
        }
    }
}

impl Doubt {
    fn of(flag: &Flag) -> Self {
        Self {
            id: flag.id.clone(),
            blocking: flag.blocking,
        }
    }

    fn note(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            blocking: false,
        }
    }

    /// Whether it was found in comparing, and stands in no report.
    pub(super) fn is_ours(&self) -> bool {
        [DIFFERS, RECIPROCAL].contains(&self.id.as_str())
    }

    /// As [`Flag::blocks`].
    pub(super) fn blocks(&self, metric: &Definition) -> bool {
        let flag = Flag {
            id: self.id.clone(),
            blocking: self.blocking,
            detail: String::new(),
        };
        flag.blocks(metric)
    }
}

impl<'b> Column<'b> {
    /// Of a cell of `n_runs` runs.
    pub(super) fn read(bytes: &'b [u8], n_runs: usize) -> Result<Self, RankError> {
        let (form, rest) = bytes.split_first().ok_or_else(|| damaged("a column"))?;
        let form = Form::ALL
            .into_iter()
            .find(|known| known.number() == *form)
            .ok_or_else(|| damaged("the form of a column"))?;
        let (values, doubts) = rest
            .split_at_checked(n_runs * form.width())
            .ok_or_else(|| damaged("a column of another number of runs"))?;
        let doubts = match form {
            Form::Values | Form::Sums => Vec::new(),
            Form::Energies => {
                serde_json::from_slice(doubts).map_err(|_| damaged("the doubts of a column"))?
            }
        };
        Ok(Self {
            form,
            values,
            doubts,
        })
    }

    /// The figures of all runs in their order.
    pub(super) fn entries(&self) -> impl Iterator<Item = Option<Entry>> {
        let form = self.form;
        self.values
            .chunks_exact(form.width())
            .map(move |bytes| entry(form, bytes))
    }
}

impl Form {
    const ALL: [Self; 3] = [Self::Values, Self::Sums, Self::Energies];

    fn of(metric: &Metric) -> Self {
        match metric.definition.kind {
            Making::Ratio { .. } if metric.is_over_energy() => Self::Energies,
            Making::Ratio { .. } => Self::Sums,
            Making::Percentile { .. } | Making::Number => Self::Values,
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Values => 1,
            Self::Sums => 2,
            Self::Energies => 3,
        }
    }

    /// Bytes for each run.
    fn width(self) -> usize {
        match self {
            Self::Values => 8,
            Self::Sums => 16,
            Self::Energies => 25,
        }
    }
}

fn entry(form: Form, bytes: &[u8]) -> Option<Entry> {
    let number = |position: usize| {
        let bytes = bytes.get(8 * position..8 * position + 8);
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(f64::NAN, f64::from_le_bytes)
    };
    let first = number(0);
    if first.is_nan() {
        return None;
    }
    let denominator = Some(number(1)).filter(|own| form != Form::Values && !own.is_nan());
    let sums = denominator.map(|denominator| Sums {
        numerator: first,
        denominator,
    });
    let is_energy = form == Form::Energies;
    Some(Entry {
        value: sums.map_or(first, |sums| sums.numerator / sums.denominator),
        sums,
        relative_bound: if is_energy { number(2) } else { 0.0 },
        doubts: match bytes.last() {
            Some(position) if is_energy => usize::from(*position),
            _ => 0,
        },
    })
}

/// Everything in the dictionary, each over every scope that these runs have.
fn metrics_of(runs: &[&RankedRun]) -> impl Iterator<Item = Metric> {
    let powers = runs.iter().flat_map(|run| run.report.power.iter());
    metrics(powers.map(|power| power.scope).collect())
}

/// Everything in the dictionary, each over every one of these scopes.
pub(super) fn metrics(scopes: BTreeSet<Scope>) -> impl Iterator<Item = Metric> {
    let scoped = move |definition: &'static Definition| {
        let scopes: Vec<Option<Scope>> = match definition.needs_scope {
            true => scopes.iter().copied().map(Some).collect(),
            false => vec![None],
        };
        let metric = move |scope| Metric { definition, scope };
        scopes.into_iter().map(metric)
    };
    definitions().iter().flat_map(scoped)
}

/// `None` if no run has the figure.
fn column(runs: &[&RankedRun], metric: &Metric) -> Option<Vec<u8>> {
    let form = Form::of(metric);
    let mut doubts: Vec<Vec<Doubt>> = Vec::new();
    let mut bytes = vec![form.number()];
    let mut is_there = false;
    for run in runs {
        let report = &run.report;
        let value = metric.definition.figure(report, metric.scope);
        is_there |= value.is_some();
        match form {
            Form::Values => bytes.extend(value.unwrap_or(f64::NAN).to_le_bytes()),
            Form::Sums | Form::Energies => {
                let sums = value.and_then(|_| sums(report, metric));
                let stated = value.unwrap_or(f64::NAN);
                let numerator = sums.map_or(stated, |sums| sums.numerator);
                let denominator = sums.map_or(f64::NAN, |sums| sums.denominator);
                bytes.extend(numerator.to_le_bytes());
                bytes.extend(denominator.to_le_bytes());
            }
        }
        if form == Form::Energies {
            let energy = metric.scope.and_then(|scope| report.power_of(scope));
            // A bound that is not known may be anything.
            let bound = energy.map_or(0.0, |energy| energy.relative_bound().unwrap_or(1.0));
            let own = energy.map_or_else(Vec::new, |energy| energy.doubts(report.window_s));
            let own = own.iter().map(Doubt::of).collect();
            bytes.extend(bound.to_le_bytes());
            bytes.push(position_in(&mut doubts, own));
        }
    }
    if form == Form::Energies {
        bytes.extend(json(&doubts));
    }
    is_there.then_some(bytes)
}

fn sums(report: &RunReport, metric: &Metric) -> Option<Sums> {
    let Making::Ratio {
        numerator,
        denominator,
    } = metric.definition.kind
    else {
        return None;
    };
    let total = |id| report.totals.get(&total_id(id, metric.scope)).copied();
    Some(Sums {
        numerator: total(numerator)?,
        denominator: total(denominator)?,
    })
}

/// Of four doubts there are no more than 16 combinations.
fn position_in(known: &mut Vec<Vec<Doubt>>, doubts: Vec<Doubt>) -> u8 {
    let position = known.iter().position(|own| *own == doubts);
    let position = position.unwrap_or_else(|| {
        known.push(doubts);
        known.len() - 1
    });
    u8::try_from(position).expect("an energy has four doubts, which combine in 16 ways")
}

fn packed_runs(runs: &[&RankedRun]) -> Vec<u8> {
    let mut kinds: Vec<Kind> = Vec::new();
    let mut bytes = vec![VERSION];
    bytes.extend(count(runs.len()).to_le_bytes());
    for run in runs {
        let kind = Kind::of(run);
        let position = kinds.iter().position(|own| *own == kind);
        let position = position.unwrap_or_else(|| {
            kinds.push(kind);
            kinds.len() - 1
        });
        let report = &run.report;
        bytes.extend(report.run.0);
        bytes.extend(report.repetition.to_le_bytes());
        bytes.extend(report.started.0.to_le_bytes());
        bytes.extend(report.requests.issued.to_le_bytes());
        let n_failed: u32 = report.requests.failed.values().sum();
        bytes.extend(n_failed.to_le_bytes());
        bytes.extend(count(position).to_le_bytes());
    }
    bytes.extend(json(&kinds));
    bytes
}

/// The runs of a cell, and the kinds that their numbers stand for.
pub(super) fn runs(bytes: &[u8]) -> Result<(Vec<IndexedRun>, Vec<Kind>), RankError> {
    let wrong = || damaged("the runs of a cell");
    let mut rest = bytes;
    if take::<1>(&mut rest) != Some([VERSION]) {
        return Err(damaged("another version's runs of a cell"));
    }
    let n = take(&mut rest).map(u32::from_le_bytes).ok_or_else(wrong)?;
    let runs: Option<Vec<IndexedRun>> = (0..n).map(|_| run(&mut rest)).collect();
    let kinds: Vec<Kind> = serde_json::from_slice(rest).map_err(|_| wrong())?;
    let runs = runs.ok_or_else(wrong)?;
    let is_known =
        |run: &IndexedRun| usize::try_from(run.kind).is_ok_and(|kind| kind < kinds.len());
    if !runs.iter().all(is_known) {
        return Err(wrong());
    }
    Ok((runs, kinds))
}

fn run(rest: &mut &[u8]) -> Option<IndexedRun> {
    Some(IndexedRun {
        id: RunId(take(rest)?),
        repetition: u32::from_le_bytes(take(rest)?),
        started: WallTime(i64::from_le_bytes(take(rest)?)),
        n_requests: u32::from_le_bytes(take(rest)?),
        n_failed: u32::from_le_bytes(take(rest)?),
        kind: u32::from_le_bytes(take(rest)?),
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("texts under textual keys")
}

/// A cell has fewer runs than four thousand millions.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

pub(super) fn damaged(what: &str) -> RankError {
    RankError::Index(what.to_owned())
}

/// Of the packed runs.
const VERSION: u8 = 1;

/// Key of the reason for which a run has no energy at all.
const POWER: &str = "power";

/// The reason that stands for all of quality.
const QUALITY: &str = "quality";

const DIFFERS: &str = "report_differs";
const RECIPROCAL: &str = "reciprocal";
