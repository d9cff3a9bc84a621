//! A collector with simulated results that agents delivered, and a browser that was let in.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

use tempfile::TempDir;
use tokwatt_harness::{Browser, CollectorProcess, agent};

/// A site of its own.
pub(crate) struct Lab {
    pub(crate) collector: CollectorProcess,
    pub(crate) browser: Browser,
    folder: TempDir,
}

impl Lab {
    /// With results of three machines; `None` where there is no browser.
    pub(crate) fn open() -> Option<Self> {
        let browser = crate::browser()?;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("collector");
        copy(&MEASURED, &data).unwrap();
        Some(Self::let_in(browser, folder, &data))
    }

    /// With nothing yet.
    pub(crate) fn open_empty() -> Option<Self> {
        let browser = crate::browser()?;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("collector");
        Some(Self::let_in(browser, folder, &data))
    }

    fn let_in(browser: Browser, folder: TempDir, data: &Path) -> Self {
        let collector = CollectorProcess::start_watched(data, "127.0.0.1:0").unwrap();
        let lab = Self {
            collector,
            browser,
            folder,
        };
        lab.browser.open(&lab.link()).unwrap();
        lab
    }

    /// What `dashboard` prints.
    pub(crate) fn link(&self) -> String {
        let printed = self.collector.ask(&["dashboard", "--no-open"]).unwrap();
        assert!(printed.status.success(), "{printed:?}");
        let printed = String::from_utf8(printed.stdout).unwrap();
        printed.lines().next().unwrap().to_owned()
    }

    pub(crate) fn go(&self, path: &str) {
        let http = self.collector.http().unwrap();
        self.browser.open(&format!("http://{http}{path}")).unwrap();
    }

    /// An agent's folder of its own.
    pub(crate) fn agent(&self, name: &str) -> Command {
        let mut agent = agent(&self.folder.path().join(name));
        agent.stdout(Stdio::null()).stderr(Stdio::null());
        agent
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Waits until something can be read in the content of the page.
    pub(crate) fn reads(&self, text: &str) {
        self.browser
            .wait(&format!("the page says `{text}`"), |browser| {
                Ok(browser.text_at("main")?.contains(text))
            });
    }

    /// The id of some run, whole.
    pub(crate) fn run(&self) -> String {
        self.go("/runs");
        let link = "return document.querySelector('tbody tr th a').getAttribute('href')";
        let link = self.browser.evaluate(link).unwrap();
        link.as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned()
    }
}

/// A collector's folder after three simulated machines delivered; made once for all tests.
static MEASURED: LazyLock<PathBuf> = LazyLock::new(|| {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
    if home.exists() {
        fs::remove_dir_all(&home).unwrap();
    }
    let data = home.join("collector");
    let collector = CollectorProcess::start(&data).unwrap();
    for machine in ["orin", "thor", "gb10"] {
        let status = agent(&home.join(machine))
            .args([
                "bench",
                "--simulate",
                machine,
                "--limit",
                "30",
                "--repeat",
                "3",
            ])
            .args(["--precision", "f16,q8_0", "--collector", collector.url()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{machine}: {status}");
    }
    // Measured, so that pages do not wait for it in any test.
    let ranked = collector.ask(&["runs", "list"]).unwrap();
    assert!(ranked.status.success());
    collector.stop().unwrap();
    data
});

/// Files and folders, but for sockets.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let copied = to.join(entry.file_name());
        if kind.is_dir() {
            copy(&entry.path(), &copied)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), copied)?;
        }
    }
    Ok(())
}
