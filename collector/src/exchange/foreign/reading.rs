//! What a file says about one run: values with their definitions and in SI units, and what was run, as far as it says so.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use serde::{Deserialize, Serialize};
use tokwatt_domain::{
    metrics::Flag,
    power::{Provenance, Scope},
    time::WallTime,
    workload::Load,
};

use super::node::Node;

/// One figure of a file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Value {
    /// Its definition: an id of the dictionary, behind a dot the statistic (`ttft.mean`), behind an `@` the power scope;
    /// `foreign.TOOL.NAME` for what has no definition here, which is kept and never ranked.
    pub id: String,
    /// In `unit`.
    pub value: f64,
    /// SI unit; for `foreign.…` the tool's own.
    pub unit: String,
    /// What the file calls it.
    pub source: String,
    /// Unit that the file has it in.
    pub source_unit: String,
    /// Where the tool's definition is not quite ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}

/// What a file says about one run.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// Where in the file: `line 2`, `benchmarks[0]`.
    pub(super) place: String,
    /// Of the tool.
    pub(super) version: Option<String>,
    pub(super) started: Option<WallTime>,
    pub(super) device: Option<String>,
    pub(super) model: Option<String>,
    pub(super) precision: Option<String>,
    pub(super) engine: Option<String>,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) os: Option<String>,
    /// In a few words.
    pub(super) task: String,
    /// Everything that has to be the same for two runs to be compared.
    pub(super) workload: BTreeMap<String, String>,
    pub(super) load: Option<Load>,
    pub(super) max_tokens: Option<u32>,
    pub(super) is_streaming: bool,
    pub(super) window_s: Option<f64>,
    pub(super) succeeded: Option<u32>,
    pub(super) failed: Option<u32>,
    pub(super) values: Vec<Value>,
    pub(super) flags: Vec<Flag>,
    /// Why something is absent.
    pub(super) reasons: BTreeMap<String, String>,
    pub(super) provenance: Provenance,
}

/// The unit that a file has a figure in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
    Nanoseconds,
    TokensPerSecond,
    PerSecond,
    Share,
    Percent,
    Joules,
    Millijoules,
    KilowattHours,
    JoulesPerToken,
    MillijoulesPerToken,
    TokensPerJoule,
    Watts,
    Megabytes,
}

/// Members of an object, with a note of which were looked at.
pub(super) struct Fields<'a> {
    node: &'a Node,
    taken: RefCell<BTreeSet<&'a str>>,
}

impl Reading {
    pub(super) fn new(place: String) -> Self {
        Self {
            place,
            version: None,
            started: None,
            device: None,
            model: None,
            precision: None,
            engine: None,
            settings: BTreeMap::new(),
            os: None,
            task: String::new(),
            workload: BTreeMap::new(),
            load: None,
            max_tokens: None,
            is_streaming: true,
            window_s: None,
            succeeded: None,
            failed: None,
            values: Vec::new(),
            flags: Vec::new(),
            reasons: BTreeMap::new(),
            provenance: Provenance::Imported,
        }
    }

    /// About what it takes as a run: the texts stand in its header and its report, with room for what they are written as.
    pub(super) fn n_bytes(&self) -> usize {
        let about = [
            &self.version,
            &self.device,
            &self.model,
            &self.precision,
            &self.engine,
            &self.os,
        ];
        let about = about.into_iter().flatten().map(String::len);
        let pairs = [&self.settings, &self.workload, &self.reasons];
        let pairs = pairs.into_iter().flatten();
        let pairs = pairs.map(|(key, value)| PAIR_BYTES + key.len() + value.len());
        let flags = self.flags.iter().map(|flag| flag.detail.len());
        let texts = about.chain(pairs).chain(flags).sum::<usize>();
        let texts = self.place.len() + self.task.len() + texts;
        let values = self.values.iter().map(Value::n_bytes).sum::<usize>();
        READING_BYTES + TEXTS_STAND * texts + values
    }

    /// A value by its definition. One that cannot be is left out, and the reason kept.
    pub(super) fn put(&mut self, id: &str, value: Option<f64>, unit: Unit, source: &str) {
        self.put_remarked(id, value, unit, source, None);
    }

    /// The same, with what to know about the tool's definition.
    pub(super) fn put_remarked(
        &mut self,
        id: &str,
        value: Option<f64>,
        unit: Unit,
        source: &str,
        remark: Option<&str>,
    ) {
        let Some(value) = value else {
            return;
        };
        // Nothing takes no time or no energy: tools write 0 for what they did not measure.
        if value < 0.0 || (value == 0.0 && unit.is_never_zero()) {
            let reason = format!("`{source}` is {value}, which means that it was not measured");
            self.reasons.insert(id.to_owned(), reason);
            return;
        }
        let (si, factor) = unit.si();
        let value = value * factor;
        if !value.is_finite() {
            self.reasons.insert(id.to_owned(), no_number(source));
            return;
        }
        self.values.push(Value {
            id: id.to_owned(),
            value,
            unit: si.to_owned(),
            source: source.to_owned(),
            source_unit: unit.name().to_owned(),
            remark: remark.map(str::to_owned),
        });
    }

    /// A value over energy, of a scope that the file states.
    pub(super) fn put_energy(
        &mut self,
        id: &str,
        scope: Scope,
        value: Option<f64>,
        unit: Unit,
        source: &str,
    ) {
        self.put(&format!("{id}@{scope}"), value, unit, source);
    }

    /// Statistics of a per-request figure by name: `p90`, `mean`, …
    pub(super) fn put_statistics(
        &mut self,
        id: &str,
        unit: Unit,
        source: &str,
        remark: Option<&str>,
        statistics: impl IntoIterator<Item = (String, f64)>,
    ) {
        for (statistic, value) in statistics {
            let id = format!("{id}.{}", statistic_name(&statistic));
            let source = format!("{source}.{statistic}");
            self.put_remarked(&id, Some(value), unit, &source, remark);
        }
    }

    /// What has no definition here.
    pub(super) fn put_foreign(&mut self, tool: &str, name: &str, value: f64, unit: &str) {
        if !value.is_finite() {
            self.reasons.insert(name.to_owned(), no_number(name));
            return;
        }
        self.values.push(Value {
            id: format!("foreign.{tool}.{name}"),
            value,
            unit: unit.to_owned(),
            source: name.to_owned(),
            source_unit: unit.to_owned(),
            remark: None,
        });
    }

    pub(super) fn value(&self, id: &str) -> Option<f64> {
        let value = self.values.iter().find(|value| value.id == id);
        value.map(|value| value.value)
    }

    /// Counts of requests, and the share of those that succeeded.
    pub(super) fn put_counts(&mut self, succeeded: Option<f64>, failed: Option<f64>, source: &str) {
        self.succeeded = succeeded.and_then(count);
        self.failed = failed.and_then(count);
        let (Some(succeeded), Some(failed)) = (self.succeeded, self.failed) else {
            return;
        };
        let (succeeded, failed) = (f64::from(succeeded), f64::from(failed));
        if succeeded + failed > 0.0 {
            let share = succeeded / (succeeded + failed);
            self.put("success_rate", Some(share), Unit::Share, source);
        }
        if failed > 0.0 {
            self.note(
                "failures_left_out",
                format!(
                    "{failed} requests failed, and the tool's latencies are of the others alone"
                ),
            );
        }
    }

    /// Compares what the file says with what its other numbers come to.
    pub(super) fn check(&mut self, source: &str, stated: Option<f64>, from: &str, comes_to: f64) {
        let Some(stated) = stated else {
            return;
        };
        let is_close =
            (stated - comes_to).abs() <= RELATIVE_MOST * comes_to.abs().max(stated.abs());
        if !is_close {
            self.flags.push(Flag {
                id: "source_contradicts".to_owned(),
                blocking: true,
                detail: format!("the file says {source} = {stated}, and {from} come to {comes_to}"),
            });
        }
    }

    pub(super) fn note(&mut self, id: &str, detail: String) {
        self.flags.push(Flag {
            id: id.to_owned(),
            blocking: false,
            detail,
        });
    }

    pub(super) fn block(&mut self, id: &str, detail: String) {
        self.flags.push(Flag {
            id: id.to_owned(),
            blocking: true,
            detail,
        });
    }

    /// One member of the workload.
    pub(super) fn asked(&mut self, key: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.workload.insert(key.to_owned(), value.to_string());
        }
    }

    pub(super) fn set(&mut self, key: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.settings.insert(key.to_owned(), value.to_string());
        }
    }
}

impl Value {
    fn n_bytes(&self) -> usize {
        let remark = self.remark.as_ref().map_or(0, String::len);
        let texts = [&self.id, &self.unit, &self.source, &self.source_unit];
        let texts = texts.into_iter().map(String::len).sum::<usize>();
        size_of::<Self>() + texts + remark
    }
}

impl Unit {
    /// The unit that a tool names.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "s" | "sec" | "seconds" => Self::Seconds,
            "ms" => Self::Milliseconds,
            "ns" => Self::Nanoseconds,
            "tokens/sec" | "tokens/s" | "tokens/sec/user" => Self::TokensPerSecond,
            "requests/sec" | "requests/s" => Self::PerSecond,
            "J" => Self::Joules,
            "mJ" => Self::Millijoules,
            "kWh" => Self::KilowattHours,
            "mJ/token" => Self::MillijoulesPerToken,
            "J/token" => Self::JoulesPerToken,
            "W" => Self::Watts,
            "MB" => Self::Megabytes,
            "%" => Self::Percent,
            _ => return None,
        })
    }

    /// As it is written.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Nanoseconds => "ns",
            Self::TokensPerSecond => "tok/s",
            Self::PerSecond => "1/s",
            Self::Share => "share",
            Self::Percent => "%",
            Self::Joules => "J",
            Self::Millijoules => "mJ",
            Self::KilowattHours => "kWh",
            Self::JoulesPerToken => "J/tok",
            Self::MillijoulesPerToken => "mJ/tok",
            Self::TokensPerJoule => "tok/J",
            Self::Watts => "W",
            Self::Megabytes => "MB",
        }
    }

    /// Ours, and how many of it one is.
    fn si(self) -> (&'static str, f64) {
        match self {
            Self::Seconds => ("s", 1.0),
            Self::Milliseconds => ("s", 1e-3),
            Self::Nanoseconds => ("s", 1e-9),
            Self::TokensPerSecond => ("tok/s", 1.0),
            Self::PerSecond => ("1/s", 1.0),
            Self::Share => ("share", 1.0),
            Self::Percent => ("share", 1e-2),
            Self::Joules => ("J", 1.0),
            Self::Millijoules => ("J", 1e-3),
            Self::KilowattHours => ("J", 3.6e6),
            Self::JoulesPerToken => ("J/tok", 1.0),
            Self::MillijoulesPerToken => ("J/tok", 1e-3),
            Self::TokensPerJoule => ("tok/J", 1.0),
            Self::Watts => ("W", 1.0),
            Self::Megabytes => ("B", 1e6),
        }
    }

    fn is_never_zero(self) -> bool {
        !matches!(self, Self::Share | Self::Percent | Self::PerSecond)
    }
}

impl<'a> Fields<'a> {
    pub(super) fn of(node: &'a Node) -> Self {
        Self {
            node,
            taken: RefCell::default(),
        }
    }

    pub(super) fn get(&self, key: &'a str) -> Option<&'a Node> {
        self.taken.borrow_mut().insert(key);
        self.node.get(key)
    }

    pub(super) fn number(&self, key: &'a str) -> Option<f64> {
        self.get(key)?.number()
    }

    pub(super) fn text(&self, key: &'a str) -> Option<&'a str> {
        let text = self.get(key)?.text()?;
        Some(text).filter(|text| !text.is_empty())
    }

    /// Every member, looked at or not.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'a str, &'a Node)> {
        let members = self.node.object().into_iter().flatten();
        members.map(|(key, node)| (key.as_str(), node))
    }

    pub(super) fn take(&self, key: &'a str) {
        self.taken.borrow_mut().insert(key);
    }

    /// Numbers that nobody looked at.
    pub(super) fn rest(&self) -> Vec<(&'a str, f64)> {
        let taken = self.taken.borrow();
        self.members()
            .filter(|(key, _)| !taken.contains(key))
            .filter_map(|(key, node)| Some((key, node.number()?)))
            .collect()
    }
}

/// `median` and `p50` are one, and so are `avg` and `mean`.
pub(super) fn statistic_name(name: &str) -> String {
    match name {
        "median" => "p50".to_owned(),
        "avg" => "mean".to_owned(),
        "stdev" | "std_dev" | "stddev" => "std".to_owned(),
        _ => name.replace('.', "_"),
    }
}

/// A count that a file has as a number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole, and between 0 and the largest of its type"
)]
pub(super) fn count(number: f64) -> Option<u32> {
    let is_count = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    is_count.then_some(number as u32)
}

/// Requests in flight.
pub(super) fn closed(concurrency: Option<f64>) -> Option<Load> {
    let concurrency = count(concurrency?)?;
    (concurrency > 0).then_some(Load::Closed(concurrency))
}

/// Why a value is not there.
fn no_number(source: &str) -> String {
    format!("`{source}` is no number, or beyond all numbers")
}

/// Of a run with its header and its report, without their texts.
const READING_BYTES: usize = 4096;

/// A place in a map.
const PAIR_BYTES: usize = 64;

/// In the reading, the header, the report, and what tells its cell from others.
const TEXTS_STAND: usize = 4;

/// Digits that tools round away.
const RELATIVE_MOST: f64 = 1e-3;
