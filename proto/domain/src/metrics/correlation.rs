//! Whether two figures of the same requests go up and down together.

use serde::{Deserialize, Serialize};

/// Spearman's rank correlation: ρ² is the part of the ranks' variance that goes with the other's.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Correlation {
    /// From −1, one falls whenever the other rises, over 0 to 1, they rise together.
    pub rho: f64,
    /// How many pairs are behind it.
    pub n: u32,
}

/// ρ = Σ dₓ·dᵧ / √(Σ dₓ² · Σ dᵧ²), d a value's rank less the mean rank, equal values sharing the mean of their ranks. Exact up to
/// the last division: sums are of integers.
///
/// # Errors
/// Why there is none: too few pairs, or one side is constant.
pub fn spearman(pairs: &[(f64, f64)]) -> Result<Correlation, String> {
    let n = pairs.len();
    if n < PAIRS_MIN {
        return Err(format!("takes {PAIRS_MIN} requests, there are {n}"));
    }
    let left = deviations(pairs.iter().map(|pair| pair.0).collect());
    let right = deviations(pairs.iter().map(|pair| pair.1).collect());
    let product = |one: &[i128], other: &[i128]| -> i128 {
        one.iter().zip(other).map(|(one, other)| one * other).sum()
    };
    let squares = (product(&left, &left), product(&right, &right));
    if squares.0 == 0 || squares.1 == 0 {
        return Err("one of the two did not change".to_owned());
    }
    let number = |sum: i128| sum as f64;
    let rho = number(product(&left, &right)) / libm::sqrt(number(squares.0) * number(squares.1));
    Ok(Correlation {
        rho,
        n: u32::try_from(n).unwrap_or(u32::MAX),
    })
}

/// Twice each value's rank less twice the mean rank: an integer also where ranks are shared.
fn deviations(values: Vec<f64>) -> Vec<i128> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, other| values[*one].total_cmp(&values[*other]));
    let mut deviations = vec![0; values.len()];
    let mut from = 0;
    while from < order.len() {
        let value = values[order[from]];
        let equal = order[from..].iter();
        let to = from
            + equal
                .take_while(|other| values[**other] == value)
                .count()
                .max(1);
        // Ranks from + 1 to `to`, of which twice the mean is their sum; twice the mean of all ranks is their number + 1.
        let doubled = (from + 1 + to) as i128 - (order.len() + 1) as i128;
        for place in &order[from..to] {
            deviations[*place] = doubled;
        }
        from = to;
    }
    deviations
}

/// With fewer, chance alone makes strong ones.
const PAIRS_MIN: usize = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(left: &[i32], right: &[i32], want: Result<f64, &str>) {
        let pairs: Vec<(f64, f64)> = left
            .iter()
            .zip(right)
            .map(|(left, right)| (f64::from(*left), f64::from(*right)))
            .collect();
        match (spearman(&pairs), want) {
            (Ok(got), Ok(want)) => {
                assert!((got.rho - want).abs() < 1e-15, "{got:?}, want {want}");
                assert_eq!(got.n as usize, pairs.len());
            }
            (got, want) => assert_eq!(got.map(|got| got.rho), want.map_err(str::to_owned)),
        }
    }

    #[test]
    fn what_rises_together_is_one_however_fast() {
        let left = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        check(&left, &[1, 4, 9, 16, 25, 36, 49, 64, 81, 1000], Ok(1.0));
        check(&left, &[10, 9, 8, 7, 6, 5, 4, 3, 2, 1], Ok(-1.0));
    }

    #[test]
    fn without_ties_it_is_one_less_six_squares_over_the_cube() {
        // Neighbours exchanged: ten differences of 1, 1 − 6·10 / (10·99).
        let left = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        let right = [2, 1, 4, 3, 6, 5, 8, 7, 10, 9];
        check(&left, &right, Ok(1.0 - 60.0 / 990.0));
    }

    #[test]
    fn equal_values_share_their_ranks() {
        // Doubled deviations −5 and 5 against −9, −7, …, 9: 2·5·(1 + 3 + 5 + 7 + 9) / √(250·330).
        let left = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1];
        let right = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        check(&left, &right, Ok(250.0 / 82_500_f64.sqrt()));
    }

    #[test]
    fn too_few_or_constant_is_absent() {
        check(&[1; 9], &[1; 9], Err("takes 10 requests, there are 9"));
        check(
            &[1; 10],
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
            Err("one of the two did not change"),
        );
    }

    proptest! {
        #[test]
        fn it_is_symmetric_within_bounds_and_blind_to_order(
            (pairs, shuffled) in prop::collection::vec((-5..5_i32, -5..5_i32), 10..40)
                .prop_map(|pairs| pairs.into_iter().map(|(one, other)| (f64::from(one), f64::from(other))).collect::<Vec<_>>())
                .prop_flat_map(|pairs| (Just(pairs.clone()), Just(pairs).prop_shuffle()))
        ) {
            let there = spearman(&pairs);
            let back: Vec<(f64, f64)> = pairs.iter().map(|(one, other)| (*other, *one)).collect();
            prop_assert_eq!(&there, &spearman(&back));
            prop_assert_eq!(&there, &spearman(&shuffled));
            if let Ok(correlation) = there {
                prop_assert!(correlation.rho.abs() <= 1.0 + 1e-15);
            }
        }
    }
}
