//! The known name that somebody probably meant.

use tokwatt_domain::spelling::distance;

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
