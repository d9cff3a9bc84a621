//! From `init` to an operator on another machine, by the commands that people type.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Stdio},
};

use tempfile::TempDir;

use crate::command_line::{command, refuses, run};

/// A collector with an identity, as a process.
struct Site {
    child: Child,
    data: String,
    url: String,
    enrol_url: String,
}

impl Site {
    fn start(data: &Path) -> Self {
        let data = data.to_str().unwrap().to_owned();
        says(&[
            "init",
            "--data",
            &data,
            "--site",
            "lab",
            "--address",
            "localhost",
        ]);
        let listen = ["--listen", "127.0.0.1:0", "--enrol-listen", "127.0.0.1:0"];
        let mut child = command(&[&["serve", "--data", &data], &listen[..]].concat())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut said = |beginning: &str| {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line.trim().strip_prefix(beginning).unwrap().to_owned()
        };
        let url = said("listening on ");
        let enrol_url = said("enrolling on ");
        assert!(url.starts_with("https://"), "{url}");
        Self {
            child,
            data,
            url,
            enrol_url,
        }
    }

    /// As whoever sits at the server.
    #[track_caller]
    fn here(&self, words: &[&str]) -> String {
        says(&[words, &["--data", &self.data]].concat())
    }

    /// Enrols somebody whose files are in `identity`.
    fn enrol(&self, role: &str, name: &str, identity: &str) -> String {
        let made = self.here(&["token", "create", "--role", role, "--name", name]);
        let token = made.lines().next().unwrap();
        let to = ["--collector", &self.enrol_url, "--token", token];
        says(&[&["enrol", "--identity", identity], &to[..]].concat())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// It ran, and said this on stdout.
#[track_caller]
fn says(arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_operator_elsewhere_does_what_one_at_the_server_does() {
    let folder = TempDir::new().unwrap();
    let site = Site::start(&folder.path().join("data"));
    let [anna, ben] = ["anna", "ben"].map(|name| folder.path().join(name));
    let [anna, ben] = [&anna, &ben].map(|path| path.to_str().unwrap());
    let enrolled = site.enrol("viewer", "anna", anna);
    assert!(
        enrolled.contains("viewer `anna` of site lab can now ask"),
        "{enrolled}"
    );
    site.enrol("operator", "ben", ben);
    let as_anna = ["--collector", &site.url, "--identity", anna];
    let as_ben = ["--collector", &site.url, "--identity", ben];

    let device = ["token", "create", "--role", "device", "--device", "orin-1"];
    let made = says(&[&device, &as_ben[..]].concat());
    assert!(
        made.contains("good once, for device `orin-1`, until 20"),
        "{made}"
    );
    let command = made.lines().last().unwrap().trim();
    assert!(
        command.starts_with("tokwatt-agent enrol --collector https://localhost:"),
        "{made}"
    );
    let tokens = site.here(&["token", "list"]);
    assert!(
        tokens.contains("used by viewer `anna`") && tokens.contains("operator `ben`"),
        "{tokens}"
    );
    refuses(
        &[&device, &as_anna[..]].concat(),
        &["viewer `anna` may not do that"],
    );
    let id = command.split('.').nth(1).unwrap();
    says(&[&["token", "revoke", id], &as_ben[..]].concat());
    assert!(site.here(&["token", "list"]).contains("revoked"));

    assert!(says(&[&["devices", "list"], &as_anna[..]].concat()).contains("no devices"));
    let revoke = [
        "devices", "revoke", "--role", "viewer", "anna", "--reason", "left",
    ];
    assert!(says(&[&revoke, &as_ben[..]].concat()).contains("certificates revoked: 1"));
    refuses(
        &[&["devices", "list"], &as_anna[..]].concat(),
        &[
            "viewer `anna` was revoked: left (by operator `ben`)",
            "--replace",
        ],
    );
    // Keys are for their owners' eyes.
    for file in fs::read_dir(ben).unwrap() {
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &file.unwrap().metadata().unwrap().permissions(),
        );
        assert_eq!(mode & 0o077, 0);
    }
}

#[test]
fn a_device_is_labelled_and_shown() {
    let folder = TempDir::new().unwrap();
    let server = crate::command_line::Server::start(folder.path());
    server.deliver("orin-1", 1, 1, 3);
    server.ask(&["devices", "label", "orin-1", "rack=b", "fan=noctua"]);
    server.ask(&["devices", "label", "orin-1", "--remove", "fan"]);
    let shown = server.ask(&["devices", "show", "orin-1"]);
    assert!(
        shown.contains("labels        rack=b\n") && shown.contains("certificate   none"),
        "{shown}"
    );
    let to = ["--collector", &server.url];
    refuses(
        &[&["devices", "label", "orin-2", "rack=b"], &to[..]].concat(),
        &["no device `orin-2`", "devices list"],
    );
    refuses(
        &[&["devices", "label", "orin-1", "rack=a/b"], &to[..]].concat(),
        &["`a/b`"],
    );
    refuses(
        &[&["devices", "show", "orin-2"], &to[..]].concat(),
        &["no device `orin-2`"],
    );
    refuses(
        &[&["token", "create", "--role", "device"], &to[..]].concat(),
        &["no identity", "tokwatt-collector init"],
    );
}

#[test]
fn an_identity_is_made_once() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let made = says(&[
        "init",
        "--data",
        data,
        "--site",
        "lab",
        "--address",
        "lab.example",
    ]);
    assert!(
        made.contains("site lab") && made.contains("lab.example") && made.contains("next: "),
        "{made}"
    );
    refuses(
        &["init", "--data", data],
        &["is there already", "every enrolled device goes by it"],
    );
    let other = folder.path().join("other");
    let other = other.to_str().unwrap();
    refuses(
        &["init", "--data", other, "--site", "The Lab"],
        &["--site", "`The Lab`"],
    );
    refuses(
        &["init", "--data", other, "--address", "lab:7413"],
        &["`lab:7413`", "without a port"],
    );
    assert!(!fs::exists(Path::new(other).join("identity")).unwrap());
}

#[test]
fn who_asks_at_the_wrong_door_is_told_which_is_right() {
    let folder = TempDir::new().unwrap();
    let site = Site::start(&folder.path().join("data"));
    let nobody = folder.path().join("nobody");
    let nobody = nobody.to_str().unwrap();
    refuses(
        &[
            "devices",
            "list",
            "--collector",
            &site.url,
            "--identity",
            nobody,
        ],
        &["tokwatt-collector enrol", "there is no identity in"],
    );
    let plain = site.url.replace("https://", "http://");
    refuses(
        &["devices", "list", "--collector", &plain],
        &["speaks TLS only", "https://"],
    );
    let enrol = ["enrol", "--identity", nobody, "--collector"];
    let token = format!("tw1.0123456789ab.{}.{}", "0".repeat(32), "0".repeat(64));
    refuses(
        &[&enrol[..], &[&site.enrol_url, "--token", &token]].concat(),
        &["another authority"],
    );
    refuses(
        &[&enrol[..], &[&site.enrol_url, "--token", "tw1.half"]].concat(),
        &["no token", "token create"],
    );
    refuses(
        &[&enrol[..], &["http://lab:7414", "--token", &token]].concat(),
        &["https://HOST:7414"],
    );
    refuses(
        &[
            "devices",
            "list",
            "--collector",
            "unix:/nowhere/collector.sock",
        ],
        &["unix:/nowhere/collector.sock", "tokwatt-collector serve"],
    );
}
