//! The conditions of recorded hosts: what their files show, and what becomes of one that goes away.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use tokwatt_agent::device::{
    HostRoot,
    gauges::{Gauge, GaugeSource, Gauges, HostGauges},
};
use tokwatt_domain::run::GaugeKind;
use tracing::field::{Field, Visit};
use tracing_subscriber::{Layer, layer::Context, prelude::*};

use crate::probe::{copy_of, fixture};

fn look(root: &HostRoot) -> Vec<Gauge> {
    HostGauges::open(root).look(None)
}

#[track_caller]
fn check(gauges: &[Gauge], kind: GaugeKind, want: &[(&str, i64)]) {
    let of_kind = gauges.iter().filter(|gauge| gauge.kind == kind);
    let shown = of_kind.map(|gauge| (gauge.name.as_str(), gauge.value));
    assert_eq!(shown.collect::<Vec<_>>(), want);
}

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn an_agx_orin_shows_its_dies_limits_counters_clocks_and_load() {
    let gauges = look(&fixture("agx-orin"));
    // The GPU and one accelerator are switched off, and the PMIC shows the same number always.
    check(
        &gauges,
        GaugeKind::Temperature,
        &[
            ("cpu-thermal", 46_062),
            ("soc0-thermal", 44_281),
            ("tj-thermal", 46_062),
        ],
    );
    check(
        &gauges,
        GaugeKind::Throttle,
        &[("cpu-throttle-alert", 0), ("gpu-throttle-alert", 0)],
    );
    check(
        &gauges,
        GaugeKind::Overcurrent,
        &[
            ("oc1", 0),
            ("oc2", 0),
            ("oc3", 12),
            ("VDD_GPU_SOC above critical current", 0),
            ("VDD_CPU_CV above critical current", 0),
            ("VIN_SYS_5V0 above critical current", 0),
            ("VDD_GPU_SOC above highest current", 0),
            ("VDD_CPU_CV above highest current", 0),
            ("VIN_SYS_5V0 above highest current", 0),
        ],
    );
    check(
        &gauges,
        GaugeKind::Clock,
        &[
            ("gpu", 1_300_500_000),
            ("cpu policy0", 2_201_600_000),
            ("cpu policy4", 1_984_000_000),
        ],
    );
    check(&gauges, GaugeKind::Utilisation, &[("gpu", 37)]);
}

#[test]
fn a_thor_shows_the_clock_of_its_graphics_clusters_and_has_no_load_in_its_files() {
    let gauges = look(&fixture("thor"));
    check(&gauges, GaugeKind::Clock, &[("gpu", 630_000_000)]);
    check(&gauges, GaugeKind::Utilisation, &[]);
    check(
        &gauges,
        GaugeKind::Throttle,
        &[
            ("cpu-throttle-alert", 0),
            ("gpu-throttle-alert", 0),
            ("soc012-throttle-alert", 0),
        ],
    );
}

#[test]
fn a_gb10_tells_its_zones_apart_and_shows_no_clock_that_its_cores_do_not_have() {
    let gauges = look(&fixture("gb10"));
    let names: Vec<&str> = gauges.iter().map(|gauge| gauge.name.as_str()).collect();
    let zones: Vec<String> = (0..7).map(|n| format!("acpitz thermal_zone{n}")).collect();
    assert_eq!(names, zones);
}

#[test]
fn a_pc_shows_its_package_and_not_every_core() {
    let gauges = look(&fixture("x86-rapl"));
    check(
        &gauges,
        GaugeKind::Temperature,
        &[
            ("acpitz", 27_800),
            ("x86_pkg_temp", 48_000),
            ("Package id 0", 48_000),
        ],
    );
    check(&gauges, GaugeKind::Clock, &[("cpu policy0", 3_600_123_000)]);
    // A cooling device of another kind is no limit on us.
    check(&gauges, GaugeKind::Throttle, &[]);
}

#[test]
fn cores_are_shown_where_nothing_stands_for_the_whole() {
    let (folder, root) = copy_of("x86-rapl");
    let hwmon = folder.path().join("sys/class/hwmon/hwmon2");
    for file in ["temp1_label", "temp1_input", "temp2_label"] {
        fs::remove_file(hwmon.join(file)).unwrap();
    }
    let gauges = look(&root);
    check(
        &gauges,
        GaugeKind::Temperature,
        &[
            ("acpitz", 27_800),
            ("x86_pkg_temp", 48_000),
            ("temp2", 45_000),
            ("Core 1", 47_000),
        ],
    );
}

#[test]
fn a_host_without_gauges_has_none() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(look(&HostRoot::at(folder.path())), []);
}

#[test]
fn an_alarm_is_counted_at_every_look_at_which_it_is_raised() {
    const ALARM: &str = "sys/class/hwmon/hwmon3/curr1_crit_alarm";
    let (folder, root) = copy_of("agx-orin");
    let mut gauges = HostGauges::open(&root);
    let mut count = |state: &str| {
        write(folder.path(), ALARM, state);
        let name = "VDD_GPU_SOC above critical current";
        let gauges = gauges.look(None);
        let alarm = gauges.iter().find(|gauge| gauge.name == name);
        alarm.unwrap().value
    };
    let counts = ["0\n", "1\n", "1\n", "0\n", "1\n"].map(&mut count);
    assert_eq!(counts, [0, 1, 2, 2, 3]);
}

#[test]
fn a_part_that_wakes_up_has_a_temperature_from_then_on() {
    const ZONE: &str = "sys/class/thermal/thermal_zone1/temp";
    let (folder, root) = copy_of("agx-orin");
    let mut gauges = HostGauges::open(&root);
    let mut gpu = |text: &str| {
        write(folder.path(), ZONE, text);
        let gauges = gauges.look(None);
        let zone = gauges.iter().find(|gauge| gauge.name == "gpu-thermal");
        zone.map(|gauge| gauge.value)
    };
    assert_eq!(gpu("-256000\n"), None);
    assert_eq!(gpu("47125\n"), Some(47_125));
}

/// A power mode takes cores away, with their files, and brings others.
#[test]
fn cores_that_come_on_later_are_found_when_looked_for_again() {
    const POLICY: &str = "sys/devices/system/cpu/cpufreq/policy4";
    let (folder, root) = copy_of("agx-orin");
    let (on, off) = (folder.path().join(POLICY), folder.path().join("off"));
    fs::rename(&on, &off).unwrap();
    let gauges = Gauges::of(vec![Box::new(HostGauges::open(&root))]);
    let shows = || {
        let gauges = gauges.look(None);
        gauges.iter().any(|gauge| gauge.name == "cpu policy4")
    };
    fs::rename(&off, &on).unwrap();
    assert!(!shows());
    gauges.find_again();
    assert!(shows());
}

/// What was logged, by message and gauge.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Words(String);
        impl Visit for Words {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!("{field}={value:?} ");
            }
        }
        if *event.metadata().level() > tracing::Level::WARN {
            return;
        }
        let mut words = Words(String::new());
        event.record(&mut words);
        self.0.lock().unwrap().push(words.0);
    }
}

#[test]
fn a_file_that_vanishes_costs_its_own_samples_and_is_told_once() {
    let (folder, root) = copy_of("agx-orin");
    let mut gauges = HostGauges::open(&root);
    let before = gauges.look(None);
    fs::remove_file(folder.path().join("sys/class/thermal/thermal_zone4/temp")).unwrap();
    write(
        folder.path(),
        "sys/class/thermal/cooling_device1/cur_state",
        "garbage",
    );
    let log = Log::default();
    let subscriber = tracing_subscriber::registry().with(log.clone());
    let after = tracing::subscriber::with_default(subscriber, || {
        let after = gauges.look(None);
        assert_eq!(gauges.look(None), after);
        after
    });
    let gone = |gauge: &Gauge| ["tj-thermal", "cpu-throttle-alert"].contains(&&*gauge.name);
    let mut want = before;
    want.retain(|gauge| !gone(gauge));
    assert_eq!(after, want);
    let told = log.0.lock().unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("thermal_zone4/temp` is gone"),
        "{}",
        told[0]
    );
    assert!(told[1].contains("holds no number"), "{}", told[1]);
}

#[test]
fn hundreds_of_zones_are_watched_in_part() {
    let folder = tempfile::tempdir().unwrap();
    for zone in 0..300 {
        let zone = format!("sys/class/thermal/thermal_zone{zone}");
        write(folder.path(), &format!("{zone}/type"), "zone\n");
        write(folder.path(), &format!("{zone}/temp"), "40000\n");
    }
    assert_eq!(look(&HostRoot::at(folder.path())).len(), 64);
}

#[test]
fn names_are_short_lines_and_nothing_has_the_same_one() {
    let folder = tempfile::tempdir().unwrap();
    for (zone, name) in ["a\nb\u{7}", "a b", "x".repeat(5000).as_str()]
        .iter()
        .enumerate()
    {
        let zone = format!("sys/class/thermal/thermal_zone{zone}");
        write(folder.path(), &format!("{zone}/type"), name);
        write(folder.path(), &format!("{zone}/temp"), "1\n");
    }
    let root = HostRoot::at(folder.path());
    let sources: Vec<Box<dyn GaugeSource>> = vec![
        Box::new(HostGauges::open(&root)),
        Box::new(HostGauges::open(&root)),
    ];
    let gauges = Gauges::of(sources).look(None);
    let mut names: Vec<&str> = gauges.iter().map(|gauge| gauge.name.as_str()).collect();
    assert!(
        names
            .iter()
            .all(|name| name.len() < 100 && !name.contains(char::is_control)),
        "{names:?}"
    );
    let n_gauges = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!((names.len(), n_gauges), (6, 6), "{names:?}");
}
