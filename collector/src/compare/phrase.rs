//! Verdicts as people say them.

use tokwatt_domain::metrics::{
    dictionary::Definition,
    spread::verdict::{Judgement, Verdict},
};

/// `B is 1.27 times as fast`, or why nothing can be said.
pub(super) fn verdict(
    definition: &Definition,
    judgement: &Judgement,
    new: &str,
    old: &str,
) -> String {
    let more = judgement.more_repetitions.map(|more| {
        let noun = if more == 1 {
            "repetition"
        } else {
            "repetitions"
        };
        format!("{more} more {noun} of each")
    });
    match (judgement.verdict, judgement.ratio) {
        (Verdict::Tied, Some(1.0)) => "the same".to_owned(),
        (Verdict::Tied, _) => match more {
            Some(more) => format!("cannot be told apart; about {more} might do"),
            None => "cannot be told apart".to_owned(),
        },
        (Verdict::TooFew, _) => match more {
            Some(more) => format!("not judged: needs {more} for an interval"),
            None => "not judged: too few repetitions".to_owned(),
        },
        (Verdict::NoRatio, _) => {
            "not judged: a value is a failed request or not above 0".to_owned()
        }
        (_, None) => "they differ".to_owned(),
        (_, Some(ratio)) => format!("{new} {}", times(definition, ratio, old)),
    }
}

fn times(definition: &Definition, ratio: f64, old: &str) -> String {
    let ratio = format!("{ratio:.*}", if ratio < 0.1 { 3 } else { 2 });
    match (definition.unit, definition.id) {
        ("s", _) => format!("takes {ratio} times as long as {old}"),
        ("tok/s" | "1/s" | "1/min", _) => format!("is {ratio} times as fast as {old}"),
        ("tok/J", _) => format!("gives {ratio} times as many tokens per joule as {old}"),
        ("J" | "J/tok", _) => format!("takes {ratio} times the energy of {old}"),
        ("W", _) => format!("draws {ratio} times the power of {old}"),
        ("B", _) => format!("takes {ratio} times the memory of {old}"),
        (_, "output_chars") => format!("answers at {ratio} times the length of {old}"),
        _ => format!("has {ratio} times the value of {old}"),
    }
}
