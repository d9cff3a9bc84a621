//! Quantiles of Student's t, precise for every number of degrees of freedom.
//!
//! Tail: P(T > t) = ½ I(x; ν/2, ½) with x = ν/(ν + t²) and I the regularised incomplete beta function, as the continued
//! fraction of DLMF 8.17.22; the quantile by bisection until neighbouring floats are reached. From ν = 1,000 on, the expansion
//! of Abramowitz and Stegun 26.7.5 about the normal quantile, whose next term is below 1e-12 there.

use std::{
    f64::consts::{FRAC_1_SQRT_2, PI},
    sync::atomic::{AtomicU64, Ordering},
};

/// The t below which a share `probability` of Student's distribution lies; `probability` in (0, 1), `freedom` > 0.
pub fn t_quantile(probability: f64, freedom: f64) -> f64 {
    if probability < 0.5 {
        return -t_quantile(1.0 - probability, freedom);
    }
    let tail = 1.0 - probability;
    if freedom >= LARGE {
        return expansion(
            root(|z| 0.5 * libm::erfc(z * FRAC_1_SQRT_2) > tail),
            freedom,
        );
    }
    root(|t| upper_tail(t, freedom) > tail)
}

/// From here on the expansion is as precise as the fraction.
const LARGE: f64 = 1000.0;

/// The t(0.975) of a whole number of degrees of freedom, worked out once in a process: a board asks for the same ones again and again.
pub fn t_quantile_of(freedom: u32) -> f64 {
    let knot = match freedom {
        0 => None,
        1..FINE_END => Some((freedom - 1) * FINE),
        _ => Some(FINE_KNOTS + freedom - FINE_END),
    };
    let known = knot.filter(|knot| *knot < KNOTS).map(at_knot);
    known.map_or_else(|| t_quantile(0.975, f64::from(freedom)), |(_, t)| t)
}

/// Two values between which the t(0.975) of `freedom` ≥ 1 lies, near each other: as a function of the degrees of freedom it falls
/// and is convex, so that it lies below the chord between the knots around it and above the next chord, drawn out.
pub fn t_bounds(freedom: f64) -> (f64, f64) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what is negative or too large ends at the ends of the range"
    )]
    let knot = match freedom < f64::from(FINE_END) {
        true => ((freedom - 1.0) * f64::from(FINE)) as u32,
        false => FINE_KNOTS + (freedom - f64::from(FINE_END)) as u32,
    };
    if knot >= KNOTS - 2 {
        return (NORMAL, at_knot(KNOTS - 2).1);
    }
    let [(x, below), (next_x, above), (last_x, last)] = [knot, knot + 1, knot + 2].map(at_knot);
    let chord = |slope: f64, from: f64| slope * (freedom - from);
    (
        above + chord((last - above) / (last_x - next_x), next_x),
        below + chord((above - below) / (next_x - x), x),
    )
}

/// The degrees of freedom of a knot, and the t(0.975) there.
fn at_knot(knot: u32) -> (f64, f64) {
    let freedom = match knot < FINE_KNOTS {
        true => 1.0 + f64::from(knot) / f64::from(FINE),
        false => f64::from(FINE_END + knot - FINE_KNOTS),
    };
    let quantile = || t_quantile(0.975, freedom);
    let known = usize::try_from(knot).ok().and_then(|knot| KNOWN.get(knot));
    let bits = known.map_or(0, |known| known.load(Ordering::Relaxed));
    if bits != 0 {
        return (freedom, f64::from_bits(bits));
    }
    let quantile = quantile();
    if let Some(known) = known {
        known.store(quantile.to_bits(), Ordering::Relaxed);
    }
    (freedom, quantile)
}

/// Bits of t(0.975) by knots; 0 where nobody has asked.
static KNOWN: [AtomicU64; KNOTS as usize] = [const { AtomicU64::new(0) }; KNOTS as usize];

/// Knots up to 16 degrees of freedom, where t falls steeply, lie this near together; from there on at whole numbers.
const FINE: u32 = 64;
const FINE_END: u32 = 16;
const FINE_KNOTS: u32 = (FINE_END - 1) * FINE;

/// The last one is at 1,002 degrees of freedom.
const KNOTS: u32 = FINE_KNOTS + 1003 - FINE_END;

/// Below the 97.5 % quantile of the normal distribution, to which t falls.
pub const NORMAL: f64 = 1.959_963_984_540_054;

/// Where `is_below` turns from true to false on the positive axis.
fn root(is_below: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while is_below(high) && high < f64::MAX / 4.0 {
        (low, high) = (high, 2.0 * high);
    }
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return high;
        }
        if is_below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// P(T > t) for t ≥ 0.
fn upper_tail(t: f64, freedom: f64) -> f64 {
    let (a, b) = (0.5 * freedom, 0.5);
    let square = t * t;
    let x = freedom / (freedom + square);
    let complement = square / (freedom + square);
    // x^a (1 − x)^b / B(a, b), symmetric in (x, a) and (1 − x, b).
    let front = libm::exp(-a * libm::log1p(square / freedom))
        * libm::sqrt(complement / PI)
        * gamma_ratio(a);
    if x < (a + 1.0) / (a + b + 2.0) {
        0.5 * front * fraction(x, a, b) / a
    } else {
        0.5 - 0.5 * front * fraction(complement, b, a) / b
    }
}

/// The continued fraction of I(x; a, b), from its far end; it converges fast for x < (a + 1)/(a + b + 2).
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    let mut value = 1.0;
    for pair in (1..=TERMS).rev() {
        let m = f64::from(pair);
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        value = 1.0 + even / (1.0 + odd / value);
    }
    1.0 / (1.0 - (a + b) * x / (a + 1.0) / value)
}

/// Pairs of terms: some √max(a, b) are needed, and a < [`LARGE`] / 2.
const TERMS: u32 = 120;

/// Γ(a + ½)/Γ(a). Above 20 by its own series: the difference of two large logarithms would lose digits.
fn gamma_ratio(a: f64) -> f64 {
    if a < 20.0 {
        return libm::exp(libm::lgamma(a + 0.5) - libm::lgamma(a));
    }
    let inverse = 1.0 / a;
    let square = inverse * inverse;
    let series = inverse
        * (-1.0 / 8.0
            + square * (1.0 / 192.0 + square * (-1.0 / 640.0 + square * (17.0 / 14336.0))));
    libm::sqrt(a) * libm::exp(series)
}

/// Abramowitz and Stegun 26.7.5.
fn expansion(z: f64, freedom: f64) -> f64 {
    let s = z * z;
    let first = z * (s + 1.0) / 4.0;
    let second = z * ((5.0 * s + 16.0) * s + 3.0) / 96.0;
    let third = z * (((3.0 * s + 19.0) * s + 17.0) * s - 15.0) / 384.0;
    let fourth = z * ((((79.0 * s + 776.0) * s + 1482.0) * s - 1920.0) * s - 945.0) / 92160.0;
    z + (first + (second + (third + fourth / freedom) / freedom) / freedom) / freedom
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(probability: f64, freedom: f64, want: f64) {
        let got = t_quantile(probability, freedom);
        assert!(
            (got / want - 1.0).abs() < 1e-12,
            "t({probability}, {freedom}) = {got}, want {want}"
        );
    }

    #[test]
    fn one_two_and_four_degrees_have_closed_forms() {
        for probability in [0.6, 0.75, 0.9, 0.95, 0.975, 0.995, 0.9995] {
            check(probability, 1.0, libm::tan(PI * (probability - 0.5)));
            let spare = 4.0 * probability * (1.0 - probability);
            check(
                probability,
                2.0,
                (2.0 * probability - 1.0) * libm::sqrt(2.0 / spare),
            );
            let root = libm::sqrt(spare);
            let cosine = libm::cos(libm::acos(root) / 3.0) / root;
            check(probability, 4.0, 2.0 * libm::sqrt(cosine - 1.0));
        }
    }

    #[test]
    fn quantiles_agree_with_another_library() {
        // To 18 digits by mpmath.
        check(0.975, 2.37, 3.718_920_839_797_458);
        check(0.975, 3.0, 3.182_446_305_283_71);
        check(0.975, 5.0, 2.570_581_835_636_316);
        check(0.975, 7.77, 2.317_939_929_891_552);
        check(0.975, 10.0, 2.228_138_851_986_275);
        check(0.975, 30.0, 2.042_272_456_301_238);
        check(0.975, 120.0, 1.979_930_405_082_441);
        check(0.975, 999.0, 1.962_341_461_133_45);
        check(0.975, 1000.0, 1.962_339_080_826_408);
    }

    #[test]
    fn fraction_and_expansion_meet() {
        let below = t_quantile(0.975, LARGE * (1.0 - 1e-15));
        let above = t_quantile(0.975, LARGE);
        assert!((below / above - 1.0).abs() < 1e-12, "{below} {above}");
        check(0.975, 1e12, 1.959_963_984_540_054 + 2.372_271e-12);
    }

    #[test]
    fn the_lower_half_mirrors_the_upper() {
        assert_eq!(
            t_quantile(0.025, 7.0).to_bits(),
            (-t_quantile(0.975, 7.0)).to_bits()
        );
        assert!(t_quantile(0.5, 3.0).abs() < 1e-300);
    }

    #[test]
    fn what_lies_between_whole_numbers_is_bounded_closely() {
        for freedom in [
            1.0, 1.3, 2.0, 2.5, 4.99, 17.2, 58.0, 301.7, 999.5, 1000.0, 4e4,
        ] {
            let (low, high) = t_bounds(freedom);
            let exact = t_quantile(0.975, freedom);
            assert!(low <= exact && exact <= high, "{low} {exact} {high}");
            assert!(
                freedom < 17.0 || high / low < 1.002,
                "{freedom}: {low} {high}"
            );
        }
        assert_eq!(t_quantile_of(7).to_bits(), t_quantile(0.975, 7.0).to_bits());
        assert_eq!(t_quantile_of(7).to_bits(), t_quantile_of(7).to_bits());
        assert_eq!(
            t_quantile_of(5000).to_bits(),
            t_quantile(0.975, 5000.0).to_bits()
        );
    }
}
