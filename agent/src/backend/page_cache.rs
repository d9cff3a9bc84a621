//! The page cache and the weights: how much of them is in it before a load, and how to get it out without being root.
//!
//! `posix_fadvise(DONTNEED)` asks the kernel to forget a file's pages. It forgets those that are written back and that no process has
//! mapped, so what it did is looked at, never assumed: `mincore` over a mapping of the file tells page by page. Since Linux 5.2 it
//! tells the truth only about files that we own or may write; of all others it says that everything is there.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fmt, fs,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, Advice, access, fadvise, fdatasync};

/// The only part with `unsafe`: mapping a file and asking about its pages.
mod mincore;

/// How much of some files is in the page cache.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Residency {
    /// Pages of the files.
    pub pages: u64,
    /// Those of them that are in memory.
    pub resident: u64,
}

/// What is known of the weights in the page cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Cached {
    /// Share of their pages that is in memory, 0 to 1; absent where nobody can tell.
    pub resident: Option<f64>,
    /// Why it cannot be told, or could not be made 0.
    pub reason: Option<String>,
}

/// Why a look is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PageCacheError {
    /// Nobody says where the weights are.
    #[error("nobody says where the weights are: name them in `weights` of agent.toml")]
    NoFiles,
    /// A model that the load itself puts there, as the shipped one the first time.
    #[error("the weights were not there before the load, which unpacks them")]
    Unpacked,
    /// A file cannot be looked at.
    #[error("cannot look at the weights `{}`", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// All of its pages look resident, as they would whether or not they were.
    #[error(
        "`{}` is another user's, so that Linux does not say how much of it is cached: measure as its owner", .0.display()
    )]
    NotOurs(PathBuf),
}

impl Residency {
    /// Looks at all files now, those in folders included.
    ///
    /// # Errors
    /// There is none, one cannot be read, or Linux does not say.
    pub fn of(weights: &[PathBuf]) -> Result<Self, PageCacheError> {
        let mut sum = Self {
            pages: 0,
            resident: 0,
        };
        for path in files(weights)? {
            let file = open(&path)?;
            let seen = mincore::residency(&file).map_err(|source| unreadable(&path, source))?;
            if seen.is_full() && !may_ask(&path, &file) {
                return Err(PageCacheError::NotOurs(path));
            }
            sum.pages += seen.pages;
            sum.resident += seen.resident;
        }
        if sum.pages == 0 {
            return Err(PageCacheError::NoFiles);
        }
        Ok(sum)
    }

    /// Resident pages over all pages.
    #[expect(clippy::cast_precision_loss, reason = "2⁵³ pages are 32 exbibytes")]
    pub fn share(self) -> f64 {
        self.resident as f64 / self.pages.max(1) as f64
    }

    fn is_full(self) -> bool {
        self.pages > 0 && self.resident == self.pages
    }
}

impl Cached {
    /// Looks, and does not touch.
    pub fn look(weights: &[PathBuf]) -> Self {
        match Residency::of(weights) {
            Ok(residency) => Self {
                resident: Some(residency.share()),
                reason: None,
            },
            Err(error) => Self {
                resident: None,
                reason: Some(chain(&error)),
            },
        }
    }

    /// Asks the kernel to forget the weights, then looks whether it did. Blocks its thread.
    pub fn drop(weights: &[PathBuf]) -> Self {
        let dropped = forget(weights);
        let mut cached = Self::look(weights);
        if let Err(error) = dropped {
            cached.reason = Some(chain(&error));
        } else if let Some(share) = cached.resident.filter(|share| *share > 0.0) {
            cached.reason = Some(format!(
                "{:.1} % of the weights' pages could not be dropped: another process has them mapped, or their file system is memory",
                100.0 * share
            ));
        }
        cached
    }
}

impl fmt::Display for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.resident {
            Some(share) => write!(f, "{:.1} % of the weights were cached", 100.0 * share),
            None => f.write_str("nobody can tell how much of the weights was cached"),
        }
    }
}

/// Writes back what is dirty, which cannot be forgotten, and asks the kernel to forget all pages.
fn forget(weights: &[PathBuf]) -> Result<(), PageCacheError> {
    for path in files(weights)? {
        let file = open(&path)?;
        // A file system that is read-only has nothing to write back.
        fdatasync(&file).ok();
        fadvise(&file, 0, None, Advice::DontNeed)
            .map_err(|error| unreadable(&path, error.into()))?;
    }
    Ok(())
}

/// The files themselves, with all parts of those that are split, and those in folders whose names are of weights; each once.
fn files(weights: &[PathBuf]) -> Result<BTreeSet<PathBuf>, PageCacheError> {
    let mut files = BTreeSet::new();
    for path in weights {
        let metadata = fs::metadata(path).map_err(|source| unreadable(path, source))?;
        if metadata.is_dir() {
            let entries = fs::read_dir(path).map_err(|source| unreadable(path, source))?;
            for entry in entries {
                let entry = entry.map_err(|source| unreadable(path, source))?.path();
                // Hugging Face's cache has links to its blobs.
                if is_weights(&entry) && entry.is_file() {
                    files.insert(real(&entry)?);
                }
            }
        } else {
            for part in parts(path) {
                files.insert(real(&part)?);
            }
        }
    }
    match files.is_empty() {
        true => Err(PageCacheError::NoFiles),
        false => Ok(files),
    }
}

/// All files of a model that `path` names, itself among them: llama.cpp finds `NAME-00002-of-00003.gguf` by its first part's name.
pub fn parts(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().and_then(OsStr::to_str);
    let Some((name, n_parts)) = name.and_then(split_name) else {
        return vec![path.to_owned()];
    };
    let part = |number| format!("{name}-{number:05}-of-{n_parts:05}.gguf");
    (1..=n_parts)
        .map(|number| path.with_file_name(part(number)))
        .collect()
}

/// Name and number of parts out of `NAME-00001-of-00003.gguf`.
fn split_name(file: &str) -> Option<(&str, u32)> {
    let number = |digits: &str| {
        let is_number = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse::<u32>().ok()).flatten()
    };
    let (rest, n_parts) = file.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (name, part) = rest.rsplit_once('-')?;
    let (part, n_parts) = (number(part)?, number(n_parts)?);
    (1..=n_parts).contains(&part).then_some((name, n_parts))
}

/// Whether a file of this name holds weights.
pub fn is_weights(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
}

/// Whether Linux tells us the truth about the file: we own it or may write it, by whatever right.
fn may_ask(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let user = rustix::process::geteuid();
    let owns = |owner: u32| user.is_root() || owner == user.as_raw();
    let is_owner = file.metadata().is_ok_and(|metadata| owns(metadata.uid()));
    is_owner || access(path, Access::WRITE_OK).is_ok()
}

fn real(path: &Path) -> Result<PathBuf, PageCacheError> {
    path.canonicalize()
        .map_err(|source| unreadable(path, source))
}

fn open(path: &Path) -> Result<File, PageCacheError> {
    File::open(path).map_err(|source| unreadable(path, source))
}

fn unreadable(path: &Path, source: io::Error) -> PageCacheError {
    match source.kind() {
        io::ErrorKind::NotFound => PageCacheError::Unpacked,
        _ => PageCacheError::Unreadable {
            path: path.to_owned(),
            source,
        },
    }
}

fn chain(error: &PageCacheError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// What weights' files are called.
const EXTENSIONS: [&str; 4] = ["gguf", "safetensors", "bin", "pt"];

#[cfg(test)]
mod tests {
    use super::*;

    /// On the disk that this program lies on: a temp folder may be memory.
    fn folder() -> tempfile::TempDir {
        let program = std::env::current_exe().unwrap();
        tempfile::tempdir_in(program.parent().unwrap()).unwrap()
    }

    fn weights(folder: &Path, name: &str, bytes: usize) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, vec![7; bytes]).unwrap();
        path
    }

    #[test]
    fn what_is_dropped_is_cold_and_what_is_read_is_warm() {
        let folder = folder();
        let path = weights(folder.path(), "a.gguf", 1 << 20);
        let files = [path.clone()];
        assert_eq!(Cached::look(&files).resident, Some(1.0));
        let dropped = Cached::drop(&files);
        assert_eq!((dropped.resident, dropped.reason), (Some(0.0), None));
        fs::read(&path).unwrap();
        assert_eq!(Cached::look(&files).resident, Some(1.0));
    }

    #[test]
    fn a_page_that_is_mapped_cannot_be_dropped_and_is_said_so() {
        let folder = folder();
        let path = weights(folder.path(), "a.gguf", 1 << 20);
        let mapped = mincore::Mapping::of_whole(&File::open(&path).unwrap()).unwrap();
        mapped.touch();
        let dropped = Cached::drop(&[path]);
        assert_eq!(dropped.resident, Some(1.0));
        let reason = dropped.reason.unwrap();
        assert!(
            reason.starts_with("100.0 % of the weights' pages"),
            "{reason}"
        );
    }

    #[test]
    fn a_folder_stands_for_the_weights_in_it_and_links_for_their_files() {
        let folder = folder();
        let blob = weights(folder.path(), "blob", 8192);
        let snapshot = folder.path().join("snapshot");
        fs::create_dir(&snapshot).unwrap();
        std::os::unix::fs::symlink(&blob, snapshot.join("model.safetensors")).unwrap();
        weights(&snapshot, "tokenizer.json", 4096);
        let model = weights(&snapshot, "more.safetensors", 100);
        let found = files(&[snapshot, model.clone()]).unwrap();
        let want = [blob, model].map(|path| path.canonicalize().unwrap());
        assert_eq!(found, BTreeSet::from(want));
    }

    #[test]
    fn a_split_model_is_all_of_its_parts() {
        let folder = folder();
        let names = [1, 2, 3].map(|number| format!("a-q8_0-0000{number}-of-00003.gguf"));
        let made = names.map(|name| weights(folder.path(), &name, 8192));
        let found = files(&made[..1]).unwrap();
        let want = made.each_ref().map(|path| path.canonicalize().unwrap());
        assert_eq!(found, BTreeSet::from(want));
        fs::remove_file(&made[2]).unwrap();
        assert_eq!(Cached::look(&made[..1]).resident, None);
    }

    #[test]
    fn what_only_looks_like_a_part_is_a_file_of_its_own() {
        for name in [
            "a.gguf",
            "a-1-of-3.gguf",
            "a-00004-of-00003.gguf",
            "a-00000-of-00003.gguf",
            "a-00001-of-00003.bin",
            "00001-of-00003.gguf",
            "a-00001-of-00001.gguf",
        ] {
            assert_eq!(parts(Path::new(name)), [PathBuf::from(name)]);
        }
    }

    #[test]
    fn without_a_file_nobody_can_tell() {
        for weights in [vec![], vec![PathBuf::from("/nowhere/a.gguf")]] {
            let cached = Cached::look(&weights);
            assert_eq!(cached.resident, None);
            assert!(cached.reason.is_some());
        }
        let empty = folder();
        let cached = Cached::drop(&[empty.path().to_owned()]);
        assert_eq!(cached.resident, None);
        assert!(cached.reason.unwrap().contains("nobody says where"));
    }
}
