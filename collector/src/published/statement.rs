//! A statement of a study, and the rule by which its figures can be asked.

use serde::Deserialize;

/// Something that a study says about its figures.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Which study.
    pub study: String,
    /// What, in our words.
    pub says: String,
    /// How to ask.
    pub rule: Rule,
    /// What explains it, where it does not hold.
    pub because: Option<String>,
    /// Whether what it says is an estimate: nobody measured that it is so.
    #[serde(default)]
    pub is_estimate: bool,
}

/// A figure that a rule looks at.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(try_from = "String")]
pub enum Figure {
    /// A row of the statement's study, by name.
    Row(String),
    /// A number as it is printed: its last digit may be off by half of one.
    Printed {
        /// As it is read.
        value: f64,
        /// As it is written.
        text: String,
    },
}

/// How the figures behind a statement can be asked whether it is so.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Rule {
    /// tok/s/W times J/token is 1.
    Reciprocal {
        /// Tokens a second and watt.
        rate: Figure,
        /// Joules a token.
        energy: Figure,
    },
    /// No more tokens a second than the memory can deliver the weights.
    Roofline {
        /// Tokens a second of a single request.
        speed: Figure,
        /// What has to be read for each of them.
        memory: Memory,
    },
    /// The same of an answer of so many letters in such a time.
    AnswerRoofline {
        /// What was written.
        answer: Answer,
        /// What has to be read for each token.
        memory: Memory,
    },
    /// A request writes no faster than the longest answer in the shortest time.
    AnswerBound {
        /// Tokens a second of a single request.
        speed: Figure,
        /// The longest, in the shortest time.
        answer: Answer,
    },
    /// Requests in flight are requests a second times their latency, which is output tokens a second times seconds a token.
    LittlesLaw {
        /// As stated.
        in_flight: Figure,
        /// Output tokens a second, of all.
        output: Figure,
        /// Latency over tokens, in s.
        ntpot: Figure,
    },
    /// One is so many times the other.
    Ratio {
        /// Above the line.
        of: Figure,
        /// Below it.
        to: Figure,
        /// As stated.
        says: Figure,
        /// The same question asked of figures that are alike.
        like: Option<[Figure; 2]>,
    },
    /// One is so many per cent less than the other.
    Less {
        /// The smaller one.
        of: Figure,
        /// The larger one.
        to: Figure,
        /// As stated.
        says_percent: Figure,
        /// The same question asked of figures that are alike.
        like: Option<[Figure; 2]>,
    },
    /// Parts add up.
    Sum {
        /// What adds up.
        parts: Vec<Figure>,
        /// To this.
        says: Figure,
    },
    /// Parts fit together.
    Fits {
        /// What is put in.
        parts: Vec<Figure>,
        /// Where.
        room: Figure,
    },
    /// A mean.
    Mean {
        /// Of these.
        parts: Vec<Figure>,
        /// As stated.
        says: Figure,
    },
    /// A multiple, in another unit.
    Product {
        /// Of what.
        of: Figure,
        /// How many times.
        times: f64,
        /// Of the old unit in one of the new.
        over: f64,
        /// As stated.
        says: Figure,
    },
    /// What is left.
    Difference {
        /// Of this.
        whole: Figure,
        /// Without this.
        part: Figure,
        /// More than its printed digits say.
        part_is_off_by: Option<f64>,
        /// As stated; without it something is left.
        says: Option<Figure>,
    },
    /// A rate counts written tokens, not those that were read as well.
    TokenBase {
        /// Tokens a second.
        rate: Figure,
        /// Of the batch, in s.
        window: Figure,
        /// Tokens read.
        prompt: Figure,
        /// Tokens written.
        completion: Figure,
    },
    /// The same of a single request, whose latency over written tokens is known.
    RequestBase {
        /// Tokens a second.
        rate: Figure,
        /// Latency over written tokens, in s.
        ntpot: Figure,
        /// Tokens read.
        prompt: Figure,
    },
    /// Tokens for each request of a batch.
    PerRequest {
        /// Tokens a second.
        rate: Figure,
        /// Of the batch, in s.
        window: Figure,
        /// How many.
        requests: f64,
        /// Of them tokens read, if what is stated is about those written.
        prompt: Option<Figure>,
        /// From, to.
        says: [Figure; 2],
    },
    /// Written tokens for each answer of a server.
    PerAnswer {
        /// Written tokens a second.
        output: Figure,
        /// Answers a minute.
        per_minute: Figure,
        /// As stated.
        says: Figure,
    },
    /// Mean, deviation, least and most may be of three runs.
    ThreeRuns {
        /// With all of them.
        row: Figure,
    },
    /// The coefficient of variation of three runs is below a limit.
    VariationOfThree {
        /// With mean and deviation.
        row: Figure,
        /// The limit.
        below_percent: f64,
    },
    /// The mean of three runs is known at all.
    MeanOfThree {
        /// With mean and deviation.
        row: Figure,
    },
    /// Means of three runs each differ beyond doubt.
    Separates {
        /// The larger one.
        left: Figure,
        /// The smaller one.
        right: Figure,
    },
    /// All of them lie between.
    Within {
        /// Which.
        rows: Vec<Figure>,
        /// From, to.
        span: [Figure; 2],
    },
    /// So many tokens take such a time.
    AnswerTime {
        /// How many.
        tokens: f64,
        /// From, to, in tokens a second.
        rate: [Figure; 2],
        /// From, to, in s.
        says: [Figure; 2],
    },
    /// One is ahead of the other.
    Lead {
        /// What is ahead.
        of: Figure,
        /// Of what.
        to: Figure,
    },
    /// A figure without a definition.
    Undefined {
        /// Which.
        row: Figure,
    },
}

/// Weights and where they are read from.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// How many.
    pub parameters: Figure,
    /// Bits of each.
    pub bits: f64,
    /// In B/s.
    pub bandwidth: Figure,
}

/// An answer whose letters are known, and its tokens only by them.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Letters.
    pub chars: Figure,
    /// Letters a token, as a rule.
    pub chars_per_token: f64,
    /// In s.
    pub latency: Figure,
}

impl TryFrom<String> for Figure {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if !text.starts_with(|first: char| first.is_ascii_digit()) {
            return Ok(Self::Row(text));
        }
        match text.parse() {
            Ok(value) => Ok(Self::Printed { value, text }),
            Err(_) => Err(format!("`{text}` begins as a number and is none")),
        }
    }
}
