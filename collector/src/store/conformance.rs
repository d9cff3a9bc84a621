//! What a store promises, on its public methods and a real file.

use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;
use tokwatt_domain::ids::{DeviceId, Epoch, RunId, Seq};

use super::{Admitted, CellRow, Content, Delivery, Measured, Received, State, Store, StoreError};

fn device() -> DeviceId {
    DeviceId::parse("lab-1").unwrap()
}

fn run(number: u8) -> RunId {
    RunId([number; 16])
}

fn opened(run: RunId) -> Content {
    Content::Opened {
        run,
        header: format!("\"{run}\""),
        started_us: 1,
    }
}

fn finished(run: RunId) -> Content {
    Content::Finished {
        run,
        report: "{}".to_owned(),
    }
}

/// A record whose bytes tell its position.
fn record(seq: u64, content: Content) -> Received {
    Received {
        seq: Seq(seq),
        bytes: format!("record {seq}").into_bytes(),
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
    assert!(store.runs().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_reused_sequence_number_is_noticed() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    store.admit(delivery(1, whole_run(run(1)))).await.unwrap();
    let mut other = record(2, Content::Part { run: run(2) });
    other.bytes = b"something else".to_vec();
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
        run: run(1),
        report: report.to_owned(),
        differs: vec!["metrics.ttft".to_owned()],
        cell: CellRow {
            key: [7; 32],
            device: "lab-1".to_owned(),
            name: "{}".to_owned(),
            rollup: rollup.to_owned(),
        },
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
async fn an_unreadable_run_is_out_of_the_way_with_its_reason() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    store.admit(delivery(1, whole_run(run(1)))).await.unwrap();
    store
        .put_unreadable(run(1), "segment 0 is missing".to_owned())
        .await
        .unwrap();
    assert!(store.unmeasured().await.unwrap().is_empty());
    let row = store.runs().await.unwrap().remove(0);
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
    assert_eq!(store.runs().await.unwrap().len(), 1);
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
        records[1].bytes = vec![0; 1 << 20];
        let error = store.admit(delivery(1, records.clone())).await.unwrap_err();
        assert!(matches!(error, StoreError::Full), "{error}");
        assert_eq!(store.runs().await.unwrap(), [], "reading goes on");
        store.write(size(u32::MAX - 1)).await.unwrap();
        assert_eq!(store.admit(delivery(1, records)).await.unwrap().stored, 4);
    });
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
            let runs = store.runs().await.unwrap();
            prop_assert_eq!(runs.len(), 10);
            for row in runs {
                prop_assert_eq!(store.records_of(row.run).await.unwrap().len(), 4);
            }
            prop_assert!(store.set_aside().await.unwrap().is_empty());
            Ok(())
        })?;
    }
}
