//! What a store promises, on its public methods and a real file.

use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;
use tokwatt_domain::{
    campaign::{Campaign, JobRef, JobState, Offer},
    ids::{DeviceId, Epoch, JobId, Name, RunId, Seq},
    time::WallTime,
};
use tokwatt_proto::identity::{Role, Subject};

use super::{
    Admitted, CellRow, Content, Delivery, Job, JobsOf, Labels, Measured, MeasuredRun,
    NewCertificate, NewToken, Opened, Place, RawSamples, Received, Redemption, Replacement, RunRow,
    StaleCell, State, Store, StoreError,
};

fn device() -> DeviceId {
    DeviceId::parse("lab-1").unwrap()
}

fn run(number: u8) -> RunId {
    RunId([number; 16])
}

fn opened(run: RunId) -> Content {
    Content::Opened(Opened {
        run,
        started_us: 1,
        job: None,
    })
}

fn finished(run: RunId) -> Content {
    Content::Finished { run }
}

async fn runs(store: &Store) -> Vec<RunRow> {
    store.latest_runs(None, 0, usize::MAX).await.unwrap()
}

/// A record whose bytes tell its position.
fn record(seq: u64, content: Content) -> Received {
    Received {
        seq: Seq(seq),
        bytes: format!("record {seq}").into(),
        content,
    }
}

fn delivery(epoch: u64, records: Vec<Received>) -> Delivery {
    Delivery {
        device: device(),
        epoch: Epoch(epoch),
        records,
    }
}

/// A run of four records at 1 to 4.
fn whole_run(id: RunId) -> Vec<Received> {
    vec![
        record(1, opened(id)),
        record(2, Content::Part { run: id }),
        record(3, Content::Part { run: id }),
        record(4, finished(id)),
    ]
}

async fn greet(store: &Store, epoch: u64) -> Seq {
    store
        .greet(device(), Epoch(epoch), "0.1.0".to_owned())
        .await
        .unwrap()
}

async fn open(folder: &Path) -> Store {
    let store = Store::open(folder).unwrap();
    greet(&store, 1).await;
    store
}

fn block_on<T>(task: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(task)
}

#[tokio::test]
async fn what_is_admitted_is_there_after_reopening() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let admitted = store.admit(delivery(1, whole_run(run(1)))).await.unwrap();
    assert_eq!(
        admitted,
        Admitted {
            through: Seq(4),
            stored: 4,
            held: 0,
            set_aside: Vec::new(),
            finished: 1
        }
    );
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(greet(&store, 1).await, Seq(4));
    assert_eq!(store.unmeasured().await.unwrap(), [run(1)]);
    let records = store.records_of(run(1)).await.unwrap();
    assert_eq!(records.len(), 4);
    assert_eq!(records[0], b"record 1");
}

#[tokio::test]
async fn without_a_thread_of_its_own_it_answers_the_same() {
    let folder = TempDir::new().unwrap();
    let store = Store::open_inline(folder.path()).unwrap();
    greet(&store, 1).await;
    greet(&store, 2).await;
    let gap = vec![record(3, finished(run(1)))];
    let (good, bad) = tokio::join!(
        store.admit(delivery(1, whole_run(run(1)))),
        store.admit(delivery(2, gap)),
    );
    assert_eq!(good.unwrap().stored, 4);
    assert!(matches!(bad, Err(StoreError::Gap { .. })));
    assert_eq!(store.records_of(run(1)).await.unwrap().len(), 4);
    drop(store);
    let store = open(folder.path()).await;
    assert_eq!(store.records_of(run(1)).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_delivery_that_comes_twice_is_stored_once() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let first = store.admit(delivery(1, whole_run(run(1)))).await.unwrap();
    let second = store.admit(delivery(1, whole_run(run(1)))).await.unwrap();
    assert_eq!((first.stored, second.stored), (4, 0));
    assert_eq!(second.through, Seq(4));
    assert_eq!(store.records_of(run(1)).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_gap_is_refused_with_what_was_expected() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let records = vec![record(1, opened(run(1))), record(3, finished(run(1)))];
    let error = store.admit(delivery(1, records)).await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Gap {
                expected: 2,
                got: 3,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(greet(&store, 1).await, Seq(0), "nothing of it is stored");
    assert!(runs(&store).await.is_empty());
}

#[tokio::test]
async fn a_reused_sequence_number_is_noticed() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    store.admit(delivery(1, whole_run(run(1)))).await.unwrap();
    let mut other = record(2, Content::Part { run: run(2) });
    other.bytes = Bytes::from_static(b"something else");
    let error = store.admit(delivery(1, vec![other])).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Altered { seq: 2, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_poison_record_is_kept_and_does_not_stand_in_the_way() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let mut records = vec![record(1, Content::Unusable("not a record".to_owned()))];
    for (mut record, seq) in whole_run(run(1)).into_iter().zip(2..) {
        record.seq = Seq(seq);
        records.push(record);
    }
    let admitted = store.admit(delivery(1, records)).await.unwrap();
    assert_eq!(admitted.through, Seq(5));
    assert_eq!(admitted.set_aside, [(Seq(1), "not a record".to_owned())]);
    assert_eq!(store.unmeasured().await.unwrap(), [run(1)]);
    let aside = store.set_aside().await.unwrap();
    assert_eq!(
        (aside[0].seq, aside[0].problem.as_str()),
        (1, "not a record")
    );
    assert_eq!(store.devices().await.unwrap()[0].n_set_aside, 1);
}

#[tokio::test]
async fn a_run_that_comes_again_in_a_later_epoch_is_stored_once() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    store.admit(delivery(1, whole_run(run(1)))).await.unwrap();
    greet(&store, 2).await;
    let again = store.admit(delivery(2, whole_run(run(1)))).await.unwrap();
    assert_eq!(
        (again.through, again.stored, again.finished),
        (Seq(4), 0, 0)
    );
    assert_eq!(store.records_of(run(1)).await.unwrap().len(), 4);
}

#[tokio::test]
async fn what_was_delivered_is_stored_or_held_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let mut whole = whole_run(run(1));
    whole.push(record(5, Content::Unusable("not a record".to_owned())));
    store.admit(delivery(1, whole[..2].to_vec())).await.unwrap();
    greet(&store, 2).await;
    let rest = store.admit(delivery(2, whole.clone())).await.unwrap();
    assert_eq!((rest.stored, rest.held), (3, 2));
    // What comes again on its own stream is neither.
    let again = store.admit(delivery(2, whole)).await.unwrap();
    assert_eq!((again.stored, again.held), (0, 0));
    let accounts = store.stream_accounts().await.unwrap();
    let columns = accounts.iter().map(|account| {
        assert!(account.is_balanced(), "{account:?}");
        (
            account.through,
            account.stored,
            account.held,
            account.declared,
        )
    });
    assert_eq!(columns.collect::<Vec<_>>(), [(2, 2, 0, 0), (5, 3, 2, 0)]);
}

#[tokio::test]
async fn bytes_that_gave_way_to_a_gap_are_recognised_when_they_come_again() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    store.admit(delivery(1, whole_run(run(1)))).await.unwrap();
    let place = Place {
        device: "lab-1".to_owned(),
        epoch: 1,
        seq: 2,
    };
    let replacement = Replacement {
        place,
        gap: b"a gap".to_vec(),
    };
    for _ in 0..2 {
        store
            .replace(run(1), vec![replacement.clone()], RawSamples::Gone)
            .await
            .unwrap();
    }
    assert_eq!(store.records_of(run(1)).await.unwrap()[1], b"a gap");
    store.admit(delivery(1, whole_run(run(1)))).await.unwrap();
    greet(&store, 2).await;
    let again = store.admit(delivery(2, whole_run(run(1)))).await.unwrap();
    assert_eq!((again.stored, again.held), (0, 4));
    let mut other = whole_run(run(1));
    other[1].bytes = Bytes::from_static(b"a gap");
    let error = store.admit(delivery(1, other)).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Altered { seq: 2, .. }),
        "{error}"
    );
    let accounts = store.stream_accounts().await.unwrap();
    assert_eq!((accounts[0].stored, accounts[0].declared), (3, 1));
    assert!(accounts.iter().all(super::StreamAccount::is_balanced));
}

#[tokio::test]
async fn a_database_is_looked_at_beside_the_collector_that_has_it() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    store.admit(delivery(1, whole_run(run(1)))).await.unwrap();
    let looked_at = Store::look_at(folder.path()).unwrap();
    assert_eq!(looked_at.records_of(run(1)).await.unwrap().len(), 4);
    let error = looked_at.measure_again().await.unwrap_err();
    assert!(matches!(error, StoreError::Stopped(_)), "{error}");
    drop(store);
    assert_eq!(looked_at.run_ids().await.unwrap(), [run(1)]);
}

#[tokio::test]
async fn a_run_may_go_on_in_a_later_epoch() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let whole = whole_run(run(1));
    store.admit(delivery(1, whole[..2].to_vec())).await.unwrap();
    greet(&store, 2).await;
    let rest = store.admit(delivery(2, whole)).await.unwrap();
    assert_eq!((rest.stored, rest.finished), (2, 1));
    assert_eq!(store.records_of(run(1)).await.unwrap().len(), 4);
}

#[tokio::test]
async fn what_comes_after_the_end_of_a_run_is_set_aside() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let mut records = whole_run(run(1));
    records.push(record(5, Content::Part { run: run(1) }));
    let admitted = store.admit(delivery(1, records)).await.unwrap();
    assert_eq!(
        admitted.set_aside,
        [(Seq(5), "its run is complete already".to_owned())]
    );
    assert_eq!(store.records_of(run(1)).await.unwrap().len(), 4);
}

#[tokio::test]
async fn another_devices_run_is_set_aside() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    store.admit(delivery(1, whole_run(run(1)))).await.unwrap();
    let thief = DeviceId::parse("lab-2").unwrap();
    let epoch = Epoch(1);
    store
        .greet(thief.clone(), epoch, "0.1.0".to_owned())
        .await
        .unwrap();
    let records = vec![record(1, Content::Part { run: run(1) })];
    let delivery = Delivery {
        device: thief,
        epoch,
        records,
    };
    let admitted = store.admit(delivery).await.unwrap();
    assert!(admitted.set_aside[0].1.contains("lab-1"), "{admitted:?}");
}

#[tokio::test]
async fn a_measured_run_is_measured_once() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    store.admit(delivery(1, whole_run(run(1)))).await.unwrap();
    let measured = |report: &str, rollup: &str| Measured {
        runs: vec![MeasuredRun {
            run: run(1),
            report: report.to_owned(),
            differs: vec!["metrics.ttft".to_owned()],
        }],
        cell: CellRow {
            key: [7; 32],
            device: "lab-1".to_owned(),
            name: "{}".to_owned(),
            rollup: rollup.to_owned(),
            ..CellRow::default()
        },
        at: WallTime(7),
    };
    store.put_measured(measured("1", "one")).await.unwrap();
    store.put_measured(measured("2", "two")).await.unwrap();
    assert!(store.unmeasured().await.unwrap().is_empty());
    let row = store.runs_named("0101".to_owned()).await.unwrap().remove(0);
    assert_eq!(
        (row.state, row.report.as_deref()),
        (State::Complete, Some("1"))
    );
    assert_eq!(row.differs, ["metrics.ttft"]);
    assert_eq!(store.cell_of(run(1)).await.unwrap().as_deref(), Some("one"));
}

#[tokio::test]
async fn runs_are_found_by_how_they_begin_or_end() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let minute = WallTime(1_790_000_000_000_000);
    let [one, other] = [0xa1, 0xa2].map(|byte| RunId::new(minute, [byte; 10]));
    for (epoch, run) in [(1, one), (2, other)] {
        greet(&store, epoch).await;
        store.admit(delivery(epoch, whole_run(run))).await.unwrap();
    }
    let named = async |part: &str| {
        let rows = store.runs_named(part.to_owned()).await.unwrap();
        rows.iter().map(|row| row.run).collect::<Vec<_>>()
    };
    assert_eq!(named(&one.to_string()[..12]).await, [one, other]);
    assert_eq!(named(&one.to_string()).await, [one]);

    assert_eq!(named("1a1a1a1").await, [one]);
    assert_eq!(named("a2a2a2a2").await, [other]);
    assert_eq!(named("a3a2a2a2").await, []);
}

#[tokio::test]
async fn an_unreadable_run_is_out_of_the_way_with_its_reason() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    store.admit(delivery(1, whole_run(run(1)))).await.unwrap();
    store
        .put_unreadable(run(1), "segment 0 is missing".to_owned())
        .await
        .unwrap();
    assert!(store.unmeasured().await.unwrap().is_empty());
    let row = runs(&store).await.remove(0);
    assert_eq!(row.state, State::Unreadable);
    assert_eq!(row.problem.as_deref(), Some("segment 0 is missing"));
}

#[tokio::test]
async fn tasks_that_fail_do_not_disturb_those_committed_with_them() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let good = store.admit(delivery(1, whole_run(run(1))));
    let bad = store.admit(delivery(1, vec![record(9, opened(run(2)))]));
    let (good, bad) = tokio::join!(good, bad);
    assert_eq!(good.unwrap().through, Seq(4));
    assert!(matches!(bad, Err(StoreError::Gap { .. })));
    assert_eq!(runs(&store).await.len(), 1);
}

#[tokio::test]
async fn two_collectors_do_not_share_a_folder() {
    let folder = TempDir::new().unwrap();
    let first = Store::open(folder.path()).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
    drop(first);
    assert!(Store::open(folder.path()).is_ok());
}

#[test]
fn a_file_that_is_no_database_is_said_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("collector.sqlite");
    let text = "this was written by hand ".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::NotADatabase { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_full_disk_is_said_and_forgotten_when_there_is_room() {
    block_on(async {
        let folder = TempDir::new().unwrap();
        let store = open(folder.path()).await;
        let size = |pages: u32| {
            move |connection: &rusqlite::Connection| {
                Ok(connection.pragma_update(None, "max_page_count", pages)?)
            }
        };
        store.write(size(1)).await.unwrap();
        let mut records = whole_run(run(1));
        records[1].bytes = vec![0; 1 << 20].into();
        let error = store.admit(delivery(1, records.clone())).await.unwrap_err();
        assert!(matches!(error, StoreError::Full), "{error}");
        assert_eq!(runs(&store).await, [], "reading goes on");
        store.write(size(u32::MAX - 1)).await.unwrap();
        assert_eq!(store.admit(delivery(1, records)).await.unwrap().stored, 4);
    });
}

#[test]
fn shared_memory_that_finds_no_room_is_a_full_disk_and_nothing_else_of_its_kind_is() {
    let error = |code| {
        StoreError::from(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(code),
            None,
        ))
    };
    let full = error(rusqlite::ffi::SQLITE_IOERR_SHMSIZE);
    assert!(matches!(full, StoreError::Full), "{full}");
    assert_eq!(full.breakage(), None);
    let broken = error(rusqlite::ffi::SQLITE_IOERR_FSYNC);
    assert!(broken.breakage().is_some());
    assert!(full.may_pass() && broken.may_pass());
}

#[test]
fn of_a_record_that_nobody_could_read_in_two_epochs_one_is_admitted_and_one_held() {
    block_on(async {
        let folder = TempDir::new().unwrap();
        let store = open(folder.path()).await;
        let unread = || record(1, Content::Unusable("too new".to_owned()));
        let readable = || record(1, opened(run(1)));
        for epoch in [1, 2] {
            store
                .greet(device(), Epoch(epoch), "0.1.0".to_owned())
                .await
                .unwrap();
            store.admit(delivery(epoch, vec![unread()])).await.unwrap();
        }
        assert!(store.readmit(delivery(1, vec![readable()])).await.unwrap());
        assert!(!store.readmit(delivery(2, vec![readable()])).await.unwrap());
        assert_eq!(store.stored_records_of(run(1)).await.unwrap().len(), 1);
        let accounts = store.stream_accounts().await.unwrap();
        let held: Vec<(i64, i64)> = accounts
            .iter()
            .map(|stream| (stream.stored, stream.held))
            .collect();
        assert_eq!(held, [(1, 0), (0, 1)]);
        assert!(accounts.iter().all(|stream| stream.is_balanced()));
    });
}

#[test]
fn records_of_a_run_that_is_not_there_are_damage() {
    block_on(async {
        let folder = TempDir::new().unwrap();
        let store = open(folder.path()).await;
        store.admit(delivery(1, whole_run(run(1)))).await.unwrap();
        assert_eq!(store.damages().await.unwrap(), [""; 0]);
        let forget =
            |connection: &rusqlite::Connection| Ok(connection.execute("DELETE FROM run", [])?);
        store.write(forget).await.unwrap();
        let damages = store.damages().await.unwrap();
        let problem = format!("4 records are of run {}, which is not there", run(1));
        assert_eq!(damages, [problem]);
    });
}

fn campaign(name: &str, deadline: Option<i64>) -> Campaign {
    let campaign = serde_json::json!({
        "name": name, "work": { "suite": "edge-vision" }, "deadline": deadline,
    });
    serde_json::from_value(campaign).unwrap()
}

/// A campaign whose one job is for `device()`.
async fn create(store: &Store, name: &str, job: u8) -> bool {
    let jobs = vec![(JobId([job; 16]), device())];
    let created = store.put_campaign(campaign(name, Some(100)), WallTime(7), jobs);
    created.await.unwrap()
}

async fn open_jobs(store: &Store) -> Vec<Job> {
    store.jobs(JobsOf::Device(device(), None)).await.unwrap()
}

/// Sets the state of the job that was given first, as its first attempt, with these runs.
async fn set(store: &Store, state: JobState, runs: &[u8]) {
    let runs: Vec<RunId> = runs.iter().copied().map(run).collect();
    let all = JobsOf::Campaign(Name::parse("one").unwrap());
    let set = store.change_jobs(all, move |jobs| {
        jobs[0].state = state;
        jobs[0].attempt = 1;
        jobs[0].runs.clone_from(&runs);
    });
    set.await.unwrap();
}

#[tokio::test]
async fn a_campaign_and_its_jobs_are_there_after_reopening() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert!(create(&store, "one", 1).await);
    assert!(!create(&store, "one", 2).await, "its name is taken");
    assert!(create(&store, "two", 2).await);
    set(&store, JobState::Leased, &[]).await;
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    let names: Vec<String> = store
        .campaigns()
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.asked.name.to_string())
        .collect();
    assert_eq!(names, ["two", "one"]);
    let row = store
        .campaign(Name::parse("one").unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (&*row.asked, row.created),
        (&campaign("one", Some(100)), WallTime(7))
    );
    assert_eq!(
        row.n_jobs.into_iter().collect::<Vec<_>>(),
        [(JobState::Leased, 1)]
    );
    let jobs = open_jobs(&store).await;
    let jobs: Vec<_> = jobs
        .iter()
        .map(|job| (job.id.0[0], job.state, job.attempt))
        .collect();
    assert_eq!(jobs, [(1, JobState::Leased, 1), (2, JobState::Waiting, 0)]);
    let upkeep = store.upkeep(WallTime(99)).await.unwrap();
    let lease = JobRef {
        job: JobId([1; 16]),
        attempt: 1,
    };
    assert_eq!(
        (upkeep.leased, upkeep.late),
        (vec![(device(), lease)], vec![])
    );
    let upkeep = store.upkeep(WallTime(100)).await.unwrap();
    assert_eq!(upkeep.late, [device()]);
}

#[tokio::test]
async fn two_jobs_in_one_hand_are_refused_whoever_decided_so() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path()).unwrap();
    create(&store, "one", 1).await;
    create(&store, "two", 2).await;
    set(&store, JobState::Leased, &[]).await;
    let both = store.change_jobs(JobsOf::Device(device(), None), |jobs| {
        jobs.iter_mut().for_each(|job| job.state = JobState::Leased);
    });
    assert!(matches!(both.await, Err(StoreError::Sqlite(_))));
    // One after the other is what is meant, whatever the order of their names.
    let next = store.change_jobs(JobsOf::Device(device(), None), |jobs| {
        jobs[0].state = JobState::Waiting;
        jobs[1].state = JobState::Lost;
    });
    next.await.unwrap();
    let back = store.change_jobs(JobsOf::Device(device(), None), |jobs| {
        jobs[0].state = JobState::Leased;
        jobs[1].state = JobState::Waiting;
    });
    back.await.unwrap();
    let states: Vec<_> = open_jobs(&store)
        .await
        .iter()
        .map(|job| job.state)
        .collect();
    assert_eq!(states, [JobState::Leased, JobState::Waiting]);
}

#[tokio::test]
async fn the_latest_offer_is_kept() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for suite in ["batch", "edge-vision"] {
        let offer = Offer {
            suites: vec![Name::parse(suite).unwrap()],
            ..Offer::default()
        };
        store
            .put_offer(device(), "0.1.0".to_owned(), offer)
            .await
            .unwrap();
    }
    let fleet = store.fleet().await.unwrap();
    let suites = &fleet[0].offer.as_ref().unwrap().suites;
    assert_eq!((fleet.len(), suites[0].as_str()), (1, "edge-vision"));
}

/// Enrols a device that has not said hello.
async fn enrol(store: &Store, device: &str) -> Subject {
    let subject = Subject {
        role: Role::Device,
        name: device.to_owned(),
    };
    let token = NewToken {
        id: device.to_owned(),
        secret_sha256: [1; 32],
        role: Role::Device,
        name: None,
        may_replace: false,
        created_us: 0,
        created_by: "a test".to_owned(),
        expires_us: 100,
    };
    store.put_token(token).await.unwrap();
    let redemption = Redemption {
        token: device.to_owned(),
        secret_sha256: [1; 32],
        certificate: NewCertificate {
            serial: device.as_bytes().to_vec(),
            subject: subject.clone(),
            key_sha256: [2; 32],
            issued_us: 1,
            not_after_us: 100,
        },
        version: "0.1.0".to_owned(),
    };
    store.redeem(redemption).await.unwrap().unwrap();
    subject
}

#[tokio::test]
async fn a_device_is_of_the_fleet_from_its_enrolment_to_its_revocation() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path()).unwrap();
    enrol(&store, "lab-1").await;
    let revoked = enrol(&store, "lab-2").await;
    let labels = Labels::from([("rack".to_owned(), "a".to_owned())]);
    let labelled = store.label(device(), labels.clone(), Vec::new());
    assert!(labelled.await.unwrap());
    let fleet = store.fleet().await.unwrap();
    let names: Vec<&str> = fleet.iter().map(|row| row.device.as_str()).collect();
    assert_eq!(names, ["lab-1", "lab-2"]);
    assert_eq!((&fleet[0].labels, &fleet[0].offer), (&labels, &None));
    let revoked = store.revoke(revoked, "stolen".to_owned(), 2);
    revoked.await.unwrap();
    assert_eq!(store.fleet().await.unwrap().len(), 1);
}

/// Delivers and measures a run of the first attempt of job 1, in a cell of its own.
async fn measure_for_job(store: &Store, first_seq: u64, id: RunId) {
    let job = Some(JobRef {
        job: JobId([1; 16]),
        attempt: 1,
    });
    let header = Content::Opened(Opened {
        run: id,
        started_us: 1,
        job,
    });
    let records = vec![
        record(first_seq, header),
        record(first_seq + 1, finished(id)),
    ];
    store.admit(delivery(1, records)).await.unwrap();
    let measured = Measured {
        runs: vec![MeasuredRun {
            run: id,
            report: format!("\"{id}\""),
            differs: Vec::new(),
        }],
        at: WallTime(0),
        cell: CellRow {
            key: id.0.repeat(2).try_into().unwrap(),
            device: "lab-1".to_owned(),
            name: "{}".to_owned(),
            rollup: "{}".to_owned(),
            ..CellRow::default()
        },
    };
    store.put_measured(measured).await.unwrap();
}

#[tokio::test]
async fn a_cell_that_may_have_a_run_twice_is_made_again() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    store.admit(delivery(1, whole_run(run(1)))).await.unwrap();
    greet(&store, 2).await;
    store.admit(delivery(2, whole_run(run(2)))).await.unwrap();
    let measured = |runs: &[u8]| Measured {
        runs: runs.iter().map(|number| report(run(*number))).collect(),
        cell: CellRow {
            key: [7; 32],
            device: "lab-1".to_owned(),
            name: "{}".to_owned(),
            rollup: format!("{runs:?}"),
            ..CellRow::default()
        },
        at: WallTime(7),
    };
    store.put_measured(measured(&[1])).await.unwrap();
    assert!(store.stale_cells().await.unwrap().is_empty());
    store.put_measured(measured(&[1, 2])).await.unwrap();
    assert_eq!(store.stale_cells().await.unwrap()[0].key, [7; 32]);
}

fn report(run: RunId) -> MeasuredRun {
    MeasuredRun {
        run,
        report: "{}".to_owned(),
        differs: Vec::new(),
    }
}

#[tokio::test]
async fn a_run_counts_by_what_its_job_came_to_in_whatever_order_both_arrive() {
    use JobState::{Cancelled, Done, Expired, Failed, Leased, Lost, Refused, Waiting};
    for is_run_first in [true, false] {
        for (state, named, want) in [
            (Leased, &[][..], &[1, 2][..]),
            (Lost, &[], &[1, 2]),
            (Done, &[2], &[2]),
            (Done, &[1, 2], &[1, 2]),
            (Waiting, &[], &[]),
            (Refused, &[], &[]),
            (Failed, &[], &[]),
            (Cancelled, &[], &[]),
            (Expired, &[], &[]),
        ] {
            let folder = TempDir::new().unwrap();
            let store = open(folder.path()).await;
            create(&store, "one", 1).await;
            if !is_run_first {
                set(&store, state, named).await;
            }
            measure_for_job(&store, 1, run(1)).await;
            measure_for_job(&store, 3, run(2)).await;
            if is_run_first {
                set(&store, state, named).await;
            }
            let reports = store.reports().await.unwrap();
            let reports: Vec<String> = reports.into_iter().map(|row| row.report).collect();
            let wanted: Vec<String> = want.iter().map(|n| format!("\"{}\"", run(*n))).collect();
            assert_eq!(reports, wanted, "{state}, run first: {is_run_first}");
            for row in runs(&store).await {
                assert_eq!(row.counts, want.contains(&row.run.0[0]), "{state}");
                let of_cell = store.reports_of_cell(row.run.0.repeat(2).try_into().unwrap());
                assert_eq!(of_cell.await.unwrap().len(), usize::from(row.counts));
            }
        }
    }
}

#[tokio::test]
async fn a_job_that_is_not_known_says_nothing_about_a_run() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    measure_for_job(&store, 1, run(1)).await;
    assert_eq!(store.reports().await.unwrap().len(), 1);
    assert!(runs(&store).await[0].counts);
}

#[tokio::test]
async fn a_cell_is_stale_until_it_is_made_after_the_last_change() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    create(&store, "one", 1).await;
    set(&store, JobState::Leased, &[]).await;
    measure_for_job(&store, 1, run(1)).await;
    let stale = store.stale_cells().await.unwrap();
    let key = [1; 32];
    assert_eq!(stale, [StaleCell { key, n_changes: 1 }]);
    set(&store, JobState::Failed, &[]).await;
    store.refresh_cell(stale[0], None).await.unwrap();
    let stale = store.stale_cells().await.unwrap();
    assert_eq!(
        stale,
        [StaleCell { key, n_changes: 2 }],
        "it changed meanwhile"
    );
    store.refresh_cell(stale[0], None).await.unwrap();
    assert_eq!(store.stale_cells().await.unwrap(), []);
    assert_eq!(store.cells().await.unwrap(), []);
}

/// A cell with the figures of one metric, which all say `value`.
fn indexed(key: u8, metrics: &[&str], value: u8) -> CellRow {
    let figures = metrics
        .iter()
        .map(|metric| ((*metric).to_owned(), vec![value; 8]));
    CellRow {
        key: [key; 32],
        device: "lab-1".to_owned(),
        name: format!("\"cell {key}\""),
        rollup: "{}".to_owned(),
        runs: vec![value],
        figures: figures.collect(),
    }
}

/// What the index says of a metric in cells: position and first byte.
async fn figures(store: &Store, metric: &'static str, cells: &'static [i64]) -> Vec<(usize, u8)> {
    let read = store.ask_index(move |index| {
        let mut read = Vec::new();
        index
            .figures(metric, cells, &mut |position, bytes| {
                read.push((position, bytes[0]));
            })
            .unwrap();
        read
    });
    read.await.unwrap()
}

/// Who changed after a revision: number, revision, whether it is there, its runs.
async fn changed(store: &Store, after: i64) -> Vec<(i64, i64, bool, Vec<u8>)> {
    let rows = store.ask_index(move |index| index.changed_after(after).unwrap());
    let rows = rows.await.unwrap().into_iter();
    rows.map(|row| (row.number, row.revision, row.name.is_some(), row.runs))
        .collect()
}

#[tokio::test]
async fn whoever_follows_the_index_hears_of_every_change_of_a_cell() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let cells = vec![
        indexed(1, &["energy@module", "ttft"], 1),
        indexed(2, &["ttft"], 2),
    ];
    store.replace_cells(cells.clone()).await.unwrap();
    assert_eq!(store.cells().await.unwrap(), cells);
    assert_eq!(
        changed(&store, 0).await,
        [(1, 1, true, vec![1]), (2, 2, true, vec![2])]
    );
    let stale = |key| StaleCell {
        key: [key; 32],
        n_changes: 1,
    };
    let without_energy = indexed(1, &["ttft"], 3);
    store
        .refresh_cell(stale(1), Some(without_energy.clone()))
        .await
        .unwrap();
    store.refresh_cell(stale(2), None).await.unwrap();
    assert_eq!(
        changed(&store, 2).await,
        [(1, 3, true, vec![3]), (2, 4, false, vec![])]
    );
    assert_eq!(figures(&store, "energy@module", &[1, 2]).await, []);
    assert_eq!(figures(&store, "ttft", &[1, 2]).await, [(0, 3)]);
    assert_eq!(store.cells().await.unwrap(), [without_energy]);
    // Nothing is indexed of a cell that never was.
    store.refresh_cell(stale(9), None).await.unwrap();
    assert_eq!(changed(&store, 4).await, []);
    // A cell keeps its place, whatever became of it.
    store.replace_cells(cells.clone()).await.unwrap();
    assert_eq!(store.cells().await.unwrap(), cells);
    let numbers: Vec<i64> = changed(&store, 4).await.iter().map(|row| row.0).collect();
    assert_eq!(numbers, [1, 2]);
}

#[tokio::test]
async fn figures_are_the_same_whether_few_or_many_cells_are_asked_for() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let cell = |key: u8| {
        let metrics: &[&str] = if key.is_multiple_of(3) {
            &["tpot"]
        } else {
            &["tpot", "ttft"]
        };
        indexed(key, metrics, key)
    };
    store
        .replace_cells((1..=200).map(cell).collect())
        .await
        .unwrap();
    assert_eq!(figures(&store, "ttft", &[]).await, []);
    assert_eq!(
        figures(&store, "ttft", &[2, 3, 4, 7]).await,
        [(0, 2), (2, 4), (3, 7)]
    );
    assert_eq!(
        figures(&store, "ttft", &[2, 3, 200, 201]).await,
        [(0, 2), (2, 200)]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// However a spool is cut into deliveries, and however often it starts again from the beginning: each record is stored once.
    #[test]
    fn a_spool_that_is_replayed_is_stored_once(
        starts in prop::collection::vec((0_u64..40, 1_u64..40), 1..12)
    ) {
        block_on(async {
            let folder = TempDir::new().unwrap();
            let store = open(folder.path()).await;
            let spool = |seq: u64| match seq % 4 {
                1 => record(seq, opened(run(u8::try_from(seq).unwrap()))),
                0 => record(seq, finished(run(u8::try_from(seq - 3).unwrap()))),
                _ => record(seq, Content::Part { run: run(u8::try_from(seq - (seq - 1) % 4).unwrap()) }),
            };
            let mut through = 0;
            for (back, length) in starts.into_iter().chain([(40, 40), (40, 40)]) {
                let first = through + 1 - back.min(through);
                let last = (first + length - 1).min(40);
                let records = (first..=last).map(spool).collect();
                let admitted = store.admit(delivery(1, records)).await.unwrap();
                prop_assert_eq!(admitted.through.0, through.max(last));
                through = admitted.through.0;
            }
            prop_assert_eq!(through, 40);
            let runs = runs(&store).await;
            prop_assert_eq!(runs.len(), 10);
            for row in runs {
                prop_assert_eq!(store.records_of(row.run).await.unwrap().len(), 4);
            }
            prop_assert!(store.set_aside().await.unwrap().is_empty());
            Ok(())
        })?;
    }
}
