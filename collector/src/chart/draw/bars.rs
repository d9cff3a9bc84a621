//! Bars: lengths from 0, whiskers for intervals, the figure in words beside each.

use crate::chart::{
    canvas::{Area, Canvas, Side, Span},
    color,
    description::{Bars, Datum, Value},
    number::Scale,
};

use super::{SMALL, number, reach, rows, title, words};

impl Bars {
    pub(super) fn height(&self) -> i32 {
        rows::height(&self.groups)
    }

    pub(super) fn draw(&self, canvas: &mut Canvas<'_>, area: Area) {
        let scale = self.scale();
        let say = if rows::is_narrow(area) { number } else { words };
        let beside: Vec<String> = self.data().map(|datum| say(datum, &scale)).collect();
        let layout = rows::Layout::of(&self.groups, &beside, area);
        let plot = layout.plot;
        let values = reach(self.data()).map(|value| scale.scaled(value));
        let span = Span::from_zero(values, (plot.left, plot.right));
        let title = title(&self.axis, &scale);
        let rows = layout.draw(canvas, &self.groups, &beside, (&span, &title));
        for row in rows {
            draw_bar(canvas, &span, &scale, &row);
        }
    }

    pub(in crate::chart) fn data(&self) -> impl Iterator<Item = &Datum> {
        let rows = self.groups.iter().flat_map(|group| &group.rows);
        rows.map(|(_, datum)| datum)
    }

    pub(in crate::chart) fn scale(&self) -> Scale<'_> {
        Scale::of(&self.axis.unit, reach(self.data()))
    }
}

fn draw_bar(canvas: &mut Canvas<'_>, span: &Span, scale: &Scale<'_>, row: &rows::Row<'_, Datum>) {
    let datum = row.data;
    let zero = span.at(0.0);
    let Value::Number(value) = datum.value else {
        let words = match datum.value {
            Value::Failed => "failed",
            _ => "n/a",
        };
        canvas.text((zero + 6, row.y), Side::Right, SMALL, words);
        return;
    };
    let end = span.at(scale.scaled(value));
    let bar = Area {
        left: zero.min(end),
        top: row.y - HALF,
        right: zero.max(end),
        bottom: row.y + HALF,
    };
    let color = color::category(row.category);
    canvas.line(
        (zero, row.y - HALF - 4),
        (zero, row.y + HALF + 4),
        color::FAINT,
        1,
    );
    if datum.is_blocked {
        canvas.hatch(bar, color);
    } else {
        canvas.fill(bar, color);
    }
    if let Some((low, high)) = datum.interval {
        let (low, high) = (span.at(scale.scaled(low)), span.at(scale.scaled(high)));
        canvas.line((low, row.y), (high, row.y), color::PAPER, 4);
        canvas.line((low, row.y), (high, row.y), color::INK, 2);
        for end in [low, high] {
            canvas.line((end, row.y - 4), (end, row.y + 4), color::INK, 2);
        }
    }
}

const HALF: i32 = 8;
