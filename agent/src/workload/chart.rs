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

    /// The promise "same pixels on every platform": these may change only together with [`CHART_VERSION`].
    #[test]
    fn the_pixels_of_a_seed_never_change() {
        check_digest(
            Figure::Revenue,
            0,
            256,
            "389de008489251f19fe580f832e6b796dbb67d6ece496f9d75c869d47383dcc7",
        );
        check_digest(
            Figure::Revenue,
            1,
            384,
            "397d9ee84f3fbbe4f9a2e863a8833128f8ae685c40403f449d9ca02b09f5a3f2",
        );
        check_digest(
            Figure::Panels,
            0,
            256,
            "81e50de87b7e464fe62180a82516112ad32d0ff095a116f0a21e47b0eb600fdb",
        );
        check_digest(
            Figure::Panels,
            1,
            1024,
            "c779d7f6fdaab78d09f3000b35b284a62c449586d0f30a54954745b8646768a9",
        );
    }

    #[test]
    fn the_data_of_a_seed_never_change() {
        let data = |figure| serde_json::to_string(Chart::of_seed(figure, 0).data()).unwrap();
        assert_eq!(
            data(Figure::Revenue),
            r#"{"revenue":{"company":"FJORD","year":2015,"is_bars":true,"months":[30,27,23,43,48,50,59,51,60,70,86,82],"axis_max":100,"trend":"rising"}}"#
        );
        let panels = data(Figure::Panels);
        let bars_and_pie = r#"{"title":"VISITORS","bars":[51,93,54,83,22]},{"title":"MARKET SHARE","pie":[3,10,4,3]}]}"#;
        assert!(panels.ends_with(bars_and_pie), "{panels}");
    }

    #[test]
    fn every_letter_of_every_chart_can_be_drawn() {
        for seed in 0..200 {
            match Chart::of_seed(Figure::Revenue, seed).data() {
                Data::Revenue(revenue) => assert!(font::has_all(revenue.company)),
                Data::Panels(_) => panic!("a year was asked for"),
            }
            match Chart::of_seed(Figure::Panels, seed).data() {
                Data::Panels(panels) => {
                    assert!(panels.0.iter().all(|panel| font::has_all(panel.title)));
                }
                Data::Revenue(_) => panic!("panels were asked for"),
            }
        }
    }

    /// At this size a dot of the lettering is one pixel, so that a title has ink and paper and nothing between.
    #[test]
    fn lettering_is_sharp_from_256_px_on() {
        let picture = Chart::of_seed(Figure::Revenue, 3).draw(Side::new(READABLE_FROM_PX).unwrap());
        let rows = picture.rgb().chunks_exact(3 * 256).skip(8).take(14);
        let pixels = rows.flat_map(|row| row.chunks_exact(3));
        let inked = pixels.filter(|pixel| **pixel != [255; 3]);
        let inked: Vec<&[u8]> = inked.collect();
        assert!(inked.len() > 100);
        assert!(inked.iter().all(|pixel| **pixel == INK.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_seed_draws(seed in any::<u64>(), px in 96_u32..200) {
            for figure in [Figure::Revenue, Figure::Panels] {
                let picture = Chart::of_seed(figure, seed).draw(Side::new(px).unwrap());
                prop_assert_eq!(picture.rgb().len(), usize::try_from(px * px * 3).unwrap());
            }
        }
    }
}
