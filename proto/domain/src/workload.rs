//! What is asked of a device: tasks, pictures with known truth, load.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A JSON document, and the form it is to have.
pub mod json;

use json::{Json, Schema};

/// How answers of a task are scored. Part of the suite, so that a digest names it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scoring {
    /// A sentence: share of true facts named, wrong facts named.
    Caption,
    /// `ball: 2, box: 1` or the same as a JSON object.
    Counts,
    /// `small red ball, large blue box`.
    Attributes,
    /// `The red ball is left of the blue box.`, one sentence a relation.
    Spatial,
    /// `place: beach, time: night, weather: rainy`.
    SceneContext,
    /// One word or phrase, compared with the truth's.
    Direct,
    /// A number; of several, the last one.
    Number,
    /// A text in which the key facts are named. That they are said in the right relation is not looked at.
    Facts,
    /// A program in a fenced block that has the stated identifiers. It is not run.
    CodeFacts,
    /// A JSON document that matches its schema, with the right values in it.
    Json,
    /// Answers are not scored.
    None,
}

/// What is known about a picture, or about the one question that is asked.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Truth {
    /// Everything that was drawn.
    Scene(SceneTruth),
    /// The answer to a direct question, with the choices that the question offered.
    Answer {
        /// The right one.
        expected: String,
        /// What the question let choose from, the right one included.
        choices: Vec<String>,
    },
    /// The number that was asked for.
    Number {
        /// The right one.
        value: f64,
        /// How far an answer may be off, 0 or more.
        tolerance: f64,
    },
    /// What a right answer names.
    Facts(Vec<KeyFact>),
    /// The document that was asked for.
    Json {
        /// Which form it has.
        schema: Schema,
        /// The right one.
        answer: Json,
    },
}

/// A fact, as the phrases each of which names it. Case does not matter, nor whether an umlaut is written out; a `*` at an end of a word stands
/// for any letters.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct KeyFact(pub Vec<String>);

/// Everything that was drawn.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SceneTruth {
    /// `beach`, `desert`, `field`, `room`, `snow` or `street`.
    pub place: String,
    /// `day`, `sunset` or `night`.
    pub time: String,
    /// `clear`, `cloudy`, `rainy` or `indoors`.
    pub weather: String,
    /// From left to right.
    pub objects: Vec<SceneObject>,
}

/// One object of a scene.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SceneObject {
    /// `ball`, `box`, `car`, `cone`, `heart`, `house`, `ring`, `star` or `tree`.
    pub kind: String,
    /// `red`, `green`, `blue`, `yellow`, `orange`, `purple`, `white` or `black`.
    pub color: String,
    /// `small` or `large`.
    pub size: String,
    /// Centre from the left edge, in thousandths of the picture's side.
    pub x: u16,
    /// Centre from the top edge, in thousandths of the picture's side.
    pub y: u16,
    /// Radius, in thousandths of the picture's side.
    pub radius: u16,
}

/// How requests are offered.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// So many in flight, the next one sent when one ends.
    Closed(u32),
    /// So many thousandths of a request per second, sent on schedule whatever comes back.
    Open {
        /// Rate in requests per 1,000 s.
        per_1000_s: u32,
        /// When they come at that rate.
        #[serde(default)]
        arrivals: Arrivals,
    },
}

/// When requests come that wait for nobody.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// At equal intervals.
    #[default]
    Constant,
    /// Independently of each other: intervals are exponentially distributed.
    Poisson,
}

/// What a request has to keep to, to count as good. In seconds, each stated or not, at least one stated.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Longest time to the first piece of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_s: Option<f64>,
    /// Longest time per token after the first piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpot_s: Option<f64>,
    /// Longest time to the last piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_s: Option<f64>,
}

/// Whether an engine may reuse what it computed for an earlier request.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CachePolicy {
    /// No: caches cleared or off between requests that share a picture.
    Cold,
    /// Yes.
    Warm,
}

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// The likeliest.
    Greedy,
    /// Drawn.
    Seeded {
        /// Above 0.
        temperature: f64,
        /// Of the engine's generator.
        seed: u32,
    },
}

impl Load {
    /// Requests in flight, where that is fixed.
    pub fn concurrency(self) -> Option<u32> {
        match self {
            Self::Closed(concurrency) => Some(concurrency),
            Self::Open { .. } => None,
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(concurrency) => write!(f, "closed({concurrency})"),
            Self::Open {
                per_1000_s,
                arrivals,
            } => {
                let rate = f64::from(*per_1000_s) / 1000.0;
                match arrivals {
                    Arrivals::Constant => write!(f, "open({rate})"),
                    Arrivals::Poisson => write!(f, "open({rate}, poisson)"),
                }
            }
        }
    }
}

/// As `bench --goodput` takes them: `ttft=0.5s,tpot=0.05s`.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = [
            ("ttft", self.ttft_s),
            ("tpot", self.tpot_s),
            ("latency", self.latency_s),
        ];
        let stated = limits
            .into_iter()
            .filter_map(|(name, seconds)| Some(format!("{name}={}s", seconds?)));
        f.write_str(&stated.collect::<Vec<_>>().join(","))
    }
}

impl fmt::Display for CachePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
        })
    }
}

impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Greedy => f.write_str("greedy"),
            Self::Seeded { temperature, seed } => write!(f, "t={temperature},seed={seed}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_named_by_what_is_offered_and_when_it_comes() {
        let open = |arrivals| Load::Open {
            per_1000_s: 2500,
            arrivals,
        };
        assert_eq!(open(Arrivals::Constant).to_string(), "open(2.5)");
        assert_eq!(open(Arrivals::Poisson).to_string(), "open(2.5, poisson)");
        assert_eq!(Load::Closed(8).to_string(), "closed(8)");
    }

    #[test]
    fn limits_are_named_by_those_that_are_stated() {
        let limits = Limits {
            ttft_s: Some(0.5),
            tpot_s: None,
            latency_s: Some(5.0),
        };
        assert_eq!(limits.to_string(), "ttft=0.5s,latency=5s");
    }
}
