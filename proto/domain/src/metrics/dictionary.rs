//! The dictionary: every metric's id, unit, better direction, and what it is made of.
//!
//! A metric's id has up to three parts: `memory_peak`, after a dot the variant (`.p90`, `.cold`, `.system`), and
//! after an `@`, which is not part of the ids here, the power scope of metrics over energy: `energy@module`.

use Better::{Higher, Lower, Neither};

use crate::{
    metrics::{MetricValue, Percentile, PowerReport, RunReport},
    power::{Provenance, Scope},
    spelling::distance,
};

/// What is to be known about a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Definition {
    /// The name under which it is stored, without scope.
    pub id: &'static str,
    /// SI unit; `share` for a part of one; empty for a bare count.
    pub unit: &'static str,
    /// Which of two values is the better one.
    pub better: Better,
    /// Whether boards over it exist.
    pub is_rankable: bool,
    /// Whether it is over energy, so that a power scope has to be named.
    pub needs_scope: bool,
    /// How it comes about.
    pub kind: Kind,
}

/// Which of two values is the better one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Better {
    /// The smaller one.
    Lower,
    /// The larger one.
    Higher,
    /// Neither: it describes.
    Neither,
}

/// How a metric comes about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// One of [`RunReport::totals`] divided by another, so that runs and tasks add up before they are divided.
    Ratio {
        /// Id of the total above the line, without scope.
        numerator: &'static str,
        /// Id of the total below the line, without scope.
        denominator: &'static str,
    },
    /// Of the run's requests.
    Percentile {
        /// Key of the distribution in [`RunReport::metrics`].
        of: &'static str,
        /// 50, 90, 95 or 99.
        percent: u32,
    },
    /// Of the run as a whole, not made of sums.
    Number,
}

/// No such metric.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown metric `{name}`, {}", advice(.nearest.as_deref()))]
pub struct UnknownMetric {
    /// What was asked for.
    pub name: String,
    /// A metric of a similar name, if there is one.
    pub nearest: Option<String>,
}

impl Definition {
    /// The figure of one run: `None` where it is absent, infinity where the percentile is a failed request.
    ///
    /// `scope` matters only to metrics that need one.
    pub fn figure(&self, report: &RunReport, scope: Option<Scope>) -> Option<f64> {
        match self.kind {
            Kind::Ratio {
                numerator,
                denominator,
            } => report
                .ratio(numerator, denominator, scope)
                .or_else(|| self.stated(report, scope)),
            Kind::Percentile { of, percent } => report.percentile(of, percent),
            Kind::Number if self.needs_scope => self.power_figure(report.power_of(scope?)?),
            Kind::Number => report.number(self.id),
        }
    }

    /// Whether repetitions and tasks are averaged arithmetically: shares may be 0, and have no logarithm then.
    pub fn is_share(&self) -> bool {
        self.unit == "share"
    }

    /// What another tool says it is, without the sums that it is made of.
    fn stated(&self, report: &RunReport, scope: Option<Scope>) -> Option<f64> {
        if report.provenance.requests < Provenance::Imported {
            return None;
        }
        if self.needs_scope {
            return self.power_figure(report.power_of(scope?)?);
        }
        report.number(self.id)
    }

    fn power_figure(&self, power: &PowerReport) -> Option<f64> {
        match self.id {
            "energy" => power.energy_j,
            "avg_power" => power.avg_power_w,
            "tok_per_s_per_w" => power.tok_per_s_per_w,
            "j_per_output_token" => power.j_per_output_token,
            "j_per_request" => power.j_per_request,
            "j_per_image" => power.j_per_image,
            "j_per_correct_answer" => power.j_per_correct_answer,
            "idle_unloaded_power" => power.idle_unloaded_power_w,
            "idle_loaded_power" => power.idle_loaded_power_w,
            "energy_net" => power.energy_net_j,
            _ => None,
        }
    }

    const fn new(id: &'static str, unit: &'static str, better: Better, kind: Kind) -> Self {
        Self {
            id,
            unit,
            better,
            is_rankable: true,
            needs_scope: false,
            kind,
        }
    }

    const fn over_energy(mut self) -> Self {
        self.needs_scope = true;
        self
    }

    const fn not_ranked(mut self) -> Self {
        self.is_rankable = false;
        self
    }
}

impl RunReport {
    /// One total divided by another; `None` where either is absent, or the divisor, or the energy, is not above 0.
    pub fn ratio(&self, numerator: &str, denominator: &str, scope: Option<Scope>) -> Option<f64> {
        let total = |id| self.totals.get(&total_id(id, scope)).copied();
        divide(total(numerator)?, total(denominator)?)
            .filter(|_| numerator != ENERGY || total(numerator) > Some(0.0))
    }

    fn percentile(&self, of: &str, percent: u32) -> Option<f64> {
        let Some(Some(MetricValue::Distribution(distribution))) = self.metrics.get(of) else {
            return None;
        };
        let percentile = match percent {
            50 => distribution.p50,
            90 => distribution.p90,
            95 => distribution.p95,
            99 => distribution.p99,
            _ => None,
        };
        percentile.map(|percentile| match percentile {
            Percentile::Value(value) => value,
            Percentile::Failed(_) => f64::INFINITY,
        })
    }

    fn number(&self, id: &str) -> Option<f64> {
        match self.metrics.get(id) {
            Some(Some(MetricValue::Number(value))) => Some(*value),
            _ => self.quality.get(id).copied().flatten(),
        }
    }
}

/// The metric of that id. `.p50` may be said and is what a bare latency means.
///
/// # Errors
/// There is none of that id; the error suggests a similar one.
pub fn definition(id: &str) -> Result<&'static Definition, UnknownMetric> {
    let plain = id.strip_suffix(".p50").unwrap_or(id);
    DEFINITIONS
        .iter()
        .find(|definition| definition.id == plain)
        .ok_or_else(|| UnknownMetric {
            name: id.to_owned(),
            nearest: nearest(id).map(str::to_owned),
        })
}

/// All of them.
pub fn definitions() -> &'static [Definition] {
    DEFINITIONS
}

/// The id most like `name`: the shortest that has all its words, else the one with the fewest letters changed, if no more than a third
/// of them are.
pub fn nearest(name: &str) -> Option<&'static str> {
    let ids = || DEFINITIONS.iter().map(|definition| definition.id);
    let has_all_words = |id: &&str| {
        name.split('_')
            .all(|word| id.split('_').any(|own| own == word))
    };
    let by_words = ids().filter(has_all_words).min_by_key(|id| id.len());
    let by_letters = || {
        ids()
            .map(|id| (distance(name, id), id))
            .filter(|(changed, id)| 3 * changed <= id.len())
            .min()
            .map(|(_, id)| id)
    };
    by_words.or_else(by_letters)
}

/// Key of a total in [`RunReport::totals`]: energies carry their scope, `energy_j@module`.
pub fn total_id(id: &str, scope: Option<Scope>) -> String {
    match scope {
        Some(scope) if id == ENERGY => format!("{id}@{scope}"),
        _ => id.to_owned(),
    }
}

/// Divides; `None` unless the divisor is above 0 and the result finite.
pub(crate) fn divide(numerator: f64, denominator: f64) -> Option<f64> {
    Some(numerator / denominator).filter(|value| denominator > 0.0 && value.is_finite())
}

fn advice(nearest: Option<&str>) -> String {
    if let Some(nearest) = nearest {
        return format!("did you mean `{nearest}`?");
    }
    let rankable = DEFINITIONS
        .iter()
        .filter(|definition| definition.is_rankable && !definition.id.contains('.'));
    let ids: Vec<&str> = rankable.map(|definition| definition.id).collect();
    format!("there are: {}", ids.join(", "))
}

const ENERGY: &str = "energy_j";

const fn ratio(
    id: &'static str,
    unit: &'static str,
    better: Better,
    numerator: &'static str,
    denominator: &'static str,
) -> Definition {
    let kind = Kind::Ratio {
        numerator,
        denominator,
    };
    Definition::new(id, unit, better, kind)
}

const fn seconds(id: &'static str, of: &'static str, percent: u32) -> Definition {
    Definition::new(id, "s", Better::Lower, Kind::Percentile { of, percent })
}

const fn number(id: &'static str, unit: &'static str, better: Better) -> Definition {
    Definition::new(id, unit, better, Kind::Number)
}

/// In the order of METRICS.md.
#[rustfmt::skip]
static DEFINITIONS: &[Definition] = &[
    seconds("request_latency", "request_latency", 50),
    seconds("request_latency.p90", "request_latency", 90),
    seconds("request_latency.p95", "request_latency", 95),
    seconds("request_latency.p99", "request_latency", 99),
    seconds("ttft", "ttft", 50),
    seconds("ttft.p90", "ttft", 90),
    seconds("ttft.p95", "ttft", 95),
    seconds("ttft.p99", "ttft", 99),
    seconds("ttfo", "ttfo", 50),
    seconds("ttfo.p90", "ttfo", 90),
    seconds("ttfo.p95", "ttfo", 95),
    seconds("ttfo.p99", "ttfo", 99),
    seconds("tpot", "tpot", 50),
    seconds("tpot.p90", "tpot", 90),
    seconds("tpot.p95", "tpot", 95),
    seconds("tpot.p99", "tpot", 99),
    seconds("ntpot", "ntpot", 50),
    seconds("ntpot.p90", "ntpot", 90),
    seconds("ntpot.p95", "ntpot", 95),
    seconds("ntpot.p99", "ntpot", 99),
    seconds("image_encode_time", "image_encode_time", 50),
    seconds("image_encode_time.p90", "image_encode_time", 90),
    seconds("image_encode_time.p95", "image_encode_time", 95),
    seconds("image_encode_time.p99", "image_encode_time", 99),
    seconds("icl", "icl", 50).not_ranked(),
    Definition::new("output_chars", "", Neither, Kind::Percentile { of: "output_chars", percent: 50 }).not_ranked(),
    number("image_tokens", "tok", Neither).not_ranked(),

    ratio("decode_tps", "tok/s", Higher, "decode_tokens", "decode_s"),
    ratio("e2e_output_tps", "tok/s", Higher, "completion_tokens", "latency_s"),
    ratio("output_tps", "tok/s", Higher, "completion_tokens", "window_s"),
    ratio("prefill_tps", "tok/s", Higher, "uncached_prompt_tokens", "ttft_s"),
    ratio("total_tps", "tok/s", Higher, "total_tokens", "window_s").not_ranked(),
    ratio("e2e_total_tps", "tok/s", Higher, "total_tokens", "latency_s").not_ranked(),
    ratio("decode_tps_server", "tok/s", Higher, "server_decode_tokens", "server_decode_s"),
    ratio("prefill_tps_server", "tok/s", Higher, "server_prefill_tokens", "server_prefill_s"),
    ratio("requests_per_s", "1/s", Higher, "successes", "window_s"),
    ratio("requests_per_min", "1/min", Higher, "successes", "window_min"),
    ratio("images_per_s", "1/s", Higher, "images", "window_s"),
    ratio("goodput", "1/s", Higher, "good_requests", "window_s"),
    ratio("success_rate", "share", Higher, "successes", "requests"),
    ratio("truncated_share", "share", Lower, "truncated", "successes").not_ranked(),
    ratio("bad_output_share", "share", Lower, "bad_outputs", "successes"),
    ratio("drain_share", "share", Lower, "drain_s", "window_s").not_ranked(),
    number("cv_requests", "share", Lower),
    number("load_time.cold", "s", Lower),
    number("load_time.warm", "s", Lower),
    number("load_time.swap", "s", Lower),
    number("memory_baseline.process_tree", "B", Neither).not_ranked(),
    number("memory_peak.process_tree", "B", Lower),
    number("memory_mean.process_tree", "B", Lower),
    number("memory_delta.process_tree", "B", Lower),
    number("memory_baseline.system", "B", Neither).not_ranked(),
    number("memory_peak.system", "B", Lower),
    number("memory_mean.system", "B", Lower),
    number("memory_delta.system", "B", Lower),
    number("memory_baseline.gpu", "B", Neither).not_ranked(),
    number("memory_peak.gpu", "B", Lower),
    number("memory_mean.gpu", "B", Lower),
    number("memory_delta.gpu", "B", Lower),

    ratio("energy", "J", Lower, "energy_j", "runs").over_energy(),
    ratio("avg_power", "W", Neither, "energy_j", "window_s").over_energy().not_ranked(),
    number("idle_unloaded_power", "W", Lower).over_energy(),
    number("idle_loaded_power", "W", Lower).over_energy(),
    number("energy_net", "J", Lower).over_energy().not_ranked(),
    ratio("tok_per_s_per_w", "tok/J", Higher, "completion_tokens", "energy_j").over_energy(),
    ratio("j_per_output_token", "J/tok", Lower, "energy_j", "completion_tokens").over_energy(),
    ratio("j_per_request", "J", Lower, "energy_j", "successes").over_energy(),
    ratio("j_per_image", "J", Lower, "energy_j", "images").over_energy(),
    ratio("j_per_correct_answer", "J", Lower, "energy_j", "correct_answers").over_energy(),

    number("caption_true_facts", "share", Higher),
    number("caption_wrong_facts", "share", Lower),
    number("counts_f1", "share", Higher),
    number("counts_exact", "share", Higher),
    number("attributes_f1", "share", Higher),
    number("attributes_exact", "share", Higher),
    number("spatial_true", "share", Higher),
    number("scene_true_facts", "share", Higher),
    number("scene_wrong_facts", "share", Lower),
    number("direct_exact", "share", Higher),
    number("number_right", "share", Higher),
    number("facts_named", "share", Higher),
    number("code_facts_named", "share", Higher),
    number("json_schema", "share", Higher),
    number("json_values", "share", Higher),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_nearest(name: &str, want: Option<&str>) {
        assert_eq!(nearest(name), want, "{name}");
    }

    #[test]
    fn a_slip_of_the_pen_finds_its_metric() {
        check_nearest("decode_tp", Some("decode_tps"));
        check_nearest("tok_per_s_per_watt", Some("tok_per_s_per_w"));
        check_nearest("j_per_img", Some("j_per_image"));
        check_nearest("ttft.p9", Some("ttft.p90"));
        check_nearest("quality", None);
        check_nearest("", None);
    }

    #[test]
    fn an_unknown_metric_says_what_there_is() {
        let near = definition("j_per_token").unwrap_err().to_string();
        assert_eq!(
            near,
            "unknown metric `j_per_token`, did you mean `j_per_output_token`?"
        );
        let far = definition("happiness").unwrap_err().to_string();
        assert!(
            far.starts_with("unknown metric `happiness`, there are: request_latency, ttft, "),
            "{far}"
        );
    }

    #[test]
    fn a_bare_latency_is_its_median() {
        assert_eq!(definition("ttft.p50"), definition("ttft"));
        let kind = definition("ttft").unwrap().kind;
        assert_eq!(
            kind,
            Kind::Percentile {
                of: "ttft",
                percent: 50
            }
        );
    }

    #[test]
    fn no_id_stands_twice() {
        for (position, definition) in DEFINITIONS.iter().enumerate() {
            let twin = DEFINITIONS[position + 1..]
                .iter()
                .find(|other| other.id == definition.id);
            assert_eq!(twin, None);
        }
    }

    #[test]
    fn what_is_over_energy_needs_a_scope() {
        for definition in DEFINITIONS {
            if let Kind::Ratio {
                numerator,
                denominator,
            } = definition.kind
            {
                let is_over_energy = [numerator, denominator].contains(&ENERGY);
                assert_eq!(definition.needs_scope, is_over_energy, "{}", definition.id);
            }
        }
        assert_eq!(total_id("energy_j", Some(Scope::Module)), "energy_j@module");
        assert_eq!(total_id("window_s", Some(Scope::Module)), "window_s");
    }

    #[test]
    fn what_is_better_for_nobody_is_not_ranked() {
        let neither = |definition: &&Definition| definition.better == Neither;
        for definition in DEFINITIONS.iter().filter(neither) {
            assert!(!definition.is_rankable, "{}", definition.id);
        }
    }
}
