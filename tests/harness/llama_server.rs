//! llama.cpp's own HTTP server with the reference model: a real server for tests.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};

/// The server's process; killed when dropped, and gone when we are.
pub struct LlamaServer {
    child: Child,
    url: String,
}

impl LlamaServer {
    /// How it is started: Python, the starter and the reference model in F32; its options are to follow. `None` where it is not
    /// installed: `tests/prepare` does that.
    pub fn command() -> Option<Command> {
        let python = home().join("bin/python");
        let models = root().join("agent/embedded/model");
        python.is_file().then(|| {
            let mut command = Command::new(python);
            command
                .arg(root().join("tests/harness/llama_server.py"))
                .arg(models.join("tiny-vlm-f32.gguf"))
                .arg("--mmproj")
                .arg(models.join("tiny-vlm-mmproj-f32.gguf"));
            command
        })
    }

    /// Starts it and waits until the model is in memory. `None` where it is not installed.
    ///
    /// # Errors
    /// It ended before it listened.
    pub fn start(options: &[&str]) -> anyhow::Result<Option<Self>> {
        let Some(mut command) = Self::command() else {
            return Ok(None);
        };
        let mut child = command
            .args(options)
            .arg("--until-stdin-closes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start llama.cpp's server")?;
        let stdout = child.stdout.take().context("its output is piped")?;
        for line in BufReader::new(stdout).lines() {
            if let Some(url) = line?.strip_prefix("listening on ") {
                let url = url.to_owned();
                return Ok(Some(Self { child, url }));
            }
        }
        bail!("llama.cpp's server ended before it listened")
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// kill -9.
    ///
    /// # Errors
    /// It is gone already.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for LlamaServer {
    fn drop(&mut self) {
        // Both fail if it has been killed and waited for.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Where `tests/prepare` installs it.
fn home() -> PathBuf {
    root().join("target/peers/xllamacpp")
}

fn root() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("this package is in the repository")
}
