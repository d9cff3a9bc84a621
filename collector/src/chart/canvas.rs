//! A sheet to draw on, in pixels: words, lines and areas, written as SVG.

use plotters::prelude::DrawingBackend;
use plotters::{
    backend::SVGBackend,
    coord::{ranged1d::Ranged, types::RangedCoordf64},
    style::{
        Color, FontTransform, RGBColor, ShapeStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::{color, font};

/// The sheet.
pub(super) struct Canvas<'a> {
    backend: SVGBackend<'a>,
}

/// A rectangle on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Area {
    pub(super) left: i32,
    pub(super) top: i32,
    pub(super) right: i32,
    pub(super) bottom: i32,
}

/// Where a text is, seen from its point.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Right,
    Left,
    Middle,
}

/// How a text looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ink {
    pub(super) size: i32,
    pub(super) color: RGBColor,
}

/// Values along one direction.
pub(super) struct Span {
    coordinate: RangedCoordf64,
    pixels: (i32, i32),
}

impl<'a> Canvas<'a> {
    pub(super) fn new(text: &'a mut String, width: i32, height: i32) -> Self {
        let size = |length: i32| u32::try_from(length).unwrap_or(1).max(1);
        let backend = SVGBackend::with_string(text, (size(width), size(height)));
        Self { backend }
    }

    /// Ends the document.
    pub(super) fn finish(mut self) {
        self.backend.present().expect(WRITES);
    }

    /// A line of text, the middle of its height at `at`.
    pub(super) fn text(&mut self, at: (i32, i32), side: Side, ink: Ink, text: &str) {
        let style = font::style(ink.size)
            .color(&ink.color)
            .pos(Pos::new(side.into(), VPos::Center));
        self.backend
            .draw_text(&printable(text), &style, at)
            .expect(WRITES);
    }

    /// A line of text that runs upwards, its middle at `at`.
    pub(super) fn turned(&mut self, at: (i32, i32), side: Side, ink: Ink, text: &str) {
        let style = font::style(ink.size)
            .color(&ink.color)
            .pos(Pos::new(side.into(), VPos::Center));
        let style = style.transform(FontTransform::Rotate270);
        self.backend
            .draw_text(&printable(text), &style, at)
            .expect(WRITES);
    }

    pub(super) fn line(&mut self, from: (i32, i32), to: (i32, i32), color: RGBColor, width: u32) {
        self.path(&[from, to], color, width);
    }

    pub(super) fn path(&mut self, points: &[(i32, i32)], color: RGBColor, width: u32) {
        let style = stroke(color, width);
        self.backend
            .draw_path(points.iter().copied(), &style)
            .expect(WRITES);
    }

    pub(super) fn fill(&mut self, area: Area, color: RGBColor) {
        let (from, to) = area.corners();
        self.backend
            .draw_rect(from, to, &color.filled(), true)
            .expect(WRITES);
    }

    pub(super) fn outline(&mut self, area: Area, color: RGBColor) {
        let (from, to) = area.corners();
        self.backend
            .draw_rect(from, to, &stroke(color, 1), false)
            .expect(WRITES);
    }

    /// An outline with slanted lines in it: what is there and does not count.
    pub(super) fn hatch(&mut self, area: Area, color: RGBColor) {
        self.fill(area, color::PAPER);
        let (width, height) = (area.width(), area.height());
        for start in (-height..width).step_by(6) {
            // From the bottom edge upwards to the right, as far as the rectangle goes.
            let (from, to) = (start.max(0), (start + height).min(width));
            let point = |along: i32| (area.left + along, area.bottom - (along - start));
            self.line(point(from), point(to), color, 1);
        }
        self.outline(area, color);
    }

    /// One of several shapes, so that lines are told apart without their colour.
    pub(super) fn marker(&mut self, at: (i32, i32), number: usize, color: RGBColor) {
        let corners: &[(i32, i32)] = match number % 5 {
            0 => &[],
            1 => &[(-4, -4), (4, -4), (4, 4), (-4, 4)],
            2 => &[(0, -5), (5, 4), (-5, 4)],
            3 => &[(0, -6), (6, 0), (0, 6), (-6, 0)],
            _ => &[(0, 5), (5, -4), (-5, -4)],
        };
        if corners.is_empty() {
            self.backend
                .draw_circle(at, 4, &color.filled(), true)
                .expect(WRITES);
            return;
        }
        let corners = corners.iter().map(|(x, y)| (at.0 + x, at.1 + y));
        self.backend
            .fill_polygon(corners, &color.filled())
            .expect(WRITES);
    }

    pub(super) fn ring(&mut self, at: (i32, i32), radius: u32, color: RGBColor) {
        self.backend
            .draw_circle(at, radius, &stroke(color, 2), false)
            .expect(WRITES);
    }
}

impl Area {
    pub(super) fn width(self) -> i32 {
        self.right - self.left
    }

    pub(super) fn height(self) -> i32 {
        self.bottom - self.top
    }

    pub(super) fn middle(self) -> (i32, i32) {
        (
            self.left.midpoint(self.right),
            self.top.midpoint(self.bottom),
        )
    }

    pub(super) fn overlaps(self, other: Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn corners(self) -> ((i32, i32), (i32, i32)) {
        ((self.left, self.top), (self.right, self.bottom))
    }
}

impl From<Side> for HPos {
    fn from(side: Side) -> Self {
        match side {
            Side::Right => Self::Left,
            Side::Left => Self::Right,
            Side::Middle => Self::Center,
        }
    }
}

impl Ink {
    pub(super) const fn new(size: i32, color: RGBColor) -> Self {
        Self { size, color }
    }
}

impl Span {
    /// From 0, or from below it, to a little beyond the largest value.
    pub(super) fn from_zero(values: impl Iterator<Item = f64>, pixels: (i32, i32)) -> Self {
        let (low, high) = extent(values.chain([0.0]));
        let room = 0.05 * (high - low);
        let low = if low < 0.0 { low - room } else { 0.0 };
        Self::new(low, high + room, pixels)
    }

    /// From 0 where that leaves the values room; else around them.
    pub(super) fn around(values: impl Iterator<Item = f64>, pixels: (i32, i32)) -> Self {
        let (low, high) = extent(values);
        if low >= 0.0 && low < 0.6 * high {
            return Self::from_zero([high].into_iter(), pixels);
        }
        let room = 0.15 * (high - low).max(0.5 * high.abs());
        Self::new(low - room, high + room, pixels)
    }

    /// Exactly this.
    pub(super) fn new(low: f64, high: f64, pixels: (i32, i32)) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self {
            coordinate: (low..high).into(),
            pixels,
        }
    }

    pub(super) fn at(&self, value: f64) -> i32 {
        self.coordinate.map(&value, self.pixels)
    }

    /// Where it ends.
    pub(super) fn end(&self) -> i32 {
        self.pixels.1
    }

    /// Round values along it, no more than this many, with what is written at them: no more decimals than tell them apart.
    pub(super) fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        let values = self.coordinate.key_points(most);
        let step = values
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .reduce(f64::min)
            .unwrap_or(1.0);
        let is_exact = |decimals: &usize| {
            let written = |value: &f64| format!("{value:.decimals$}").parse().unwrap_or(f64::NAN);
            values
                .iter()
                .all(|value| (written(value) - value).abs() < 1e-3 * step)
        };
        let decimals = (0..9).find(is_exact).unwrap_or(9);
        // A value next to 0 that is not quite 0 would be written as -0.
        let round = |value: f64| {
            if value.abs() < 1e-3 * step {
                0.0
            } else {
                value
            }
        };
        values
            .iter()
            .map(|value| (*value, format!("{:.decimals$}", round(*value))))
            .collect()
    }
}

/// Smallest and largest; 0 and 1 without any.
pub(super) fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let extent =
        values
            .filter(|value| value.is_finite())
            .fold(None, |extent, value| match extent {
                None => Some((value, value)),
                Some((low, high)) => Some((f64::min(low, value), f64::max(high, value))),
            });
    extent.unwrap_or((0.0, 1.0))
}

fn stroke(color: RGBColor, width: u32) -> ShapeStyle {
    ShapeStyle {
        color: color.to_rgba(),
        filled: false,
        stroke_width: width,
    }
}

/// XML has no place for control characters.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

const WRITES: &str = "a text in memory takes everything";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_have_no_more_decimals_than_they_need() {
        let check = |high: f64, want: &[&str]| {
            let ticks = Span::new(0.0, high, (0, 500)).ticks(6);
            let words: Vec<String> = ticks.into_iter().map(|(_, word)| word).collect();
            assert_eq!(words, want);
        };
        check(10.5, &["0", "2", "4", "6", "8", "10"]);
        check(0.21, &["0.00", "0.05", "0.10", "0.15", "0.20"]);
    }

    #[test]
    fn values_that_are_all_the_same_have_an_axis() {
        let span = Span::around([3.0, 3.0].into_iter(), (0, 100));
        assert_eq!(span.at(3.0), 50);
        let span = Span::from_zero([].into_iter(), (0, 100));
        assert_eq!(span.at(0.0), 0);
    }
}
