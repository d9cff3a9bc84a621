//! Boards by their filters.

use crate::lab::Lab;

impl Lab {
    fn n_rows(&self) -> usize {
        self.browser.all("table.board tbody tr").unwrap().len()
    }

    fn choose(&self, field: &str, label: &str) {
        let option = format!(
            "const options = [...document.getElementById({field:?}).options]; \
             return options.findIndex(option => option.label === {label:?}) + 1"
        );
        let nth = self.browser.evaluate(&option).unwrap();
        let option = self
            .browser
            .find(&format!("#{field} option:nth-of-type({nth})"));
        self.browser.click(&option.unwrap()).unwrap();
    }
}

#[test]
fn what_is_only_simulated_is_never_shown_as_measured_and_is_one_click_away() {
    let Some(lab) = Lab::open() else {
        return;
    };
    lab.go("/boards");
    lab.reads("Nothing that is measured stands on this board");
    assert_eq!(lab.n_rows(), 0);
    let link = lab
        .browser
        .find("main a[href*='provenance=simulated']")
        .unwrap();
    lab.browser.click(&link).unwrap();
    lab.reads("SIMULATED, not measured");
    let n_rows = lab.n_rows();
    assert!(n_rows > 1);
    assert_eq!(
        lab.browser.all("table.board tbody .mark").unwrap().len(),
        n_rows
    );
    let title = lab.browser.title().unwrap();
    assert!(title.contains("SIMULATED, not measured"), "{title}");
}

#[test]
fn filters_stand_in_the_address_and_choose_the_rows() {
    let Some(lab) = Lab::open() else {
        return;
    };
    lab.go("/boards?provenance=simulated");
    lab.reads("SIMULATED");
    let before = lab.n_rows();
    lab.choose("precision", "f16");
    let show = lab.browser.find("form.filters button").unwrap();
    lab.browser.click(&show).unwrap();
    lab.browser.wait("the address has the filter", |browser| {
        Ok(browser.url()?.contains("where=precision%3Df16"))
    });
    assert_eq!(lab.n_rows() * 2, before);
    let address = lab.browser.url().unwrap();
    lab.browser.open(&address).unwrap();
    assert_eq!(lab.n_rows() * 2, before);
}

#[test]
fn a_question_without_an_answer_says_which_has_one() {
    let Some(lab) = Lab::open() else {
        return;
    };
    lab.go("/boards?metric=decode_tps&by=device&provenance=simulated");
    lab.reads("cannot stand on one board");
    let precision = lab.browser.find("main a[href*='precision%3Df16']").unwrap();
    lab.browser.click(&precision).unwrap();
    lab.browser.wait("a choice is made", |browser| {
        Ok(browser.url()?.contains("precision%3Df16"))
    });
    lab.go("/boards?metric=decode_tsp");
    lab.reads("did you mean `decode_tps`");
    lab.go("/boards?metrik=decode_tps");
    lab.reads("did you mean `metric`");
}
