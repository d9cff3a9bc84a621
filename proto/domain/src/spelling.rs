//! How far apart two names are, for messages that say which one was probably meant.

/// Fewest letters to insert, delete or replace to make `right` of `left`.
pub fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

/// `did you mean …?` if a known name is close, else all of them.
pub fn advice(name: &str, known: &[&str]) -> String {
    let closest = known
        .iter()
        .map(|candidate| (distance(name, candidate), *candidate))
        .filter(|(distance, candidate)| 2 * distance <= candidate.len().max(3))
        .min();
    match closest {
        Some((_, candidate)) => format!("did you mean `{candidate}`?"),
        None if known.is_empty() => "there are none".to_owned(),
        None => format!("there are: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(left: &str, right: &str, want: usize) {
        assert_eq!((distance(left, right), distance(right, left)), (want, want));
    }

    #[test]
    fn a_letter_changed_counts_one() {
        check("", "", 0);
        check("ttft", "", 4);
        check("precison", "precision", 1);
        check("module", "modell", 2);
        check("kitten", "sitting", 3);
        check("same", "same", 0);
        check("küche", "kuche", 1);
    }

    #[test]
    fn the_nearest_name_is_advised_or_all_of_them() {
        let known = ["edge-vision", "batch"];
        assert_eq!(advice("egde-vision", &known), "did you mean `edge-vision`?");
        assert_eq!(advice("text", &known), "there are: edge-vision, batch");
        assert_eq!(advice("text", &[]), "there are none");
    }
}
