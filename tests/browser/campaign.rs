//! A campaign, followed and ended from its page.

use std::{fs, process::Child};

use crate::lab::Lab;

/// An agent that attends; ended when dropped.
struct Attending(Child);

impl Drop for Attending {
    fn drop(&mut self) {
        // Both fail if it has ended.
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

impl Lab {
    fn attend(&self) -> Attending {
        let url = self.collector.url().to_owned();
        let mut agent = self.agent("attending");
        Attending(agent.args(["run", "--collector", &url]).spawn().unwrap())
    }

    fn create(&self, name: &str, limit: u32) {
        let file = self.scratch().join(format!("{name}.toml"));
        let campaign = format!(
            "name = \"{name}\"\n[work]\nsuite = \"edge-vision\"\nprecisions = [\"q8_0\"]\nrepetitions = 1\nlimit = {limit}\nquick = true\n"
        );
        fs::write(&file, campaign).unwrap();
        let file = file.to_str().unwrap();
        let created = self
            .collector
            .ask(&["campaign", "create", "-f", file])
            .unwrap();
        assert!(created.status.success(), "{created:?}");
    }
}

#[test]
fn a_campaign_is_followed_until_it_is_over_and_ended_by_a_button() {
    let Some(lab) = Lab::open_empty() else {
        return;
    };
    let _attending = lab.attend();
    lab.reads("1 attending");
    lab.create("first", 1);
    lab.go("/campaigns/first");
    lab.browser.evaluate("window.isTheSamePage = true").unwrap();
    lab.reads("1 of 1 job over");
    lab.reads("Over: nothing changes any more");
    let same = lab.browser.evaluate("return window.isTheSamePage").unwrap();
    assert_eq!(same, true, "it was loaded again");
    lab.create("second", 100);
    lab.go("/campaigns/second");
    lab.reads("leased");
    let details = lab.browser.find("main details summary").unwrap();
    lab.browser.click(&details).unwrap();
    let button = lab.browser.find("form[action$='/cancel'] button").unwrap();
    lab.browser.click(&button).unwrap();
    lab.reads("cancelled");
}
