//! A long batch whose agent is killed again and again: every request once, one run, one report.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use tokwatt_harness::{CollectorProcess, agent};

use crate::{document, text};

/// `just resume` asks for more of both.
const REQUESTS: usize = 620;
const KILLS: usize = 4;

/// Requests of a full segment.
const SEGMENT: usize = 500;

/// A batch of one task, in a data folder of its own.
struct Batch {
    folder: tempfile::TempDir,
    suite: PathBuf,
    n_requests: usize,
}

/// What the spool says.
struct Progress {
    last: u64,
    kept: usize,
}

/// At which point of its life an agent is killed.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// While the model is being loaded.
    Loading,
    /// Just before the first question.
    Begun,
    /// When the engine has worked so many hundredths of a second, or after the next segment.
    Worked(u64),
    /// Just after a segment was committed.
    Committed,
}

impl Batch {
    fn new(n_requests: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let suite = folder.path().join("batch.toml");
        let text = format!(
            "name = \"batch-of-a-test\"\nversion = 1\ndescription = \"One short question.\"\nwarm_up = 1\n\
             [pictures]\ncount = {n_requests}\nseed = 0\nside_px = 96\n\
             [[task]]\nname = \"scene_context\"\nprompt = \"Where is this?\"\nscoring = \"scene_context\"\n"
        );
        fs::write(&suite, text).unwrap();
        Self {
            folder,
            suite,
            n_requests,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    fn bundle(&self) -> PathBuf {
        self.folder.path().join("bundle")
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = agent(&self.data());
        command
            .args([
                "bench", "--format", "json", "--power", "none", "--repeat", "1",
            ])
            .args(["--precision", "q8_0", "--max-tokens", "1", "--suite"])
            .arg(&self.suite)
            .arg("--out")
            .arg(self.bundle())
            .args(more);
        command
    }

    fn progress(&self) -> Progress {
        let status = agent(&self.data())
            .args(["spool", "status", "--format", "json"])
            .output()
            .unwrap();
        let status: Value = serde_json::from_str(&text(&status)).unwrap();
        let kept = status["bench"]["kept_requests"].as_u64().unwrap_or(0);
        Progress {
            last: status["last"].as_u64().unwrap(),
            kept: usize::try_from(kept).unwrap(),
        }
    }

    /// A life that ends with kill -9.
    fn live_until(&self, point: Point) {
        let before = self.progress();
        let mut child = self
            .command(&["--resume"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let process = child.id();
        let is_there = |now: &Progress| match point {
            // First the device describes itself, then a run begins or goes on.
            Point::Loading => now.last > before.last,
            Point::Begun => now.last > before.last + 1,
            Point::Worked(ticks) => now.kept > before.kept || engine_ticks(process) >= ticks,
            Point::Committed => now.kept > before.kept,
        };
        while !is_there(&self.progress()) {
            assert_eq!(child.try_wait().unwrap(), None, "{point:?}: it has ended");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Whether another segment may be committed without the batch coming to its end.
    fn has_more_than_a_segment(&self) -> bool {
        self.n_requests - self.progress().kept > SEGMENT
    }
}

/// CPU time of what the agent started, in hundredths of a second.
fn engine_ticks(agent: u32) -> u64 {
    let children = format!("/proc/{agent}/task/{agent}/children");
    let children = fs::read_to_string(children).unwrap_or_default();
    let ticks = children.split_whitespace().filter_map(|child| {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(11)?.parse::<u64>().ok()
    });
    ticks.sum()
}

/// The same points at every run of the test.
fn points() -> impl Iterator<Item = Point> {
    let mut state = 4_u64;
    std::iter::from_fn(move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let chance = state >> 33;
        Some(match chance % 5 {
            0 => Point::Loading,
            1 => Point::Begun,
            2 => Point::Committed,
            _ => Point::Worked(chance / 5 % 400),
        })
    })
}

fn asked_for(name: &str, default: usize) -> usize {
    env::var(name).map_or(default, |number| number.parse().unwrap())
}

/// Positions of all requests of the only trace of a bundle, in order.
fn indexes(bundle: &Path) -> Vec<u64> {
    let traces: Vec<PathBuf> = fs::read_dir(bundle.join("traces"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let [trace] = &traces[..] else {
        panic!("{traces:?}");
    };
    let trace: Value = serde_json::from_slice(&fs::read(trace).unwrap()).unwrap();
    let segments = trace["segments"].as_array().unwrap().iter();
    segments
        .flat_map(|segment| segment["requests"].as_array().unwrap())
        .map(|request| request["index"].as_u64().unwrap())
        .collect()
}

#[test]
fn a_batch_that_is_killed_again_and_again_asks_every_question_once() {
    let n_requests = asked_for("TOKWATT_BATCH_REQUESTS", REQUESTS);
    let n_kills = asked_for("TOKWATT_BATCH_KILLS", KILLS);
    let batch = Batch::new(n_requests);
    let collector = CollectorProcess::start(&batch.folder.path().join("collector")).unwrap();
    for point in points().take(n_kills) {
        let point = match point {
            Point::Worked(_) | Point::Committed if !batch.has_more_than_a_segment() => Point::Begun,
            point => point,
        };
        batch.live_until(point);
        // What the collector has is kept here all the same, until the run is finished.
        let delivery = agent(&batch.data())
            .args(["run", "--until-empty", "--collector", collector.url()])
            .output()
            .unwrap();
        text(&delivery);
    }

    let refused = batch.command(&[]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains("--resume") && said.contains("--abandon"),
        "{said}"
    );

    let more = ["--resume", "--collector", collector.url()];
    let bench = document(&batch.command(&more).output().unwrap());
    let [run] = &bench["runs"].as_array().unwrap()[..] else {
        panic!("not one run: {bench}");
    };
    assert_eq!(run["requests"]["issued"], n_requests);
    let flags = run["flags"].as_array().unwrap();
    assert!(
        flags.iter().any(|flag| flag["id"] == "resumed"),
        "{flags:?}"
    );
    let want: Vec<u64> = (0..n_requests as u64).collect();
    assert_eq!(indexes(&batch.bundle()), want);

    let listed = collector
        .ask(&["runs", "list", "--format", "json"])
        .unwrap();
    let listed: Value = serde_json::from_str(&text(&listed)).unwrap();
    let [admitted] = &listed["runs"].as_array().unwrap()[..] else {
        panic!("not one run: {listed}");
    };
    assert_eq!(admitted["state"], "complete", "{admitted}");
    assert_eq!(admitted["agrees"], true, "{admitted}");
    assert_eq!(admitted["n_requests"], n_requests);
    collector.stop().unwrap();
}

/// A machine that is switched off tells its processes to end first.
#[test]
fn a_bench_that_is_told_to_end_can_go_on_and_asked_for_otherwise_it_does_not() {
    let batch = Batch::new(200);
    let before = batch.progress();
    let child = batch
        .command(&[])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while batch.progress().last < before.last + 2 {}
    let told = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(told.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--resume goes on with it"), "{said}");

    let other = batch.command(&["--resume", "--quick"]).output();
    let said = String::from_utf8(other.unwrap().stderr).unwrap();
    assert!(said.contains("--quick was false, now true"), "{said}");

    let bench = document(&batch.command(&["--resume"]).output().unwrap());
    assert_eq!(bench["runs"][0]["requests"]["issued"], 200);

    // Nothing is left that could go on: the same command begins anew.
    fs::remove_dir_all(batch.bundle()).unwrap();
    let again = document(&batch.command(&["--resume"]).output().unwrap());
    assert_ne!(again["runs"][0]["run"], bench["runs"][0]["run"]);
}
