//! What a swap came to, for people: the switches, the requests, and what follows from both.

use std::io::Write;

use comfy_table::{CellAlignment, LineStyle, Table, presets};
use tokwatt_domain::metrics::{
    Percentile,
    swap::{BreakEven, KeepLoaded},
};

use super::document::{BreakEvenRow, Document, KeepRow, Model, SwitchRow};

pub(super) fn write(out: &mut impl Write, document: &Document) -> anyhow::Result<()> {
    let device = &document.device;
    let provenance = document.provenance.as_str();
    writeln!(out, "device {} ({}), {provenance}", device.id, device.kind)?;
    for model in &document.models {
        writeln!(out, "{}", title(model))?;
    }
    if !document.switches.is_empty() {
        writeln!(out, "\n{}", switches(document).trim_fmt())?;
        writeln!(out, "\n{}", requests(document).trim_fmt())?;
    }
    writeln!(out)?;
    for row in &document.break_even {
        writeln!(out, "{}", pays(row))?;
    }
    let needs_answers = |row: &&BreakEvenRow| row.requests == Some(BreakEven::Never);
    if document.break_even.iter().any(|row| needs_answers(&row)) {
        writeln!(
            out,
            "where a swap never pays, it is the price of the other model's answers: swap only if you need those"
        )?;
    }
    for row in &document.keep_loaded {
        writeln!(out, "{}", keep(row))?;
    }
    if let Some(together) = &document.together {
        let verdict = match together.fits {
            true => "both fit at once: keep both loaded, and no switch is needed",
            false => "both do not fit at once",
        };
        writeln!(
            out,
            "memory: a and b need {} together, {} were available: {verdict}",
            megabytes(together.needed_bytes),
            megabytes(together.available_bytes)
        )?;
    }
    for (key, reason) in &document.reasons {
        writeln!(out, "not known: {key}: {reason}")?;
    }
    Ok(())
}

fn title(model: &Model) -> String {
    let Model { name, .. } = model;
    let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "–".to_owned());
    match model.engine {
        None => format!("{name}  was never loaded"),
        Some(_) => format!(
            "{name}  {} {}, engine {}",
            word(&model.model),
            word(&model.precision),
            word(&model.engine)
        ),
    }
}

fn switches(document: &Document) -> Table {
    let scopes = scopes(document);
    let header = [
        "round",
        "switch",
        "load",
        "cached\n%",
        "unload\ns",
        "load\ns",
        "total\ns",
    ];
    let header = header.into_iter().map(str::to_owned);
    let memory = ["process tree\nMB", "system\nMB"].map(str::to_owned);
    let energy = scopes.iter().map(|scope| format!("{scope}\nJ"));
    let mut table = plain(header.chain(energy).chain(memory).collect());
    for row in &document.switches {
        let energies = scopes.iter().map(|scope| energy_of(row, scope));
        let peak = |scope| memory_of(row.memory_peak_bytes.get(scope));
        // The tree of a server that is being started is seen when it is asked.
        let model = document.models.iter().find(|model| model.name == row.to);
        let tree = model.and_then(|model| model.memory_peak_bytes.get("process_tree"));
        let figures = [
            row.round.to_string(),
            format!("{} → {}", row.from.unwrap_or("–"), row.to),
            row.load_kind.as_str().to_owned(),
            row.resident
                .map_or_else(|| "–".to_owned(), |share| format!("{:.0}", 100.0 * share)),
            format!("{:.3}", row.unload_s),
            format!("{:.3}", row.load_s),
            format!("{:.3}", row.total_s),
        ];
        let memory = [memory_of(tree), peak("system")];
        table.add_row(figures.into_iter().chain(energies).chain(memory));
    }
    align(&mut table, 3);
    table
}

fn requests(document: &Document) -> Table {
    let scopes = scopes(document);
    let header = [
        "model",
        "answered",
        "latency, mean\nms",
        "p50\nms",
        "needs\nMB",
    ];
    let header = header.into_iter().map(str::to_owned);
    let energy = scopes.iter().map(|scope| format!("{scope}\nJ/request"));
    let mut table = plain(header.chain(energy).collect());
    for model in &document.models {
        let latency = model.request_latency.as_ref();
        let mean = latency.and_then(|latency| latency.mean);
        let median = latency.and_then(|latency| match latency.p50 {
            Some(Percentile::Value(seconds)) => Some(seconds),
            _ => None,
        });
        let of_scope = |scope: &String| {
            let energy = model
                .energy
                .iter()
                .find(|energy| sensor(energy.scope, &energy.source) == *scope);
            show(energy.and_then(|energy| energy.j_per_request), 1.0, 3)
        };
        let figures = [
            model.name.to_owned(),
            format!("{}/{}", model.succeeded, model.asked),
            show(mean, 1e3, 2),
            show(median, 1e3, 2),
            memory_of(model.needed_bytes.as_ref()),
        ];
        table.add_row(figures.into_iter().chain(scopes.iter().map(of_scope)));
    }
    align(&mut table, 1);
    table
}

/// `from a to b pays after 39 requests in a row (time): …`.
fn pays(row: &BreakEvenRow) -> String {
    let what = match (row.scope, &row.source) {
        (Some(scope), Some(source)) => format!("energy at {scope} by {source}"),
        _ => "time".to_owned(),
    };
    let verdict = match row.requests {
        Some(BreakEven::After(1)) => "pays with the first request".to_owned(),
        Some(BreakEven::After(n)) => format!("pays from {n} requests in a row on"),
        Some(BreakEven::Never) => "never pays".to_owned(),
        None => "cannot be judged".to_owned(),
    };
    let range = match row.requests_range {
        Some([BreakEven::Never, BreakEven::Never]) | None => String::new(),
        Some([most, least]) if most == least => String::new(),
        Some([most, BreakEven::Never]) => format!(" ({} to never, 95 %)", bare(most)),
        Some([most, least]) => format!(" ({} to {}, 95 %)", bare(most), bare(least)),
    };
    let back = match row.requests_and_back {
        Some(BreakEven::After(1)) => format!(", also if {} is wanted again afterwards", row.stay),
        Some(BreakEven::After(n)) => format!(", {n} if {} is wanted again afterwards", row.stay),
        _ => String::new(),
    };
    let unit = row.unit;
    format!(
        "{what}: from {} to {} {verdict}{range}{back}: the switch costs {:.3} {unit}, a request {:.4} {unit} instead of {:.4} {unit}",
        row.stay, row.go, row.switch, row.go_per_request, row.stay_per_request
    )
}

fn bare(requests: BreakEven) -> String {
    match requests {
        BreakEven::After(n) => n.to_string(),
        BreakEven::Never => "never".to_owned(),
    }
}

fn keep(row: &KeepRow) -> String {
    let advice = match row.keep {
        Some(KeepLoaded::Within { seconds, from, to }) => {
            format!(
                "if its next request comes within {seconds:.0} s ({from:.0} s to {to:.0} s by the sampling)"
            )
        }
        Some(KeepLoaded::Unclear { from }) => format!(
            "if its next request comes within {from:.0} s; whether longer cannot be judged, as idling may cost as much with it as without"
        ),
        Some(KeepLoaded::Always) => "always: it draws no more than nothing loaded".to_owned(),
        Some(KeepLoaded::Never) => {
            "never for energy's sake: loading it draws no more than waiting".to_owned()
        }
        None => "cannot be judged".to_owned(),
    };
    format!(
        "keep {} loaded {advice}: {} by {}: a load costs {:.3} s and {:.2} J, idling {:.2} W with it and {:.2} W without (± {:.2} W)",
        row.model,
        row.scope,
        row.source,
        row.load_s,
        row.load_j,
        row.idle_loaded_w,
        row.idle_unloaded_w,
        row.bound_w
    )
}

/// Every sensor that saw a switch, in order.
fn scopes(document: &Document) -> Vec<String> {
    let mut scopes = Vec::new();
    for energy in document.switches.iter().flat_map(|row| &row.energy) {
        let name = sensor(energy.scope, &energy.source);
        if !scopes.contains(&name) {
            scopes.push(name);
        }
    }
    scopes
}

fn sensor(scope: tokwatt_domain::power::Scope, source: &str) -> String {
    format!("{scope} by {source}")
}

/// The energy of a switch and how far sampling may have led it astray.
fn energy_of(row: &SwitchRow, name: &str) -> String {
    let energy = row
        .energy
        .iter()
        .find(|energy| sensor(energy.scope, &energy.source) == name);
    match energy.and_then(|energy| energy.energy_j.zip(energy.error_bound_j)) {
        Some((joules, bound)) => format!("{joules:.2} ± {bound:.2}"),
        None => "–".to_owned(),
    }
}

fn show(value: Option<f64>, factor: f64, digits: usize) -> String {
    value.map_or_else(
        || "–".to_owned(),
        |value| format!("{:.digits$}", value * factor),
    )
}

fn memory_of(bytes: Option<&u64>) -> String {
    bytes.map_or_else(|| "–".to_owned(), |bytes| megabytes_bare(*bytes))
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", megabytes_bare(bytes))
}

#[expect(clippy::cast_precision_loss, reason = "shown to a tenth of a megabyte")]
fn megabytes_bare(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

fn plain(header: Vec<String>) -> Table {
    let mut table = Table::new();
    let rule = LineStyle::new('─', '─', '─', '─');
    table
        .load_style(presets::NOTHING.header_separator(rule))
        .set_header(header);
    table
}

fn align(table: &mut Table, first_figure: usize) {
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if index >= first_figure {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
