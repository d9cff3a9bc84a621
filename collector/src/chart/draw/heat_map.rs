//! Heat maps: the value stands in each cell, in black or white, whichever can be read on its colour.

use crate::chart::{
    canvas::{Area, Canvas, Ink, Side, extent},
    color,
    description::{Datum, HeatMap, Value},
    font,
    number::Scale,
};

use super::{LABEL, SMALL, title};

impl HeatMap {
    pub(super) fn height(&self, width: i32) -> i32 {
        let rows = i32::try_from(self.rows.len()).unwrap_or(i32::MAX / ROW / 2);
        self.head(self.cell_width(width)) + rows * ROW + LEGEND
    }

    pub(super) fn draw(&self, canvas: &mut Canvas<'_>, area: Area) {
        let scale = self.scale();
        let cell = self.cell_width(area.width());
        let left = area.left + self.names_width(area.width()) + GAP;
        let top = area.top + self.head(cell);
        for (number, name) in self.columns.iter().enumerate() {
            let x = left + cell * position(number) + cell / 2;
            if self.is_turned(cell) {
                let name = font::cut(name, LABEL.size, TURNED_MOST);
                canvas.turned((x, top - 6), Side::Right, LABEL, &name);
            } else {
                let name = font::cut(name, LABEL.size, cell - 4);
                canvas.text((x, top - 12), Side::Middle, LABEL, &name);
            }
        }
        let range = extent(self.data().filter_map(Datum::as_number));
        for (number, (name, cells)) in self.rows.iter().enumerate() {
            let y = top + ROW * position(number);
            let name = font::cut(name, LABEL.size, left - GAP - area.left);
            canvas.text((left - GAP / 2, y + ROW / 2), Side::Left, LABEL, &name);
            for (column, datum) in cells.iter().enumerate() {
                let x = left + cell * position(column);
                let place = Area {
                    left: x + 1,
                    top: y + 1,
                    right: x + cell - 1,
                    bottom: y + ROW - 1,
                };
                draw_cell(canvas, place, datum, &scale, range);
            }
        }
        let bottom = top + ROW * position(self.rows.len());
        self.draw_legend(canvas, (left, bottom + 22), area, &scale);
    }

    pub(in crate::chart) fn data(&self) -> impl Iterator<Item = &Datum> {
        self.rows.iter().flat_map(|(_, cells)| cells)
    }

    pub(in crate::chart) fn scale(&self) -> Scale<'_> {
        Scale::of(&self.axis.unit, self.data().filter_map(Datum::as_number))
    }

    fn names_width(&self, width: i32) -> i32 {
        let names = self
            .rows
            .iter()
            .map(|(name, _)| font::width(name, LABEL.size));
        names.max().unwrap_or(0).min(width / 3)
    }

    fn cell_width(&self, width: i32) -> i32 {
        let columns = position(self.columns.len()).max(1);
        let room = width - self.names_width(width) - GAP;
        (room / columns).min(CELL_MOST)
    }

    /// Names that do not fit above their columns run upwards.
    fn is_turned(&self, cell: i32) -> bool {
        let mut names = self.columns.iter();
        names.any(|name| font::width(name, LABEL.size) > cell - 4)
    }

    fn head(&self, cell: i32) -> i32 {
        if !self.is_turned(cell) {
            return 24;
        }
        let names = self
            .columns
            .iter()
            .map(|name| font::width(name, LABEL.size));
        names.max().unwrap_or(0).min(TURNED_MOST) + 14
    }

    fn draw_legend(&self, canvas: &mut Canvas<'_>, at: (i32, i32), area: Area, scale: &Scale<'_>) {
        let (low, high) = extent(self.data().filter_map(Datum::as_number));
        let (low, high) = (scale.show(low), scale.show(high));
        let mut x = at.0;
        canvas.text((x, at.1), Side::Right, SMALL, &low);
        x += font::width(&low, SMALL.size) + 6;
        for step in 0..STEPS {
            let part = Area {
                left: x,
                top: at.1 - 6,
                right: x + 4,
                bottom: at.1 + 6,
            };
            canvas.fill(part, color::shade(f64::from(step) / f64::from(STEPS - 1)));
            x += 4;
        }
        canvas.text((x + 6, at.1), Side::Right, SMALL, &high);
        x += font::width(&high, SMALL.size) + 18;
        let words = format!(
            "{}; {} down, {} across",
            title(&self.axis, scale),
            self.keys[0],
            self.keys[1]
        );
        let (x, y) = if x + font::width(&words, LABEL.size) > area.right {
            (area.left, at.1 + 20)
        } else {
            (x, at.1)
        };
        canvas.text(
            (x, y),
            Side::Right,
            LABEL,
            &font::cut(&words, LABEL.size, area.right - x),
        );
    }
}

fn draw_cell(
    canvas: &mut Canvas<'_>,
    place: Area,
    datum: &Datum,
    scale: &Scale<'_>,
    (low, high): (f64, f64),
) {
    let (words, ink) = match datum.value {
        Value::Number(value) => {
            let part = if high > low {
                (value - low) / (high - low)
            } else {
                0.5
            };
            let ground = color::shade(part);
            canvas.fill(place, ground);
            (scale.show(value), color::ink_on(ground))
        }
        Value::Failed => ("failed".to_owned(), color::FAINT),
        Value::Absent => ("n/a".to_owned(), color::FAINT),
    };
    if datum.as_number().is_none() {
        canvas.outline(place, color::GRID);
    }
    let (x, y) = place.middle();
    let room = place.width() - 4;
    let fit = |text: &str, size: i32| font::cut(text, size, room);
    let Some(below) = below(datum, scale).filter(|text| font::width(text, 10) <= room) else {
        let text = fit(&words, 12);
        canvas.text((x, y), Side::Middle, Ink::new(12, ink), &text);
        return;
    };
    canvas.text(
        (x, y - 7),
        Side::Middle,
        Ink::new(12, ink),
        &fit(&words, 12),
    );
    canvas.text((x, y + 8), Side::Middle, Ink::new(10, ink), &below);
}

/// What stands under a value where there is room: its marks, else its interval.
fn below(datum: &Datum, scale: &Scale<'_>) -> Option<String> {
    if !datum.marks.is_empty() {
        return Some(datum.marks.join(", "));
    }
    let (low, high) = datum.interval?;
    Some(format!("{}–{}", scale.show(low), scale.show(high)))
}

fn position(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(1000).min(1000)
}

const ROW: i32 = 36;
const GAP: i32 = 16;
const LEGEND: i32 = 54;
const CELL_MOST: i32 = 150;
const TURNED_MOST: i32 = 180;
const STEPS: i32 = 40;
