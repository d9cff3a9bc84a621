//! Box plots: quarters of the values, whiskers, and what lies beyond.

use crate::chart::{
    canvas::{Area, Canvas, Span},
    color,
    description::{Boxes, Quartiles},
    number::Scale,
};

use super::{rows, title};

impl Boxes {
    pub(super) fn height(&self) -> i32 {
        rows::height(&self.groups)
    }

    pub(super) fn draw(&self, canvas: &mut Canvas<'_>, area: Area) {
        let scale = self.scale();
        let beside: Vec<String> = self.data().map(|data| words(data, &scale)).collect();
        let layout = rows::Layout::of(&self.groups, &beside, area);
        let plot = layout.plot;
        let values = self.values().map(|value| scale.scaled(value));
        let span = Span::from_zero(values, (plot.left, plot.right));
        let title = title(&self.axis, &scale);
        let rows = layout.draw(canvas, &self.groups, &beside, (&span, &title));
        for row in rows {
            draw_box(canvas, &span, &scale, &row);
        }
    }

    pub(in crate::chart) fn scale(&self) -> Scale<'_> {
        Scale::of(&self.axis.unit, self.values())
    }

    fn data(&self) -> impl Iterator<Item = &Quartiles> {
        let rows = self.groups.iter().flat_map(|group| &group.rows);
        rows.map(|(_, data)| data)
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.data().flat_map(|data| {
            let outliers = data.outliers.iter().copied();
            let box_end = Some(data.upper).filter(|upper| upper.is_finite());
            outliers
                .chain([data.whiskers.0, data.whiskers.1])
                .chain(box_end)
        })
    }
}

/// `median 812.0, n 500, 3 failed`.
pub(in crate::chart) fn words(data: &Quartiles, scale: &Scale<'_>) -> String {
    let failed = match data.n_failed {
        0 => String::new(),
        n => format!(", {n} failed"),
    };
    format!(
        "median {}, n {}{failed}",
        scale.show_or_failed(data.median),
        data.n
    )
}

fn draw_box(
    canvas: &mut Canvas<'_>,
    span: &Span,
    scale: &Scale<'_>,
    row: &rows::Row<'_, Quartiles>,
) {
    let (data, y) = (row.data, row.y);
    // What ends in failed requests ends at the edge.
    let at = |value: f64| match value.is_finite() {
        true => span.at(scale.scaled(value)),
        false => span.end(),
    };
    let (left, right) = (at(data.whiskers.0), at(data.whiskers.1));
    canvas.line((left, y), (right, y), color::INK, 1);
    for end in [left, right] {
        canvas.line((end, y - 4), (end, y + 4), color::INK, 1);
    }
    let (lower, upper) = (at(data.lower), at(data.upper));
    let body = Area {
        left: lower,
        top: y - HALF,
        right: upper.max(lower + 1),
        bottom: y + HALF,
    };
    canvas.fill(body, color::category(row.category));
    canvas.outline(body, color::INK);
    let median = at(data.median);
    canvas.line((median, y - HALF), (median, y + HALF), color::PAPER, 5);
    canvas.line((median, y - HALF), (median, y + HALF), color::INK, 3);
    // Many lie on the same pixel.
    let mut outliers: Vec<i32> = data.outliers.iter().map(|value| at(*value)).collect();
    outliers.dedup();
    for x in outliers {
        canvas.ring((x, y), 3, color::FAINT);
    }
}

const HALF: i32 = 8;
