//! A figure with what its rounding leaves open: from the least that is printed like this to the most.

use std::fmt;

/// From low to high.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Range {
    pub(super) fn exactly(value: f64) -> Self {
        Self {
            low: value,
            high: value,
        }
    }

    /// Of a number by how it is written: half of its last digit to and fro. What is written with an exponent is a constant.
    pub(super) fn printed(value: f64, text: &str) -> Self {
        if text.contains(['e', 'E']) {
            return Self::exactly(value);
        }
        let decimals = text
            .split_once('.')
            .map_or(0, |(_, decimals)| decimals.len());
        let decimals = i32::try_from(decimals).unwrap_or(i32::MAX);
        Self::exactly(value).wider(0.5 * 10_f64.powi(-decimals))
    }

    pub(super) fn wider(self, by: f64) -> Self {
        Self {
            low: self.low - by,
            high: self.high + by,
        }
    }

    /// From the one to the other; of two ends as they are stated, not as they may have been rounded.
    pub(super) fn hull(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
        }
    }

    pub(super) fn middle(self) -> f64 {
        f64::midpoint(self.low, self.high)
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            low: self.low + other.low,
            high: self.high + other.high,
        }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            low: self.low - other.high,
            high: self.high - other.low,
        }
    }

    /// Of figures that are not negative.
    pub(super) fn times(self, other: Self) -> Self {
        Self {
            low: self.low * other.low,
            high: self.high * other.high,
        }
    }

    /// Of figures that are above 0.
    pub(super) fn over(self, other: Self) -> Self {
        Self {
            low: self.low / other.high,
            high: self.high / other.low,
        }
    }

    /// What is missing of it up to `whole`.
    pub(super) fn from(self, whole: f64) -> Self {
        Self::exactly(whole).minus(self)
    }

    pub(super) fn overlaps(self, other: Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }

    pub(super) fn is_within(self, other: Self) -> bool {
        self.low >= other.low && self.high <= other.high
    }
}

/// Its middle, to four digits.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&short(self.middle()))
    }
}

/// Four digits of it, or all before the point.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    let decimals = match size {
        _ if size >= 1000.0 => 0,
        _ if size >= 100.0 => 1,
        _ if size >= 10.0 => 2,
        _ if size >= 0.1 || size == 0.0 => 3,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, low: f64, high: f64) {
        let range = Range::printed(text.parse().unwrap(), text);
        let close = |left: f64, right: f64| (left - right).abs() < 1e-12;
        assert!(
            close(range.low, low) && close(range.high, high),
            "{range:?}"
        );
    }

    #[test]
    fn a_printed_figure_may_be_off_by_half_of_its_last_digit() {
        check("18.78", 18.775, 18.785);
        check("554", 553.5, 554.5);
        check("3.0", 2.95, 3.05);
        check("273e9", 273e9, 273e9);
    }

    #[test]
    fn figures_are_short_and_keep_what_stands_before_the_point() {
        for (value, want) in [
            (19_813.4, "19813"),
            (62.045, "62.05"),
            (0.95778, "0.958"),
            (2.0, "2"),
            (100.0, "100"),
            (0.0, "0"),
        ] {
            assert_eq!(short(value), want);
        }
    }
}
