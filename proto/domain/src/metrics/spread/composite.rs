//! Several figures as one: their weighted geometric mean. How two composites stand to each other does not depend on units, nor on what
//! else there is to compare with.

/// Π vᵢ^wᵢ; `None` without figures, or if one is not finite or not above 0. A weight below 0 is of a figure of which less is better.
pub fn weighted_product(parts: &[(f64, f64)]) -> Option<f64> {
    let is_usable = |(_, value): &(f64, f64)| value.is_finite() && *value > 0.0;
    if parts.is_empty() || !parts.iter().all(is_usable) {
        return None;
    }
    let sum: f64 = parts
        .iter()
        .map(|(weight, value)| weight * libm::log(*value))
        .sum();
    Some(libm::exp(sum))
}

/// How far off a weighted product may be, as a share of it, if each of its figures may be off by its own bound: 1 − Π (1 − bᵢ)^|wᵢ|.
pub fn combined_bound(parts: &[(f64, f64)]) -> f64 {
    let sum: f64 = parts
        .iter()
        .filter(|(_, bound)| *bound > 0.0)
        .map(|(weight, bound)| libm::fabs(*weight) * libm::log1p(-bound))
        .sum();
    -libm::expm1(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_of_which_less_is_better_divides() {
        let half = weighted_product(&[(0.5, 16.0), (-0.5, 4.0)]).unwrap();
        assert!((half - 2.0).abs() < 1e-12);
        assert_eq!(weighted_product(&[(1.0, 0.0)]), None);
        assert_eq!(weighted_product(&[(1.0, f64::INFINITY)]), None);
        assert_eq!(weighted_product(&[]), None);
    }

    #[test]
    fn a_third_does_not_change_how_two_stand_to_each_other() {
        let score = |speed: f64, energy: f64, unit: f64| {
            weighted_product(&[(0.7, speed * unit), (-0.3, energy)]).unwrap()
        };
        let ratio = |unit| score(10.0, 3.0, unit) / score(8.0, 2.0, unit);
        assert!((ratio(1.0) - ratio(1000.0)).abs() < 1e-12);
    }

    #[test]
    fn a_bound_counts_by_its_weight() {
        assert!((combined_bound(&[(1.0, 0.03)]) - 0.03).abs() < 1e-12);
        assert!((combined_bound(&[(-1.0, 0.03), (0.5, 0.0)]) - 0.03).abs() < 1e-12);
        assert!((combined_bound(&[(0.5, 0.19)]) - 0.1).abs() < 1e-12);
        assert_eq!(combined_bound(&[]), 0.0);
        assert_eq!(combined_bound(&[(1.0, 1.0)]), 1.0);
    }
}
