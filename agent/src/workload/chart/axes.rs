//! Axes with ticks, and data placed between them.

use super::{
    INK,
    font::{Align, HEIGHT, UNIT, text},
};
use crate::workload::{
    canvas::{Color, Mark},
    shape::{Point, Shape},
};

/// The rectangle between two axes, in units, and what its upper edge stands for; its lower edge stands for 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) left: i32,
    pub(super) top: i32,
    pub(super) right: i32,
    pub(super) bottom: i32,
    pub(super) most: i32,
}

impl Frame {
    /// Axes, a level line with its number at each multiple of `step`.
    pub(super) fn axes(&self, step: i32) -> Vec<Mark> {
        let mut marks = Vec::new();
        let mut level = 0;
        while level <= self.most {
            let y = self.level(level);
            marks.push(bar(
                self.left * UNIT,
                y - HALF,
                self.right * UNIT,
                y + HALF,
                GRID,
            ));
            let label = level.to_string();
            let at = (self.left - 3, y / UNIT - HEIGHT / 2);
            marks.extend(text(&label, at, 1, Align::Right, INK));
            level += step;
        }
        let (left, bottom) = (self.left * UNIT, self.bottom * UNIT);
        marks.push(bar(left - HALF, self.top * UNIT, left + HALF, bottom, INK));
        marks.push(bar(
            left - HALF,
            bottom - HALF,
            self.right * UNIT,
            bottom + HALF,
            INK,
        ));
        marks
    }

    /// A label below the middle of each of as many equal places.
    pub(super) fn labels(&self, labels: &[&str]) -> Vec<Mark> {
        let labelled = labels.iter().enumerate();
        labelled
            .flat_map(|(index, label)| {
                let x = self.place(index, labels.len()) / UNIT;
                text(label, (x, self.bottom + 5), 1, Align::Center, INK)
            })
            .collect()
    }

    /// A bar in each of as many equal places.
    pub(super) fn bars(&self, values: &[i32], color: Color) -> Vec<Mark> {
        let n = values.len();
        let half = (self.right - self.left) * UNIT * 3 / (10 * count(n));
        let bars = values.iter().enumerate().map(|(index, value)| {
            let x = self.place(index, n);
            bar(
                x - half,
                self.level(*value),
                x + half,
                self.bottom * UNIT,
                color,
            )
        });
        bars.collect()
    }

    /// A line through a point in each of as many equal places.
    pub(super) fn line(&self, values: &[i32], color: Color) -> Vec<Mark> {
        let points: Vec<Point> = values
            .iter()
            .enumerate()
            .map(|(index, value)| Point {
                x: self.place(index, values.len()),
                y: self.level(*value),
            })
            .collect();
        let lines = points.windows(2).map(|ends| Mark::Area {
            shape: Shape::line(ends[0], ends[1], LINE),
            color,
        });
        let lines: Vec<Mark> = lines.collect();
        let dots = points.iter().map(|point| dot(*point, color));
        lines.into_iter().chain(dots).collect()
    }

    /// Where a value lies that is measured from left to right, `most` at the right edge.
    pub(super) fn across(&self, value: i32, most: i32) -> i32 {
        self.left * UNIT + (self.right - self.left) * UNIT / most * value
    }

    /// Where a value lies, in points from the picture's upper edge.
    pub(super) fn level(&self, value: i32) -> i32 {
        let height = i64::from((self.bottom - self.top) * UNIT);
        let up = height * i64::from(value) / i64::from(self.most);
        self.bottom * UNIT - i32::try_from(up).expect("within the frame")
    }

    /// The middle of one of `n` equal places, in points from the picture's left edge.
    fn place(&self, index: usize, n: usize) -> i32 {
        let width = (self.right - self.left) * UNIT;
        self.left * UNIT + width * (2 * count(index) + 1) / (2 * count(n))
    }
}

/// A point of a plot.
pub(super) fn dot(at: Point, color: Color) -> Mark {
    Mark::Area {
        shape: Shape::disc(at, DOT),
        color,
    }
}

fn bar(left: i32, top: i32, right: i32, bottom: i32, color: Color) -> Mark {
    Mark::Area {
        shape: Shape::rectangle(left, top, right, bottom),
        color,
    }
}

fn count(n: usize) -> i32 {
    i32::try_from(n).expect("a dozen at most")
}

const GRID: Color = Color([208, 210, 214]);

/// Half a thin line's thickness.
const HALF: i32 = UNIT / 2;

/// Half a plotted line's thickness.
const LINE: i32 = UNIT;

/// Radius of a plotted point.
const DOT: i32 = 5 * UNIT / 2;
