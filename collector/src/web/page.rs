//! The frame of every page, and what pages have in common: marks, tables, tiles.

use axum::response::Html;
use maud::{DOCTYPE, Markup, html};
use tokwatt_domain::power::Provenance;

use super::{
    admittance::Visitor,
    assets::{ICON, SCRIPT, STYLE},
    names::{name, path, plain},
};
use crate::report;

/// Where in the dashboard a page is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Section {
    Fleet,
    Boards,
    Compare,
    Recommend,
    Runs,
    Campaigns,
    Report,
}

impl Section {
    /// In the order of the navigation.
    const ALL: [Self; 7] = [
        Self::Fleet,
        Self::Boards,
        Self::Compare,
        Self::Recommend,
        Self::Runs,
        Self::Campaigns,
        Self::Report,
    ];

    fn address(self) -> &'static str {
        match self {
            Self::Fleet => "/",
            Self::Boards => "/boards",
            Self::Compare => "/compare",
            Self::Recommend => "/recommend",
            Self::Runs => "/runs",
            Self::Campaigns => "/campaigns",
            Self::Report => "/report",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Fleet => "Fleet",
            Self::Boards => "Boards",
            Self::Compare => "Compare",
            Self::Recommend => "Recommend",
            Self::Runs => "Runs",
            Self::Campaigns => "Campaigns",
            Self::Report => "Report",
        }
    }
}

/// A whole page.
pub(super) fn page(
    visitor: Option<&Visitor>,
    here: Option<Section>,
    title: &str,
    body: Markup,
) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – tokwatt" }
                link rel="icon" type="image/svg+xml" href=(ICON.address());
                link rel="stylesheet" href=(STYLE.address());
                script src=(SCRIPT.address()) defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    a.brand href="/" { "tokwatt" }
                    nav aria-label="Pages" {
                        ul {
                            @for section in Section::ALL {
                                li {
                                    a href=(section.address()) aria-current=[(here == Some(section)).then_some("page")] {
                                        (section.title())
                                    }
                                }
                            }
                        }
                    }
                }
                main #main tabindex="-1" { (body) }
                footer {
                    @if let Some(visitor) = visitor {
                        p { "You are here as " (visitor.peer) ". Times are in UTC, by the clocks of the devices." }
                    }
                    p { "tokwatt-collector " (env!("CARGO_PKG_VERSION")) }
                }
            }
        }
    }
}

/// The same, as an answer.
pub(super) fn answer(visitor: &Visitor, here: Section, title: &str, body: Markup) -> Html<String> {
    Html(page(Some(visitor), Some(here), title, body).into_string())
}

/// A word for what is not measured; nothing for what is.
pub(super) fn mark(provenance: Provenance) -> Markup {
    html! {
        @if provenance != Provenance::Measured {
            span.mark { (provenance) }
        }
    }
}

/// The same of a name that may be none that we know.
pub(super) fn mark_named(provenance: Option<&str>) -> Markup {
    html! {
        @if let Some(other) = provenance.filter(|name| *name != Provenance::Measured.as_str()) {
            span.mark { (name(other)) }
        }
    }
}

/// A date, or a dash.
pub(super) fn date(micros: Option<i64>) -> Markup {
    html! {
        @match micros {
            Some(micros) => { time.date datetime=(stamp(micros)) { (report::utc(micros)) } }
            None => { "–" }
        }
    }
}

/// The same to the minute, for lists.
pub(super) fn minute(micros: Option<i64>) -> Markup {
    html! {
        @match micros {
            Some(micros) => { time.date datetime=(stamp(micros)) { (report::minute(micros)) } }
            None => { "–" }
        }
    }
}

fn stamp(micros: i64) -> String {
    report::utc(micros).replacen(' ', "T", 1) + "Z"
}

/// A device by its name.
pub(super) fn device_link(device: &str) -> Markup {
    html! { a href=(path(&["devices", device])) { (name(device)) } }
}

/// A run as `runs list` shows it.
pub(super) fn run_link(run: &str) -> Markup {
    html! { a.id href=(path(&["runs", run])) { (report::run_end(run)) } }
}

/// Something wide that scrolls by itself, also by keyboard.
pub(super) fn scrolling(label: &str, content: Markup) -> Markup {
    html! { div.wide role="region" aria-label=(plain(label)) tabindex="0" { (content) } }
}
