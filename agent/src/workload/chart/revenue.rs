//! A year's revenue by month, as a line or as bars, rising, falling or level.

use serde::Serialize;

use super::{
    INK, SERIES,
    axes::Frame,
    font::{Align, text},
};
use crate::workload::{canvas::Mark, chance::Chance};

/// A company's year.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Revenue {
    /// Whose.
    pub company: &'static str,
    /// When.
    pub year: i32,
    /// Whether it is drawn as bars; else as a line.
    pub is_bars: bool,
    /// January to December, in thousand euros. One month is the highest and one the lowest, each by a margin that can be seen.
    pub months: [i32; 12],
    /// Where the vertical axis ends.
    pub axis_max: i32,
    /// Which way it goes over the year.
    pub trend: Trend,
    /// Position of its colour.
    #[serde(skip)]
    color: usize,
}

/// Which way a year goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trend {
    /// Upwards.
    Rising,
    /// Downwards.
    Falling,
    /// Neither.
    Level,
}

impl Revenue {
    pub(super) fn made_up(chance: &mut Chance) -> Self {
        let trend = chance.pick(&[Trend::Rising, Trend::Falling, Trend::Level]);
        let axis_max = chance.pick(&[50, 100, 250, 500]);
        let company = chance.pick(&COMPANIES);
        let year = chance.range(2012, 2024);
        let is_bars = chance.range(0, 1) == 1;
        let color = chance.pick(&[0, 1, 2, 3]);
        // Thousandths of the axis; drawn again until what is asked about can be told.
        let mut shares = trend.made_up(chance);
        while !has_clear_ends(&shares) || (trend == Trend::Level && is_lopsided(&shares)) {
            shares = trend.made_up(chance);
        }
        Self {
            company,
            year,
            is_bars,
            months: shares.map(|share| share * axis_max / 1000),
            axis_max,
            trend,
            color,
        }
    }

    /// The month of the highest value, from 0.
    pub(super) fn peak(&self) -> usize {
        let months = self.months.iter().enumerate();
        let highest = months.max_by_key(|(_, value)| **value);
        highest.map_or(0, |(month, _)| month)
    }

    /// The axis' own step.
    pub(super) fn step(&self) -> i32 {
        self.axis_max / 5
    }

    pub(super) fn marks(&self) -> Vec<Mark> {
        let frame = Frame {
            left: 22,
            top: 46,
            right: 253,
            bottom: 236,
            most: self.axis_max,
        };
        let title = format!("{} {}", self.company, self.year);
        let mut marks = text(&title, (128, 8), 2, Align::Center, INK);
        marks.extend(text(SUBTITLE, (128, 27), 1, Align::Center, INK));
        marks.extend(frame.axes(self.step()));
        marks.extend(frame.labels(&MONTHS.map(|month| month.0)));
        let color = SERIES[self.color];
        marks.extend(match self.is_bars {
            true => frame.bars(&self.months, color),
            false => frame.line(&self.months, color),
        });
        marks
    }
}

impl Trend {
    /// Twelve values in thousandths of the axis.
    fn made_up(self, chance: &mut Chance) -> [i32; 12] {
        let (first, last, spread) = match self {
            Self::Rising => (200, 820, 110),
            Self::Falling => (820, 200, 110),
            Self::Level => (500, 500, 330),
        };
        std::array::from_fn(|month| {
            let month = i32::try_from(month).expect("twelve at most");
            first + (last - first) * month / 11 + chance.range(-spread, spread)
        })
    }
}

/// Whether the highest and the lowest month stand out.
fn has_clear_ends(shares: &[i32; 12]) -> bool {
    let mut sorted = *shares;
    sorted.sort_unstable();
    sorted[11] - sorted[10] >= MARGIN && sorted[1] - sorted[0] >= MARGIN
}

/// Whether one half of the year seems to be higher than the other.
fn is_lopsided(shares: &[i32; 12]) -> bool {
    let (first, last) = shares.split_at(6);
    (first.iter().sum::<i32>() - last.iter().sum::<i32>()).abs() > 6 * MARGIN
}

/// Thousandths of the axis.
const MARGIN: i32 = 40;

const SUBTITLE: &str = "MONTHLY REVENUE IN 1000 EUR";

const COMPANIES: [&str; 8] = [
    "NORDWIND", "HELIOS", "RIVERTON", "ALPINA", "QUARTZ", "FJORD", "BASALT", "KESTREL",
];

/// As they stand below the axis, and written out.
pub(super) const MONTHS: [(&str, &str); 12] = [
    ("JAN", "January"),
    ("FEB", "February"),
    ("MAR", "March"),
    ("APR", "April"),
    ("MAY", "May"),
    ("JUN", "June"),
    ("JUL", "July"),
    ("AUG", "August"),
    ("SEP", "September"),
    ("OCT", "October"),
    ("NOV", "November"),
    ("DEC", "December"),
];
