//! Result files of other tools. Which tool wrote one is told by what is in it, never by its name. Pure.
//!
//! A file says something about one or several runs; [`read`] gives what it says as reports of provenance `imported`, with the definition
//! of each value written beside it. What has no definition here is `foreign.TOOL.NAME`: kept, shown, never ranked. Unknown members are
//! ignored, missing ones accepted.

mod budget;
mod date;
mod form;
mod node;
mod reading;
mod report;

mod aiperf;
mod genai_perf;
mod guidellm;
mod inference_perf;
mod jetson_ai_lab;
mod llama_bench;
mod localscore;
mod ml_energy;
mod mlperf;
mod optimum;
mod published;
mod sglang;
mod vllm;

#[cfg(test)]
mod tests;

use std::{fmt, io::BufRead};

use tokwatt_domain::{ids::Digest, spelling, time::WallTime};

use self::{
    budget::{Budget, Exhausted, Readings},
    form::Form,
    node::{Document, Node, documents},
    reading::Reading,
};

pub(super) use self::report::ForeignRun;
pub use self::{reading::Value, report::Labels};

/// A tool whose results can be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tool {
    /// `vllm bench serve --save-result`.
    Vllm,
    /// `aiperf profile`.
    Aiperf,
    /// `guidellm`.
    Guidellm,
    /// `llama-bench -o json|jsonl|csv`.
    LlamaBench,
    /// `sglang.bench_serving --output-file`.
    Sglang,
    /// `genai-perf profile`.
    GenaiPerf,
    /// `inference-perf`.
    InferencePerf,
    /// MLPerf LoadGen's summary and detail log.
    Mlperf,
    /// What a LocalScore client submits.
    Localscore,
    /// ML.ENERGY's results, and its leaderboard's data.
    MlEnergy,
    /// `optimum-benchmark`.
    Optimum,
    /// The table of benchmarks of Jetson AI Lab.
    JetsonAiLab,
    /// Rows that studies published.
    Published,
}

/// A file, and what is known about it from elsewhere.
pub(super) struct Source<'a> {
    /// What it is called.
    pub(super) name: &'a str,
    /// Of its bytes.
    pub(super) sha256: Digest,
    /// What whoever imports it says.
    pub(super) labels: &'a Labels,
    /// When it was imported: the start of runs of which the file does not say when they were.
    pub(super) imported: WallTime,
}

impl From<Exhausted> for ForeignError {
    fn from(_: Exhausted) -> Self {
        Self::TooMuch
    }
}

/// What is in a file.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    /// Who wrote it.
    pub(super) tool: Tool,
    /// In the order of the file.
    pub(super) runs: Vec<ForeignRun>,
    /// What was passed over.
    pub(super) notes: Vec<String>,
}

/// A file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// Nothing in it.
    #[error("it is empty: was it copied before the tool had written it?")]
    Empty,
    /// Something else altogether.
    #[error("it is {what}: {advice}")]
    Other {
        /// What.
        what: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// It ends in the middle.
    #[error("it is cut off in line {0}: copy it again, or let the tool end")]
    CutOff(usize),
    /// Something else begins in the middle.
    #[error("it is no JSON from line {line}, column {column} on ({problem})")]
    NoJson {
        /// Where.
        line: usize,
        /// Where in it.
        column: usize,
        /// In the parser's words.
        problem: String,
    },
    /// No tool that is known.
    #[error(
        "no tool that is known writes this (it has {has}); known are: {}",
        known()
    )]
    Unknown {
        /// What there is.
        has: String,
    },
    /// Not of the tool that was named.
    #[error("`{name}` is no tool that is known, {advice}")]
    UnknownTool {
        /// What was named.
        name: String,
        /// What there is.
        advice: String,
    },
    /// Of another tool than was said.
    #[error("it is of {found}, not of {asked}: leave --tool out, or name the right one")]
    OtherTool {
        /// What it is.
        found: Tool,
        /// What was said.
        asked: Tool,
    },
    /// Several tools in one file.
    #[error(
        "{place} is of {found}, and what comes before of {tool}: import them as files of their own"
    )]
    Mixed {
        /// Where.
        place: String,
        /// What is there.
        found: Tool,
        /// What was before.
        tool: Tool,
    },
    /// Nothing with a number in it.
    #[error("it is of {0}, and has no result: {1}")]
    NoResult(Tool, String),
    /// Nobody says where it was measured.
    #[error("it does not say {what}: add {flag}")]
    Unsaid {
        /// What.
        what: &'static str,
        /// How to say it.
        flag: &'static str,
    },
    /// A name that is none.
    #[error("{0}")]
    Name(String),
    /// More than is held.
    #[error("{Exhausted}")]
    TooMuch,
    /// It cannot be read on.
    #[error("it cannot be read")]
    Io(#[from] std::io::Error),
}

/// Everything that a file says.
///
/// # Errors
/// It is of no tool that is known, or not whole; the message says what to do.
pub(super) fn read(
    input: impl BufRead,
    asked: Option<Tool>,
    source: &Source<'_>,
) -> Result<Contents, ForeignError> {
    let (tool, readings, notes) = readings(input)?;
    if let Some(asked) = asked.filter(|asked| *asked != tool) {
        return Err(ForeignError::OtherTool { found: tool, asked });
    }
    let is_something = |value: &Value| value.value != 0.0;
    if !readings
        .iter()
        .flat_map(|reading| &reading.values)
        .any(is_something)
    {
        let reasons = readings.iter().flat_map(|reading| &reading.reasons);
        let reasons: Vec<String> = reasons.map(|(key, why)| format!("{key}: {why}")).collect();
        let said = match reasons.is_empty() {
            true => "no figure in it".to_owned(),
            false => reasons.join("; "),
        };
        return Err(ForeignError::NoResult(tool, said));
    }
    Ok(Contents {
        tool,
        runs: report::runs(tool, readings, source)?,
        notes,
    })
}

fn readings(mut input: impl BufRead) -> Result<(Tool, Vec<Reading>, Vec<String>), ForeignError> {
    let mut notes = Vec::new();
    let budget = Budget::default();
    let mut readings = Readings::new(&budget);
    let tool = match form::look(&mut input)? {
        Form::Json => {
            let documents = spread(documents(input, &budget).map_err(no_json)?);
            let tool = tool_of(&documents)?;
            tool.read(&documents, &mut readings, &mut notes)?;
            tool
        }
        Form::MlperfSummary => {
            readings.push(mlperf::summary(input)?)?;
            Tool::Mlperf
        }
        Form::MlperfDetail => {
            readings.push(mlperf::detail(input, &budget)?)?;
            Tool::Mlperf
        }
        Form::LlamaBenchCsv => {
            llama_bench::csv(input, &budget, &mut readings)?;
            Tool::LlamaBench
        }
    };
    Ok((tool, readings.into_list(), notes))
}

/// A document, and where it is.
struct Placed {
    place: String,
    node: Node,
}

/// Members of a list are documents, too.
fn spread(documents: Vec<Document>) -> Vec<Placed> {
    let mut placed = Vec::new();
    for Document { line, node } in documents {
        match node {
            Node::List(items) => placed.extend(items.into_iter().enumerate().map(
                |(position, node)| Placed {
                    place: format!("line {line} [{position}]"),
                    node,
                },
            )),
            node => placed.push(Placed {
                place: format!("line {line}"),
                node,
            }),
        }
    }
    placed
}

fn tool_of(documents: &[Placed]) -> Result<Tool, ForeignError> {
    let first = documents.first().ok_or(ForeignError::Empty)?;
    let tool = Tool::of(&first.node).ok_or_else(|| unknown(&first.node))?;
    for document in documents {
        match Tool::of(&document.node) {
            Some(found) if found == tool => {}
            Some(found) => {
                return Err(ForeignError::Mixed {
                    place: document.place.clone(),
                    found,
                    tool,
                });
            }
            None => return Err(unknown(&document.node)),
        }
    }
    Ok(tool)
}

fn unknown(node: &Node) -> ForeignError {
    let keys: Vec<&str> = match node.object() {
        Some(object) => object.keys().map(String::as_str).take(8).collect(),
        None => Vec::new(),
    };
    ForeignError::Unknown {
        has: match keys.is_empty() {
            true => "no members".to_owned(),
            false => keys.join(", "),
        },
    }
}

fn no_json(error: serde_json::Error) -> ForeignError {
    let (line, column) = (error.line(), error.column());
    if error.is_io() {
        return ForeignError::Io(error.into());
    }
    if error.is_eof() {
        return ForeignError::CutOff(line);
    }
    let problem = error.to_string();
    let problem = problem.split(" at line ").next().unwrap_or_default();
    ForeignError::NoJson {
        line,
        column,
        problem: problem.to_owned(),
    }
}

fn known() -> String {
    Tool::ALL.map(Tool::as_str).join(", ")
}

impl Tool {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Vllm,
        Self::Aiperf,
        Self::Guidellm,
        Self::LlamaBench,
        Self::Sglang,
        Self::GenaiPerf,
        Self::InferencePerf,
        Self::Mlperf,
        Self::Localscore,
        Self::MlEnergy,
        Self::Optimum,
        Self::JetsonAiLab,
        Self::Published,
    ];

    /// Reads a tool's name.
    ///
    /// # Errors
    /// There is none of that name; the error suggests a similar one.
    pub fn parse(name: &str) -> Result<Self, ForeignError> {
        let found = Self::ALL.into_iter().find(|tool| tool.as_str() == name);
        found.ok_or_else(|| ForeignError::UnknownTool {
            name: name.to_owned(),
            advice: spelling::advice(name, &Self::ALL.map(Self::as_str)),
        })
    }

    /// The name that command line and documents use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::Aiperf => "aiperf",
            Self::Guidellm => "guidellm",
            Self::LlamaBench => "llama-bench",
            Self::Sglang => "sglang",
            Self::GenaiPerf => "genai-perf",
            Self::InferencePerf => "inference-perf",
            Self::Mlperf => "mlperf",
            Self::Localscore => "localscore",
            Self::MlEnergy => "ml-energy",
            Self::Optimum => "optimum-benchmark",
            Self::JetsonAiLab => "jetson-ai-lab",
            Self::Published => "published",
        }
    }

    /// As a part of an id: `foreign.llama_bench.…`.
    fn id(self) -> String {
        self.as_str().replace('-', "_")
    }

    /// The more particular forms first.
    fn of(node: &Node) -> Option<Self> {
        let recognisers: [(Self, Recogniser); 12] = [
            (Self::Published, published::recognises),
            (Self::Aiperf, aiperf::recognises),
            (Self::Guidellm, guidellm::recognises),
            (Self::LlamaBench, llama_bench::recognises),
            (Self::Sglang, sglang::recognises),
            (Self::MlEnergy, ml_energy::recognises),
            (Self::Vllm, vllm::recognises),
            (Self::GenaiPerf, genai_perf::recognises),
            (Self::InferencePerf, inference_perf::recognises),
            (Self::Localscore, localscore::recognises),
            (Self::Optimum, optimum::recognises),
            (Self::JetsonAiLab, jetson_ai_lab::recognises),
        ];
        let found = recognisers.into_iter().find(|(_, is_it)| is_it(node));
        found.map(|(tool, _)| tool)
    }

    fn read(
        self,
        documents: &[Placed],
        readings: &mut Readings<'_>,
        notes: &mut Vec<String>,
    ) -> Result<(), ForeignError> {
        let read: Read = match self {
            Self::Vllm => |node, place, readings| readings.push(vllm::read(node, place)),
            Self::Sglang => |node, place, readings| readings.push(sglang::read(node, place)),
            Self::LlamaBench => {
                |node, place, readings| readings.push(llama_bench::read(node, place))
            }
            Self::GenaiPerf => |node, place, readings| readings.push(genai_perf::read(node, place)),
            Self::InferencePerf => {
                |node, place, readings| readings.push(inference_perf::read(node, place))
            }
            Self::Optimum => |node, place, readings| {
                let reading = optimum::read(node, place);
                reading.map_or(Ok(()), |reading| readings.push(reading))
            },
            Self::Guidellm => guidellm::read,
            Self::Localscore => localscore::read,
            Self::MlEnergy => ml_energy::read,
            Self::JetsonAiLab => jetson_ai_lab::read,
            Self::Aiperf => return aiperf::read(documents, readings, notes),
            Self::Published => return published::read(documents, readings),
            Self::Mlperf => return Ok(()),
        };
        let mut documents = documents.iter();
        documents.try_for_each(|document| read(&document.node, &document.place, readings))
    }
}

/// Whether a document is one of the tool's.
type Recogniser = fn(&Node) -> bool;

/// What a document says.
type Read = fn(&Node, &str, &mut Readings<'_>) -> Result<(), ForeignError>;

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
