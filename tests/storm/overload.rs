//! A database that stands still while everybody delivers, and a collector that comes back to all of them at once.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rusqlite::Connection;
use tokio::{runtime::Runtime, time::Instant};
use tokio_util::task::TaskTracker;
use tokwatt_agent::uplink::LinkState;
use tokwatt_collector::store::database_in;
use tokwatt_domain::ids::DeviceId;
use tokwatt_harness::{Random, number_from, seed, tell};
use tokwatt_proto::delivery::{BATCH_BYTES_MAX, CREDITS};

use crate::{
    A_LONG_TIME, all_are_complete_and_equal, books_balance, check, delivering::Delivering,
    eventually, site::Site, turn,
};

/// `just soak` asks for a thousand, and for a minute.
const AGENTS: usize = 50;
const STALL_S: usize = 12;

/// What an agent measures meanwhile: more than it may have under way.
const BYTES_MEANWHILE: usize = 2 * CREDITS as usize * BATCH_BYTES_MAX;

/// Writes down why any of them lost its connection.
fn watch_out(agents: &[Delivering], tasks: &TaskTracker) -> Arc<Mutex<Vec<String>>> {
    let lost = Arc::<Mutex<Vec<String>>>::default();
    for agent in agents {
        let (mut state, lost) = (agent.state.clone(), lost.clone());
        tasks.spawn(async move {
            while state.changed().await.is_ok() {
                if let LinkState::Down { reason } = &*state.borrow_and_update() {
                    lost.lock().unwrap().push(reason.clone());
                }
            }
        });
    }
    lost
}

/// Somebody else holds the database, so that nothing can be committed.
struct Stall(Connection);

impl Stall {
    fn begin(data: PathBuf) -> Self {
        let connection = Connection::open(database_in(&data)).unwrap();
        connection.busy_timeout(A_LONG_TIME).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(connection)
    }

    fn end(self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

#[test]
fn a_database_that_stands_still_slows_everybody_down_and_cuts_nobody_off() {
    let _turn = turn();
    let n_agents = number_from("TOKWATT_STORM_AGENTS", AGENTS);
    let stall = number_from("TOKWATT_STORM_STALL_S", STALL_S);
    let stall = Duration::from_secs(u64::try_from(stall).unwrap());
    let mut random = Random::new(seed());
    let mut site = Site::begin();
    let runtime = Runtime::new().unwrap();
    let tasks = TaskTracker::new();
    let agents: Vec<Delivering> = runtime.block_on(async {
        let mut agents = Vec::new();
        for number in 0..n_agents {
            let device = DeviceId::parse(&format!("device-{number}")).unwrap();
            agents.push(Delivering::begin(&site, device, &tasks).await);
        }
        agents
    });
    let all_are_done = || agents.iter().all(Delivering::is_done);
    eventually("everybody is connected", A_LONG_TIME, all_are_done);
    let idle = site.memory();

    let lost = runtime.block_on(async { watch_out(&agents, &tasks) });
    let stalled = Stall::begin(site.data());
    let mut n_runs = 0;
    for agent in &agents {
        n_runs += agent.measure(BYTES_MEANWHILE, &mut random);
    }
    thread::sleep(stall);
    let full = site.memory();
    stalled.end();
    let begun = Instant::now();
    eventually("what waited is delivered", DRAINED_WITHIN, all_are_done);
    let drained = begun.elapsed();
    tell(&format!(
        "{n_agents} agents, {n_runs} runs, {stall:?}: {} KiB resident when idle, {} when full, drained in {drained:?}",
        idle.resident, full.resident
    ));
    let lost = std::mem::take(&mut *lost.lock().unwrap());
    assert!(
        lost.is_empty(),
        "{} were cut off: {:?}",
        lost.len(),
        lost[0]
    );
    let limit = RESIDENT_KIB_ALONE + RESIDENT_KIB_EACH * n_agents as u64;
    assert!(full.highest < limit, "{full:?}");

    for agent in &agents {
        n_runs += agent.measure(1, &mut random);
    }
    site.restart();
    let begun = Instant::now();
    eventually("everybody is back", BACK_WITHIN, all_are_done);
    tell(&format!(
        "all are back {:?} after a restart",
        begun.elapsed()
    ));
    all_are_complete_and_equal(site.collector(), n_runs);
    books_balance(check(&site.data()));
    site.stop();
}

/// A quarter of a gigabyte for a thousand agents.
const RESIDENT_KIB_ALONE: u64 = 36 * 1024;
const RESIDENT_KIB_EACH: u64 = 220;

const DRAINED_WITHIN: Duration = Duration::from_secs(30);
const BACK_WITHIN: Duration = Duration::from_secs(30);
