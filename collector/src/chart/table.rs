//! A picture's data as a table, and as a sentence for those who cannot see it.

use super::{
    Chart,
    description::{
        Axis, Bars, Boxes, Datum, Drawing, Group, HeatMap, Lines, Panel, Scatter, Value,
    },
    draw,
    number::Scale,
};

/// Columns and rows of words: what the picture shows, in the units that it shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Table {
    /// Names of the columns, with units.
    pub head: Vec<String>,
    /// As long as the head.
    pub rows: Vec<Vec<String>>,
}

/// What the picture shows, as tables: one, or one for each of its panels, with the panel's title.
pub fn tables(chart: &Chart) -> Vec<(String, Table)> {
    match &chart.drawing {
        Drawing::Panels(panels) => panels.iter().map(panel).collect(),
        drawing => vec![(chart.title.clone(), of(drawing))],
    }
}

/// The picture in words.
pub fn description(chart: &Chart) -> String {
    let mut text = format!("{}. ", kind(&chart.drawing));
    for line in &chart.subtitle {
        text += &format!("{line}. ");
    }
    for (title, table) in tables(chart) {
        if matches!(chart.drawing, Drawing::Panels(_)) {
            text += &format!("{title}. ");
        }
        text += &format!("Columns: {}. ", table.head.join(", "));
        for row in table.rows.iter().take(ROWS_MOST) {
            text += &format!("{}. ", row.join(", "));
        }
        let n_more = table.rows.len().saturating_sub(ROWS_MOST);
        if n_more > 0 {
            text += &format!("{n_more} more rows stand in the table. ");
        }
    }
    text.trim_end().to_owned()
}

/// What kind of picture it is.
pub(super) fn kind(drawing: &Drawing) -> &'static str {
    match drawing {
        Drawing::Bars(_) => "Bar chart",
        Drawing::HeatMap(_) => "Heat map",
        Drawing::Boxes(_) => "Box plots",
        Drawing::Lines(_) => "Line chart",
        Drawing::Scatter(_) => "Scatter chart",
        Drawing::Panels(_) => "Several charts",
    }
}

fn panel(panel: &Panel) -> (String, Table) {
    (panel.title.clone(), of(&panel.drawing))
}

fn of(drawing: &Drawing) -> Table {
    match drawing {
        Drawing::Bars(bars) => of_bars(bars),
        Drawing::HeatMap(map) => of_heat_map(map),
        Drawing::Boxes(boxes) => of_boxes(boxes),
        Drawing::Lines(lines) => of_lines(lines),
        Drawing::Scatter(scatter) => of_scatter(scatter),
        Drawing::Panels(panels) => {
            let rows = panels.iter().flat_map(|panel| of(&panel.drawing).rows);
            Table {
                head: Vec::new(),
                rows: rows.collect(),
            }
        }
    }
}

fn of_bars(bars: &Bars) -> Table {
    let scale = bars.scale();
    let is_grouped = is_grouped(&bars.groups);
    let mut head = vec![named(&bars.axis, &scale)];
    head.extend(["95 % from", "to", "marks"].map(str::to_owned));
    let row = |datum: &Datum| {
        let mut cells = vec![value(datum, &scale)];
        cells.extend(ends(datum, &scale));
        cells.push(marks(datum));
        cells
    };
    grouped(&bars.groups, is_grouped, head, row)
}

fn of_boxes(boxes: &Boxes) -> Table {
    let scale = boxes.scale();
    let named = |word: &str| format!("{word} {}", unit(&scale)).trim_end().to_owned();
    let mut head = vec!["n".to_owned(), "failed".to_owned()];
    head.extend(
        [
            "lower whisker",
            "lower quartile",
            "median",
            "upper quartile",
            "upper whisker",
        ]
        .map(named),
    );
    head.push("outliers".to_owned());
    let is_grouped = is_grouped(&boxes.groups);
    grouped(&boxes.groups, is_grouped, head, |data| {
        let mut cells = vec![data.n.to_string(), data.n_failed.to_string()];
        let (low, high) = data.whiskers;
        let numbers = [low, data.lower, data.median, data.upper, high];
        cells.extend(numbers.map(|number| scale.show_or_failed(number)));
        cells.push(data.outliers.len().to_string());
        cells
    })
}

fn of_heat_map(map: &HeatMap) -> Table {
    let scale = map.scale();
    let corner = format!(
        "{} \\ {}, {}",
        map.keys[0],
        map.keys[1],
        named(&map.axis, &scale)
    );
    let row = |(name, cells): &(String, Vec<Datum>)| {
        let cells = cells.iter().map(|datum| match marks(datum) {
            marks if marks.is_empty() => value(datum, &scale),
            marks => format!("{} ({marks})", value(datum, &scale)),
        });
        [name.clone()].into_iter().chain(cells).collect()
    };
    Table {
        head: [corner]
            .into_iter()
            .chain(map.columns.iter().cloned())
            .collect(),
        rows: map.rows.iter().map(row).collect(),
    }
}

/// Of a trace of many readings, every so manieth.
fn of_lines(lines: &Lines) -> Table {
    let (x_scale, y_scale) = (lines.x_scale(), lines.y_scale());
    let mut rows = Vec::new();
    for series in &lines.series {
        let step = series.points.len().div_ceil(POINTS_MOST).max(1);
        for (x, datum) in series.points.iter().step_by(step) {
            let mut row = vec![
                series.name.clone(),
                x_scale.show(*x),
                value(datum, &y_scale),
            ];
            row.extend(ends(datum, &y_scale));
            row.push(marks(datum));
            rows.push(row);
        }
    }
    let mut head = vec![
        "line".to_owned(),
        named(&lines.x, &x_scale),
        named(&lines.y, &y_scale),
    ];
    head.extend(["95 % from", "to", "marks"].map(str::to_owned));
    Table { head, rows }
}

fn of_scatter(scatter: &Scatter) -> Table {
    let scales = [scatter.scale(0), scatter.scale(1)];
    let front = scatter.front();
    let row = |((name, pair), is_on_front): (&(String, [Datum; 2]), bool)| {
        vec![
            name.clone(),
            value(&pair[0], &scales[0]),
            value(&pair[1], &scales[1]),
            if is_on_front { "yes" } else { "no" }.to_owned(),
            [marks(&pair[0]), marks(&pair[1])]
                .join(" ")
                .trim()
                .to_owned(),
        ]
    };
    Table {
        head: vec![
            "name".to_owned(),
            named(&scatter.x, &scales[0]),
            named(&scatter.y, &scales[1]),
            "on the Pareto front".to_owned(),
            "marks".to_owned(),
        ],
        rows: scatter.dots.iter().zip(front).map(row).collect(),
    }
}

fn is_grouped<T>(groups: &[Group<T>]) -> bool {
    groups.iter().any(|group| !group.name.is_empty())
}

fn grouped<T>(
    groups: &[Group<T>],
    is_grouped: bool,
    head: Vec<String>,
    cells: impl Fn(&T) -> Vec<String>,
) -> Table {
    let first = is_grouped.then(|| "group".to_owned());
    let mut rows = Vec::new();
    for group in groups {
        for (name, data) in &group.rows {
            let mut row: Vec<String> = is_grouped.then(|| group.name.clone()).into_iter().collect();
            row.push(name.clone());
            row.extend(cells(data));
            rows.push(row);
        }
    }
    Table {
        head: first
            .into_iter()
            .chain(["name".to_owned()])
            .chain(head)
            .collect(),
        rows,
    }
}

fn named(axis: &Axis, scale: &Scale<'_>) -> String {
    draw::title(axis, scale)
}

fn unit(scale: &Scale<'_>) -> String {
    match scale.unit {
        "" => String::new(),
        unit => format!("({unit})"),
    }
}

fn value(datum: &Datum, scale: &Scale<'_>) -> String {
    match datum.value {
        Value::Number(value) => scale.show(value),
        Value::Failed => "failed".to_owned(),
        Value::Absent => "n/a".to_owned(),
    }
}

fn ends(datum: &Datum, scale: &Scale<'_>) -> [String; 2] {
    match datum.interval {
        Some((low, high)) => [scale.show(low), scale.show(high)],
        None => Default::default(),
    }
}

fn marks(datum: &Datum) -> String {
    datum.marks.join(", ")
}

/// Nobody listens to more.
const ROWS_MOST: usize = 40;

/// A line's table is to be read by people; all of a trace is in the store.
const POINTS_MOST: usize = 200;
