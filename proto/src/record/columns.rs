//! Runs of numbers as differences: small ones where neighbours are alike, and exact for any two.
//!
//! A difference is taken modulo 2^64, so that none overflows, and `from_…` undoes `to_…` for every input.

use crate::error::ContractError;

/// Differences between neighbours; of the first one, from `start`.
pub(super) fn to_deltas(start: u64, values: impl IntoIterator<Item = u64>) -> Vec<i64> {
    let mut before = start;
    let delta = |value: u64| {
        let delta = difference(value, before);
        before = value;
        delta
    };
    values.into_iter().map(delta).collect()
}

/// What [`to_deltas`] was made from.
pub(super) fn from_deltas(start: u64, deltas: &[i64]) -> impl Iterator<Item = u64> {
    deltas.iter().scan(start, |value, delta| {
        *value = value.wrapping_add_signed(*delta);
        Some(*value)
    })
}

/// What to add to `base` to get `value`.
pub(super) fn difference(value: u64, base: u64) -> i64 {
    value.wrapping_sub(base).cast_signed()
}

/// Refuses a column that has not one value for each of something.
pub(super) fn check_length(field: &str, length: usize, want: usize) -> Result<(), ContractError> {
    if length == want {
        return Ok(());
    }
    let problem = format!("has {length} values where there must be {want}");
    Err(ContractError::field(field, problem))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(start: u64, values: &[u64], want: &[i64]) {
        let deltas = to_deltas(start, values.iter().copied());
        assert_eq!(deltas, want);
        assert_eq!(from_deltas(start, &deltas).collect::<Vec<_>>(), values);
    }

    #[test]
    fn differences_wrap_instead_of_overflowing() {
        check(0, &[], &[]);
        check(100, &[100, 110, 105], &[0, 10, -5]);
        check(0, &[u64::MAX, 0, u64::MAX], &[-1, 1, -1]);
        check(u64::MAX, &[0, 1 << 63, 0], &[1, i64::MIN, i64::MIN]);
    }

    proptest! {
        #[test]
        fn any_numbers_come_back(start: u64, values: Vec<u64>) {
            let deltas = to_deltas(start, values.iter().copied());
            prop_assert_eq!(from_deltas(start, &deltas).collect::<Vec<_>>(), values);
        }
    }
}
