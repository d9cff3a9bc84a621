//! kill -9 of agents and collector, again and again, at any moment: what was acknowledged is there, once, byte for byte.

use std::{path::Path, thread, time::Duration};

use tokwatt_collector::store::database_in;
use tokwatt_harness::{Random, number_from, seed, serve, tell};

use crate::{
    A_LONG_TIME, eventually, fleet::Fleet, ledger::Findings, process::Process, relay::Manner, turn,
};

/// `just soak` asks for ten times as many.
const KILLS: usize = 60;

/// Runs that every device finishes between two kills.
const RUNS_A_KILL: usize = 3;

/// Recorded devices; they share this machine, not their name.
const HOSTS: [&str; 3] = ["agx-orin", "gb10", "thor"];

/// A fleet whose members are killed.
struct Storm {
    fleet: Fleet,
    random: Random,
}

impl Storm {
    /// Gives everybody something to do, waits for any moment of it, kills.
    fn kill_somebody(&mut self) {
        self.fleet.measure(RUNS_A_KILL, &mut self.random);
        let n_events = self.random.below(6);
        self.fleet.ledger.wait_for_more(n_events, A_LONG_TIME);
        self.pass_a_moment();
        let n_agents = self.fleet.devices.len();
        let one_of_them = self.random.index(n_agents);
        match self.random.below(10) {
            0..4 => self.fleet.kill_collector(),
            4 => {
                self.fleet.kill_collector();
                self.kill_starting_collector();
            }
            5..9 => self.kill_agent(one_of_them),
            _ => {
                self.fleet.kill_collector();
                (0..n_agents).for_each(|number| self.kill_agent(number));
            }
        }
        self.fleet.revive();
    }

    /// The one place where time is what is wanted: to be in the middle of whatever goes on.
    fn pass_a_moment(&mut self) {
        thread::sleep(Duration::from_micros(self.random.below(30_000)));
    }

    fn kill_agent(&mut self, number: usize) {
        self.fleet.devices[number].kill();
    }

    /// While it opens its database, perhaps.
    fn kill_starting_collector(&mut self) {
        let log = self.fleet.data().with_extension("log");
        let starting = Process::start(&mut serve(&self.fleet.data()), &log);
        self.pass_a_moment();
        assert!(starting.kill(), "the collector ended by itself");
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_counts_twice_whoever_is_killed_whenever() {
    let _turn = turn();
    let n_kills = number_from("TOKWATT_STORM_KILLS", KILLS);
    tell(&format!("{n_kills} kills, TOKWATT_SEED={}", seed()));
    let mut storm = Storm {
        fleet: Fleet::begin(&HOSTS, Manner::Loses { one_in: 12 }),
        random: Random::new(seed()),
    };
    for _ in 0..n_kills {
        storm.kill_somebody();
    }
    let mut fleet = storm.fleet;
    fleet.calm_down();
    let findings = fleet.findings();
    let (n_records, n_acknowledgements) = fleet.ledger.totals();
    tell(&format!(
        "{n_records} records in {n_acknowledgements} acknowledgements: {findings:?}"
    ));
    assert_eq!(findings, Findings::default());
}

/// If this one passed the check above, the check would be worth nothing.
#[test]
fn who_acknowledges_before_the_commit_is_found_out() {
    let _turn = turn();
    let mut fleet = Fleet::begin(&HOSTS[..1], Manner::Invents);
    fleet.measure(1, &mut Random::new(seed()));
    eventually("the agent believes it", A_LONG_TIME, || {
        fleet.waiting() == 0
    });
    fleet.kill_collector();
    assert_ne!(fleet.findings().lost, 0);
}

#[test]
fn what_was_altered_or_stored_twice_is_found_out() {
    let _turn = turn();
    let mut fleet = Fleet::begin(&HOSTS[..1], Manner::Loses { one_in: u64::MAX });
    fleet.measure(2, &mut Random::new(seed()));
    fleet.calm_down();
    assert_eq!(fleet.findings(), Findings::default());
    tamper(&fleet.data(), ALTER);
    tamper(&fleet.data(), REPEAT);
    let findings = fleet.findings();
    assert_eq!((findings.lost, findings.duplicated), (1, 1), "{findings:?}");
}

fn tamper(data: &Path, change: &str) {
    let connection = rusqlite::Connection::open(database_in(data)).unwrap();
    connection
        .execute_batch("PRAGMA foreign_keys = OFF")
        .unwrap();
    assert_eq!(connection.execute(change, []).unwrap(), 1);
}

const ALTER: &str = "UPDATE record SET received = zeroblob(8) WHERE seq = 2";
const REPEAT: &str = "INSERT INTO record (device, epoch, seq, run, received)
    SELECT device, epoch + 1, seq, run, received FROM record WHERE seq = 3";
