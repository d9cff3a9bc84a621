//! Pages that keep up with what happens.

use crate::lab::Lab;

#[test]
fn a_run_that_is_delivered_appears_by_itself() {
    let Some(lab) = Lab::open_empty() else {
        return;
    };
    lab.reads("No runs yet");
    lab.browser.wait("the page is live", |browser| {
        Ok(browser.text_at(".live-state")?.starts_with("Live"))
    });
    lab.browser.evaluate("window.isTheSamePage = true").unwrap();
    let url = lab.collector.url().to_owned();
    let status = lab
        .agent("late")
        .args([
            "bench",
            "--simulate",
            "gb10",
            "--limit",
            "2",
            "--repeat",
            "1",
        ])
        .args(["--collector", &url])
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    lab.reads("simulated-gb10-1");
    lab.browser.wait("a run is there and complete", |browser| {
        let rows = browser.all("tr[id^='run-']")?;
        Ok(!rows.is_empty() && browser.text(&rows[0])?.contains("complete"))
    });
    let same = lab.browser.evaluate("return window.isTheSamePage").unwrap();
    assert_eq!(same, true, "it was loaded again");
}
