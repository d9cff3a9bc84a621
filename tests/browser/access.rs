//! Who is let in.

use tokwatt_harness::Browser;

use crate::lab::Lab;

#[test]
fn a_link_lets_one_browser_in_once_and_others_are_told_what_to_type() {
    let Some(lab) = Lab::open_empty() else {
        return;
    };
    lab.reads("No device has delivered anything yet");
    assert_eq!(lab.browser.title().unwrap(), "Fleet – tokwatt");
    let cookies = lab.browser.cookies().unwrap();
    let cookie = &cookies[0];
    assert_eq!(
        (&cookie["httpOnly"], &cookie["sameSite"]),
        (&true.into(), &"Strict".into())
    );
    let other = Browser::start().unwrap().unwrap();
    let home = lab.browser.url().unwrap();
    other.open(&home).unwrap();
    let said = other.text_at("main").unwrap();
    assert!(said.contains("tokwatt-collector dashboard"), "{said}");
    let link = lab.link();
    lab.browser.open(&link).unwrap();
    other.open(&link).unwrap();
    let said = other.text_at("main").unwrap();
    assert!(said.contains("not good any more"), "{said}");
}
