//! Going on after the agent was killed: what the spool has of the bench, and of the run that was in hand.
//!
//! What counts is what was committed. The segment that was in hand is nowhere but in the memory of an agent that is gone, and is asked
//! again. The stamps go on after the last one that was kept, see [`last_stamp`].

use tokwatt_domain::{
    gap::Part,
    ids::{RunId, Seq},
    metrics::{RunReport, measure},
    run::{Cell, IdleBaseline, Resumption, RunEnd, RunHeader, RunTrace, Segment},
    time::{Stamp, WallTime},
};
use tokwatt_proto::{UnderWay, assemble_under_way, record::Record};

use super::{
    Album, Group, Loaded, Outcome, PICTURES_BYTES_MAX, Runner, RunnerError, Work, on_spool,
};
use crate::{
    spool::{OpenRun, Spool, Unfinished},
    workload::plan::Plan,
};

/// How far a run has come.
pub(super) struct Interrupted {
    pub(super) run: RunId,
    /// Requests that are kept.
    pub(super) asked: usize,
    pub(super) n_segments: u32,
    /// How often it has been resumed before; nothing, if it begins now.
    pub(super) n_resumptions: Option<u32>,
}

impl Interrupted {
    /// A run of which nothing is kept yet.
    pub(super) fn fresh(run: RunId) -> Self {
        Self {
            run,
            asked: 0,
            n_segments: 0,
            n_resumptions: None,
        }
    }

    /// The record that says that it goes on now.
    pub(super) fn resumed(&self, number: u32, at: WallTime, loaded: &Loaded) -> Record {
        Record::RunResumed {
            run: self.run,
            number,
            resumption: Box::new(Resumption {
                segment: self.n_segments,
                at,
                idle: loaded.idle.clone(),
            }),
        }
    }
}

impl Runner {
    /// What is to be done: all of it, or what the spool says is left. The reports of what is finished go into the outcome.
    pub(super) async fn take_up<'a>(
        &self,
        plan: &'a Plan,
        groups: &[Group],
        outcome: &mut Outcome,
    ) -> Result<Work<'a>, RunnerError> {
        let (unfinished, reports) = on_spool(&self.spool, |spool| {
            let Some(unfinished) = spool.unfinished()? else {
                spool.begin_bench("")?;
                return Ok((None, Vec::new()));
            };
            Ok::<_, RunnerError>((Some(unfinished), reports(spool)?))
        })
        .await?;
        outcome.reports = reports;
        Ok(Work {
            plan,
            n_groups: groups.len(),
            album: std::sync::Arc::new(Album::new(PICTURES_BYTES_MAX)),
            next: unfinished.as_ref().map_or(0, |unfinished| unfinished.next),
            open: unfinished.and_then(|unfinished| unfinished.open),
            unfit: None,
        })
    }

    /// How far the run has come that was in hand, if it is the one that `header` would begin.
    pub(super) async fn go_on_with(
        &self,
        open: OpenRun,
        header: &RunHeader,
    ) -> Result<Interrupted, RunnerError> {
        let under_way = on_spool(&self.spool, move |spool| read_back(spool, open)).await?;
        let changed = differences(&under_way.header.cell, &header.cell);
        if !changed.is_empty() {
            return Err(RunnerError::Changed {
                run: open.run,
                changed,
            });
        }
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Interrupted {
            run: open.run,
            asked: asked(&under_way),
            n_segments: count(under_way.segments.len()),
            n_resumptions: Some(count(under_way.resumptions.len())),
        })
    }
}

/// The last stamp that the spool has of a run that was interrupted. A clock that goes on with it starts after this.
///
/// # Errors
/// The spool, or what it has of the run, cannot be read.
pub fn last_stamp(spool: &Spool) -> Result<Option<Stamp>, RunnerError> {
    let under_way = interrupted(spool)?;
    Ok(under_way.map(|under_way| {
        let idle = under_way
            .resumptions
            .iter()
            .flat_map(|resumption| &resumption.idle);
        let idle = idle
            .chain(&under_way.header.idle)
            .map(|idle: &IdleBaseline| idle.ended);
        let segments = under_way.segments.iter().map(last_of);
        idle.chain(segments).max().unwrap_or_default()
    }))
}

/// How many requests are kept of a run that was interrupted; 0 without such.
///
/// # Errors
/// The spool, or what it has of the run, cannot be read.
pub fn asked_so_far(spool: &Spool) -> Result<usize, RunnerError> {
    Ok(interrupted(spool)?.as_ref().map_or(0, asked))
}

/// How many power samples of a run that was interrupted are declared missing; 0 without such.
///
/// # Errors
/// The spool, or what it has of the run, cannot be read.
pub fn missing_so_far(spool: &Spool) -> Result<u64, RunnerError> {
    let under_way = interrupted(spool)?;
    let segments = under_way.iter().flat_map(|under_way| &under_way.segments);
    let gaps = segments.flat_map(|segment| &segment.gaps);
    Ok(gaps
        .filter(|gap| gap.part != Part::Requests)
        .map(|gap| u64::from(gap.count))
        .sum())
}

/// Gives up the bench that was interrupted: the run that was in hand ends as one that a person stopped, with what was kept of it.
///
/// # Errors
/// The spool, or what it has of the run, cannot be read or written.
pub fn abandon(spool: &Spool) -> Result<(), RunnerError> {
    if let Some(Unfinished {
        next,
        open: Some(open),
        ..
    }) = spool.unfinished()?
    {
        match close(spool, next, RunEnd::Cancelled) {
            Ok(_) => {}
            // It stays without an end, at the collector too: nothing can be made of it.
            Err(RunnerError::Unreadable(error)) => {
                tracing::warn!(%error, run = %open.run, "a run that was interrupted cannot be read and stays without an end");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(spool.end_bench()?)
}

/// Measures the run in hand and ends it.
pub(super) fn close(
    spool: &Spool,
    next: u64,
    end: RunEnd,
) -> Result<(RunTrace, RunReport), RunnerError> {
    let under_way = interrupted(spool)?.expect("a run is ended after it was opened");
    let UnderWay {
        header,
        segments,
        resumptions,
    } = under_way;
    let trace = RunTrace {
        header,
        segments,
        resumptions,
        end,
    };
    let report = measure(&trace);
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let record = Record::RunFinished {
        run: trace.header.run,
        n_segments: count(trace.segments.len()),
        n_resumptions: count(trace.resumptions.len()),
        end,
        report: Box::new(report.clone()),
    };
    spool.close_run(next, record.encode())?;
    Ok((trace, report))
}

/// The run in hand as the spool has it.
fn interrupted(spool: &Spool) -> Result<Option<UnderWay>, RunnerError> {
    let open = spool.unfinished()?.and_then(|unfinished| unfinished.open);
    open.map(|open| read_back(spool, open)).transpose()
}

fn read_back(spool: &Spool, open: OpenRun) -> Result<UnderWay, RunnerError> {
    let mut records = Vec::new();
    let mut from = open.first;
    loop {
        let page = spool.kept_from(from, PAGE_BYTES_MAX)?;
        let Some(last) = page.last() else { break };
        from = Seq(last.seq.0 + 1);
        for spooled in page {
            records.push(Record::decode(&spooled.bytes)?);
        }
    }
    Ok(assemble_under_way(open.run, records)?)
}

/// Of the runs that are finished.
fn reports(spool: &Spool) -> Result<Vec<RunReport>, RunnerError> {
    let finished = spool.finished_runs()?;
    let mut reports = Vec::new();
    for bytes in finished {
        if let Record::RunFinished { report, .. } = Record::decode(&bytes)? {
            reports.push(*report);
        }
    }
    Ok(reports)
}

fn asked(under_way: &UnderWay) -> usize {
    let segments = under_way.segments.iter();
    segments.map(|segment| segment.requests.len()).sum()
}

/// The latest stamp of anything in it.
fn last_of(segment: &Segment) -> Stamp {
    let power = segment.power.iter().flat_map(|trace| &trace.samples);
    let memory = segment.memory.iter().flat_map(|trace| &trace.samples);
    let gauges = segment.gauges.iter().flat_map(|trace| &trace.samples);
    let stamps = power.map(|sample| sample.at);
    let stamps = stamps.chain(memory.map(|(at, _)| *at));
    let stamps = stamps.chain(gauges.map(|(at, _)| *at));
    stamps.fold(segment.window.to, Stamp::max)
}

/// Keys of a cell that are not what they were. What else is in memory now is not what was asked for.
fn differences(before: &Cell, now: &Cell) -> Vec<String> {
    let keys = |cell: &Cell| {
        let mut cell = cell.clone();
        for fact in ["memory_bytes", "gpu_memory_bytes", "note"] {
            cell.configuration.model_facts.remove(fact);
        }
        cell.configuration.engine_flags.remove("other_models");
        match serde_json::to_value(cell) {
            Ok(serde_json::Value::Object(keys)) => keys,
            _ => serde_json::Map::new(),
        }
    };
    let (before, now) = (keys(before), keys(now));
    let differ = before.iter().filter_map(|(key, value)| {
        let other = now.get(key)?;
        (other != value).then(|| format!("`{key}` was {value} and is {other}"))
    });
    differ.collect()
}

/// Records are read back by so much at a time.
const PAGE_BYTES_MAX: usize = 8 << 20;
