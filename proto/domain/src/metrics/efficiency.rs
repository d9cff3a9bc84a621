//! Energy for what was done: one entry for each sensor and scope of a run.
//!
//! Every figure is a ratio of sums over one energy, so tok/s/W and J/token are each other's reciprocals.

/// Those of single requests.
mod requests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    metrics::{
        Flag, PowerReport, RunReport,
        dictionary::total_id,
        energy::{Energy, Stretch, energy},
        totals::{Totals, window},
    },
    power::{PowerTrace, Scope, Sensor},
    run::{IdleBaseline, IdleState, RunTrace, Segment},
    units::Watts,
};

pub use self::requests::request_energies;

/// Reports of all sensors, sorted by scope and source, and why some of their figures are absent: `energy@SCOPE` to the reason.
///
/// Adds `energy_j@SCOPE` to the totals: of several sensors of a scope, that of the smallest relative bound.
pub fn power_reports(
    trace: &RunTrace,
    totals: &mut Totals,
) -> (Vec<PowerReport>, BTreeMap<String, String>) {
    let mut reasons = BTreeMap::new();
    let mut reports = Vec::new();
    for (scope, source) in sensors(trace) {
        let mut absent = Absent {
            scope,
            reasons: &mut reasons,
        };
        reports.extend(report(trace, totals, &source, &mut absent));
    }
    let scopes: BTreeSet<Scope> = reports.iter().map(|report| report.scope).collect();
    for scope in scopes {
        if let Some(joules) = surest(&reports, scope).and_then(|report| report.energy_j) {
            totals.set(&total_id("energy_j", Some(scope)), joules);
        }
    }
    (reports, reasons)
}

impl PowerReport {
    /// How far sampling may have led the energy astray, as a share of it; `None` unless the energy is above 0.
    pub fn relative_bound(&self) -> Option<f64> {
        let joules = self.energy_j.filter(|joules| *joules > 0.0)?;
        Some(self.error_bound_j? / joules)
    }

    /// Why figures over this energy are shown and not ranked, in a run of `window_s` seconds; empty if they may be. A quick
    /// run says so itself, see [`Flag::blocks`].
    pub fn doubts(&self, window_s: f64) -> Vec<Flag> {
        let bound = self.relative_bound().unwrap_or(f64::INFINITY);
        let doubts = [
            (
                self.bracketed,
                "not_bracketed",
                "samples do not lie on both sides of every window".to_owned(),
            ),
            (
                self.coverage >= COVERAGE_LEAST,
                "low_coverage",
                format!("coverage {:.3} is below {COVERAGE_LEAST}", self.coverage),
            ),
            (
                bound <= BOUND_MOST,
                "bound_above_5_percent",
                format!("the error bound is {:.1} % of the energy", 100.0 * bound),
            ),
            (
                window_s >= WINDOW_LEAST_S,
                "window_below_60_s",
                format!("the window is {window_s:.1} s long"),
            ),
        ];
        doubts
            .into_iter()
            .filter(|(is_well, ..)| !is_well)
            .map(|(_, id, detail)| Flag::blocking(id, detail))
            .collect()
    }
}

impl RunReport {
    /// The sensor that stands for a scope: of several the one with the smallest bound, whose energy is the total.
    pub fn power_of(&self, scope: Scope) -> Option<&PowerReport> {
        surest(&self.power, scope)
    }
}

/// METRICS, "Energy and its bound": what is worse is not ranked.
const COVERAGE_LEAST: f64 = 0.95;
const BOUND_MOST: f64 = 0.05;
const WINDOW_LEAST_S: f64 = 60.0;

/// Longest time between an idle baseline and the run that it is taken from.
const OLDEST_BASELINE: Duration = Duration::from_mins(30);

/// Mean power while nothing was asked.
struct Idle {
    power: Watts,
    bound: Option<Watts>,
}

/// A stretch of a run without an interruption.
#[derive(Clone, Copy)]
struct Part<'a> {
    /// Measured before it.
    idle: &'a [IdleBaseline],
    segments: &'a [Segment],
}

/// Where reasons go: under the metric's id and this scope.
struct Absent<'a> {
    scope: Scope,
    reasons: &'a mut BTreeMap<String, String>,
}

impl Absent<'_> {
    /// The value, or `None` with its reason noted.
    fn note<T>(&mut self, id: &str, figure: Result<T, String>) -> Option<T> {
        figure
            .map_err(|reason| {
                let key = format!("{id}@{}", self.scope);
                self.reasons.entry(key).or_insert(reason);
            })
            .ok()
    }
}

/// Energy of one sensor, as a divisor and dividend.
struct Spent<'a> {
    joules: Result<f64, String>,
    totals: &'a Totals,
}

impl Spent<'_> {
    /// E / total.
    fn per(&self, total: &str) -> Result<f64, String> {
        let joules = self.above_zero()?;
        let count = self.totals.get(total)?;
        if count > 0.0 {
            Ok(joules / count)
        } else {
            Err(format!("`{total}` is {count}"))
        }
    }

    /// Total / E.
    fn of(&self, total: &str) -> Result<f64, String> {
        let joules = self.above_zero()?;
        self.totals.get(total).map(|count| count / joules)
    }

    fn above_zero(&self) -> Result<f64, String> {
        let joules = self.joules.clone()?;
        if joules > 0.0 {
            Ok(joules)
        } else {
            Err("the energy is not above 0".to_owned())
        }
    }
}

fn report(
    trace: &RunTrace,
    totals: &Totals,
    source: &str,
    absent: &mut Absent<'_>,
) -> Option<PowerReport> {
    let scope = absent.scope;
    let sensor = traces(trace, scope, source).next()?.sensor.clone();
    let energy = energy(&sensor, &stretches(trace, scope, source));
    let joules = energy.joules.map(|joules| joules.0);
    let unseen = "the sensor shows nothing of the run's windows";
    let spent = Spent {
        joules: joules.ok_or_else(|| unseen.to_owned()),
        totals,
    };
    let seconds = window(trace).as_secs_f64();
    let bound = joules.map(|_| energy.bound.total().0);
    let unloaded = absent.note(
        "idle_unloaded_power",
        idle(trace, &sensor, IdleState::Unloaded),
    );
    let loaded = absent.note("idle_loaded_power", idle(trace, &sensor, IdleState::Loaded));
    let net = joules
        .zip(loaded.as_ref())
        .map(|(joules, idle)| joules - idle.power.0 * seconds);
    // The two errors are independent of each other and may add up.
    let net_bound = net.and(bound).ok_or("there is no net energy".to_owned());
    let net_bound = net_bound.and_then(|bound| {
        let idle = loaded.as_ref().and_then(|idle| idle.bound);
        let idle = idle.ok_or("the idle baseline has no bound".to_owned())?;
        Ok(bound + idle.0 * seconds)
    });
    absent.note("refresh", energy.refresh.ok_or_else(no_refresh));
    Some(PowerReport {
        scope,
        source: source.to_owned(),
        rails: sensor.rails.iter().map(|rail| rail.name.clone()).collect(),
        energy_j: absent.note("energy", spent.joules.clone()),
        error_bound_j: bound,
        error_terms_j: energy.bound.terms(),
        avg_power_w: absent.note("avg_power", spent.per("window_s")),
        idle_unloaded_power_w: unloaded.map(|idle| idle.power.0),
        idle_loaded_power_w: loaded.map(|idle| idle.power.0),
        energy_net_j: absent.note("energy_net", net.ok_or_else(|| no_net(joules))),
        energy_net_bound_j: absent.note("energy_net_bound", net_bound),
        tok_per_s_per_w: absent.note("tok_per_s_per_w", spent.of("completion_tokens")),
        j_per_output_token: absent.note("j_per_output_token", spent.per("completion_tokens")),
        j_per_request: absent.note("j_per_request", spent.per("successes")),
        j_per_image: absent.note("j_per_image", spent.per("images")),
        j_per_correct_answer: absent.note("j_per_correct_answer", spent.per("correct_answers")),
        ..seen(&energy, &sensor)
    })
}

/// The part of the report that says how much of the run was seen.
fn seen(energy: &Energy, sensor: &Sensor) -> PowerReport {
    PowerReport {
        scope: sensor.scope,
        source: String::new(),
        rails: Vec::new(),
        energy_j: None,
        error_bound_j: None,
        error_terms_j: BTreeMap::new(),
        avg_power_w: None,
        idle_unloaded_power_w: None,
        idle_loaded_power_w: None,
        energy_net_j: None,
        energy_net_bound_j: None,
        coverage: energy.coverage,
        bracketed: energy.is_bracketed,
        sample_period_s: energy.period.map(|period| period.as_secs_f64()),
        refresh_s: energy.refresh.map(|refresh| refresh.time.as_secs_f64()),
        refresh_source: energy.refresh.map(|refresh| refresh.source),
        samples: energy.samples,
        largest_gap_s: energy.largest_gap.map(|gap| gap.as_secs_f64()),
        tok_per_s_per_w: None,
        j_per_output_token: None,
        j_per_request: None,
        j_per_image: None,
        j_per_correct_answer: None,
    }
}

fn sensors(trace: &RunTrace) -> BTreeSet<(Scope, String)> {
    let traces = trace.segments.iter().flat_map(|segment| &segment.power);
    traces
        .map(|power| (power.sensor.scope, power.sensor.source.clone()))
        .collect()
}

fn traces<'a>(
    trace: &'a RunTrace,
    scope: Scope,
    source: &'a str,
) -> impl Iterator<Item = &'a PowerTrace> {
    trace
        .segments
        .iter()
        .filter_map(move |segment| of_sensor(segment, scope, source))
}

fn of_sensor<'a>(segment: &'a Segment, scope: Scope, source: &str) -> Option<&'a PowerTrace> {
    let is_same =
        |power: &&PowerTrace| power.sensor.scope == scope && power.sensor.source == source;
    segment.power.iter().find(is_same)
}

/// Every window, also those in which the sensor was silent.
fn stretches<'a>(trace: &'a RunTrace, scope: Scope, source: &str) -> Vec<Stretch<'a>> {
    let samples = |segment: &'a Segment| {
        of_sensor(segment, scope, source).map_or(&[][..], |power| power.samples.as_slice())
    };
    trace
        .segments
        .iter()
        .map(|segment| (segment.window, samples(segment)))
        .collect()
}

fn no_net(joules: Option<f64>) -> String {
    match joules {
        None => "there is no energy".to_owned(),
        Some(_) => "there is no idle power with the model loaded".to_owned(),
    }
}

fn no_refresh() -> String {
    "the driver states none, and the readings did not change often and evenly enough to show one"
        .to_owned()
}

/// Idle power of that sensor: before the run, and where that was interrupted also before it went on, each counted by how long the
/// windows after it lasted.
fn idle(trace: &RunTrace, sensor: &Sensor, state: IdleState) -> Result<Idle, String> {
    let mut parts = Vec::new();
    for part in parts_of(trace) {
        let latest = latest(trace, &part, sensor, state)?;
        let length: Duration = part.segments.iter().map(|s| s.window.length()).sum();
        parts.push((latest, length.as_secs_f64()));
    }
    if let [(only, _)] = parts[..] {
        return Ok(Idle {
            power: only.power,
            bound: only.bound,
        });
    }
    let whole: f64 = parts.iter().map(|(_, length)| length).sum();
    let weighted = |of: &dyn Fn(&IdleBaseline) -> Option<Watts>| -> Option<Watts> {
        let products = parts
            .iter()
            .map(|(idle, length)| Some(of(idle)?.0 * length));
        Some(Watts(products.sum::<Option<f64>>()? / whole))
    };
    let power = weighted(&|idle| Some(idle.power));
    Ok(Idle {
        power: power.ok_or("no idle baseline was measured")?,
        bound: weighted(&|idle| idle.bound),
    })
}

/// The stretches between interruptions that have segments; of a run without any segment, one.
fn parts_of(trace: &RunTrace) -> Vec<Part<'_>> {
    let position = |n: u32| {
        usize::try_from(n)
            .unwrap_or(usize::MAX)
            .min(trace.segments.len())
    };
    let later = trace
        .resumptions
        .iter()
        .map(|resumption| (position(resumption.segment), &*resumption.idle));
    let starts: Vec<(usize, &[IdleBaseline])> = std::iter::once((0, &*trace.header.idle))
        .chain(later)
        .collect();
    let ends = starts.iter().skip(1).map(|(start, _)| *start);
    let parts = starts.iter().zip(ends.chain([trace.segments.len()]));
    let parts: Vec<Part<'_>> = parts
        .map(|((start, idle), end)| Part {
            idle,
            segments: trace.segments.get(*start..end).unwrap_or_default(),
        })
        .collect();
    let asked: Vec<Part<'_>> = parts
        .iter()
        .copied()
        .filter(|part| !part.segments.is_empty())
        .collect();
    match asked.is_empty() {
        true => parts.into_iter().take(1).collect(),
        false => asked,
    }
}

/// The latest baseline of that sensor before a part of the run, if it is long and fresh enough.
fn latest<'a>(
    trace: &RunTrace,
    part: &Part<'a>,
    sensor: &Sensor,
    state: IdleState,
) -> Result<&'a IdleBaseline, String> {
    let is_same = |idle: &&IdleBaseline| {
        idle.source == sensor.source && idle.scope == sensor.scope && idle.state == state
    };
    let latest = part
        .idle
        .iter()
        .filter(is_same)
        .max_by_key(|idle| idle.ended);
    let latest = latest.ok_or("no idle baseline was measured")?;
    let needed = Duration::from_secs(if trace.header.is_quick { 10 } else { 60 });
    let start = part
        .segments
        .first()
        .map(|segment| segment.window.from)
        .unwrap_or_default();
    let age = start.since(latest.ended);
    if latest.length < needed {
        return Err(format!(
            "the idle baseline lasted {} s, it takes {} s",
            latest.length.as_secs(),
            needed.as_secs()
        ));
    }
    if age > OLDEST_BASELINE {
        return Err(format!(
            "the idle baseline is {} minutes old, 30 are allowed",
            age.as_secs() / 60
        ));
    }
    Some(latest)
        .filter(|latest| latest.power.0.is_finite())
        .ok_or_else(|| "the idle baseline is not a number".to_owned())
}

fn surest(reports: &[PowerReport], scope: Scope) -> Option<&PowerReport> {
    let bound = |report: &PowerReport| report.relative_bound().unwrap_or(f64::INFINITY);
    reports
        .iter()
        .filter(|report| report.scope == scope)
        .min_by(|left, right| bound(left).total_cmp(&bound(right)))
}
