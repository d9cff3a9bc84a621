//! What must be the same for figures to stand in one picture, besides what the picture is about.

use std::collections::BTreeMap;

use crate::rank::{Condition, Key, RankedCell};

/// Values of the keys of [`KEYS`].
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Setting(BTreeMap<Key, String>);

impl Setting {
    fn of(cell: &RankedCell) -> Self {
        Self(KEYS.map(|key| (key, cell.value(key))).into())
    }

    /// The one with the most cells; of several the first by its values.
    pub(super) fn principal(cells: &[RankedCell]) -> Option<Self> {
        let counts = counts(cells).into_iter();
        let most =
            counts.max_by(|left, right| left.1.cmp(&right.1).then_with(|| right.0.cmp(&left.0)));
        most.map(|(setting, _)| setting)
    }

    pub(super) fn has(&self, cell: &RankedCell) -> bool {
        *self == Self::of(cell)
    }

    pub(super) fn conditions(&self) -> impl Iterator<Item = Condition> {
        let conditions = self.0.iter();
        conditions.map(|(key, value)| Condition {
            key: *key,
            value: value.clone(),
        })
    }

    /// `suite edge-vision, 96 px, closed(1), cold cache, at most 64 tokens, greedy`.
    pub(super) fn words(&self) -> String {
        let word = |(key, value): (&Key, &String)| {
            Some(match key {
                Key::Suite => format!("suite {value}"),
                Key::SuiteDigest => return None,
                Key::ImagePx if value == "none" => "pictures of any size".to_owned(),
                Key::ImagePx => format!("pictures of {value} px"),
                Key::MaxTokens => format!("at most {value} tokens"),
                Key::CachePolicy => format!("{value} cache"),
                Key::Limits if value == "none" => return None,
                Key::Limits => format!("good within {value}"),
                Key::IsStreaming if value == "true" => "streamed".to_owned(),
                Key::IsStreaming => "not streamed".to_owned(),
                _ => value.clone(),
            })
        };
        self.0
            .iter()
            .filter_map(word)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The conditions that lead from the other setting to this one.
    pub(super) fn flags(&self, other: &Self) -> String {
        let differs = |(key, value): &(&Key, &String)| other.0.get(key) != Some(value);
        let differing: Vec<(&Key, &String)> = self.0.iter().filter(differs).collect();
        // A digest follows from what else differs; alone it has to be said.
        let is_enough = differing.iter().any(|(key, _)| **key != Key::SuiteDigest);
        let differing = differing
            .into_iter()
            .filter(|(key, _)| !is_enough || **key != Key::SuiteDigest);
        let flags = differing.map(|(key, value)| format!("--where '{}={value}'", key.as_str()));
        flags.collect::<Vec<_>>().join(" ")
    }
}

/// Settings of these cells, without this one.
pub(super) fn others(cells: &[RankedCell], setting: &Setting) -> Vec<Setting> {
    let mut counts = counts(cells);
    counts.remove(setting);
    counts.into_keys().collect()
}

fn counts(cells: &[RankedCell]) -> BTreeMap<Setting, usize> {
    let mut counts = BTreeMap::new();
    for cell in cells {
        *counts.entry(Setting::of(cell)).or_default() += 1;
    }
    counts
}

/// All of identity, but for what pictures compare: task, model, precision.
const KEYS: [Key; 9] = [
    Key::Suite,
    Key::SuiteDigest,
    Key::ImagePx,
    Key::MaxTokens,
    Key::Sampling,
    Key::Load,
    Key::Limits,
    Key::CachePolicy,
    Key::IsStreaming,
];

#[test]
fn a_setting_is_identity_without_what_is_compared() {
    for key in Key::ALL.into_iter().filter(|key| key.is_identity()) {
        let is_compared = [Key::Task, Key::Model, Key::Precision].contains(&key);
        assert_eq!(KEYS.contains(&key), !is_compared, "{}", key.as_str());
    }
}
