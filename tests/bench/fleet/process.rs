//! The two servers, each a process of its own, and what a process has used.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, ensure};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokwatt_agent::{
    clock::{Clock, SystemClock},
    enrol::enrol,
};
use tokwatt_domain::ids::DeviceId;
use tokwatt_harness::{CollectorProcess, SampleRun, program};
use tokwatt_proto::identity::{Token, tls};

use super::{echo, load::Target};

/// What a process has used so far.
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) resident_kb: u64,
}

/// The bare server.
pub(crate) struct Echo {
    child: Child,
    address: std::net::SocketAddr,
    folder: PathBuf,
}

/// The real one.
pub(crate) struct Collector(CollectorProcess);

impl Usage {
    /// By the kernel's word.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, behind) = stat
            .rsplit_once(") ")
            .context("stat has a name in brackets")?;
        let fields: Vec<&str> = behind.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(Self {
            cpu: Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second()),
            resident_kb: resident.context("it has memory")?.parse()?,
        })
    }
}

impl Echo {
    pub(crate) fn start(folder: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("echo")
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(Self {
            address: line
                .trim()
                .parse()
                .context("the echo ended before it listened")?,
            child,
            folder: folder.to_owned(),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As many agents, all with one certificate.
    pub(crate) fn target(
        &self,
        n_agents: usize,
        sample: &Arc<SampleRun>,
    ) -> anyhow::Result<Target> {
        let config = Arc::new(echo::client(&self.folder)?);
        let agents = names(n_agents).map(|name| Ok((name?, config.clone())));
        Ok(Target {
            address: self.address,
            server: ServerName::try_from("localhost")?,
            agents: agents.collect::<anyhow::Result<_>>()?,
            sample: sample.clone(),
        })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // Both fail if it has ended by itself.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl Collector {
    pub(crate) fn start(folder: &Path) -> anyhow::Result<Self> {
        let data = folder.join("collector");
        let init = Command::new(program("tokwatt-collector"))
            .args([
                "init",
                "--site",
                "bench",
                "--address",
                "localhost",
                "--data",
            ])
            .arg(&data)
            .stdout(Stdio::null())
            .status()?;
        ensure!(init.success(), "init ended with {init}");
        Ok(Self(CollectorProcess::start(&data)?))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// As many agents, each with a token and a certificate of its own.
    pub(crate) async fn enrol(
        &self,
        n_agents: usize,
        sample: &Arc<SampleRun>,
    ) -> anyhow::Result<Target> {
        let url = self.0.enrol_url().context("it has an identity")?.parse()?;
        let mut agents = Vec::new();
        for name in names(n_agents) {
            let device = name?;
            let now = SystemClock::start().wall();
            let credentials = enrol(&url, &self.token(device.as_str())?, &device, now).await?;
            agents.push((device, Arc::new(tls::client(&credentials, now)?)));
        }
        let address = self
            .0
            .url()
            .strip_prefix("https://")
            .context("it speaks TLS")?;
        Ok(Target {
            address: address.parse()?,
            server: ServerName::try_from(tls::SERVER_NAME)?,
            agents,
            sample: sample.clone(),
        })
    }

    fn token(&self, device: &str) -> anyhow::Result<Token> {
        let mut question = vec!["token", "create", "--role", "device", "--format", "json"];
        question.extend(["--device", device]);
        let answer = self.0.ask(&question)?;
        let said = String::from_utf8_lossy(&answer.stderr);
        ensure!(answer.status.success(), "no token for {device}: {said}");
        let token: Value = serde_json::from_slice(&answer.stdout)?;
        Ok(token["token"].as_str().context("it is text")?.parse()?)
    }

    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.0.stop()
    }
}

/// `device-0001`, …
pub(crate) fn names(n: usize) -> impl Iterator<Item = anyhow::Result<DeviceId>> {
    (1..=n).map(|number| Ok(DeviceId::parse(&format!("device-{number:04}"))?))
}
