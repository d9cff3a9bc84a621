//! The form above a board: every filter, with what there is to choose. It asks by GET, so that the address is the question.

use maud::{Markup, html};
use tokwatt_domain::power::Provenance;

use super::asked::Asked;
use crate::{
    rank::{Choices, Key},
    report,
    web::names::plain,
};

/// How figures came to be, as a choice.
pub(in crate::web) fn provenances(chosen: Provenance) -> Markup {
    html! {
        div.field {
            label for="provenance" { "Figures" }
            select #provenance name="provenance" {
                @for provenance in PROVENANCES {
                    option value=(provenance) selected[provenance == chosen] { (provenance) }
                }
            }
        }
    }
}

pub(super) fn form(asked: &Asked, provenance: Provenance, choices: &Choices) -> Markup {
    let mut metrics = choices.metrics.clone();
    metrics.insert(asked.metric.clone());
    let others = asked.conditions.iter().filter(|condition| {
        let key = condition.split('=').next().unwrap_or_default();
        FILTERED.iter().all(|filtered| filtered.as_str() != key)
    });
    html! {
        form.filters method="get" action="/boards" aria-label="Filters" {
            div.field {
                label for="metric" { "Ranked by" }
                select #metric name="metric" {
                    @for metric in &metrics {
                        option value=(metric) selected[*metric == asked.metric] { (plain(metric)) }
                    }
                }
            }
            (provenances(provenance))
            @for key in FILTERED { (filter(asked, choices, key)) }
            @for (n, condition) in others.enumerate() {
                div.field {
                    label for={ "where-" (n) } { "Where" }
                    input id={ "where-" (n) } name="where" value=(condition);
                }
            }
            fieldset {
                legend { "Rows by" }
                @for key in ROWS {
                    label.choice {
                        input type="checkbox" name="by" value=(key.as_str()) checked[is_row(asked, key)];
                        (key.as_str())
                    }
                }
                @for key in asked.by.iter().filter(|key| ROWS.iter().all(|row| row.as_str() != *key)) {
                    label.choice {
                        input type="checkbox" name="by" value=(key) checked;
                        (plain(key))
                    }
                }
            }
            label.choice {
                input type="checkbox" name="strict" value="true" checked[asked.is_strict];
                "same engine only"
            }
            button type="submit" { "Show" }
        }
    }
}

/// A choice among a key's values; nothing where there is none to make.
fn filter(asked: &Asked, choices: &Choices, key: Key) -> Markup {
    let mut values = choices.values(key).clone();
    let chosen = asked.value_of(key);
    values.extend(chosen.map(str::to_owned));
    let is_open = values.len() > 1 || chosen.is_some();
    html! {
        @if is_open {
            div.field {
                label for=(key.as_str()) { (key.as_str()) }
                select id=(key.as_str()) name="where" {
                    option value="" { "any" }
                    @for value in &values {
                        option value={ (key.as_str()) "=" (value) } selected[Some(value.as_str()) == chosen] {
                            (plain(&report::shortened(value)))
                        }
                    }
                }
            }
        }
    }
}

fn is_row(asked: &Asked, key: Key) -> bool {
    match asked.by.is_empty() {
        true => key == Key::Device,
        false => asked.by.iter().any(|own| own == key.as_str()),
    }
}

/// From the strongest to the weakest.
pub(super) const PROVENANCES: [Provenance; 5] = [
    Provenance::Measured,
    Provenance::Replayed,
    Provenance::Simulated,
    Provenance::Imported,
    Provenance::Estimated,
];

/// What people filter by; any other key can be named in the address.
const FILTERED: [Key; 12] = [
    Key::Suite,
    Key::SuiteDigest,
    Key::Task,
    Key::Device,
    Key::Model,
    Key::Precision,
    Key::ImagePx,
    Key::MaxTokens,
    Key::Load,
    Key::Limits,
    Key::Engine,
    Key::PowerMode,
];

/// What people make rows of.
const ROWS: [Key; 8] = [
    Key::Device,
    Key::Model,
    Key::Precision,
    Key::Engine,
    Key::Task,
    Key::ImagePx,
    Key::Load,
    Key::PowerMode,
];
