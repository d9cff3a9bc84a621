//! Power monitors of Jetson boards, by their drivers' files: INA3221 on the modules, INA238 on Thor's carrier.
//!
//! An INA3221 has three labelled channels with `inN_input` in mV and `currN_input` in mA, whose product is the power. An INA238 has
//! a `label` and `power1_input` in µW. JetPack 4 has folders of its own with `rail_name_N` and `in_powerN_input` in mW.
//! Chips are found by their name, rails by their label: the numbers of folders change from boot to boot.
//!
//! Every file is opened once and all are read in one pass; a sample's time is the middle of it, for every number is a
//! transfer over a slow bus. The chips' own settings are recorded and never changed.

use tokwatt_domain::{
    device::DeviceKind,
    power::{PowerSample, Provenance, Reading, Sensor},
};

use self::channel::{Channel, Found, OLD_DRIVER};
use super::{
    Absent, Pace, PowerSource, ReadError, Taken,
    hwmon::{self, Conversion},
    rails::{self, Sum},
};
use crate::{
    clock::Clock,
    device::{HWMON, HostRoot},
};

/// One rail's files.
mod channel;

/// The rails that make up a scope of this device.
#[derive(Debug)]
pub struct Ina {
    channels: Vec<Channel>,
    sensors: Vec<Sensor>,
    /// For each sensor the places of its rails among the channels.
    places: Vec<Vec<usize>>,
}

impl Ina {
    /// Finds the rails and reads each once.
    ///
    /// # Errors
    /// No chip, or none of the sums that a device of this kind has is complete: with what there is, and what is refused.
    pub fn open(root: &HostRoot, kind: DeviceKind) -> Result<Self, Absent> {
        let Found { channels, refusals } = Found::on(root);
        if channels.is_empty() && refusals.is_empty() {
            return Err(Absent(format!(
                "no driver `ina3221` or `ina238` with a labelled rail in `{HWMON}`, and none in `{OLD_DRIVER}`"
            )));
        }
        let is_unique = |name: &str| channels.iter().filter(|c| c.label == name).count() == 1;
        let sums = rails::sums(kind, is_unique);
        let sums = sums.map_err(|reason| explain(&reason, &channels, &refusals))?;
        warn_of_doubts(kind, &channels, &refusals);
        Ok(Self::of(channels, &sums, root.provenance()))
    }

    fn of(mut channels: Vec<Channel>, sums: &[Sum], provenance: Provenance) -> Self {
        let is_summed = |channel: &Channel| sums.iter().any(|sum| has(sum, &channel.label));
        channels.retain(is_summed);
        let places: Vec<Vec<usize>> = sums.iter().map(|sum| places(sum, &channels)).collect();
        let summed = sums.iter().zip(&places);
        Self {
            sensors: summed
                .map(|(sum, places)| sensor(sum, places, &channels, provenance))
                .collect(),
            places,
            channels,
        }
    }
}

impl PowerSource for Ina {
    fn sensors(&self) -> &[Sensor] {
        &self.sensors
    }

    fn pace(&self) -> Pace {
        Pace::Sampler
    }

    fn read(&mut self, clock: &dyn Clock, into: &mut Vec<Taken>) -> Result<(), ReadError> {
        let begin = clock.now();
        let readings: Vec<_> = self.channels.iter().map(Channel::microwatts).collect();
        let at = begin.after(clock.now().since(begin) / 2);
        for (sensor, places) in self.places.iter().enumerate() {
            let values = places.iter().map(|&place| readings[place].as_ref().ok());
            if let Some(values) = values.map(Option::<&i64>::copied).collect() {
                let sample = PowerSample { at, values };
                into.push(Taken { sensor, sample });
            }
        }
        hwmon::outcome(readings)
    }
}

fn has(sum: &Sum, label: &str) -> bool {
    sum.rails.iter().any(|rail| rail.name == label)
}

fn places(sum: &Sum, channels: &[Channel]) -> Vec<usize> {
    let place = |name: &str| channels.iter().position(|channel| channel.label == name);
    let places = sum.rails.iter().filter_map(|rail| place(&rail.name));
    places.collect()
}

fn sensor(sum: &Sum, places: &[usize], channels: &[Channel], provenance: Provenance) -> Sensor {
    let conversions = places.iter().map(|&place| channels[place].conversion);
    let conversion = conversions.reduce(Conversion::slower).unwrap_or_default();
    Sensor {
        source: "ina".to_owned(),
        scope: sum.scope,
        rails: sum.rails.clone(),
        reading: Reading::Power,
        refresh: conversion.interval,
        averaging: conversion.averaging(),
        provenance,
        asked_interval: None,
        clock: None,
    }
}

fn explain(reason: &str, channels: &[Channel], refusals: &[String]) -> Absent {
    let labels: Vec<&str> = channels.iter().map(|c| &*c.label).collect();
    let seen = match labels.is_empty() {
        true => "no rail can be read".to_owned(),
        false => format!("the drivers have {}", labels.join(", ")),
    };
    let refusal = refusals.first().map(|refusal| format!("; {refusal}"));
    Absent(format!("{reason}; {seen}{}", refusal.unwrap_or_default()))
}

fn warn_of_doubts(kind: DeviceKind, channels: &[Channel], refusals: &[String]) {
    if let Some(refusal) = refusals.first() {
        tracing::warn!(refusal, n_refused = refusals.len(), "rails left out");
    }
    let readings: Vec<_> = channels.iter().filter_map(milliwatts).collect();
    if let Some(suspicion) = rails::suspicion(kind, &readings) {
        tracing::warn!(suspicion, "power labels");
    }
}

fn milliwatts(channel: &Channel) -> Option<(&str, i64)> {
    Some((&channel.label, channel.microwatts().ok()? / 1000))
}
