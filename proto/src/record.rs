//! What an agent has to tell, as words of the domain, and as the bytes that its spool keeps and the collector stores.
//!
//! The bytes are a `tokwatt.v1.Record`, see `proto/schema/tokwatt/v1/record.proto`. Writing and reading again gives the same
//! record, to the last bit of every stamp and figure. Reading never panics and takes memory in proportion to the bytes, not to
//! what they claim, and to at most [`RECORD_BYTES_MAX`] where they are deflated; whether a run makes sense as a whole is for [`assemble`](crate::assemble()) to say.

use prost::Message;
use serde::Deserialize;
use tokwatt_domain::{
    campaign::JobRef,
    device::DeviceProfile,
    gap::Gap,
    ids::{DeviceId, RunId},
    metrics::RunReport,
    power::PowerTrace,
    run::{GaugeTrace, MemoryTrace, RequestTrace, Resumption, RunEnd, RunHeader},
    time::{Stamp, WallTime, Window},
};

use crate::{error::ContractError, v1};

/// Runs of numbers as differences.
mod columns;

/// Records made smaller.
mod deflated;

/// JSON documents inside records.
pub(crate) mod document;

/// What is declared missing.
mod gap;

/// Gauge columns.
mod gauge;

/// Memory columns.
mod memory;

/// What a keeper of records must know of them.
mod outline;

/// Power columns.
mod power;

/// Requests and their chunks.
mod request;

/// A segment as records of bounded size.
mod split;

pub use split::{POWER_SAMPLES_MAX, REQUESTS_BYTES_MAX};

/// One thing that an agent has to tell.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// The device as it described itself when the agent started.
    Device(DeviceProfile),
    /// A run begins.
    RunOpened(Box<RunHeader>),
    /// Consecutive requests of a segment.
    Requests {
        /// Of which run.
        run: RunId,
        /// Of which of its segments, from 0.
        segment: u32,
        /// Position of the first one within the segment, from 0.
        first: u32,
        /// In order of sending.
        requests: Vec<RequestTrace>,
    },
    /// Consecutive samples of one sensor of a segment.
    Power {
        /// Of which run.
        run: RunId,
        /// Of which of its segments, from 0.
        segment: u32,
        /// Which sensor of the segment, from 0.
        sensor_index: u32,
        /// Position of the first sample within the sensor's trace, from 0.
        first: u32,
        /// The sensor and this piece of its samples.
        trace: PowerTrace,
    },
    /// A segment is complete.
    SegmentClosed {
        /// Of which run.
        run: RunId,
        /// Which of its segments, from 0.
        segment: u32,
        /// First send to end of the last request.
        window: Window,
        /// Requests in all its records, and those declared missing.
        n_requests: u32,
        /// Samples in all its records, for each sensor, and those declared missing.
        n_samples: Vec<u32>,
        /// Memory in use meanwhile.
        memory: Vec<MemoryTrace>,
        /// The conditions meanwhile.
        gauges: Vec<GaugeTrace>,
    },
    /// Some of a segment is not kept.
    Gap {
        /// Of which run.
        run: RunId,
        /// Of which of its segments, from 0.
        segment: u32,
        /// What, how much of it, and why.
        gap: Gap,
    },
    /// A run goes on after its agent was killed.
    RunResumed {
        /// Which run.
        run: RunId,
        /// How many times that had happened before.
        number: u32,
        /// Where, when, and idle power measured anew.
        resumption: Box<Resumption>,
    },
    /// A run is complete.
    RunFinished {
        /// Which run.
        run: RunId,
        /// How many segments it has.
        n_segments: u32,
        /// How many times it went on after its agent was killed.
        n_resumptions: u32,
        /// How it ended.
        end: RunEnd,
        /// What it came to, as the agent computed it.
        report: Box<RunReport>,
    },
}

/// What a record is about, for a keeper of records.
#[derive(Clone, Debug, PartialEq)]
pub enum Outline {
    /// A device described itself.
    Device(DeviceProfile),
    /// A run begins.
    RunOpened(RunOpening),
    /// Something of this run, which goes on.
    Part(RunId),
    /// This run is complete.
    RunFinished(RunId),
}

/// How a run begins: what a keeper of records must know of its [`RunHeader`].
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct RunOpening {
    /// Its name.
    pub run: RunId,
    /// Where it ran.
    pub device: DeviceId,
    /// When it started, by the wall clock.
    pub started: WallTime,
    /// The lease of a job that it was run for; absent where a person asked.
    pub job: Option<JobRef>,
}

/// Most bytes of a record that are read: eight times what [`Record::segment`] aims at, for the one request whose answer is larger
/// than that. Also what an honest reader may have to hold at once.
pub const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Record {
    /// The bytes that are kept and sent.
    ///
    /// Figures must be finite: JSON has no others, so that NaN in a required one makes bytes that nobody can read.
    ///
    /// # Panics
    /// If a power sample has not one value for each rail.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let plain = encode_kind(self.to_kind());
        let Some(smaller) = self.deflated(&plain) else {
            return plain;
        };
        match smaller.len() < plain.len() {
            true => smaller,
            false => plain,
        }
    }

    /// Reads what [`encode`](Self::encode) wrote, or what somebody claims it did.
    ///
    /// # Errors
    /// Anything else; the message names the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContractError> {
        let bytes = checked(bytes)?;
        kind_in("record", bytes, |v1::Record { kind, run }| {
            Some((kind?, run))
        })
        .and_then(|(kind, run)| match kind {
            v1::record::Kind::Deflated(deflated) => Self::from_deflated(&deflated, &run),
            kind => Self::from_kind(kind),
        })
        .map_err(|error| error.within("record"))
    }

    /// Reads no more than a keeper of records must know: whatever [`decode`](Self::decode) reads, and also what it refuses for
    /// something deep inside.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn outline(bytes: &[u8]) -> Result<Outline, ContractError> {
        outline::read(bytes)
    }

    /// The records of one segment, in order: its requests, its power, its end. Each is at most about [`REQUESTS_BYTES_MAX`]
    /// or [`POWER_SAMPLES_MAX`] large, so that no batch is held up by one of them.
    #[must_use]
    pub fn segment(run: RunId, index: u32, segment: &tokwatt_domain::run::Segment) -> Vec<Self> {
        split::segment(run, index, segment)
    }

    /// The run that it belongs to.
    #[must_use]
    pub fn run(&self) -> Option<RunId> {
        match self {
            Self::Device(_) => None,
            Self::RunOpened(header) => Some(header.run),
            Self::Requests { run, .. }
            | Self::Power { run, .. }
            | Self::SegmentClosed { run, .. }
            | Self::Gap { run, .. }
            | Self::RunResumed { run, .. }
            | Self::RunFinished { run, .. } => Some(*run),
        }
    }

    /// Those of which there are many, as they are smaller.
    fn deflated(&self, plain: &[u8]) -> Option<Vec<u8>> {
        use v1::record::Kind;
        if plain.len() > RECORD_BYTES_MAX {
            return None;
        }
        let deflated = match self {
            Self::Requests { .. } | Self::SegmentClosed { .. } => deflated::write(plain),
            Self::Power { trace, .. } => {
                let Kind::Power(mut chunk) = self.to_kind() else {
                    return None;
                };
                chunk.rails = power::write_compactly(trace);
                deflated::write(&encode_kind(Kind::Power(chunk)))
            }
            _ => return None,
        };
        let record = v1::Record {
            kind: Some(Kind::Deflated(deflated)),
            run: self.run().map(|run| run.0.to_vec()).unwrap_or_default(),
        };
        Some(record.encode_to_vec())
    }

    fn from_deflated(deflated: &[u8], run: &[u8]) -> Result<Self, ContractError> {
        let bytes = deflated::read(deflated)?;
        let kind = kind_in("deflated", &bytes, |record: v1::Record| record.kind)?;
        let record = Self::from_kind(kind)?;
        if run.is_empty() || record.part_of() == Some(run_id(run)?) {
            return Ok(record);
        }
        let problem = "is not the run that the deflated record is a part of";
        Err(ContractError::field("run", problem))
    }

    /// The run that goes on with it.
    fn part_of(&self) -> Option<RunId> {
        match self {
            Self::RunOpened(_) | Self::RunFinished { .. } => None,
            _ => self.run(),
        }
    }

    fn to_kind(&self) -> v1::record::Kind {
        use v1::record::Kind;
        match self {
            Self::Device(profile) => Kind::Device(v1::DeviceSeen {
                profile: Some(document::write(document::DEVICE, profile)),
            }),
            Self::RunOpened(header) => Kind::RunOpened(v1::RunOpened {
                header: Some(document::write(document::HEADER, header)),
            }),
            Self::Requests {
                run,
                segment,
                first,
                requests,
            } => Kind::Requests(v1::Requests {
                run: run.0.to_vec(),
                segment: *segment,
                first: *first,
                requests: requests.iter().map(request::write).collect(),
            }),
            Self::Power {
                run,
                segment,
                sensor_index,
                first,
                trace,
            } => Kind::Power(v1::PowerChunk {
                run: run.0.to_vec(),
                segment: *segment,
                sensor_index: *sensor_index,
                first: *first,
                ..power::write(trace)
            }),
            Self::SegmentClosed {
                run,
                segment,
                window,
                n_requests,
                n_samples,
                memory,
                gauges,
            } => Kind::SegmentClosed(v1::SegmentClosed {
                run: run.0.to_vec(),
                segment: *segment,
                from_ns: window.from.0,
                to_ns: window.to.0,
                n_requests: *n_requests,
                n_samples: n_samples.clone(),
                memory: memory.iter().map(memory::write).collect(),
                gauges: gauges.iter().map(gauge::write).collect(),
            }),
            Self::Gap { run, segment, gap } => Kind::Gap(v1::Gap {
                run: run.0.to_vec(),
                segment: *segment,
                ..gap::write(gap)
            }),
            Self::RunResumed {
                run,
                number,
                resumption,
            } => Kind::RunResumed(v1::RunResumed {
                run: run.0.to_vec(),
                number: *number,
                resumption: Some(document::write(document::RESUMPTION, resumption)),
            }),
            Self::RunFinished {
                run,
                n_segments,
                n_resumptions,
                end,
                report,
            } => Kind::RunFinished(v1::RunFinished {
                run: run.0.to_vec(),
                n_segments: *n_segments,
                n_resumptions: *n_resumptions,
                end: v1::RunEnd::from(*end).into(),
                report: Some(document::write(document::REPORT, report)),
            }),
        }
    }

    fn from_kind(kind: v1::record::Kind) -> Result<Self, ContractError> {
        use v1::record::Kind;
        let name = match &kind {
            Kind::Device(_) => "device",
            Kind::RunOpened(_) => "run_opened",
            Kind::Requests(_) => "requests",
            Kind::Power(_) => "power",
            Kind::SegmentClosed(_) => "segment_closed",
            Kind::RunFinished(_) => "run_finished",
            Kind::RunResumed(_) => "run_resumed",
            Kind::Gap(_) => "gap",
            Kind::Deflated(_) => "deflated",
        };
        match kind {
            Kind::Device(message) => {
                document::read(document::DEVICE, message.profile.as_ref(), "profile")
                    .map(Self::Device)
            }
            Kind::RunOpened(message) => {
                document::read(document::HEADER, message.header.as_ref(), "header")
                    .map(Self::RunOpened)
            }
            Kind::Requests(message) => read_requests(message),
            Kind::Power(message) => read_power(&message),
            Kind::SegmentClosed(message) => read_segment_closed(message),
            Kind::RunFinished(message) => read_run_finished(message),
            Kind::RunResumed(message) => read_run_resumed(message),
            Kind::Gap(message) => read_gap(message),
            Kind::Deflated(_) => Err(deflated_once_more()),
        }
        .map_err(|error| error.within(name))
    }
}

impl From<RunEnd> for v1::RunEnd {
    fn from(end: RunEnd) -> Self {
        match end {
            RunEnd::Complete => Self::Complete,
            RunEnd::Cancelled => Self::Cancelled,
            RunEnd::Aborted => Self::Aborted,
        }
    }
}

fn read_requests(message: v1::Requests) -> Result<Record, ContractError> {
    let read = |(i, bytes): (usize, Vec<u8>)| {
        request::read(&bytes).map_err(|error| error.within(format_args!("requests[{i}]")))
    };
    Ok(Record::Requests {
        run: run_id(&message.run)?,
        segment: message.segment,
        first: message.first,
        requests: message
            .requests
            .into_iter()
            .enumerate()
            .map(read)
            .collect::<Result<_, _>>()?,
    })
}

fn read_power(message: &v1::PowerChunk) -> Result<Record, ContractError> {
    Ok(Record::Power {
        run: run_id(&message.run)?,
        segment: message.segment,
        sensor_index: message.sensor_index,
        first: message.first,
        trace: power::read(message)?,
    })
}

fn read_segment_closed(message: v1::SegmentClosed) -> Result<Record, ContractError> {
    let memory = |(i, columns)| {
        let read = memory::read(columns).transpose()?;
        Some(read.map_err(|error: ContractError| error.within(format_args!("memory[{i}]"))))
    };
    let gauge = |(i, columns)| {
        let read = gauge::read(columns).transpose()?;
        Some(read.map_err(|error: ContractError| error.within(format_args!("gauges[{i}]"))))
    };
    Ok(Record::SegmentClosed {
        run: run_id(&message.run)?,
        segment: message.segment,
        window: Window {
            from: Stamp(message.from_ns),
            to: Stamp(message.to_ns),
        },
        n_requests: message.n_requests,
        n_samples: message.n_samples,
        memory: message
            .memory
            .into_iter()
            .enumerate()
            .filter_map(memory)
            .collect::<Result<_, _>>()?,
        gauges: message
            .gauges
            .into_iter()
            .enumerate()
            .filter_map(gauge)
            .collect::<Result<_, _>>()?,
    })
}

fn read_run_finished(message: v1::RunFinished) -> Result<Record, ContractError> {
    let end = match message.end() {
        v1::RunEnd::Complete => RunEnd::Complete,
        v1::RunEnd::Cancelled => RunEnd::Cancelled,
        v1::RunEnd::Aborted => RunEnd::Aborted,
        v1::RunEnd::Unspecified => return Err(unknown("end", message.end)),
    };
    Ok(Record::RunFinished {
        run: run_id(&message.run)?,
        n_segments: message.n_segments,
        n_resumptions: message.n_resumptions,
        end,
        report: document::read(document::REPORT, message.report.as_ref(), "report")?,
    })
}

fn read_gap(message: v1::Gap) -> Result<Record, ContractError> {
    Ok(Record::Gap {
        run: run_id(&message.run)?,
        segment: message.segment,
        gap: gap::read(message)?,
    })
}

fn read_run_resumed(message: v1::RunResumed) -> Result<Record, ContractError> {
    Ok(Record::RunResumed {
        run: run_id(&message.run)?,
        number: message.number,
        resumption: document::read(
            document::RESUMPTION,
            message.resumption.as_ref(),
            "resumption",
        )?,
    })
}

/// Bytes that are no larger than a record may be.
fn checked(bytes: &[u8]) -> Result<&[u8], ContractError> {
    match bytes.len() {
        too_many if too_many > RECORD_BYTES_MAX => Err(ContractError::TooLarge { bytes: too_many }),
        _ => Ok(bytes),
    }
}

/// What the bytes hold, by a message that has some of a record's fields.
fn kind_in<M: Message + Default, K>(
    field: &str,
    bytes: &[u8],
    kind: impl FnOnce(M) -> Option<K>,
) -> Result<K, ContractError> {
    let record = M::decode(bytes).map_err(|source| ContractError::Message {
        field: field.to_owned(),
        source,
    })?;
    kind(record).ok_or_else(|| without_kind(bytes))
}

fn deflated_once_more() -> ContractError {
    ContractError::field("deflated", "is deflated once more")
}

fn encode_kind(kind: v1::record::Kind) -> Vec<u8> {
    let record = v1::Record {
        kind: Some(kind),
        ..v1::Record::default()
    };
    record.encode_to_vec()
}

/// What these bytes are instead of a record that we know.
fn without_kind(mut bytes: &[u8]) -> ContractError {
    match prost::encoding::decode_key(&mut bytes) {
        Ok((number, _)) => ContractError::UnknownKind { number },
        Err(_) => ContractError::field("record.kind", "is missing"),
    }
}

fn run_id(bytes: &[u8]) -> Result<RunId, ContractError> {
    bytes.try_into().map(RunId).map_err(|_| {
        ContractError::field("run", format!("has {} bytes, a run id has 16", bytes.len()))
    })
}

fn required<T>(value: Option<T>, field: &str) -> Result<T, ContractError> {
    value.ok_or_else(|| ContractError::field(field, "is missing"))
}

/// The error for an enum's value that is not among those of the schema, or is its zero.
fn unknown(field: &str, value: i32) -> ContractError {
    ContractError::field(field, format!("is {value}, which stands for nothing"))
}
