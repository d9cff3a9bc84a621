//! A load with a closed form, from the tool's lines to joules per token, in real time: a square wave of 5 and 25 W with a period of 1 s.

use std::{fs, io::Write, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use tokwatt_agent::{
    guard::Guard,
    power::{
        sampler::{Cadence, Sampler},
        tegrastats::{Settings, Tegrastats},
    },
};
use tokwatt_domain::{
    device::DeviceKind,
    power::{PowerTrace, Provenance},
    time::{Stamp, Window},
};

use super::{Bench, Reply};

/// Prints an AGX Orin's rails, whose sum is 5 W in the first half of each second of the machine's clock and 25 W in the second, and
/// notes when it printed which line. Two rails carry the line's number, one up and one down, so that a sample tells its line.
///
/// It keeps the beat of that clock, a line at 30 ms of every tenth of a second: what is not seen between two lines is the same at every
/// edge then, and edges up and down cancel. At intervals of chance 67 s would be off by 0.7 % in one standard deviation, and
/// 1.5 % be a matter of luck.
const TOOL: &str = r#"#!/bin/sh
cd "${0%/*}"
n=0
while read -r uptime _ < /proc/uptime; do
  hundredths=${uptime#*.}
  case $hundredths in [0-4]*) level=5000 ;; *) level=25000 ;; esac
  n=$((n + 1))
  echo "$n $uptime" >> printed
  echo "VDD_GPU_SOC $((level - 3000 - n))mW/1mW VDD_CPU_CV $((1000 + n))mW/1mW VIN_SYS_5V0 2000mW/1mW"
  case $hundredths in ?3) sleep 0.1 ;; ?[0-2]) sleep 0.0$((3 - ${hundredths#?})) ;; *) sleep 0.0$((13 - ${hundredths#?})) ;; esac
done
"#;

/// The wave on the agent's clock.
struct Wave {
    /// The agent's time when the machine's clock began a second, in ns.
    origin: i64,
}

impl Wave {
    /// From the lines' times of printing and of arrival: the line that came fastest tells how the two clocks stand to each other. The
    /// machine's shows hundredths only, rounded down; of several hundred lines the fastest was read at the beginning of one.
    fn of(folder: &Path, power: &PowerTrace) -> Self {
        let printed = fs::read_to_string(folder.join("printed")).unwrap();
        let printed: Vec<i64> = printed
            .lines()
            .map(|line| nanoseconds(line.split_once(' ').unwrap().1))
            .collect();
        let delay = power.samples.iter().map(|sample| {
            let line = usize::try_from(sample.values[1] / 1000 - 1000).unwrap();
            i64::try_from(sample.at.0).unwrap() - printed[line - 1]
        });
        let origin = delay.min().unwrap();
        Self { origin }
    }

    /// Energy over a window in J: 15 W, and what is left of a period at each end.
    fn energy(&self, window: Window) -> f64 {
        self.energy_until(window.to) - self.energy_until(window.from)
    }

    fn energy_until(&self, at: Stamp) -> f64 {
        let since = i64::try_from(at.0).unwrap() - self.origin;
        let (seconds, rest) = (since.div_euclid(SECOND), since.rem_euclid(SECOND));
        let rest = rest as f64 / SECOND as f64;
        15.0 * seconds as f64 + 5.0 * rest + 20.0 * (rest - 0.5).max(0.0)
    }
}

/// `12.34`, of /proc/uptime.
fn nanoseconds(uptime: &str) -> i64 {
    let (seconds, hundredths) = uptime.split_once('.').unwrap();
    let seconds: i64 = seconds.parse().unwrap();
    let hundredths: i64 = hundredths.parse().unwrap();
    SECOND * seconds + SECOND / 100 * hundredths
}

const SECOND: i64 = 1_000_000_000;

#[tokio::test]
async fn a_square_wave_costs_per_token_what_its_closed_form_says() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("tegrastats");
    fs::write(&program, TOOL).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut bench = Bench::new();
    let clock = bench.runner.clock.clone();
    let settings = Settings {
        program,
        interval: Duration::from_millis(100),
        guard: Guard::at(Path::new(env!("CARGO_BIN_EXE_tokwatt-agent"))),
    };
    let tool =
        Tegrastats::open(settings, DeviceKind::AgxOrin, Provenance::Measured, &*clock).unwrap();
    let sampler = Sampler::start(vec![Box::new(tool)], Cadence::default(), clock).unwrap();
    bench.runner.sampler = Some(Arc::new(sampler));
    // Requests of 0.9 to 1.2 s for a segment of a minute and a little more.
    let time = |prompt: &str| {
        let number: u64 = prompt[1..].parse().unwrap();
        Duration::from_millis(900 + number * 137 % 300)
    };
    let outcome = bench
        .ask(64, move |prompt| Reply::Slowly(time(prompt), 20))
        .await;

    let (trace, report) = (&outcome.traces[0], &outcome.reports[0]);
    assert_eq!(report.requests.succeeded, 64);
    let power = &report.power[0];
    assert!(power.bracketed, "{power:?}");
    let wave = Wave::of(folder.path(), &trace.segments[0].power[0]);
    let windows = trace.segments.iter().map(|segment| segment.window);
    let joules: f64 = windows.map(|window| wave.energy(window)).sum();
    assert!(report.window_s >= 60.0, "{} s", report.window_s);

    let tokens = 64.0 * 20.0;
    let (got, want) = (power.j_per_output_token.unwrap(), joules / tokens);
    // The tool's figures are exact, so what a real one's steps might hide is not needed.
    let bound = power.error_bound_j.unwrap() - power.error_terms_j["quantisation"];
    let figures = format!(
        "{got:.5} J/token, the closed form {want:.5}, bound without quantisation {:.5}; {} samples in {:.2} s, {:?}",
        bound / tokens,
        power.samples,
        report.window_s,
        power.error_terms_j
    );
    // Seen with `--nocapture`.
    writeln!(std::io::stderr(), "{figures}").unwrap();
    assert!((got / want - 1.0).abs() <= 0.015, "{figures}");
    assert!((got - want).abs() <= bound / tokens, "{figures}");
    assert!((got * power.tok_per_s_per_w.unwrap() - 1.0).abs() < 1e-12);
}
