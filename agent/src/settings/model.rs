//! Models that `agent.toml` defines: what a name stands for, and the precisions in which its files are there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use tokwatt_domain::ids::Name;

/// A model with a name, as the file says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "Entry")]
pub struct NamedModel {
    /// What it is asked for by.
    pub name: Name,
    /// Who runs it, from what.
    pub source: ModelSource,
}

/// Who runs a model, from what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ModelSource {
    /// The embedded engine.
    Files {
        /// A GGUF file, in which `{precision}` may stand for several.
        file: PathBuf,
        /// Its picture projector.
        mmproj: PathBuf,
    },
    /// Ollama.
    Ollama {
        /// As Ollama calls it.
        model: String,
        /// Where Ollama is; absent: where it is by default.
        url: Option<String>,
    },
}

/// `[[model]]`, as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Name,
    #[serde(default)]
    backend: Runs,
    file: Option<PathBuf>,
    mmproj: Option<PathBuf>,
    model: Option<String>,
    url: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Runs {
    #[default]
    Embedded,
    Ollama,
}

/// A `[[model]]` that makes no sense.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
enum Flaw {
    #[error("model `{name}`: `{key}` is missing; a model of {of} has {keys}")]
    Missing {
        name: Name,
        key: &'static str,
        of: &'static str,
        keys: &'static str,
    },
    #[error("model `{name}`: `{key}` is not for a model of {of}, which has {keys}")]
    Foreign {
        name: Name,
        key: &'static str,
        of: &'static str,
        keys: &'static str,
    },
    #[error("model `{0}`: `{PLACE}` stands once, in the last part of `file`")]
    Place(Name),
}

impl NamedModel {
    /// The precisions that are there, as their names in lower case, each with its file. Empty where `file` names one file, and of Ollama:
    /// such a model has the one precision that it has.
    pub fn precisions(&self) -> BTreeMap<Name, PathBuf> {
        match &self.source {
            ModelSource::Files { file, .. } => precisions(file),
            ModelSource::Ollama { .. } => BTreeMap::new(),
        }
    }

    /// Whether a precision has to be chosen.
    pub fn has_precisions(&self) -> bool {
        match &self.source {
            ModelSource::Files { file, .. } => around(file).is_some(),
            ModelSource::Ollama { .. } => false,
        }
    }

    /// Whether there is something to run: of Ollama nobody knows before it is asked.
    pub fn is_there(&self) -> bool {
        match &self.source {
            ModelSource::Files { mmproj, .. } if !mmproj.is_file() => false,
            ModelSource::Files { .. } if self.has_precisions() => !self.precisions().is_empty(),
            ModelSource::Files { file, .. } => file.is_file(),
            ModelSource::Ollama { .. } => true,
        }
    }
}

impl TryFrom<Entry> for NamedModel {
    type Error = Flaw;

    fn try_from(entry: Entry) -> Result<Self, Flaw> {
        let name = entry.name;
        let (of, keys) = match entry.backend {
            Runs::Embedded => ("the embedded engine", "`file` and `mmproj`"),
            Runs::Ollama => ("Ollama", "`model`, and `url` if it is elsewhere"),
        };
        let missing = |key| Flaw::Missing {
            name: name.clone(),
            key,
            of,
            keys,
        };
        let strangers = match entry.backend {
            Runs::Embedded => [
                ("model", entry.model.is_some()),
                ("url", entry.url.is_some()),
            ],
            Runs::Ollama => [
                ("file", entry.file.is_some()),
                ("mmproj", entry.mmproj.is_some()),
            ],
        };
        if let Some((key, _)) = strangers.into_iter().find(|(_, is_given)| *is_given) {
            return Err(Flaw::Foreign {
                name,
                key,
                of,
                keys,
            });
        }
        let source = match entry.backend {
            Runs::Embedded => {
                let file = entry.file.ok_or_else(|| missing("file"))?;
                if has_stray_place(&file) {
                    return Err(Flaw::Place(name));
                }
                let mmproj = entry.mmproj.ok_or_else(|| missing("mmproj"))?;
                ModelSource::Files { file, mmproj }
            }
            Runs::Ollama => ModelSource::Ollama {
                model: entry.model.ok_or_else(|| missing("model"))?,
                url: entry.url,
            },
        };
        Ok(Self { name, source })
    }
}

/// Files of the folder whose names are that of `file` with something for `{precision}`.
fn precisions(file: &Path) -> BTreeMap<Name, PathBuf> {
    let Some((before, after)) = around(file) else {
        return BTreeMap::new();
    };
    let folder = file.parent().unwrap_or(Path::new("."));
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let precision = |path: PathBuf| {
        let name = path.file_name()?.to_str()?;
        let between = name.strip_prefix(before)?.strip_suffix(after)?;
        let precision = Name::parse(&between.to_ascii_lowercase()).ok()?;
        path.is_file().then_some((precision, path))
    };
    files.filter_map(|file| precision(file.path())).collect()
}

/// What stands around `{precision}` in the file's name.
fn around(file: &Path) -> Option<(&str, &str)> {
    file.file_name()?.to_str()?.split_once(PLACE)
}

/// Twice, or in a folder's name.
fn has_stray_place(file: &Path) -> bool {
    let n_places = file.to_string_lossy().matches(PLACE).count();
    n_places > usize::from(around(file).is_some())
}

const PLACE: &str = "{precision}";

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct File {
        model: Vec<NamedModel>,
    }

    fn read(entry: &str) -> Result<NamedModel, String> {
        let file: Result<File, toml::de::Error> = toml::from_str(&format!("[[model]]\n{entry}"));
        let mut file = file.map_err(|error| error.message().to_owned())?;
        Ok(file.model.remove(0))
    }

    fn names(model: &NamedModel) -> Vec<String> {
        model.precisions().keys().map(Name::to_string).collect()
    }

    #[test]
    fn precisions_are_those_whose_files_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for file in [
            "m-Q8_0.gguf",
            "m-f16.gguf",
            "m-.gguf",
            "other-f16.gguf",
            "p.gguf",
        ] {
            fs::write(at(file), "").unwrap();
        }
        fs::create_dir(at("m-f32.gguf")).unwrap();
        let entry = |file: &str| {
            let (file, mmproj) = (at(file), at("p.gguf"));
            let (file, mmproj) = (file.display(), mmproj.display());
            read(&format!(
                "name = \"m\"\nfile = \"{file}\"\nmmproj = \"{mmproj}\""
            ))
            .unwrap()
        };
        let several = entry("m-{precision}.gguf");
        assert_eq!(names(&several), ["f16", "q8_0"]);
        let q8 = Name::parse("q8_0").unwrap();
        assert_eq!(several.precisions()[&q8], at("m-Q8_0.gguf"));
        assert!(several.is_there() && several.has_precisions());
        assert!(!entry("n-{precision}.gguf").is_there());
        let one = entry("m-f16.gguf");
        assert!(one.is_there() && !one.has_precisions() && names(&one).is_empty());
        fs::remove_file(at("p.gguf")).unwrap();
        assert!(!one.is_there());
    }

    #[test]
    fn what_is_missing_or_belongs_to_another_engine_is_named() {
        let check = |entry: &str, want: &str| {
            let error = read(entry).unwrap_err();
            assert!(error.contains(want), "{error}");
        };
        check("name = \"a\"", "`file` is missing");
        check("name = \"a\"\nfile = \"/m.gguf\"", "`mmproj` is missing");
        check("name = \"a\"\nbackend = \"ollama\"", "`model` is missing");
        check(
            "name = \"a\"\nbackend = \"ollama\"\nmodel = \"m\"\nfile = \"/m\"",
            "`file` is not for a model of Ollama",
        );
        check("name = \"a\"\nurl = \"http://a\"", "`url` is not for");
        check("name = \"../a\"\nfile = \"/m\"", "`../a`");
        check("name = \"a\"\nfile = \"/m\"\ncommand = \"sh\"", "command");
        for file in ["/{precision}/m.gguf", "/m-{precision}-{precision}.gguf"] {
            let entry = format!("name = \"a\"\nfile = \"{file}\"\nmmproj = \"/p\"");
            check(&entry, "stands once");
        }
        let ollama = read("name = \"a\"\nbackend = \"ollama\"\nmodel = \"gemma3:4b\"").unwrap();
        let (model, url) = ("gemma3:4b".to_owned(), None);
        assert_eq!(ollama.source, ModelSource::Ollama { model, url });
    }
}
