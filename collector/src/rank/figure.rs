//! Figures of the ranked metric, cell by cell, and what speaks against ranking them.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Columns, Metric, RankError, Selection,
    catalogue::IndexedCell,
    index::{Column, Doubt, IndexedRun, Sums},
};

/// Figures of one cell: of those runs of it that are ranked, or of those that are shown only.
#[derive(Debug)]
pub(super) struct Figures<'a> {
    pub(super) cell: &'a IndexedCell,
    /// Shown and not ranked.
    pub(super) is_blocked: bool,
    /// In the order of the cell's runs.
    pub(super) figures: Vec<Figure<'a>>,
    /// What makes them doubtful, by name.
    pub(super) flags: BTreeSet<String>,
}

/// A run's figure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figure<'a> {
    pub(super) run: &'a IndexedRun,
    /// Infinite where the percentile is a failed request: slower than any.
    pub(super) value: f64,
    /// What the value is made of, for metrics that are ratios of sums.
    pub(super) sums: Option<Sums>,
    /// How far sampling may have led the energy astray, as a share of it; 0 for what is not over energy.
    pub(super) relative_bound: f64,
}

/// What a kind of run comes to on the board asked for.
struct Verdict<'a> {
    /// Whether its provenance is the one asked for.
    is_asked_for: bool,
    is_blocked: bool,
    flags: Vec<&'a str>,
    n_absent: usize,
}

/// Reads the figures of the cells that were selected; runs without go into the notes.
pub(super) fn figures<'a, C: Columns>(
    selection: &Selection<'a>,
    columns: &C,
    notes: &mut Vec<String>,
) -> Result<Vec<Figures<'a>>, C::Error>
where
    C::Error: From<RankError>,
{
    let metric = &selection.question.metric;
    let mut verdicts = verdicts(selection);
    let numbers: Vec<i64> = selection.cells.iter().map(|cell| cell.number).collect();
    let mut figures = Vec::new();
    let mut is_read = vec![false; numbers.len()];
    let mut damage = None;
    columns.columns(&metric.to_string(), &numbers, &mut |position, bytes| {
        let cell = selection.cells[position];
        is_read[position] = true;
        match of_cell(cell, metric, bytes, &mut verdicts) {
            Ok(parts) => figures.extend(parts.into_iter().filter(|part| !part.figures.is_empty())),
            Err(error) => damage = damage.take().or(Some(error)),
        }
    })?;
    if let Some(error) = damage {
        return Err(error.into());
    }
    let without = selection.cells.iter().zip(is_read).filter(|(_, is)| !is);
    for (kind, n) in without.flat_map(|(cell, _)| &cell.kinds) {
        let verdict = verdicts.entry(*kind);
        verdict.and_modify(|verdict| verdict.n_absent += n * usize::from(verdict.is_asked_for));
    }
    notes.extend(left_out(selection, &verdicts));
    Ok(figures)
}

/// How many runs of each kind there are among the cells.
pub(super) fn kinds_of(cells: &[&IndexedCell]) -> BTreeMap<u32, usize> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for (kind, n) in cells.iter().flat_map(|cell| &cell.kinds) {
        *counts.entry(*kind).or_default() += n;
    }
    counts
}

pub(super) fn counted(n: usize, one: &str, several: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { several })
}

fn verdicts<'a>(selection: &Selection<'a>) -> BTreeMap<u32, Verdict<'a>> {
    let Selection {
        catalogue,
        question,
        cells,
    } = selection;
    let metric = &question.metric;
    let verdict = |number: u32| {
        let kind = catalogue.kind(number);
        let blocks = |flag: &Doubt| flag.blocks(metric.definition);
        Verdict {
            is_asked_for: kind.provenance(metric) == question.provenance,
            is_blocked: kind.flags.iter().any(blocks),
            flags: kind.flags.iter().map(|flag| flag.id.as_str()).collect(),
            n_absent: 0,
        }
    };
    let kinds = kinds_of(cells).into_keys();
    kinds.map(|number| (number, verdict(number))).collect()
}

/// What is ranked of a cell, and what is shown only.
fn of_cell<'a>(
    cell: &'a IndexedCell,
    metric: &Metric,
    bytes: &[u8],
    verdicts: &mut BTreeMap<u32, Verdict<'a>>,
) -> Result<[Figures<'a>; 2], RankError> {
    let column = Column::read(bytes, cell.runs.len())?;
    let blocks: Vec<bool> = column
        .doubts
        .iter()
        .map(|doubts| doubts.iter().any(|doubt| doubt.blocks(metric.definition)))
        .collect();
    let part = |is_blocked| Figures {
        cell,
        is_blocked,
        figures: Vec::new(),
        flags: BTreeSet::new(),
    };
    let mut parts = [part(false), part(true)];
    let mut entries = column.entries();
    // Nearly all cells are of one kind, and then there is one place to look.
    let mut runs = cell.runs.as_slice();
    while let Some(first) = runs.first() {
        let n = runs.iter().take_while(|run| run.kind == first.kind).count();
        let (same, rest) = runs.split_at(n);
        runs = rest;
        let Some(verdict) = verdicts.get_mut(&first.kind) else {
            continue;
        };
        let mut is_flagged = [false; 2];
        for run in same {
            let entry = entries.next().flatten();
            if !verdict.is_asked_for {
                continue;
            }
            let Some(entry) = entry else {
                verdict.n_absent += 1;
                continue;
            };
            let is_doubted = blocks.get(entry.doubts).copied().unwrap_or_default();
            let position = usize::from(verdict.is_blocked || is_doubted);
            let part = &mut parts[position];
            is_flagged[position] = true;
            if let Some(doubts) = column.doubts.get(entry.doubts) {
                part.flags
                    .extend(doubts.iter().map(|doubt| doubt.id.clone()));
            }
            if part.figures.is_empty() {
                part.figures.reserve_exact(cell.runs.len());
            }
            part.figures.push(Figure {
                run,
                value: entry.value,
                sums: entry.sums,
                relative_bound: entry.relative_bound,
            });
        }
        for (part, is_flagged) in parts.iter_mut().zip(is_flagged) {
            if is_flagged {
                let flags = verdict.flags.iter().map(|flag| (*flag).to_owned());
                part.flags.extend(flags);
            }
        }
    }
    Ok(parts)
}

fn left_out(selection: &Selection<'_>, verdicts: &BTreeMap<u32, Verdict<'_>>) -> Vec<String> {
    let mut absent: BTreeMap<String, usize> = BTreeMap::new();
    for (number, verdict) in verdicts {
        if verdict.n_absent > 0 {
            let kind = selection.catalogue.kind(*number);
            let reason = kind.reason(&selection.question.metric);
            *absent.entry(reason).or_default() += verdict.n_absent;
        }
    }
    let note = |(reason, n)| format!("{} left out: {reason}", counted(n, "run is", "runs are"));
    absent.into_iter().map(note).collect()
}
