//! Four small charts in one picture, each of its own kind, in any order.

use std::array;

use serde::Serialize;

use super::{
    INK, SERIES,
    axes::{Frame, dot},
    font::{Align, UNIT, text},
};
use crate::workload::{
    canvas::{Color, Mark},
    chance::Chance,
    shape::{Point, Shape},
};

/// Four charts, A to D by rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Panels(pub [Panel; 4]);

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Panel {
    /// What stands above it, after its letter.
    pub title: &'static str,
    /// What it shows.
    #[serde(flatten)]
    pub plot: Plot,
    /// Position of its colour.
    #[serde(skip)]
    color: usize,
}

/// What a panel shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Plot {
    /// A line through eight values, below 100.
    Line([i32; 8]),
    /// Five bars, P to T, below 100.
    Bars([i32; 5]),
    /// Points, each below 100 across and up.
    Points {
        /// Whether they go up, down or neither way from left to right.
        direction: Direction,
        /// Across and up.
        points: Vec<(i32, i32)>,
    },
    /// Shares in twentieths, in the order of [`SLICES`], clockwise from the top.
    Pie([i32; 4]),
}

/// Which way points go.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The further right, the higher.
    Up,
    /// The further right, the lower.
    Down,
    /// All over the place.
    Neither,
}

impl Panels {
    pub(super) fn made_up(chance: &mut Chance) -> Self {
        let mut plots = [
            (
                chance.pick(&["TEMPERATURE", "VOLTAGE", "SPEED"]),
                line(chance),
            ),
            (chance.pick(&["ORDERS", "STOCK", "VISITORS"]), bars(chance)),
            (
                chance.pick(&["SIZE AND PRICE", "AGE AND LOAD"]),
                points(chance),
            ),
            (chance.pick(&["MARKET SHARE", "ENERGY MIX"]), pie(chance)),
        ];
        // Fisher and Yates.
        for last in (1..4_usize).rev() {
            let highest = i32::try_from(last).expect("three at most");
            let other = usize::try_from(chance.range(0, highest)).expect("not negative");
            plots.swap(last, other);
        }
        let mut color = chance.pick(&[0, 1, 2, 3]);
        Self(plots.map(|(title, plot)| {
            color = (color + 1) % SERIES.len();
            Panel { title, plot, color }
        }))
    }

    /// The panel of which that is so, and its letter.
    pub(super) fn find<T>(&self, part: impl Fn(&Plot) -> Option<T>) -> (char, T) {
        let mut panels = LETTERS.into_iter().zip(&self.0);
        let found = panels.find_map(|(letter, panel)| Some((letter, part(&panel.plot)?)));
        found.expect("there is one panel of each kind")
    }

    pub(super) fn marks(&self) -> Vec<Mark> {
        let middle = 128 * UNIT;
        let rule = |left: i32, top: i32, right: i32, bottom: i32| Mark::Area {
            shape: Shape::rectangle(left, top, right, bottom),
            color: RULE,
        };
        let end = 2 * middle;
        let mut marks = vec![
            rule(middle - UNIT / 2, 0, middle + UNIT / 2, end),
            rule(0, middle - UNIT / 2, end, middle + UNIT / 2),
        ];
        for (index, (letter, panel)) in (0..).zip(LETTERS.into_iter().zip(&self.0)) {
            let corner = (index % 2 * 128, index / 2 * 128);
            marks.extend(panel.marks(letter, corner));
        }
        marks
    }
}

impl Panel {
    fn marks(&self, letter: char, (left, top): (i32, i32)) -> Vec<Mark> {
        let title = format!("{letter}: {}", self.title);
        let mut marks = text(&title, (left + 64, top + 6), 1, Align::Center, INK);
        let frame = Frame {
            left: left + 22,
            top: top + 22,
            right: left + 122,
            bottom: top + 110,
            most: 100,
        };
        let color = SERIES[self.color];
        match &self.plot {
            Plot::Line(values) => {
                marks.extend(frame.axes(25));
                marks.extend(frame.labels(&["1", "2", "3", "4", "5", "6", "7", "8"]));
                marks.extend(frame.line(values, color));
            }
            Plot::Bars(values) => {
                marks.extend(frame.axes(25));
                marks.extend(frame.labels(&BARS.map(|bar| bar.1)));
                marks.extend(frame.bars(values, color));
            }
            Plot::Points { points, .. } => {
                marks.extend(frame.axes(25));
                marks.extend(points.iter().map(|(across, up)| {
                    let (x, y) = (frame.across(*across, 100), frame.level(*up));
                    dot(Point { x, y }, color)
                }));
            }
            Plot::Pie(shares) => marks.extend(slices((left + 64, top + 68), shares)),
        }
        marks
    }
}

impl Plot {
    /// What its kind is called in a question.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Line(_) => "line",
            Self::Bars(_) => "bar",
            Self::Points { .. } => "scatter",
            Self::Pie(_) => "pie",
        }
    }
}

impl Direction {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Neither => "neither",
        }
    }
}

/// The panels' letters, by rows.
pub(super) const LETTERS: [char; 4] = ['A', 'B', 'C', 'D'];

/// The bars' letters.
pub(super) const BARS: [(char, &str); 5] =
    [('P', "P"), ('Q', "Q"), ('R', "R"), ('S', "S"), ('T', "T")];

/// The slices' colours and their names.
pub(super) const SLICES: [(&str, Color); 4] = [
    ("red", Color([204, 40, 40])),
    ("blue", Color([40, 84, 190])),
    ("green", Color([46, 150, 70])),
    ("yellow", Color([240, 200, 40])),
];

fn line(chance: &mut Chance) -> Plot {
    Plot::Line(array::from_fn(|_| chance.range(8, 94)))
}

/// One of them is the highest by a margin that can be seen.
fn bars(chance: &mut Chance) -> Plot {
    loop {
        let values: [i32; 5] = array::from_fn(|_| chance.range(10, 95));
        let mut sorted = values;
        sorted.sort_unstable();
        if sorted[4] - sorted[3] >= 6 {
            return Plot::Bars(values);
        }
    }
}

fn points(chance: &mut Chance) -> Plot {
    let direction = chance.pick(&[Direction::Up, Direction::Down, Direction::Neither]);
    let mut point = |index: i32| {
        let across = 8 + index * 84 / (POINTS - 1);
        let up = match direction {
            Direction::Up => across + chance.range(-10, 10),
            Direction::Down => 100 - across + chance.range(-10, 10),
            Direction::Neither => chance.range(8, 94),
        };
        (across, up.clamp(5, 96))
    };
    loop {
        let points: Vec<(i32, i32)> = (0..POINTS).map(&mut point).collect();
        if direction != Direction::Neither || !goes_somewhere(&points) {
            return Plot::Points { direction, points };
        }
    }
}

/// Whether points that were scattered seem to go up or down after all: a correlation above a tenth or so.
fn goes_somewhere(points: &[(i32, i32)]) -> bool {
    let products = points.iter().map(|(across, up)| (across - 50) * (up - 50));
    products.sum::<i32>().abs() > 1500
}

/// In twentieths, none below two; one is the largest by two and more.
fn pie(chance: &mut Chance) -> Plot {
    loop {
        let first: [i32; 3] = array::from_fn(|_| chance.range(2, 10));
        let last = 20 - first.iter().sum::<i32>();
        let shares = [first[0], first[1], first[2], last];
        let mut sorted = shares;
        sorted.sort_unstable();
        if sorted[0] >= 2 && sorted[3] - sorted[2] >= 2 {
            return Plot::Pie(shares);
        }
    }
}

fn slices((x, y): (i32, i32), shares: &[i32; 4]) -> Vec<Mark> {
    let center = Point {
        x: x * UNIT,
        y: y * UNIT,
    };
    let on_rim = |step: usize| {
        let (right, up) = turn(step);
        Point {
            x: center.x + RADIUS * right / 10_000,
            y: center.y - RADIUS * up / 10_000,
        }
    };
    let mut marks = Vec::new();
    let mut from = 0;
    let mut edges = Vec::new();
    for (share, (_, color)) in shares.iter().zip(SLICES) {
        let to = from + STEPS_OF_A_TWENTIETH * usize::try_from(*share).expect("not negative");
        let rim = (from..=to).map(on_rim);
        let shape = Shape::Polygon(std::iter::once(center).chain(rim).collect());
        marks.push(Mark::Area { shape, color });
        edges.push(Mark::Area {
            shape: Shape::line(center, on_rim(from), UNIT / 2),
            color: Color([255; 3]),
        });
        from = to;
    }
    marks.into_iter().chain(edges).collect()
}

/// How far right and how far up, in ten-thousandths, after so many sixtieths of a turn clockwise from the top.
fn turn(step: usize) -> (i32, i32) {
    let sine = |step: usize| match step % 60 {
        up @ 0..=15 => SINES[up],
        down @ 16..=30 => SINES[30 - down],
        below @ 31..=45 => -SINES[below - 30],
        back => -SINES[60 - back],
    };
    (sine(step), sine(step + 15))
}

/// Between panels.
const RULE: Color = Color([170, 172, 178]);

const POINTS: i32 = 22;

const RADIUS: i32 = 44 * UNIT;

const STEPS_OF_A_TWENTIETH: usize = 3;

/// Of 0° to 90° by 6°, in ten-thousandths.
const SINES: [i32; 16] = [
    0, 1045, 2079, 3090, 4067, 5000, 5878, 6691, 7431, 8090, 8660, 9135, 9511, 9781, 9945, 10_000,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_goes_round_clockwise_from_the_top() {
        let quarters = [0, 15, 30, 45, 60].map(turn);
        let ten = 10_000;
        assert_eq!(
            quarters,
            [(0, ten), (ten, 0), (0, -ten), (-ten, 0), (0, ten)]
        );
        assert_eq!(turn(5), (5000, 8660));
        assert_eq!(turn(50), (-8660, 5000));
    }
}
