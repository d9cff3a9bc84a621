//! The power mode of a group's runs: put in force before them, and looked at before each, because others can switch it too.

use tokwatt_domain::{device::DeviceProfile, run::RunHeader};
use tokwatt_proto::record::Record;

use super::{Group, Progress, Runner, RunnerError, Tally};
use crate::device::{self, jetson::PowerMode, nvpmodel};

impl Runner {
    /// Puts the group's power mode in force, if it names one, and describes the device as it then is. The inner error is why
    /// the mode did not take: the next group may have another.
    pub(super) async fn enter_mode(
        &self,
        group: &Group,
        tally: &mut Tally<'_>,
    ) -> Result<Result<(), String>, RunnerError> {
        let Some(target) = group.power_mode.clone() else {
            return Ok(Ok(()));
        };
        let gauges = self.gauges.clone();
        let switched = tokio::task::spawn_blocking(move || {
            let mode = target.switch.to(&target.mode)?;
            gauges.find_again();
            Ok(mode)
        })
        .await;
        let mode = match switched.expect("switching does not panic") {
            Ok(mode) => mode,
            Err(reason) => return Ok(Err(reason)),
        };
        let device = self.device_in(&mode);
        tally.tell(Progress::Stage(in_words(&mode, &device)));
        self.keep(vec![Record::Device(device)]).await?;
        Ok(Ok(()))
    }

    /// The last word on the device is how it was before, and will be again.
    pub(super) async fn leave_modes(&self, groups: &[Group]) -> Result<(), RunnerError> {
        if groups.iter().any(|group| group.power_mode.is_some()) {
            self.keep(vec![Record::Device(self.device.clone())]).await?;
        }
        Ok(())
    }

    /// Writes into a run's header in which mode it runs. If that is not the one that it should run in, the run says so, and
    /// what is returned is to be told.
    pub(super) async fn note_mode(&self, group: &Group, header: &mut RunHeader) -> Option<String> {
        let wanted = match &group.power_mode {
            Some(target) => target.mode.clone(),
            None => mode_of(&self.device)?,
        };
        let (mode, stray) = self.stray_from(&wanted).await?;
        header.cell.configuration.power_mode = Some(mode.mode);
        let reasons = &mut header.reasons;
        reasons.insert("power_mode".to_owned(), stray.clone());
        Some(stray)
    }

    /// What is to be told if the mode is no longer that of the start.
    pub(super) async fn stray_mode(&self) -> Option<String> {
        let (_, stray) = self.stray_from(&mode_of(&self.device)?).await?;
        Some(stray)
    }

    /// The mode in force if it is another one than `wanted`, and that in words.
    async fn stray_from(&self, wanted: &PowerMode) -> Option<(PowerMode, String)> {
        let root = self.host_root.clone();
        let mode = tokio::task::spawn_blocking(move || nvpmodel::in_force(&root));
        let mode = mode.await.expect("looking does not panic")?;
        let stray = format!(
            "power mode {mode} is in force, not {wanted}: somebody switched it during the bench"
        );
        (mode.id != wanted.id).then_some((mode, stray))
    }

    fn device_in(&self, mode: &PowerMode) -> DeviceProfile {
        let mut device = device::look_again(&self.host_root, &self.device);
        for (fact, value) in [
            ("power_mode", mode.mode.clone()),
            ("power_mode_id", mode.id.to_string()),
        ] {
            device.reasons.remove(fact);
            device.facts.insert(fact.to_owned(), value);
        }
        device
    }
}

/// The mode that a description names.
fn mode_of(device: &DeviceProfile) -> Option<PowerMode> {
    let fact = |name: &str| device.facts.get(name);
    let id: u32 = fact("power_mode_id")?.parse().ok()?;
    let mode = fact("power_mode")
        .cloned()
        .unwrap_or_else(|| id.to_string());
    Some(PowerMode { mode, id })
}

/// What the mode makes of the device.
fn in_words(mode: &PowerMode, device: &DeviceProfile) -> String {
    let fact = |name: &str| device.facts.get(name);
    let cores = fact("cpu_online").map(|cores| format!(", cores {cores}"));
    let clock = fact("gpu_clock_max_hz").and_then(|hz| hz.parse::<u64>().ok());
    let clock = clock.map(|hz| format!(", GPU up to {} MHz", hz / 1_000_000));
    let (cores, clock) = (cores.unwrap_or_default(), clock.unwrap_or_default());
    format!("power mode {mode} is in force{cores}{clock}")
}

/// Stands before a run's label where a bench has several modes.
pub(super) fn prefix(group: &Group) -> String {
    let mode = group.power_mode.as_ref();
    mode.map(|target| format!("{} ", target.mode.mode))
        .unwrap_or_default()
}
