//! Records put together to a run again, in whatever order they come.
//!
//! Every piece carries its position, and what closes a segment or a run carries the counts: so a missing piece is named, and
//! nothing is believed complete because nothing more came. What is declared missing need not be there: as much must be there or
//! declared as there was, to the last one.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, btree_map::Entry},
};

use tokwatt_domain::{
    gap::{Gap, Part},
    ids::RunId,
    metrics::RunReport,
    power::{PowerSample, PowerTrace, Sensor},
    run::{
        GaugeTrace, MemoryTrace, RequestTrace, Resumption, RunEnd, RunHeader, RunTrace, Segment,
    },
    time::Window,
};

use crate::{error::ContractError, record::Record};

/// A run as its records tell it.
#[derive(Clone, Debug, PartialEq)]
pub struct Assembled {
    /// What happened.
    pub trace: RunTrace,
    /// What it came to, as the agent computed it.
    pub report: RunReport,
}

/// A run without its end, as its records tell it: one that is being measured, or whose agent was killed.
#[derive(Clone, Debug, PartialEq)]
pub struct UnderWay {
    /// What was known before.
    pub header: RunHeader,
    /// Those that are complete.
    pub segments: Vec<Segment>,
    /// Where its agent was killed and it went on.
    pub resumptions: Vec<Resumption>,
}

/// Puts a run together that has no end yet, from all its records so far, in any order; those of others are passed over.
///
/// # Errors
/// It is not among them, or has an end, or what it has does not fit together.
pub fn assemble_under_way(
    run: RunId,
    records: impl IntoIterator<Item = Record>,
) -> Result<UnderWay, ContractError> {
    let mut pieces = Pieces::default();
    records
        .into_iter()
        .filter(|record| record.run() == Some(run))
        .try_for_each(|record| pieces.add(run, run, record))
        .and_then(|()| pieces.join_open())
        .map_err(|problem| ContractError::Run { run, problem })
}

/// Puts a run together again from its records, in any order; records of a device are passed over.
///
/// # Errors
/// A record of another run, a piece that is missing, there twice or beyond the counts, and times out of order: the message
/// says what and where. No such error goes away by reading again.
pub fn assemble(records: impl IntoIterator<Item = Record>) -> Result<Assembled, ContractError> {
    let mut records = records
        .into_iter()
        .filter_map(|record| Some((record.run()?, record)))
        .peekable();
    let run = records.peek().ok_or(ContractError::NoRun)?.0;
    let mut pieces = Pieces::default();
    records
        .try_for_each(|(of, record)| pieces.add(run, of, record))
        .and_then(|()| pieces.join())
        .map_err(|problem| ContractError::Run { run, problem })
}

/// What came so far. Problems are said without the run's name, which `assemble` puts before them.
#[derive(Default)]
struct Pieces {
    header: Option<Box<RunHeader>>,
    segments: BTreeMap<u32, SegmentPieces>,
    resumptions: BTreeMap<u32, Resumption>,
    finish: Option<Finish>,
}

#[derive(Default)]
struct SegmentPieces {
    /// By the position of the first.
    requests: BTreeMap<u32, Vec<RequestTrace>>,
    /// By sensor.
    power: BTreeMap<u32, SensorPieces>,
    gaps: Vec<Gap>,
    closed: Option<Closed>,
}

struct SensorPieces {
    sensor: Sensor,
    /// By the position of the first.
    samples: BTreeMap<u32, Vec<PowerSample>>,
}

struct Closed {
    window: Window,
    n_requests: u32,
    n_samples: Vec<u32>,
    memory: Vec<MemoryTrace>,
    gauges: Vec<GaugeTrace>,
}

struct Finish {
    n_segments: u32,
    n_resumptions: u32,
    end: RunEnd,
    report: Box<RunReport>,
}

impl Pieces {
    fn add(&mut self, run: RunId, of: RunId, record: Record) -> Result<(), String> {
        if of != run {
            return Err(format!("a record of run {of} is among its records"));
        }
        match record {
            Record::Device(_) => Ok(()),
            Record::RunOpened(header) => put(&mut self.header, header, "header"),
            Record::RunResumed {
                number, resumption, ..
            } => match self.resumptions.insert(number, *resumption) {
                None => Ok(()),
                Some(_) => Err(format!("resumption {number} is there twice")),
            },
            Record::RunFinished {
                n_segments,
                n_resumptions,
                end,
                report,
                ..
            } => {
                let finish = Finish {
                    n_segments,
                    n_resumptions,
                    end,
                    report,
                };
                put(&mut self.finish, finish, "end")
            }
            Record::Requests { segment, .. }
            | Record::Power { segment, .. }
            | Record::Gap { segment, .. }
            | Record::SegmentClosed { segment, .. } => self
                .segments
                .entry(segment)
                .or_default()
                .add(record)
                .map_err(|problem| format!("segment {segment}: {problem}")),
        }
    }

    fn join(mut self) -> Result<Assembled, String> {
        let finish = self.finish.take().ok_or("its end is missing")?;
        let UnderWay {
            header,
            segments,
            resumptions,
        } = self.join_under_way(finish.n_segments, finish.n_resumptions)?;
        Ok(Assembled {
            trace: RunTrace {
                header,
                segments,
                resumptions,
                end: finish.end,
            },
            report: *finish.report,
        })
    }

    /// As far as it came, with the counts as its records have them.
    fn join_open(self) -> Result<UnderWay, String> {
        if self.finish.is_some() {
            return Err("it is complete".to_owned());
        }
        let next = |last: Option<&u32>| last.map_or(0, |last| last.saturating_add(1));
        let n_segments = next(self.segments.keys().next_back());
        let n_resumptions = next(self.resumptions.keys().next_back());
        self.join_under_way(n_segments, n_resumptions)
    }

    fn join_under_way(mut self, n_segments: u32, n_resumptions: u32) -> Result<UnderWay, String> {
        let header = *self.header.ok_or("its header is missing")?;
        let mut segments = Vec::new();
        for index in 0..n_segments {
            let pieces = self
                .segments
                .remove(&index)
                .ok_or_else(|| format!("segment {index} of {n_segments} is missing"))?;
            let segment = pieces
                .join()
                .map_err(|problem| format!("segment {index}: {problem}"))?;
            segments.push(segment);
        }
        if let Some((index, _)) = self.segments.first_key_value() {
            return Err(format!(
                "segment {index} is beyond its {n_segments} segments"
            ));
        }
        Ok(UnderWay {
            header,
            segments,
            resumptions: in_order(self.resumptions, n_resumptions)?,
        })
    }
}

impl SegmentPieces {
    fn add(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Requests {
                first, requests, ..
            } => insert(&mut self.requests, first, requests, "request"),
            Record::Power {
                sensor_index,
                first,
                trace,
                ..
            } => self
                .add_power(sensor_index, first, trace)
                .map_err(|problem| format!("sensor {sensor_index}: {problem}")),
            Record::Gap { gap, .. } => {
                self.gaps.push(gap);
                Ok(())
            }
            Record::SegmentClosed {
                window,
                n_requests,
                n_samples,
                memory,
                gauges,
                ..
            } => {
                let closed = Closed {
                    window,
                    n_requests,
                    n_samples,
                    memory,
                    gauges,
                };
                put(&mut self.closed, closed, "end")
            }
            Record::Device(_)
            | Record::RunOpened(_)
            | Record::RunResumed { .. }
            | Record::RunFinished { .. } => Ok(()),
        }
    }

    fn add_power(&mut self, index: u32, first: u32, trace: PowerTrace) -> Result<(), String> {
        let PowerTrace { sensor, samples } = trace;
        match self.power.entry(index) {
            Entry::Vacant(vacant) => {
                let samples = BTreeMap::from([(first, samples)]);
                vacant.insert(SensorPieces { sensor, samples });
                Ok(())
            }
            Entry::Occupied(known) if known.get().sensor != sensor => {
                Err("its pieces describe two sensors".to_owned())
            }
            Entry::Occupied(mut known) => {
                insert(&mut known.get_mut().samples, first, samples, "sample")
            }
        }
    }

    fn join(mut self) -> Result<Segment, String> {
        let closed = self.closed.ok_or("its end is missing")?;
        closed.check_gaps(&self.gaps)?;
        self.gaps.sort();
        if closed.window.from > closed.window.to {
            return Err("its window ends before it starts".to_owned());
        }
        closed.check_order()?;
        Ok(Segment {
            window: closed.window,
            requests: concatenate(
                self.requests,
                closed.n_requests,
                declared(&self.gaps, Part::Requests),
                "request",
            )?,
            power: join_power(self.power, &closed.n_samples, &self.gaps)?,
            memory: closed.memory,
            gauges: closed.gauges,
            gaps: self.gaps,
        })
    }
}

impl Closed {
    fn check_gaps(&self, gaps: &[Gap]) -> Result<(), String> {
        let n_sensors = count(self.n_samples.len());
        let is_beyond = |gap: &&Gap| matches!(gap.part, Part::Samples(sensor) if u64::from(sensor) >= n_sensors);
        match gaps.iter().find(is_beyond) {
            None => Ok(()),
            Some(gap) => Err(format!(
                "a gap is of {}, beyond its {n_sensors} sensors",
                gap.part
            )),
        }
    }

    fn check_order(&self) -> Result<(), String> {
        for trace in &self.memory {
            if !trace.samples.is_sorted_by_key(|(at, _)| at) {
                let scope = trace.scope.as_str();
                return Err(format!(
                    "memory samples of {scope} are not in order of time"
                ));
            }
        }
        for trace in &self.gauges {
            if !trace.samples.is_sorted_by_key(|(at, _)| at) {
                let (kind, name) = (trace.kind.as_str(), &trace.name);
                return Err(format!(
                    "samples of {kind} `{name}` are not in order of time"
                ));
            }
        }
        Ok(())
    }
}

impl SensorPieces {
    fn join(self, n_samples: u32, declared: u64) -> Result<PowerTrace, String> {
        let samples = concatenate(self.samples, n_samples, declared, "sample")?;
        if !samples.is_sorted_by_key(|sample| sample.at) {
            return Err("samples are not in order of time".to_owned());
        }
        let sensor = self.sensor;
        Ok(PowerTrace { sensor, samples })
    }
}

/// All of them, each after a segment not before the last one's.
fn in_order(
    mut resumptions: BTreeMap<u32, Resumption>,
    n_resumptions: u32,
) -> Result<Vec<Resumption>, String> {
    let mut row = Vec::new();
    for number in 0..n_resumptions {
        let resumption = resumptions
            .remove(&number)
            .ok_or_else(|| format!("resumption {number} of {n_resumptions} is missing"))?;
        row.push(resumption);
    }
    if let Some((number, _)) = resumptions.first_key_value() {
        return Err(format!(
            "resumption {number} is beyond its {n_resumptions} resumptions"
        ));
    }
    match row.is_sorted_by_key(|resumption: &Resumption| resumption.segment) {
        true => Ok(row),
        false => Err("its resumptions are not in order".to_owned()),
    }
}

fn join_power(
    mut sensors: BTreeMap<u32, SensorPieces>,
    n_samples: &[u32],
    gaps: &[Gap],
) -> Result<Vec<PowerTrace>, String> {
    let mut traces = Vec::new();
    for (index, n_samples) in (0..).zip(n_samples) {
        let pieces = sensors
            .remove(&index)
            .ok_or_else(|| format!("sensor {index} is missing"))?;
        let trace = pieces
            .join(*n_samples, declared(gaps, Part::Samples(index)))
            .map_err(|problem| format!("sensor {index}: {problem}"))?;
        traces.push(trace);
    }
    match sensors.first_key_value() {
        None => Ok(traces),
        Some((index, _)) => Err(format!(
            "sensor {index} is beyond its {} sensors",
            n_samples.len()
        )),
    }
}

fn put<T>(slot: &mut Option<T>, value: T, what: &str) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("its {what} is there twice")),
    }
}

fn insert<T>(
    pieces: &mut BTreeMap<u32, Vec<T>>,
    first: u32,
    piece: Vec<T>,
    what: &str,
) -> Result<(), String> {
    match pieces.insert(first, piece) {
        None => Ok(()),
        Some(_) => Err(format!("{what} {first} is there twice")),
    }
}

/// How many of something are declared missing.
fn declared(gaps: &[Gap], part: Part) -> u64 {
    let gaps = gaps.iter().filter(|gap| gap.part == part);
    gaps.map(|gap| u64::from(gap.count)).sum()
}

/// One row of all pieces, if none overlaps another, and what is not there is declared, no more and no less.
fn concatenate<T>(
    pieces: BTreeMap<u32, Vec<T>>,
    want: u32,
    declared: u64,
    what: &str,
) -> Result<Vec<T>, String> {
    let want = u64::from(want);
    let mut row = Vec::new();
    let mut next = 0;
    for (first, piece) in pieces {
        let first = u64::from(first);
        if first > next && declared == 0 {
            return Err(missing(what, next, first));
        }
        if first < next {
            return Err(format!("{what} {first} is there twice"));
        }
        next = first + count(piece.len());
        row.extend(piece);
    }
    if next > want {
        return Err(format!("{what} {want} is beyond its {want} {what}s"));
    }
    match (count(row.len()) + declared).cmp(&want) {
        Ordering::Equal => Ok(row),
        Ordering::Less if declared == 0 => Err(missing(what, next, want)),
        Ordering::Less => Err(format!(
            "of {want} {what}s {} are there and {declared} declared missing",
            row.len()
        )),
        Ordering::Greater => Err(format!(
            "of {want} {what}s {} are there, and yet {declared} declared missing",
            row.len()
        )),
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).expect("a machine's words fit 64 bits")
}

fn missing(what: &str, from: u64, to: u64) -> String {
    match to - from {
        1 => format!("{what} {from} is missing"),
        _ => format!("{what}s {from} to {} are missing", to - 1),
    }
}
