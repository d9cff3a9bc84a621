//! Drivers' files as parts of an instrument: what a failed reading means to it, and how often a chip has something new.

use std::time::Duration;

use super::{Absent, ReadError};
use crate::device::{HostRoot, Register, RegisterError, Unlearnt};

/// How often a chip has something new, by its driver's own word.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Conversion {
    /// Time for all channels of the chip together.
    pub(super) interval: Option<Duration>,
    /// Whether a reading is the mean of several conversions, taken over that time.
    pub(super) is_mean: bool,
}

impl From<RegisterError> for ReadError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Gone(message) => Self::Fatal(message),
            RegisterError::Silent(message) => Self::Transient(message),
        }
    }
}

impl Conversion {
    /// What the driver of `folder` says about its chip; absent where it says nothing.
    pub(super) fn of(root: &HostRoot, folder: &str) -> Self {
        let number = |name| root.read(&format!("{folder}/{name}")).ok()?.parse().ok();
        let interval = number("update_interval").filter(|&milliseconds: &u64| milliseconds > 0);
        Self {
            interval: interval.map(Duration::from_millis),
            is_mean: number("samples").is_some_and(|samples| samples > 1),
        }
    }

    /// Of two chips that are read as one: as slow as the slower, unknown if one of them is.
    pub(super) fn slower(self, other: Self) -> Self {
        let both = self.interval.zip(other.interval);
        Self {
            interval: both.map(|(one, other)| one.max(other)),
            is_mean: self.is_mean || other.is_mean,
        }
    }

    /// Length of the mean that a reading is.
    pub(super) fn averaging(self) -> Duration {
        let interval = self.interval.filter(|_| self.is_mean);
        interval.unwrap_or_default()
    }
}

/// Opens a driver's file and reads it once, so that what is refused is known at the start.
pub(super) fn open(root: &HostRoot, path: String) -> Result<Register, Absent> {
    let register = Register::open(root, path).map_err(explain)?;
    match register.read() {
        Ok(_) => Ok(register),
        Err(error) => Err(Absent(error.to_string())),
    }
}

/// What became of a tick. One chip that is gone leaves the others to be read; when all are, the instrument is.
pub(super) fn outcome(readings: Vec<Result<i64, ReadError>>) -> Result<(), ReadError> {
    let is_gone = |reading| matches!(reading, &Err(ReadError::Fatal(_)));
    let are_all_gone = readings.iter().all(is_gone);
    match readings.into_iter().find_map(Result::err) {
        None => Ok(()),
        Some(ReadError::Fatal(message)) if !are_all_gone => Err(ReadError::Transient(message)),
        Some(error) => Err(error),
    }
}

fn explain(error: Unlearnt) -> Absent {
    match error {
        Unlearnt::Denied(path) => Absent(format!(
            "`{path}` may be read by root only: run as root, or give the agent's group the right with `chgrp` and `chmod g+r` \
             on it at every start (a udev or tmpfiles rule)"
        )),
        error => Absent(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_chip_lost_is_a_hole_and_all_lost_is_the_end() {
        let gone = || Err(ReadError::Fatal("gone".to_owned()));
        let busy = || Err(ReadError::Transient("busy".to_owned()));
        assert!(outcome(vec![Ok(1), Ok(2)]).is_ok());
        for readings in [vec![Ok(1), gone()], vec![gone(), busy()], vec![busy()]] {
            let error = outcome(readings).unwrap_err();
            assert!(matches!(error, ReadError::Transient(_)), "{error}");
        }
        let error = outcome(vec![gone(), gone()]).unwrap_err();
        assert!(matches!(error, ReadError::Fatal(_)), "{error}");
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let message = explain(Unlearnt::Denied("/sys/x".to_owned())).to_string();
        assert!(
            message.starts_with("`/sys/x` may be read by root only: run as root"),
            "{message}"
        );
    }

    #[test]
    fn two_chips_are_as_slow_as_the_slower_and_a_silent_one_makes_it_unknown() {
        let known = |milliseconds, is_mean| Conversion {
            interval: Some(Duration::from_millis(milliseconds)),
            is_mean,
        };
        let both = known(2, false).slower(known(9, true));
        assert_eq!(both, known(9, true));
        assert_eq!(both.averaging(), Duration::from_millis(9));
        assert_eq!(known(9, false).averaging(), Duration::ZERO);
        let unknown = known(2, true).slower(Conversion::default());
        assert_eq!(unknown.interval, None);
        assert_eq!(unknown.averaging(), Duration::ZERO);
    }
}
