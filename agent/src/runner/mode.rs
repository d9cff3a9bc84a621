//! The power mode of a group's runs: put in force before them, looked at before and after each, because others can switch it
//! too, and put back after all.

use tokwatt_domain::{device::DeviceProfile, run::RunHeader};
use tokwatt_proto::record::Record;

use super::{Group, Outcome, Progress, Runner, RunnerError, Tally};
use crate::{
    blocking::off_thread,
    device::{self, HostRoot, jetson::PowerMode, nvpmodel},
};

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
        let (gauges, root, before) = (
            self.gauges.clone(),
            self.host_root.clone(),
            self.device.clone(),
        );
        let switched = off_thread(move || {
            let mode = target.switch.to(&target.mode)?;
            gauges.find_again();
            let device = device_in(&mode, &root, &before);
            Ok((mode, device))
        })
        .await;
        let (mode, device) = match switched {
            Ok(switched) => switched,
            Err(reason) => return Ok(Err(reason)),
        };
        tally.tell(Progress::Stage(in_words(&mode, &device)));
        self.keep(vec![Record::Device(device)]).await?;
        Ok(Ok(()))
    }

    /// Puts the mode of before the bench back, if groups had one of their own. The last word on the device is how it then is,
    /// whatever became of the bench and of the putting back.
    pub async fn put_mode_back(&self, groups: &[Group], outcome: &mut Outcome) {
        let Some(target) = groups.iter().find_map(|group| group.power_mode.as_ref()) else {
            return;
        };
        let switch = target.switch.clone();
        let (root, before) = (self.host_root.clone(), self.device.clone());
        let left = off_thread(move || {
            let problem = switch.put_back().err();
            let mode = nvpmodel::in_force(&root);
            let device = mode.map(|mode| device_in(&mode, &root, &before));
            (problem, device.unwrap_or(before))
        });
        let (problem, device) = left.await;
        outcome.warn(problem);
        if let Err(error) = self.keep(vec![Record::Device(device)]).await {
            // What ended the bench is the better reason.
            outcome.error.get_or_insert(error.into());
        }
    }

    /// Writes into a run's header in which mode it begins, and returns it. If that is not the one that it should run in, the
    /// run says so, and so does the outcome.
    pub(super) async fn note_mode(
        &self,
        group: &Group,
        header: &mut RunHeader,
        outcome: &mut Outcome,
    ) -> Option<PowerMode> {
        let wanted = match &group.power_mode {
            Some(target) => target.mode.clone(),
            None => mode_of(&self.device)?,
        };
        let Some(mode) = self.other_than(&wanted).await else {
            return Some(wanted);
        };
        let stray = format!(
            "power mode {mode} is in force, not {wanted}: somebody switched it during the bench"
        );
        header.cell.configuration.power_mode = Some(mode.mode.clone());
        let reasons = &mut header.reasons;
        reasons.insert("power_mode".to_owned(), stray.clone());
        outcome.warn(Some(stray));
        Some(mode)
    }

    /// What is to be told of a run that ended in another mode than it began in. Its header is in the spool by then.
    pub(super) async fn stray_since(&self, begun_in: &PowerMode, label: &str) -> Option<String> {
        let mode = self.other_than(begun_in).await?;
        Some(format!(
            "{label}: begun in power mode {begun_in}, and {mode} is in force at its end: somebody switched it meanwhile, and the \
             run's figures belong to two modes"
        ))
    }

    /// The mode in force if it is another one.
    async fn other_than(&self, wanted: &PowerMode) -> Option<PowerMode> {
        let root = self.host_root.clone();
        let mode = off_thread(move || nvpmodel::in_force(&root)).await?;
        (mode.id != wanted.id).then_some(mode)
    }
}

/// A device described before, as it is in this mode.
fn device_in(mode: &PowerMode, root: &HostRoot, before: &DeviceProfile) -> DeviceProfile {
    let mut device = device::look_again(root, before);
    for (fact, value) in [
        ("power_mode", mode.mode.clone()),
        ("power_mode_id", mode.id.to_string()),
    ] {
        device.reasons.remove(fact);
        device.facts.insert(fact.to_owned(), value);
    }
    device
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
