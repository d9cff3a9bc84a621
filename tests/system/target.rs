//! The agent for Jetson and GB10, built on another machine: it asks for no newer C library than theirs, and says byte for byte what
//! this machine's agent says.
//!
//! `tests/run` builds it and tells where it is. Without that these tests are skipped, aloud, and in CI they fail.

use std::{
    env,
    ffi::OsString,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tokwatt_harness::{leave_out, program};

/// The agent for aarch64 and what runs it here.
struct Target {
    agent: PathBuf,
    runner: Option<OsString>,
}

impl Target {
    /// The one that was built, or `None` and words why not.
    ///
    /// # Panics
    /// In CI, where nothing may be left out unseen.
    fn built() -> Option<Self> {
        let Some(agent) = env::var_os(AGENT) else {
            leave_out("no agent for aarch64 was built, see cross/README.md");
            return None;
        };
        Some(Self {
            agent: agent.into(),
            runner: env::var_os(RUNNER).filter(|runner| !runner.is_empty()),
        })
    }

    fn command(&self) -> Command {
        let Some(runner) = &self.runner else {
            return Command::new(&self.agent);
        };
        let mut command = Command::new(runner);
        command.arg(&self.agent);
        command
    }

    /// Fails unless both agents answer the same to `arguments` and `input`; returns how they ended.
    #[track_caller]
    fn agrees(&self, arguments: &[&str], input: &[u8]) -> Option<i32> {
        let here = answer(Command::new(program("tokwatt-agent")), arguments, input);
        let there = answer(self.command(), arguments, input);
        let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(words(&there.stdout), words(&here.stdout), "{arguments:?}");
        assert_eq!(words(&there.stderr), words(&here.stderr), "{arguments:?}");
        assert_eq!(there.status.code(), here.status.code(), "{arguments:?}");
        there.status.code()
    }
}

fn answer(mut command: Command, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = command
        .args(arguments)
        .env_remove("TOKWATT_COLLECTOR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Every input is smaller than a pipe; an agent that ends without reading has closed it.
    child.stdin.take().unwrap().write_all(input).ok();
    child.wait_with_output().unwrap()
}

#[test]
fn it_runs_with_the_c_library_of_the_oldest_jetpack() {
    let Some(target) = Target::built() else {
        return;
    };
    let binary = fs::read(&target.agent).unwrap();
    assert!(binary.starts_with(b"\x7fELF"));
    let mut wanted: Vec<(u32, u32)> = glibc_versions(&binary);
    wanted.sort_unstable();
    assert!(wanted.last() <= Some(&OLDEST_GLIBC), "{wanted:?}");
    assert!(!wanted.is_empty(), "not linked with the GNU C library");
}

#[test]
fn it_probes_every_recorded_device_as_this_machine_does() {
    let Some(target) = Target::built() else {
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    for folder in fs::read_dir(fixtures().join("host")).unwrap() {
        let folder = folder.unwrap().path();
        if folder.is_dir() {
            let root = folder.to_str().unwrap();
            for format in ["json", "table"] {
                let probe = [
                    "probe",
                    "--format",
                    format,
                    "--data",
                    data,
                    "--host-root",
                    root,
                ];
                assert_eq!(target.agrees(&probe, b""), Some(0), "{root}");
            }
        }
    }
}

#[test]
fn it_reads_every_line_of_the_corpus_as_this_machine_does() {
    let Some(target) = Target::built() else {
        return;
    };
    let corpus = fs::read_to_string(fixtures().join("power.jsonl")).unwrap();
    let mut n_read = 0;
    for line in corpus.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let kind = line["kind"].as_str().unwrap();
        let raw = line["raw"].as_str().unwrap();
        let code = target.agrees(&["decode", kind], raw.as_bytes());
        n_read += u32::from(code == Some(0));
    }
    // Agreeing on errors alone would be no agreement.
    assert!(n_read > 100, "{n_read} were read");
}

#[test]
fn it_draws_the_same_scenes() {
    let Some(target) = Target::built() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let draw = |mut command: Command, out: &Path| {
        let drawn = command
            .args(["suites", "draw", "--count", "8"])
            .arg(out)
            .output();
        assert!(drawn.unwrap().status.success());
    };
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    draw(Command::new(program("tokwatt-agent")), &here);
    draw(target.command(), &there);
    let mut n_files = 0;
    for file in fs::read_dir(&here).unwrap() {
        let name = file.unwrap().file_name();
        let same = fs::read(here.join(&name)).unwrap() == fs::read(there.join(&name)).unwrap();
        assert!(same, "{}", name.display());
        n_files += 1;
    }
    // The pictures, what is true of them, and the sheet.
    assert_eq!(n_files, 10);
}

/// A whole bench: sampler, runner, spool and arithmetic. Its time is virtual, so that slow emulation does no harm.
#[test]
fn it_measures_a_made_up_thor_as_this_machine_does() {
    let Some(target) = Target::built() else {
        return;
    };
    let measure = |mut command: Command| {
        let data = tempfile::tempdir().unwrap();
        let bench = "bench --simulate thor --limit 20 --repeat 1 --format json";
        let output = command
            .args(bench.split(' '))
            .arg("--data")
            .arg(data.path())
            .env_remove("TOKWATT_COLLECTOR")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let mut document: Value = serde_json::from_slice(&output.stdout).unwrap();
        forget(&mut document, &["run", "started"]);
        document
    };
    let here = measure(Command::new(program("tokwatt-agent")));
    assert_eq!(here["runs"].as_array().map(Vec::len), Some(5));
    let there = measure(target.command());
    let text = |document| serde_json::to_string_pretty(document).unwrap();
    let (here, there) = (text(&here), text(&there));
    // The first line that differs says more than two documents.
    let difference = here.lines().zip(there.lines()).find(|(a, b)| a != b);
    assert!(here == there, "{difference:?}");
}

/// Takes out of every object what is another one each time: a run's name and when it began.
fn forget(value: &mut Value, names: &[&str]) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !names.contains(&name.as_str()));
            fields.values_mut().for_each(|field| forget(field, names));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| forget(value, names)),
        _ => {}
    }
}

/// Versions that the program asks of the GNU C library, as its table of strings has them: `GLIBC_2.17`.
fn glibc_versions(binary: &[u8]) -> Vec<(u32, u32)> {
    let mark = b"GLIBC_";
    let ends = |byte: u8| !(byte.is_ascii_digit() || byte == b'.');
    binary
        .windows(mark.len())
        .enumerate()
        .filter(|(_, window)| window == mark)
        .filter_map(|(at, _)| {
            let rest = &binary[at + mark.len()..];
            let length = rest.iter().position(|byte| ends(*byte))?;
            let mut numbers = std::str::from_utf8(&rest[..length]).ok()?.split('.');
            Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
        })
        .collect()
}

#[test]
fn versions_of_the_c_library_are_found_wherever_they_stand() {
    let text = b"\0GLIBC_2.17\0x\0GLIBC_2.3.4\0GLIBC_PRIVATE\0";
    assert_eq!(glibc_versions(text), [(2, 17), (2, 3)]);
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// JetPack 5 is Ubuntu 20.04; all others have a newer one.
const OLDEST_GLIBC: (u32, u32) = (2, 31);

/// Where the agent for aarch64 is.
const AGENT: &str = "TOKWATT_AARCH64_AGENT";

/// What runs it; nothing where it runs by itself.
const RUNNER: &str = "TOKWATT_AARCH64_RUNNER";
