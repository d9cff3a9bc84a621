//! The dashboard in a real browser: Chromium opens it by its one-time link, filters, follows what happens, downloads, on a phone's screen, by
//! keyboard alone, and without script. Left out aloud where there is no browser, failed in CI. Pictures of every page are kept in
//! `target/screenshots/`, to be looked at.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod answers;
mod boards;
mod campaign;
mod lab;
mod live;
mod pages;
mod raw;

use tokwatt_harness::{Browser, leave_out};

/// A browser, or none, which has been said then.
fn browser() -> Option<Browser> {
    let browser = Browser::start().unwrap();
    if browser.is_none() {
        leave_out("no Chromium and chromedriver here: `tests/prepare` installs them");
    }
    browser
}
