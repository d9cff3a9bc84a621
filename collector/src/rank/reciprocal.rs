//! Two figures that are each other's reciprocal by definition, as another tool printed them: whether they can both be right.

use tokwatt_domain::{metrics::RunReport, power::Provenance};

/// Whether an imported run states tokens per joule and joules per token that are no reciprocals, beyond the rounding of their digits.
pub(super) fn contradicts(report: &RunReport) -> bool {
    let is_imported = report.provenance.requests >= Provenance::Imported
        || report.provenance.power >= Some(Provenance::Imported);
    let mut powers = report.power.iter();
    is_imported
        && powers.any(
            |power| match (power.tok_per_s_per_w, power.j_per_output_token) {
                (Some(per_joule), Some(joules)) => is_beyond_rounding(per_joule, joules),
                _ => false,
            },
        )
}

fn is_beyond_rounding(left: f64, right: f64) -> bool {
    let (least, most) = (
        (left - half_digit(left)) * (right - half_digit(right)),
        (left + half_digit(left)) * (right + half_digit(right)),
    );
    most < 1.0 - LAST_BITS || least > 1.0 + LAST_BITS
}

/// What rounding of the products themselves comes to.
const LAST_BITS: f64 = 1e-12;

/// Half of the last digit that is printed of a number: 0.0005 of 0.051.
fn half_digit(value: f64) -> f64 {
    let text = value.to_string();
    let n_digits = text.split_once('.').map_or(0, |(_, digits)| digits.len());
    let digits = i32::try_from(n_digits).unwrap_or(i32::MAX);
    0.5 * power_of_ten(-digits)
}

fn power_of_ten(exponent: i32) -> f64 {
    format!("1e{exponent}").parse().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(per_joule: f64, joules: f64, want: bool) {
        assert_eq!(
            is_beyond_rounding(per_joule, joules),
            want,
            "{per_joule} {joules}"
        );
    }

    #[test]
    fn a_study_printed_no_reciprocals() {
        // SmolVLM2 on Thor: 0.051 is 1/19.6, and no rounding makes it 1/18.78.
        check(18.78, 0.051, true);
        check(18.78, 0.0532, false);
        check(19.6, 0.051, false);
    }

    #[test]
    fn the_last_bits_of_a_true_reciprocal_are_no_contradiction() {
        for number in 1..2000 {
            let value = f64::from(number) / 7.0;
            check(value, 1.0 / value, false);
        }
    }

    #[test]
    fn rounding_to_whole_numbers_is_forgiven() {
        check(2.0, 0.45, false);
        check(3.0, 0.5, true);
    }
}
