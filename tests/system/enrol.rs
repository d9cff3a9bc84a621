//! A device of a site: enrolled with a token, delivering by its certificate, cut off when that is revoked; and its spool carried by hand.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tokwatt_harness::{agent, program};

use crate::{bench, document, text};

const SMALL: &[&str] = &[
    "--power",
    "none",
    "--limit",
    "2",
    "--repeat",
    "1",
    "--precision",
    "q8_0",
];

/// A collector that has an identity; killed when dropped.
struct Lab {
    data: PathBuf,
    serving: Option<Serving>,
}

struct Serving {
    child: Child,
    enrol_url: String,
}

impl Lab {
    fn start(data: &Path) -> Self {
        let lab = Self {
            data: data.to_owned(),
            serving: None,
        };
        text(&lab.run(&["init", "--site", "lab", "--address", "127.0.0.1"]));
        lab.go_on()
    }

    fn go_on(mut self) -> Self {
        let mut child = self
            .command(&["serve", "--listen", "127.0.0.1:0"])
            .args(["--enrol-listen", "127.0.0.1:0"])
            .env("TOKWATT_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let enrol_url = lines.find_map(|line| {
            let line = line.unwrap();
            line.strip_prefix("enrolling on ").map(str::to_owned)
        });
        self.serving = Some(Serving {
            child,
            enrol_url: enrol_url.unwrap(),
        });
        self
    }

    fn stop(&mut self) {
        let mut serving = self.serving.take().unwrap();
        let pid = serving.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(serving.child.wait().unwrap().success());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("tokwatt-collector"));
        command.args(arguments).arg("--data").arg(&self.data);
        command.env_remove("TOKWATT_COLLECTOR");
        command
    }

    /// What somebody on the server types.
    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--format", "json"]].concat());
        serde_json::from_str(&text(&output)).unwrap()
    }

    fn token(&self, more: &[&str]) -> String {
        let create = ["token", "create", "--role", "device"];
        let token = self.json(&[&create, more].concat());
        token["token"].as_str().unwrap().to_owned()
    }

    fn n_runs(&self) -> usize {
        let runs = self.json(&["runs", "list"]);
        runs["runs"].as_array().unwrap().len()
    }

    fn enrol(&self, data: &Path, token: &str, more: &[&str]) -> Output {
        let url = &self.serving.as_ref().unwrap().enrol_url;
        agent(data)
            .args(["enrol", "--collector", url, "--token", token])
            .args(more)
            .output()
            .unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(serving) = &mut self.serving {
            drop(serving.child.kill());
            drop(serving.child.wait());
        }
    }
}

/// What the agent has to say for itself.
fn ask(data: &Path, arguments: &[&str]) -> Output {
    agent(data).args(arguments).output().unwrap()
}

fn waiting(data: &Path) -> u64 {
    let status = ask(data, &["spool", "status", "--format", "json"]);
    let status: Value = serde_json::from_str(&text(&status)).unwrap();
    status["waiting_records"].as_u64().unwrap()
}

/// The bench is over, and what it measured is not delivered.
fn bench_alone(data: &Path) {
    document(&bench(data, SMALL));
    assert!(waiting(data) > 0);
}

fn check_named(data: &Path, name: &str) -> Value {
    let doctor = ask(data, &["doctor", "--format", "json"]);
    let checks: Vec<Value> = serde_json::from_slice(&doctor.stdout).unwrap();
    checks
        .into_iter()
        .find(|check| check["name"] == name)
        .unwrap()
}

#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
}

#[test]
fn a_device_delivers_by_its_certificate_until_that_is_revoked_and_again_when_it_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("agent");
    let lab = Lab::start(&folder.path().join("collector"));
    let token = lab.token(&["--device", "orin-1"]);
    let name = ["--name", "orin-1"];
    let said = text(&lab.enrol(&data, &token, &name));
    assert!(
        said.contains("device `orin-1` of site `lab`") && said.contains("tokwatt-agent run"),
        "{said}"
    );
    refused(
        &lab.enrol(&data, &token, &name),
        &["enrolled already", "--again"],
    );
    refused(
        &lab.enrol(&data, &token, &["--name", "orin-1", "--again"]),
        &["good only once"],
    );
    let identity = check_named(&data, "identity");
    assert_eq!(identity["state"], "ok", "{identity}");
    let found = identity["found"].as_str().unwrap();
    assert!(found.contains("`orin-1`") && found.contains("more days"));
    assert_eq!(check_named(&data, "collector")["state"], "ok");

    let measured = document(&bench(&data, SMALL));
    assert_eq!(measured["device"]["id"], "orin-1");
    assert_eq!((waiting(&data), lab.n_runs()), (0, 5));

    text(&lab.run(&["devices", "revoke", "orin-1", "--reason", "stolen"]));
    let output = ask(&data, &[&["bench"], SMALL].concat());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("not delivered") && said.contains("revoked"),
        "{said}"
    );
    assert!(waiting(&data) > 0);
    refused(
        &ask(
            &data,
            &[
                "enrol",
                "--collector",
                "http://127.0.0.1:7414",
                "--again",
                "--token",
                &token,
            ],
        ),
        &["https://"],
    );

    // A token that is cut off is said to be one, and what was typed of it is not repeated.
    let cut = &token[..token.len() - 1];
    let output = lab.enrol(&data, cut, &["--again"]);
    refused(&output, &["--token", "no token"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains(&cut[..20]));

    let token = lab.token(&["--device", "orin-1", "--replace"]);
    text(&lab.enrol(&data, &token, &["--again"]));
    text(&ask(&data, &["run", "--until-empty"]));
    assert_eq!((waiting(&data), lab.n_runs()), (0, 10));
}

#[test]
fn a_spool_is_carried_by_hand_and_the_receipt_is_an_acknowledgement() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("agent");
    let mut lab = Lab::start(&folder.path().join("collector"));
    let export = |name: &str| {
        let file = folder.path().join(name);
        let output = ask(&data, &["spool", "export", file.to_str().unwrap()]);
        (file, output)
    };
    bench_alone(&data);
    refused(&export("nobody.tokwatt").1, &["enrol first"]);
    text(&lab.enrol(&data, &lab.token(&[]), &[]));
    lab.stop();

    let (file, exported) = export("first.tokwatt");
    text(&exported);
    let receipt = file.with_added_extension("receipt");
    let (path, receipt_path) = (file.to_str().unwrap(), receipt.to_str().unwrap());
    let before = waiting(&data);
    refused(&export("first.tokwatt").1, &["there already"]);
    // Straight into the store, since nobody serves it.
    let import = lab.json(&["import", path]);
    assert_eq!(import["stored"], before, "{import}");
    assert_eq!(waiting(&data), before, "nothing is acknowledged yet");
    let whole = fs::read(&receipt).unwrap();
    let forged: Vec<u8> = whole.iter().rev().copied().collect();
    for (bytes, words) in [
        (&forged[..], ["no receipt", ".receipt"]),
        (
            &[&whole[..whole.len() - 1], b"x"].concat(),
            ["altered", "nothing is taken"],
        ),
    ] {
        fs::write(&receipt, bytes).unwrap();
        refused(&ask(&data, &["spool", "import", receipt_path]), &words);
        assert_eq!(waiting(&data), before);
    }
    fs::write(&receipt, whole).unwrap();
    text(&ask(&data, &["spool", "import", receipt_path]));
    assert_eq!(waiting(&data), 0);

    // The next by way of the collector that runs; what was altered on its way is refused.
    document(&bench(&data, SMALL));
    let (file, exported) = export("second.tokwatt");
    text(&exported);
    let path = file.to_str().unwrap();
    let lab = lab.go_on();
    let mut altered = fs::read(&file).unwrap();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    let altered_file = folder.path().join("altered.tokwatt");
    fs::write(&altered_file, altered).unwrap();
    refused(
        &lab.run(&["import", altered_file.to_str().unwrap()]),
        &["altered"],
    );
    assert_eq!(lab.n_runs(), 5);
    assert!(lab.json(&["import", path])["stored"].as_u64() > Some(0));
    assert_eq!(lab.json(&["import", path])["stored"], 0);
    assert_eq!(lab.n_runs(), 10);
    let receipt = file.with_added_extension("receipt");
    text(&ask(&data, &["spool", "import", receipt.to_str().unwrap()]));
    assert_eq!(waiting(&data), 0);

    // Of a device that is not one of the site any more.
    document(&bench(
        &data,
        &[SMALL, &["--collector", "http://127.0.0.1:9"]].concat(),
    ));
    let (file, exported) = export("third.tokwatt");
    text(&exported);
    let device = lab.json(&["devices", "list"])["devices"][0]["device"].clone();
    text(&lab.run(&["devices", "revoke", device.as_str().unwrap()]));
    refused(
        &lab.run(&["import", file.to_str().unwrap()]),
        &["was revoked"],
    );
    assert_eq!(lab.n_runs(), 10);
}

#[test]
fn what_waits_under_another_name_is_delivered_first_and_what_waits_under_the_same_comes_along() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("agent");
    let lab = Lab::start(&folder.path().join("collector"));
    bench_alone(&data);
    let token = lab.token(&[]);
    refused(
        &lab.enrol(&data, &token, &["--name", "somebody-else"]),
        &["records wait under the name", "enrol with --name", "--data"],
    );
    // The token was told to nobody, so it is good still.
    text(&lab.enrol(&data, &token, &[]));
    text(&ask(&data, &["run", "--until-empty"]));
    assert_eq!((waiting(&data), lab.n_runs()), (0, 5));
}

#[test]
fn a_spool_that_delivered_in_plain_text_goes_on_with_another_collector_by_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("agent");
    let plain = tokwatt_harness::CollectorProcess::start(&folder.path().join("plain")).unwrap();
    document(&bench(
        &data,
        &[SMALL, &["--collector", plain.url()]].concat(),
    ));
    assert_eq!(waiting(&data), 0);
    bench_alone(&data);
    let lab = Lab::start(&folder.path().join("collector"));
    text(&lab.enrol(&data, &lab.token(&[]), &[]));
    text(&ask(&data, &["run", "--until-empty"]));
    assert_eq!((waiting(&data), lab.n_runs()), (0, 5));
}
