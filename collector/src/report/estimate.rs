//! Estimates for people.

use tokwatt_domain::metrics::swap::BreakEven;

use super::{
    compare::{none, unless_measured, words},
    number::short,
    page::{Grid, Page, Section},
};
use crate::estimate::{
    Amount, Answer, BatchRow, CostRow, Estimate, FitRow, Mark, Outcome, Plan, Projected, SwapRow,
};

/// What a plan comes to.
pub fn estimate(estimate: &Estimate) -> Page {
    let section = match &estimate.answer {
        Answer::Fit(rows) => fit(rows),
        Answer::Batch(rows) => batch(rows, &estimate.plan),
        Answer::Cost(rows) => cost(rows, &estimate.plan),
        Answer::Swap(rows) => swap(rows),
    };
    let what = match &estimate.answer {
        Answer::Fit(_) => "Whether the model fits into memory",
        Answer::Batch(_) => "How long a batch takes",
        Answer::Cost(_) => "What energy costs",
        Answer::Swap(_) => "From how many requests in a row on another model pays",
    };
    Page {
        title: format!("{what}{}", unless_measured(estimate.provenance)),
        facts: Vec::new(),
        sections: vec![section],
        notes: estimate.notes.clone(),
    }
}

fn fit(rows: &[FitRow]) -> Section {
    let head = [
        "device",
        "memory",
        "#there is",
        "#needed",
        "#left",
        "outcome",
        "#measured peak",
    ];
    let mut grid = Grid::new(&head);
    let optional = |bytes: Option<f64>| bytes.map_or_else(none, gigabytes);
    grid.rows = rows
        .iter()
        .map(|row| {
            vec![
                row.device.clone(),
                row.memory.clone(),
                optional(row.total_bytes.map(|bytes| bytes as f64)),
                gigabytes(row.needed_bytes as f64),
                optional(row.headroom_bytes.map(|bytes| bytes as f64)),
                outcome(row.outcome).to_owned(),
                optional(row.measured_peak_bytes),
            ]
        })
        .collect();
    let mut below: Vec<String> = rows
        .iter()
        .map(|row| format!("{}: {}", row.device, row.text))
        .collect();
    below.extend(rows.first().map(|row| {
        let needs = row.needs;
        format!(
            "the model: weights {}, key-value cache {}, picture encoder {}, scratch space {}; beside it what the system takes",
            gigabytes(needs.weights_bytes as f64),
            gigabytes(needs.kv_cache_bytes as f64),
            gigabytes(needs.encoder_bytes as f64),
            gigabytes(needs.scratch_bytes as f64)
        )
    }));
    if rows.is_empty() {
        below.push(
            "no device is known: `tokwatt-agent run` or `bench --collector …` makes one known"
                .to_owned(),
        );
    }
    Section {
        grid,
        below,
        ..Section::default()
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Tested => "tested",
        Outcome::Failed => "failed",
        Outcome::Estimated => "fits (estimated)",
        Outcome::WillNotFit => "will not fit (estimated)",
        Outcome::Unknown => "unknown",
    }
}

fn batch(rows: &[BatchRow], plan: &Plan) -> Section {
    let price = match plan {
        Plan::Batch(plan) => plan.price.as_ref(),
        _ => None,
    };
    let mut grid = Grid::new(&["cell", "#pictures", "#time", "95 %", "how", "scope", "#kWh"]);
    grid.head
        .extend(price.map(|price| format!("#{}", price.currency)));
    for row in rows {
        let projected = |one| projected(row, one, price.is_some());
        grid.rows.extend(row.projected.iter().flat_map(projected));
    }
    let few = rows.iter().any(|row| row.n_runs < 3);
    let below = few.then(|| "fewer than three repetitions have no interval".to_owned());
    Section {
        grid,
        below: below.into_iter().collect(),
        ..Section::default()
    }
}

/// A line for each power scope; the first one has the time.
fn projected(row: &BatchRow, one: &Projected, has_price: bool) -> Vec<Vec<String>> {
    let mut how = match one.mark {
        Mark::Extrapolated => format!("extrapolated ×{}", short(one.times_measured)),
        Mark::Measured => "measured".to_owned(),
        Mark::Estimated => "estimated".to_owned(),
    };
    if row.is_blocked {
        how += " (flagged)";
    }
    let ends = one.seconds.ci95;
    let ends = ends.map(|(low, high)| format!("{} – {}", duration(low), duration(high)));
    let time = vec![
        values(&row.key),
        one.pictures.to_string(),
        duration(one.seconds.value),
        ends.unwrap_or_else(none),
        how,
    ];
    let n_energy = 2 + usize::from(has_price);
    if one.energy.is_empty() {
        return vec![[time, vec![none(); n_energy]].concat()];
    }
    let lines = one.energy.iter().enumerate().map(|(number, energy)| {
        let mut line = match number {
            0 => time.clone(),
            _ => vec![String::new(); time.len()],
        };
        let flagged = if energy.is_blocked { " (flagged)" } else { "" };
        line.push(format!("{}{flagged}", energy.scope));
        line.push(short(energy.kwh.value));
        line.extend(has_price.then(|| value(energy.cost)));
        line
    });
    lines.collect()
}

fn cost(rows: &[CostRow], plan: &Plan) -> Section {
    let price = match plan {
        Plan::Cost(plan) => plan.price.as_ref(),
        _ => None,
    };
    let currency = price.map(|price| price.currency.as_str());
    let mut grid = Grid::new(&[
        "cell",
        "scope",
        "#kWh / M tokens",
        "95 %",
        "#kWh / 1000 images",
        "95 %",
    ]);
    if let Some(currency) = currency {
        grid.head.push(format!("#{currency} / M tokens"));
        grid.head.push(format!("#{currency} / 1000 images"));
    }
    grid.rows = rows
        .iter()
        .map(|row| {
            let flagged = if row.is_blocked { " (flagged)" } else { "" };
            let mut cells = vec![values(&row.key), format!("{}{flagged}", row.scope)];
            for amount in [row.kwh_per_million_tokens, row.kwh_per_1000_images] {
                cells.extend([value(amount), ends(amount)]);
            }
            if currency.is_some() {
                cells.extend([row.cost_per_million_tokens, row.cost_per_1000_images].map(value));
            }
            cells
        })
        .collect();
    Section {
        grid,
        ..Section::default()
    }
}

fn swap(rows: &[SwapRow]) -> Section {
    let head = [
        "cell",
        "#s to stay",
        "#s to go",
        "#s to load",
        "pays",
        "range",
        "both fit",
    ];
    let mut grid = Grid::new(&head);
    grid.rows = rows
        .iter()
        .map(|row| {
            let load = row.load_s.map_or_else(none, |load| {
                let kind = row.load_kind.as_deref().unwrap_or_default();
                format!("{} ({kind})", short(load.value))
            });
            vec![
                values(&row.key),
                short(row.stay_s.value),
                short(row.go_s.value),
                load,
                row.requests.map_or_else(none, pays),
                row.requests_range.map_or_else(none, |[best, worst]| {
                    format!("{} to {}", pays(best), pays(worst))
                }),
                row.together.map_or_else(none, |together| {
                    if together.fits { "yes" } else { "no" }.to_owned()
                }),
            ]
        })
        .collect();
    let mut below: Vec<String> = Vec::new();
    for (key, reason) in rows.iter().flat_map(|row| &row.reasons) {
        let line = format!("{key}: {reason}");
        if !below.contains(&line) {
            below.push(line);
        }
    }
    if rows.iter().any(|row| row.mark == Mark::Estimated) {
        below.push(
            "a load that was not measured as a swap is an estimate: taking the other model out comes on top"
                .to_owned(),
        );
    }
    Section {
        grid,
        below,
        ..Section::default()
    }
}

fn pays(break_even: BreakEven) -> String {
    match break_even {
        BreakEven::After(n) => format!("from {n} on"),
        BreakEven::Never => "never".to_owned(),
    }
}

/// Values of keys, those with many letters by their key.
fn values(keys: &std::collections::BTreeMap<String, String>) -> String {
    let short: Vec<&str> = keys
        .iter()
        .filter(|(_, value)| value.chars().count() <= VALUE_CHARS && *value != "none")
        .map(|(_, value)| value.as_str())
        .collect();
    match short.is_empty() {
        true => words(keys),
        false => short.join(" "),
    }
}

fn value(amount: Option<Amount>) -> String {
    amount.map_or_else(none, |amount| short(amount.value))
}

fn ends(amount: Option<Amount>) -> String {
    let ends = amount.and_then(|amount| amount.ci95);
    ends.map_or_else(none, |(low, high)| {
        format!("{} – {}", short(low), short(high))
    })
}

fn gigabytes(bytes: f64) -> String {
    format!("{:.2} GB", bytes / 1e9)
}

/// In the largest unit of which there is one.
fn duration(seconds: f64) -> String {
    match seconds {
        ..120.0 => format!("{} s", short(seconds)),
        ..7200.0 => format!("{:.1} min", seconds / 60.0),
        ..172_800.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.1} d", seconds / 86_400.0),
    }
}

/// What is longer says too little for its place.
const VALUE_CHARS: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_the_largest_unit_of_which_there_is_one() {
        let check = |seconds, want| assert_eq!(duration(seconds), want);
        check(12.5, "12.50 s");
        check(2208.0, "36.8 min");
        check(22_080.0, "6.1 h");
        check(883_200.0, "10.2 d");
    }
}
