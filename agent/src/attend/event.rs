//! What a bench that runs for a job tells its parent: a line of JSON on standard output for each of these.
//!
//! The other way there is one word, an empty line on its standard input: go on. The bench waits for it, for a short time, before each
//! window. Standard input that ends says that the parent is gone.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokwatt_domain::campaign::JobProgress;

/// From the bench to its parent.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BenchEvent {
    /// Something is measured and kept: from here on it can be resumed.
    Begun,
    /// It has come to this.
    Progress(JobProgress),
    /// It is about to measure, and waits for leave.
    Window {
        /// Nothing will be heard for at most so long.
        longest_ms: u64,
    },
    /// It is over. Nothing else follows.
    Ended {
        /// How.
        how: BenchEnd,
        /// Why it did not go well.
        reason: String,
    },
}

/// How a bench ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BenchEnd {
    /// Everything was asked.
    Done,
    /// It cannot be done here: a name or a setting that will not come right by itself.
    Refused,
    /// It did not go well.
    Failed,
    /// A person stopped it.
    Cancelled,
    /// Another bench has the device, or was interrupted on it.
    Busy,
    /// It can be resumed.
    Unfinished,
    /// It can be begun or resumed once there is room for results.
    Full,
}

impl BenchEvent {
    /// A window of at most this length.
    pub fn window(longest: Duration) -> Self {
        Self::Window {
            longest_ms: u64::try_from(longest.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_that_read_back() {
        let check = |event: BenchEvent, want: &str| {
            let line = serde_json::to_string(&event).unwrap();
            assert_eq!(line, want);
            assert_eq!(serde_json::from_str::<BenchEvent>(&line).unwrap(), event);
        };
        check(BenchEvent::Begun, r#""begun""#);
        check(
            BenchEvent::window(Duration::from_secs(135)),
            r#"{"window":{"longest_ms":135000}}"#,
        );
        let ended = BenchEvent::Ended {
            how: BenchEnd::Busy,
            reason: "a\nb".to_owned(),
        };
        check(ended, r#"{"ended":{"how":"busy","reason":"a\nb"}}"#);
        let progress = serde_json::to_string(&BenchEvent::Progress(JobProgress::default()));
        assert!(!progress.unwrap().contains('\n'));
    }
}
