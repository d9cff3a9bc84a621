//! Scenes with known truth: a seed says what is in the picture, and so what a right answer is.
//!
//! Layout decides which objects stand where, backdrop and figures turn that into marks, the canvas paints them. Everything
//! up to the canvas is free of pixels: the same scene at another size is the same scene. The look is the one the shipped
//! model was trained on; [`DRAWING_VERSION`] says when it changed.

use tokwatt_domain::workload::SceneTruth;

use super::{
    canvas::{Canvas, Mark},
    chance::{Chance, Purpose},
    picture::{Picture, Side},
};

/// Which objects stand where.
mod layout;

/// Sky, ground and weather.
mod backdrop;

/// What an object looks like.
mod figure;

/// Raised whenever a seed may give another picture or another truth; part of every suite's digest.
pub const DRAWING_VERSION: u32 = 1;

/// A scene, ready to be drawn at any size.
#[derive(Clone, Debug)]
pub struct Scene {
    seed: u64,
    truth: SceneTruth,
    marks: Vec<Mark>,
}

impl Scene {
    /// The scene of a seed.
    pub fn of_seed(seed: u64) -> Self {
        let layout = layout::Layout::new(&mut Chance::new(seed, Purpose::Layout));
        let mut marks = backdrop::marks(layout.setting, &mut Chance::new(seed, Purpose::Backdrop));
        let mut shade = Chance::new(seed, Purpose::Shade);
        for thing in &layout.things {
            marks.extend(figure::marks(thing, &mut shade));
        }
        Self {
            seed,
            truth: layout.truth(),
            marks,
        }
    }

    /// Draws it.
    pub fn draw(&self, side: Side) -> Picture {
        let mut canvas = Canvas::new(side);
        let mut grain = Chance::new(self.seed, Purpose::Grain);
        for mark in &self.marks {
            canvas.paint(mark, &mut grain);
        }
        canvas.develop()
    }

    /// Everything that is in it.
    pub fn truth(&self) -> &SceneTruth {
        &self.truth
    }

    /// What it was made from.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check_digest(seed: u64, px: u32, want: &str) {
        let picture = Scene::of_seed(seed).draw(Side::new(px).unwrap());
        assert_eq!(picture.digest().to_string(), want, "seed {seed} at {px} px");
    }

    /// The promise "same pixels on every platform": these may change only together with [`DRAWING_VERSION`].
    #[test]
    fn the_pixels_of_a_seed_never_change() {
        check_digest(
            0,
            96,
            "0a7301f45b16dd845f96263af6a731cee853de4c11a6be937f36cca8c9e45656",
        );
        check_digest(
            1,
            96,
            "b40c6e1375dabae33118d055c77b5ecf524e9ea438427321de688c4df8358d92",
        );
        check_digest(
            2,
            96,
            "f55264d6f4009f0f796b97fe51f36f2902e3792fd27a2f130a67f07204ad40d1",
        );
        check_digest(
            3,
            100,
            "2ce6069b743709e6223abaaee29b1016e68513212122bdb99656dd1d03a64d3c",
        );
        check_digest(
            4,
            224,
            "125498b7b9b468c23fc098c757553f35425a79a62ebc53861619eef969cca187",
        );
        check_digest(
            5,
            384,
            "2ca4a1455cf8b0f0da3faabdc1998ce174d13d5d3d8fed9acf6a3a440199fa1f",
        );
        check_digest(
            6,
            1024,
            "726aa59f373cb5bd4bb0f7ff75affd42d70bc4db4750af16c1167b42ab3205f4",
        );
        check_digest(
            1 << 62,
            96,
            "376fb837feb41eb3ca49be3c793938bb87943fd539026c5a3a31243121819126",
        );
    }

    #[test]
    fn the_truth_of_a_seed_never_changes() {
        let truth = serde_json::to_string(Scene::of_seed(0).truth()).unwrap();
        assert_eq!(
            truth,
            r#"{"place":"desert","time":"day","weather":"rainy","objects":[{"kind":"heart","color":"blue","size":"small","x":175,"y":312,"radius":70},{"kind":"heart","color":"red","size":"small","x":746,"y":852,"radius":76}]}"#
        );
    }

    #[test]
    fn a_larger_picture_shows_the_same_scene() {
        for seed in 0..20 {
            let scene = Scene::of_seed(seed);
            let small = scene.draw(Side::SMALLEST);
            let large = scene.draw(Side::new(480).unwrap());
            let difference = mean_difference(small.rgb(), &shrink(large.rgb(), 480, 5));
            assert!(difference < 6.0, "seed {seed}: {difference}");
        }
    }

    /// Averages blocks of `by` × `by` pixels.
    fn shrink(rgb: &[u8], px: usize, by: usize) -> Vec<u8> {
        let small = px / by;
        let mut sums = vec![0_usize; small * small * 3];
        for (index, channel) in rgb.iter().enumerate() {
            let (x, y) = (index / 3 % px / by, index / 3 / px / by);
            sums[(y * small + x) * 3 + index % 3] += usize::from(*channel);
        }
        sums.iter()
            .map(|sum| u8::try_from(sum / (by * by)).unwrap())
            .collect()
    }

    fn mean_difference(one: &[u8], other: &[u8]) -> f64 {
        let total: u32 = one
            .iter()
            .zip(other)
            .map(|(a, b)| u32::from(a.abs_diff(*b)))
            .sum();
        f64::from(total) / f64::from(u32::try_from(one.len()).unwrap())
    }

    proptest! {
        #[test]
        fn every_seed_draws(seed in any::<u64>(), px in 96_u32..300) {
            let picture = Scene::of_seed(seed).draw(Side::new(px).unwrap());
            prop_assert_eq!(picture.rgb().len(), usize::try_from(px * px * 3).unwrap());
        }
    }
}
