//! `export`: tables and run bundles as files.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Args;
use tokwatt_proto::v1::{self, exchange_client::ExchangeClient};

use super::{client::Address, output::Output};
use crate::exchange::{Question, TableForm};

/// Writes cells, runs, requests or readings of power as a table, or each run as a bundle (`NAME.tokwatt-run.tar.zst`) that `verify` looks through
/// anywhere. Columns have their unit and their definition's id: in CSV and JSON Lines the unit stands in the name, in JSON under `columns`,
/// in Parquet in the file's metadata under `tokwatt.columns`.
#[derive(Args, Debug)]
pub(super) struct Export {
    /// cells, runs, requests, power or bundle
    #[arg(long, value_name = "NAME", default_value = "runs")]
    what: String,
    /// csv, json, jsonl or parquet [default: by the end of OUT, else csv]; a bundle has a form of its own
    #[arg(long, value_name = "FORM")]
    format: Option<String>,
    /// Only measured runs of which this holds; more than once: all must hold
    #[arg(long = "where", value_name = "KEY=VALUE")]
    conditions: Vec<String>,
    /// Runs by id or its first or last 6 or more digits [default: all that meet the conditions]; and last the file or folder to write,
    /// - for standard output
    #[arg(value_name = "RUN… OUT", required = true)]
    runs_and_out: Vec<String>,
    #[command(flatten)]
    address: Address,
}

pub(super) fn export(arguments: &Export, output: &mut Output<'_>) -> anyhow::Result<()> {
    let Some((out, runs)) = arguments.runs_and_out.split_last() else {
        bail!("nothing is named to be written: add OUT, a file, a folder, or -");
    };
    let out = Path::new(out);
    let form = arguments
        .format
        .clone()
        .unwrap_or_else(|| by_name(out).to_owned());
    // Mistakes are found before anything is asked.
    let question = Question::parse(&arguments.what, &form, &arguments.conditions, runs.to_vec())?;
    let target = Target::new(out, question.is_bundle(), runs.len())?;
    let request = v1::ExportRequest {
        what: arguments.what.clone(),
        format: form,
        r#where: arguments.conditions.clone(),
        runs: runs.to_vec(),
    };
    let written = arguments.address.call(async |channel| {
        let mut parts = ExchangeClient::new(channel)
            .export(request)
            .await?
            .into_inner();
        let mut files = Files::new(&target);
        while let Some(part) = parts.message().await? {
            files
                .put(&part)
                .map_err(|error| tonic::Status::invalid_argument(format!("{error:#}")))?;
        }
        files
            .finish()
            .map_err(|error| tonic::Status::invalid_argument(format!("{error:#}")))
    })?;
    match target {
        Target::Output => {
            for bytes in written.texts {
                output.write(&bytes)?;
            }
        }
        _ => {
            for path in written.paths {
                output.print(&path.display().to_string())?;
            }
        }
    }
    Ok(())
}

/// The form that a file's name says; else the one by default.
fn by_name(out: &Path) -> &'static str {
    let end = out.extension().and_then(OsStr::to_str).unwrap_or_default();
    let form = TableForm::ALL.into_iter().find(|form| form.as_str() == end);
    form.map_or("", TableForm::as_str)
}

/// Where it goes.
enum Target {
    Output,
    File(PathBuf),
    Folder(PathBuf),
}

impl Target {
    fn new(out: &Path, is_bundle: bool, n_runs: usize) -> anyhow::Result<Self> {
        if out == Path::new("-") {
            if is_bundle {
                bail!("a bundle is no text: name a file or a folder in place of -");
            }
            return Ok(Self::Output);
        }
        if out.is_dir() {
            return Ok(Self::Folder(out.to_owned()));
        }
        let is_one = !is_bundle || n_runs == 1;
        if is_one && out.extension().is_some() {
            return Ok(Self::File(out.to_owned()));
        }
        if !is_bundle {
            return Ok(Self::File(out.to_owned()));
        }
        fs::create_dir_all(out)
            .with_context(|| format!("cannot make the folder `{}` for bundles", out.display()))?;
        Ok(Self::Folder(out.to_owned()))
    }

    /// Where a file of that name goes.
    fn path(&self, name: &str) -> anyhow::Result<Option<PathBuf>> {
        let plain = Path::new(name).file_name() == Some(OsStr::new(name));
        if !plain {
            bail!("the collector names a file `{name}`, which is no plain name");
        }
        Ok(match self {
            Self::Output => None,
            Self::File(path) => Some(path.clone()),
            Self::Folder(folder) => Some(folder.join(name)),
        })
    }
}

/// What was written.
#[derive(Default)]
struct Written {
    paths: Vec<PathBuf>,
    texts: Vec<Vec<u8>>,
}

/// Files of a stream: each whole or not at all.
struct Files<'a> {
    target: &'a Target,
    open: Option<Open>,
    written: Written,
}

/// The file that is being written.
struct Open {
    name: String,
    content: Content,
}

/// What came of it so far.
enum Content {
    Text(Vec<u8>),
    File(Unfinished),
}

/// A file beside the one that it is to be, by a name that is nobody else's; gone if it does not get there.
struct Unfinished {
    path: PathBuf,
    beside: PathBuf,
    file: File,
}

impl<'a> Files<'a> {
    fn new(target: &'a Target) -> Self {
        Self {
            target,
            open: None,
            written: Written::default(),
        }
    }

    fn put(&mut self, part: &v1::FilePart) -> anyhow::Result<()> {
        let is_same = self
            .open
            .as_ref()
            .is_some_and(|open| open.name == part.path);
        if !is_same {
            self.close()?;
            self.open = Some(Open::new(self.target, &part.path)?);
        }
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        match &mut open.content {
            Content::Text(text) => text.extend(&part.content),
            Content::File(unfinished) => unfinished.write(&part.content)?,
        }
        Ok(())
    }

    fn close(&mut self) -> anyhow::Result<()> {
        match self.open.take().map(|open| open.content) {
            Some(Content::Text(text)) => self.written.texts.push(text),
            Some(Content::File(unfinished)) => self.written.paths.push(unfinished.finish()?),
            None => {}
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<Written> {
        self.close()?;
        Ok(std::mem::take(&mut self.written))
    }
}

impl Open {
    fn new(target: &Target, name: &str) -> anyhow::Result<Self> {
        let content = match target.path(name)? {
            Some(path) => Content::File(Unfinished::new(path)?),
            None => Content::Text(Vec::new()),
        };
        Ok(Self {
            name: name.to_owned(),
            content,
        })
    }
}

impl Unfinished {
    fn new(path: PathBuf) -> anyhow::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let end = format!("new-{:016x}", u64::from_ne_bytes(random));
        let beside = path.with_added_extension(end);
        let file = File::create_new(&beside).with_context(|| cannot_write(&path))?;
        Ok(Self { path, beside, file })
    }

    fn write(&mut self, content: &[u8]) -> anyhow::Result<()> {
        let written = self.file.write_all(content);
        written.with_context(|| cannot_write(&self.path))
    }

    fn finish(self) -> anyhow::Result<PathBuf> {
        let synced = self.file.sync_all();
        let moved = synced.and_then(|()| fs::rename(&self.beside, &self.path));
        moved.with_context(|| cannot_write(&self.path))?;
        Ok(self.path.clone())
    }
}

impl Drop for Unfinished {
    /// What is not whole is no file; what is whole has another name by now.
    fn drop(&mut self) {
        fs::remove_file(&self.beside).ok();
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write `{}`", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_beside_it_is_left_alone_and_nothing_unfinished_stays() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("runs.csv");
        fs::write(home.path().join("runs.csv.new"), "mine").unwrap();
        let target = Target::File(path.clone());
        let part = |content: &str| v1::FilePart {
            path: "runs.csv".to_owned(),
            content: content.as_bytes().to_vec(),
        };
        let mut broken = Files::new(&target);
        broken.put(&part("half")).unwrap();
        drop(broken);
        assert!(!path.exists());
        let mut whole = Files::new(&target);
        whole.put(&part("a")).unwrap();
        whole.put(&part("b")).unwrap();
        assert_eq!(whole.finish().unwrap().paths, std::slice::from_ref(&path));
        assert_eq!(fs::read_to_string(path).unwrap(), "ab");
        let beside = fs::read_to_string(home.path().join("runs.csv.new"));
        assert_eq!(beside.unwrap(), "mine");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2);
    }
}
