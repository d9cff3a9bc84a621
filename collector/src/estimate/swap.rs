//! From how many requests on it pays to load another model, where one machine holds one of them at a time.

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::metrics::swap::{BreakEven, Costs, Together, break_even, together};

use super::{Amount, EstimateError, Machine, Mark, SwapPlan, SwapRow, whole_bytes};
use crate::{
    compare::{CompareError, matched},
    rank::{CellFigure, Condition, Key, RankedCell},
};

/// Every pair of cells that differ in the model only.
///
/// # Errors
/// A side is empty, or the sides have no cell in common.
pub fn swap(
    plan: &SwapPlan,
    cells: &[RankedCell],
    machines: &[Machine],
) -> Result<Vec<SwapRow>, EstimateError> {
    let conditions = |texts: &[String]| -> Result<Vec<Condition>, EstimateError> {
        let conditions = texts.iter().map(|text| Condition::parse(text));
        Ok(conditions.collect::<Result<_, _>>()?)
    };
    let (from, to) = (conditions(&plan.from)?, conditions(&plan.to)?);
    let pairs = matched(cells, &from, &to)
        .map_err(|error: CompareError| EstimateError::Sides(error.to_string()))?;
    let loading: Vec<&RankedCell> = cells
        .iter()
        .filter(|cell| to.iter().all(|condition| cell.meets(condition)))
        .collect();
    let shared: Vec<[&RankedCell; 2]> = pairs;
    let differing = differing(&shared);
    let rows = shared
        .iter()
        .filter_map(|pair| row(*pair, &loading, machines, &differing));
    let rows: Vec<SwapRow> = rows.collect();
    match rows.is_empty() {
        true => Err(EstimateError::Nothing(
            "requests_per_s on both sides".to_owned(),
        )),
        false => Ok(rows),
    }
}

/// Keys that are the same on both sides of a pair, and not in all pairs; and the device.
fn differing(pairs: &[[&RankedCell; 2]]) -> Vec<Key> {
    let is_shared = |key: &Key| {
        pairs
            .iter()
            .all(|[one, other]| one.value(*key) == other.value(*key))
    };
    let varies = |key: &Key| {
        let values: BTreeSet<String> = pairs.iter().map(|[one, _]| one.value(*key)).collect();
        values.len() > 1 || matches!(key, Key::Device | Key::Task)
    };
    Key::ALL
        .into_iter()
        .filter(|key| is_shared(key) && varies(key))
        .collect()
}

fn row(
    [from, to]: [&RankedCell; 2],
    loading: &[&RankedCell],
    machines: &[Machine],
    keys: &[Key],
) -> Option<SwapRow> {
    let (stay, go) = (per_request(from)?, per_request(to)?);
    let load = load(to, loading);
    let load_s = load.map(|(_, figure)| super::amount(figure, 1.0));
    let mut reasons = BTreeMap::from([(
        "energy".to_owned(),
        "what a load draws is measured by `tokwatt-agent swap` only".to_owned(),
    )]);
    if load.is_none() {
        reasons.insert(
            "load_s".to_owned(),
            "no load of the other model was timed".to_owned(),
        );
    }
    let together = peaks(from, to, machines);
    if together.is_none() {
        let why =
            "takes the memory peaks of both models' processes and what the system leaves them";
        reasons.insert("together".to_owned(), why.to_owned());
    }
    let costs = load_s.map(|load| Costs {
        switch: load.value,
        stay: stay.value,
        go: go.value,
    });
    Some(SwapRow {
        key: keys
            .iter()
            .map(|key| (key.as_str().to_owned(), from.value(*key)))
            .collect(),
        stay_s: stay,
        go_s: go,
        load_s,
        load_kind: load.map(|(kind, _)| kind.to_owned()),
        mark: match load {
            Some(("swap", _)) => Mark::Measured,
            _ => Mark::Estimated,
        },
        requests: costs.and_then(break_even),
        requests_range: load_s.and_then(|load| range(load.value, stay, go)),
        together,
        reasons,
    })
}

/// W / successes: what a request takes under the cell's load.
fn per_request(cell: &RankedCell) -> Option<Amount> {
    let speed = cell.figure("requests_per_s")?;
    (speed.mean > 0.0 && speed.mean.is_finite()).then(|| Amount {
        value: 1.0 / speed.mean,
        ci95: speed.ci95.map(|(low, high)| (1.0 / high, 1.0 / low)),
    })
}

/// The load of a swap, else that of an empty machine; of this cell, else of another one of the same model and configuration.
fn load<'a>(
    to: &'a RankedCell,
    loading: &[&'a RankedCell],
) -> Option<(&'static str, &'a CellFigure)> {
    let is_same = |cell: &&&RankedCell| {
        let of_model = |key: &Key| !key.is_identity() || matches!(key, Key::Model | Key::Precision);
        let mut keys = Key::ALL.into_iter().filter(of_model);
        keys.all(|key| cell.value(key) == to.value(key))
    };
    KINDS.into_iter().find_map(|kind| {
        let id = format!("load_time.{kind}");
        let own = to.figure(&id);
        let others = || loading.iter().filter(is_same);
        let figure = own.or_else(|| others().find_map(|cell| cell.figure(&id)))?;
        Some((kind, figure))
    })
}

/// The break-even for the largest saving that both intervals leave open, and for the smallest.
fn range(switch: f64, stay: Amount, go: Amount) -> Option<[BreakEven; 2]> {
    let (stay, go) = (stay.ci95?, go.ci95?);
    let of = |stay, go| break_even(Costs { switch, stay, go });
    Some([of(stay.1, go.0)?, of(stay.0, go.1)?])
}

fn peaks(from: &RankedCell, to: &RankedCell, machines: &[Machine]) -> Option<Together> {
    let machine = machines
        .iter()
        .find(|machine| machine.device == from.device.as_str())?;
    let available = machine.total_bytes?.checked_sub(machine.baseline_bytes?)?;
    let id = match machine.memory {
        "gpu" => "memory_peak.gpu",
        _ => "memory_peak.process_tree",
    };
    let peak = |cell: &RankedCell| whole_bytes(cell.figure(id)?.mean);
    Some(together([peak(from)?, peak(to)?], available))
}

/// Kinds of loads, the one that is asked about first.
const KINDS: [&str; 3] = ["swap", "warm", "cold"];
