//! Paint on a canvas of 2 × 2 samples a pixel, averaged into a picture at the end.

use super::{
    chance::Chance,
    picture::{Picture, Side},
    shape::{Point, SIDE, Shape, Span},
};

/// Red, green, blue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Color(pub(super) [u8; 3]);

/// One step of painting a scene, the same at every size of the picture.
#[derive(Clone, Debug)]
pub(super) enum Mark {
    /// From `top` at the upper edge to `bottom` at the row `down_to`.
    Gradient {
        down_to: i32,
        top: Color,
        bottom: Color,
    },
    /// Everything below a row, grainy.
    Grain {
        from: i32,
        color: Color,
        /// Standard deviation of the grain, in thousandths of a colour step.
        spread: i32,
    },
    /// A shape in one colour.
    Area { shape: Shape, color: Color },
    /// A polygon with a rim along the inside of its edges.
    Rimmed {
        corners: Vec<Point>,
        fill: Color,
        rim: Color,
        width: i32,
    },
}

/// A picture in the making.
pub(super) struct Canvas {
    side: Side,
    samples: Vec<Color>,
}

impl Color {
    /// Up to `by` steps lighter or darker in each channel.
    pub(super) fn jitter(self, by: i32, chance: &mut Chance) -> Self {
        Self(
            self.0
                .map(|channel| clamp(i32::from(channel) + chance.range(-by, by))),
        )
    }

    /// In another light: thousandths of each channel.
    pub(super) fn lit(self, light: [i32; 3]) -> Self {
        let mut lit = self.0;
        for (channel, share) in lit.iter_mut().zip(light) {
            *channel = clamp(i32::from(*channel) * share / 1000);
        }
        Self(lit)
    }

    /// As bright as the eye sees it, 0 to 255.
    pub(super) fn brightness(self) -> i32 {
        let [red, green, blue] = self.0.map(i32::from);
        (30 * red + 59 * green + 11 * blue) / 100
    }

    fn shifted(self, by: i32) -> Self {
        Self(self.0.map(|channel| clamp(i32::from(channel) + by)))
    }

    /// `part` of `whole` of the way to `other`.
    fn towards(self, other: Self, part: i32, whole: i32) -> Self {
        let mut mixed = self.0;
        for (channel, goal) in mixed.iter_mut().zip(other.0) {
            let (from, to) = (i64::from(*channel), i64::from(goal));
            let value = from + ((to - from) * i64::from(part)).div_euclid(i64::from(whole));
            *channel = clamp(i32::try_from(value).expect("between two channels"));
        }
        Self(mixed)
    }
}

impl Canvas {
    pub(super) fn new(side: Side) -> Self {
        let n = samples_across(side);
        Self {
            side,
            samples: vec![Color([0; 3]); n * n],
        }
    }

    /// `grain` is drawn from when the mark is grainy.
    pub(super) fn paint(&mut self, mark: &Mark, grain: &mut Chance) {
        match mark {
            Mark::Gradient {
                down_to,
                top,
                bottom,
            } => self.gradient(*down_to, *top, *bottom),
            Mark::Grain {
                from,
                color,
                spread,
            } => self.grain(*from, *color, *spread, grain),
            Mark::Area { shape, color } => self.fill(shape, *color),
            Mark::Rimmed {
                corners,
                fill,
                rim,
                width,
            } => self.rimmed(corners, *fill, *rim, *width),
        }
    }

    /// Averages the samples of each pixel.
    pub(super) fn develop(self) -> Picture {
        let n = self.across();
        let mut rgb = Vec::with_capacity(n * n * 3 / 4);
        for rows in self.samples.chunks_exact(2 * n) {
            let (upper, lower) = rows.split_at(n);
            for (above, below) in upper.chunks_exact(2).zip(lower.chunks_exact(2)) {
                rgb.extend(average([above[0], above[1], below[0], below[1]]));
            }
        }
        Picture::new(self.side, rgb)
    }

    fn gradient(&mut self, down_to: i32, top: Color, bottom: Color) {
        for row in self.rows_of((0, down_to)) {
            let color = top.towards(bottom, self.center(row), down_to);
            self.row(row).fill(color);
        }
    }

    /// The grain is a lattice of as many cells as the smallest picture has samples, so that a larger picture shows the
    /// same ground and not finer sand.
    fn grain(&mut self, from: i32, color: Color, spread: i32, chance: &mut Chance) {
        let n = self.across();
        let mut cells = [color; GRAINS];
        let mut told = None;
        for row in self.rows_of((from, SIDE)) {
            let grain_row = row * GRAINS / n;
            if told.replace(grain_row) != Some(grain_row) {
                cells.fill_with(|| color.shifted(grain_shift(chance.bits(), spread)));
            }
            for (column, sample) in self.row(row).iter_mut().enumerate() {
                *sample = cells[column * GRAINS / n];
            }
        }
    }

    fn fill(&mut self, shape: &Shape, color: Color) {
        for row in self.rows_of(shape.rows()) {
            for span in shape.spans(self.center(row)) {
                self.fill_span(row, span, color);
            }
        }
    }

    fn rimmed(&mut self, corners: &[Point], fill: Color, rim: Color, width: i32) {
        let inside = Shape::Polygon(corners.to_vec());
        self.fill(&inside, fill);
        for part in Shape::rim(corners, width) {
            self.fill_within(&part, &inside, rim);
        }
    }

    fn fill_within(&mut self, shape: &Shape, clip: &Shape, color: Color) {
        for row in self.rows_of(shape.rows()) {
            let y = self.center(row);
            let clips = clip.spans(y);
            for (left, right) in shape.spans(y) {
                for &(from, to) in &clips {
                    self.fill_span(row, (left.max(from), right.min(to)), color);
                }
            }
        }
    }

    fn fill_span(&mut self, row: usize, (left, right): Span, color: Color) {
        let (first, end) = (self.first_from(left), self.first_from(right));
        if first < end {
            self.row(row)[first..end].fill(color);
        }
    }

    fn row(&mut self, row: usize) -> &mut [Color] {
        let n = self.across();
        &mut self.samples[row * n..(row + 1) * n]
    }

    fn across(&self) -> usize {
        samples_across(self.side)
    }

    /// Where the sample's centre lies.
    fn center(&self, sample: usize) -> i32 {
        let at = (2 * sample + 1) * SIDE_POINTS / (2 * self.across());
        i32::try_from(at).expect("inside the picture")
    }

    fn rows_of(&self, (top, bottom): Span) -> std::ops::Range<usize> {
        self.first_from(top)..self.first_from(bottom)
    }

    /// The first sample whose centre is at or after `at`; at most as many as there are.
    fn first_from(&self, at: i32) -> usize {
        let n = self.across();
        let at = usize::try_from(at).unwrap_or_default();
        let twice = (2 * n * at).saturating_sub(SIDE_POINTS);
        twice.div_ceil(2 * SIDE_POINTS).min(n)
    }
}

/// Samples across the smallest picture, and cells of the grain's lattice.
const GRAINS: usize = 192;

/// [`SIDE`], for indices.
const SIDE_POINTS: usize = 192_000;

fn samples_across(side: Side) -> usize {
    2 * usize::try_from(side.px()).expect("at most 1,024")
}

/// Nearly normal: the sum of four bytes has mean 510 and standard deviation 147.8.
fn grain_shift(bits: u32, spread: i32) -> i32 {
    let sum: i32 = bits.to_le_bytes().map(i32::from).iter().sum();
    ((sum - 510) * spread).div_euclid(147_800)
}

/// Rounded to nearest.
fn average(samples: [Color; 4]) -> [u8; 3] {
    let mut sums = [2_i32; 3];
    for Color(channels) in samples {
        for (sum, channel) in sums.iter_mut().zip(channels) {
            *sum += i32::from(channel);
        }
    }
    sums.map(|sum| clamp(sum / 4))
}

fn clamp(channel: i32) -> u8 {
    u8::try_from(channel.clamp(0, 255)).expect("clamped")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::chance::Purpose;

    const RED: Color = Color([200, 0, 0]);

    fn paint(px: u32, mark: &Mark) -> Vec<u8> {
        let mut canvas = Canvas::new(Side::new(px).unwrap());
        canvas.paint(mark, &mut Chance::new(1, Purpose::Grain));
        canvas.develop().rgb().to_vec()
    }

    fn red_at(rgb: &[u8], px: usize, x: usize, y: usize) -> u8 {
        rgb[(y * px + x) * 3]
    }

    #[test]
    fn half_a_pixel_is_half_the_colour() {
        let half = Mark::Area {
            shape: Shape::rectangle(0, 0, 1000, SIDE),
            color: RED,
        };
        let rgb = paint(96, &half);
        assert_eq!(red_at(&rgb, 96, 0, 5), 100);
        assert_eq!(red_at(&rgb, 96, 1, 5), 0);
    }

    #[test]
    fn what_reaches_past_the_edge_is_cut_off() {
        let vast = Mark::Area {
            shape: Shape::rectangle(-SIDE, -SIDE, 3 * SIDE, 3 * SIDE),
            color: RED,
        };
        assert!(
            paint(100, &vast)
                .chunks_exact(3)
                .all(|pixel| pixel == [200, 0, 0])
        );
        let outside = Mark::Area {
            shape: Shape::disc(Point { x: -9000, y: -9000 }, 8000),
            color: RED,
        };
        assert!(paint(100, &outside).iter().all(|&channel| channel == 0));
    }

    #[test]
    fn a_gradient_runs_from_one_colour_to_the_other() {
        let sky = Mark::Gradient {
            down_to: SIDE,
            top: Color([0; 3]),
            bottom: RED,
        };
        let rgb = paint(100, &sky);
        assert_eq!(red_at(&rgb, 100, 0, 0), 1);
        assert_eq!(red_at(&rgb, 100, 0, 50), 101);
        assert_eq!(red_at(&rgb, 100, 99, 99), 199);
    }

    #[test]
    fn grain_spreads_as_told_and_keeps_its_colour() {
        let ground = Mark::Grain {
            from: 0,
            color: Color([100; 3]),
            spread: 7000,
        };
        let rgb = paint(96, &ground);
        let values: Vec<f64> = rgb
            .chunks_exact(3)
            .map(|pixel| f64::from(pixel[0]))
            .collect();
        let n = f64::from(96 * 96);
        let mean = values.iter().sum::<f64>() / n;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        // Four samples a pixel halve the spread.
        assert!((99.0..101.0).contains(&mean), "{mean}");
        assert!((3.3..3.8).contains(&deviation), "{deviation}");
    }
}
