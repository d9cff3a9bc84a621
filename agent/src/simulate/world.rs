//! What a made-up machine truly draws, at every instant: a line of stretches, each with a closed form.
//!
//! Within a stretch a rail draws a constant and a leakage that follows the temperature,
//! `P(t) = base + leakage · (T(t) − ambient)`, and the temperature goes to that of the stretch,
//! `T(t) = steady + (T₀ − steady) · e^(−t/τ)`. So energy over any window is known without a sum over steps:
//! `∫P = base · t + leakage · ((steady − ambient) · t + (T₀ − steady) · τ · (1 − e^(−t/τ)))`.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tokwatt_domain::{
    power::Scope,
    time::{Stamp, Window},
    units::Joules,
};

use super::machine::{HYSTERESIS, Machine, Rail, THROTTLED_POWER, THROTTLED_SPEED};

/// What the machine does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Activity {
    /// Nothing.
    Idle,
    /// A picture is encoded.
    Encode,
    /// A prompt is read.
    Prefill,
    /// An answer is written.
    Decode,
}

/// The machine's past up to the latest instant that anybody asked about.
#[derive(Debug)]
pub(super) struct World {
    machine: &'static Machine,
    ambient: f64,
    chance: ChaCha8Rng,
    stretches: Vec<Stretch>,
    activity: Activity,
    /// Of the present activity's power: no two prompts are alike.
    strength: f64,
    /// Of the idle power: an operating system is never quite still.
    restlessness: f64,
    next_unrest: Stamp,
    has_model: bool,
    is_throttled: bool,
}

/// A time in which nothing changes but the temperature.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: Stamp,
    /// Of each rail in W, leakage apart.
    base: [f64; RAILS_MAX],
    /// At the beginning, and after a long time of it, in °C.
    start: f64,
    steady: f64,
    /// Of each rail from the beginning of time up to here.
    joules: [f64; RAILS_MAX],
    is_throttled: bool,
    is_busy: bool,
}

impl World {
    pub(super) fn new(machine: &'static Machine, seed: u64, ambient: f64) -> Self {
        let mut world = Self {
            machine,
            ambient,
            chance: ChaCha8Rng::seed_from_u64(seed),
            stretches: Vec::new(),
            activity: Activity::Idle,
            strength: 1.0,
            restlessness: 1.0,
            next_unrest: Stamp(0),
            has_model: false,
            is_throttled: false,
        };
        let base = world.base();
        let steady = world.steady(&base);
        world.stretches.push(Stretch {
            from: Stamp(0),
            base,
            start: steady,
            steady,
            joules: [0.0; RAILS_MAX],
            is_throttled: false,
            is_busy: false,
        });
        world.advance(Stamp(0));
        world
    }

    /// From `at` on it does something else, for a model of such an appetite; `at` is never before what it was asked about.
    pub(super) fn begin(&mut self, activity: Activity, appetite: f64, at: Stamp) {
        self.advance(at);
        self.activity = activity;
        self.strength = appetite * (0.9 + 0.2 * self.chance());
        self.change(at);
    }

    /// A model came into memory or left it.
    pub(super) fn hold_model(&mut self, has_model: bool, at: Stamp) {
        self.advance(at);
        self.has_model = has_model;
        self.change(at);
    }

    /// Its speed now, as a share of what it can do: less while it is too hot.
    pub(super) fn speed(&mut self, at: Stamp) -> f64 {
        self.advance(at);
        let hot = self.temperature(at);
        let limit = self.machine.thermal.limit;
        let is_throttled = hot >= limit || (self.is_throttled && hot > limit - HYSTERESIS);
        if is_throttled != self.is_throttled {
            self.is_throttled = is_throttled;
            self.change(at);
        }
        if is_throttled { THROTTLED_SPEED } else { 1.0 }
    }

    /// Lives on to `to`.
    pub(super) fn advance(&mut self, to: Stamp) {
        while self.next_unrest <= to {
            self.restlessness = 0.96 + 0.08 * self.chance();
            let at = self.next_unrest;
            self.change(at);
            let pause = UNREST.mul_f64(-libm::log(1.0 - self.chance()));
            self.next_unrest = at.after(pause.max(Duration::from_nanos(1)));
        }
    }

    /// A rail's mean power over a time that it has lived through.
    pub(super) fn mean_watts(&self, rail: usize, window: Window) -> f64 {
        let seconds = window.length().as_secs_f64();
        if seconds == 0.0 {
            return self.stretch(window.to).base[rail];
        }
        (self.joules(rail, window.to) - self.joules(rail, window.from)) / seconds
    }

    /// A rail's energy from the beginning on.
    pub(super) fn joules(&self, rail: usize, at: Stamp) -> f64 {
        let stretch = self.stretch(at);
        stretch.joules[rail] + self.since(stretch, rail, at)
    }

    /// What was truly drawn in a scope; `None` where the machine has no such scope.
    pub(super) fn energy(&mut self, scope: Scope, window: Window) -> Option<Joules> {
        self.advance(window.to);
        let rails = self.machine.rails_of(scope);
        let drawn = |rail: &usize| self.joules(*rail, window.to) - self.joules(*rail, window.from);
        (!rails.is_empty()).then(|| Joules(rails.iter().map(drawn).sum()))
    }

    /// In °C.
    pub(super) fn temperature(&self, at: Stamp) -> f64 {
        let stretch = self.stretch(at);
        let decay = self.decay(at.since(stretch.from));
        stretch.steady + (stretch.start - stretch.steady) * decay
    }

    /// Whether clocks are lowered at that time, and whether there is load.
    pub(super) fn is_throttled(&self, at: Stamp) -> bool {
        self.stretch(at).is_throttled
    }

    pub(super) fn is_busy(&self, at: Stamp) -> bool {
        self.stretch(at).is_busy
    }

    fn change(&mut self, at: Stamp) {
        let base = self.base();
        let mut joules = [0.0; RAILS_MAX];
        for (rail, joules) in joules.iter_mut().enumerate().take(self.machine.rails.len()) {
            *joules = self.joules(rail, at);
        }
        self.stretches.push(Stretch {
            from: at,
            base,
            start: self.temperature(at),
            steady: self.steady(&base),
            joules,
            is_throttled: self.is_throttled,
            is_busy: self.activity != Activity::Idle,
        });
    }

    fn base(&self) -> [f64; RAILS_MAX] {
        let limit = if self.is_throttled {
            THROTTLED_POWER
        } else {
            1.0
        };
        let watts = |rail: &Rail| {
            let load = match self.activity {
                Activity::Idle => 0.0,
                Activity::Encode => rail.encode,
                Activity::Prefill => rail.prefill,
                Activity::Decode => rail.decode,
            };
            let loaded = if self.has_model { rail.loaded } else { 0.0 };
            rail.idle * self.restlessness + loaded + load * self.strength * limit
        };
        let mut base = [0.0; RAILS_MAX];
        for (base, rail) in base.iter_mut().zip(self.machine.rails) {
            *base = watts(rail);
        }
        base
    }

    fn steady(&self, base: &[f64; RAILS_MAX]) -> f64 {
        let thermal = &self.machine.thermal;
        let heat: f64 = thermal.heaters.iter().map(|rail| base[*rail]).sum();
        self.ambient + thermal.resistance * heat
    }

    /// The last stretch that began at or before `at`.
    fn stretch(&self, at: Stamp) -> &Stretch {
        let after = self.stretches.partition_point(|stretch| stretch.from <= at);
        &self.stretches[after.saturating_sub(1)]
    }

    fn since(&self, stretch: &Stretch, rail: usize, at: Stamp) -> f64 {
        let length = at.since(stretch.from);
        let seconds = length.as_secs_f64();
        let settling = self.machine.thermal.time_constant * (1.0 - self.decay(length));
        let degrees =
            (stretch.steady - self.ambient) * seconds + (stretch.start - stretch.steady) * settling;
        stretch.base[rail] * seconds + self.machine.rails[rail].leakage * degrees
    }

    /// By `libm`, as all logarithms here: a machine's own differ in the last digit, and a seed is one world on all of them.
    fn decay(&self, length: Duration) -> f64 {
        libm::exp(-length.as_secs_f64() / self.machine.thermal.time_constant)
    }

    /// 0 to 1.
    fn chance(&mut self) -> f64 {
        f64::from(self.chance.next_u32()) / 4_294_967_296.0
    }
}

/// Mean time between changes of the idle power.
const UNREST: Duration = Duration::from_millis(400);

/// No machine has more.
const RAILS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Stamp {
        Stamp::at(Duration::from_millis(milliseconds))
    }

    fn worked() -> World {
        let mut world = World::new(Machine::ALL[0], 3, 25.0);
        world.hold_model(true, at(500));
        for request in 0..40 {
            let start = 1000 + request * 1500;
            world.begin(Activity::Prefill, 1.0, at(start));
            world.begin(Activity::Decode, 1.0, at(start + 200));
            world.begin(Activity::Idle, 1.0, at(start + 1400));
        }
        world.advance(at(62_000));
        world
    }

    /// The closed form against a fine sum over the power itself.
    #[test]
    fn energy_is_the_integral_of_power() {
        let world = worked();
        for rail in 0..3 {
            let step = Duration::from_micros(100);
            let mut sum = 0.0;
            let mut now = at(1000);
            while now < at(6000) {
                let stretch = world.stretch(now);
                let middle = world.temperature(now.after(step / 2));
                let leakage = world.machine.rails[rail].leakage * (middle - world.ambient);
                sum += (stretch.base[rail] + leakage) * step.as_secs_f64();
                now = now.after(step);
            }
            let closed = world.joules(rail, at(6000)) - world.joules(rail, at(1000));
            assert!((sum - closed).abs() < 2e-4 * closed, "{sum} {closed}");
        }
    }

    #[test]
    fn it_warms_up_slowly_and_draws_more_when_warm() {
        let world = worked();
        let (cold, warm) = (world.temperature(at(1000)), world.temperature(at(60_000)));
        assert!(warm > cold + 5.0, "{cold} °C, {warm} °C");
        assert!(world.temperature(at(1100)) - cold < 0.1);
    }

    #[test]
    fn heat_lowers_speed_and_power_until_it_is_cooler() {
        let mut world = World::new(Machine::ALL[0], 3, 80.0);
        world.begin(Activity::Prefill, 1.0, at(0));
        let strong = world.mean_watts(
            0,
            Window {
                from: at(0),
                to: at(1),
            },
        );
        let speeds = (0..600).map(|second| world.speed(at(1000 * second)));
        let speeds: Vec<f64> = speeds.collect();
        assert_eq!(speeds[0].to_bits(), 1.0_f64.to_bits());
        assert!(speeds.contains(&THROTTLED_SPEED));
        let hot = (0..600)
            .find(|second| world.is_throttled(at(1000 * second)))
            .unwrap();
        let window = Window {
            from: at(1000 * hot),
            to: at(1000 * hot + 1),
        };
        assert!(world.mean_watts(0, window) < 0.8 * strong);
    }

    #[test]
    fn a_seed_repeats_itself_and_another_does_not() {
        let joules = |seed| {
            let mut world = World::new(Machine::ALL[1], seed, 25.0);
            world.advance(at(10_000));
            world.joules(3, at(10_000))
        };
        assert_eq!(joules(1).to_bits(), joules(1).to_bits());
        assert!((joules(1) - joules(2)).abs() > 1e-6);
    }
}
