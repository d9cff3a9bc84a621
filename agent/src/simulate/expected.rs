//! What is to be expected of a made-up model on a made-up machine, in closed form: what whoever measures it ought to find.
//!
//! Everything random in the simulation has a mean that is known: luck, moods and strengths of 1, answers of lengths as likely as each
//! other. Virtual time ticks in ms, so that the next question is asked half a ms after the answer. Temperatures are those of a machine that has been at it for long, so that energies of a machine that still warms up
//! are up to some tenths of a percent lower.

use std::time::Duration;

use tokwatt_domain::{
    power::Scope,
    units::{Joules, Watts},
};

use super::{
    Spec,
    engine::{PICTURE_OPERATIONS, lengths},
    machine::{Machine, Rail},
    model::Model,
};

/// A question as far as its cost depends on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Work {
    /// Bytes of its prompt.
    pub prompt_bytes: usize,
    /// Side of its picture in pixels, if it has one.
    pub side_px: Option<u32>,
    /// Most tokens of its answer.
    pub max_tokens: u32,
    /// Whether the answer is to have all of them.
    pub is_fixed_length: bool,
}

/// Of a question that is asked alone, on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    machine: &'static Machine,
    appetite: f64,
    encode_s: f64,
    prefill_s: f64,
    /// For each token.
    pass_s: f64,
    tokens: f64,
    accuracy: Option<f64>,
}

impl Spec {
    /// What is to be expected of it.
    pub fn expected(&self, model: &Model, work: &Work) -> Expected {
        let (machine, nature) = (self.machine, model.nature());
        let picture = work.side_px.map(|side| nature.picture.of(Some(side)));
        let picture = f64::from(picture.unwrap_or(0));
        let words = f64::from(u32::try_from(work.prompt_bytes / 4).unwrap_or(u32::MAX));
        let (shortest, longest) = lengths(nature, work.max_tokens);
        Expected {
            machine,
            appetite: nature.appetite,
            encode_s: PICTURE_OPERATIONS * picture / 256.0 / machine.compute,
            prefill_s: 2.0 * nature.parameters * (words + picture) / machine.compute,
            pass_s: model.pass_s(machine.bandwidth),
            tokens: match work.is_fixed_length {
                true => f64::from(work.max_tokens),
                false => f64::from(shortest + longest) / 2.0,
            },
            accuracy: model.accuracy(),
        }
    }
}

impl Expected {
    /// Tokens after the first, per second.
    pub fn decode_tps(&self) -> f64 {
        1.0 / self.pass_s
    }

    /// Until the first token.
    pub fn ttft(&self) -> Duration {
        Duration::from_secs_f64(self.encode_s + self.prefill_s + self.pass_s)
    }

    /// Until the last one.
    pub fn latency(&self) -> Duration {
        Duration::from_secs_f64(self.latency_s())
    }

    /// Until the next question is asked.
    pub fn cycle(&self) -> Duration {
        Duration::from_secs_f64(self.latency_s() + HALF_A_TICK_S)
    }

    /// Of the answer.
    pub fn tokens(&self) -> f64 {
        self.tokens
    }

    /// Share of answers that are right; two pictures may have one answer, so that some more are right by chance.
    pub fn accuracy(&self) -> Option<f64> {
        self.accuracy
    }

    /// Mean power in a scope while questions are asked one after the other; `None` where the machine has no such scope.
    pub fn power(&self, scope: Scope) -> Option<Watts> {
        let rails = self.machine.rails_of(scope).iter();
        let watts = rails.map(|rail| self.watts(&self.machine.rails[*rail]) + self.leakage(*rail));
        let watts: f64 = watts.sum();
        (watts > 0.0).then_some(Watts(watts))
    }

    /// Of one question in a scope.
    pub fn energy(&self, scope: Scope) -> Option<Joules> {
        let Watts(watts) = self.power(scope)?;
        Some(Joules(watts * self.cycle().as_secs_f64()))
    }

    fn latency_s(&self) -> f64 {
        self.encode_s + self.prefill_s + self.tokens * self.pass_s
    }

    /// Leakage apart.
    fn watts(&self, rail: &Rail) -> f64 {
        let joules = rail.encode * self.encode_s
            + rail.prefill * self.prefill_s
            + rail.decode * self.tokens * self.pass_s;
        rail.idle + rail.loaded + self.appetite * joules / self.latency_s()
    }

    fn leakage(&self, rail: usize) -> f64 {
        let machine = self.machine;
        let heaters = machine.thermal.heaters.iter();
        let heat: f64 = heaters.map(|rail| self.watts(&machine.rails[*rail])).sum();
        machine.rails[rail].leakage * machine.thermal.resistance * heat
    }
}

const HALF_A_TICK_S: f64 = 0.0005;

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(machine: &str, model: &str, precision: &str) -> Expected {
        let spec: Spec = machine.parse().unwrap();
        let work = Work {
            prompt_bytes: 40,
            side_px: Some(512),
            max_tokens: 64,
            is_fixed_length: false,
        };
        spec.expected(&Model::parse(model, precision).unwrap(), &work)
    }

    /// 4 GB over 0.66 · 273 GB/s, and answers of 12 to 60 tokens.
    #[test]
    fn a_plain_model_is_as_fast_as_its_weights_are_read() {
        let plain = expected("thor", "made-up-2b", "f16");
        assert!((plain.decode_tps() - 45.045).abs() < 1e-9);
        assert!((plain.tokens() - 36.0).abs() < 1e-12);
        assert!(plain.energy(Scope::Module) < plain.energy(Scope::SystemIn));
        assert_eq!(plain.energy(Scope::Wall), None);
    }

    #[test]
    fn what_has_the_same_nature_is_a_tie_and_nothing_else_is() {
        let robin = |precision| expected("orin", "made-up-robin-2b", precision);
        assert_eq!(robin("f16"), robin("bf16"));
        assert_eq!(robin("f16"), expected("orin", "made-up-finch-2b", "f16"));
        assert!(robin("q8_0").decode_tps() > 1.5 * robin("f16").decode_tps());
        assert!(robin("q4_k_m").decode_tps() > 1.3 * robin("q8_0").decode_tps());
    }
}
