//! `doctor`: what stands in the way of a good measurement on this device, and what to do about each.

use std::{fs, io::Write, path::Path, sync::Arc, time::Duration};

use clap::Args;
use serde::Serialize;
use tokwatt_domain::device::DeviceProfile;

use super::{Exit, Format, General, runtime, simulate::SimulateArgs};
use crate::{
    backend::{
        Backend,
        embedded::{EmbeddedBackend, EmbeddedSettings, Weights},
    },
    clock::{Clock, SystemClock},
    device::{HostRoot, probe},
    guard::Guard,
    power::select::{Surroundings, parse, select},
    settings::{Given, Settings},
    simulate::Simulated,
    uplink::{Address, connect},
};

/// What is kept from the agent, and how to get at it.
mod access;

/// How hot it is, and what limits it.
mod conditions;

/// Whether it is enrolled, and until when.
mod identity;

/// NVIDIA's library.
mod nvml;

/// What the installed service may open.
mod service;

#[derive(Args)]
pub(super) struct DoctorArgs {
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    simulate: SimulateArgs,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    /// What was tried, and what came of it.
    found: String,
    /// What to do, or to know; mostly nothing where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Mend,
    Unknown,
}

/// Everything that the checks look at.
struct Patient<'a> {
    settings: &'a Settings,
    root: HostRoot,
    device: DeviceProfile,
    simulated: Option<&'a Simulated>,
    clock: Arc<dyn Clock>,
}

pub(super) fn doctor(general: General, args: &DoctorArgs) -> anyhow::Result<Exit> {
    let settings = general.settings(Given::default())?;
    let simulated = args.simulate.make()?;
    let (root, device) = match &simulated {
        Some(simulated) => (simulated.root(), simulated.profile()),
        None => {
            let root = HostRoot::at(&settings.host_root.value);
            let device = probe(&root, &settings.data.value);
            (root, device)
        }
    };
    let patient = Patient {
        device,
        settings: &settings,
        root,
        simulated: simulated.as_ref(),
        clock: Arc::new(SystemClock::start()),
    };
    let made_up = patient.device.facts.get("simulated").cloned();
    let made_up = made_up.map(|words| Check::ok("simulated", words));
    let mut checks = Vec::from_iter(made_up);
    checks.push(patient.power()?);
    checks.extend(nvml::checks(&patient.device, &patient.root));
    checks.extend([
        conditions::conditions(&patient.root),
        patient.governor(),
        patient.clock_sync(),
        data_folder(&settings.data.value),
        patient.cpu_features(),
        patient.engine()?,
        patient.collector()?,
        service::check(&patient.root),
    ]);
    // A machine that does not exist is enrolled nowhere.
    checks.extend(simulated.is_none().then(|| identity::check(&patient)));
    checks.extend(patient.access());
    let mut out = std::io::stdout().lock();
    if args.format == Format::Json {
        serde_json::to_writer_pretty(&mut out, &checks)?;
        writeln!(out)?;
    } else {
        write_table(&mut out, &checks)?;
    }
    let has_faults = checks.iter().any(|check| check.state == State::Mend);
    Ok(if has_faults {
        Exit::FoundWrong
    } else {
        Exit::Done
    })
}

fn write_table(out: &mut impl Write, checks: &[Check]) -> anyhow::Result<()> {
    for check in checks {
        writeln!(
            out,
            "{:<8} {:<14} {}",
            check.state.as_str(),
            check.name,
            check.found
        )?;
        if let Some(remedy) = &check.remedy {
            writeln!(out, "{:<23} → {remedy}", "")?;
        }
    }
    Ok(())
}

impl Patient<'_> {
    /// Opens what a bench would open.
    fn power(&self) -> anyhow::Result<Check> {
        let choices = parse(&self.settings.power.value)?;
        let interval = self.settings.power_interval.value;
        let around = Surroundings {
            root: &self.root,
            kind: self.device.kind,
            interval,
            tegrastats: self.settings.tegrastats.value.clone(),
            guard: Guard::this_program(),
            clock: &*self.clock,
        };
        let selection = match self.simulated {
            Some(simulated) => simulated.instruments(&choices, interval),
            None => select(&choices, &around)?,
        };
        Ok(match selection.why_none() {
            None => Check::ok("power", selection.why.join("; ")),
            Some(reason) => Check::mend(
                "power",
                reason,
                "on a Jetson put `tegrastats` in PATH; on an NVIDIA GPU install the driver's libnvidia-ml; on a PC let a group read \
                 RAPL (udev: RUN+=\"/bin/chmod 0440 /sys/class/powercap/…/energy_uj\") or run as root; without power a bench \
                 still gives speed and quality",
            ),
        })
    }

    fn governor(&self) -> Check {
        match self.device.facts.get("cpu_governor") {
            Some(governor) if has_powersave(governor) && !self.has_hardware_governor() => {
                Check::mend(
                    "cpu governor",
                    "powersave holds the lowest clock".to_owned(),
                    "cpupower frequency-set -g schedutil, or performance",
                )
            }
            Some(governor) => Check::ok("cpu governor", governor.clone()),
            None => Check::unknown("cpu governor", self.reason("cpu_governor"), None),
        }
    }

    /// With it `powersave` is the ordinary setting and holds nothing back.
    fn has_hardware_governor(&self) -> bool {
        let driver = self
            .root
            .read("/sys/devices/system/cpu/cpufreq/policy0/scaling_driver");
        driver.is_ok_and(|driver| driver == "intel_pstate" || driver == "amd-pstate-epp")
    }

    /// The wall clock orders runs of several devices; nothing is computed from it.
    fn clock_sync(&self) -> Check {
        const PATH: &str = "/run/systemd/timesync/synchronized";
        if self.root.join(PATH).exists() {
            return Check::ok("clock", format!("`{PATH}` is there"));
        }
        Check::unknown(
            "clock",
            format!("no `{PATH}`, another service may keep the time"),
            Some("timedatectl set-ntp true, or look with chronyc tracking"),
        )
    }

    fn cpu_features(&self) -> Check {
        match self.device.facts.get("cpu_features") {
            Some(features)
                if FAST
                    .iter()
                    .any(|fast| features.split(' ').any(|one| one == *fast)) =>
            {
                Check::ok("cpu features", features.clone())
            }
            Some(features) => Check::mend(
                "cpu features",
                format!("none of {} in `{features}`", FAST.join(", ")),
                "the engine runs its slowest kernels here; in a virtual machine pass the host's processor on",
            ),
            None => Check::unknown("cpu features", self.reason("cpu_features"), None),
        }
    }

    /// Loads the reference model in a worker, as a bench would.
    fn engine(&self) -> anyhow::Result<Check> {
        let settings = EmbeddedSettings {
            worker: self.settings.engine_worker.value.clone(),
            weights: Weights::Shipped {
                precision: "f32".to_owned(),
            },
            data: self.settings.data.value.clone(),
            threads: None,
            context: CONTEXT,
            gpu_layers: 0,
        };
        let backend = EmbeddedBackend::new(settings, self.clock.clone());
        Ok(runtime()?.block_on(async {
            let loaded = tokio::time::timeout(PATIENCE, backend.load()).await;
            let check = match loaded {
                Ok(Ok(card)) => {
                    Check::ok("engine", format!("{} loads {}", card.engine, card.model))
                }
                Ok(Err(error)) => Check::mend("engine", error.to_string(), ENGINE_REMEDY),
                Err(_) => Check::mend(
                    "engine",
                    format!("no model loaded within {PATIENCE:?}"),
                    ENGINE_REMEDY,
                ),
            };
            if let Err(error) = backend.unload().await {
                tracing::warn!(%error, "the engine does not end");
            }
            check
        }))
    }

    fn collector(&self) -> anyhow::Result<Check> {
        let given = self.settings.collector.value.as_deref();
        let address = match Address::in_force(given, &self.settings.data.value) {
            Ok(Some(address)) => address,
            Ok(None) => {
                let found = "none is set; results wait in the spool".to_owned();
                return Ok(Check::ok("collector", found));
            }
            Err(error) => {
                return Ok(Check::mend(
                    "collector",
                    format!("{error:#}", error = anyhow::Error::from(error)),
                    "enrol this device, or set `collector.url` or --collector",
                ));
            }
        };
        let connected = runtime()?.block_on(connect(&address));
        Ok(match connected {
            Ok(_) => Check::ok("collector", format!("`{address}` answers")),
            Err(error) => Check::mend(
                "collector",
                format!(
                    "cannot connect to `{address}`: {:#}",
                    anyhow::Error::from(error)
                ),
                "start it with `tokwatt-collector serve`; until then results wait in the spool",
            ),
        })
    }

    fn reason(&self, fact: &str) -> String {
        self.device.reasons.get(fact).cloned().unwrap_or_default()
    }
}

impl Check {
    fn ok(name: &'static str, found: String) -> Self {
        Self {
            name,
            state: State::Ok,
            found,
            remedy: None,
        }
    }

    /// Nothing is wrong, and there is something to know.
    fn hint(name: &'static str, found: String, hint: &str) -> Self {
        Self {
            remedy: Some(hint.to_owned()),
            ..Self::ok(name, found)
        }
    }

    fn mend(name: &'static str, found: String, remedy: &str) -> Self {
        Self {
            name,
            state: State::Mend,
            found,
            remedy: Some(remedy.to_owned()),
        }
    }

    fn unknown(name: &'static str, found: String, remedy: Option<&str>) -> Self {
        Self {
            name,
            state: State::Unknown,
            found,
            remedy: remedy.map(str::to_owned),
        }
    }
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Mend => "mend",
            Self::Unknown => "unknown",
        }
    }
}

/// Clusters may have governors of their own.
fn has_powersave(governors: &str) -> bool {
    governors.split(' ').any(|governor| governor == "powersave")
}

/// Writes a file there and takes it away, and asks for the room.
fn data_folder(folder: &Path) -> Check {
    let name = "data folder";
    let place = folder.display();
    let trial = folder.join("doctor.tmp");
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&trial, b"trial"));
    if let Err(error) = written.and_then(|()| fs::remove_file(&trial)) {
        let found = format!("cannot write to `{place}`: {error}");
        return Check::mend(
            name,
            found,
            "choose another with --data or TOKWATT_DATA, or change its owner",
        );
    }
    let Ok(room) = rustix::fs::statvfs(folder) else {
        return Check::unknown(
            name,
            format!("`{place}` can be written, its room is not told"),
            None,
        );
    };
    let free_bytes = room.f_bavail.saturating_mul(room.f_frsize);
    let found = format!(
        "`{place}` can be written and has {} MB free",
        free_bytes / 1_000_000
    );
    if free_bytes < FREE_BYTES_MIN {
        return Check::mend(name, found, "make room, or choose another disk with --data");
    }
    Check::ok(name, found)
}

/// Room for the reference model, a long bench's traces and SQLite's journal.
const FREE_BYTES_MIN: u64 = 1_000_000_000;

/// The reference model loads within a second; a slow SD card takes some.
const PATIENCE: Duration = Duration::from_secs(30);

/// Enough for any question of the built-in suites; loading does not depend on it.
const CONTEXT: u32 = 2048;

const ENGINE_REMEDY: &str = "set `engine.worker` to an agent that has the engine, or build with `--features embedded`; TOKWATT_LOG=debug says more";

/// One of them, and the engine has a kernel that is fast.
const FAST: [&str; 4] = ["avx2", "avx512f", "asimddp", "i8mm"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_one_is_to_mend_and_says_how() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let check = data_folder(&folder.path().join("file/below"));
        assert_eq!(check.state, State::Mend);
        assert!(check.found.contains("file/below") && check.remedy.unwrap().contains("--data"));
    }

    #[test]
    fn a_trial_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let check = data_folder(folder.path());
        assert!(check.found.contains("can be written"), "{}", check.found);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_remedy_stands_below_what_was_found() {
        let mut out = Vec::new();
        let checks = [Check::mend("a", "broken".to_owned(), "mend it")];
        write_table(&mut out, &checks).unwrap();
        let lines = String::from_utf8(out).unwrap();
        assert_eq!(lines.lines().next(), Some("mend     a              broken"));
        assert!(lines.trim_end().ends_with("→ mend it"), "{lines}");
    }
}
