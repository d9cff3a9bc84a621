//! Every page: on a wide screen and a phone's, in light and dark, by keyboard, without script, without complaints of the browser.

use std::path::Path;

use tokwatt_harness::{Key, tell};

use crate::lab::Lab;

/// Name and address of every page.
fn pages(lab: &Lab) -> Vec<(&'static str, String)> {
    let run = lab.run();
    let board = "/boards?metric=decode_tps&by=device&by=precision&where=task%3Dcaption_brief&provenance=simulated";
    vec![
        ("fleet", "/".to_owned()),
        ("board", settled(lab)),
        ("board-choice", board.replace("&by=precision", "")),
        ("board-nothing", "/boards?metric=decode_tps".to_owned()),
        ("compare", "/compare?provenance=simulated".to_owned()),
        ("comparison", COMPARISON.to_owned()),
        ("recommend", "/recommend".to_owned()),
        ("report", "/report".to_owned()),
        ("recommendation", RECOMMENDATION.to_owned()),
        ("device", "/devices/simulated-orin-1".to_owned()),
        ("runs", "/runs".to_owned()),
        ("run", format!("/runs/{run}")),
        ("campaigns", "/campaigns".to_owned()),
        ("nowhere", "/nowhere".to_owned()),
    ]
}

const COMPARISON: &str = "/compare?left=device%3Dsimulated-orin-1&right=device%3Dsimulated-thor-1&where=task%3Dcaption_brief&provenance=simulated";

const RECOMMENDATION: &str =
    "/recommend?use_case=power-constrained&scope=module&provenance=simulated";

/// The address of a board with rows.
fn settled(lab: &Lab) -> String {
    lab.go("/boards?provenance=simulated");
    let url = lab.browser.url().unwrap();
    let (_, path) = url.split_once("/boards").unwrap();
    format!("/boards{path}")
}

#[test]
fn no_page_is_wider_than_its_screen_and_the_browser_complains_of_none() {
    let Some(lab) = Lab::open() else {
        return;
    };
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../screenshots");
    let pages = pages(&lab);
    lab.browser.complaints().unwrap();
    for (width, scheme, name) in [
        (1280, "light", "wide"),
        (1280, "dark", "dark"),
        (360, "light", "phone"),
    ] {
        lab.browser.resize(width, 800).unwrap();
        lab.browser.prefer(scheme).unwrap();
        for (page, path) in &pages {
            lab.go(path);
            let is_wide = "return document.documentElement.scrollWidth";
            let wide = lab.browser.evaluate(is_wide).unwrap();
            assert!(
                wide.as_u64().unwrap() <= width.into(),
                "{page} is {wide} wide at {width}"
            );
            let picture = pictures.join(format!("{page}-{name}.png"));
            lab.browser.screenshot(&picture).unwrap();
        }
    }
    let complaints = lab.browser.complaints().unwrap();
    let unexpected: Vec<&String> = complaints
        .iter()
        .filter(|complaint| !complaint.contains("/nowhere"))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}

#[test]
fn a_keyboard_is_enough() {
    let Some(lab) = Lab::open() else {
        return;
    };
    let browser = &lab.browser;
    let focused = || browser.text(&browser.focused().unwrap()).unwrap();
    lab.go("/");
    browser.press(&[Key::Tab]).unwrap();
    assert_eq!(focused(), "Skip to the content");
    browser.press(&[Key::Enter]).unwrap();
    let is_there = browser
        .evaluate("return document.activeElement.id")
        .unwrap();
    assert_eq!(is_there, "main");
    lab.go("/");
    let words: Vec<String> = (0..9)
        .map(|_| {
            browser.press(&[Key::Tab]).unwrap();
            focused()
        })
        .collect();
    let want = [
        "Skip to the content",
        "tokwatt",
        "Fleet",
        "Boards",
        "Compare",
        "Recommend",
        "Runs",
        "Campaigns",
        "Report",
    ];
    assert_eq!(words, want);
    let outline = "return getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(browser.evaluate(outline).unwrap(), "solid");
    browser.press(&[Key::Enter]).unwrap();
    lab.reads("The same in a terminal: tokwatt-collector report OUT");
    // A filter, chosen and asked for without a mouse.
    lab.go("/boards?provenance=simulated");
    browser
        .evaluate("document.getElementById('precision').focus()")
        .unwrap();
    browser.press(&[Key::Down]).unwrap();
    browser
        .evaluate("document.querySelector('form.filters button').focus()")
        .unwrap();
    browser.press(&[Key::Enter]).unwrap();
    browser.wait("the filter is in the address", |browser| {
        Ok(browser.url()?.contains("where=precision%3D"))
    });
}

#[test]
fn pages_are_whole_without_script() {
    let Some(lab) = Lab::open() else {
        return;
    };
    let pages = pages(&lab);
    let read = |path: &str| {
        lab.go(path);
        lab.browser.text_at("main").unwrap()
    };
    let with: Vec<String> = pages.iter().map(|(_, path)| read(path)).collect();
    lab.browser.without_scripts().unwrap();
    for ((page, path), with) in pages.iter().zip(with) {
        let without = read(path);
        let words = |text: &str| -> Vec<String> {
            // Only how it keeps up differs.
            let lines = text
                .lines()
                .filter(|line| !line.starts_with("Live") && !line.starts_with("As of now"));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(words(&without), words(&with), "{page}");
    }
}

#[test]
fn pages_say_what_they_are_to_who_does_not_see_them() {
    let Some(lab) = Lab::open() else {
        return;
    };
    for (page, path) in pages(&lab) {
        lab.go(&path);
        let faults = lab.browser.evaluate(FAULTS).unwrap();
        assert_eq!(faults, serde_json::json!([]), "{page}");
    }
}

#[test]
fn pages_are_quick() {
    let Some(lab) = Lab::open() else {
        return;
    };
    for (page, path) in pages(&lab) {
        lab.go(&path);
        let times = lab
            .browser
            .evaluate(
                "const [page] = performance.getEntriesByType('navigation'); \
                 return [page.responseStart - page.requestStart, page.loadEventEnd, page.encodedBodySize]",
            )
            .unwrap();
        let [first, loaded, bytes] = [0, 1, 2].map(|nth| times[nth].as_f64().unwrap());
        tell(&format!(
            "{page}: first byte after {first:.0} ms, loaded after {loaded:.0} ms, {:.0} kB",
            bytes / 1000.0
        ));
        // For a machine that does much else; a person begins to wait after a second.
        assert!(loaded < 5000.0, "{page} takes {loaded} ms");
    }
}

/// What would leave somebody out who reads by ear or by keyboard.
const FAULTS: &str = r"
    const faults = [];
    const must = (is, what) => { if (!is) faults.push(what); };
    must(document.documentElement.lang, 'no language');
    must(document.querySelectorAll('h1').length === 1, 'not one h1');
    for (const landmark of ['header', 'nav', 'main', 'footer']) must(document.querySelector(landmark), 'no ' + landmark);
    for (const table of document.querySelectorAll('table')) {
        must(table.caption, 'a table without caption');
        must([...table.querySelectorAll('thead th')].every(th => th.scope === 'col'), 'a head without scope');
        must([...table.querySelectorAll('tbody tr')].every(tr => tr.querySelector('th[scope=row]')), 'a row without head');
    }
    for (const input of document.querySelectorAll('select, input:not([type=hidden])')) must(input.labels.length > 0, 'a field without label');
    for (const part of document.querySelectorAll('.wide, .chart')) must(part.tabIndex === 0 && part.ariaLabel, 'a part that scrolls for the mouse only');
    for (const link of document.querySelectorAll('a')) must(link.textContent.trim(), 'a link without words');
    const ids = [...document.querySelectorAll('[id]')].map(element => element.id);
    must(new Set(ids).size === ids.length, 'an id twice: ' + ids.filter((id, at) => ids.indexOf(id) !== at));
    return faults;
";
