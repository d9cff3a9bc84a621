//! What a board's address asks for: `/boards?metric=decode_tps&by=device&where=task=caption&provenance=measured`.

use tokwatt_domain::{power::Provenance, spelling::advice};

use crate::{
    rank::Key,
    web::{names::url, problem::Problem},
};

/// In the words of the command line; nothing is known to be right.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Asked {
    pub(super) metric: String,
    pub(super) by: Vec<String>,
    pub(super) conditions: Vec<String>,
    pub(super) provenance: String,
    pub(super) is_strict: bool,
}

impl Asked {
    /// Reads an address. What is left empty in a form is not asked for.
    pub(super) fn read(pairs: &[(String, String)]) -> Result<Self, Problem> {
        let mut asked = Self::default();
        for (key, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
            let value = value.clone();
            match key.as_str() {
                "metric" => asked.metric = value,
                "by" => {
                    let keys = value.split(',').map(str::to_owned);
                    asked.by.extend(keys);
                }
                "where" => asked.conditions.push(value),
                "provenance" => asked.provenance = value,
                "strict" => asked.is_strict = is_yes(&value)?,
                other => {
                    let advice = advice(other, &PARAMETERS);
                    return Err(Problem::bad_request(&format!(
                        "unknown filter `{other}` in the address, {advice}"
                    )));
                }
            }
        }
        Ok(asked)
    }

    /// Nothing but that.
    pub(super) fn of(provenance: Provenance) -> Self {
        Self {
            provenance: provenance.as_str().to_owned(),
            ..Self::default()
        }
    }

    /// What is not asked for, as most people ask first.
    pub(super) fn or_default(mut self) -> Self {
        if self.metric.is_empty() {
            self.metric = "decode_tps".to_owned();
        }
        if self.by.is_empty() {
            self.by = vec!["device".to_owned(), "precision".to_owned()];
        }
        self
    }

    pub(super) fn with_metric(mut self, metric: &str) -> Self {
        metric.clone_into(&mut self.metric);
        self
    }

    pub(super) fn with_condition(self, key: Key, value: &str) -> Self {
        self.with_value(key.as_str(), value)
    }

    /// In the place of what was asked of that key.
    pub(super) fn with_value(mut self, key: &str, value: &str) -> Self {
        let own = format!("{key}=");
        self.conditions
            .retain(|condition| !condition.starts_with(&own));
        self.conditions.push(format!("{own}{value}"));
        self
    }

    pub(super) fn with_rows_by(mut self, key: Key) -> Self {
        self.by.push(key.as_str().to_owned());
        self
    }

    /// The value that a key must have, if it must.
    pub(super) fn value_of(&self, key: Key) -> Option<&str> {
        let mut pairs = self
            .conditions
            .iter()
            .filter_map(|text| text.split_once('='));
        let found = pairs.find(|(own, _)| *own == key.as_str());
        found.map(|(_, value)| value)
    }

    /// The page.
    pub(super) fn address(&self) -> String {
        url("/boards", self.pairs())
    }

    /// The file.
    pub(super) fn download(&self, format: &str) -> String {
        url(&format!("/boards/board.{format}"), self.pairs())
    }

    fn pairs(&self) -> Vec<(&str, &str)> {
        let by = self.by.iter().map(|key| ("by", key.as_str()));
        let conditions = self.conditions.iter();
        let conditions = conditions.map(|condition| ("where", condition.as_str()));
        let metric = [("metric", self.metric.as_str())];
        let rest = [
            ("provenance", self.provenance.as_str()),
            ("strict", if self.is_strict { "true" } else { "" }),
        ];
        let pairs = metric.into_iter().chain(by).chain(conditions).chain(rest);
        pairs.filter(|(_, value)| !value.is_empty()).collect()
    }
}

fn is_yes(strict: &str) -> Result<bool, Problem> {
    match strict {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(Problem::bad_request(&format!(
            "`strict` in the address is `{other}`: write strict=true, or leave it out"
        ))),
    }
}

const PARAMETERS: [&str; 5] = ["metric", "by", "where", "provenance", "strict"];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Asked, Problem> {
        let pairs: Vec<(String, String)> = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Asked::read(&pairs)
    }

    #[test]
    fn an_address_says_all_that_is_asked() {
        let asked = read(&[
            ("metric", "j_per_image@module"),
            ("by", "device,model"),
            ("by", "precision"),
            ("where", "task=a b"),
            ("where", ""),
            ("provenance", "simulated"),
            ("strict", "true"),
        ])
        .unwrap();
        assert_eq!(asked.by, ["device", "model", "precision"]);
        assert_eq!(
            asked.address(),
            "/boards?metric=j_per_image%40module&by=device&by=model&by=precision&where=task%3Da%20b&provenance=simulated&strict=true"
        );
        assert_eq!(asked.value_of(Key::Task), Some("a b"));
        let other = asked.with_condition(Key::Task, "c");
        assert_eq!(other.conditions, ["task=c"]);
    }

    #[test]
    fn strict_is_yes_or_no() {
        for (word, is_strict) in [("1", true), ("true", true), ("0", false), ("false", false)] {
            assert_eq!(read(&[("strict", word)]).unwrap().is_strict, is_strict);
        }
        assert!(read(&[("strict", "ture")]).is_err());
    }

    #[test]
    fn an_unknown_filter_is_named_with_the_nearest() {
        let problem = read(&[("metrik", "ttft")]).unwrap_err();
        let text = format!("{problem:?}");
        assert!(
            text.contains("`metrik`") && text.contains("`metric`"),
            "{text}"
        );
    }
}
