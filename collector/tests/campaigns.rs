//! Campaigns over real gRPC, by agents that do as they are told, and by such as do not.

use std::{net::SocketAddr, time::Duration};

use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokwatt_domain::{
    campaign::{
        Campaign, CampaignView, CampaignsView, JobProgress, JobRef, JobSpec, JobState, Offer,
    },
    ids::{Name, RunId},
};
use tokwatt_proto::{
    Record,
    control::{self, CAMPAIGN, CAMPAIGN_FILE, JOB, OFFER, PROGRESS},
    v1::{
        self, JobEnd, campaigns_client::CampaignsClient, control_client::ControlClient,
        order::Kind as Order, report::Kind,
    },
};
use tonic::{Code, Status, Streaming, transport::Channel};

use crate::{
    agent::{Running, deliver, questions, records, runs, trace},
    command_line::{Server, refuses, run},
};

/// An agent's connection to Control.
struct Agent {
    reports: mpsc::Sender<v1::Report>,
    orders: Streaming<v1::Order>,
}

impl Agent {
    async fn attend(addr: SocketAddr, device: &str, in_hand: Option<JobRef>) -> Self {
        let attendance = v1::Attendance {
            device: device.to_owned(),
            agent_version: "0.1.0".to_owned(),
            offer: Some(control::write(OFFER, &offer())),
            in_hand: in_hand.map(Into::into),
        };
        let mut agent = Self::say(addr, Kind::Attendance(attendance)).await.unwrap();
        let welcome = agent.order().await.unwrap();
        assert_eq!(welcome, Order::Welcome(v1::Welcome { lease_ms: 30_000 }));
        agent
    }

    async fn say(addr: SocketAddr, first: Kind) -> Result<Self, Status> {
        let (reports, queue) = mpsc::channel(64);
        let report = |kind| v1::Report { kind: Some(kind) };
        reports.send(report(first)).await.unwrap();
        let client = ControlClient::connect(format!("http://{addr}")).await;
        let orders = client.unwrap().attend(ReceiverStream::new(queue)).await?;
        Ok(Self {
            reports,
            orders: orders.into_inner(),
        })
    }

    async fn tell(&self, kind: Kind) {
        let report = v1::Report { kind: Some(kind) };
        self.reports.send(report).await.unwrap();
    }

    async fn order(&mut self) -> Result<Order, Status> {
        let order = self.orders.message().await?;
        let order = order.ok_or_else(|| Status::cancelled("the stream has ended"))?;
        Ok(order.kind.unwrap())
    }

    /// The next order is a job.
    async fn job(&mut self) -> (JobRef, JobSpec) {
        let Order::Assignment(assignment) = self.order().await.unwrap() else {
            panic!("no job");
        };
        let job = control::job_ref(assignment.job, "job").unwrap();
        (job, control::read(JOB, assignment.spec, "spec").unwrap())
    }

    async fn end(&self, job: JobRef, end: JobEnd, runs: &[RunId]) {
        let ended = v1::JobEnded {
            job: Some(job.into()),
            end: end.into(),
            reason: "as the test says".to_owned(),
            runs: runs.iter().map(|run| run.0.to_vec()).collect(),
        };
        self.tell(Kind::Ended(ended)).await;
    }

    async fn progress(&self, job: JobRef, progress: &JobProgress) {
        let progress = v1::JobProgress {
            job: Some(job.into()),
            progress: Some(control::write(PROGRESS, progress)),
            quiet_ms: 0,
        };
        self.tell(Kind::Progress(progress)).await;
    }

    /// The next order settles this job so.
    async fn settled(&mut self, job: JobRef, counts: bool) {
        let order = self.order().await.unwrap();
        let job = Some(job.into());
        assert_eq!(order, Order::Settled(v1::Settled { job, counts }));
    }
}

fn offer() -> Offer {
    let name = |name: &str| Name::parse(name).unwrap();
    Offer {
        suites: vec![name("edge-vision"), name("batch")],
        models: [(name("smolvlm2"), vec![name("f16"), name("q8_0")])].into(),
        ..Offer::default()
    }
}

fn campaign(json: serde_json::Value) -> Campaign {
    serde_json::from_value(json).unwrap()
}

fn simple(name: &str) -> Campaign {
    campaign(serde_json::json!({ "name": name, "work": { "suite": "edge-vision" } }))
}

async fn client(addr: SocketAddr) -> CampaignsClient<Channel> {
    let client = CampaignsClient::connect(format!("http://{addr}"));
    client.await.unwrap()
}

async fn create(addr: SocketAddr, campaign: &Campaign) -> Result<CampaignView, Status> {
    let request = v1::CreateCampaignRequest {
        campaign: Some(control::write(CAMPAIGN_FILE, campaign)),
    };
    let answer = client(addr).await.create(request).await?;
    Ok(control::read(CAMPAIGN, Some(answer.into_inner()), "answer").unwrap())
}

async fn show(addr: SocketAddr, name: &str) -> CampaignView {
    let name = name.to_owned();
    let request = v1::ShowCampaignRequest { name };
    let answer = client(addr).await.show(request).await.unwrap();
    control::read(CAMPAIGN, Some(answer.into_inner()), "answer").unwrap()
}

/// Watches a campaign until `is_it`.
async fn until(
    addr: SocketAddr,
    name: &str,
    is_it: impl Fn(&CampaignView) -> bool,
) -> CampaignView {
    let name = name.to_owned();
    let request = v1::ShowCampaignRequest { name };
    let watching = client(addr).await.watch(request).await.unwrap();
    let mut documents = watching.into_inner();
    let mut latest = None;
    while let Some(document) = documents.message().await.unwrap() {
        let view: CampaignView = control::read(CAMPAIGN, Some(document), "view").unwrap();
        if is_it(&view) {
            return view;
        }
        latest = Some(view);
    }
    panic!("it never came to that: {latest:?}");
}

fn states(view: &CampaignView) -> Vec<(&str, JobState, u32)> {
    let state = |job: &'_ tokwatt_domain::campaign::JobView| (job.state, job.attempt);
    let jobs = view.jobs.iter();
    jobs.map(|job| (job.device.as_str(), state(job).0, state(job).1))
        .collect()
}

fn block_on<T>(task: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let task = async { tokio::time::timeout(PATIENCE, task).await };
    runtime.block_on(task).expect("nothing happens any more")
}

fn ids(numbers: &[u8]) -> Vec<RunId> {
    numbers.iter().map(|number| RunId([*number; 16])).collect()
}

#[test]
fn devices_do_their_jobs_and_are_watched_to_the_end() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    let addr = collector.addr;
    block_on(async {
        let mut orin = Agent::attend(addr, "orin-1", None).await;
        let mut thor = Agent::attend(addr, "thor-1", None).await;
        let asked = simple("first");
        let view = create(addr, &asked).await.unwrap();
        assert_eq!(view.campaign, asked);
        assert!(!view.is_over);
        let (job, spec) = orin.job().await;
        assert_eq!((spec.campaign, spec.work), (asked.name, asked.work));
        assert_eq!(job.attempt, 1);
        let (other, _) = thor.job().await;
        let progress = JobProgress {
            stage: "caption_brief".to_owned(),
            run: 1,
            runs: 6,
            output_tps: Some(23.5),
            ..JobProgress::default()
        };
        orin.progress(job, &progress).await;
        let view = until(addr, "first", |view| view.jobs[0].progress.is_some()).await;
        assert_eq!(view.jobs[0].progress.as_ref(), Some(&progress));
        assert!(view.jobs.iter().all(|job| job.is_attending));
        thor.end(other, JobEnd::Refused, &[]).await;
        thor.settled(other, false).await;
        orin.end(job, JobEnd::Done, &ids(&[1, 2])).await;
        orin.settled(job, true).await;
        let view = until(addr, "first", |view| view.is_over).await;
        assert_eq!(
            states(&view),
            [
                ("orin-1", JobState::Done, 1),
                ("thor-1", JobState::Refused, 1)
            ]
        );
        assert_eq!(view.jobs[0].runs, ids(&[1, 2]));
        assert_eq!(view.jobs[1].reason.as_deref(), Some("as the test says"));
    });
    collector.stop();
}

#[test]
fn a_device_does_one_job_at_a_time_in_the_order_of_creation() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    let addr = collector.addr;
    block_on(async {
        let mut agent = Agent::attend(addr, "orin-1", None).await;
        for name in ["z-first", "a-second"] {
            create(addr, &simple(name)).await.unwrap();
        }
        let (first, spec) = agent.job().await;
        assert_eq!(spec.campaign.as_str(), "z-first");
        let waiting = show(addr, "a-second").await;
        assert_eq!(
            waiting.jobs[0].reason.as_deref(),
            Some("its turn at the device has not come")
        );
        agent.end(first, JobEnd::Failed, &[]).await;
        agent.settled(first, false).await;
        let (_, spec) = agent.job().await;
        assert_eq!(spec.campaign.as_str(), "a-second");
        let paused = show(addr, "z-first").await;
        assert_eq!(states(&paused), [("orin-1", JobState::Waiting, 1)]);
        assert_eq!(
            paused.jobs[0].reason.as_deref(),
            Some("attempt 1 failed: as the test says; tried again 60 s later")
        );
    });
    collector.stop();
}

#[test]
fn a_newer_connection_goes_on_and_the_older_one_is_ended() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    let addr = collector.addr;
    block_on(async {
        let mut older = Agent::attend(addr, "orin-1", None).await;
        create(addr, &simple("first")).await.unwrap();
        let (job, _) = older.job().await;
        let mut newer = Agent::attend(addr, "orin-1", Some(job)).await;
        let status = older.order().await.unwrap_err();
        assert_eq!(status.code(), Code::Aborted, "{status}");
        newer.end(job, JobEnd::Done, &ids(&[1])).await;
        // It was not given the job anew, so this is the first that it hears.
        newer.settled(job, true).await;
        newer.end(job, JobEnd::Done, &ids(&[1])).await;
        newer.settled(job, true).await;
        let view = show(addr, "first").await;
        assert_eq!(states(&view), [("orin-1", JobState::Done, 1)]);
    });
    collector.stop();
}

#[test]
fn a_device_that_comes_back_without_its_job_is_given_it_anew_and_only_that_counts() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    let addr = collector.addr;
    block_on(async {
        let mut agent = Agent::attend(addr, "orin-1", None).await;
        create(addr, &simple("first")).await.unwrap();
        let (lost, _) = agent.job().await;
        let mut agent = Agent::attend(addr, "orin-1", None).await;
        let (job, _) = agent.job().await;
        assert_eq!((job.job, job.attempt), (lost.job, 2));
        agent.end(lost, JobEnd::Done, &ids(&[1])).await;
        agent.settled(lost, false).await;
        agent.progress(lost, &JobProgress::default()).await;
        agent.settled(lost, false).await;
        let view = show(addr, "first").await;
        assert_eq!(states(&view), [("orin-1", JobState::Leased, 2)]);
        assert_eq!(view.jobs[0].progress, None);
        agent.end(job, JobEnd::Done, &ids(&[2])).await;
        agent.settled(job, true).await;
        assert_eq!(show(addr, "first").await.jobs[0].runs, ids(&[2]));
    });
    collector.stop();
}

#[test]
fn a_collector_that_was_killed_lets_the_job_go_on() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    let job = block_on(async {
        let mut agent = Agent::attend(collector.addr, "orin-1", None).await;
        create(collector.addr, &simple("first")).await.unwrap();
        agent.job().await.0
    });
    collector.kill();
    for _ in 0..2 {
        let collector = Running::start(folder.path());
        block_on(async {
            let view = show(collector.addr, "first").await;
            assert_eq!(view.jobs[0].attempt, 1);
            let mut agent = Agent::attend(collector.addr, "orin-1", Some(job)).await;
            // The second time its end is known: the answer was lost with the collector.
            if view.jobs[0].state == JobState::Leased {
                agent.end(job, JobEnd::Done, &ids(&[1])).await;
            }
            agent.settled(job, true).await;
        });
        collector.kill();
    }
    let collector = Running::start(folder.path());
    let view = block_on(show(collector.addr, "first"));
    assert_eq!(states(&view), [("orin-1", JobState::Done, 1)]);
    assert_eq!(view.jobs[0].runs, ids(&[1]));
    collector.stop();
}

#[test]
fn what_is_cancelled_is_ended_at_once_or_by_its_device() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    let addr = collector.addr;
    block_on(async {
        drop(Agent::attend(addr, "away-1", None).await);
        let mut agent = Agent::attend(addr, "orin-1", None).await;
        create(addr, &simple("first")).await.unwrap();
        let (job, _) = agent.job().await;
        let cancel = v1::CancelCampaignRequest {
            name: "first".to_owned(),
        };
        let cancelled = client(addr).await.cancel(cancel).await.unwrap();
        let view: CampaignView =
            control::read(CAMPAIGN, Some(cancelled.into_inner()), "view").unwrap();
        assert_eq!(
            states(&view),
            [
                ("away-1", JobState::Cancelled, 0),
                ("orin-1", JobState::Leased, 1)
            ]
        );
        let told = v1::CancelJob {
            job: Some(job.into()),
        };
        assert_eq!(agent.order().await.unwrap(), Order::Cancel(told.clone()));
        // Told again to one that was away meanwhile.
        let mut agent = Agent::attend(addr, "orin-1", Some(job)).await;
        assert_eq!(agent.order().await.unwrap(), Order::Cancel(told));
        agent.end(job, JobEnd::Cancelled, &ids(&[1])).await;
        agent.settled(job, false).await;
        let view = until(addr, "first", |view| view.is_over).await;
        assert_eq!(states(&view)[1], ("orin-1", JobState::Cancelled, 1));
    });
    collector.stop();
}

#[test]
fn what_no_device_can_do_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    let addr = collector.addr;
    block_on(async {
        let status = create(addr, &simple("first")).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("no device matches"), "{status}");
        drop(Agent::attend(addr, "orin-1", None).await);
        for (work, words) in [
            (
                serde_json::json!({ "suite": "egde-vision" }),
                ["`orin-1`", "work.suite", "`edge-vision`?"],
            ),
            (
                serde_json::json!({ "suite": "batch", "models": ["smolvlm"] }),
                ["`orin-1`", "work.models", "`smolvlm2`?"],
            ),
            (
                serde_json::json!({ "suite": "batch", "models": ["smolvlm2"], "precisions": ["q8"] }),
                ["`orin-1`", "work.precisions", "`q8_0`?"],
            ),
        ] {
            let asked = campaign(serde_json::json!({ "name": "first", "work": work }));
            let status = create(addr, &asked).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            for word in words {
                assert!(
                    status.message().contains(word),
                    "`{word}` is not in: {status}"
                );
            }
        }
        create(addr, &simple("first")).await.unwrap();
        let status = create(addr, &simple("first")).await.unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists, "{status}");
        let name = "frist".to_owned();
        let request = v1::ShowCampaignRequest { name };
        let status = client(addr).await.show(request).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert!(status.message().contains("`first`?"), "{status}");
    });
    collector.stop();
}

#[test]
fn a_campaign_that_was_not_written_by_us_is_read_as_closely() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    block_on(async {
        for json in [
            r#"{"name":"c","work":{"suite":"edge-vision","command":"id"}}"#,
            r#"{"name":"c","work":{"suite":"/suites/a.toml"}}"#,
            r#"{"name":"c","work":{"suite":"edge-vision","models":["http://host/a"]}}"#,
            r#"{"name":"c","work":{"suite":"edge-vision","servers":["vllm serve a; id"]}}"#,
        ] {
            let document = v1::Document {
                schema: CAMPAIGN_FILE.to_owned(),
                json: json.into(),
            };
            let request = v1::CreateCampaignRequest {
                campaign: Some(document),
            };
            let status = client(collector.addr)
                .await
                .create(request)
                .await
                .unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{json}");
        }
    });
    collector.stop();
}

#[test]
fn an_agent_that_does_not_keep_to_the_protocol_is_told_so() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    let addr = collector.addr;
    let ended = v1::JobEnded::default();
    let nobody = v1::Attendance {
        device: "Not a name".to_owned(),
        ..v1::Attendance::default()
    };
    let silent = v1::Attendance {
        device: "orin-1".to_owned(),
        ..v1::Attendance::default()
    };
    block_on(async {
        for (first, code, word) in [
            (
                Kind::Ended(ended.clone()),
                Code::FailedPrecondition,
                "attendance",
            ),
            (
                Kind::Attendance(nobody),
                Code::InvalidArgument,
                "Not a name",
            ),
            (
                Kind::Attendance(silent.clone()),
                Code::InvalidArgument,
                "attendance.offer",
            ),
        ] {
            let Err(status) = Agent::say(addr, first).await else {
                panic!("it was let in: {word}");
            };
            assert_eq!(status.code(), code, "{status}");
            assert!(status.message().contains(word), "{status}");
        }
        for second in [Kind::Attendance(silent), Kind::Ended(ended)] {
            let mut agent = Agent::attend(addr, "orin-1", None).await;
            agent.tell(second).await;
            let status = agent.order().await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        }
    });
    collector.stop();
}

#[test]
fn what_does_not_count_is_kept_marked_and_on_no_board() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    let addr = collector.addr;
    block_on(async {
        let mut agent = Agent::attend(addr, "orin-1", None).await;
        create(addr, &simple("first")).await.unwrap();
        let (lost, _) = agent.job().await;
        let mut agent = Agent::attend(addr, "orin-1", None).await;
        let (job, _) = agent.job().await;
        let mut spool = Vec::new();
        for (number, lease, token_ms) in [(1, lost, 1), (2, job, 5), (3, job, 5), (4, job, 5)] {
            let mut trace = trace("orin-1", ids(&[number])[0], u32::from(number), token_ms);
            trace.header.job = Some(lease);
            spool.extend(records(&trace).iter().map(Record::encode));
        }
        deliver(addr, "orin-1", 1, &spool).await;
        agent.end(job, JobEnd::Done, &ids(&[2, 3, 4])).await;
        agent.settled(job, true).await;
        let list = runs(addr).await;
        let uncounted = |run: &&serde_json::Value| {
            let flags = run["flags"].as_array().unwrap();
            flags.contains(&"attempt_does_not_count".into())
        };
        let marked: Vec<_> = list["runs"]
            .as_array()
            .unwrap()
            .iter()
            .filter(uncounted)
            .collect();
        assert_eq!(marked.len(), 1, "{list}");
        assert_eq!(marked[0]["run"], ids(&[1])[0].to_string());
        assert_eq!(marked[0]["state"], "complete");
        let question = v1::RankRequest {
            metric: "decode_tps".to_owned(),
            ..v1::RankRequest::default()
        };
        let board = questions(addr)
            .await
            .rank(question)
            .await
            .unwrap()
            .into_inner();
        let board: serde_json::Value = serde_json::from_slice(&board.json).unwrap();
        assert_eq!(board["rows"][0]["n_runs"], 3, "{board}");
    });
    collector.stop();
}

#[test]
fn the_command_line_creates_watches_and_cancels() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let addr: SocketAddr = server.url.strip_prefix("http://").unwrap().parse().unwrap();
    let file = folder.path().join("campaign.toml");
    std::fs::write(
        &file,
        "name = 'first'\ndeadline = '1h'\n[work]\nsuite = 'edge-vision'",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut agent = runtime.block_on(Agent::attend(addr, "orin-1", None));
    let said = server.ask(&["campaign", "create", "-f", file]);
    assert!(
        said.contains("orin-1") && said.contains("campaign watch first"),
        "{said}"
    );
    let (job, _) = runtime.block_on(agent.job());
    refuses(
        &["campaign", "create", "-f", file, "--collector", &server.url],
        &["campaign `first` already"],
    );
    refuses(
        &["campaign", "show", "frist", "--collector", &server.url],
        &["no campaign `frist`", "`first`?"],
    );
    let list = server.ask(&["campaign", "list", "--format", "json"]);
    let list: CampaignsView = serde_json::from_str(&list).unwrap();
    assert_eq!(list.schema, "tokwatt.campaigns/1");
    assert_eq!(list.campaigns[0].n_jobs, [(JobState::Leased, 1)].into());
    runtime.block_on(async {
        agent.end(job, JobEnd::Done, &ids(&[1])).await;
        agent.settled(job, true).await;
    });
    let said = server.ask(&["campaign", "watch", "first"]);
    assert!(said.starts_with("orin-1: done, attempt 1/3"), "{said}");
    let shown = server.ask(&["campaign", "show", "first", "--format", "json"]);
    let shown: CampaignView = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (shown.schema.as_str(), shown.is_over),
        ("tokwatt.campaign/1", true)
    );
    runtime.block_on(create(addr, &simple("second"))).unwrap();
    let (job, _) = runtime.block_on(agent.job());
    let said = server.ask(&["campaign", "cancel", "second"]);
    assert!(said.contains("to be cancelled by the device"), "{said}");
    runtime.block_on(async {
        assert!(matches!(agent.order().await.unwrap(), Order::Cancel(_)));
        agent.end(job, JobEnd::Cancelled, &[]).await;
        agent.settled(job, false).await;
    });
    let watched = run(&["campaign", "watch", "second", "--collector", &server.url]);
    assert_eq!(watched.status.code(), Some(1), "not all is done");
    let said = server.ask(&["campaign", "list"]);
    assert!(
        said.contains("1 cancelled") && said.contains("1 done"),
        "{said}"
    );
}

#[test]
fn a_campaign_file_that_says_what_it_may_not_is_named_with_the_field() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("campaign.toml");
    for (text, words) in [
        (
            "name = 'c'\n[work]\nsuite = '/suites/a.toml'",
            ["suite", "`/suites/a.toml`"],
        ),
        (
            "name = 'c'\n[work]\nsuite = 'a'\ncommand = 'id'",
            ["line 4", "`command`"],
        ),
        (
            "name = 'c'\ndeadline = 'soon'\n[work]\nsuite = 'a'",
            ["`deadline`", "`soon`"],
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let arguments = [
            "campaign",
            "create",
            "-f",
            file,
            "--collector",
            "http://127.0.0.1:9",
        ];
        refuses(&arguments, &[file, words[0], words[1]]);
    }
    refuses(
        &["campaign", "create", "-f", "/nowhere/c.toml"],
        &["/nowhere/c.toml"],
    );
}

const PATIENCE: Duration = Duration::from_secs(120);
