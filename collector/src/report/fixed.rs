//! What all rows of a board have in common, for people: what was asked, of which model, of which engine, on which device.

use std::collections::BTreeMap;

use tokwatt_domain::{leaderboard::Board, power::Provenance};

use super::shortened;

/// A group's name and its words. What goes without saying is left out here and stands in the JSON; a group without words too.
pub(crate) fn groups(board: &Board) -> Vec<(&'static str, String)> {
    groups_of(&board.fixed, &board.aggregate, board.provenance)
}

/// The same of any keys and values, with the name of how tasks were put together.
pub(super) fn groups_of(
    fixed: &BTreeMap<String, String>,
    aggregate: &str,
    provenance: Provenance,
) -> Vec<(&'static str, String)> {
    let mut fixed = Fixed(fixed.clone());
    let groups = [
        ("asked", asked(&mut fixed, aggregate, provenance)),
        ("model", model(&mut fixed)),
        ("engine", engine(&mut fixed)),
        ("device", device(&mut fixed)),
        ("also", fixed.rest()),
    ];
    let said = groups.map(|(name, words)| (name, words.join(", ")));
    said.into_iter()
        .filter(|(_, words)| !words.is_empty())
        .collect()
}

/// An engine's flags, without those that are as nearly everywhere and those that only repeat another.
pub(super) fn engine_flags<'t>(text: &'t str) -> Vec<(&'t str, &'t str)> {
    let says_something = |(name, value): &(&str, &str)| {
        !REPEATING.contains(name) && !ORDINARY.contains(&(name, value))
    };
    let short = |(name, value): (&'t str, &'t str)| match name {
        "compiled_for" => (name, value.split(':').next().unwrap_or(value)),
        _ => (name, value),
    };
    flags(text)
        .into_iter()
        .filter(says_something)
        .map(short)
        .collect()
}

/// Keys that no group has taken yet.
struct Fixed(BTreeMap<String, String>);

impl Fixed {
    /// In the words of `say`; nothing where the key differs between rows, or is absent in all.
    fn take(&mut self, key: &str, say: impl Fn(&str) -> String) -> Option<String> {
        let value = self.0.remove(key).filter(|value| value != "none")?;
        Some(say(&shortened(&value)))
    }

    /// A name with the first digits of what it stands for.
    fn take_named(&mut self, name: &str, digest: &str, word: &str) -> Option<String> {
        let digest = self.take(digest, |digest| digest.to_owned());
        let name = self.take(name, str::to_owned);
        match (name, digest) {
            (Some(name), Some(digest)) => Some(format!("{word}{name} ({digest})")),
            (name, digest) => name.or(digest).map(|text| format!("{word}{text}")),
        }
    }

    fn rest(self) -> Vec<String> {
        let said = self.0.into_iter().filter(|(_, value)| value != "none");
        said.map(|(key, value)| format!("{key} {}", shortened(&value)))
            .collect()
    }
}

fn asked(fixed: &mut Fixed, aggregate: &str, provenance: Provenance) -> Vec<String> {
    let tasks = |tasks: &str| match aggregate {
        "one task" => tasks.to_owned(),
        aggregate => format!("{tasks} ({aggregate} over tasks)"),
    };
    let streaming = |is_streaming: &str| match is_streaming {
        "true" => String::new(),
        _ => "answers not streamed".to_owned(),
    };
    // Other tools' files do not say these; what stands for them is no statement.
    let is_said = |key: &str, value: &str| {
        let is_of_another_tool = provenance >= Provenance::Imported;
        let stands_for_nothing = [("max_tokens", "0"), ("load", "closed(0)")];
        !is_of_another_tool
            || !(["sampling", "cache_policy"].contains(&key)
                || stands_for_nothing.contains(&(key, value)))
    };
    let where_said = |key: &str, value: &str, words: String| match is_said(key, value) {
        true => words,
        false => String::new(),
    };
    let words = [
        fixed.take_named("suite", "suite_digest", ""),
        fixed.take("task", tasks),
        fixed.take("image_px", |px| format!("{px} px")),
        fixed.take("max_tokens", |most| {
            where_said("max_tokens", most, format!("at most {most} tokens"))
        }),
        fixed.take("sampling", |how| {
            where_said("sampling", how, how.to_owned())
        }),
        fixed.take("load", |load| where_said("load", load, load.to_owned())),
        fixed.take("limits", |limits| format!("good within {limits}")),
        fixed.take("cache_policy", |policy| {
            where_said("cache_policy", policy, format!("{policy} cache"))
        }),
        fixed.take("is_streaming", streaming),
    ];
    said(words)
}

fn model(fixed: &mut Fixed) -> Vec<String> {
    said([
        fixed.take("model", str::to_owned),
        fixed.take_named("precision", "model_digest", ""),
        fixed.take_named("mmproj_precision", "mmproj_digest", "projector "),
    ])
}

fn engine(fixed: &mut Fixed) -> Vec<String> {
    let flags = fixed.0.remove("engine_flags").unwrap_or_default();
    let flags = engine_flags(&flags).into_iter();
    let words = said([
        fixed.take("backend", str::to_owned),
        fixed.take("engine", str::to_owned),
    ]);
    let flags = flags.map(|(name, value)| format!("{name} {value}"));
    words.into_iter().chain(flags).collect()
}

fn device(fixed: &mut Fixed) -> Vec<String> {
    said([
        fixed.take("device", str::to_owned),
        fixed.take("power_mode", |mode| format!("power mode {mode}")),
        fixed.take("os", str::to_owned),
    ])
}

fn said<const N: usize>(words: [Option<String>; N]) -> Vec<String> {
    let words = words.into_iter().flatten();
    words.filter(|words| !words.is_empty()).collect()
}

/// `name=value name=value`, where values may have spaces but no such names.
fn flags(text: &str) -> Vec<(&str, &str)> {
    let is_name = |word: &str| {
        let letter = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
        !word.is_empty() && word.chars().all(letter)
    };
    let begins = |start: usize| {
        let name = text[start..].split(['=', ' ']).next().unwrap_or_default();
        is_name(name) && text[start + name.len()..].starts_with('=')
    };
    let words = text.match_indices(' ').map(|(at, _)| at + 1);
    let starts: Vec<usize> = [0]
        .into_iter()
        .chain(words)
        .filter(|at| begins(*at))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let flag = |(start, end): (&usize, usize)| text[*start..end].trim().split_once('=');
    starts.iter().zip(ends).filter_map(flag).collect()
}

/// The list of instructions repeats `compiled_for`; batches follow from the context.
const REPEATING: [&str; 3] = ["system", "n_batch", "n_ubatch"];

/// What nobody asks about unless it is otherwise.
const ORDINARY: [(&str, &str); 4] = [
    ("chat_template", "the model's own"),
    ("engine_slots", "1"),
    ("flash_attention", "auto"),
    ("gpu_layers", "0"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_told_apart_though_values_have_spaces() {
        let text = "chat_template=the model's own compiled_for=x86-64-v3: avx2, fma context=2048 \
                    gpu_layers=0 system=CPU : SSE3 = 1 | AVX = 1 |  threads=1";
        assert_eq!(
            flags(text),
            [
                ("chat_template", "the model's own"),
                ("compiled_for", "x86-64-v3: avx2, fma"),
                ("context", "2048"),
                ("gpu_layers", "0"),
                ("system", "CPU : SSE3 = 1 | AVX = 1 |"),
                ("threads", "1"),
            ]
        );
        assert_eq!(
            engine_flags(text),
            [
                ("compiled_for", "x86-64-v3"),
                ("context", "2048"),
                ("threads", "1")
            ]
        );
        assert_eq!(flags("none"), []);
        assert_eq!(engine_flags("gpu_layers=99"), [("gpu_layers", "99")]);
    }
}
