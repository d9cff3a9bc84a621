//! Numbers in a text, as people write them.

/// The last number that is written in digits: `42`, `-1.5`, `1,234.5`, `1.234,5`, `12 %`.
///
/// A digit after a letter begins no number: `Q3` has none. A comma before three digits separates thousands, any other one decimals; a point
/// separates decimals, unless there are several or a comma follows.
pub(super) fn last_number(text: &str) -> Option<f64> {
    let letters: Vec<char> = text.chars().collect();
    let mut last = None;
    let mut at = 0;
    while at < letters.len() {
        let end = end_of_run(&letters, at);
        if end == at {
            at += 1;
            continue;
        }
        let is_word = at > 0 && letters[at - 1].is_alphabetic();
        if !is_word {
            let sign = if is_negative(&letters[..at]) {
                -1.0
            } else {
                1.0
            };
            last = value(&letters[at..end]).map(|value| sign * value).or(last);
        }
        at = end;
    }
    last
}

/// Digits, and separators between two of them.
fn end_of_run(letters: &[char], from: usize) -> usize {
    let is_digit = |at: usize| letters.get(at).is_some_and(char::is_ascii_digit);
    let mut at = from;
    while is_digit(at) || (at > from && is_separator(letters, at) && is_digit(at + 1)) {
        at += 1;
    }
    at
}

fn is_separator(letters: &[char], at: usize) -> bool {
    letters
        .get(at)
        .is_some_and(|letter| ['.', ','].contains(letter) || SPACES.contains(letter))
}

/// Whether a minus stands before the number that is none between two things.
fn is_negative(before: &[char]) -> bool {
    let before = match before {
        [before @ .., '$' | '€' | '£'] => before,
        before => before,
    };
    let Some((sign, before)) = before.split_last() else {
        return false;
    };
    MINUS.contains(sign) && before.last().is_none_or(|letter| !letter.is_alphanumeric())
}

fn value(run: &[char]) -> Option<f64> {
    let text: String = run
        .iter()
        .filter(|letter| !SPACES.contains(letter))
        .collect();
    let last = |separator| text.rfind(separator);
    match (last(','), last('.')) {
        (None, None) => text.parse().ok(),
        (Some(comma), Some(point)) if comma > point => decimal(&text, ',', '.'),
        (Some(_), Some(_)) => decimal(&text, '.', ','),
        (Some(_), None) if are_thousands(&text, ',') => text.replace(',', "").parse().ok(),
        (Some(_), None) => decimal(&text, ',', '.'),
        (None, Some(_)) if text.matches('.').count() > 1 && are_thousands(&text, '.') => {
            text.replace('.', "").parse().ok()
        }
        (None, Some(_)) => decimal(&text, '.', ','),
    }
}

/// One `point`, thousands before it separated by `comma`; of anything else, such as a date, the last group.
fn decimal(text: &str, point: char, comma: char) -> Option<f64> {
    if text.matches(point).count() > 1 {
        return text.rsplit(point).next()?.replace(comma, "").parse().ok();
    }
    text.replace(comma, "").replace(point, ".").parse().ok()
}

fn are_thousands(text: &str, separator: char) -> bool {
    let mut groups = text.split(separator);
    let first = groups.next().unwrap_or_default();
    (1..=3).contains(&first.len()) && first != "0" && groups.all(|group| group.len() == 3)
}

/// A hyphen, the mathematical sign, the dash that word processors make of them.
const MINUS: [char; 3] = ['-', '\u{2212}', '\u{2013}'];

/// Within a number: two that do not break, a thin one, two apostrophes.
const SPACES: [char; 5] = ['\u{a0}', '\u{202f}', '\u{2009}', '\'', '\u{2019}'];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<f64>) {
        assert_eq!(last_number(text), want, "{text}");
    }

    #[test]
    fn numbers_are_read_as_people_write_them() {
        check("42", Some(42.0));
        check("about 1.5 V.", Some(1.5));
        check("-3", Some(-3.0));
        check("\u{2212}3,5 °C", Some(-3.5));
        check("1,234", Some(1234.0));
        check("12,5", Some(12.5));
        check("0,125", Some(0.125));
        check("1.234,5", Some(1234.5));
        check("1,234.5", Some(1234.5));
        check("1.234.567", Some(1_234_567.0));
        check("1\u{202f}234", Some(1234.0));
        check("12'000 CHF", Some(12_000.0));
        check("12\u{2019}000 CHF", Some(12_000.0));
        check("12\u{2009}000", Some(12_000.0));
        check("-$1,200", Some(-1200.0));
        check("\u{2013}12 °C", Some(-12.0));
        check("3\u{2013}5", Some(5.0));
        check("42k", Some(42.0));
        check("**42**", Some(42.0));
    }

    #[test]
    fn the_last_one_counts() {
        check("12 + 30 = 42", Some(42.0));
        check("Between 3-5.", Some(5.0));
        check("in 2024: 17, as in Q3", Some(17.0));
        check("on 1.2.2024", Some(2024.0));
    }

    #[test]
    fn a_text_without_a_number_has_none() {
        check("", None);
        check("none", None);
        check("Q3, H2O", None);
        check("., -", None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_every_number_found(text in ".*", number in -1_000_000_i32..1_000_000) {
            prop_assert_eq!(last_number(&format!("{text} {number}")), Some(f64::from(number)));
        }
    }
}
