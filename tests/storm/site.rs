//! A collector with an identity, and devices that are enrolled with it.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;
use tokwatt_agent::{
    clock::{Clock, SystemClock},
    enrol::enrol,
    uplink::identity_folder,
};
use tokwatt_domain::ids::DeviceId;
use tokwatt_harness::{CollectorProcess, program, serve_at};
use tokwatt_proto::identity::Token;

use crate::{A_LONG_TIME, eventually};

/// Mutual TLS only.
pub(crate) struct Site {
    collector: Option<CollectorProcess>,
    address: SocketAddr,
    folder: TempDir,
}

impl Site {
    pub(crate) fn begin() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("collector");
        let init = Command::new(program("tokwatt-collector"))
            .args([
                "init",
                "--site",
                "storm",
                "--address",
                "localhost",
                "--data",
            ])
            .arg(&data)
            .output()
            .unwrap();
        assert!(init.status.success(), "{init:?}");
        let collector = CollectorProcess::start(&data).unwrap();
        Self {
            address: address_in(collector.url()),
            collector: Some(collector),
            folder,
        }
    }

    /// A device of that name; returns its data folder.
    pub(crate) async fn enrol(&self, device: &DeviceId) -> PathBuf {
        let token = self.token(device.as_str());
        let url = self.collector().enrol_url().unwrap().parse().unwrap();
        let now = SystemClock::start().wall();
        let credentials = enrol(&url, &token, device, now).await.unwrap();
        let data = self.folder.path().join(device.as_str());
        fs::create_dir_all(&data).unwrap();
        credentials.store(&identity_folder(&data)).unwrap();
        data
    }

    fn token(&self, device: &str) -> Token {
        let mut question = vec!["token", "create", "--role", "device", "--format", "json"];
        question.extend(["--device", device]);
        let answer = self.collector().ask(&question).unwrap();
        let said = String::from_utf8_lossy(&answer.stderr);
        assert!(answer.status.success(), "{said}");
        let token: Value = serde_json::from_slice(&answer.stdout).unwrap();
        token["token"].as_str().unwrap().parse().unwrap()
    }

    /// What every token tells of the authority's key.
    pub(crate) fn pin(&self) -> [u8; 32] {
        self.token("nobody").authority_sha256
    }

    pub(crate) fn enrol_address(&self) -> SocketAddr {
        address_in(self.collector().enrol_url().unwrap())
    }

    /// kill -9, and the service manager starts it again, at the same address.
    pub(crate) fn restart(&mut self) {
        self.collector.take().unwrap().kill().unwrap();
        let data = self.data();
        let address = self.address.to_string();
        // Until then a connection that is on its way may have the port.
        eventually("the collector has its port again", A_LONG_TIME, || {
            let serve = serve_at(&address, &data);
            self.collector = CollectorProcess::start_as(serve, &data).ok();
            self.collector.is_some()
        });
    }

    pub(crate) fn collector(&self) -> &CollectorProcess {
        self.collector.as_ref().unwrap()
    }

    pub(crate) fn stop(mut self) {
        self.collector.take().unwrap().stop().unwrap();
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("collector")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn memory(&self) -> Memory {
        Memory::of(self.collector().id())
    }
}

/// Of a process, in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) highest: u64,
}

impl Memory {
    fn of(process: u32) -> Self {
        let status =
            fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status"));
        let status = status.unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.unwrap().trim().strip_suffix(" kB").unwrap();
            number.parse().unwrap()
        };
        Self {
            resident: field("VmRSS:"),
            highest: field("VmHWM:"),
        }
    }
}

fn address_in(url: &str) -> SocketAddr {
    url.strip_prefix("https://").unwrap().parse().unwrap()
}
