//! Recommendations for people.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    compare::{facts, interval, none, unless_measured, words},
    number::{Scale, short},
    page::{Grid, Page, Section},
    shortened,
};
use crate::recommend::{Excluded, LimitShown, Recommendation, Recommended, TermShown, UseCase};

/// The best, what comes next, and what was excluded and why.
pub fn recommendation(answer: &Recommendation) -> Page {
    let case = &answer.use_case;
    let title = format!(
        "{}: {}{}",
        case.name,
        case.question,
        unless_measured(answer.provenance)
    );
    let mut stated = vec![("decides".to_owned(), decides(&case.objective))];
    if !case.limits.is_empty() {
        let limits: Vec<String> = case.limits.iter().map(limit).collect();
        stated.push(("limits".to_owned(), limits.join(", ")));
    }
    if !case.choose.is_empty() {
        let chosen = format!(
            "{}, device, engine and other configuration",
            case.choose.join(", ")
        );
        stated.push(("may vary".to_owned(), chosen));
    }
    stated.push(("tasks".to_owned(), answer.aggregate.clone()));
    stated.extend(facts(&answer.fixed, answer.provenance));
    Page {
        title,
        facts: stated,
        sections: sections(answer),
        notes: answer.notes.clone(),
    }
}

/// The use cases that are built in, with what they are for.
pub fn use_cases(cases: &[UseCase]) -> Page {
    let mut grid = Grid::new(&["use case", "what it answers"]);
    let row = |case: &UseCase| vec![case.name.clone(), case.question.clone()];
    grid.rows = cases.iter().map(row).collect();
    Page {
        title: "Use cases that are built in".to_owned(),
        sections: vec![Section {
            grid,
            ..Section::default()
        }],
        notes: vec![
            "`recommend NAME` answers one; copy its file from configs/rankings, change it, and give the file instead of the name"
                .to_owned(),
        ],
        ..Page::default()
    }
}

fn sections(answer: &Recommendation) -> Vec<Section> {
    let mut sections = Vec::new();
    if !answer.recommended.is_empty() {
        sections.push(recommended(answer));
    }
    if !answer.excluded.is_empty() {
        sections.push(Section {
            heading: "Excluded".to_owned(),
            below: answer.excluded.iter().map(excluded).collect(),
            ..Section::default()
        });
    }
    sections
}

fn recommended(answer: &Recommendation) -> Section {
    let (short, long) = keys(&answer.recommended);
    let is_score = answer.use_case.objective.len() > 1;
    let unit = match &answer.use_case.objective[..] {
        [single] => single.unit.as_str(),
        _ => "",
    };
    let scale = Scale::of(unit, answer.recommended.iter().map(|one| one.value));
    let value = match (is_score, scale.unit) {
        (true, _) => "#score".to_owned(),
        (false, "") => "#value".to_owned(),
        (false, unit) => format!("#{unit}"),
    };
    let beside: BTreeSet<&String> = answer
        .recommended
        .iter()
        .flat_map(|one| one.figures.keys())
        .filter(|id| {
            answer
                .use_case
                .objective
                .iter()
                .all(|term| term.metric != **id)
        })
        .collect();
    let beside: Vec<&str> = beside
        .into_iter()
        .map(String::as_str)
        .take(BESIDE_MAX)
        .collect();
    let has_front = answer.recommended.iter().any(|one| one.on_front.is_some());
    let mut grid = Grid::new(&["place"]);
    grid.head.extend(short.iter().map(|key| (*key).to_owned()));
    grid.head
        .extend([value, "95 %".to_owned(), "against the first".to_owned()]);
    grid.head.extend(has_front.then(|| "front".to_owned()));
    grid.rows = answer
        .recommended
        .iter()
        .map(|one| {
            let mut row = vec![place(one)];
            row.extend(short.iter().map(|key| cell(&one.key, key)));
            row.extend([
                scale.show(one.value),
                format!("{} – {}", scale.show(one.ci95.0), scale.show(one.ci95.1)),
                against(one),
            ]);
            row.extend(has_front.then(|| front(one)));
            row
        })
        .collect();
    let mut below: Vec<String> = answer
        .recommended
        .iter()
        .filter_map(|one| details(one, &short, &long, &beside))
        .collect();
    if has_front {
        let axes: Vec<&str> = answer
            .use_case
            .front
            .iter()
            .map(|axis| axis.metric.as_str())
            .collect();
        below.push(format!(
            "`front`: nothing else is as good in {} at once",
            axes.join(", ")
        ));
    }
    Section {
        heading: "Recommended".to_owned(),
        grid,
        below,
    }
}

/// Keys in which candidates differ: those that make columns, and those that are too long.
fn keys(recommended: &[Recommended]) -> (Vec<&str>, Vec<&str>) {
    let all: BTreeSet<&str> = recommended
        .iter()
        .flat_map(|one| one.key.keys().map(String::as_str))
        .collect();
    let is_short = |key: &&str| {
        let mut values = recommended.iter().map(|one| cell(&one.key, key));
        values.all(|value| value.chars().count() <= COLUMN_CHARS)
    };
    let (short, long): (Vec<&str>, Vec<&str>) = all.into_iter().partition(is_short);
    match short.is_empty() {
        true => (long, short),
        false => (short, long),
    }
}

fn cell(keys: &BTreeMap<String, String>, key: &str) -> String {
    keys.get(key)
        .map(|value| shortened(value))
        .unwrap_or_default()
}

fn place(one: &Recommended) -> String {
    match one.place_range {
        (first, last) if first != last => format!("{} ({first}–{last})", one.place),
        _ => one.place.to_string(),
    }
}

fn against(one: &Recommended) -> String {
    match &one.against_first {
        None => none(),
        Some(against) => {
            let tied = if against.is_tied { ", a tie" } else { "" };
            format!(
                "{:.3} ({}){tied}",
                against.ratio,
                interval(Some(against.ci95))
            )
        }
    }
}

fn front(one: &Recommended) -> String {
    match one.on_front {
        Some(true) => "yes".to_owned(),
        Some(false) => "no".to_owned(),
        None => none(),
    }
}

/// What does not fit into the table: long keys, terms, figures beside, flags, advice.
fn details(one: &Recommended, short: &[&str], long: &[&str], beside: &[&str]) -> Option<String> {
    let mut parts: Vec<String> = long
        .iter()
        .map(|key| format!("{key} {}", cell(&one.key, key)))
        .collect();
    if one.terms.len() > 1 {
        parts.extend(one.terms.iter().filter_map(|term| {
            Some(format!(
                "{} {}",
                term.metric,
                with_unit(term.value?, &term.unit)
            ))
        }));
    }
    parts.extend(beside.iter().filter_map(|id| {
        let figure = one.figures.get(*id)?;
        let is_term = one.terms.iter().any(|term| term.metric == *id);
        let value = figure.value.filter(|_| !is_term)?;
        Some(format!("{id} {}", with_unit(value, &figure.unit)))
    }));
    let broken = one.limits.iter().filter(|limit| limit.may_be_broken);
    parts.extend(
        broken.map(|limit| format!("its interval reaches beyond the limit on {}", limit.metric)),
    );
    if !one.flags.is_empty() {
        parts.push(format!("flags {}", one.flags.join(", ")));
    }
    parts.extend(
        one.more_repetitions.map(|more| {
            format!("about {more} more repetitions of each might tell it from the first")
        }),
    );
    let names: Vec<String> = short.iter().map(|key| cell(&one.key, key)).collect();
    (!parts.is_empty()).then(|| format!("{}: {}", names.join(" "), parts.join(", ")))
}

fn excluded(one: &Excluded) -> String {
    let reasons: Vec<&str> = one
        .reasons
        .iter()
        .map(|reason| reason.text.as_str())
        .collect();
    let short: BTreeMap<String, String> = one
        .key
        .iter()
        .filter(|(_, value)| value.chars().count() <= COLUMN_CHARS)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    format!("{}: {}", words(&short), reasons.join("; "))
}

fn decides(terms: &[TermShown]) -> String {
    let better = |term: &TermShown| match term.lower_is_better {
        true => "less is better",
        false => "more is better",
    };
    match terms {
        [single] => format!("{}, {}", single.metric, better(single)),
        several => {
            let words: Vec<String> = several
                .iter()
                .map(|term| {
                    format!(
                        "{} ({}, weight {})",
                        term.metric,
                        better(term),
                        short(term.weight)
                    )
                })
                .collect();
            format!("the weighted geometric mean of {}", words.join(", "))
        }
    }
}

fn limit(limit: &LimitShown) -> String {
    let unit = |value: f64| with_unit(value, &limit.unit);
    match (limit.at_most, limit.at_least) {
        (Some(most), _) => format!("{} at most {}", limit.metric, unit(most)),
        (None, Some(least)) => format!("{} at least {}", limit.metric, unit(least)),
        (None, None) => limit.metric.clone(),
    }
}

pub(super) fn with_unit(value: f64, unit: &str) -> String {
    match unit {
        "share" => format!("{} %", trimmed(100.0 * value)),
        _ => {
            let scale = Scale::of(unit, [value].into_iter());
            let text = trimmed_text(&scale.show(value));
            format!("{text} {}", scale.unit).trim_end().to_owned()
        }
    }
}

fn trimmed(value: f64) -> String {
    trimmed_text(&short(value))
}

/// Without the zeros that say nothing.
fn trimmed_text(text: &str) -> String {
    match text.contains('.') && !text.contains('e') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    }
}

/// What is longer makes a table too wide.
const COLUMN_CHARS: usize = 24;

/// More than these make lines that nobody reads; the JSON has all.
const BESIDE_MAX: usize = 6;
