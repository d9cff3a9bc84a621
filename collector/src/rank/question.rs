//! What a board is asked for, parsed once.

use std::fmt;

use tokwatt_domain::{
    metrics::dictionary::{Better, Definition, Kind, definition},
    power::{Provenance, Scope},
    spelling,
};

use super::{Condition, Key, RankError};

/// What a board is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What is ranked.
    pub metric: Metric,
    /// What makes a row.
    pub by: Vec<Key>,
    /// Which runs take part; all must hold.
    pub conditions: Vec<Condition>,
    /// How their figures came to be.
    pub provenance: Provenance,
    /// Fix the engine too.
    pub is_strict: bool,
    /// How tasks are put together; where nobody says, as sums where there are sums.
    pub over_tasks: Option<OverTasks>,
    /// Whether models that differ in what a token is may stand on one board of tokens; every row says so then.
    pub may_differ: bool,
}

/// How the figures of several tasks are put together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OverTasks {
    /// Sums over all tasks, then one divided by the other: a task counts by its tokens.
    Sums,
    /// The mean of the tasks' figures: every task counts the same.
    Macro,
}

/// A metric as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// From the dictionary.
    pub definition: &'static Definition,
    /// Power scope, where one was named.
    pub scope: Option<Scope>,
}

impl Question {
    /// Reads a question in the words of the command line; empty texts stand for the defaults.
    ///
    /// # Errors
    /// An unknown metric, key, scope or provenance, with the nearest name.
    pub fn parse(
        metric: &str,
        by: &[String],
        conditions: &[String],
        provenance: &str,
        is_strict: bool,
    ) -> Result<Self, RankError> {
        let mut keys = Vec::new();
        for name in by {
            let key = Key::parse(name)?;
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        if keys.is_empty() {
            keys.push(Key::Device);
        }
        Ok(Self {
            metric: Metric::parse(metric)?,
            by: keys,
            conditions: conditions
                .iter()
                .map(|text| Condition::parse(text))
                .collect::<Result<_, _>>()?,
            provenance: parse_provenance(provenance)?,
            is_strict,
            over_tasks: None,
            may_differ: false,
        })
    }

    /// The same about one power scope.
    pub(super) fn of_scope(&self, scope: Scope) -> Self {
        let mut question = self.clone();
        question.metric.scope = Some(scope);
        question
    }

    /// Whether a condition gives the key a value.
    pub fn fixes(&self, key: Key) -> bool {
        self.conditions.iter().any(|condition| condition.key == key)
    }
}

impl OverTasks {
    /// Reads a way's name; an empty text leaves it to the metric.
    ///
    /// # Errors
    /// There is none of that name; the error suggests a similar one.
    pub fn parse(text: &str) -> Result<Option<Self>, RankError> {
        match text {
            "" => Ok(None),
            "sums" => Ok(Some(Self::Sums)),
            "macro" => Ok(Some(Self::Macro)),
            _ => Err(RankError::UnknownAggregate {
                name: text.to_owned(),
                advice: spelling::advice(text, &["sums", "macro"]),
            }),
        }
    }
}

impl Metric {
    /// Reads `id` or `id@scope`.
    ///
    /// # Errors
    /// No such metric or scope, one that is never ranked, or a scope where there is no energy.
    pub fn parse(text: &str) -> Result<Self, RankError> {
        let metric = Self::parse_any(text)?;
        if !metric.definition.is_rankable {
            return Err(RankError::NotRanked(metric.definition.id));
        }
        Ok(metric)
    }

    /// The same, also of metrics that are never ranked: for limits, and to be shown beside others.
    ///
    /// # Errors
    /// No such metric or scope, or a scope where there is no energy.
    pub fn parse_any(text: &str) -> Result<Self, RankError> {
        let (id, scope) = match text.split_once('@') {
            None => (text, None),
            Some((id, scope)) => (id, Some(scope.parse()?)),
        };
        let definition = definition(id)?;
        if scope.is_some() && !definition.needs_scope {
            return Err(RankError::ScopeWithoutEnergy(definition.id));
        }
        Ok(Self { definition, scope })
    }

    /// Whether the smaller value is the better one.
    pub fn is_lower_better(&self) -> bool {
        self.definition.better == Better::Lower
    }

    /// Whether its value depends on what a tokenizer calls a token.
    pub fn counts_tokens(&self) -> bool {
        let per_token = ["tpot", "ntpot"];
        let id = self.definition.id.split('.').next().unwrap_or_default();
        self.definition.unit.split('/').any(|part| part == "tok") || per_token.contains(&id)
    }

    /// Whether it is a ratio of sums over an energy: such a figure has a bound, and needs a window long enough.
    pub fn is_over_energy(&self) -> bool {
        self.definition.needs_scope && matches!(self.definition.kind, Kind::Ratio { .. })
    }
}

/// `id` or `id@scope`.
impl fmt::Display for Metric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            Some(scope) => write!(formatter, "{}@{scope}", self.definition.id),
            None => formatter.write_str(self.definition.id),
        }
    }
}

/// Reads a provenance's name; an empty text is `measured`.
///
/// # Errors
/// There is none of that name; the error suggests a similar one.
pub fn parse_provenance(text: &str) -> Result<Provenance, RankError> {
    if text.is_empty() {
        return Ok(Provenance::Measured);
    }
    let found = PROVENANCES
        .into_iter()
        .find(|provenance| provenance.as_str() == text);
    found.ok_or_else(|| RankError::UnknownProvenance {
        name: text.to_owned(),
        advice: spelling::advice(text, &PROVENANCES.map(Provenance::as_str)),
    })
}

/// All of them, the strongest first.
pub const PROVENANCES: [Provenance; 5] = [
    Provenance::Measured,
    Provenance::Replayed,
    Provenance::Simulated,
    Provenance::Imported,
    Provenance::Estimated,
];
