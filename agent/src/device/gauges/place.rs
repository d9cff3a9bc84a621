//! Where a host's gauges are: thermal zones and limits, drivers' counters and alarms, clocks of GPU and processor, GPU load.

use std::collections::BTreeMap;

use tokwatt_domain::{device::DeviceKind, run::GaugeKind};

use crate::device::{self, HostRoot, clocks, drivers, kind};

/// A file that shows one condition.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) kind: GaugeKind,
    pub(super) name: String,
    pub(super) path: String,
    pub(super) show: Show,
}

/// What its number means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Show {
    /// Itself.
    AsItIs,
    /// Thousands of the kind's unit.
    Thousands,
    /// A temperature, or that the part is switched off.
    Temperature,
    /// Whether something is wrong now: looks at which it was are counted.
    Alarm,
}

/// All places of a host, in no order that means something. Names are made unique by the folder they are in.
pub(super) fn all(root: &HostRoot) -> Vec<Place> {
    let all = [
        thermal_zones(root),
        processor_temperatures(root),
        limits(root),
        event_counters(root),
        alarms(root),
        gpu(root),
        processor_clocks(root),
    ];
    let mut all: Vec<Place> = all.into_iter().flatten().collect();
    make_unique(&mut all);
    all
}

/// Those of a Jetson are on the dies; `PMIC` ones show the same number always.
fn thermal_zones(root: &HostRoot) -> Vec<Place> {
    let zones = typed(root, "thermal_zone");
    let zones = zones.filter(|(_, name)| !name.to_ascii_uppercase().contains("PMIC"));
    zones
        .map(|(folder, name)| Place {
            kind: GaugeKind::Temperature,
            name,
            path: format!("{folder}/temp"),
            show: Show::Temperature,
        })
        .collect()
}

/// Of x86 processors. Single cores are left out where the whole is shown: each costs an interrupt on its core.
fn processor_temperatures(root: &HostRoot) -> Vec<Place> {
    let mut places = Vec::new();
    for folder in drivers(root, &["coretemp", "k10temp"]) {
        let labelled: Vec<(String, String)> = channels(root, &folder, "temp", "_input")
            .map(|channel| {
                let label = root.read(&format!("{folder}/{channel}_label"));
                let label = label.unwrap_or_else(|_| channel.clone());
                (channel, label)
            })
            .collect();
        let has_whole = labelled
            .iter()
            .any(|(_, label)| label.starts_with("Package"));
        let shown = labelled
            .into_iter()
            .filter(|(_, label)| !(has_whole && label.starts_with("Core ")));
        places.extend(shown.map(|(channel, name)| Place {
            kind: GaugeKind::Temperature,
            name,
            path: format!("{folder}/{channel}_input"),
            show: Show::Temperature,
        }));
    }
    places
}

/// `cpu-throttle-alert`, `gpu-throttle-alert`, …: above 0 while clocks are held down for heat.
fn limits(root: &HostRoot) -> Vec<Place> {
    typed(root, "cooling_device")
        .filter(|(_, name)| name.ends_with("-throttle-alert"))
        .map(|(folder, name)| Place {
            kind: GaugeKind::Throttle,
            name,
            path: format!("{folder}/cur_state"),
            show: Show::AsItIs,
        })
        .collect()
}

/// Jetson's counters of under-voltage and over-current: `oc1`, `oc2`, `oc3`.
fn event_counters(root: &HostRoot) -> Vec<Place> {
    let mut places = Vec::new();
    for folder in drivers(root, &["soctherm_oc"]) {
        let counters = channels(root, &folder, "oc", "_event_cnt");
        places.extend(counters.map(|name| Place {
            kind: GaugeKind::Overcurrent,
            path: format!("{folder}/{name}_event_cnt"),
            name,
            show: Show::AsItIs,
        }));
    }
    places
}

/// A power monitor's word that a rail's current is above its limit.
fn alarms(root: &HostRoot) -> Vec<Place> {
    let mut places = Vec::new();
    for folder in drivers(root, &["ina3221"]) {
        for (limit, end) in [("critical", "_crit_alarm"), ("highest", "_max_alarm")] {
            for channel in channels(root, &folder, "curr", end) {
                let number = channel.trim_start_matches("curr");
                let label = root.read(&format!("{folder}/in{number}_label"));
                let Some(rail) = label.ok().filter(|label| label != "NC") else {
                    continue;
                };
                places.push(Place {
                    kind: GaugeKind::Overcurrent,
                    name: format!("{rail} above {limit} current"),
                    path: format!("{folder}/{channel}{end}"),
                    show: Show::Alarm,
                });
            }
        }
    }
    places
}

/// Clock and load of a Jetson's GPU.
fn gpu(root: &HostRoot) -> Vec<Place> {
    let place = |kind, path| Place {
        kind,
        name: "gpu".to_owned(),
        path,
        show: Show::AsItIs,
    };
    let folder = clocks::gpu(root).ok();
    let clock = folder
        .iter()
        .map(|folder| place(GaugeKind::Clock, format!("{folder}/cur_freq")));
    let loads = folder
        .iter()
        .map(|folder| format!("{folder}/device/load"))
        .chain(GPU_LOADS.map(str::to_owned));
    let load = loads
        .filter(|path| root.read(path).is_ok())
        .take(1)
        .map(|path| place(GaugeKind::Utilisation, path));
    clock.chain(load).collect()
}

/// Not on GB10, whose driver shows clocks that its cores do not have.
fn processor_clocks(root: &HostRoot) -> Vec<Place> {
    if kind::recognise(root) == DeviceKind::Gb10 {
        return Vec::new();
    }
    let policies = clocks::policies(root).unwrap_or_default();
    at_most(policies)
        .map(|policy| Place {
            kind: GaugeKind::Clock,
            path: format!("{}/{policy}/scaling_cur_freq", clocks::CPU_POLICIES),
            name: format!("cpu {policy}"),
            show: Show::Thousands,
        })
        .collect()
}

/// Folders of the thermal framework whose names begin so, each with its type.
fn typed(root: &HostRoot, begin: &str) -> impl Iterator<Item = (String, String)> {
    let mut entries = root.list(THERMAL);
    entries.retain(|entry| entry.starts_with(begin));
    at_most(entries).filter_map(|entry| {
        let folder = format!("{THERMAL}/{entry}");
        let name = root.read(&format!("{folder}/type")).ok()?;
        Some((folder, name))
    })
}

/// `temp1` of `temp1_input`, for a driver's files that begin and end so with a number between.
fn channels(
    root: &HostRoot,
    folder: &str,
    begin: &'static str,
    end: &'static str,
) -> impl Iterator<Item = String> + use<> {
    let channel = move |entry: &String| {
        let channel = entry.strip_suffix(end)?;
        let number = channel.strip_prefix(begin)?;
        let is_number = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then(|| channel.to_owned())
    };
    let entries = root.list(folder);
    let channels: Vec<String> = entries.iter().filter_map(channel).collect();
    at_most(channels)
}

/// A large server has hundreds of cores with a clock each, and reading one takes an interrupt on it.
fn at_most<T>(places: Vec<T>) -> impl Iterator<Item = T> {
    if places.len() > ALIKE_MAX {
        let n_left_out = places.len() - ALIKE_MAX;
        tracing::info!(
            n_left_out,
            "more gauges of one sort than are watched during a run"
        );
    }
    places.into_iter().take(ALIKE_MAX)
}

/// A name is one short line, whatever a file held. Of gauges that share kind and name each gets the folder that it is in, and if
/// that is the same its file: `acpitz thermal_zone3`.
fn make_unique(places: &mut [Place]) {
    for place in places.iter_mut() {
        let name = device::short(&place.name);
        place.name = name.chars().take(NAME_CHARS_MAX).collect();
    }
    for level in [1, 0] {
        let mut counts: BTreeMap<(GaugeKind, String), usize> = BTreeMap::new();
        for place in places.iter() {
            *counts.entry((place.kind, place.name.clone())).or_default() += 1;
        }
        for place in places.iter_mut() {
            let part = place.path.rsplit('/').nth(level).unwrap_or_default();
            if counts[&(place.kind, place.name.clone())] > 1 {
                place.name = format!("{} {part}", place.name);
            }
        }
    }
}

const THERMAL: &str = "/sys/class/thermal";

/// Where the GPU's load is on boards whose clock folder does not have it.
const GPU_LOADS: [&str; 2] = [
    "/sys/devices/platform/gpu.0/load",
    "/sys/devices/gpu.0/load",
];

/// Most gauges of one sort that are watched: more zones than any board of the fleet has.
const ALIKE_MAX: usize = 64;

/// Longer than any name of a rail or zone.
const NAME_CHARS_MAX: usize = 64;
