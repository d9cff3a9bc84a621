//! The known name that somebody probably meant.

/// `did you mean …?` if a name is close, else all names.
pub(super) fn advice(name: &str, known: &[&str]) -> String {
    let closest = known
        .iter()
        .map(|candidate| (distance(name, candidate), *candidate))
        .filter(|(distance, candidate)| 2 * distance <= candidate.len().max(3))
        .min();
    match closest {
        Some((_, candidate)) => format!("did you mean `{candidate}`?"),
        None => format!("there are: {}", known.join(", ")),
    }
}

/// Fewest letters to insert, delete or replace.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut previous: Vec<usize> = (0..=to.len()).collect();
    for (row, letter) in from.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let replaced = previous[column] + usize::from(letter != *other);
            current.push(
                replaced
                    .min(previous[column + 1] + 1)
                    .min(current[column] + 1),
            );
        }
        previous = current;
    }
    previous[to.len()]
}
