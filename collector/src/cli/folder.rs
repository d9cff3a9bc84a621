//! Files that a collector sends, written as a folder: whole or not at all, and nothing of anybody else's is lost.
//!
//! They are written beside the folder and take its place at once. A folder that is there already is replaced only if it is empty or was
//! written by this: `report.json` in it names its files, and it has no others.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use tokwatt_proto::v1::FilePart;

use crate::report::Contents;

/// A folder on its way.
#[derive(Debug)]
pub(super) struct NewFolder {
    out: PathBuf,
    /// Where its files are written; gone with it.
    beside: PathBuf,
    files: BTreeSet<String>,
    open: Option<(String, File)>,
    n_bytes: u64,
}

impl NewFolder {
    /// Begins one that is to be at `out`.
    pub(super) fn new(out: &Path) -> anyhow::Result<Self> {
        check_place(out)?;
        let name = out.file_name();
        let name = name.with_context(|| format!("`{}` names no folder", out.display()))?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let new = format!(
            ".{}.new-{:016x}",
            name.to_string_lossy(),
            u64::from_ne_bytes(random)
        );
        let beside = out.with_file_name(new);
        fs::create_dir(&beside)
            .with_context(|| format!("cannot make a folder beside `{}`", out.display()))?;
        Ok(Self {
            out: out.to_owned(),
            beside,
            files: BTreeSet::new(),
            open: None,
            n_bytes: 0,
        })
    }

    /// Writes the next part.
    pub(super) fn add(&mut self, part: &FilePart) -> anyhow::Result<()> {
        self.n_bytes += u64::try_from(part.content.len())?;
        ensure!(
            self.n_bytes <= BYTES_MAX,
            "the collector sends more than a report can be"
        );
        let failed = || format!("cannot write `{}` for `{}`", part.path, self.out.display());
        if !matches!(&self.open, Some((path, _)) if *path == part.path) {
            check_path(&part.path)?;
            ensure!(
                self.files.insert(part.path.clone()),
                "the collector sends `{}` twice",
                part.path
            );
            let path = self.beside.join(&part.path);
            fs::create_dir_all(path.parent().unwrap_or(&self.beside)).with_context(failed)?;
            self.open = Some((
                part.path.clone(),
                File::create_new(path).with_context(failed)?,
            ));
        }
        if let Some((_, file)) = &mut self.open {
            file.write_all(&part.content).with_context(failed)?;
        }
        Ok(())
    }

    /// Puts it in its place; returns how many files it has.
    pub(super) fn finish(self) -> anyhow::Result<usize> {
        let contents = Contents::of(self.files.clone());
        let failed = || format!("cannot write `{}`", self.out.display());
        fs::write(self.beside.join(Contents::PATH), contents.text()?).with_context(failed)?;
        // Somebody may have put something there meanwhile.
        check_place(&self.out)?;
        if is_there(&self.out)? {
            exchange(&self.beside, &self.out).with_context(failed)?;
        } else {
            fs::rename(&self.beside, &self.out).with_context(failed)?;
        }
        Ok(self.files.len())
    }
}

/// What was written, or what was there before.
impl Drop for NewFolder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.beside));
    }
}

/// Whether what is there may be replaced.
fn check_place(out: &Path) -> anyhow::Result<()> {
    if !is_there(out)? {
        return Ok(());
    }
    let shown = out.display();
    ensure!(
        fs::symlink_metadata(out)?.is_dir(),
        "`{shown}` is not a folder: name one that is not there yet"
    );
    let found =
        files_in(out, Path::new("")).with_context(|| format!("cannot look into `{shown}`"))?;
    if found.is_empty() {
        return Ok(());
    }
    let contents = fs::read(out.join(Contents::PATH)).ok();
    let Some(contents) = contents.and_then(|text| Contents::parse(&text)) else {
        bail!(
            "`{shown}` is not empty and not a report of ours: name a folder that is not there yet"
        );
    };
    let other = found
        .iter()
        .find(|file| *file != Contents::PATH && !contents.files.contains(*file));
    if let Some(other) = other {
        bail!(
            "`{shown}` has a file that is not of the report, `{other}`: move it away, or name another folder"
        );
    }
    Ok(())
}

fn is_there(path: &Path) -> anyhow::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot look at `{}`", path.display())),
    }
}

/// Everything that is not a folder, by its path from `root`.
fn files_in(root: &Path, below: &Path) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            files.extend(files_in(root, &path)?);
        } else {
            files.push(path.to_string_lossy().into_owned());
        }
    }
    Ok(files)
}

/// Relative, of plain letters, and down only.
fn check_path(path: &str) -> anyhow::Result<()> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let is_good =
        |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(is_plain);
    let parts = || path.split('/');
    let is_good =
        path.len() <= PATH_BYTES_MAX && parts().count() <= DEPTH_MAX && parts().all(is_good);
    ensure!(
        is_good && path != Contents::PATH,
        "the collector sends a file with a name that no report has: `{}`",
        path.escape_debug()
    );
    Ok(())
}

/// The two change places at once; where a file system cannot, one after the other.
fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => one_after_the_other(new, old),
        Err(error) => Err(error.into()),
    }
}

fn one_after_the_other(new: &Path, old: &Path) -> io::Result<()> {
    let aside = new.with_added_extension("old");
    fs::rename(old, &aside)?;
    if let Err(error) = fs::rename(new, old) {
        // What was there stays there.
        fs::rename(aside, old)?;
        return Err(error);
    }
    fs::rename(aside, new)
}

const PATH_BYTES_MAX: usize = 200;
const DEPTH_MAX: usize = 4;

/// Hundreds of pictures.
const BYTES_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn part(path: &str, content: &str) -> FilePart {
        FilePart {
            path: path.to_owned(),
            content: content.as_bytes().to_vec(),
        }
    }

    fn write(out: &Path, parts: &[FilePart]) -> anyhow::Result<usize> {
        let mut folder = NewFolder::new(out)?;
        parts.iter().try_for_each(|part| folder.add(part))?;
        folder.finish()
    }

    #[test]
    fn a_report_replaces_an_earlier_one_and_leaves_nothing_beside() {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("report");
        write(
            &out,
            &[
                part("index.html", "a"),
                part("figures/one.svg", "b"),
                part("figures/one.svg", "c"),
            ],
        )
        .unwrap();
        assert_eq!(
            fs::read_to_string(out.join("figures/one.svg")).unwrap(),
            "bc"
        );
        write(&out, &[part("index.html", "d")]).unwrap();
        assert_eq!(fs::read_to_string(out.join("index.html")).unwrap(), "d");
        assert!(!out.join("figures").exists());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_report_that_cannot_take_its_place_leaves_the_one_that_is_there() {
        let home = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| home.path().join(name));
        fs::create_dir(&old).unwrap();
        assert!(one_after_the_other(&new, &old).is_err());
        assert!(old.is_dir());
        fs::create_dir(&new).unwrap();
        fs::write(new.join("index.html"), "new").unwrap();
        one_after_the_other(&new, &old).unwrap();
        assert!(old.join("index.html").exists() && !new.join("index.html").exists());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_is_somebody_elses_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("notes");
        fs::create_dir(&out).unwrap();
        write(&out, &[part("index.html", "a")]).unwrap();
        fs::write(out.join("mine.txt"), "mine").unwrap();
        let error = NewFolder::new(&out).unwrap_err().to_string();
        assert!(error.contains("mine.txt"), "{error}");
        fs::remove_file(out.join("report.json")).unwrap();
        let error = NewFolder::new(&out).unwrap_err().to_string();
        assert!(error.contains("not empty"), "{error}");
        let error = NewFolder::new(&out.join("mine.txt"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("not a folder"), "{error}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_path_that_leads_out_is_refused_and_leaves_nothing() {
        for path in [
            "../x",
            "/etc/x",
            "a/../../x",
            "a//x",
            ".hidden",
            "a/.x",
            "",
            "a b",
            "report.json",
            "a/b/c/d/e",
            "x\\y",
        ] {
            let home = tempfile::tempdir().unwrap();
            let error = write(&home.path().join("out"), &[part(path, "x")])
                .unwrap_err()
                .to_string();
            assert!(error.contains("no report has"), "{path}: {error}");
            assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        }
        let home = tempfile::tempdir().unwrap();
        let twice = [part("a", "1"), part("b", "2"), part("a", "3")];
        assert!(write(&home.path().join("out"), &twice).is_err());
    }
}
