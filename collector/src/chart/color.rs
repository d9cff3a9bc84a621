//! Colours that people with any colour vision tell apart, and that keep their order in grey.

use plotters::style::{BLACK, RGBColor};

/// Text.
pub(super) const INK: RGBColor = RGBColor(0x1a, 0x1a, 0x1a);

/// Text beside the point.
pub(super) const FAINT: RGBColor = RGBColor(0x5a, 0x5a, 0x5a);

/// Lines that help to read off values.
pub(super) const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

/// What is shaded.
pub(super) const SHADE: RGBColor = RGBColor(0xf0, 0xec, 0xdc);

/// Ground.
pub(super) const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);

/// Ground of a word that must not be missed; white stands out from it, also in print.
pub(super) const WARNING: RGBColor = RGBColor(0x8a, 0x33, 0x00);

/// The colour of the category with this number: those of Okabe and Ito, the dark ones first; after them they come again.
pub(super) fn category(number: usize) -> RGBColor {
    CATEGORIES[number % N_CATEGORIES]
}

/// The colour of a value, 0 to 1: cividis, from dark blue to yellow.
pub(super) fn shade(value: f64) -> RGBColor {
    let last = CIVIDIS.len() - 1;
    let place = value.clamp(0.0, 1.0) * last as f64;
    let below = (0..last)
        .rev()
        .find(|step| *step as f64 <= place)
        .unwrap_or(0);
    let part = place - below as f64;
    let (from, to) = (CIVIDIS[below], CIVIDIS[below + 1]);
    RGBColor(
        between(from.0, to.0, part),
        between(from.1, to.1, part),
        between(from.2, to.2, part),
    )
}

/// Black or white, whichever stands out more from the ground.
pub(super) fn ink_on(ground: RGBColor) -> RGBColor {
    if contrast(ground, PAPER) > contrast(ground, BLACK) {
        PAPER
    } else {
        BLACK
    }
}

/// As WCAG has it: 1 to 21, and 4.5 is enough for small text.
fn contrast(left: RGBColor, right: RGBColor) -> f64 {
    let (left, right) = (luminance(left), luminance(right));
    (left.max(right) + 0.05) / (left.min(right) + 0.05)
}

fn luminance(color: RGBColor) -> f64 {
    let linear = |part: u8| {
        let part = f64::from(part) / 255.0;
        match part <= 0.039_28 {
            true => part / 12.92,
            false => libm::pow((part + 0.055) / 1.055, 2.4),
        }
    };
    0.2126 * linear(color.0) + 0.7152 * linear(color.1) + 0.0722 * linear(color.2)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what lies between two bytes is a byte"
)]
fn between(from: u8, to: u8, part: f64) -> u8 {
    let (from, to) = (f64::from(from), f64::from(to));
    libm::round(from + (to - from) * part) as u8
}

/// How many categories have colours of their own.
pub(super) const N_CATEGORIES: usize = 7;

const CATEGORIES: [RGBColor; N_CATEGORIES] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x33, 0x33, 0x33),
];

const CIVIDIS: [RGBColor; 9] = [
    RGBColor(0x00, 0x22, 0x4e),
    RGBColor(0x12, 0x35, 0x70),
    RGBColor(0x3b, 0x49, 0x6c),
    RGBColor(0x57, 0x5d, 0x6d),
    RGBColor(0x70, 0x71, 0x73),
    RGBColor(0x8a, 0x86, 0x78),
    RGBColor(0xa5, 0x9c, 0x74),
    RGBColor(0xc3, 0xb3, 0x69),
    RGBColor(0xfe, 0xe8, 0x38),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_can_be_read_on_its_colour() {
        for step in 0..=100 {
            let ground = shade(f64::from(step) / 100.0);
            assert!(contrast(ground, ink_on(ground)) > 4.5, "{step}");
        }
    }

    #[test]
    fn a_larger_value_is_lighter_also_in_grey() {
        let greys: Vec<f64> = (0..=100)
            .map(|step| luminance(shade(f64::from(step) / 100.0)))
            .collect();
        assert!(greys.is_sorted());
    }

    #[test]
    fn what_must_not_be_missed_can_be_read() {
        assert!(contrast(WARNING, PAPER) > 7.0);
        assert!(contrast(FAINT, PAPER) > 4.5);
    }
}
