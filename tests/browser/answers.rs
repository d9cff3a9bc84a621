//! Comparisons and recommendations.

use crate::lab::Lab;

impl Lab {
    fn pick(&self, option: &str) {
        let option = self
            .browser
            .find(&format!("option[value='{option}']"))
            .unwrap();
        self.browser.click(&option).unwrap();
    }

    fn ask(&self) {
        let button = self.browser.find("form.filters button").unwrap();
        self.browser.click(&button).unwrap();
    }
}

#[test]
fn two_devices_are_compared_by_choosing_them() {
    let Some(lab) = Lab::open() else {
        return;
    };
    lab.go("/compare?provenance=simulated");
    lab.pick("device=simulated-orin-1");
    let right = lab
        .browser
        .find("#right option[value='device=simulated-thor-1']");
    lab.browser.click(&right.unwrap()).unwrap();
    lab.ask();
    lab.browser
        .wait("both sides are in the address", |browser| {
            let url = browser.url()?;
            Ok(url.contains("left=device%3Dsimulated-orin-1")
                && url.contains("right=device%3Dsimulated-thor-1"))
        });
    lab.reads("SIMULATED");
    lab.reads("decode_tps");
    lab.go("/compare?left=device%3Dnobody&right=device%3Dsimulated-orin-1&provenance=simulated");
    lab.reads("nobody");
}

#[test]
fn a_use_case_has_an_answer_or_says_what_is_missing() {
    let Some(lab) = Lab::open() else {
        return;
    };
    lab.go("/recommend?provenance=simulated");
    let link = lab
        .browser
        .find("main dl a[href*='batch-throughput']")
        .unwrap();
    lab.browser.click(&link).unwrap();
    lab.reads("batch-throughput");
    lab.go("/recommend?use_case=batch-troughput");
    lab.reads("did you mean `batch-throughput`");
}
