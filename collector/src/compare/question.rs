//! What is compared with what, parsed once.

use std::collections::BTreeSet;

use tokwatt_domain::power::Provenance;

use super::CompareError;
use crate::rank::{Condition, Key, Metric, RankedCell, parse_provenance};

/// What is compared with what.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Conditions on A, at least one.
    pub left: Vec<Condition>,
    /// Conditions on B, at least one.
    pub right: Vec<Condition>,
    /// In which metrics; none: those that people ask for first.
    pub metrics: Vec<Metric>,
    /// How the figures came to be.
    pub provenance: Provenance,
}

impl Question {
    /// Reads a question in the words of the command line.
    ///
    /// # Errors
    /// An unknown metric, key, scope or provenance, with the nearest name, or a side without conditions.
    pub fn parse(
        left: &[String],
        right: &[String],
        metrics: &[String],
        provenance: &str,
    ) -> Result<Self, CompareError> {
        Ok(Self {
            left: conditions(left, "first")?,
            right: conditions(right, "second")?,
            metrics: self::metrics(metrics)?,
            provenance: parse_provenance(provenance)?,
        })
    }

    /// Keys that tell the sides apart.
    pub(super) fn keys(&self) -> BTreeSet<Key> {
        let conditions = self.left.iter().chain(&self.right);
        conditions.map(|condition| condition.key).collect()
    }
}

/// Reads metrics, also those that are never ranked: what differs is worth knowing there, too.
pub(super) fn metrics(texts: &[String]) -> Result<Vec<Metric>, CompareError> {
    let mut metrics: Vec<Metric> = Vec::new();
    for text in texts {
        let metric = Metric::parse_any(text)?;
        if !metrics.contains(&metric) {
            metrics.push(metric);
        }
    }
    Ok(metrics)
}

fn conditions(texts: &[String], side: &'static str) -> Result<Vec<Condition>, CompareError> {
    if texts.is_empty() {
        return Err(CompareError::NoCondition(side));
    }
    let conditions = texts.iter().map(|text| Condition::parse(text));
    Ok(conditions.collect::<Result<_, _>>()?)
}

/// `device=a, precision=f16`.
pub(super) fn words(conditions: &[Condition]) -> String {
    let words: Vec<String> = conditions
        .iter()
        .map(|condition| format!("{}={}", condition.key.as_str(), condition.value))
        .collect();
    words.join(", ")
}

/// What there is of the first key that no cell meets.
pub(super) fn there_are(cells: &[RankedCell], conditions: &[Condition]) -> String {
    let mut left: Vec<&RankedCell> = cells.iter().collect();
    for condition in conditions {
        let values: BTreeSet<String> = left.iter().map(|cell| cell.value(condition.key)).collect();
        left.retain(|cell| cell.meets(condition));
        if left.is_empty() && !values.is_empty() {
            let values: Vec<String> = values.into_iter().collect();
            return format!(
                "of {} there are: {}",
                condition.key.as_str(),
                values.join(", ")
            );
        }
    }
    "there are none".to_owned()
}

/// `key=value,key=value` into its conditions: a comma begins a new one only where a key follows, for values have commas, too.
pub fn split(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for piece in text.split(',') {
        let name = piece.trim_start().split_once('=').map(|(name, _)| name);
        let begins = name.is_some_and(|name| Key::parse(name).is_ok());
        match parts.last_mut() {
            Some(last) if !begins && !looks_like_a_key(name) => *last += &format!(",{piece}"),
            _ => parts.push(piece.trim_start().to_owned()),
        }
    }
    parts
}

/// A misspelt key is a key, so that it is named as such.
fn looks_like_a_key(name: Option<&str>) -> bool {
    let is_letter = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    name.is_some_and(|name| !name.is_empty() && name.chars().all(is_letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &[&str]) {
        assert_eq!(split(text), want);
    }

    #[test]
    fn a_comma_within_a_value_belongs_to_it() {
        check("device=orin", &["device=orin"]);
        check(
            "device=orin,precision=f16",
            &["device=orin", "precision=f16"],
        );
        check(
            "load=open(2.5, poisson), device=a",
            &["load=open(2.5, poisson)", "device=a"],
        );
        check("device=a,precison=f16", &["device=a", "precison=f16"]);
        check("", &[""]);
    }
}
