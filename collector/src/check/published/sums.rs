//! Whether figures come to what is said of them: sums, means, products, ratios.

use super::{Finding, Verdict, range::Range};

/// All of them together.
pub(super) fn sum(parts: &[Range]) -> Range {
    parts
        .iter()
        .fold(Range::exactly(0.0), |sum, part| sum.plus(*part))
}

/// Their arithmetic mean.
pub(super) fn mean(parts: &[Range]) -> Range {
    let share = Range::exactly(1.0 / parts.len() as f64);
    sum(parts).times(share)
}

/// What was found is what is stated.
pub(super) fn equal(found: Range, stated: Range, unit: &str) -> Finding {
    Finding::whether(
        found.overlaps(stated),
        format!("{found}{unit}"),
        "it comes to that within rounding",
        "it comes to something else",
    )
}

/// The same of a comparison; one of unlike figures is asked again of like ones.
pub(super) fn stated(found: Range, stated: Range, like: Option<Range>, unit: &str) -> Finding {
    let Some(like) = like else {
        return equal(found, stated, unit);
    };
    Finding::whether(
        found.overlaps(stated) && like.overlaps(stated),
        format!("{found}{unit}; like for like {like}{unit}"),
        "it comes to that within rounding, like for like, too",
        "it compares unlike things",
    )
}

/// Parts and the room for them.
pub(super) fn fits(parts: Range, room: Range) -> Finding {
    Finding::whether(
        parts.low <= room.high,
        format!("{parts} into {room}"),
        "there is room",
        "together they are larger than the room",
    )
}

/// Whether anything is left for certain.
pub(super) fn something_left(left: Range) -> Finding {
    let follows = format!("{left}, from {:.0} to {:.0}", left.low, left.high);
    match left.low > 0.0 {
        true => Finding::new(follows, Verdict::Holds, "something is left in any case"),
        false => Finding::new(
            follows,
            Verdict::CannotBeDecided,
            "what is left may be nothing",
        ),
    }
}

/// All figures lie within a span.
pub(super) fn within(figures: &[Range], span: Range) -> Finding {
    let outside = figures.iter().filter(|figure| !figure.overlaps(span));
    let outside: Vec<String> = outside.map(Range::to_string).collect();
    let follows = match outside.is_empty() {
        true => "all of them".to_owned(),
        false => format!("{} outside", outside.join(" and ")),
    };
    Finding::whether(
        outside.is_empty(),
        follows,
        "none lies outside",
        "what lies outside was left out",
    )
}

/// A span lies within a stated one: wholly, in part, or not at all.
pub(super) fn inside(found: Range, stated: Range) -> Finding {
    let follows = format!("{:.1} to {:.1}", found.low, found.high);
    match (found.is_within(stated), found.overlaps(stated)) {
        (true, _) => Finding::new(follows, Verdict::Holds, "all of it lies within"),
        (false, true) => Finding::new(follows, Verdict::CannotBeDecided, "part of it lies within"),
        (false, false) => Finding::new(follows, Verdict::DoesNotHold, "none of it lies within"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> Range {
        Range::printed(text.parse().unwrap(), text)
    }

    fn all(texts: &[&str]) -> Vec<Range> {
        texts.iter().map(|text| printed(text)).collect()
    }

    #[test]
    fn parts_add_up_within_their_rounding() {
        let parts = all(&["2.3", "0.494", "0.441"]);
        assert_eq!(
            equal(sum(&parts), printed("3.2"), "").verdict,
            Verdict::Holds
        );
        let short = equal(sum(&parts), printed("3.7"), "");
        assert_eq!(short.verdict, Verdict::DoesNotHold);
        assert_eq!(short.follows, "3.235");
        assert_eq!(fits(sum(&parts), printed("4.4")).verdict, Verdict::Holds);
        assert_eq!(
            fits(sum(&parts), printed("3.1")).verdict,
            Verdict::DoesNotHold
        );
    }

    #[test]
    fn a_mean_is_of_its_rows() {
        let rows = all(&["29.3", "32.7", "28.8"]);
        assert_eq!(
            equal(mean(&rows), printed("31.1"), "").verdict,
            Verdict::DoesNotHold
        );
        assert_eq!(
            equal(mean(&rows), printed("30.3"), "").verdict,
            Verdict::Holds
        );
    }

    #[test]
    fn a_ratio_of_unlike_things_is_asked_again() {
        let ratio = printed("1533").over(printed("2511"));
        let like = printed("1533").over(printed("1711"));
        assert_eq!(
            stated(ratio, printed("0.61"), None, "").verdict,
            Verdict::Holds
        );
        let unlike = stated(ratio, printed("0.61"), Some(like), "");
        assert_eq!(unlike.verdict, Verdict::DoesNotHold);
    }

    #[test]
    fn what_may_be_nothing_is_not_something() {
        let left = printed("678").minus(printed("660").wider(30.0));
        assert_eq!(something_left(left).verdict, Verdict::CannotBeDecided);
        let left = printed("678").minus(printed("500"));
        assert_eq!(something_left(left).verdict, Verdict::Holds);
    }

    #[test]
    fn spans_lie_within_or_in_part_or_not_at_all() {
        let span = printed("12").hull(printed("25"));
        assert_eq!(
            within(&all(&["12.6", "25.1"]), span).verdict,
            Verdict::Holds
        );
        assert_eq!(within(&all(&["2.3"]), span).follows, "2.3 outside");
        let of = |low: f64, high: f64| inside(Range { low, high }, span).verdict;
        assert_eq!(of(13.0, 20.0), Verdict::Holds);
        assert_eq!(of(5.0, 20.0), Verdict::CannotBeDecided);
        assert_eq!(of(1.0, 2.0), Verdict::DoesNotHold);
    }
}
