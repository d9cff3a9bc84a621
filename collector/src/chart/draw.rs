//! Every kind of picture: how high it will be, and its drawing. Each knows only the area that it is given.

mod bars;
mod boxes;
mod heat_map;
mod lines;
mod panels;
mod rows;
mod scatter;

use super::{
    canvas::{Area, Canvas, Ink, Side},
    color,
    description::{Axis, Datum, Drawing, Value},
    number::Scale,
};

impl Drawing {
    /// How high it is in this width.
    pub(super) fn height(&self, width: i32) -> i32 {
        match self {
            Self::Bars(bars) => bars.height(),
            Self::HeatMap(map) => map.height(width),
            Self::Boxes(boxes) => boxes.height(),
            Self::Lines(lines) => lines.height(),
            Self::Scatter(scatter) => scatter.height(width),
            Self::Panels(panels) => panels::height(panels, width),
        }
    }

    pub(super) fn draw(&self, canvas: &mut Canvas<'_>, area: Area) {
        match self {
            Self::Bars(bars) => bars.draw(canvas, area),
            Self::HeatMap(map) => map.draw(canvas, area),
            Self::Boxes(boxes) => boxes.draw(canvas, area),
            Self::Lines(lines) => lines.draw(canvas, area),
            Self::Scatter(scatter) => scatter.draw(canvas, area),
            Self::Panels(panels) => panels::draw(panels, canvas, area),
        }
    }
}

/// What stands along an axis: `request latency (ms), lower is better`.
pub(super) fn title(axis: &Axis, scale: &Scale<'_>) -> String {
    use tokwatt_domain::metrics::dictionary::Better;
    let better = match axis.better {
        Better::Lower => ", lower is better",
        Better::Higher => ", higher is better",
        Better::Neither => "",
    };
    match scale.unit {
        "" => format!("{}{better}", axis.label),
        unit => format!("{} ({unit}){better}", axis.label),
    }
}

/// A figure in words: `12.3 (11.9–12.7)`, `failed`, `n/a`, with its marks behind it.
pub(super) fn words(datum: &Datum, scale: &Scale<'_>) -> String {
    let value = match (datum.value, datum.interval) {
        (Value::Failed, _) => "failed".to_owned(),
        (Value::Absent, _) => "n/a".to_owned(),
        (Value::Number(value), None) => scale.show(value),
        (Value::Number(value), Some((low, high))) => {
            format!(
                "{} ({}–{})",
                scale.show(value),
                scale.show(low),
                scale.show(high)
            )
        }
    };
    let marks: String = datum
        .marks
        .iter()
        .map(|mark| format!(" · {mark}"))
        .collect();
    format!("{value}{marks}")
}

/// A figure without its interval and its marks.
pub(super) fn number(datum: &Datum, scale: &Scale<'_>) -> String {
    let bare = Datum {
        interval: None,
        marks: Vec::new(),
        ..datum.clone()
    };
    words(&bare, scale)
}

/// Numbers of figures with the ends of their intervals.
pub(super) fn reach<'a>(data: impl Iterator<Item = &'a Datum>) -> impl Iterator<Item = f64> {
    data.flat_map(|datum| {
        let ends = datum.interval.map(|(low, high)| [low, high]);
        datum
            .as_number()
            .into_iter()
            .chain(ends.into_iter().flatten())
    })
}

/// A vertical grid, in so many stretches from above, with values below it, and the axis' title under them, not farther left than
/// stated.
fn horizontal_axis(
    canvas: &mut Canvas<'_>,
    (plot, stretches): (Area, &[(i32, i32)]),
    ticks: &[(i32, String)],
    (left, title): (i32, &str),
) {
    for (at, words) in ticks {
        for (top, bottom) in stretches {
            canvas.line((*at, *top), (*at, *bottom), color::GRID, 1);
        }
        canvas.text((*at, plot.bottom + 11), Side::Middle, SMALL, words);
    }
    let title = super::font::cut(title, LABEL.size, plot.right - left);
    let half = super::font::width(&title, LABEL.size) / 2;
    let middle = plot.left.midpoint(plot.right).max(left + half);
    canvas.text((middle, plot.bottom + 30), Side::Middle, LABEL, &title);
}

/// Ticks of a scale in the unit that is shown.
fn ticks(span: &super::canvas::Span, most: usize) -> Vec<(i32, String)> {
    let ticks = span.ticks(most).into_iter();
    ticks
        .map(|(value, words)| (span.at(value), words))
        .collect()
}

/// Space for values and title below a plot.
const AXIS_HEIGHT: i32 = 44;

/// Names, values, titles of axes.
const LABEL: Ink = Ink::new(12, color::INK);

/// What matters less.
const SMALL: Ink = Ink::new(11, color::FAINT);
