//! Deliveries over real gRPC: once, in order, whatever happens in between.

use prost::Message;
use tempfile::TempDir;
use tokwatt_collector::{
    rollup,
    store::{Content, Delivery, Opened, Received},
};
use tokwatt_domain::ids::{DeviceId, Epoch, RunId, Seq};
use tokwatt_proto::{Record, documents::RANK_SCHEMA, v1};
use tonic::Code;

use crate::agent::{
    Agent, Running, block_on, deliver, questions, records, runs, spool, store_in, trace,
};

fn states(runs: &serde_json::Value) -> Vec<&str> {
    let runs = runs["runs"].as_array().unwrap().iter();
    runs.map(|run| run["state"].as_str().unwrap()).collect()
}

#[test]
fn a_delivered_run_is_measured_and_agrees() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    block_on(async {
        deliver(collector.addr, "lab-1", 1, &spool("lab-1", 1, 1, 5)).await;
        let runs = runs(collector.addr).await;
        assert_eq!(states(&runs), ["complete"], "{runs}");
        assert_eq!(runs["runs"][0]["agrees"], true);
        assert_eq!(runs["runs"][0]["n_succeeded"], 20);
        let devices = v1::ListDevicesRequest {};
        let devices = questions(collector.addr)
            .await
            .list_devices(devices)
            .await
            .unwrap();
        let devices: serde_json::Value =
            serde_json::from_slice(&devices.into_inner().json).unwrap();
        assert_eq!(devices["devices"][0]["profile"]["kind"], "generic");
        assert_eq!(devices["devices"][0]["n_cells"], 1);
    });
    collector.stop();
}

#[test]
fn boards_keep_to_their_schema_and_are_the_same_bytes_every_time() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    block_on(async {
        deliver(collector.addr, "slow", 1, &spool("slow", 1, 3, 9)).await;
        deliver(collector.addr, "fast", 1, &spool("fast", 11, 3, 3)).await;
        let mut client = questions(collector.addr).await;
        let question = v1::RankRequest {
            metric: "decode_tps".to_owned(),
            ..v1::RankRequest::default()
        };
        let first = client.rank(question.clone()).await.unwrap().into_inner();
        let second = client.rank(question).await.unwrap().into_inner();
        assert_eq!(
            (&first.json, first.schema.as_str()),
            (&second.json, "tokwatt.rank/1")
        );
        let board: serde_json::Value = serde_json::from_slice(&first.json).unwrap();
        let schema = serde_json::from_str(RANK_SCHEMA).unwrap();
        jsonschema::validate(&schema, &board).unwrap();
        assert_eq!(board["rows"][0]["key"]["device"], "fast", "{board}");
        assert_eq!(
            (&board["rows"][0]["place"], &board["rows"][1]["place"]),
            (&1.into(), &2.into())
        );
    });
    collector.stop();
}

#[test]
fn what_was_acknowledged_survives_and_the_rest_comes_again() {
    let folder = TempDir::new().unwrap();
    let spool = spool("lab-1", 1, 3, 5);
    let n = u64::try_from(spool.len()).unwrap();
    for half in [4, spool.len() - 1] {
        let collector = Running::start(folder.path());
        block_on(async {
            let (mut agent, ack) = Agent::connect(collector.addr, "lab-1", 1).await.unwrap();
            let held = usize::try_from(ack.through).unwrap();
            agent.send(ack.through + 1, &spool[held..half]).await;
            agent.ack_through(u64::try_from(half).unwrap()).await;
        });
        collector.kill();
    }
    let collector = Running::start(folder.path());
    block_on(async {
        let (mut agent, ack) = Agent::connect(collector.addr, "lab-1", 1).await.unwrap();
        assert_eq!(ack.through, n - 1);
        // An agent whose acknowledgement was lost begins again at the start.
        agent.send(1, &spool).await;
        assert_eq!(agent.ack().await.unwrap().through, n);
        assert_eq!(states(&runs(collector.addr).await), ["complete"; 3]);
    });
    collector.stop();
}

#[test]
fn a_spool_that_is_delivered_twice_is_stored_once() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    let spool = spool("lab-1", 1, 2, 5);
    block_on(async {
        deliver(collector.addr, "lab-1", 1, &spool).await;
        let (mut agent, _) = Agent::connect(collector.addr, "lab-1", 1).await.unwrap();
        agent.send(1, &spool).await;
        agent.ack().await.unwrap();
        // And once more as if the spool had been copied to a new life.
        deliver(collector.addr, "lab-1", 2, &spool).await;
        let runs = runs(collector.addr).await;
        assert_eq!(states(&runs), ["complete"; 2]);
        assert_eq!(runs["notes"], serde_json::json!([]));
    });
    collector.stop();
    let store = store_in(folder.path());
    let per_run = (spool.len() - 1) / 2;
    for number in [1, 2] {
        let records = block_on(store.records_of(RunId([number; 16]))).unwrap();
        assert_eq!(records.len(), per_run);
    }
}

#[test]
fn a_gap_ends_the_stream_with_what_was_expected() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    block_on(async {
        let spool = spool("lab-1", 1, 1, 5);
        let (mut agent, _) = Agent::connect(collector.addr, "lab-1", 1).await.unwrap();
        agent.send(1, &spool[..1]).await;
        agent.ack().await.unwrap();
        agent.send(3, &spool[2..]).await;
        let status = agent.ack().await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(
            status
                .message()
                .contains("expected sequence number 2, got 3"),
            "{status}"
        );
    });
    collector.stop();
}

#[test]
fn a_poison_record_is_shown_and_what_follows_is_measured() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    block_on(async {
        let mut spool = spool("lab-1", 1, 2, 5);
        spool.insert(1, b"\xff\xff not a record".to_vec());
        deliver(collector.addr, "lab-1", 1, &spool).await;
        let runs = runs(collector.addr).await;
        assert_eq!(states(&runs), ["complete"; 2]);
        let note = runs["notes"][0].as_str().unwrap();
        assert!(
            note.contains("record 2 of epoch 1 of `lab-1` is kept and not used"),
            "{note}"
        );
    });
    collector.stop();
}

#[test]
fn a_run_with_a_hole_is_unreadable_and_says_which() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    block_on(async {
        let mut spool = spool("lab-1", 1, 2, 5);
        spool[2] = b"\xff\xff not a record".to_vec();
        deliver(collector.addr, "lab-1", 1, &spool).await;
        let runs = runs(collector.addr).await;
        assert_eq!(states(&runs), ["complete", "unreadable"], "{runs}");
        let problem = runs["runs"][1]["problem"].as_str().unwrap();
        assert!(problem.contains("missing"), "{problem}");
    });
    collector.stop();
}

#[test]
fn what_is_wrong_deep_inside_a_record_is_said_of_its_run() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    block_on(async {
        let mut spool = spool("lab-1", 1, 2, 5);
        let requests = v1::Requests {
            run: vec![1; 16],
            requests: vec![Vec::new()],
            ..v1::Requests::default()
        };
        let kind = Some(v1::record::Kind::Requests(requests));
        let record = v1::Record {
            kind,
            ..v1::Record::default()
        };
        spool[2] = record.encode_to_vec();
        deliver(collector.addr, "lab-1", 1, &spool).await;
        let runs = runs(collector.addr).await;
        assert_eq!(states(&runs), ["complete", "unreadable"], "{runs}");
        let problem = &runs["runs"][1]["problem"];
        assert_eq!(problem, "`record.requests.requests[0].outcome` is missing");
    });
    collector.stop();
}

#[test]
fn a_header_that_nobody_can_read_is_said_of_its_run_and_hides_no_other() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    block_on(async {
        let mut spool = spool("lab-1", 1, 2, 5);
        let mut record = v1::Record::decode(&*spool[1]).unwrap();
        let Some(v1::record::Kind::RunOpened(v1::RunOpened {
            header: Some(header),
        })) = &mut record.kind
        else {
            panic!("a run begins with its header");
        };
        let mut json: serde_json::Value = serde_json::from_slice(&header.json).unwrap();
        json["repetition"] = "the first".into();
        header.json = serde_json::to_vec(&json).unwrap();
        spool[1] = record.encode_to_vec();
        deliver(collector.addr, "lab-1", 1, &spool).await;
        let runs = runs(collector.addr).await;
        let mut states = states(&runs);
        states.sort_unstable();
        assert_eq!(states, ["complete", "unreadable"], "{runs}");
        let of_it = runs["runs"].as_array().unwrap().iter();
        let problem = of_it
            .filter_map(|run| run["problem"].as_str())
            .next()
            .unwrap();
        assert!(
            problem.contains("`record.run_opened.header`") && problem.contains("expected u32"),
            "{problem}"
        );
    });
    collector.stop();
}

#[test]
fn an_agents_report_that_is_not_ours_is_flagged_with_its_keys() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    block_on(async {
        let mut records = records(&trace("lab-1", RunId([1; 16]), 1, 5));
        if let Some(Record::RunFinished { report, .. }) = records.last_mut() {
            report.window_s += 1.0;
        }
        let spool: Vec<Vec<u8>> = records.iter().map(Record::encode).collect();
        deliver(collector.addr, "lab-1", 1, &spool).await;
        let request = v1::ShowRunRequest {
            run: "010101".to_owned(),
        };
        let run = questions(collector.addr)
            .await
            .show_run(request)
            .await
            .unwrap();
        let run: serde_json::Value = serde_json::from_slice(&run.into_inner().json).unwrap();
        assert_eq!(run["agrees"], false);
        assert_eq!(run["differs"], serde_json::json!(["window_s"]));
        assert_eq!(
            run["flags"].as_array().unwrap().last().unwrap(),
            "report_differs"
        );
    });
    collector.stop();
}

#[test]
fn what_a_crash_left_unmeasured_is_measured_at_the_start() {
    let folder = TempDir::new().unwrap();
    let device = DeviceId::parse("lab-1").unwrap();
    let epoch = Epoch(1);
    let run = RunId([1; 16]);
    block_on(async {
        let store = store_in(folder.path());
        store
            .greet(device.clone(), epoch, "0.1.0".to_owned())
            .await
            .unwrap();
        let records = records(&trace("lab-1", run, 1, 5));
        let received = records.iter().zip(1..).map(|(record, seq)| Received {
            seq: Seq(seq),
            bytes: record.encode().into(),
            content: content(record),
        });
        let delivery = Delivery {
            device,
            epoch,
            records: received.collect(),
        };
        assert_eq!(store.admit(delivery).await.unwrap().finished, 1);
    });
    let collector = Running::start(folder.path());
    let runs = block_on(runs(collector.addr));
    assert_eq!(states(&runs), ["complete"]);
    collector.stop();
}

fn content(record: &Record) -> Content {
    match record {
        Record::RunOpened(header) => Content::Opened(Opened {
            run: header.run,
            started_us: header.started.0,
            job: header.job,
        }),
        Record::RunFinished { run, .. } => Content::Finished { run: *run },
        other => Content::Part {
            run: other.run().unwrap(),
        },
    }
}

#[test]
fn cells_made_again_are_the_same_bytes() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    block_on(async {
        deliver(collector.addr, "slow", 1, &spool("slow", 1, 3, 9)).await;
        deliver(collector.addr, "fast", 1, &spool("fast", 11, 2, 3)).await;
        runs(collector.addr).await;
    });
    collector.stop();
    block_on(async {
        let store = store_in(folder.path());
        let kept = store.cells().await.unwrap();
        assert_eq!(kept.len(), 2);
        let rebuilt = rollup::rebuild(&store).await.unwrap();
        assert_eq!(rebuilt, kept);
        assert_eq!(store.cells().await.unwrap(), kept);
    });
}

#[test]
fn a_stopping_collector_says_so_and_does_not_wait_for_agents() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    let agents = tokio::runtime::Runtime::new().unwrap();
    let (mut agent, _) = agents
        .block_on(Agent::connect(collector.addr, "lab-1", 1))
        .unwrap();
    let waiting = agents.spawn(async move { agent.ack().await });
    collector.stop();
    let status = agents.block_on(waiting).unwrap().unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (
            Code::Unavailable,
            "the collector is stopping, connect again"
        )
    );
}

#[test]
fn an_agent_of_another_schema_is_told_at_the_door() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    block_on(async {
        let hello = v1::Hello {
            schema: 99,
            device: "lab-1".to_owned(),
            epoch: 1,
            agent_version: "9.0.0".to_owned(),
        };
        let status = Agent::say(collector.addr, hello).await.err().unwrap();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains("99"), "{status}");
    });
    collector.stop();
}

#[test]
fn an_agent_that_ignores_its_credits_is_cut_off() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    block_on(async {
        let (mut agent, ack) = Agent::connect(collector.addr, "lab-1", 1).await.unwrap();
        assert_eq!(ack.credits, tokwatt_proto::delivery::CREDITS);
        // As long as somebody else has the database, nothing is committed and nothing acknowledged.
        let other = rusqlite::Connection::open(folder.path().join("collector.sqlite")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        for seq in 1..=40 {
            agent.send(seq, &[vec![0; 300]]).await;
        }
        let status = loop {
            if let Err(status) = agent.ack().await {
                break status;
            }
        };
        other.execute_batch("ROLLBACK").unwrap();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    });
    collector.stop();
}
