//! A shell script that prints like `tegrastats`, as the agent's child.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc, time::Duration};

use tokwatt_agent::{
    clock::{Clock, SystemClock},
    power::{
        sampler::{Cadence, Sampler},
        tegrastats::{Settings, Tegrastats},
    },
};
use tokwatt_domain::{
    device::DeviceKind,
    power::{Provenance, Scope},
    time::Stamp,
};

use crate::{eventually::eventually, guard::guard};

/// A folder with a script; `$1 $2` are `--interval` and its milliseconds.
struct Tool {
    folder: tempfile::TempDir,
}

impl Tool {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tool = Self { folder };
        fs::write(
            tool.path(),
            format!(
                "#!/bin/sh\ncd '{}'\n{script}\n",
                tool.folder.path().display()
            ),
        )
        .unwrap();
        fs::set_permissions(tool.path(), fs::Permissions::from_mode(0o755)).unwrap();
        tool
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("tegrastats")
    }

    fn settings(&self) -> Settings {
        Settings {
            program: self.path(),
            interval: Duration::from_millis(20),
            guard: guard(),
        }
    }

    fn open(&self, kind: DeviceKind) -> Result<Tegrastats, String> {
        let clock = SystemClock::start();
        let tool = Tegrastats::open(self.settings(), kind, Provenance::Measured, &clock);
        tool.map_err(|absent| absent.to_string())
    }

    fn sampler(&self, kind: DeviceKind) -> (Sampler, Arc<dyn Clock>) {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let source =
            Tegrastats::open(self.settings(), kind, Provenance::Measured, &*clock).unwrap();
        let sampler =
            Sampler::start(vec![Box::new(source)], Cadence::default(), clock.clone()).unwrap();
        (sampler, clock)
    }
}

const LOOP: &str = r#"
echo "$1 $2 $LC_ALL" > arguments
while :; do
  echo "05-09-2026 18:42:06 RAM 1/2MB (lfb 1x4MB) VDD_GPU_SOC 2412mW/1mW VDD_CPU_CV -398mW/1mW VIN_SYS_5V0 4707mW/1mW VDDQ_VDD2_1V8AO 9mW/1mW"
  sleep 0.02
done"#;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn first_figures_of_the_listed_rails_become_samples() {
    let tool = Tool::new(LOOP);
    let (sampler, clock) = tool.sampler(DeviceKind::AgxOrin);
    let later = clock.now().after(Duration::from_millis(100));
    assert!(sampler.wait_until_bracketed(later, PATIENCE).await);
    let traces = sampler.window(Stamp(0), clock.now());
    assert_eq!(traces.len(), 1);
    assert_eq!(traces[0].sensor.scope, Scope::Module);
    assert!(traces[0].samples.len() >= 3);
    assert!(
        traces[0]
            .samples
            .iter()
            .all(|sample| sample.values == [2_412_000, -398_000, 4_707_000])
    );
    let arguments = fs::read_to_string(tool.folder.path().join("arguments")).unwrap();
    assert_eq!(arguments.trim(), "--interval 20 C");
}

#[test]
fn a_tool_that_ends_is_started_again_and_its_last_words_are_kept() {
    let tool = Tool::new(
        r#"echo run >> runs
for n in 1 2 3; do echo "VDD_IN 4287mW/4286mW"; sleep 0.02; done
echo "i2c lost" >&2
exit 3"#,
    );
    let (sampler, _clock) = tool.sampler(DeviceKind::OrinNx);
    let runs = || {
        fs::read_to_string(tool.folder.path().join("runs"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    eventually("the third run", || runs() >= 3);
    let health = sampler.health().remove(0);
    assert!(health.failed >= 2 && !health.is_lost, "{health:?}");
    let last = health.last_error.unwrap();
    assert!(
        last.contains("exit status: 3") && last.contains("i2c lost"),
        "{last}"
    );
}

#[test]
fn an_unreadable_line_is_counted_and_the_next_one_read() {
    let tool = Tool::new(
        r#"echo "VDD_IN 1000mW/1mW"
while :; do echo "Segmentation of what"; sleep 0.02; echo "VDD_IN 2000mW/1mW"; sleep 0.02; done"#,
    );
    let (sampler, clock) = tool.sampler(DeviceKind::OrinNx);
    eventually("failures and samples", || {
        let health = sampler.health().remove(0);
        health.failed >= 2 && health.taken >= 2
    });
    let traces = sampler.window(Stamp(0), clock.now());
    assert!(
        traces[0]
            .samples
            .iter()
            .all(|sample| sample.values == [2_000_000])
    );
}

#[test]
fn lines_held_back_by_a_buffer_are_dropped_not_dated() {
    let tool = Tool::new(
        r#"echo "VDD_IN 1000mW/1mW"; sleep 0.3
while :; do printf 'VDD_IN 1mW/1mW\nVDD_IN 2mW/1mW\nVDD_IN 3mW/1mW\n'; sleep 0.1; done"#,
    );
    let (sampler, clock) = tool.sampler(DeviceKind::OrinNx);
    eventually("bursts", || sampler.health()[0].failed >= 3);
    let traces = sampler.window(Stamp(0), clock.now());
    // Of a start again.
    const FIRST: [i64; 1] = [1_000_000];
    assert!(
        traces[0]
            .samples
            .iter()
            .all(|sample| sample.values == [3000] || sample.values == FIRST),
        "{traces:?}"
    );
    assert!(
        sampler.health()[0]
            .last_error
            .as_ref()
            .unwrap()
            .contains("came late")
    );
}

/// `cut` keeps what it writes until it has 4096 bytes, as a C program does that writes into a pipe; `stdbuf` tells it otherwise, by
/// a variable.
#[test]
fn a_tool_that_always_holds_lines_back_is_started_again_without_a_buffer() {
    let tool = Tool::new(
        r#"echo "buffer $_STDBUF_O" >> runs
pad=$(printf '%0600d' 0)
while :; do echo "VDD_IN 1000mW/1mW PAD$pad 1mW/1mW"; sleep 0.02; done | cut -c1-640"#,
    );
    let (sampler, _clock) = tool.sampler(DeviceKind::OrinNx);
    let runs = || fs::read_to_string(tool.folder.path().join("runs")).unwrap_or_default();
    eventually("another start", || runs() == "buffer \nbuffer L\n");
    let before = sampler.health().remove(0);
    assert!(before.failed >= 3, "{before:?}");
    assert!(before.last_error.unwrap().contains("came late"));
    eventually("more samples", || {
        sampler.health()[0].taken >= before.taken + 5
    });
}

#[test]
fn a_line_without_end_is_counted_and_neither_its_tail_nor_its_head_is_read() {
    let tool = Tool::new(
        r#"echo "VDD_IN 1000mW/1mW"
{ yes "VDD_IN 9000mW/1mW" | head -n 100000 | tr '\n' ' '; echo; }
while :; do echo "VDD_IN 2000mW/1mW"; sleep 0.02; done"#,
    );
    let (sampler, clock) = tool.sampler(DeviceKind::OrinNx);
    eventually("samples", || sampler.health()[0].taken >= 3);
    let health = sampler.health().remove(0);
    assert_eq!(health.failed, 1, "{health:?}");
    assert!(health.last_error.unwrap().contains("without end"));
    let traces = sampler.window(Stamp(0), clock.now());
    assert!(
        traces[0]
            .samples
            .iter()
            .all(|sample| sample.values == [2_000_000])
    );
}

#[test]
fn a_tool_that_cannot_be_used_says_why() {
    let refusal = |script: &str, kind| Tool::new(script).open(kind).err().unwrap();
    let reason = refusal("echo 'no INA' >&2; exit 1", DeviceKind::Thor);
    assert!(
        reason.contains("no INA") && reason.contains("--tegrastats PATH"),
        "{reason}"
    );
    let reason = refusal(
        "while :; do echo 'RAM 1/2MB (lfb 1x4MB)'; sleep 0.1; done",
        DeviceKind::Nano,
    );
    assert!(
        reason.contains("POM_5V_IN") && reason.contains("prints no rails"),
        "{reason}"
    );
    let reason = refusal(LOOP, DeviceKind::Generic);
    assert!(
        reason.contains("not known") && reason.contains("VDD_CPU_CV"),
        "{reason}"
    );
}

#[test]
fn a_tool_that_is_not_installed_is_named() {
    let tool = Tool::new("");
    fs::remove_file(tool.path()).unwrap();
    let reason = tool.open(DeviceKind::Thor).err().unwrap();
    assert!(
        reason.contains("cannot start") && reason.contains("/tegrastats`"),
        "{reason}"
    );
}

#[tokio::test]
async fn dropping_the_sampler_ends_the_tool() {
    let tool = Tool::new(&format!("echo $$ > pid\n{LOOP}"));
    let (sampler, clock) = tool.sampler(DeviceKind::AgxOrin);
    assert!(sampler.wait_until_bracketed(clock.now(), PATIENCE).await);
    let pid = fs::read_to_string(tool.folder.path().join("pid")).unwrap();
    let process = PathBuf::from(format!("/proc/{}", pid.trim()));
    assert!(process.exists());
    drop(sampler);
    assert!(!process.exists());
}
