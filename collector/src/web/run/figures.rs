//! All figures of a run as tables.

use maud::{Markup, html};
use tokwatt_domain::metrics::{Distribution, MetricValue, Percentile, PowerReport, RunReport};

use crate::{
    report::{self, Scale},
    web::{names::name, page::scrolling},
};

pub(super) fn figures(report: &RunReport) -> Markup {
    html! {
        h2 #figures { "Figures" }
        div.side {
            (scrolling("Of the run as a whole", html! {
                table {
                    caption { "Of the run as a whole" }
                    thead { tr {
                        th scope="col" { "Figure" } th.number scope="col" { "Value" } th scope="col" { "Unit" }
                    } }
                    tbody {
                        @for (id, value) in &report.metrics {
                            @if let Some(MetricValue::Number(value)) = value { (number(id, *value)) }
                        }
                        @for (id, value) in &report.quality {
                            @if let Some(value) = value { (number(id, *value)) }
                        }
                    }
                }
            }))
            (scrolling("Of its requests", html! {
                table {
                    caption { "Of its requests" }
                    thead { tr {
                        th scope="col" { "Figure" } th.number scope="col" { "Median" } th scope="col" { "Unit" }
                        th.number scope="col" { "Mean" } th.number scope="col" { "P90" } th.number scope="col" { "P95" }
                        th.number scope="col" { "P99" } th.number scope="col" { "Of" }
                    } }
                    tbody {
                        @for (id, value) in &report.metrics {
                            @if let Some(MetricValue::Distribution(spread)) = value { (distribution(id, spread)) }
                        }
                    }
                }
            }))
        }
        @if !report.power.is_empty() {
            (scrolling("Energy", html! {
                table {
                    caption { "Energy, for each instrument and scope; scopes are never added or compared" }
                    thead { tr {
                        th scope="col" { "Scope" } th scope="col" { "Instrument" } th.number scope="col" { "Energy (J)" }
                        th.number scope="col" { "± (J)" } th.number scope="col" { "Mean power (W)" }
                        th.number scope="col" { "Idle, model loaded (W)" } th.number scope="col" { "J/token" }
                        th.number scope="col" { "J/image" } th.number scope="col" { "tok/s/W" } th.number scope="col" { "Seen" }
                    } }
                    tbody { @for power in &report.power { (energy(power)) } }
                }
            }))
        }
    }
}

fn number(id: &str, value: f64) -> Markup {
    let scale = Scale::of(report::unit(id), std::iter::once(value));
    html! {
        tr {
            th scope="row" { (name(id)) }
            td.number { (scale.show(value)) }
            td { (scale.unit) }
        }
    }
}

fn distribution(id: &str, spread: &Distribution) -> Markup {
    let percentiles = [spread.p50, spread.p90, spread.p95, spread.p99];
    let values = percentiles
        .iter()
        .filter_map(|percentile| match percentile {
            Some(Percentile::Value(value)) => Some(*value),
            _ => None,
        });
    let scale = Scale::of(report::unit(id), values);
    let shown = percentiles.map(|percentile| {
        percentile.map_or_else(dash, |percentile| report::percentile(percentile, &scale))
    });
    let [p50, p90, p95, p99] = shown;
    html! {
        tr {
            th scope="row" { (name(id)) }
            td.number { (p50) }
            td { (scale.unit) }
            td.number { (spread.mean.map_or_else(dash, |mean| scale.show(mean))) }
            @for percentile in [p90, p95, p99] { td.number { (percentile) } }
            td.number { (spread.n) }
        }
    }
}

fn energy(power: &PowerReport) -> Markup {
    let figures = [
        power.energy_j,
        power.error_bound_j,
        power.avg_power_w,
        power.idle_loaded_power_w,
        power.j_per_output_token,
        power.j_per_image,
        power.tok_per_s_per_w,
    ];
    html! {
        tr {
            th scope="row" { (power.scope) }
            td { (name(&power.source)) }
            @for figure in figures { td.number { (figure.map_or_else(dash, report::short)) } }
            td.number { (format!("{:.1} %", power.coverage * 100.0)) }
        }
    }
}

fn dash() -> String {
    "–".to_owned()
}
