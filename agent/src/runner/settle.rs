//! Steady before a run: waits until temperatures and power are flat, for a bounded time, and says what came of it.
//!
//! A machine that still cools down from the last run, or that has not yet come to rest after loading, would give the next one
//! another start than the one after. Where neither a temperature nor a power can be read there is nothing to wait for.

use std::{collections::BTreeMap, time::Duration};

use tokwatt_domain::{
    metrics::energy::energy,
    power::PowerTrace,
    run::GaugeKind,
    time::{Stamp, Window},
};

use super::{Progress, Runner, Tally, watch::patiently};

/// For how long things must be flat, and how long that is waited for.
#[derive(Clone, Copy, Debug)]
struct Rule {
    /// Slopes are taken over twice this, means of power over this and this.
    half: Duration,
    at_most: Duration,
}

/// Temperatures by zone: when, and how many m°C.
type Zones = BTreeMap<String, Vec<(Stamp, i64)>>;

/// How one quantity is doing, or all of them.
#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    /// It cannot be read.
    Nothing,
    /// It has not been seen for long enough.
    Early,
    Flat,
    /// What it does, in words.
    Moving(String),
}

impl Runner {
    /// Waits until it is steady; what came of it, or nothing where nothing can be told.
    pub(super) async fn settle(&self, tally: &mut Tally<'_>) -> Option<String> {
        let rule = Rule::of(self.settings.is_quick);
        let started = self.clock.now();
        let mut zones = Zones::new();
        let mut is_told = false;
        loop {
            let seen = self.state(&rule, &mut zones).await;
            let waited = self.clock.now().since(started);
            let what = match seen {
                Verdict::Nothing => return None,
                Verdict::Flat => return Some(format!("flat after {} s", waited.as_secs())),
                Verdict::Early => "seen for too short a time".to_owned(),
                Verdict::Moving(what) => what,
            };
            if waited >= rule.at_most {
                let what = format!("not flat after {} s: {what}", rule.at_most.as_secs());
                tally.tell(Progress::Stage(what.clone()));
                return Some(what);
            }
            if !is_told {
                is_told = true;
                tally.tell(Progress::Stage(format!(
                    "waiting until temperature and power are flat, {} s at most",
                    rule.at_most.as_secs()
                )));
            }
            tokio::time::sleep(PERIOD.min(rule.at_most - waited)).await;
        }
    }

    /// Looks at everything once more.
    async fn state(&self, rule: &Rule, zones: &mut Zones) -> Verdict {
        let (gauges, clock, sampler) = (
            self.gauges.clone(),
            self.clock.clone(),
            self.sampler.clone(),
        );
        let length = 2 * rule.half;
        let seen = patiently(move || {
            let gauges = gauges.look(None);
            let now = clock.now();
            let power = sampler.map(|sampler| sampler.window(now.before(length), now));
            (now, gauges, power.unwrap_or_default())
        });
        let Some((now, gauges, power)) = seen.await else {
            return Verdict::Nothing;
        };
        let is_temperature = |kind| kind == GaugeKind::Temperature;
        for gauge in gauges
            .into_iter()
            .filter(|gauge| is_temperature(gauge.kind))
        {
            zones
                .entry(gauge.name)
                .or_default()
                .push((now, gauge.value));
        }
        verdict(rule, zones, &power, now)
    }
}

impl Rule {
    fn of(is_quick: bool) -> Self {
        let (half, at_most) = if is_quick { (2, 5) } else { (5, 60) };
        Self {
            half: Duration::from_secs(half),
            at_most: Duration::from_secs(at_most),
        }
    }
}

/// Of everything: flat if all that can be told is.
fn verdict(rule: &Rule, zones: &Zones, power: &[PowerTrace], now: Stamp) -> Verdict {
    let mut all = vec![temperature(rule, zones, now)];
    all.extend(power.iter().map(|trace| drawn(rule, trace, now)));
    let moving: Vec<&str> = all
        .iter()
        .filter_map(|verdict| match verdict {
            Verdict::Moving(what) => Some(&**what),
            _ => None,
        })
        .collect();
    if !moving.is_empty() {
        return Verdict::Moving(moving.join(", "));
    }
    let of_all = [Verdict::Early, Verdict::Flat];
    let mut of_all = of_all.into_iter().filter(|verdict| all.contains(verdict));
    of_all.next().unwrap_or(Verdict::Nothing)
}

/// Of the zones that can be read now: the steepest one decides.
fn temperature(rule: &Rule, zones: &Zones, now: Stamp) -> Verdict {
    let length = 2 * rule.half;
    let mut steepest: Option<(f64, &str)> = None;
    for (name, samples) in zones {
        let age = |(at, _): &(Stamp, i64)| now.since(*at);
        if samples.last().is_none_or(|last| age(last) > rule.half) {
            continue;
        }
        if samples.first().is_none_or(|first| age(first) < length) {
            return Verdict::Early;
        }
        let samples = samples.iter().filter(|sample| age(sample) <= length);
        let recent: Vec<(Stamp, i64)> = samples.copied().collect();
        let slope = slope(&recent);
        if steepest.is_none_or(|(other, _)| slope.abs() > other.abs()) {
            steepest = Some((slope, name));
        }
    }
    match steepest {
        None => Verdict::Nothing,
        Some((slope, _)) if slope.abs() < SLOPE_MOST => Verdict::Flat,
        Some((slope, name)) => {
            let way = if slope > 0.0 { "rose" } else { "fell" };
            Verdict::Moving(format!("{name} {way} {:.2} °C/s", slope.abs()))
        }
    }
}

/// Slope of the line through temperatures of which the squared distances from it are least, in °C/s; 0 for a single one.
fn slope(samples: &[(Stamp, i64)]) -> f64 {
    let Some((origin, _)) = samples.first() else {
        return 0.0;
    };
    let points: Vec<(f64, f64)> = samples
        .iter()
        .map(|(at, millidegrees)| {
            let degrees = *millidegrees as f64 / 1000.0;
            (at.since(*origin).as_secs_f64(), degrees)
        })
        .collect();
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (time, degrees) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - time).powi(2)).sum();
    let joint: f64 = points
        .iter()
        .map(|point| (point.0 - time) * (point.1 - degrees))
        .sum();
    if spread > 0.0 { joint / spread } else { 0.0 }
}

/// Of one sensor: the means of the last two halves are within 2 % of each other, or within the steps of its readings.
fn drawn(rule: &Rule, trace: &PowerTrace, now: Stamp) -> Verdict {
    // One that is gone, or too slow to tell, is not waited for.
    let Some(last) = trace.samples.last().map(|sample| sample.at.min(now)) else {
        return Verdict::Nothing;
    };
    if now.since(last) > rule.half {
        return Verdict::Nothing;
    }
    if last < Stamp::at(2 * rule.half) {
        return Verdict::Early;
    }
    let middle = last.before(rule.half);
    let halves = [(last.before(2 * rule.half), middle), (middle, last)];
    let [Some(before), Some(after)] = halves.map(|(from, to)| mean(trace, Window { from, to }))
    else {
        return Verdict::Early;
    };
    let steps: f64 = trace.sensor.rails.iter().map(|rail| rail.quantum.0).sum();
    let allowed = (POWER_SHARE_MOST * f64::midpoint(before, after).abs()).max(steps);
    if (after - before).abs() <= allowed {
        return Verdict::Flat;
    }
    let way = if after > before { "rose" } else { "fell" };
    Verdict::Moving(format!(
        "{} by {} {way} from {before:.2} to {after:.2} W",
        trace.sensor.scope, trace.sensor.source
    ))
}

/// Mean power in W over a window of which at least half was seen.
fn mean(trace: &PowerTrace, window: Window) -> Option<f64> {
    let energy = energy(&trace.sensor, &[(window, &trace.samples)]);
    let joules = energy.joules.filter(|_| energy.coverage >= 0.5)?;
    Some(joules.0 / window.length().as_secs_f64())
}

/// Steeper is not flat, in °C/s.
const SLOPE_MOST: f64 = 0.05;

/// Means of power that are further apart than this share of them are not flat.
const POWER_SHARE_MOST: f64 = 0.02;

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokwatt_domain::{
        power::{PowerSample, Provenance, Rail, Reading, Scope, Sensor},
        units::Watts,
    };

    use super::*;

    const NOW: u64 = 100;

    fn at(seconds: f64) -> Stamp {
        Stamp::at(Duration::from_secs_f64(seconds))
    }

    /// Seen every second for `length` seconds until now: m°C by the seconds that have passed.
    fn zone(length: u32, millidegrees: impl Fn(f64) -> f64) -> Vec<(Stamp, i64)> {
        (0..=length)
            .map(|second| {
                let passed = f64::from(second);
                let value = format!("{:.0}", millidegrees(passed)).parse().unwrap();
                (at(100.0 - f64::from(length) + passed), value)
            })
            .collect()
    }

    /// Read ten times a second for 10 s until now: W by the seconds that have passed.
    fn power(watts: impl Fn(f64) -> f64) -> PowerTrace {
        let sample = |step: i32| {
            let passed = f64::from(step) / 10.0;
            PowerSample {
                at: at(90.0 + passed),
                values: vec![format!("{:.0}", 1e6 * watts(passed)).parse().unwrap()],
            }
        };
        PowerTrace {
            sensor: Sensor {
                source: "ina".to_owned(),
                scope: Scope::Module,
                rails: vec![Rail {
                    name: "VDD_IN".to_owned(),
                    quantum: Watts(0.1),
                }],
                reading: Reading::Power,
                refresh: None,
                averaging: Duration::ZERO,
                provenance: Provenance::Measured,
                asked_interval: None,
                clock: None,
            },
            samples: (0..=100).map(sample).collect(),
        }
    }

    #[track_caller]
    fn check(zones: &[Vec<(Stamp, i64)>], power: &[PowerTrace], want: Verdict) {
        let named = (0..).zip(zones.iter().cloned());
        let zones: Zones = named.map(|(n, zone)| (format!("zone{n}"), zone)).collect();
        let got = verdict(&Rule::of(false), &zones, power, Stamp(NOW * 1_000_000_000));
        assert_eq!(got, want);
    }

    fn moving(what: &str) -> Verdict {
        Verdict::Moving(what.to_owned())
    }

    #[test]
    fn where_nothing_can_be_read_there_is_nothing_to_wait_for() {
        check(&[], &[], Verdict::Nothing);
        let mut silent = power(|_| 5.0);
        silent.samples.clear();
        check(&[], &[silent], Verdict::Nothing);
    }

    #[test]
    fn a_line_has_its_slope() {
        assert!((slope(&zone(10, |s| 40_000.0 + 70.0 * s)) - 0.07).abs() < 1e-9);
        assert!((slope(&zone(10, |s| 40_000.0 - 300.0 * s)) + 0.3).abs() < 1e-9);
        assert!(slope(&zone(10, |_| 40_000.0)).abs() < 1e-9);
        assert!(slope(&[(Stamp(1), 5)]).abs() < 1e-9);
        assert!(slope(&[]).abs() < 1e-9);
    }

    #[test]
    fn a_zone_is_flat_below_a_twentieth_of_a_degree_a_second_up_or_down() {
        check(&[zone(10, |s| 49.0 * s)], &[], Verdict::Flat);
        check(&[zone(10, |s| -49.0 * s)], &[], Verdict::Flat);
        check(
            &[zone(10, |s| 200.0 * s)],
            &[],
            moving("zone0 rose 0.20 °C/s"),
        );
        check(
            &[zone(10, |s| -51.0 * s)],
            &[],
            moving("zone0 fell 0.05 °C/s"),
        );
    }

    #[test]
    fn the_steepest_zone_decides_and_only_its_latest_ten_seconds() {
        let zones = [
            zone(10, |s| 60.0 * s),
            zone(10, |s| -90.0 * s),
            zone(10, |_| 0.0),
        ];
        check(&zones, &[], moving("zone1 fell 0.09 °C/s"));
        let came_to_rest = zone(40, |s| 50_000.0 + 1000.0 * s.min(30.0));
        check(&[came_to_rest], &[], Verdict::Flat);
    }

    #[test]
    fn a_zone_is_judged_after_ten_seconds_and_one_that_went_away_not_at_all() {
        check(&[zone(9, |_| 40_000.0)], &[], Verdict::Early);
        let mut gone = zone(20, |s| 1000.0 * s);
        gone.truncate(15);
        check(&[gone, zone(10, |_| 40_000.0)], &[], Verdict::Flat);
    }

    #[test]
    fn power_is_flat_if_its_halves_are_within_two_percent() {
        // The step takes the 0.1 s from one sample to the next, so half of that is missing.
        let step = |watts: f64| power(move |s| if s <= 5.0 { 20.0 } else { watts });
        check(&[], &[power(|_| 20.0)], Verdict::Flat);
        check(&[], &[step(20.39)], Verdict::Flat);
        check(
            &[],
            &[step(21.0)],
            moving("module by ina rose from 20.00 to 20.99 W"),
        );
        check(
            &[],
            &[step(15.0)],
            moving("module by ina fell from 20.00 to 15.05 W"),
        );
    }

    #[test]
    fn a_step_of_the_sensor_is_no_movement() {
        // 2 % of 1 W are less than the rail's 0.1 W.
        let step = |watts: f64| power(move |s| if s <= 5.0 { 1.0 } else { watts });
        check(&[], &[step(1.1)], Verdict::Flat);
        check(
            &[],
            &[step(1.2)],
            moving("module by ina rose from 1.00 to 1.20 W"),
        );
    }

    #[test]
    fn an_instrument_that_is_gone_is_not_waited_for() {
        let mut gone = power(|_| 10.0);
        gone.samples.retain(|sample| sample.at < at(95.0));
        check(&[], &[gone.clone()], Verdict::Nothing);
        check(&[], &[gone, power(|_| 10.0)], Verdict::Flat);
    }

    #[test]
    fn power_that_was_not_seen_is_not_yet_flat() {
        let mut late = power(|_| 20.0);
        late.samples.drain(..60);
        check(&[], &[late], Verdict::Early);
    }

    #[test]
    fn what_was_seen_since_the_agents_start_alone_is_too_little() {
        let zones = Zones::from([("tj".to_owned(), vec![(Stamp(0), 40_000)])]);
        let rule = Rule::of(false);
        let mut early = power(|_| 20.0);
        early
            .samples
            .iter_mut()
            .for_each(|sample| sample.at = sample.at.before(Duration::from_secs(91)));
        assert_eq!(verdict(&rule, &zones, &[], Stamp(0)), Verdict::Early);
        assert_eq!(
            verdict(&rule, &Zones::new(), &[early], at(9.0)),
            Verdict::Early
        );
    }

    #[test]
    fn all_must_be_flat_and_what_is_not_is_told_together() {
        let warm = || zone(10, |s| 200.0 * s);
        let flat = || zone(10, |_| 40_000.0);
        let busy = || power(|s| 10.0 + s);
        check(&[flat()], &[power(|_| 20.0)], Verdict::Flat);
        check(
            &[flat()],
            &[busy()],
            moving("module by ina rose from 12.50 to 17.50 W"),
        );
        check(
            &[warm()],
            &[busy()],
            moving("zone0 rose 0.20 °C/s, module by ina rose from 12.50 to 17.50 W"),
        );
        check(&[zone(3, |_| 40_000.0)], &[power(|_| 20.0)], Verdict::Early);
    }

    #[test]
    fn a_quick_run_is_judged_after_four_seconds_and_waits_for_five() {
        let zones = Zones::from([("tj".to_owned(), zone(4, |_| 40_000.0))]);
        let got = verdict(&Rule::of(true), &zones, &[], Stamp(NOW * 1_000_000_000));
        assert_eq!(got, Verdict::Flat);
        assert_eq!(Rule::of(true).at_most, Duration::from_secs(5));
    }
}
