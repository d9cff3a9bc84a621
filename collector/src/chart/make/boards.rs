//! Boards as bars and heat maps.

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::{
    leaderboard::{Board, Row},
    metrics::Percentile,
};

use super::{axis, naming, scope_in_words};
use crate::{
    chart::{Bars, Chart, Datum, Drawing, Group, HeatMap, Value},
    rank::Key,
};

/// A board under a heading, such as a model's name; an empty heading for one that stands alone.
pub type Headed<'a> = (String, &'a Board);

/// A board as bars, best first.
pub fn board(board: &Board) -> Option<Chart> {
    let title = match board.scope {
        Some(scope) => format!("{}@{scope}", board.metric),
        None => board.metric.clone(),
    };
    bars(&title.clone(), &title, &[(String::new(), board)])
}

/// Boards over one metric as bars under their headings; nothing without rows.
pub fn bars(name: &str, title: &str, boards: &[Headed<'_>]) -> Option<Chart> {
    let first = boards.iter().find(|(_, board)| !board.rows.is_empty())?.1;
    let common = common_flags(boards);
    let all: Vec<&Board> = boards.iter().map(|(_, board)| *board).collect();
    let mut names = names(&all).into_iter();
    let mut groups = Vec::new();
    for (heading, board) in boards {
        let rows: Vec<(String, Datum)> = board
            .rows
            .iter()
            .map(|row| (names.next().unwrap_or_default(), datum(row, &common)))
            .collect();
        if !rows.is_empty() {
            groups.push(Group {
                name: heading.clone(),
                rows,
            });
        }
    }
    let is_hollow = groups
        .iter()
        .flat_map(|group| &group.rows)
        .any(|(_, datum)| datum.is_blocked);
    let hollow = is_hollow
        .then(|| "hatched: shown and not ranked (too few repetitions, or a flag)".to_owned());
    Some(Chart {
        name: name.to_owned(),
        title: title.to_owned(),
        subtitle: subtitle(first, boards),
        provenance: first.provenance,
        drawing: Drawing::Bars(Bars {
            axis: axis(&metric(first)),
            groups,
        }),
        notes: notes(boards, &common).into_iter().chain(hollow).collect(),
    })
}

/// Boards over one metric as a table of colours: devices down, and what else tells rows apart, with the headings, across.
pub fn heat_map(name: &str, title: &str, boards: &[Headed<'_>]) -> Option<Chart> {
    let first = boards.iter().find(|(_, board)| !board.rows.is_empty())?.1;
    let mut cells: BTreeMap<(String, String), Datum> = BTreeMap::new();
    let mut columns: Vec<String> = Vec::new();
    let mut devices: BTreeSet<String> = BTreeSet::new();
    for (heading, board) in boards {
        // In the order of names, so that columns of different models are in the same.
        let mut rows: Vec<(&Row, String)> = board
            .rows
            .iter()
            .map(|row| (row, column(heading, row)))
            .collect();
        rows.sort_by(|left, right| left.1.cmp(&right.1));
        for (row, column) in rows {
            let device = row.key.get("device").or(board.fixed.get("device"));
            let device = device.cloned().unwrap_or_default();
            if !columns.contains(&column) {
                columns.push(column.clone());
            }
            devices.insert(device.clone());
            // A row that is ranked stands before its flagged twin.
            cells
                .entry((device, column))
                .or_insert_with(|| datum(row, &BTreeSet::new()));
        }
    }
    let row = |device: &String| {
        let cell = |column: &String| {
            let key = (device.clone(), column.clone());
            cells.get(&key).map_or_else(Datum::absent, |datum| Datum {
                marks: datum
                    .is_blocked
                    .then(|| "not ranked".to_owned())
                    .into_iter()
                    .collect(),
                ..datum.clone()
            })
        };
        (device.clone(), columns.iter().map(cell).collect())
    };
    let rows: Vec<(String, Vec<Datum>)> = devices.iter().map(row).collect();
    let mut data = rows.iter().flat_map(|(_, data)| data);
    let absent = data.any(|datum| datum.as_number().is_none());
    let absent = absent.then(|| "n/a: no figure here; what was left out says why".to_owned());
    Some(Chart {
        name: name.to_owned(),
        title: title.to_owned(),
        subtitle: subtitle(first, boards),
        provenance: first.provenance,
        drawing: Drawing::HeatMap(HeatMap {
            axis: axis(&metric(first)),
            keys: ["device".to_owned(), "model and precision".to_owned()],
            rows,
            columns,
        }),
        notes: notes(boards, &BTreeSet::new())
            .into_iter()
            .chain(absent)
            .collect(),
    })
}

/// What all rows of a board have in common, in words: tasks and how they are put together, size, load, caches.
pub fn fixed(board: &Board) -> Vec<String> {
    let said = |key: Key| {
        let value = board
            .fixed
            .get(key.as_str())
            .filter(|value| *value != "none")?;
        let word = naming::word(key, value);
        Some(match key {
            Key::Task if board.aggregate != "one task" => {
                format!("{word} ({} over tasks)", board.aggregate)
            }
            Key::Suite => format!("suite {word}"),
            Key::Device => format!("device {word}"),
            Key::Model => format!("model {word}"),
            Key::Precision => format!("precision {word}"),
            Key::MaxTokens => format!("at most {word} tokens"),
            Key::CachePolicy => format!("{word} cache"),
            Key::PowerMode => format!("power mode {word}"),
            Key::IsStreaming if word == "true" => return None,
            Key::IsStreaming => "answers not streamed".to_owned(),
            _ => word,
        })
    };
    let keys = [
        Key::Suite,
        Key::Task,
        Key::ImagePx,
        Key::Model,
        Key::Precision,
        Key::Device,
        Key::Load,
        Key::CachePolicy,
        Key::MaxTokens,
        Key::Sampling,
        Key::Limits,
        Key::IsStreaming,
        Key::PowerMode,
    ];
    keys.into_iter().filter_map(said).collect()
}

/// Names of all rows of some boards, one board after the other.
pub fn names(boards: &[&Board]) -> Vec<String> {
    let values = |row: &Row| {
        let values = row.key.iter();
        values
            .filter_map(|(key, value)| Some((Key::parse(key).ok()?, value.clone())))
            .collect()
    };
    let rows = boards.iter().flat_map(|board| &board.rows);
    naming::names(&rows.map(values).collect::<Vec<_>>())
}

fn column(heading: &str, row: &Row) -> String {
    let words = ["model", "precision"]
        .into_iter()
        .filter_map(|key| row.key.get(key));
    let heading = Some(heading).filter(|heading| !heading.is_empty());
    heading
        .into_iter()
        .chain(words.map(String::as_str))
        .collect::<Vec<_>>()
        .join(" · ")
}

fn metric(board: &Board) -> String {
    match board.scope {
        Some(scope) => format!("{}@{scope}", board.metric),
        None => board.metric.clone(),
    }
}

/// What is fixed in all boards, and the power scope.
fn subtitle(first: &Board, boards: &[Headed<'_>]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    if let Some(scope) = first.scope {
        lines.push(format!("power scope {scope}: {}", scope_in_words(scope)));
    }
    let shared = fixed(first).into_iter().filter(|words| {
        let mut boards = boards.iter().filter(|(_, board)| !board.rows.is_empty());
        boards.all(|(_, board)| fixed(board).contains(words))
    });
    let shared: Vec<String> = shared.chain(same_in_rows(boards)).collect();
    lines.push(shared.join(", "));
    lines.retain(|line| !line.is_empty());
    lines
}

/// What makes rows, and is the same in all: names leave it out.
fn same_in_rows(boards: &[Headed<'_>]) -> Vec<String> {
    let rows = || boards.iter().flat_map(|(_, board)| &board.rows);
    let same = |key: &Key| {
        let values: BTreeSet<Option<&String>> =
            rows().map(|row| row.key.get(key.as_str())).collect();
        let value = values.first().copied().flatten()?;
        (values.len() == 1).then(|| format!("{} {}", key.as_str(), naming::word(*key, value)))
    };
    [Key::Device, Key::Model, Key::Precision]
        .iter()
        .filter_map(same)
        .collect()
}

fn datum(row: &Row, common: &BTreeSet<String>) -> Datum {
    let words = words(row).filter(|flag| !common.contains(*flag));
    let few = (row.ci95.is_none()).then(|| match row.n_runs {
        1 => "1 run".to_owned(),
        n => format!("{n} runs"),
    });
    Datum {
        value: match row.value {
            Percentile::Value(value) => Value::Number(value),
            Percentile::Failed(_) => Value::Failed,
        },
        interval: row.ci95,
        is_blocked: row.place.is_none(),
        marks: words.map(str::to_owned).chain(few).collect(),
    }
}

/// Flags; what has a space in it is advice.
fn words(row: &Row) -> impl Iterator<Item = &str> {
    let flags = row.flags.iter().map(String::as_str);
    flags.filter(|flag| !flag.contains(' '))
}

/// Flags that every row has: said once, below.
fn common_flags(boards: &[Headed<'_>]) -> BTreeSet<String> {
    let rows = boards.iter().flat_map(|(_, board)| &board.rows);
    let flags = rows.map(|row| words(row).map(str::to_owned).collect::<BTreeSet<_>>());
    flags
        .reduce(|left, right| &left & &right)
        .unwrap_or_default()
}

fn notes(boards: &[Headed<'_>], common: &BTreeSet<String>) -> Vec<String> {
    let n_models = boards
        .iter()
        .filter(|(_, board)| !board.rows.is_empty())
        .count();
    let counts_tokens = boards.iter().any(|(_, board)| board.unit.contains("tok"));
    let tokens = (n_models > 1 && counts_tokens)
        .then(|| "models differ in what a token is: compare within a model".to_owned());
    let flags = (!common.is_empty()).then(|| {
        let flags: Vec<&str> = common.iter().map(String::as_str).collect();
        format!("every row: {}", flags.join(", "))
    });
    let has_interval = |row: &Row| row.ci95.is_some();
    let intervals = boards
        .iter()
        .flat_map(|(_, board)| &board.rows)
        .any(has_interval)
        .then(|| {
            "whiskers, and figures beside or below a value: 95 % interval over repetitions"
                .to_owned()
        });
    tokens.into_iter().chain(flags).chain(intervals).collect()
}
