//! Energy counters of x86 processors, by the kernel's powercap files: package domains only.
//!
//! Each package is a folder `/sys/class/powercap/intel-rapl:N` (AMD's too) with `name` (`package-0`), `energy_uj` and
//! `max_energy_range_uj`, at which the counter starts again. Domains inside a package (`intel-rapl:0:1`) are part of it,
//! `psys` is another scope, and `intel-rapl-mmio` is the same counter seen twice: none of them is added.

use std::time::Duration;

use tokwatt_domain::{
    power::{PowerSample, Provenance, Rail, Reading, Scope, Sensor},
    units::{Joules, Watts},
};

use super::{Absent, Pace, PowerSource, ReadError, Taken};
use crate::{
    clock::Clock,
    device::{HostRoot, Unlearnt},
};

/// All packages of the machine as one sensor of scope `cpu_pkg`.
pub struct Rapl {
    root: HostRoot,
    packages: Vec<Package>,
    sensors: [Sensor; 1],
}

struct Package {
    name: String,
    energy_path: String,
    counter: Counter,
}

/// A counter that starts again at `range`, counted on from zero.
struct Counter {
    range: i64,
    last: i64,
    total: i64,
}

impl Rapl {
    /// Finds the packages and reads each once.
    ///
    /// # Errors
    /// There is none, or one of them may not be read or shows what it cannot.
    pub fn open(root: &HostRoot) -> Result<Self, Absent> {
        let packages = root
            .list(POWERCAP)
            .iter()
            .filter(|domain| is_top_level(domain))
            .map(|domain| format!("{POWERCAP}/{domain}"))
            .filter_map(|folder| Package::open(root, &folder).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        if packages.is_empty() {
            return Err(Absent(format!("no package energy counter in `{POWERCAP}`")));
        }
        Ok(Self {
            root: root.clone(),
            sensors: [sensor(&packages, root.provenance())],
            packages,
        })
    }
}

impl PowerSource for Rapl {
    fn sensors(&self) -> &[Sensor] {
        &self.sensors
    }

    fn pace(&self) -> Pace {
        Pace::Sampler
    }

    fn read(&mut self, clock: &dyn Clock, into: &mut Vec<Taken>) -> Result<(), ReadError> {
        let at = clock.now();
        let mut values = Vec::with_capacity(self.packages.len());
        for package in &mut self.packages {
            let reading = microjoules(&self.root, &package.energy_path);
            let reading = reading.map_err(|error| ReadError::Transient(error.to_string()))?;
            let energy = package.counter.advance(reading);
            values.push(energy.ok_or_else(|| package.impossible(reading))?);
        }
        let sample = PowerSample { at, values };
        into.push(Taken { sensor: 0, sample });
        Ok(())
    }
}

impl Package {
    /// `None`: not a package.
    fn open(root: &HostRoot, folder: &str) -> Result<Option<Self>, Absent> {
        let Ok(name) = root.read(&format!("{folder}/name")) else {
            return Ok(None);
        };
        if !name.starts_with("package") {
            return Ok(None);
        }
        let energy_path = format!("{folder}/energy_uj");
        let last = microjoules(root, &energy_path).map_err(explain)?;
        let range = microjoules(root, &format!("{folder}/max_energy_range_uj")).map_err(explain)?;
        let Some(counter) = Counter::start(range, last) else {
            let reason = format!("`{energy_path}` holds {last} of a range of {range} µJ");
            return Err(Absent(reason));
        };
        Ok(Some(Self {
            name,
            energy_path,
            counter,
        }))
    }

    fn impossible(&self, reading: i64) -> ReadError {
        let (path, range) = (&self.energy_path, self.counter.range);
        ReadError::Transient(format!("`{path}` holds {reading} of a range of {range} µJ"))
    }
}

impl Counter {
    /// `None`: no counter of that range stands at `last`.
    fn start(range: i64, last: i64) -> Option<Self> {
        let is_possible = range > 0 && (0..=range).contains(&last);
        is_possible.then_some(Self {
            range,
            last,
            total: 0,
        })
    }

    /// Energy since the start; `None`, and nothing is changed, for a number that the counter cannot show.
    fn advance(&mut self, reading: i64) -> Option<i64> {
        if !(0..=self.range).contains(&reading) {
            return None;
        }
        let is_wrapped = reading < self.last;
        // Both are within 0 and the range: the difference is too, once the wrap is undone.
        let step = reading - self.last + if is_wrapped { self.range } else { 0 };
        self.total = self.total.checked_add(step)?;
        self.last = reading;
        Some(self.total)
    }
}

fn sensor(packages: &[Package], provenance: Provenance) -> Sensor {
    let rail = |package: &Package| Rail {
        name: package.name.clone(),
        quantum: Watts(0.0),
    };
    Sensor {
        source: "rapl".to_owned(),
        scope: Scope::CpuPkg,
        rails: packages.iter().map(rail).collect(),
        reading: Reading::Counter {
            resolution: Joules(RESOLUTION_J),
        },
        refresh: Some(REFRESH),
        averaging: Duration::ZERO,
        provenance,
        asked_interval: None,
        clock: None,
    }
}

/// `intel-rapl:0`, and not `intel-rapl:0:1` or `intel-rapl-mmio:0`.
fn is_top_level(domain: &str) -> bool {
    let number = domain.strip_prefix("intel-rapl:");
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn microjoules(root: &HostRoot, path: &str) -> Result<i64, Unlearnt> {
    root.read(path)?.parse().map_err(|_| Unlearnt::Lacks {
        path: path.to_owned(),
        what: "number of microjoules",
    })
}

fn explain(error: Unlearnt) -> Absent {
    match error {
        Unlearnt::Denied(path) => Absent(format!(
            "`{path}` may be read by root only, since these counters leak secrets (CVE-2020-8694): run as root, or let the group of \
             the agent read them by a file in /etc/udev/rules.d with the line {UDEV_RULE}"
        )),
        error => Absent(error.to_string()),
    }
}

/// For a group `tokwatt`; in force from the next start on, or after `udevadm trigger --subsystem-match=powercap --action=add`.
const UDEV_RULE: &str = r#"`SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/sh -c 'chgrp -R tokwatt /sys%p && chmod -R g+r /sys%p'"`"#;

const POWERCAP: &str = "/sys/class/powercap";

/// The processor updates its counters about once a millisecond (Intel's manual, volume 3, section on RAPL).
const REFRESH: Duration = Duration::from_millis(1);

/// The common unit, 2⁻¹⁴ J; those of older and of AMD processors are smaller.
const RESOLUTION_J: f64 = 1.0 / 16384.0;

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use proptest::prelude::*;

    use super::*;
    use crate::clock::SystemClock;

    fn write(root: &Path, domain: &str, files: &[(&str, &str)]) {
        let folder = root.join("sys/class/powercap").join(domain);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), format!("{text}\n")).unwrap();
        }
    }

    fn two_packages() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let domain = |name, energy| {
            [
                ("name", name),
                ("energy_uj", energy),
                ("max_energy_range_uj", "1000"),
            ]
        };
        write(folder.path(), "intel-rapl:0", &domain("package-0", "900"));
        write(folder.path(), "intel-rapl:0:0", &domain("core", "1"));
        write(folder.path(), "intel-rapl:1", &domain("package-1", "10"));
        write(folder.path(), "intel-rapl:2", &domain("psys", "5"));
        write(
            folder.path(),
            "intel-rapl-mmio:0",
            &domain("package-0", "900"),
        );
        folder
    }

    #[test]
    fn packages_are_counted_from_zero_over_the_wrap() {
        let folder = two_packages();
        let mut rapl = Rapl::open(&HostRoot::at(folder.path())).unwrap();
        let names: Vec<_> = rapl.sensors()[0]
            .rails
            .iter()
            .map(|rail| &*rail.name)
            .collect();
        assert_eq!(names, ["package-0", "package-1"]);
        assert_eq!(rapl.sensors()[0].provenance, Provenance::Replayed);
        write(folder.path(), "intel-rapl:0", &[("energy_uj", "50")]);
        write(folder.path(), "intel-rapl:1", &[("energy_uj", "12")]);
        let mut taken = Vec::new();
        rapl.read(&SystemClock::start(), &mut taken).unwrap();
        assert_eq!(taken[0].sample.values, [150, 2]);
    }

    #[test]
    fn a_counter_that_vanishes_is_a_failed_reading_not_a_zero() {
        let folder = two_packages();
        let mut rapl = Rapl::open(&HostRoot::at(folder.path())).unwrap();
        fs::remove_file(
            folder
                .path()
                .join("sys/class/powercap/intel-rapl:1/energy_uj"),
        )
        .unwrap();
        let mut taken = Vec::new();
        let error = rapl.read(&SystemClock::start(), &mut taken).unwrap_err();
        assert!(
            error.to_string().contains("intel-rapl:1/energy_uj"),
            "{error}"
        );
        assert!(taken.is_empty());
    }

    #[test]
    fn a_number_that_a_counter_cannot_show_is_a_failed_reading_and_changes_nothing() {
        let folder = two_packages();
        let mut rapl = Rapl::open(&HostRoot::at(folder.path())).unwrap();
        let mut show = |energy: &str| {
            write(folder.path(), "intel-rapl:1", &[("energy_uj", energy)]);
            let mut taken = Vec::new();
            let outcome = rapl.read(&SystemClock::start(), &mut taken);
            outcome.map(|()| taken[0].sample.values[1])
        };
        for damaged in ["-1", "1001", "-9223372036854775808", "9223372036854775807"] {
            let error = show(damaged).unwrap_err();
            assert!(matches!(error, ReadError::Transient(_)), "{error}");
            let want = format!("intel-rapl:1/energy_uj` holds {damaged} of a range of 1000 µJ");
            assert!(error.to_string().contains(&want), "{error}");
        }
        assert_eq!(show("12").unwrap(), 2);
    }

    #[test]
    fn a_counter_outside_its_range_is_none() {
        for (range, energy) in [("0", "0"), ("-5", "1"), ("1000", "1001"), ("1000", "-1")] {
            let folder = two_packages();
            let files = [("max_energy_range_uj", range), ("energy_uj", energy)];
            write(folder.path(), "intel-rapl:1", &files);
            let reason = Rapl::open(&HostRoot::at(folder.path())).err().unwrap();
            let want = format!("holds {energy} of a range of {range} µJ");
            assert!(reason.to_string().contains(&want), "{reason}");
        }
    }

    #[test]
    fn a_refusal_says_why_and_what_to_do() {
        let message = explain(Unlearnt::Denied("/sys/x/energy_uj".to_owned())).to_string();
        assert!(
            message.contains("`/sys/x/energy_uj`")
                && message.contains("run as root")
                && message.contains(r#"SUBSYSTEM=="powercap""#),
            "{message}"
        );
    }

    #[test]
    fn a_machine_without_counters_says_where_it_looked() {
        let folder = tempfile::tempdir().unwrap();
        let reason = Rapl::open(&HostRoot::at(folder.path())).err().unwrap();
        assert_eq!(
            reason.to_string(),
            "no package energy counter in `/sys/class/powercap`"
        );
    }

    proptest! {
        #[test]
        fn steps_add_up_however_often_the_counter_wraps(steps in proptest::collection::vec(0..1000i64, 1..50)) {
            let mut counter = Counter::start(1000, 0).unwrap();
            let mut energy = 0;
            for step in steps {
                energy += step;
                prop_assert_eq!(counter.advance(energy % 1000), Some(energy));
            }
        }

        #[test]
        fn whatever_a_damaged_counter_shows_its_energy_never_falls(range: i64, first: i64, readings: Vec<i64>) {
            let Some(mut counter) = Counter::start(range, first) else { return Ok(()) };
            let mut energy = 0;
            for reading in readings {
                if let Some(advanced) = counter.advance(reading) {
                    prop_assert!(energy <= advanced);
                    energy = advanced;
                }
            }
        }
    }
}
