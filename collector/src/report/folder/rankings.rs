//! Who is first at what, as lists: places with the range that intervals leave open, never more certain than the boards are.

use std::collections::BTreeMap;

use tokwatt_domain::{
    leaderboard::{Board, Row},
    metrics::spread::arithmetic_mean,
};

use super::{Material, Report, titles};
use crate::{
    chart::make,
    rank::{Key, RankedCell},
    report::{self, number::Scale},
};

/// A list, best first.
#[derive(Clone, Debug)]
pub(super) struct Ranking {
    pub(super) title: String,
    /// Metric and unit, and which direction is better.
    pub(super) of: String,
    pub(super) lines: Vec<Line>,
    /// How many more there are.
    pub(super) n_more: usize,
}

/// One configuration.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// `1 (1–2)`, or `–`.
    pub(super) place: String,
    pub(super) name: String,
    pub(super) value: String,
    pub(super) interval: String,
    pub(super) n_runs: u32,
    pub(super) flags: String,
}

/// What each list is called, and its metric; those that count tokens are lists for each model.
const LISTS: [(&str, &str); 7] = [
    ("Highest throughput", "decode_tps"),
    ("Highest throughput in pictures", "images_per_s"),
    ("Most power efficient", "tok_per_s_per_w"),
    ("Least energy for a picture", "j_per_image"),
    ("Lowest latency", "request_latency"),
    ("Most consistent", "cv_requests"),
    ("Most reliable", "success_rate"),
];

pub(super) fn rankings(material: &Material) -> Vec<Ranking> {
    let mut rankings = Vec::new();
    for (title, id) in LISTS {
        let of = |boards: &BTreeMap<String, super::Asked>| -> Vec<(String, String, Board)> {
            let metrics = boards
                .iter()
                .filter(|(metric, _)| metric.split('@').next() == Some(id));
            let boards = metrics.flat_map(|(metric, asked)| {
                let boards = asked.boards.iter();
                boards.map(move |(heading, board)| (metric.clone(), heading.clone(), board.clone()))
            });
            boards.collect()
        };
        let mut boards = of(&material.overall);
        if boards.is_empty() {
            boards = of(&material.by_model);
        }
        let boards = boards
            .into_iter()
            .filter(|(_, _, board)| !board.rows.is_empty());
        rankings
            .extend(boards.map(|(metric, model, board)| ranking(title, &metric, &model, &board)));
    }
    rankings.extend(longest(&material.drawn()));
    rankings
}

/// `summary.txt`.
pub(super) fn text(report: &Report) -> String {
    let mut text = format!("{}\n\n", report.title);
    for line in &report.about {
        text += &format!("{line}\n");
    }
    for ranking in &report.rankings {
        text += &format!("\n{}\n  {}\n", ranking.title, ranking.of);
        let width = |of: fn(&Line) -> &String| {
            let widths = ranking.lines.iter().map(|line| of(line).chars().count());
            widths.max().unwrap_or(0)
        };
        let (place, name) = (width(|line| &line.place), width(|line| &line.name));
        let (value, interval) = (width(|line| &line.value), width(|line| &line.interval));
        for line in &ranking.lines {
            let flags = match line.flags.is_empty() {
                true => String::new(),
                false => format!("  [{}]", line.flags),
            };
            text += &format!(
                "  {:<place$}  {:<name$}  {:>value$}  {:<interval$}  {} runs{flags}\n",
                line.place, line.name, line.value, line.interval, line.n_runs
            );
        }
        if ranking.n_more > 0 {
            text += &format!("  {} more stand in metrics.csv\n", ranking.n_more);
        }
    }
    if !report.rankings.is_empty() {
        text += "\nRows that share a place cannot be told apart yet; in brackets are the places that the 95 % intervals leave open. The 95 %\nhold for each pair, not for a list as a whole.\n";
    }
    for line in &report.excluded {
        text += &format!("- {line}\n");
    }
    text
}

fn ranking(title: &str, metric: &str, model: &str, board: &Board) -> Ranking {
    let scale = report::scale(board);
    let line = |row: &Row| {
        let [value, interval] = report::value(row, &scale);
        Line {
            place: report::place(row),
            name: name(row),
            value,
            interval,
            n_runs: row.n_runs,
            flags: report::flags(row).0.join(", "),
        }
    };
    let lines = board.rows.iter().map(line);
    Ranking {
        title: match model {
            "" => title.to_owned(),
            model => format!("{title}: {model}"),
        },
        of: format!(
            "{} ({}); {}",
            titles::title(metric),
            report::title(board),
            make::fixed(board).join(", ")
        ),
        lines: lines.take(LINES_MAX).collect(),
        n_more: board.rows.len().saturating_sub(LINES_MAX),
    }
}

/// Everything that makes a row, also what all rows of the list share: a list is read alone.
fn name(row: &Row) -> String {
    let keys = ["device", "model", "precision"].iter();
    let words = keys.filter_map(|key| row.key.get(*key));
    words.map(String::as_str).collect::<Vec<_>>().join(" · ")
}

/// By the mean over tasks of the median length. A list, not a board: longer is not better.
fn longest(cells: &[&RankedCell]) -> Option<Ranking> {
    let mut lengths: BTreeMap<String, (Vec<f64>, usize)> = BTreeMap::new();
    for (cell, name) in cells.iter().zip(make::cell_names(cells, &[Key::Task])) {
        if let Some(figure) = cell
            .figure("output_chars")
            .filter(|figure| figure.mean.is_finite())
        {
            let (values, n_runs) = lengths.entry(name).or_default();
            values.push(figure.mean);
            *n_runs += figure.values.len();
        }
    }
    let means = lengths
        .into_iter()
        .filter_map(|(name, (values, n_runs))| Some((arithmetic_mean(&values)?, name, n_runs)));
    let mut means: Vec<(f64, String, usize)> = means.collect();
    means.sort_by(|left, right| {
        right
            .0
            .total_cmp(&left.0)
            .then_with(|| left.1.cmp(&right.1))
    });
    let scale = Scale::of("", means.iter().map(|(mean, ..)| *mean));
    let line = |(mean, name, n_runs): &(f64, String, usize)| Line {
        place: "–".to_owned(),
        name: name.clone(),
        value: scale.show(*mean),
        interval: String::new(),
        n_runs: u32::try_from(*n_runs).unwrap_or(u32::MAX),
        flags: String::new(),
    };
    (!means.is_empty()).then(|| Ranking {
        title: "Longest answers (length, not quality)".to_owned(),
        of: format!(
            "median characters of an answer, mean over tasks; longer is neither better nor worse; {}",
            make::cells_in_common(cells, &[Key::Task])
        ),
        lines: means.iter().take(LINES_MAX).map(line).collect(),
        n_more: means.len().saturating_sub(LINES_MAX),
    })
}

/// What people look at.
const LINES_MAX: usize = 10;
