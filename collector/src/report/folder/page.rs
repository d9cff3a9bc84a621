//! The report as one page: pictures and style inside, no script, nothing from anywhere; to be read on a screen, on a phone, and on paper.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Report, Section, method::Method, rankings::Ranking};
use crate::chart::{self, Chart, Table};

pub(super) fn page(report: &Report) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (report.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (report.title) }
                    @for line in &report.about { p { (line) } }
                }
                @if !report.sections.is_empty() { (contents(report)) }
                main {
                    @if !report.rankings.is_empty() { (rankings(&report.rankings)) }
                    @for section in &report.sections { (a_section(section)) }
                    @if !report.sections.is_empty() { (method(&report.method)) }
                    (excluded(&report.excluded))
                }
                footer { p { "Made by tokwatt " (env!("CARGO_PKG_VERSION")) ". The same runs make the same bytes." } }
            }
        }
    };
    page.into_string()
}

fn contents(report: &Report) -> Markup {
    html! {
        nav aria-label="Contents" {
            ul {
                li { a href="#rankings" { "Rankings" } }
                @for section in &report.sections { li { a href={ "#" (anchor(section)) } { (section.title) } } }
                li { a href="#method" { "Method" } }
                li { a href="#excluded" { "What is not in it" } }
            }
        }
    }
}

fn rankings(rankings: &[Ranking]) -> Markup {
    html! {
        section id="rankings" {
            h2 { "Rankings" }
            p { "Rows that share a place cannot be told apart yet; in brackets are the places that the 95 % intervals leave open. The 95 % hold for each pair, not for a list as a whole." }
            @for ranking in rankings {
                h3 { (ranking.title) }
                p.small { (ranking.of) }
                div.table {
                    table aria-label=(ranking.title) {
                        thead { tr { @for word in ["place", "configuration", "value", "95 % interval", "runs", "flags"] { th scope="col" { (word) } } } }
                        tbody {
                            @for line in &ranking.lines {
                                tr {
                                    td { (line.place) }
                                    th scope="row" { (line.name) }
                                    td.number { (line.value) }
                                    td.number { (line.interval) }
                                    td.number { (line.n_runs) }
                                    td { (line.flags) }
                                }
                            }
                        }
                    }
                    @if ranking.n_more > 0 { p.small { (ranking.n_more) " more stand in metrics.csv" } }
                }
            }
        }
    }
}

fn a_section(section: &Section) -> Markup {
    html! {
        section id=(anchor(section)) {
            h2 { (section.title) }
            p { (section.text) }
            @for chart in &section.charts { (figure(chart)) }
            @if !section.left_out.is_empty() {
                p { "Not drawn:" }
                ul.small { @for line in &section.left_out { li { (line) } } }
            }
        }
    }
}

/// The picture with its numbers below.
fn figure(chart: &Chart) -> Markup {
    html! {
        figure {
            (PreEscaped(chart::svg(chart)))
            figcaption {
                details {
                    summary { "Numbers: " (chart.title) }
                    @for (title, table) in chart::tables(chart) { (numbers(&title, &table)) }
                }
            }
        }
    }
}

fn numbers(title: &str, table: &Table) -> Markup {
    html! {
        div.table {
            table {
                caption { (title) }
                thead { tr { @for word in &table.head { th scope="col" { (word) } } } }
                tbody {
                    @for row in &table.rows {
                        tr { @for cell in row { td { (cell) } } }
                    }
                }
            }
        }
    }
}

fn method(method: &Method) -> Markup {
    html! {
        section id="method" {
            h2 { "Method" }
            ul { @for rule in &method.rules { li { (rule) } } }
            (table("Power scopes", &["scope", "what it includes"], &method.scopes))
            (table("What stands behind a device's name", &["device", "engine", "power mode", "system"], &method.devices))
            (table("Metrics", &["id", "unit", "better", "how it comes about"], &method.definitions))
        }
    }
}

fn table<const N: usize>(caption: &str, head: &[&str; N], rows: &[[String; N]]) -> Markup {
    html! {
        @if !rows.is_empty() {
            div.table {
                table {
                    caption { strong { (caption) } }
                    thead { tr { @for word in head { th scope="col" { (word) } } } }
                    tbody { @for row in rows { tr { @for cell in row { td { (cell) } } } } }
                }
            }
        }
    }
}

fn excluded(lines: &[String]) -> Markup {
    html! {
        section id="excluded" {
            h2 { "What is not in it, and what to know" }
            @if lines.is_empty() { p { "Nothing was left out." } }
            ul { @for line in lines { li { (line) } } }
        }
    }
}

fn anchor(section: &Section) -> String {
    chart::file_name(section.title)
}

const STYLE: &str = "
:root { color-scheme: light; }
body { font: 16px/1.5 'DejaVu Sans', Verdana, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; } h3 { font-size: 1rem; margin: 1.5rem 0 0; } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 1px solid #767676; }
a { color: #0b5c94; } nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; list-style: none; padding: 0; }
figure { margin: 1.5rem 0; overflow-x: auto; } figure svg { width: 100%; height: auto; min-width: 640px; max-width: 960px; border: 1px solid #dddddd; }
details { margin: .25rem 0; } summary { cursor: pointer; }
.table { overflow-x: auto; margin: 1rem 0; } table { border-collapse: collapse; font-size: .85rem; }
caption { text-align: left; padding: .25rem 0; } th, td { border-bottom: 1px solid #dddddd; padding: .2rem .6rem; text-align: left; vertical-align: top; font-weight: normal; }
thead th { border-bottom: 2px solid #767676; } .number { text-align: right; white-space: nowrap; } .small { font-size: .85rem; margin: .25rem 0; }
p, li { overflow-wrap: anywhere; } td:first-child { white-space: nowrap; }
.table table { min-width: min(40rem, 100%); }
@media print { nav, details { display: none; } body { max-width: none; padding: 0; font-size: 11pt; } figure { overflow: visible; } figure svg { min-width: 0; } figure, tr { break-inside: avoid; } h2 { break-after: avoid; } }
";
