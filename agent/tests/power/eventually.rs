//! The one place where a test sleeps: until something holds.

use std::{thread, time::Duration};

/// Looks every few milliseconds until `holds`; half a minute is for a machine under load.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("waited for long: {what}");
}
