//! Watts and joules; only the operations that mean something.

use std::{
    iter::Sum,
    ops::{Add, Mul},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// Power in watts. Negative readings occur (a sensor's offset near zero) and are kept.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Watts(pub f64);

/// Energy in joules.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Joules(pub f64);

impl Mul<Duration> for Watts {
    type Output = Joules;

    fn mul(self, time: Duration) -> Joules {
        Joules(self.0 * time.as_secs_f64())
    }
}

impl Add for Joules {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sum for Joules {
    fn sum<I: Iterator<Item = Self>>(terms: I) -> Self {
        Self(terms.map(|term| term.0).sum())
    }
}
