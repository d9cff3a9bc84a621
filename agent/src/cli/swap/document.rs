//! `tokwatt.swap/1`: the one JSON document of a swap; its schema is in proto/schema/json.

use std::{collections::BTreeMap, io::Write};

use serde::Serialize;
use tokwatt_domain::{
    device::{DeviceKind, DeviceProfile},
    metrics::{
        Distribution,
        energy::Energy,
        latency::{distribution, request_latency},
        swap::{
            BreakEven, Costs, KeepLoaded, Keeping, Together, break_even, break_even_range,
            keep_loaded, saving, together,
        },
    },
    power::{Provenance, Scope},
    run::{IdleBaseline, LoadKind, MemoryScope, Outcome},
};

use crate::runner::{Drawn, Swapped, SwappedModel, Switch};

/// Everything that was measured, and what follows from it.
#[derive(Serialize)]
pub(super) struct Document {
    schema: &'static str,
    pub(super) device: DeviceProfile,
    pub(super) provenance: Provenance,
    pub(super) rounds: u32,
    /// A and B.
    pub(super) models: Vec<Model>,
    pub(super) switches: Vec<SwitchRow>,
    pub(super) break_even: Vec<BreakEvenRow>,
    pub(super) keep_loaded: Vec<KeepRow>,
    pub(super) together: Option<Together>,
    pub(super) reasons: BTreeMap<String, String>,
    pub(super) is_cancelled: bool,
    pub(super) error: Option<String>,
}

/// One of the two models.
#[derive(Serialize)]
pub(super) struct Model {
    pub(super) name: &'static str,
    pub(super) model: Option<String>,
    pub(super) precision: Option<String>,
    pub(super) engine: Option<String>,
    pub(super) engine_flags: BTreeMap<String, String>,
    pub(super) asked: usize,
    pub(super) succeeded: usize,
    pub(super) failed: BTreeMap<String, u32>,
    pub(super) request_latency: Option<Distribution>,
    pub(super) energy: Vec<RequestEnergy>,
    pub(super) memory_peak_bytes: BTreeMap<&'static str, u64>,
    /// What it needs of the system's memory: the peak of its processes; where processor and GPU share one memory, the system's rise
    /// if that is more.
    pub(super) needed_bytes: Option<u64>,
}

/// What a model's requests drew, by one sensor.
#[derive(Serialize)]
pub(super) struct RequestEnergy {
    pub(super) scope: Scope,
    pub(super) source: String,
    pub(super) energy_j: Option<f64>,
    pub(super) error_bound_j: Option<f64>,
    pub(super) j_per_request: Option<f64>,
}

/// One switch.
#[derive(Serialize)]
pub(super) struct SwitchRow {
    pub(super) round: u32,
    pub(super) from: Option<&'static str>,
    pub(super) to: &'static str,
    pub(super) unload_s: f64,
    pub(super) load_s: f64,
    pub(super) load_kind: LoadKind,
    pub(super) resident: Option<f64>,
    pub(super) total_s: f64,
    pub(super) energy: Vec<SwitchEnergy>,
    pub(super) memory_peak_bytes: BTreeMap<&'static str, u64>,
}

/// What a switch drew, by one sensor.
#[derive(Serialize)]
pub(super) struct SwitchEnergy {
    pub(super) scope: Scope,
    pub(super) source: String,
    pub(super) energy_j: Option<f64>,
    pub(super) error_bound_j: Option<f64>,
    /// The load's part of it.
    pub(super) load_j: Option<f64>,
    pub(super) coverage: f64,
}

/// Whether it pays to go from one model to the other, in time or in energy.
#[derive(Serialize)]
pub(super) struct BreakEvenRow {
    pub(super) stay: &'static str,
    pub(super) go: &'static str,
    /// `s`, or `J` at a scope.
    pub(super) unit: &'static str,
    pub(super) scope: Option<Scope>,
    pub(super) source: Option<String>,
    pub(super) switch: f64,
    pub(super) back: Option<f64>,
    pub(super) stay_per_request: f64,
    pub(super) go_per_request: f64,
    /// Requests in a row from which going pays.
    pub(super) requests: Option<BreakEven>,
    /// From the highest to the lowest saving that the questions leave possible at 95 %; absent for energy, which is not each request's.
    pub(super) requests_range: Option<[BreakEven; 2]>,
    /// The same if the other model is wanted again afterwards.
    pub(super) requests_and_back: Option<BreakEven>,
}

/// How long to keep a model, by one sensor.
#[derive(Serialize)]
pub(super) struct KeepRow {
    pub(super) model: &'static str,
    pub(super) scope: Scope,
    pub(super) source: String,
    pub(super) load_s: f64,
    pub(super) load_j: f64,
    pub(super) idle_loaded_w: f64,
    pub(super) idle_unloaded_w: f64,
    pub(super) bound_w: f64,
    pub(super) keep: Option<KeepLoaded>,
}

type Sensor = (String, Scope);

impl Document {
    /// `reasons` are those of the instruments.
    pub(super) fn new(
        device: &DeviceProfile,
        provenance: Provenance,
        rounds: u32,
        swapped: &Swapped,
        mut reasons: BTreeMap<String, String>,
    ) -> Self {
        let is_shared = device.kind != DeviceKind::Generic;
        let model = |which| Model::of(which, swapped, is_shared);
        let models: Vec<Model> = (0..2).map(model).collect();
        let mut break_even = Vec::new();
        for (stay, go) in [(0, 1), (1, 0)] {
            break_even.extend(in_time(stay, go, swapped));
            break_even.extend(in_energy(stay, go, swapped));
        }
        if break_even.is_empty() {
            let why = "takes a switch in each direction and a success of each model";
            reasons.insert("break_even".to_owned(), why.to_owned());
        }
        let keep_loaded: Vec<KeepRow> = (0..2).flat_map(|which| keeping(which, swapped)).collect();
        if keep_loaded.is_empty() {
            let why = reasons.get("power").map_or(
                "takes idle power with and without each model",
                String::as_str,
            );
            reasons.insert("keep_loaded".to_owned(), why.to_owned());
        }
        let needed = (models[0].needed_bytes, models[1].needed_bytes);
        let is_on_card = !is_shared && swapped.models.iter().any(fills_gpu);
        let together = match (needed, swapped.available_bytes) {
            _ if is_on_card => Err(ON_CARD),
            ((Some(a), Some(b)), Some(available)) => Ok(together([a, b], available)),
            _ => Err("takes the memory peaks of both models"),
        };
        if let Err(why) = together {
            reasons.insert("together".to_owned(), why.to_owned());
        }
        let first = swapped
            .switches
            .first()
            .filter(|_| provenance != Provenance::Simulated);
        if let Some(why) = first.and_then(|first| first.why_warm.clone()) {
            reasons.insert("cold".to_owned(), format!("of the first load: {why}"));
        }
        Self {
            schema: "tokwatt.swap/1",
            device: device.clone(),
            provenance,
            rounds,
            models,
            switches: swapped.switches.iter().map(SwitchRow::of).collect(),
            break_even,
            keep_loaded,
            together: together.ok(),
            reasons,
            is_cancelled: swapped.is_cancelled,
            error: swapped.error.as_ref().map(ToString::to_string),
        }
    }

    /// Whether something failed that was asked for.
    pub(super) fn has_failures(&self) -> bool {
        self.error.is_some()
            || self
                .models
                .iter()
                .any(|model| model.succeeded < model.asked)
    }

    pub(super) fn write(&self, out: &mut impl Write) -> anyhow::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)?;
        Ok(())
    }
}

impl Model {
    fn of(which: usize, swapped: &Swapped, is_shared: bool) -> Self {
        let model = &swapped.models[which];
        let card = model.card.as_ref();
        let mut failed = BTreeMap::new();
        for request in &model.requests {
            if let Outcome::Failed { class, .. } = &request.outcome {
                *failed.entry(class.as_str().to_owned()).or_default() += 1;
            }
        }
        let n_failed = failed.values().sum::<u32>() as usize;
        let succeeded = model.requests.len() - n_failed;
        let energy = Drawn::energies(&model.drawn).into_iter();
        Self {
            name: NAMES[which],
            model: card.map(|card| card.model.clone()),
            precision: card.map(|card| card.precision.clone()),
            engine: card.map(|card| card.engine.clone()),
            engine_flags: card.map_or_else(BTreeMap::new, |card| card.engine_flags.clone()),
            asked: model.requests.len(),
            succeeded,
            failed,
            request_latency: distribution(latencies(model), n_failed),
            energy: energy
                .map(|((source, scope), energy)| RequestEnergy {
                    scope,
                    source,
                    energy_j: joules(&energy),
                    error_bound_j: bound(&energy),
                    j_per_request: joules(&energy)
                        .filter(|_| succeeded > 0)
                        .map(|joules| joules / count(succeeded)),
                })
                .collect(),
            memory_peak_bytes: by_name(&model.memory_peak),
            needed_bytes: needed(model, is_shared),
        }
    }
}

impl SwitchRow {
    fn of(switch: &Switch) -> Self {
        let (unload_s, load_s) = (
            switch.unload.as_secs_f64(),
            switch.load.duration.as_secs_f64(),
        );
        let loads = Drawn::energies(&switch.load_drawn);
        let energy = whole(switch).into_iter();
        Self {
            round: switch.round,
            from: switch.from.map(|from| NAMES[from]),
            to: NAMES[switch.to],
            unload_s,
            load_s,
            load_kind: switch.load.kind,
            resident: switch.load.resident,
            total_s: unload_s + load_s,
            energy: energy
                .map(|(sensor, energy)| SwitchEnergy {
                    load_j: loads.get(&sensor).and_then(joules),
                    scope: sensor.1,
                    source: sensor.0,
                    energy_j: joules(&energy),
                    error_bound_j: bound(&energy),
                    coverage: energy.coverage,
                })
                .collect(),
            memory_peak_bytes: by_name(&switch.memory_peak),
        }
    }
}

/// In seconds: mean switches, and the mean of the requests that succeeded.
fn in_time(stay: usize, go: usize, swapped: &Swapped) -> Option<BreakEvenRow> {
    let seconds = |to| {
        let times = switches_to(to, swapped)
            .map(|switch| (switch.unload + switch.load.duration).as_secs_f64());
        mean(times.collect())
    };
    let latency = |which: usize| mean(latencies(&swapped.models[which]));
    let range =
        saving(&pairs(stay, go, swapped)).and_then(|saving| break_even_range(seconds(go)?, saving));
    let row = Costing {
        switch: seconds(go)?,
        back: seconds(stay),
        stay: latency(stay)?,
        go: latency(go)?,
    };
    Some(BreakEvenRow {
        requests_range: range,
        ..row.row(stay, go, "s", None)
    })
}

/// In joules, for each sensor that saw everything.
fn in_energy(stay: usize, go: usize, swapped: &Swapped) -> Vec<BreakEvenRow> {
    let per_request = |which: usize| {
        let model = &swapped.models[which];
        let n = latencies(model).len();
        let energies = Drawn::energies(&model.drawn).into_iter();
        energies
            .filter_map(|(sensor, energy)| {
                Some((sensor, joules(&energy).filter(|_| n > 0)? / count(n)))
            })
            .collect::<BTreeMap<Sensor, f64>>()
    };
    let switch = |to: usize, sensor: &Sensor| {
        let energies =
            switches_to(to, swapped).map(|switch| whole(switch).get(sensor).and_then(joules));
        mean(energies.collect::<Option<Vec<f64>>>()?)
    };
    let (staying, going) = (per_request(stay), per_request(go));
    let rows = staying.into_iter().filter_map(|(sensor, stay_j)| {
        let row = Costing {
            switch: switch(go, &sensor)?,
            back: switch(stay, &sensor),
            stay: stay_j,
            go: *going.get(&sensor)?,
        };
        Some(row.row(stay, go, "J", Some(sensor)))
    });
    rows.collect()
}

/// What a decision between two models rests on.
struct Costing {
    switch: f64,
    back: Option<f64>,
    stay: f64,
    go: f64,
}

impl Costing {
    fn row(
        self,
        stay: usize,
        go: usize,
        unit: &'static str,
        sensor: Option<Sensor>,
    ) -> BreakEvenRow {
        let costs = |switch| Costs {
            switch,
            stay: self.stay,
            go: self.go,
        };
        let (source, scope) = sensor.unzip();
        BreakEvenRow {
            stay: NAMES[stay],
            go: NAMES[go],
            unit,
            scope,
            source,
            switch: self.switch,
            back: self.back,
            stay_per_request: self.stay,
            go_per_request: self.go,
            requests: break_even(costs(self.switch)),
            requests_range: None,
            requests_and_back: self
                .back
                .and_then(|back| break_even(costs(self.switch + back))),
        }
    }
}

/// By each sensor that saw the model idle, the machine idle without it, and its latest load.
fn keeping(which: usize, swapped: &Swapped) -> Vec<KeepRow> {
    let latest = swapped.switches.iter().rfind(|switch| switch.to == which);
    let Some(switch) = latest else {
        return Vec::new();
    };
    let load_s = switch.load.duration.as_secs_f64();
    let idle = |baselines: &[IdleBaseline], sensor: &Sensor| {
        let mut of_sensor = baselines.iter();
        let found = of_sensor.find(|idle| (&idle.source, idle.scope) == (&sensor.0, sensor.1))?;
        Some((found.power.0, found.bound.map_or(0.0, |bound| bound.0)))
    };
    let loads = Drawn::energies(&switch.load_drawn).into_iter();
    let rows = loads.filter_map(|(sensor, energy)| {
        let (loaded_w, loaded_bound) = idle(&swapped.models[which].idle_loaded, &sensor)?;
        let (unloaded_w, unloaded_bound) = idle(&swapped.idle_unloaded, &sensor)?;
        let keeping = Keeping {
            load_j: joules(&energy)?,
            load_s,
            loaded_w,
            unloaded_w,
            bound_w: loaded_bound + unloaded_bound,
        };
        Some(KeepRow {
            model: NAMES[which],
            scope: sensor.1,
            source: sensor.0,
            load_s,
            load_j: keeping.load_j,
            idle_loaded_w: loaded_w,
            idle_unloaded_w: unloaded_w,
            bound_w: keeping.bound_w,
            keep: keep_loaded(keeping),
        })
    });
    rows.collect()
}

/// Those for which another model had to go.
fn switches_to(to: usize, swapped: &Swapped) -> impl Iterator<Item = &Switch> {
    let switches = swapped.switches.iter();
    switches.filter(move |switch| switch.to == to && switch.from.is_some())
}

/// Unload and load together.
fn whole(switch: &Switch) -> BTreeMap<Sensor, Energy> {
    Drawn::energies(switch.unload_drawn.iter().chain(&switch.load_drawn))
}

fn latencies(model: &SwappedModel) -> Vec<f64> {
    let successes = model
        .requests
        .iter()
        .filter(|request| request.outcome.is_success());
    successes
        .map(|request| request_latency(request).as_secs_f64())
        .collect()
}

/// Latencies of both for every question that both answered, averaged over the rounds: the same question asked again says little of others.
fn pairs(stay: usize, go: usize, swapped: &Swapped) -> Vec<(f64, f64)> {
    let requests = |which: usize| swapped.models[which].requests.iter();
    let both = requests(stay).zip(requests(go));
    let answered = both.filter(|(one, other)| {
        one.index == other.index && one.outcome.is_success() && other.outcome.is_success()
    });
    let seconds = |request| request_latency(request).as_secs_f64();
    let mut questions: BTreeMap<u32, Vec<(f64, f64)>> = BTreeMap::new();
    for (one, other) in answered {
        let rounds = questions.entry(one.index).or_default();
        rounds.push((seconds(one), seconds(other)));
    }
    let averages = questions.into_values().filter_map(|rounds| {
        let (one, other) = rounds.into_iter().unzip();
        Some((mean(one)?, mean(other)?))
    });
    averages.collect()
}

/// Whether the GPU's memory rose with it.
fn fills_gpu(model: &SwappedModel) -> bool {
    let of = |bytes: &BTreeMap<MemoryScope, u64>| bytes.get(&MemoryScope::Gpu).copied();
    let before = of(&model.memory_baseline).unwrap_or(0);
    of(&model.memory_peak).is_some_and(|peak| peak > before)
}

/// What a GPU has of a memory that it shares with the processor is no process's. Elsewhere the system's rise says more about the
/// machine's other work than about the model.
fn needed(model: &SwappedModel, is_shared: bool) -> Option<u64> {
    let peak = |scope| model.memory_peak.get(&scope).copied();
    let rise = peak(MemoryScope::System).map(|peak| {
        let before = model.memory_baseline.get(&MemoryScope::System);
        peak.saturating_sub(before.copied().unwrap_or(peak))
    });
    // A system that did not rise says nothing.
    let rise = rise.filter(|rise| is_shared && *rise > 0);
    peak(MemoryScope::ProcessTree).max(rise)
}

fn by_name(peaks: &BTreeMap<MemoryScope, u64>) -> BTreeMap<&'static str, u64> {
    let each = peaks.iter();
    each.map(|(scope, bytes)| (scope.as_str(), *bytes))
        .collect()
}

fn joules(energy: &Energy) -> Option<f64> {
    energy.joules.map(|joules| joules.0)
}

fn bound(energy: &Energy) -> Option<f64> {
    energy.joules.map(|_| energy.bound.total().0)
}

fn mean(values: Vec<f64>) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / count(values.len()))
}

#[expect(clippy::cast_precision_loss, reason = "requests, not 2⁵³ of them")]
fn count(n: usize) -> f64 {
    n as f64
}

const NAMES: [&str; 2] = ["a", "b"];
const ON_CARD: &str =
    "a GPU with a memory of its own holds the models, and nobody says how much of it there is";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokwatt_domain::{ids::DeviceId, run::RequestTrace, time::Stamp};

    use super::*;

    fn model(gpu_before: u64, gpu_peak: u64) -> SwappedModel {
        SwappedModel {
            memory_peak: BTreeMap::from([
                (MemoryScope::ProcessTree, 1 << 30),
                (MemoryScope::Gpu, gpu_peak),
            ]),
            memory_baseline: BTreeMap::from([(MemoryScope::Gpu, gpu_before)]),
            ..SwappedModel::default()
        }
    }

    fn document(kind: DeviceKind, gpu_peak: u64) -> Document {
        let swapped = Swapped {
            models: [model(500, 500), model(500, gpu_peak)],
            available_bytes: Some(8 << 30),
            ..Swapped::default()
        };
        let device = DeviceProfile {
            kind,
            id: DeviceId::parse("bench").unwrap(),
            facts: BTreeMap::new(),
            reasons: BTreeMap::new(),
        };
        Document::new(&device, Provenance::Measured, 1, &swapped, BTreeMap::new())
    }

    #[test]
    fn nobody_says_that_both_fit_into_a_memory_that_nobody_looked_at() {
        let on_card = document(DeviceKind::Generic, 900);
        assert_eq!(on_card.together, None);
        assert_eq!(on_card.reasons["together"], ON_CARD);
        assert!(document(DeviceKind::Generic, 500).together.unwrap().fits);
        assert!(document(DeviceKind::Thor, 900).together.unwrap().fits);
    }

    fn request(index: u32, milliseconds: u64) -> RequestTrace {
        let sent = Stamp::default();
        RequestTrace {
            index,
            sent,
            ended: sent.after(Duration::from_millis(milliseconds)),
            item: "scene".to_owned(),
            scheduled: None,
            chunks: Vec::new(),
            outcome: Outcome::Stop,
            tokens: None,
            image_encode: None,
            engine_times: None,
            answer: String::new(),
            truth: None,
        }
    }

    #[test]
    fn a_question_asked_in_two_rounds_is_one_question() {
        let asked = |times: [u64; 4]| SwappedModel {
            requests: [0, 1, 0, 1]
                .into_iter()
                .zip(times)
                .map(|(index, ms)| request(index, ms))
                .collect(),
            ..SwappedModel::default()
        };
        let swapped = Swapped {
            models: [
                asked([1000, 3000, 3000, 5000]),
                asked([500, 1000, 1500, 2000]),
            ],
            ..Swapped::default()
        };
        assert_eq!(pairs(0, 1, &swapped), [(2.0, 1.0), (4.0, 1.5)]);
    }
}
