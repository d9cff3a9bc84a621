//! Figures for people: four digits, no more than repetitions support.

/// Four significant digits, without an exponent where that stays readable.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    if !(1e-4..1e7).contains(&size) {
        return format!("{value:.3e}");
    }
    let decimals = match size {
        1000.0.. => 0,
        100.0.. => 1,
        10.0.. => 2,
        1.0.. => 3,
        0.1.. => 4,
        0.01.. => 5,
        _ => 6,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: f64, want: &str) {
        assert_eq!(short(value), want);
    }

    #[test]
    fn four_digits_are_shown() {
        check(0.0, "0");
        check(0.012_345, "0.01235");
        check(0.987_65, "0.9877");
        check(41.2345, "41.23");
        check(12_345.6, "12346");
        check(8.5e9, "8.500e9");
        check(2.5e-6, "2.500e-6");
    }
}
