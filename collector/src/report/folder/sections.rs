//! Which pictures a report has, in the order in which people ask.

use super::{Material, Section, batch, titles::title};
use crate::{
    chart::{Bars, Chart, Datum, Drawing, Group, Panel, make},
    rank::{Key, RankedCell},
};

/// All of them; what has nothing to show says why.
pub(super) fn sections(material: &Material) -> Vec<Section> {
    if material.setting.is_none() {
        return Vec::new();
    }
    vec![
        overview(material),
        speed(material),
        latency(material),
        energy(material),
        memory_and_load(material),
        reliability(material),
        answers(material),
        concurrency(material),
        power(material),
        batch_times(material),
    ]
}

impl Section {
    fn new(title: &'static str, text: &'static str) -> Self {
        Self {
            title,
            text,
            charts: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// Bars of a metric that was asked of boards.
    fn add_bars(&mut self, material: &Material, metric: &str) {
        let chart = make::bars(
            &format!("bars-{metric}"),
            &title(metric),
            &headed(material, metric),
        );
        self.add(chart, metric, || why(material, metric));
    }

    fn add_heat_map(&mut self, material: &Material, metric: &str) {
        let name = format!("{}, devices and models", title(metric));
        let chart = make::heat_map(&format!("map-{metric}"), &name, &headed(material, metric));
        self.add(chart, &format!("{metric} as heat map"), || {
            why(material, metric)
        });
    }

    /// A metric by task, a chart for each model.
    fn add_by_task(&mut self, material: &Material, metric: &str) {
        let drawn = material.drawn();
        let mut n = 0;
        for (model, cells) in by_model(&drawn) {
            let name = format!("tasks-{metric}-{model}");
            let title = format!("{} by task: {model}", title(metric));
            let chart = make::by_task(&name, &title, &cells, metric, material.provenance);
            n += usize::from(chart.is_some());
            self.charts.extend(chart);
        }
        if n == 0 {
            self.left_out
                .push(format!("{metric} by task: no run has it"));
        }
    }

    fn add(&mut self, chart: Option<Chart>, what: &str, why: impl FnOnce() -> String) {
        match chart {
            Some(chart) => self.charts.push(chart),
            None => self.left_out.push(format!("{what}: {}", why())),
        }
    }
}

fn overview(material: &Material) -> Section {
    let mut section = Section::new(
        "Overview",
        "Every configuration in four figures, and what precision changes.",
    );
    let metrics = four(material);
    let panel = |metric: &String| {
        let chart = make::bars("", "", &headed(material, metric))?;
        Some(Panel {
            title: title(metric),
            drawing: chart.drawing,
        })
    };
    section.add(
        panels(
            material,
            "overview",
            "Devices and precisions at a glance",
            metrics.iter().filter_map(panel).collect(),
        ),
        "overview",
        || "no board has a row".to_owned(),
    );
    let by_precision = |metric: &String| {
        Some(Panel {
            title: title(metric),
            drawing: precisions(material, metric)?,
        })
    };
    section.add(
        panels(
            material,
            "precision",
            "What precision changes",
            metrics.iter().filter_map(by_precision).collect(),
        ),
        "precisions",
        || "no device has a model in two precisions".to_owned(),
    );
    section
}

fn speed(material: &Material) -> Section {
    let mut section = Section::new(
        "Speed",
        "Tokens are generated ones; models differ in what a token is, so tokens per second compare within a model, and pictures per second between models.",
    );
    for metric in [
        "decode_tps",
        "e2e_output_tps",
        "prefill_tps",
        "images_per_s",
    ] {
        section.add_bars(material, metric);
    }
    section.add_heat_map(material, "decode_tps");
    section.add_by_task(material, "decode_tps");
    section
}

fn latency(material: &Material) -> Section {
    let mut section = Section::new(
        "Latency",
        "A failed request counts as slower than any; a percentile that is one of them reads failed.",
    );
    for metric in ["request_latency", "request_latency.p90", "ttft"] {
        section.add_bars(material, metric);
    }
    for (model, groups) in &material.latencies {
        let name = format!("boxes-request_latency-{model}");
        let title = format!("Latencies of single requests: {model}");
        let n_runs: usize = groups
            .iter()
            .flat_map(|group| &group.rows)
            .map(|(_, latencies)| latencies.n_runs)
            .sum();
        let setting = material
            .setting
            .as_ref()
            .map(super::setting::Setting::words)
            .unwrap_or_default();
        let subtitle = format!("{setting}; {n_runs} runs");
        let chart = make::latencies(&name, &title, groups, (&subtitle, material.provenance));
        section.add(chart, &format!("box plots of {model}"), || {
            "no trace of it could be read, or every request failed".to_owned()
        });
    }
    section.add_by_task(material, "request_latency");
    section.add_by_task(material, "cv_requests");
    section
}

fn energy(material: &Material) -> Section {
    let mut section = Section::new(
        "Energy",
        "Each picture is of one power scope: what a sensor includes. Two scopes are never compared.",
    );
    let scoped = |id: &str| -> Vec<String> {
        let metrics = material.by_model.keys();
        metrics
            .filter(|metric| metric.split('@').next() == Some(id))
            .cloned()
            .collect()
    };
    for metric in ["tok_per_s_per_w", "j_per_output_token", "j_per_image"]
        .iter()
        .flat_map(|id| scoped(id))
    {
        section.add_bars(material, &metric);
    }
    for metric in scoped("tok_per_s_per_w") {
        section.add_heat_map(material, &metric);
    }
    if section.charts.is_empty() {
        section.left_out.push("energy: no run of this setting has any; `runs show` says why of each, and `tokwatt-agent doctor` on the device which sensors it has".to_owned());
    }
    section
}

fn memory_and_load(material: &Material) -> Section {
    let mut section = Section::new(
        "Memory and load time",
        "Memory of the processes, of the machine and of the GPU are three different things, and each has a picture of its own; so has each state that a load begins from. Downloads are in none.",
    );
    for metric in [
        "memory_peak.process_tree",
        "memory_peak.system",
        "memory_peak.gpu",
        "load_time.cold",
        "load_time.warm",
        "load_time.swap",
    ] {
        section.add_bars(material, metric);
    }
    section
}

fn reliability(material: &Material) -> Section {
    let mut section = Section::new(
        "Reliability",
        "Requests that failed stay in their runs, with their time and energy.",
    );
    section.add_bars(material, "success_rate");
    section
}

fn answers(material: &Material) -> Section {
    let mut section = Section::new(
        "Answers",
        "A long answer is not a good one: length is called length. Quality is measured where the truth is known.",
    );
    section.add_by_task(material, "output_chars");
    let chart = make::speed_and_quality(
        "quality",
        "Speed and quality, with the Pareto front",
        &material.drawn(),
        material.provenance,
    );
    section.add(chart, "speed and quality", || {
        "no answer is scored: the suite's pictures have no known truth, or its tasks no scoring"
            .to_owned()
    });
    section
}

fn concurrency(material: &Material) -> Section {
    let mut section = Section::new(
        "Concurrency",
        "Requests at once in a closed loop: the next is sent when one ends.",
    );
    let mut charts = make::by_concurrency(
        ("load", &title("output_tps")),
        &material.cells,
        "output_tps",
        material.provenance,
    );
    let n_more = charts.len().saturating_sub(CURVES_MAX);
    charts.truncate(CURVES_MAX);
    if charts.is_empty() {
        section.left_out.push(
            "throughput against concurrency: every load was measured alone; `bench --concurrency 1,2,4,8` measures several".to_owned(),
        );
    }
    if n_more > 0 {
        section.left_out.push(format!("{n_more} more curves of other tasks and models: narrow the report with --where task=… or model=…"));
    }
    section.charts = charts;
    section
}

fn power(material: &Material) -> Section {
    let mut section = Section::new(
        "Power over time",
        "One run of each device: what its sensors showed, with the measured window shaded.",
    );
    section.charts.clone_from(&material.powers);
    if material.powers.is_empty() {
        section
            .left_out
            .push("power over time: no trace that was read has power samples".to_owned());
    }
    section
}

fn batch_times(material: &Material) -> Section {
    let mut section = Section::new("Batches", "Projected, never measured.");
    let chart = batch::matrix(material);
    section.add(chart, "batch matrix", || {
        "no configuration has a rate for all tasks".to_owned()
    });
    section
}

/// Speed, latency, memory and energy, each by what most configurations have.
fn four(material: &Material) -> Vec<String> {
    let n_rows = |metric: &&String| {
        let asked = &material.by_model[*metric];
        asked
            .boards
            .iter()
            .map(|(_, board)| board.rows.len())
            .sum::<usize>()
    };
    let best = |prefix: &str| {
        let metrics = material
            .by_model
            .keys()
            .filter(|metric| metric.starts_with(prefix));
        metrics
            .max_by_key(|metric| (n_rows(metric), std::cmp::Reverse((*metric).clone())))
            .cloned()
    };
    let fixed = ["decode_tps", "request_latency"].map(|metric| Some(metric.to_owned()));
    let chosen = [best("memory_peak."), best("tok_per_s_per_w")];
    fixed.into_iter().chain(chosen).flatten().collect()
}

fn panels(material: &Material, name: &str, title: &str, panels: Vec<Panel>) -> Option<Chart> {
    let words = material
        .setting
        .as_ref()
        .map(super::setting::Setting::words)
        .unwrap_or_default();
    (!panels.is_empty()).then(|| Chart {
        name: name.to_owned(),
        title: title.to_owned(),
        subtitle: vec![words],
        provenance: material.provenance,
        drawing: Drawing::Panels(panels),
        notes: vec![
            "whiskers and brackets: 95 % interval over repetitions; hatched: shown and not ranked"
                .to_owned(),
        ],
    })
}

/// A group for each device and model, a row for each precision, where there is more than one.
fn precisions(material: &Material, metric: &str) -> Option<Drawing> {
    let chart = make::bars("", "", &headed(material, metric))?;
    let Drawing::Bars(bars) = chart.drawing else {
        return None;
    };
    let mut groups: Vec<Group<Datum>> = Vec::new();
    let boards = &material.by_model.get(metric)?.boards;
    let rows = boards
        .iter()
        .flat_map(|(model, board)| board.rows.iter().map(move |row| (model, row)));
    let data = bars.groups.iter().flat_map(|group| &group.rows);
    for ((model, row), (_, datum)) in rows.zip(data) {
        let device = row
            .key
            .get("device")
            .map(String::as_str)
            .unwrap_or_default();
        let precision = row.key.get("precision").cloned().unwrap_or_default();
        let name = format!("{device} · {model}");
        let group = match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group,
            None => {
                groups.push(Group {
                    name,
                    rows: Vec::new(),
                });
                groups.last_mut()?
            }
        };
        group.rows.push((precision, datum.clone()));
    }
    for group in &mut groups {
        group.rows.sort_by(|left, right| left.0.cmp(&right.0));
    }
    groups.sort_by(|left, right| left.name.cmp(&right.name));
    groups.retain(|group| group.rows.len() > 1);
    let is_there = !groups.is_empty();
    is_there.then_some(Drawing::Bars(Bars {
        axis: bars.axis,
        groups,
    }))
}

fn headed<'a>(material: &'a Material, metric: &str) -> Vec<make::Headed<'a>> {
    let boards = material
        .by_model
        .get(metric)
        .into_iter()
        .flat_map(|asked| &asked.boards);
    boards
        .map(|(model, board)| (model.clone(), board))
        .collect()
}

/// Why a metric has no row, in the words of its boards.
fn why(material: &Material, metric: &str) -> String {
    let Some(asked) = material.by_model.get(metric) else {
        return "nobody asked".to_owned();
    };
    let mut said: Vec<&str> = Vec::new();
    let notes = asked.boards.iter().flat_map(|(_, board)| &board.notes);
    for note in notes.chain(&asked.refused).map(String::as_str) {
        if !said.contains(&note) {
            said.push(note);
        }
    }
    if said.is_empty() {
        return "no run has it".to_owned();
    }
    said.join("; ")
}

fn by_model<'a>(
    cells: &[&'a RankedCell],
) -> std::collections::BTreeMap<String, Vec<&'a RankedCell>> {
    let mut models: std::collections::BTreeMap<String, Vec<&RankedCell>> = Default::default();
    for cell in cells {
        models.entry(cell.value(Key::Model)).or_default().push(cell);
    }
    models
}

/// More curves than anybody looks at.
const CURVES_MAX: usize = 12;
