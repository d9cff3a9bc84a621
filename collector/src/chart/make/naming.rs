//! Short names: of all that is known about some things, what it takes to tell them apart.

use std::collections::{BTreeMap, BTreeSet};

use crate::rank::Key;

/// Values of keys.
pub(super) type Values = BTreeMap<Key, String>;

/// A name for each: the values of those keys that tell some apart which the keys before them do not; of things that are all the same, of the
/// first key that they have.
pub(super) fn names(things: &[Values]) -> Vec<String> {
    let mut keys: Vec<Key> = Vec::new();
    for key in ORDER
        .into_iter()
        .filter(|key| things.iter().any(|values| values.contains_key(key)))
    {
        let with = [keys.as_slice(), &[key]].concat();
        if n_different(things, &with) > n_different(things, &keys) {
            keys = with;
        }
    }
    if keys.is_empty() {
        let has = |key: &Key| things.iter().any(|values| values.contains_key(key));
        keys.extend(ORDER.into_iter().find(has));
    }
    let name = |values: &Values| {
        let words = keys
            .iter()
            .filter_map(|key| Some(word(*key, values.get(key)?)));
        words.collect::<Vec<_>>().join(" · ")
    };
    things.iter().map(name).collect()
}

fn n_different(things: &[Values], keys: &[Key]) -> usize {
    let of = |values: &Values| -> Vec<Option<String>> {
        keys.iter().map(|key| values.get(key).cloned()).collect()
    };
    things.iter().map(of).collect::<BTreeSet<_>>().len()
}

/// A digest by its first digits, a number with what it is of.
pub(super) fn word(key: Key, value: &str) -> String {
    match key {
        Key::ImagePx if value != "none" => format!("{value} px"),
        Key::SuiteDigest | Key::ModelDigest | Key::MmprojDigest => value.chars().take(12).collect(),
        _ => value.to_owned(),
    }
}

/// What people call things by, first.
const ORDER: [Key; 21] = [
    Key::Device,
    Key::Model,
    Key::Precision,
    Key::Task,
    Key::ImagePx,
    Key::Load,
    Key::PowerMode,
    Key::Backend,
    Key::Engine,
    Key::MmprojPrecision,
    Key::CachePolicy,
    Key::IsStreaming,
    Key::MaxTokens,
    Key::Sampling,
    Key::Limits,
    Key::Suite,
    Key::SuiteDigest,
    Key::ModelDigest,
    Key::MmprojDigest,
    Key::EngineFlags,
    Key::Os,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_no_more_words_than_tell_apart() {
        let thing = |device: &str, precision: &str, os: &str| {
            let values = [
                (Key::Device, device),
                (Key::Precision, precision),
                (Key::Os, os),
            ];
            values.map(|(key, value)| (key, value.to_owned())).into()
        };
        let same_os_on_each = [
            thing("orin", "f16", "a"),
            thing("orin", "bf16", "a"),
            thing("thor", "f16", "b"),
        ];
        assert_eq!(
            names(&same_os_on_each),
            ["orin · f16", "orin · bf16", "thor · f16"]
        );
        let two_systems = [thing("orin", "f16", "a"), thing("orin", "f16", "b")];
        assert_eq!(names(&two_systems), ["a", "b"]);
        assert_eq!(names(&[thing("orin", "f16", "a")]), ["orin"]);
    }

    #[test]
    fn every_key_has_its_place() {
        let all: BTreeSet<Key> = Key::ALL.into_iter().collect();
        assert_eq!(ORDER.into_iter().collect::<BTreeSet<_>>(), all);
    }
}
