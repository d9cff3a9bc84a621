//! Charts with known data: a figure and a seed say what is drawn, and so what a right answer is.
//!
//! Laid out in units of a 256th of the picture's side and drawn in whole numbers, like scenes: the same pixels on every platform.
//! Lettering needs 256 px a side or more to be read.

use serde::{Deserialize, Serialize};

use super::{
    canvas::{Canvas, Color, Mark},
    chance::{Chance, Purpose},
    picture::{Picture, Side},
    shape::{SIDE, Shape},
};

/// Letters of our own.
mod font;

/// Axes, and what stands in them.
mod axes;

/// A year's revenue by month.
mod revenue;

/// Four small charts in one picture.
mod panels;

/// What is asked about a chart.
mod question;

pub use panels::{Panel, Panels, Plot};
pub use question::ChartQuestion;
pub use revenue::{Revenue, Trend};

/// Raised whenever a seed may give another chart or another answer; part of the digest of every suite that asks about charts.
pub const CHART_VERSION: u32 = 1;

/// Side in pixels from which on the lettering can be read.
pub const READABLE_FROM_PX: u32 = 256;

/// A kind of chart.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// A year's revenue by month, as a line or as bars.
    Revenue,
    /// A line, bars, points and a pie in one picture.
    Panels,
}

/// Everything that a chart shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Data {
    /// Of [`Figure::Revenue`].
    Revenue(Revenue),
    /// Of [`Figure::Panels`].
    Panels(Panels),
}

/// A chart, ready to be drawn at any size.
#[derive(Clone, Debug)]
pub struct Chart {
    data: Data,
}

impl Chart {
    /// The chart of a seed.
    pub fn of_seed(figure: Figure, seed: u64) -> Self {
        let chance = &mut Chance::new(seed, Purpose::Chart);
        let data = match figure {
            Figure::Revenue => Data::Revenue(Revenue::made_up(chance)),
            Figure::Panels => Data::Panels(Panels::made_up(chance)),
        };
        Self { data }
    }

    /// What it shows.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Draws it.
    pub fn draw(&self, side: Side) -> Picture {
        let mut canvas = Canvas::new(side);
        // Nothing of a chart is grainy.
        let mut grain = Chance::new(0, Purpose::Grain);
        let paper = Mark::Area {
            shape: Shape::rectangle(0, 0, SIDE, SIDE),
            color: Color([255; 3]),
        };
        let marks = match &self.data {
            Data::Revenue(revenue) => revenue.marks(),
            Data::Panels(panels) => panels.marks(),
        };
        for mark in std::iter::once(&paper).chain(&marks) {
            canvas.paint(mark, &mut grain);
        }
        canvas.develop()
    }
}

/// Of titles, labels and axes.
const INK: Color = Color([32, 32, 36]);

/// Of lines and bars.
const SERIES: [Color; 4] = [
    Color([31, 94, 170]),
    Color([196, 84, 20]),
    Color([24, 124, 66]),
    Color([134, 52, 140]),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check_digest(figure: Figure, seed: u64, px: u32, want: &str) {
        let picture = Chart::of_seed(figure, seed).draw(Side::new(px).unwrap());
        assert_eq!(
            picture.digest().to_string(),
            want,
            "{figure:?} {seed} at {px} px"
        );
    }

    proptest! {
        #[test]
        fn every_seed_draws(seed in any::<u64>(), px in 96_u32..400) {
            for figure in [Figure::Revenue, Figure::Panels] {
                let picture = Chart::of_seed(figure, seed).draw(Side::new(px).unwrap());
                prop_assert_eq!(picture.rgb().len(), usize::try_from(px * px * 3).unwrap());
            }
        }
    }
}
