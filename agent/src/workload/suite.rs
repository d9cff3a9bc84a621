//! A suite: a named, versioned list of tasks over drawn pictures, read from TOML.
//!
//! The keys are explained in `configs/suites/edge-vision.toml`. Two suites are compiled in; others are files.

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokwatt_domain::{ids::Digest, metrics::quality, spelling::distance, workload::Scoring};

use super::{
    picture::Side,
    relation::{self, Relation},
    scene::DRAWING_VERSION,
};

/// What is asked of a device. [`Suite::parse`] and [`Suite::load`] make only sound ones.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Its name: lower-case letters, digits, `-` and `_`.
    pub name: String,
    /// For people; the digest notices every change by itself.
    pub version: u32,
    /// What it measures and how long that takes.
    pub description: String,
    /// Scenes shown before the measured ones and never among them, for each task.
    pub warm_up: u32,
    /// The measured scenes.
    pub pictures: Scenes,
    /// What is asked about each of them; at least one.
    #[serde(default, rename = "task")]
    pub tasks: Vec<Task>,
}

/// Which scenes are drawn.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenes {
    /// How many.
    pub count: NonZeroU32,
    /// The first scene's; each further scene's is one higher.
    pub seed: Seed,
    /// Their size, if nobody asks for another.
    pub side_px: Side,
}

/// One question asked about every picture.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Its name: lower-case letters, digits, `-` and `_`; no other task of the suite has it.
    pub name: String,
    /// What is asked; a direct question's has the places `{a}` and `{b}`.
    pub prompt: String,
    /// Most tokens of an answer.
    #[serde(default = "usual_max_tokens")]
    pub max_tokens: NonZeroU32,
    /// How answers are read.
    pub scoring: Scoring,
    /// What a direct question is about; absent for all others.
    pub relation: Option<Relation>,
}

/// Where a suite's scenes begin. Below 2⁶², so that measured and warm-up scenes never meet.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Seed(u64);

/// Why there is no suite.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// Neither a name we know nor a file.
    #[error(
        "no suite `{name}`; did you mean `{nearest}`? Known are {}, or give the path of a .toml file",
        known()
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// The known one that is spelt most like it.
        nearest: &'static str,
    },
    /// The file cannot be read.
    #[error("cannot read suite file `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The text is not a suite's.
    #[error("suite `{origin}`, line {line}: {message}")]
    Text {
        /// Name or path.
        origin: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong with which key.
        message: String,
    },
    /// It reads well and makes no sense.
    #[error("suite `{origin}`: {flaw}")]
    Flawed {
        /// Name or path.
        origin: String,
        /// What is wrong.
        flaw: Flaw,
    },
}

/// What makes a suite senseless.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Flaw {
    /// Nothing to ask.
    #[error("it has no task; add a [[task]] table with name, prompt and scoring")]
    NoTask,
    /// Two tasks of one name.
    #[error("two tasks are called `{0}`; give each its own name")]
    TwoTasks(String),
    /// A name that cannot be a key.
    #[error("name `{0}`: use lower-case letters, digits, `-` and `_`")]
    Name(String),
    /// A direct question about nothing.
    #[error("task `{0}`: scoring \"direct\" needs `relation`, \"left_right\" or \"above_below\"")]
    NoRelation(String),
    /// A relation that nothing reads.
    #[error("task `{0}`: `relation` goes with scoring \"direct\" only")]
    NotDirect(String),
    /// A direct question without its places, or another question with them.
    #[error("task `{0}`: a direct question's prompt has {{a}} and {{b}}, and no other prompt has")]
    Places(String),
}

/// A seed out of range.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("seed {0}: seeds are below 2^62")]
pub struct SeedOutOfRange(pub u64);

impl Suite {
    /// Finds a suite by name, or reads the file at a path.
    ///
    /// # Errors
    /// Neither exists, or the file is no sound suite.
    pub fn load(name_or_path: &str) -> Result<Self, SuiteError> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(name, text);
        }
        let path = Path::new(name_or_path);
        let is_meant_as_path = path.components().count() > 1
            || path
                .extension()
                .is_some_and(|extension| extension == "toml")
            || path.is_file();
        if !is_meant_as_path {
            return Err(SuiteError::Unknown {
                name: name_or_path.to_owned(),
                nearest: nearest(name_or_path),
            });
        }
        let text = std::fs::read_to_string(path).map_err(|source| SuiteError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(name_or_path, &text)
    }

    /// Reads a suite; `origin` is what messages call it.
    ///
    /// # Errors
    /// It is not TOML, has a key that does not exist, lacks one that must, or makes no sense.
    pub fn parse(origin: &str, text: &str) -> Result<Self, SuiteError> {
        let suite: Self = toml::from_str(text).map_err(|error| SuiteError::Text {
            origin: origin.to_owned(),
            line: line_of(text, error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        suite.check().map_err(|flaw| SuiteError::Flawed {
            origin: origin.to_owned(),
            flaw,
        })?;
        Ok(suite)
    }

    /// Names of the suites that are compiled in.
    pub fn built_in() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// SHA-256 over everything that decides what is asked and how it is scored: this, but not the description, and the
    /// versions of drawing and scoring.
    pub fn digest(&self) -> Digest {
        let canonical = Canonical {
            drawing: DRAWING_VERSION,
            scoring: quality::fingerprint(self.tasks.iter().map(|task| task.scoring)),
            name: &self.name,
            version: self.version,
            warm_up: self.warm_up,
            pictures: self.pictures,
            tasks: &self.tasks,
        };
        let text = serde_json::to_vec(&canonical).expect("plain fields, written to memory");
        Digest(Sha256::digest(text).into())
    }

    fn check(&self) -> Result<(), Flaw> {
        if self.tasks.is_empty() {
            return Err(Flaw::NoTask);
        }
        check_name(&self.name)?;
        for (index, task) in self.tasks.iter().enumerate() {
            task.check()?;
            if self.tasks[..index]
                .iter()
                .any(|other| other.name == task.name)
            {
                return Err(Flaw::TwoTasks(task.name.clone()));
            }
        }
        Ok(())
    }
}

impl Task {
    fn check(&self) -> Result<(), Flaw> {
        check_name(&self.name)?;
        let is_direct = self.scoring == Scoring::Direct;
        let has = |place| self.prompt.contains(place);
        match self.relation {
            None if is_direct => Err(Flaw::NoRelation(self.name.clone())),
            Some(_) if !is_direct => Err(Flaw::NotDirect(self.name.clone())),
            _ if has(relation::A) != is_direct || has(relation::B) != is_direct => {
                Err(Flaw::Places(self.name.clone()))
            }
            _ => Ok(()),
        }
    }
}

impl Seed {
    /// Checks the range.
    ///
    /// # Errors
    /// 2⁶² or more.
    pub fn new(seed: u64) -> Result<Self, SeedOutOfRange> {
        if seed < 1 << 62 {
            Ok(Self(seed))
        } else {
            Err(SeedOutOfRange(seed))
        }
    }

    /// Seeds of the measured scenes, in order.
    pub(super) fn measured(self) -> impl Iterator<Item = u64> {
        self.0..
    }

    /// Seeds of the warm-up scenes, in order: none of them is one of [`measured`](Self::measured).
    pub(super) fn warm_up(self) -> impl Iterator<Item = u64> {
        self.0 | 1 << 63..
    }
}

impl TryFrom<u64> for Seed {
    type Error = SeedOutOfRange;

    fn try_from(seed: u64) -> Result<Self, SeedOutOfRange> {
        Self::new(seed)
    }
}

impl From<Seed> for u64 {
    fn from(seed: Seed) -> Self {
        seed.0
    }
}

/// What the digest is taken of, as JSON, in this order.
#[derive(Serialize)]
struct Canonical<'a> {
    drawing: u32,
    scoring: String,
    name: &'a str,
    version: u32,
    warm_up: u32,
    pictures: Scenes,
    tasks: &'a [Task],
}

/// Name and text of the suites that are compiled in.
const BUILT_IN: [(&str, &str); 2] = [
    (
        "edge-vision",
        include_str!("../../../configs/suites/edge-vision.toml"),
    ),
    (
        "spatial-direct",
        include_str!("../../../configs/suites/spatial-direct.toml"),
    ),
];

fn usual_max_tokens() -> NonZeroU32 {
    const { NonZeroU32::new(64).expect("not 0") }
}

fn check_name(name: &str) -> Result<(), Flaw> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err(Flaw::Name(name.to_owned()));
    }
    Ok(())
}

fn known() -> String {
    Suite::built_in()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(" and ")
}

/// The known suite that takes the fewest changes of a letter to get to.
fn nearest(name: &str) -> &'static str {
    Suite::built_in()
        .min_by_key(|known| distance(name, known))
        .expect("some suites are compiled in")
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    before.matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = r#"
        name = "mine"
        version = 3
        description = "mine"
        warm_up = 1
        pictures = { count = 4, seed = 7, side_px = 96 }
        [[task]]
        name = "caption"
        prompt = "Caption this image."
        scoring = "caption"
    "#;

    #[track_caller]
    fn check(old: &str, new: &str, want: &str) {
        let text = SOUND.replace(old, new);
        assert_ne!(text, SOUND, "nothing was replaced");
        let error = Suite::parse("mine.toml", &text).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    }

    #[test]
    fn a_suite_states_its_tasks() {
        let suite = Suite::parse("mine.toml", SOUND).unwrap();
        assert_eq!(suite.tasks[0].max_tokens.get(), 64);
        assert_eq!(suite.pictures.side_px.px(), 96);
    }

    #[test]
    fn a_wrong_key_or_value_is_named_with_its_line() {
        check(
            "prompt =",
            "promt =",
            "suite `mine.toml`, line 9: unknown field `promt`",
        );
        check("seed = 7", "sed = 7", "unknown field `sed`");
        check("warm_up = 1", "", "missing field `warm_up`");
        check("= 96", "= 2000", "96 to 1024 px a side, not at 2000");
        check("= 96", "= 95", "not at 95");
        check("count = 4", "count = 0", "nonzero");
        check("seed = 7", "seed = -1", "-1");
        check("seed = 7", "seed = 5_000_000_000_000_000_000", "below 2^62");
        check(
            "\"caption\"\n    ",
            "\"captain\"\n    ",
            "unknown variant `captain`",
        );
        check("name = \"mine\"", "name = mine", "line 2");
    }

    #[test]
    fn a_senseless_suite_is_refused_with_the_remedy() {
        let (head, task) = SOUND.split_at(SOUND.find("[[task]]").unwrap());
        check(task, "", "it has no task; add a [[task]] table");
        check(
            head,
            &format!("{head}{task}"),
            "two tasks are called `caption`",
        );
        check(
            "\"mine\"\n        version",
            "\"My Suite\"\n        version",
            "name `My Suite`",
        );
        check(
            "scoring = \"caption\"",
            "scoring = \"direct\"",
            "needs `relation`",
        );
        check(
            "scoring = \"caption\"",
            "scoring = \"caption\"\nrelation = \"left_right\"",
            "`relation` goes with scoring \"direct\" only",
        );
        check(
            "scoring = \"caption\"",
            "scoring = \"direct\"\nrelation = \"left_right\"",
            "a direct question's prompt has {a} and {b}",
        );
        check("Caption this image.", "Caption {a}.", "no other prompt has");
    }

    #[test]
    fn an_unknown_suite_is_answered_with_the_known_ones() {
        let message = |name| Suite::load(name).unwrap_err().to_string();
        assert_eq!(
            message("edge-visoin"),
            "no suite `edge-visoin`; did you mean `edge-vision`? Known are `edge-vision` and `spatial-direct`, \
             or give the path of a .toml file"
        );
        assert!(message("spatial").contains("did you mean `spatial-direct`?"));
        assert_eq!(
            message("nowhere/mine.toml"),
            "cannot read suite file `nowhere/mine.toml`"
        );
    }

    #[test]
    fn a_suite_is_read_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        std::fs::write(&path, SOUND).unwrap();
        assert_eq!(Suite::load(path.to_str().unwrap()).unwrap().name, "mine");
    }

    /// What is measured under a name is fixed: a change here needs a new version of the suite, of drawing or of scoring.
    #[test]
    fn the_digests_of_the_suites_compiled_in_never_change() {
        let digests: Vec<String> = Suite::built_in()
            .map(|name| {
                let suite = Suite::load(name).unwrap();
                assert_eq!(suite.name, name);
                format!("{name} {}", suite.digest())
            })
            .collect();
        assert_eq!(
            digests,
            [
                "edge-vision 6bcf2bab001f629abf8858b02ce791637617ac33c41d75cf23095ec60fccd8d2",
                "spatial-direct d272afcde9ef4e060f0e0528c1a477af4e51a8236c1eb10f5039a34a08c2d68e",
            ]
        );
    }

    #[test]
    fn the_digest_sees_what_is_asked_and_not_how_it_is_described() {
        let digest = |text: &str| Suite::parse("mine.toml", text).unwrap().digest();
        let reworded = SOUND.replace("description = \"mine\"", "description = \"our own\"");
        assert_eq!(digest(SOUND), digest(&reworded));
        for (old, new) in [
            ("seed = 7", "seed = 8"),
            ("count = 4", "count = 5"),
            ("image.", "image!"),
            ("warm_up = 1", "warm_up = 2"),
            ("scoring = \"caption\"", "scoring = \"counts\""),
        ] {
            assert_ne!(digest(SOUND), digest(&SOUND.replace(old, new)), "{new}");
        }
    }
}
