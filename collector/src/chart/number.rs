//! Figures for people: four digits, no more than repetitions support, in units that need no leading zeros.

use tokwatt_domain::metrics::Percentile;

/// A unit for people; documents have SI units.
pub(crate) struct Scale<'a> {
    /// Its name.
    pub(crate) unit: &'a str,
    factor: f64,
}

impl<'a> Scale<'a> {
    /// Milliseconds where every time is below a second, hours where one is ten of them, mega- and gigabytes for what is larger than one; else the unit itself.
    pub(crate) fn of(unit: &'a str, values: impl Iterator<Item = f64>) -> Self {
        let largest = values.map(f64::abs).reduce(f64::max);
        let (unit, factor) = match (unit, largest) {
            ("s", Some(largest)) if largest >= 36_000.0 => ("h", 1.0 / 3600.0),
            ("s", Some(largest)) if largest < 1.0 => ("ms", 1e3),
            ("B", Some(largest)) if largest >= 1e9 => ("GB", 1e-9),
            ("B", Some(largest)) if largest >= 1e6 => ("MB", 1e-6),
            _ => (unit, 1.0),
        };
        Self { unit, factor }
    }

    /// A figure in this unit, as a number.
    pub(crate) fn scaled(&self, value: f64) -> f64 {
        value * self.factor
    }

    /// A figure in this unit.
    pub(crate) fn show(&self, value: f64) -> String {
        short(self.scaled(value))
    }

    /// A figure in this unit, if it is not a failed request, which ranks as infinite.
    pub(crate) fn show_or_failed(&self, value: f64) -> String {
        match value.is_finite() {
            true => self.show(value),
            false => "failed".to_owned(),
        }
    }
}

/// A percentile, or what is said instead.
pub(crate) fn percentile(percentile: Percentile, scale: &Scale<'_>) -> String {
    match percentile {
        Percentile::Value(value) => scale.show(value),
        Percentile::Failed(_) => "failed".to_owned(),
    }
}

/// Four significant digits, without an exponent where that stays readable.
pub(crate) fn short(value: f64) -> String {
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

    #[test]
    fn times_below_a_second_are_in_milliseconds() {
        let check = |unit, values: &[f64], want: (&str, &str)| {
            let scale = Scale::of(unit, values.iter().copied());
            assert_eq!((scale.unit, scale.show(values[0]).as_str()), want);
        };
        check("s", &[0.0139, 0.9], ("ms", "13.90"));
        check("s", &[0.0139, 1.0], ("s", "0.01390"));
        check("B", &[23.2e6], ("MB", "23.20"));
        check("B", &[13.2e9], ("GB", "13.20"));
        check("share", &[0.5], ("share", "0.5000"));
    }
}
