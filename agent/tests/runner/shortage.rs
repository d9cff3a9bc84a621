//! A full spool and a full disk in the middle of a run: what is given up is declared, what was asked is kept, the run ends or goes on.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokwatt_agent::{
    clock::{Clock, SystemClock},
    power::{
        Pace, PowerSource, ReadError, Taken,
        sampler::{Cadence, Sampler},
    },
    runner::{Progress, RunnerError, last_stamp, missing_so_far},
    spool::{Spool, SpoolError},
};
use tokwatt_domain::{
    gap::{GapCause, Part},
    metrics::measure,
    power::{PowerSample, Provenance, Rail, Reading, Scope, Sensor},
    run::RunTrace,
    time::{Stamp, WallTime},
    units::Watts,
};
use tokwatt_proto::{Record, accounts, assemble};

use crate::{Bench, Outcome, records, requests, scripted::Reply};

/// Each time that it is read, it has so many new values of which none is like another: what no encoding makes small.
struct Gush {
    sensors: [Sensor; 1],
    last: Stamp,
    noise: u64,
}

const GUSH: u64 = 10_000;

/// The first question takes long enough for several of them.
fn answer(prompt: &str) -> Reply {
    match prompt {
        "q0" => Reply::Slowly(Duration::from_millis(300), 2),
        _ => Reply::Answer,
    }
}

impl PowerSource for Gush {
    fn sensors(&self) -> &[Sensor] {
        &self.sensors
    }

    fn pace(&self) -> Pace {
        Pace::Sampler
    }

    fn read(&mut self, clock: &dyn Clock, into: &mut Vec<Taken>) -> Result<(), ReadError> {
        let now = clock.now();
        let length = now.0 - self.last.0;
        for n in 1..=GUSH {
            // Splitmix, so that no two runs of the test differ.
            self.noise = self.noise.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.noise ^ (self.noise >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let sample = PowerSample {
                at: Stamp(self.last.0 + length * n / GUSH),
                // Steady to a thousandth, so that nobody waits for it to be.
                values: vec![(1 << 50) + i64::try_from(mixed >> 24).unwrap()],
            };
            into.push(Taken { sensor: 0, sample });
        }
        self.last = now;
        Ok(())
    }
}

fn gushing(bench: &Bench) -> Arc<Sampler> {
    let sensor = Sensor {
        source: "scripted".to_owned(),
        scope: Scope::Module,
        rails: vec![Rail {
            name: "VDD".to_owned(),
            quantum: Watts(0.0),
        }],
        reading: Reading::Power,
        refresh: None,
        averaging: Duration::ZERO,
        provenance: Provenance::Simulated,
        asked_interval: None,
        clock: None,
    };
    let clock = bench.runner.clock.clone();
    let gush = Gush {
        sensors: [sensor],
        last: clock.now(),
        noise: 1,
    };
    Arc::new(Sampler::start(vec![Box::new(gush)], Cadence::default(), clock).unwrap())
}

/// Nothing is missing in silence, and the collector comes to the same report.
#[track_caller]
fn check_declared(trace: &RunTrace, sent: &[Record], cause: GapCause) {
    let of_run = |record: &&Record| record.run() == Some(trace.header.run);
    let sent: Vec<Record> = sent.iter().filter(of_run).cloned().collect();
    for account in accounts(&sent) {
        assert!(account.is_balanced(), "{account:?}");
    }
    let assembled = assemble(sent).unwrap();
    assert_eq!(&assembled.trace, trace);
    assert_eq!(assembled.report, measure(trace));
    let gap = &trace.segments[0].gaps[0];
    assert_eq!((gap.part, gap.cause), (Part::Samples(0), cause));
    assert!(u64::from(gap.count) > GUSH, "{gap:?}");
    let flags = &assembled.report.flags;
    assert!(
        flags.iter().any(|flag| flag.id == "missing_samples"),
        "{flags:?}"
    );
}

#[tokio::test]
async fn a_segment_beyond_the_limit_is_kept_thinned_and_the_run_goes_on_later() {
    let mut bench = Bench::with_spool(100_000);
    bench.runner.sampler = Some(gushing(&bench));
    let outcome = bench.ask(700, answer).await;
    let Some(RunnerError::Shortened { given_up, because }) = &outcome.error else {
        panic!("{:?}", outcome.error);
    };
    assert!(given_up.contains("one a second is left"), "{given_up}");
    assert!(because.to_string().contains("bench --resume"), "{because}");
    assert!(outcome.is_unfinished);
    assert_eq!(bench.asked('q').len(), 500, "no new work is begun");
    assert!(missing_so_far(&bench.runner.spool).unwrap() > GUSH);

    // Later, with room.
    let spool = Spool::open(bench.folder.path(), WallTime(2), 1 << 30).unwrap();
    bench.runner.spool = Arc::new(spool);
    let last = last_stamp(&bench.runner.spool).unwrap().unwrap();
    bench.runner.clock = Arc::new(SystemClock::start_after(last));
    bench.runner.sampler = None;
    let outcome = bench.ask(700, answer).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    let trace = &outcome.traces[0];
    assert!(requests(trace).map(|request| request.index).eq(0..700));
    assert!(trace.segments[1].gaps.is_empty());
    check_declared(trace, &records(&bench.runner.spool), GapCause::Thinned);
}

#[tokio::test]
async fn the_last_segment_of_a_run_is_kept_thinned_and_its_result_whole() {
    let mut bench = Bench::with_spool(100_000);
    bench.runner.sampler = Some(gushing(&bench));
    let outcome = bench.ask(300, answer).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    check_declared(
        &outcome.traces[0],
        &records(&bench.runner.spool),
        GapCause::Thinned,
    );
}

/// Takes all of a disk but for so many bytes.
fn fill(folder: &Path, left: u64) {
    let mut filler = File::options()
        .create(true)
        .append(true)
        .open(folder.join("filler"))
        .unwrap();
    for block in [64 << 10, 4 << 10] {
        loop {
            match filler.write(&vec![1; block]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    let length = filler.metadata().unwrap().len();
    filler.set_len(length.saturating_sub(left)).unwrap();
}

/// A disk of its own, of 24 MiB, for the test of that name, which runs once more in a process that alone sees it.
fn on_a_small_disk(test: &str) -> Option<PathBuf> {
    if let Some(disk) = std::env::var_os("TOKWATT_SMALL_DISK") {
        return Some(disk.into());
    }
    let disk = tempfile::tempdir().unwrap();
    let within = "mount -t tmpfs -o size=24m none \"$TOKWATT_SMALL_DISK\" || exit 77; exec \"$0\" --exact \"$1\" --nocapture";
    let ended = Command::new("unshare")
        .args(["-rm", "sh", "-c", within])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env("TOKWATT_SMALL_DISK", disk.path())
        .output();
    match ended {
        Ok(ended) if ended.status.success() => {}
        Ok(ended) if !is_run(&ended.stdout) => skip(&String::from_utf8_lossy(&ended.stderr)),
        Ok(ended) => panic!(
            "{}{}",
            String::from_utf8_lossy(&ended.stdout),
            String::from_utf8_lossy(&ended.stderr)
        ),
        Err(error) => skip(&error.to_string()),
    }
    None
}

fn is_run(stdout: &[u8]) -> bool {
    String::from_utf8_lossy(stdout).contains("running 1 test")
}

fn skip(why: &str) {
    let mut stderr = std::io::stderr();
    writeln!(
        stderr,
        "SKIPPED: no disk of its own is to be had here: {}",
        why.trim()
    )
    .unwrap();
}

#[tokio::test]
async fn a_disk_that_fills_up_in_the_middle_of_a_segment_costs_samples_and_no_result() {
    let name =
        "shortage::a_disk_that_fills_up_in_the_middle_of_a_segment_costs_samples_and_no_result";
    let Some(disk) = on_a_small_disk(name) else {
        return;
    };
    let mut bench = Bench::in_folder(tempfile::tempdir_in(&disk).unwrap(), 1 << 26);
    bench.runner.sampler = Some(gushing(&bench));
    let full = OnceLock::new();
    let on = disk.clone();
    let group = bench.group(
        |_| Ok(()),
        move |prompt| {
            if prompt == "q0" {
                full.get_or_init(|| fill(&on, 120 << 10));
            }
            answer(prompt)
        },
    );
    // Once the segment is kept, nothing at all is left for the end of the run.
    let watch = |step: &Progress| {
        if let Progress::Requests { .. } = step {
            fill(&disk, 0);
        }
    };
    let outcome: Outcome = bench.run_watched(300, &[group], watch).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    let spool = bench.runner.spool.clone();
    let sent = records(&spool);
    check_declared(&outcome.traces[0], &sent, GapCause::Thinned);

    // No other run begins, and what is delivered is let go of.
    bench.runner.sampler = None;
    let refused = bench.ask(3, answer).await;
    let is_disk = matches!(
        refused.error,
        Some(RunnerError::Spool(SpoolError::DiskFull { .. }))
    );
    assert!(is_disk, "{:?}", refused.error);
    assert!(!spool.room().unwrap().is_enough);
    spool.acknowledge(spool.status().unwrap().last).unwrap();
    assert_eq!(spool.status().unwrap().waiting_records, 0);

    // It is opened as it is, and goes on when there is room.
    let again = Spool::open(bench.folder.path(), WallTime(2), 1 << 26).unwrap();
    assert_eq!(again.status().unwrap().last, spool.status().unwrap().last);
    fs::remove_file(disk.join("filler")).unwrap();
    let outcome = bench.ask(3, answer).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
}
