//! Which files to load, and their digests, remembered so that a model of gigabytes is read for them only once.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokwatt_domain::ids::Digest;

use crate::backend::page_cache::parts;

/// What to load.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Weights {
    /// The tiny reference model that is shipped, in this precision.
    Shipped {
        /// `f32`, `f16`, `bf16` or `q8_0`.
        precision: String,
    },
    /// Files of one's own.
    Files {
        /// The language model.
        model: PathBuf,
        /// Its projector.
        mmproj: PathBuf,
        /// What the model's file has to be; absent for anything.
        precision: Option<String>,
    },
}

/// Precisions in which the reference model is shipped.
pub const SHIPPED: [&str; 4] = ["f32", "f16", "bf16", "q8_0"];

/// Digests by path, valid as long as size and time of the last change are the same.
#[derive(Debug)]
struct DigestCache {
    file: PathBuf,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Known(BTreeMap<String, KnownFile>);

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct KnownFile {
    size: u64,
    modified_ns: i128,
    sha256: Digest,
}

impl Weights {
    /// Files of one's own in a precision: `NAME-{precision}.gguf` beside `model`.
    ///
    /// The name's last part is replaced if it names a precision, in the case in which it is written (`-Q8_0`, `-f16`);
    /// otherwise the precision is added. The file's own word is checked when it is loaded.
    pub fn files(model: &Path, mmproj: &Path, precision: Option<&str>) -> Self {
        Self::Files {
            model: precision
                .map_or_else(|| model.to_owned(), |precision| sibling(model, precision)),
            mmproj: mmproj.to_owned(),
            precision: precision.map(str::to_owned),
        }
    }
}

/// A file's digest, remembered in the folder `data`; none, which is said, where it cannot be read, or is a part of the weights only.
pub(in crate::backend) async fn digest(data: &Path, file: PathBuf) -> Option<Digest> {
    if parts(&file).len() > 1 {
        tracing::info!(file = %file.display(), "no digest of weights that are split into several files");
        return None;
    }
    let cache = DigestCache::in_folder(data);
    let name = file.display().to_string();
    let computed = tokio::task::spawn_blocking(move || cache.digest(&file));
    match computed.await.map_err(io::Error::other).flatten() {
        Ok(digest) => Some(digest),
        Err(error) => {
            tracing::warn!(%error, file = name, "no digest of the weights");
            None
        }
    }
}

fn sibling(model: &Path, precision: &str) -> PathBuf {
    let stem = model.file_stem().unwrap_or_default().to_string_lossy();
    let (name, old) = match stem.rsplit_once('-') {
        Some((name, old)) if names_a_precision(old) => (name, old),
        _ => (&*stem, ""),
    };
    let has_capitals = old.contains(|letter: char| letter.is_ascii_uppercase());
    let new = if has_capitals {
        precision.to_ascii_uppercase()
    } else {
        precision.to_owned()
    };
    model.with_file_name(format!("{name}-{new}.gguf"))
}

/// `f32`, `bf16`, `Q4_K_M`, `iq2_xxs`, `mxfp4`: letters of a kind, then its bits.
fn names_a_precision(part: &str) -> bool {
    let part = part.to_ascii_lowercase();
    let kinds = ["mxfp", "bf", "iq", "tq", "f", "q"];
    let bits = kinds.iter().find_map(|kind| part.strip_prefix(kind));
    bits.is_some_and(|bits| bits.starts_with(|digit: char| digit.is_ascii_digit()))
}

impl DigestCache {
    /// Kept in this folder.
    fn in_folder(folder: &Path) -> Self {
        Self {
            file: folder.join("digests.json"),
        }
    }

    /// A file's SHA-256, from memory if the file has not changed.
    fn digest(&self, path: &Path) -> io::Result<Digest> {
        let metadata = fs::metadata(path)?;
        let key = path.canonicalize()?.to_string_lossy().into_owned();
        let modified_ns =
            i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        let mut known = self.read();
        if let Some(file) = known.0.get(&key)
            && (file.size, file.modified_ns) == (metadata.len(), modified_ns)
        {
            return Ok(file.sha256);
        }
        let sha256 = hash(path)?;
        known.0.insert(
            key,
            KnownFile {
                size: metadata.len(),
                modified_ns,
                sha256,
            },
        );
        self.write(&known);
        Ok(sha256)
    }

    /// A cache that cannot be read is an empty one.
    fn read(&self) -> Known {
        let text = fs::read(&self.file).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// A cache that cannot be written costs time, nothing else.
    fn write(&self, known: &Known) {
        let unfinished = self
            .file
            .with_extension(format!("{}.part", std::process::id()));
        let text = serde_json::to_vec_pretty(known).expect("texts and numbers");
        let written = self.file.parent().map_or(Ok(()), fs::create_dir_all);
        let written = written.and_then(|()| fs::write(&unfinished, text));
        if let Err(error) = written.and_then(|()| fs::rename(&unfinished, &self.file)) {
            tracing::warn!(%error, file = %self.file.display(), "cannot remember digests of weights");
        }
    }
}

fn hash(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest(hasher.finalize().into())),
            n_bytes => hasher.update(&buffer[..n_bytes]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(model: &str, precision: &str, want: &str) {
        assert_eq!(sibling(Path::new(model), precision), Path::new(want));
    }

    #[test]
    fn a_precision_is_a_file_beside_the_model() {
        check("m/tiny-vlm-f32.gguf", "q8_0", "m/tiny-vlm-q8_0.gguf");
        check(
            "SmolVLM2-2.2B-Instruct-Q4_K_M.gguf",
            "f16",
            "SmolVLM2-2.2B-Instruct-F16.gguf",
        );
        check("model.gguf", "bf16", "model-bf16.gguf");
        check("gemma-3-4b-it.gguf", "f16", "gemma-3-4b-it-f16.gguf");
        check("some-final.gguf", "f16", "some-final-f16.gguf");
    }

    #[tokio::test]
    async fn a_part_of_the_weights_has_no_digest() {
        let folder = tempfile::tempdir().unwrap();
        for (name, has_digest) in [
            ("a-00001-of-00002.gguf", false),
            ("a-00001-of-00001.gguf", true),
        ] {
            let file = folder.path().join(name);
            fs::write(&file, "abc").unwrap();
            assert_eq!(digest(folder.path(), file).await.is_some(), has_digest);
        }
    }

    #[test]
    fn a_digest_is_remembered_until_the_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let cache = DigestCache::in_folder(&folder.path().join("data"));
        let file = folder.path().join("weights");
        fs::write(&file, "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(cache.digest(&file).unwrap().to_string(), abc);
        // A remembered value is believed, so put a wrong one there to see whether it is asked for.
        let text = fs::read_to_string(&cache.file).unwrap();
        fs::write(&cache.file, text.replace(abc, &"0".repeat(64))).unwrap();
        assert_eq!(cache.digest(&file).unwrap(), Digest([0; 32]));
        fs::write(&file, "abcd").unwrap();
        assert_ne!(cache.digest(&file).unwrap(), Digest([0; 32]));
    }
}
