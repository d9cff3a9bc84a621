//! `--concurrency`, `--rate`, `--arrivals`, `--goodput`: how requests are offered, and what they have to keep to.

use clap::{Args, ValueEnum};
use tokwatt_domain::workload::{Arrivals, Limits, Load};

#[derive(Args)]
pub(super) struct LoadArgs {
    /// Requests in flight, one closed loop after the other: the next one is sent when one ends; what the suite suggests without
    /// it, mostly 1
    #[arg(long, value_delimiter = ',', value_name = "N,…", value_parser = clap::value_parser!(u32).range(1..=1024))]
    concurrency: Vec<u32>,
    /// Requests per second, such as 2.5,5: in place of the closed loop one open loop after the other, which sends on schedule whatever
    /// is in flight. Latency counts from the schedule
    #[arg(long, value_delimiter = ',', value_name = "RATE,…", conflicts_with = "concurrency", value_parser = rate)]
    rate: Vec<u32>,
    /// When requests come at that rate
    #[arg(long, value_enum, default_value_t = ArrivalKind::Constant, requires = "rate")]
    arrivals: ArrivalKind,
    /// Limits that a request has to keep to, such as ttft=500ms,tpot=50ms,latency=5s; goodput is how many a second keep to all of
    /// those that are stated
    #[arg(long, value_name = "LIMITS", value_parser = limits)]
    goodput: Option<Limits>,
}

/// When requests come.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum ArrivalKind {
    /// At equal intervals
    Constant,
    /// Independently of each other, the same ones on every device
    Poisson,
}

impl LoadArgs {
    /// In the order in which they are offered; without any asked for, closed loops as the suite suggests.
    pub(super) fn loads(&self, suggested: &[u32]) -> Vec<Load> {
        if self.rate.is_empty() {
            let asked = match &*self.concurrency {
                [] => suggested,
                asked => asked,
            };
            return asked.iter().copied().map(Load::Closed).collect();
        }
        let arrivals = match self.arrivals {
            ArrivalKind::Constant => Arrivals::Constant,
            ArrivalKind::Poisson => Arrivals::Poisson,
        };
        let open = |per_1000_s: &u32| Load::Open {
            per_1000_s: *per_1000_s,
            arrivals,
        };
        self.rate.iter().map(open).collect()
    }

    pub(super) fn limits(&self) -> Option<Limits> {
        self.goodput
    }
}

/// In thousandths, so that a rate has one name.
fn rate(text: &str) -> Result<u32, String> {
    let rate: Option<f64> = text.parse().ok();
    let range = 0.001..=RATE_MOST;
    let thousandths = rate
        .filter(|rate| range.contains(rate))
        .map(|rate| rate * 1000.0);
    let whole = thousandths.filter(|exact| (exact - exact.round()).abs() < 1e-6 * exact);
    whole
        .and_then(|whole| format!("{whole:.0}").parse().ok())
        .ok_or_else(|| FEW_DECIMALS.to_owned())
}

fn limits(text: &str) -> Result<Limits, String> {
    let mut limits = Limits {
        ttft_s: None,
        tpot_s: None,
        latency_s: None,
    };
    for part in text.split(',') {
        let (name, time) = part
            .split_once('=')
            .ok_or_else(|| format!("`{part}` has no time; write it as ttft=500ms"))?;
        let limit = match name {
            "ttft" => &mut limits.ttft_s,
            "tpot" => &mut limits.tpot_s,
            "latency" => &mut limits.latency_s,
            _ => {
                return Err(format!(
                    "no limit `{name}`; there are ttft, tpot and latency"
                ));
            }
        };
        let time = super::some_time(time).map_err(|error| format!("`{part}`: {error}"))?;
        if limit.replace(time.as_secs_f64()).is_some() {
            return Err(format!("`{name}` is stated twice"));
        }
    }
    Ok(limits)
}

/// A schedule of a million a second is none that can be kept.
const RATE_MOST: f64 = 1e6;

const FEW_DECIMALS: &str =
    "rates are requests per second, 0.001 to 1000000, with three decimals at most";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_three_decimals_at_most() {
        let check = |text: &str, want: Option<u32>| assert_eq!(rate(text).ok(), want, "{text}");
        check("2.5", Some(2500));
        check("0.001", Some(1));
        check("0.1", Some(100));
        check("1e3", Some(1_000_000));
        check("1000000", Some(1_000_000_000));
        for no_rate in [
            "0", "-1", "0.0001", "1.0005", "nan", "inf", "x", "", "1000001",
        ] {
            check(no_rate, None);
        }
    }

    #[test]
    fn limits_are_times_by_name() {
        let read = limits("ttft=500ms,latency=5s").unwrap();
        assert_eq!((read.ttft_s, read.tpot_s), (Some(0.5), None));
        assert_eq!(read.to_string(), "ttft=0.5s,latency=5s");
        for (wrong, why) in [
            ("ttft", "has no time"),
            ("", "has no time"),
            ("itl=5ms", "no limit `itl`"),
            ("ttft=0s", "no time"),
            ("ttft=fast", "`ttft=fast`"),
            ("ttft=1s,ttft=2s", "stated twice"),
        ] {
            let said = limits(wrong).unwrap_err();
            assert!(said.contains(why), "{wrong}: {said}");
        }
    }
}
