//! Who was not let in, and why: logged and counted in one place.

use std::{
    fmt::Display,
    sync::atomic::{AtomicU64, Ordering},
};

use prometheus_client::metrics::counter::Counter;

use super::Labelled;

/// Connections and enrolments that were refused.
#[derive(Debug)]
pub struct Strangers {
    refused: Labelled<Counter>,
    /// Of each reason, since [`sum_up`](Self::sum_up).
    lately: [AtomicU64; NotLetIn::ALL.len()],
}

/// Why somebody was not let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotLetIn {
    /// As many connections are open as may be.
    TooManyConnections,
    /// As many handshakes are under way as may be.
    TooManyHandshakes,
    /// The handshake was not over in time.
    HandshakeTimeout,
    /// No certificate, one that is not ours, or not TLS at all.
    HandshakeFailed,
    /// A certificate of ours that is not good any more.
    Certificate,
    /// A token that is not good, or not for that.
    Token,
}

impl Strangers {
    pub(super) fn new(refused: Labelled<Counter>) -> Self {
        for reason in NotLetIn::ALL {
            drop(refused.get_or_create(&reason.label()));
        }
        Self {
            refused,
            lately: Default::default(),
        }
    }

    /// Counts one. The first in a while is logged with who and why, the others of the same reason with how many they were: strangers must
    /// not be able to fill the disk.
    pub fn refused(&self, reason: NotLetIn, who: &dyn Display, why: &dyn Display) {
        self.refused.get_or_create(&reason.label()).inc();
        let is_first = self.lately[reason as usize].fetch_add(1, Ordering::Relaxed) == 0;
        let reason = reason.as_str();
        if is_first {
            tracing::warn!(reason, %who, %why, "not let in");
        } else {
            tracing::debug!(reason, %who, %why, "not let in");
        }
    }

    /// Logs how many were refused since the last time, beside those that were logged one by one.
    pub fn sum_up(&self) {
        for reason in NotLetIn::ALL {
            let n = self.lately[reason as usize].swap(0, Ordering::Relaxed);
            if n > 1 {
                tracing::warn!(reason = reason.as_str(), n = n - 1, "not let in, others");
            }
        }
    }

    /// How many there were since the start.
    pub fn count(&self, reason: NotLetIn) -> u64 {
        self.refused.get_or_create(&reason.label()).get()
    }
}

impl NotLetIn {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::TooManyConnections,
        Self::TooManyHandshakes,
        Self::HandshakeTimeout,
        Self::HandshakeFailed,
        Self::Certificate,
        Self::Token,
    ];

    /// Its name in figures and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooManyConnections => "too_many_connections",
            Self::TooManyHandshakes => "too_many_handshakes",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::HandshakeFailed => "handshake_failed",
            Self::Certificate => "certificate",
            Self::Token => "token",
        }
    }

    fn label(self) -> [(&'static str, &'static str); 1] {
        [("reason", self.as_str())]
    }
}
