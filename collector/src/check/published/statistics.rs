//! What three runs say, and what a single figure does not.

use tokwatt_domain::metrics::spread::student::t_quantile;

use super::{
    Finding, Verdict,
    range::{Range, short},
};
use crate::published::Row;

/// With n = 3, mean, least and most leave one value for the third run, and so one deviation.
pub(super) fn three_runs(row: &Row) -> Finding {
    let (Some(3), Some(sd), Some(min), Some(max)) = (row.n, row.sd, row.min, row.max) else {
        return not_of_three();
    };
    let printed = |value: f64| Range::printed(value, &format!("{value:.1}"));
    let (mean, least, most) = (printed(row.value()), printed(min), printed(max));
    let third = mean.times(Range::exactly(3.0)).minus(least.plus(most));
    // The deviation at every corner of what rounding leaves open.
    let mut deviations = Vec::new();
    for low in [least.low, least.high] {
        for high in [most.low, most.high] {
            for third in [third.low.max(low), third.high.min(high)] {
                deviations.push(sample_deviation([low, third, high]));
            }
        }
    }
    let smallest = deviations.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = deviations.iter().copied().fold(0.0, f64::max);
    let found = Range {
        low: smallest,
        high: largest,
    };
    let is_so = third.overlaps(least.hull(most)) && found.overlaps(printed(sd));
    Finding::whether(
        is_so,
        format!(
            "the third run is {third}, the deviation {}",
            short(f64::midpoint(smallest, largest))
        ),
        "three runs may have been so",
        "no three runs have this mean, deviation, least and most",
    )
}

/// Of three normal values (n − 1)·s²/σ² is exponential with mean 2: the 95 % interval of σ is s/√(−ln(1 − p)) at p = 0.975 and 0.025.
pub(super) fn variation_of_three(row: &Row, limit: f64) -> Finding {
    let (Some(3), Some(sd)) = (row.n, row.sd) else {
        return not_of_three();
    };
    let variation = sd / row.value();
    let at = |probability: f64| variation / (-(1.0_f64 - probability).ln()).sqrt();
    let (low, high) = (at(0.975), at(0.025));
    let follows = format!(
        "{:.0} %, with a 95 % interval from {:.0} to {:.0} %",
        100.0 * variation,
        100.0 * low,
        100.0 * high
    );
    match (high < limit, low >= limit) {
        (true, _) => Finding::new(follows, Verdict::Holds, "its interval lies below"),
        (_, true) => Finding::new(follows, Verdict::DoesNotHold, "its interval lies above"),
        _ => Finding::new(
            follows,
            Verdict::CannotBeDecided,
            "three runs say next to nothing about a deviation",
        ),
    }
}

/// mean ± t(0.975, 2) · s / √3, which should leave something above 0.
pub(super) fn mean_of_three(row: &Row) -> Finding {
    let (Some(3), Some(sd)) = (row.n, row.sd) else {
        return not_of_three();
    };
    let half = t_quantile(0.975, 2.0) * sd / 3.0_f64.sqrt();
    let follows = format!("{} ± {}", short(row.value()), short(half));
    match half < row.value() {
        true => Finding::new(follows, Verdict::Holds, "its 95 % interval leaves out 0"),
        false => Finding::new(
            follows,
            Verdict::CannotBeDecided,
            "its 95 % interval contains 0: three runs say nothing",
        ),
    }
}

/// Welch's interval of the difference of two means of three.
pub(super) fn separates(left: &Row, right: &Row) -> Finding {
    let (Some(3), Some(3), Some(left_sd), Some(right_sd)) = (left.n, right.n, left.sd, right.sd)
    else {
        return not_of_three();
    };
    let (a, b) = (left_sd * left_sd / 3.0, right_sd * right_sd / 3.0);
    let freedom = (a + b) * (a + b) / ((a * a + b * b) / 2.0);
    let half = t_quantile(0.975, freedom) * (a + b).sqrt();
    let difference = left.value() - right.value();
    let follows = format!("ahead by {} ± {}", short(difference), short(half));
    match difference > half {
        true => Finding::new(follows, Verdict::Holds, "the 95 % interval leaves out 0"),
        false => Finding::new(
            follows,
            Verdict::CannotBeDecided,
            "the 95 % interval contains 0",
        ),
    }
}

/// Without a spread nobody knows whether a lead is one, and figures of different scopes are never ahead of each other.
pub(super) fn lead(of: &Row, to: &Row) -> Finding {
    let follows = format!("{:+.1} %", 100.0 * (of.value() / to.value() - 1.0));
    let scope = |row: &Row| {
        let scope = row
            .metric
            .split_once('@')
            .map(|(_, scope)| scope.to_owned());
        let note = row
            .note
            .as_deref()
            .and_then(|note| note.strip_prefix("scope "));
        scope.or_else(|| note.map(str::to_owned))
    };
    let (left, right) = (scope(of), scope(to));
    if left != right {
        let name = |scope: Option<String>| scope.unwrap_or_else(|| "unstated".to_owned());
        let why = format!(
            "they are of different scopes, {} and {}, which cannot be compared",
            name(left),
            name(right)
        );
        return Finding::new(follows, Verdict::CannotBeDecided, why);
    }
    match (of.sd, to.sd) {
        (Some(_), Some(_)) => separates(of, to),
        _ => Finding::new(
            follows,
            Verdict::CannotBeDecided,
            "no spread is published, so nobody knows whether it is more than chance",
        ),
    }
}

/// Nobody can compute it again.
pub(super) fn undefined(row: &Row) -> Finding {
    let why = match &row.note {
        Some(note) => format!("no definition is published ({note})"),
        None => "no definition is published".to_owned(),
    };
    Finding::new("nothing".to_owned(), Verdict::CannotBeDecided, why)
}

fn sample_deviation(values: [f64; 3]) -> f64 {
    let mean = values.iter().sum::<f64>() / 3.0;
    let squares = values.iter().map(|value| (value - mean) * (value - mean));
    (squares.sum::<f64>() / 2.0).sqrt()
}

fn not_of_three() -> Finding {
    Finding::new(
        "nothing".to_owned(),
        Verdict::CannotBeDecided,
        "no three runs with a deviation are published",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::published::Published;

    fn row(name: &str) -> Row {
        Published::shipped()
            .row("molmo-gemma", name)
            .unwrap()
            .clone()
    }

    #[test]
    fn three_runs_have_one_deviation() {
        let finding = three_runs(&row("molmo.boardwalk"));
        assert_eq!(finding.verdict, Verdict::Holds, "{finding:?}");
        let mut wrong = row("molmo.boardwalk");
        wrong.sd = Some(4.7);
        assert_eq!(three_runs(&wrong).verdict, Verdict::DoesNotHold);
        wrong.n = None;
        assert_eq!(three_runs(&wrong).verdict, Verdict::CannotBeDecided);
    }

    /// χ²(2) at 0.025 and 0.975 is 0.0506 and 7.378: 0.52 and 6.28 times the deviation.
    #[test]
    fn the_deviation_of_three_runs_is_hardly_known() {
        let finding = variation_of_three(&row("molmo.overall"), 0.2);
        assert_eq!(finding.verdict, Verdict::CannotBeDecided);
        assert!(finding.follows.contains("from 10 to 119 %"), "{finding:?}");
        assert_eq!(
            variation_of_three(&row("gemma.reasoning"), 0.2).verdict,
            Verdict::DoesNotHold
        );
        assert_eq!(
            variation_of_three(&row("gemma.chart"), 0.5).verdict,
            Verdict::Holds
        );
    }

    #[test]
    fn a_mean_of_three_that_may_be_nothing_says_nothing() {
        let finding = mean_of_three(&row("gemma.reasoning"));
        assert_eq!(finding.verdict, Verdict::CannotBeDecided);
        assert_eq!(finding.follows, "2.3 ± 5.714");
        assert_eq!(
            mean_of_three(&row("molmo.boardwalk")).verdict,
            Verdict::Holds
        );
    }

    #[test]
    fn a_large_lead_separates_and_a_spread_hides_it() {
        let verdict = |left, right| separates(&row(left), &row(right)).verdict;
        assert_eq!(
            verdict("molmo.boardwalk", "gemma.boardwalk"),
            Verdict::Holds
        );
        assert_eq!(
            verdict("gemma.structured", "gemma.code"),
            Verdict::CannotBeDecided
        );
    }

    #[test]
    fn figures_of_different_scopes_are_never_ahead_of_each_other() {
        let published = Published::shipped();
        let row = |name| published.row("edge-vlm", name).unwrap();
        let finding = lead(row("smol.thor.efficiency"), row("smol.gb10.efficiency"));
        assert_eq!(finding.verdict, Verdict::CannotBeDecided);
        assert!(finding.why.contains("gpu_rail"), "{finding:?}");
    }
}
