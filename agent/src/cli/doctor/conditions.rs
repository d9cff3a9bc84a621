//! What the host's gauges show before anything is asked: how hot it is, what limits its clocks, how often current was too high.

use tokwatt_domain::run::GaugeKind;

use super::Check;
use crate::device::{
    HostRoot,
    gauges::{Gauge, GaugeSource, HostGauges},
};

/// Looks once.
pub(super) fn conditions(root: &HostRoot) -> Check {
    judge(&HostGauges::open(root).look(None))
}

fn judge(gauges: &[Gauge]) -> Check {
    let shown = [hottest(gauges), overcurrent(gauges)];
    let shown = shown.into_iter().flatten();
    let limits: Vec<&Gauge> = of(gauges, GaugeKind::Throttle).collect();
    let in_force: Vec<String> = limits
        .iter()
        .filter(|limit| limit.value > 0)
        .map(|limit| format!("`{}` holds clocks down", limit.name))
        .collect();
    if !in_force.is_empty() {
        let found = in_force.into_iter().chain(shown);
        return Check::mend(NAME, found.collect::<Vec<_>>().join("; "), REMEDY);
    }
    if shown.clone().next().is_none() && limits.is_empty() {
        let found = "neither a temperature nor a limit can be read below `/sys/class`".to_owned();
        return Check::unknown(NAME, found, None);
    }
    let calm = match limits.len() {
        0 => "whether something holds clocks down is not told",
        _ => "nothing holds clocks down",
    };
    let found = shown.chain([calm.to_owned()]);
    Check::ok(NAME, found.collect::<Vec<_>>().join("; "))
}

fn hottest(gauges: &[Gauge]) -> Option<String> {
    let zone = of(gauges, GaugeKind::Temperature).max_by_key(|gauge| gauge.value)?;
    let degrees = zone.value as f64 / 1000.0;
    Some(format!("`{}` is hottest at {degrees:.1} °C", zone.name))
}

/// A count says little before a run; its rise during one is what is flagged.
fn overcurrent(gauges: &[Gauge]) -> Option<String> {
    let events = of(gauges, GaugeKind::Overcurrent).filter(|gauge| gauge.value > 0);
    let events: Vec<String> = events
        .map(|gauge| format!("`{}` {}", gauge.name, gauge.value))
        .collect();
    (!events.is_empty()).then(|| format!("over-current events so far: {}", events.join(", ")))
}

fn of(gauges: &[Gauge], kind: GaugeKind) -> impl Iterator<Item = &Gauge> + Clone {
    gauges.iter().filter(move |gauge| gauge.kind == kind)
}

const NAME: &str = "conditions";

const REMEDY: &str = "runs would be flagged `throttled` and not ranked: let it cool down, clear its vents, let the fan run at full speed \
                      (on a Jetson `jetson_clocks --fan`), or take a power mode with lower clocks";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State;

    #[track_caller]
    fn check(gauges: &[(GaugeKind, &str, i64)], want: State, found: &str) {
        let gauge = |(kind, name, value): &(GaugeKind, &str, i64)| Gauge {
            kind: *kind,
            name: (*name).to_owned(),
            value: *value,
        };
        let check = judge(&gauges.iter().map(gauge).collect::<Vec<_>>());
        assert_eq!((check.state, check.found.as_str()), (want, found));
        assert_eq!(check.remedy.is_some(), want == State::Mend);
    }

    #[test]
    fn what_limits_the_clocks_is_to_mend_and_heat_alone_is_not() {
        let warm = (GaugeKind::Temperature, "tj-thermal", 104_500);
        let cool = (GaugeKind::Temperature, "cpu-thermal", 60_000);
        check(
            &[cool, warm, (GaugeKind::Throttle, "gpu-throttle-alert", 2)],
            State::Mend,
            "`gpu-throttle-alert` holds clocks down; `tj-thermal` is hottest at 104.5 °C",
        );
        check(
            &[cool, warm, (GaugeKind::Throttle, "gpu-throttle-alert", 0)],
            State::Ok,
            "`tj-thermal` is hottest at 104.5 °C; nothing holds clocks down",
        );
    }

    #[test]
    fn events_are_told_and_what_is_not_known_is_said() {
        check(
            &[
                (GaugeKind::Temperature, "tj-thermal", 46_062),
                (GaugeKind::Overcurrent, "oc1", 0),
                (GaugeKind::Overcurrent, "oc3", 12),
            ],
            State::Ok,
            "`tj-thermal` is hottest at 46.1 °C; over-current events so far: `oc3` 12; whether something holds clocks down is \
             not told",
        );
        check(
            &[(GaugeKind::Clock, "cpu policy0", 1)],
            State::Unknown,
            "neither a temperature nor a limit can be read below `/sys/class`",
        );
    }
}
