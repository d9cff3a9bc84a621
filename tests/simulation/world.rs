//! One simulation: collector, devices and operator, what happens to them, and how it comes to an end.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt::Debug,
    panic,
    path::{Path, PathBuf},
    sync::Once,
    time::Duration,
};

use tempfile::TempDir;
use tokwatt_agent::attend::hand::JobEnd;
use tokwatt_domain::{
    campaign::JobState,
    ids::{DeviceId, RunId},
};
use tokwatt_harness::Random;

use crate::{
    checker,
    collector::{Collector, Witness},
    device::Device,
    faults::{COLLECTOR_FAULTS, CollectorFault, DEVICE_FAULTS, DeviceFault, Spell, spells},
    history::{Entry, Event, JobName, Lease, Log, Row, Stored},
    operator,
};

/// What became of a seed.
pub(crate) struct Outcome {
    /// Promises that were not kept.
    pub(crate) breaches: Vec<String>,
    pub(crate) history: Vec<Entry>,
    pub(crate) stored: Stored,
    pub(crate) time: Duration,
}

impl Outcome {
    /// Nothing is known but that.
    pub(crate) fn panicked() -> Self {
        Self {
            breaches: vec!["the simulation panicked".to_owned()],
            history: Vec::new(),
            stored: Stored::default(),
            time: Duration::ZERO,
        }
    }
}

struct World {
    sim: turmoil::Sim<'static>,
    log: Log,
    /// Longest way of a message where nothing is wrong.
    latency: Duration,
    sites: Vec<Site>,
    collector: Collector,
    its_target: Target<CollectorFault>,
    witness: Witness,
    jobs: BTreeMap<JobName, Row>,
    /// Until when what has failed may wait to be tried again.
    pauses: BTreeMap<JobName, Duration>,
    /// Whether the operator has nothing more to ask for.
    is_satisfied: bool,
    breaches: Vec<String>,
}

/// A device and what is wrong with it.
struct Site {
    device: Device,
    target: Target<DeviceFault>,
    /// Since when it has work to do, could do it, and does not.
    idle_since: Option<Duration>,
}

struct Target<F> {
    /// The latest last.
    to_come: Vec<Spell<F>>,
    now: Option<Spell<F>>,
}

/// All that a seed decides, done.
pub(crate) fn run(seed: u64, sabotage: &str) -> Outcome {
    count_panics();
    let folder = folder();
    let mut world = World::new(seed, folder.path(), sabotage);
    world.pass(STORM);
    world.calm_down();
    world.finish();
    let history = world.log.entries();
    let made: Vec<(Lease, RunId)> = history.iter().filter_map(measured).collect();
    let stored = Stored {
        accepted: world.witness.accepted(),
        counted: world.witness.counted(&made),
    };
    let mut breaches = std::mem::take(&mut world.breaches);
    // It ends with its first breach: what is open then is not forgotten.
    if breaches.is_empty() {
        breaches = checker::judge(&history, &stored);
    }
    let n_panics = PANICS.take();
    if n_panics > 0 {
        breaches.push(format!("{n_panics} panics"));
    }
    Outcome {
        breaches,
        history,
        stored,
        time: world.sim.elapsed(),
    }
}

impl World {
    fn new(seed: u64, folder: &Path, sabotage: &str) -> Self {
        let mut chance = Random::new(seed);
        let log = Log::default();
        let witness = Witness::new(&folder.join("collector"), sabotage);
        let latency = Duration::from_millis(10 + chance.below(200));
        let mut sim = turmoil::Builder::new()
            .rng_seed(chance.number())
            .epoch(std::time::UNIX_EPOCH)
            .simulation_duration(Duration::MAX)
            .tick_duration(*chance.pick(&STEPS))
            .max_message_latency(latency)
            .tcp_capacity(1024)
            .enable_random_order()
            .build();
        let collector = Collector::new(folder.join("collector"), log.clone());
        let host = collector.clone();
        sim.host("collector", move || host.clone().live());
        let mut sites = Vec::new();
        for number in 1..=2 + chance.below(3) {
            let id = DeviceId::parse(&format!("device-{number}")).unwrap();
            let folder = folder.join(id.as_str());
            let device = Device::new(id.clone(), seed, folder, log.clone());
            let host = device.clone();
            sim.host(id.as_str(), move || host.clone().live());
            sites.push(Site {
                device,
                target: Target::new(&mut chance, &DEVICE_FAULTS, DEVICE_CALM),
                idle_since: None,
            });
        }
        let devices: Vec<DeviceId> = sites.iter().map(|site| site.device.id.clone()).collect();
        let wishes = operator::wishes(&mut chance, &devices, STORM / 2);
        sim.client("operator", operator::live(wishes, log.clone()));
        Self {
            sim,
            log,
            latency,
            sites,
            collector,
            its_target: Target::new(&mut chance, &COLLECTOR_FAULTS, COLLECTOR_CALM),
            witness,
            jobs: BTreeMap::new(),
            pauses: BTreeMap::new(),
            is_satisfied: false,
            breaches: Vec::new(),
        }
    }

    /// Lets time pass, with everything that goes wrong in it.
    fn pass(&mut self, until: Duration) {
        while self.sim.elapsed() < until && self.breaches.is_empty() {
            self.change_collector();
            for number in 0..self.sites.len() {
                self.change_device(number);
            }
            self.step();
        }
    }

    /// What is still wrong is mended.
    fn calm_down(&mut self) {
        self.its_target.to_come.clear();
        self.change_collector();
        for number in 0..self.sites.len() {
            self.sites[number].target.to_come.clear();
            self.change_device(number);
        }
    }

    /// Nothing goes wrong any more: everything comes to its end.
    fn finish(&mut self) {
        let latest = self.sim.elapsed() + END_WITHIN;
        while !self.is_over() && self.breaches.is_empty() {
            self.step();
            if self.sim.elapsed() > latest {
                let open = self.jobs.values().filter(|row| !row.state.is_over());
                let open: Vec<&Row> = open.collect();
                self.breaches.push(format!("it does not end: {open:?}"));
            }
        }
    }

    fn is_over(&self) -> bool {
        self.is_satisfied
            && self.jobs.values().all(|row| row.state.is_over())
            && self.sites.iter().all(|site| site.device.is_idle())
    }

    fn step(&mut self) {
        self.log.set_time(self.sim.elapsed());
        match self.sim.step() {
            Ok(is_satisfied) => self.is_satisfied = is_satisfied,
            Err(error) => self.breaches.push(format!("a host failed: {error}")),
        }
        let ended = self.sites.iter().filter_map(|site| site.device.ended());
        ended.for_each(|event| self.log.add(event));
        for row in self.witness.look() {
            self.log.add(Event::Committed(row.clone()));
            self.note_pause(&row);
            self.jobs.insert(row.job.clone(), row);
        }
        for number in 0..self.sites.len() {
            self.look_for_idleness(number);
        }
    }

    /// What a device says has failed is not tried again at once; what was lost is.
    fn note_pause(&mut self, row: &Row) {
        let lease = row.lease();
        let is_failure = |(_, event): &Entry| matches!(event, Event::Ended(of, JobEnd::Failed, _) if *of == lease);
        if row.state == JobState::Waiting && self.log.entries().iter().any(is_failure) {
            let until = self.sim.elapsed() + PAUSE * row.n_failed;
            self.pauses.insert(row.job.clone(), until);
        } else {
            self.pauses.remove(&row.job);
        }
    }

    /// A device that can be reached has its job again before long.
    fn look_for_idleness(&mut self, number: usize) {
        let now = self.sim.elapsed();
        let is_reachable = self.its_target.is_well() && self.sites[number].target.is_well();
        let site = &mut self.sites[number];
        let open = self
            .jobs
            .values()
            .filter(|row| row.job.device == site.device.id && !row.state.is_over());
        let open: Vec<&Row> = open.collect();
        let is_paused = |row: &&Row| self.pauses.get(&row.job).is_some_and(|until| now < *until);
        let is_served = open.iter().all(is_paused)
            || open
                .iter()
                .any(|row| row.state == JobState::Leased && site.device.has(&row.lease()));
        if !is_reachable || is_served || site.device.is_measuring() {
            site.idle_since = None;
            return;
        }
        let since = *site.idle_since.get_or_insert(now);
        if now - since > AGAIN_WITHIN {
            self.breaches.push(format!(
                "`{}` can be reached since {since:?} and has nothing to do of {open:?}",
                site.device.id
            ));
        }
    }

    fn change_collector(&mut self) {
        let now = self.sim.elapsed();
        if let Some(spell) = self.its_target.ended(now) {
            self.note(&format!("collector: {:?} is over", spell.fault));
            self.at_once("collector", |sim| sim.bounce("collector"));
        }
        if let Some(spell) = self.its_target.begun(now) {
            self.note(&format!("collector: {:?}", spell.fault));
            match spell.fault {
                CollectorFault::Stop => self.collector.stop(),
                CollectorFault::Kill | CollectorFault::PowerCut => {
                    self.at_once("collector", |sim| sim.crash("collector"));
                }
            }
        }
    }

    fn change_device(&mut self, number: usize) {
        let now = self.sim.elapsed();
        let device = self.sites[number].device.clone();
        let host = device.id.as_str();
        if let Some(spell) = self.sites[number].target.ended(now) {
            self.note(&format!("{host}: {:?} is over", spell.fault));
            if spell.fault == DeviceFault::DiskLost {
                device.lose_disk();
            }
            self.at_once(host, |sim| {
                if spell.fault.is_end_of_life() {
                    sim.bounce(host);
                }
            });
        }
        if let Some(spell) = self.sites[number].target.begun(now) {
            self.note(&format!("{host}: {:?}", spell.fault));
            self.at_once(host, |sim| match spell.fault {
                DeviceFault::Stop => device.stop(),
                fault if fault.is_end_of_life() => sim.crash(host),
                _ => {}
            });
        }
    }

    /// Does something to a host, and makes its links what they are to be then. The last words of its kernel are on their way together: in
    /// which order a runtime lets go of its tasks is repeated by no seed.
    fn at_once(&mut self, host: &str, act: impl FnOnce(&mut turmoil::Sim<'static>)) {
        let is_its_own = |site: &Site| host == "collector" || site.device.id.as_str() == host;
        let links: Vec<String> = (self.sites.iter().filter(|site| is_its_own(site)))
            .map(|site| site.device.id.as_str().to_owned())
            .chain((host == "collector").then(|| "operator".to_owned()))
            .collect();
        for other in &links {
            match self.is_open(other) {
                true => self.sim.hold(other.as_str(), "collector"),
                false => self.sim.partition(other.as_str(), "collector"),
            }
        }
        act(&mut self.sim);
        for other in &links {
            self.link(other);
        }
    }

    /// Whether everything that is said over a link arrives, however late.
    fn is_open(&self, host: &str) -> bool {
        use DeviceFault::{Cut, CutBack, CutThere, PowerCut};
        let is_cut = matches!(self.fault(host), Some(Cut | CutThere | CutBack | PowerCut));
        self.its_target.fault() != Some(CollectorFault::PowerCut) && !is_cut
    }

    fn fault(&self, host: &str) -> Option<DeviceFault> {
        let own = self
            .sites
            .iter()
            .find(|site| site.device.id.as_str() == host);
        own.and_then(|site| site.target.fault())
    }

    /// Makes a link what it is to be by what is wrong with its two ends.
    fn link(&mut self, host: &str) {
        self.sim.release(host, "collector");
        let fault = self.fault(host);
        let latency = match fault {
            Some(DeviceFault::Slow) => SLOW,
            _ => self.latency,
        };
        self.sim
            .set_link_max_message_latency(host, "collector", latency);
        if self.its_target.fault() == Some(CollectorFault::PowerCut) {
            return self.sim.partition(host, "collector");
        }
        match fault {
            Some(DeviceFault::Cut | DeviceFault::PowerCut) => {
                self.sim.partition(host, "collector");
            }
            Some(DeviceFault::CutThere) => self.sim.partition_oneway(host, "collector"),
            Some(DeviceFault::CutBack) => self.sim.partition_oneway("collector", host),
            Some(DeviceFault::Hold) => self.sim.hold(host, "collector"),
            _ => {}
        }
    }

    fn note(&self, what: &impl ToString) {
        self.log.set_time(self.sim.elapsed());
        self.log.add(Event::Fault(what.to_string()));
    }
}

impl<F: Copy + Debug> Target<F> {
    fn new(chance: &mut Random, faults: &[F], calm: Duration) -> Self {
        let mut to_come = spells(chance, faults, calm, STORM);
        to_come.reverse();
        Self { to_come, now: None }
    }

    fn ended(&mut self, now: Duration) -> Option<Spell<F>> {
        self.now.take_if(|spell| spell.until <= now)
    }

    fn begun(&mut self, now: Duration) -> Option<Spell<F>> {
        if self.now.is_none() && self.to_come.last().is_some_and(|spell| spell.from <= now) {
            self.now = self.to_come.pop();
            return self.now;
        }
        None
    }

    fn fault(&self) -> Option<F> {
        self.now.map(|spell| spell.fault)
    }

    fn is_well(&self) -> bool {
        self.now.is_none()
    }
}

fn measured((_, event): &Entry) -> Option<(Lease, RunId)> {
    match event {
        Event::Measured(lease, run) => Some((lease.clone(), *run)),
        _ => None,
    }
}

/// In memory where that can be had.
fn folder() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// A task that panics is caught by its runtime; here it is seen all the same.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            usual(info);
        }));
    });
    PANICS.set(0);
}

/// How long things go wrong.
const STORM: Duration = Duration::from_secs(120);

/// Steps of time, by which the network moves, too.
const STEPS: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
];

/// Longest time between two faults.
const DEVICE_CALM: Duration = Duration::from_secs(30);
const COLLECTOR_CALM: Duration = Duration::from_secs(60);

/// Longest way of a message over a bad link.
const SLOW: Duration = Duration::from_secs(3);

/// P9: a device that can be reached, and measures nothing, has its job again by then.
const AGAIN_WITHIN: Duration = Duration::from_secs(45);

/// Of a job that its device says has failed, for each time that it did.
const PAUSE: Duration = Duration::from_secs(60);

/// For everything that is still to be done; it takes a fraction of it, or for ever.
const END_WITHIN: Duration = Duration::from_secs(1800);

mod tests {
    use super::*;

    /// What its agent gives up is cancelled for its bench.
    #[test]
    fn a_job_that_is_interrupted_too_often_has_failed_and_may_wait() {
        let folder = folder();
        let mut world = World::new(22, folder.path(), "");
        world.calm_down();
        let mut n_seen = 0;
        let (lease, how) = loop {
            world.step();
            assert!(world.sim.elapsed() < STORM, "it does not end");
            let news = world.log.entries().split_off(n_seen);
            n_seen += news.len();
            if let Some(end) = news.iter().find_map(end) {
                break end;
            }
            for (_, event) in news {
                if let Event::Began(lease) = event {
                    let host = lease.job.device.as_str();
                    world.at_once(host, |sim| sim.crash(host));
                    world.at_once(host, |sim| sim.bounce(host));
                }
            }
        };
        assert_eq!(how, JobEnd::Failed);
        world.finish();
        assert_eq!(world.breaches, Vec::<String>::new());
        let row = &world.jobs[&lease.job];
        assert_eq!((row.attempt, row.n_failed), (2, 1), "it was tried again");
    }

    fn end((_, event): &Entry) -> Option<(Lease, JobEnd)> {
        match event {
            Event::Ended(lease, how, _) => Some((lease.clone(), *how)),
            _ => None,
        }
    }
}
