//! A suite: a named, versioned list of tasks over drawn pictures or stated questions, read from TOML.
//!
//! The keys are explained in `configs/suites/README.md`. Some suites are compiled in; others are files.

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokwatt_domain::{
    ids::{Digest, Name},
    metrics::quality,
    spelling::distance,
    workload::Scoring,
};

use super::{
    chart::{CHART_VERSION, ChartQuestion, Figure},
    padding::PADDING_VERSION,
    picture::Side,
    scene::DRAWING_VERSION,
};

/// One task of a suite.
mod task;

/// Questions with their answers.
mod question;

pub use question::{QuestionFlaw, StatedQuestion};
pub use task::{About, Task};

/// What is asked of a device. [`Suite::parse`] and [`Suite::load`] make only sound ones.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Its name: lower-case letters, digits, `-` and `_`.
    pub name: String,
    /// For people; the digest notices every change by itself.
    pub version: u32,
    /// What it measures and how long that takes.
    pub description: String,
    /// Questions asked before the measured ones and never among them, for each task.
    pub warm_up: u32,
    /// Requests in flight, one closed loop after the other, if nobody asks for others; 1 if it states none.
    #[serde(default)]
    pub concurrency: Vec<NonZeroU32>,
    /// Most requests of a run for each that is in flight: so that a run of one in flight does not take as long as one of many.
    pub requests_per_slot: Option<NonZeroU32>,
    /// The measured pictures; absent where no task is about one.
    pub pictures: Option<Pictures>,
    /// What is asked; at least one.
    #[serde(default, rename = "task")]
    pub tasks: Vec<Task>,
}

/// Which pictures are drawn.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pictures {
    /// How many there are.
    pub count: NonZeroU32,
    /// How many are asked about if nobody asks for more or less; all of them if it is absent.
    #[serde(skip_serializing)]
    pub usual_count: Option<NonZeroU32>,
    /// The first picture's; each further one's is one higher.
    pub seed: Seed,
    /// Their size, if nobody asks for another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side_px: Option<Side>,
    /// Their sizes, where there is more than one: everything is asked at each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sides_px: Vec<Side>,
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
    /// A campaign that asks for one suite must not get another.
    #[error("suite file `{}` calls its suite `{name}`; a suite in this folder is called as its file is", path.display())]
    OtherName {
        /// Which.
        path: PathBuf,
        /// The name in it.
        name: String,
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
    /// A size too few or too many.
    #[error("pictures have either `side_px` or `sides_px`")]
    Sides,
    /// Less than what there is.
    #[error("`usual_count` is at most `count`")]
    UsualCount,
    /// More in flight than can be.
    #[error("`concurrency` is at most {CONCURRENCY_MAX}")]
    Concurrency,
    /// No prompt and no questions.
    #[error("task `{0}`: it has nothing to ask; give it a `prompt`, or [[task.question]] tables")]
    NothingAsked(String),
    /// Both.
    #[error("task `{0}`: it has a `prompt` and questions of its own; leave one of them out")]
    PromptAndQuestions(String),
    /// Nothing to be seen where something has to be.
    #[error(
        "task `{0}`: its prompt is asked about pictures; add [pictures], or [[task.question]] tables in place of `prompt`"
    )]
    NoPictures(String),
    /// Questions with something that goes with pictures.
    #[error(
        "task `{0}`: questions of its own are about no picture; leave out `text_only` and `chart`"
    )]
    QuestionsAlone(String),
    /// A chart that is not to be seen.
    #[error("task `{0}`: `chart` asks about pictures; leave out `text_only`")]
    UnseenChart(String),
    /// A prompt without a right answer that is to be scored.
    #[error(
        "task `{0}`: the answer to one prompt without a picture is not known; its scoring is \"none\""
    )]
    NothingKnown(String),
    /// Scenes that are scored like stated answers.
    #[error("task `{0}`: its scoring is for charts and stated questions, not for scenes")]
    NotOfScenes(String),
    /// A chart's question that is scored in another way than its answer is known.
    #[error("task `{task}`: what it asks about charts is scored by \"{}\"", name_of(*scoring))]
    ChartScoring {
        /// Which.
        task: String,
        /// How it is scored.
        scoring: Scoring,
    },
    /// A place too few or too many.
    #[error(
        "task `{task}`: {place} belongs into the prompts of the questions about charts that need it, and into no others"
    )]
    ChartPlace {
        /// Which.
        task: String,
        /// What stands in the prompt, or does not.
        place: &'static str,
    },
    /// Two questions of one name.
    #[error("task `{task}`: two questions are called `{question}`; give each its own name")]
    TwoQuestions {
        /// Of which task.
        task: String,
        /// Which.
        question: String,
    },
    /// A question that makes no sense.
    #[error("task `{task}`, question `{question}`: {problem}")]
    Question {
        /// Of which task.
        task: String,
        /// Which.
        question: String,
        /// What is wrong.
        problem: QuestionFlaw,
    },
    /// A form without documents, or documents without one.
    #[error("task `{0}`: `schema` goes with scoring \"json\", and that with `schema`")]
    Schema(String),
    /// Rounds of what is asked once for each picture.
    #[error("task `{0}`: `rounds` goes with [[task.question]] tables only")]
    Rounds(String),
    /// Questions are as long as they are.
    #[error("task `{0}`: `prompt_words` goes with `prompt` only")]
    PaddedQuestions(String),
    /// A prompt that is too long already.
    #[error(
        "task `{task}`: `prompt_words` is at least its prompt's own {own} and at most {}",
        task::WORDS_MAX
    )]
    Words {
        /// Which.
        task: String,
        /// Of its prompt.
        own: u32,
    },
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

    /// Finds a suite by name, among the built-in ones or as NAME.toml in the folder of one's own, or reads the file at a path.
    ///
    /// # Errors
    /// None of them exists, or the file is no sound suite, or has another name inside.
    pub fn find(name_or_path: &str, own: Option<&Path>) -> Result<Self, SuiteError> {
        let is_name = Name::parse(name_or_path).is_ok();
        let own = own.filter(|_| is_name && !Self::built_in().any(|name| name == name_or_path));
        let file = own.map(|folder| folder.join(format!("{name_or_path}.toml")));
        let Some(file) = file.filter(|file| file.is_file()) else {
            return Self::load(name_or_path);
        };
        let suite = Self::load(&file.to_string_lossy())?;
        match suite.name == name_or_path {
            true => Ok(suite),
            false => Err(SuiteError::OtherName {
                path: file,
                name: suite.name,
            }),
        }
    }

    /// Names of the suites of one's own that can be asked for: sound, and called as their files are.
    pub fn own(folder: &Path) -> Vec<Name> {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let sound = files.filter_map(|file| {
            let path = file.path();
            let is_suite = path
                .extension()
                .is_some_and(|extension| extension == "toml");
            let name = path.file_stem()?.to_str().filter(|_| is_suite)?;
            let name = Name::parse(name).ok()?;
            match Self::find(name.as_str(), Some(folder)) {
                Ok(_) => Some(name),
                Err(error) => {
                    tracing::warn!(%error, "a suite cannot be asked for");
                    None
                }
            }
        });
        let mut names: Vec<Name> = sound
            .filter(|name| !Self::built_in().any(|built_in| built_in == name.as_str()))
            .collect();
        names.sort_unstable();
        names
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

    /// SHA-256 over everything that decides what is asked and how it is scored: this, but not the description nor how much is
    /// asked at once, and the versions of what is drawn and of the ways of scoring that it uses.
    pub fn digest(&self) -> Digest {
        let has = |is_so: fn(&Task) -> bool| self.tasks.iter().any(is_so);
        let has_scenes = has(|task| matches!(task.about(), About::Scenes(_)));
        let has_charts = has(|task| task.chart.is_some());
        let has_padding = has(|task| task.prompt_words.is_some());
        let canonical = Canonical {
            drawing: has_scenes.then_some(DRAWING_VERSION),
            charts: has_charts.then_some(CHART_VERSION),
            padding: has_padding.then_some(PADDING_VERSION),
            scoring: quality::fingerprint(self.tasks.iter().map(|task| task.scoring)),
            name: &self.name,
            version: self.version,
            warm_up: self.warm_up,
            pictures: self.pictures.as_ref(),
            tasks: &self.tasks,
        };
        let text = serde_json::to_vec(&canonical).expect("plain fields, written to memory");
        Digest(Sha256::digest(text).into())
    }

    /// Which charts its tasks ask about, each once.
    pub fn figures(&self) -> Vec<Figure> {
        let charts = self.tasks.iter().filter_map(|task| task.chart);
        let mut figures: Vec<Figure> = charts.map(ChartQuestion::figure).collect();
        figures.sort_unstable();
        figures.dedup();
        figures
    }

    fn check(&self) -> Result<(), Flaw> {
        if self.tasks.is_empty() {
            return Err(Flaw::NoTask);
        }
        check_name(&self.name)?;
        if self.concurrency.iter().any(|n| n.get() > CONCURRENCY_MAX) {
            return Err(Flaw::Concurrency);
        }
        if let Some(pictures) = &self.pictures {
            pictures.check()?;
        }
        for (index, task) in self.tasks.iter().enumerate() {
            task.check(self.pictures.is_some())?;
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

impl Pictures {
    /// The sizes at which everything is asked.
    pub fn sides(&self) -> Vec<Side> {
        self.side_px
            .into_iter()
            .chain(self.sides_px.iter().copied())
            .collect()
    }

    /// How many are asked about if nobody says.
    pub fn usually(&self) -> u32 {
        self.usual_count.unwrap_or(self.count).get()
    }

    fn check(&self) -> Result<(), Flaw> {
        if self.side_px.is_some() != self.sides_px.is_empty() {
            return Err(Flaw::Sides);
        }
        if self.usual_count > Some(self.count) {
            return Err(Flaw::UsualCount);
        }
        Ok(())
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
    #[serde(skip_serializing_if = "Option::is_none")]
    drawing: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    charts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    padding: Option<u32>,
    scoring: String,
    name: &'a str,
    version: u32,
    warm_up: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pictures: Option<&'a Pictures>,
    tasks: &'a [Task],
}

/// Name and text of the suites that are compiled in.
const BUILT_IN: [(&str, &str); 7] = [
    (
        "edge-vision",
        include_str!("../../../configs/suites/edge-vision.toml"),
    ),
    (
        "spatial-direct",
        include_str!("../../../configs/suites/spatial-direct.toml"),
    ),
    (
        "charts",
        include_str!("../../../configs/suites/charts.toml"),
    ),
    (
        "text-seven",
        include_str!("../../../configs/suites/text-seven.toml"),
    ),
    (
        "german-plc",
        include_str!("../../../configs/suites/german-plc.toml"),
    ),
    (
        "concurrency",
        include_str!("../../../configs/suites/concurrency.toml"),
    ),
    ("batch", include_str!("../../../configs/suites/batch.toml")),
];

/// More is no load that a device serves, but a mistake.
const CONCURRENCY_MAX: u32 = 1024;

/// As it is written in a suite.
fn name_of(scoring: Scoring) -> String {
    let name = serde_json::to_value(scoring).expect("a plain word");
    name.as_str().unwrap_or_default().to_owned()
}

fn check_name(name: &str) -> Result<(), Flaw> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err(Flaw::Name(name.to_owned()));
    }
    Ok(())
}

fn known() -> String {
    let names: Vec<String> = Suite::built_in().map(|name| format!("`{name}`")).collect();
    names.join(", ")
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
    fn a_suite_of_ones_own_is_found_by_the_name_that_it_and_its_file_have() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(folder.path().join(name), SOUND).unwrap();
        let find = |name| Suite::find(name, Some(folder.path()));
        for name in ["mine.toml", "other.toml", "edge-vision.toml", "mine"] {
            write(name);
        }
        std::fs::write(folder.path().join("broken.toml"), "name = 1").unwrap();
        assert_eq!(Suite::own(folder.path()), [Name::parse("mine").unwrap()]);
        assert_eq!(find("mine").unwrap().name, "mine");
        assert_eq!(find("edge-vision").unwrap().name, "edge-vision");
        assert!(matches!(find("other"), Err(SuiteError::OtherName { .. })));
        assert!(matches!(find("mime"), Err(SuiteError::Unknown { .. })));
        assert!(matches!(find("../mine"), Err(SuiteError::Read { .. })));
    }

    #[test]
    fn a_suite_states_its_tasks() {
        let suite = Suite::parse("mine.toml", SOUND).unwrap();
        assert_eq!(suite.tasks[0].max_tokens.get(), 64);
        assert_eq!(suite.pictures.unwrap().sides()[0].px(), 96);
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
            "no suite `edge-visoin`; did you mean `edge-vision`? Known are `edge-vision`, `spatial-direct`, `charts`, \
             `text-seven`, `german-plc`, `concurrency`, `batch`, or give the path of a .toml file"
        );
        assert!(message("spatial_direct").contains("did you mean `spatial-direct`?"));
        assert!(message("german").contains("did you mean `german-plc`?"));
        assert_eq!(
            message("nowhere/mine.toml"),
            "cannot read suite file `nowhere/mine.toml`"
        );
    }

    const STATED: &str = r#"
        name = "stated"
        version = 1
        description = "stated"
        warm_up = 1
        [[task]]
        name = "sums"
        scoring = "number"
        rounds = 2
        [[task.question]]
        name = "one"
        prompt = "1 + 1?"
        number = 2
        history = [{ speaker = "user", text = "Hello." }, { speaker = "assistant", text = "Hello!" }]
    "#;

    #[track_caller]
    fn check_stated(old: &str, new: &str, want: &str) {
        let text = STATED.replace(old, new);
        assert_ne!(text, STATED, "nothing was replaced");
        let error = Suite::parse("stated.toml", &text).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    }

    #[test]
    fn a_suite_may_state_its_questions() {
        let suite = Suite::parse("stated.toml", STATED).unwrap();
        assert!(suite.pictures.is_none() && !suite.tasks[0].has_pictures());
        assert_eq!(suite.tasks[0].questions[0].history.len(), 2);
    }

    #[test]
    fn a_question_whose_answer_cannot_be_scored_is_refused() {
        let number = "number = 2\n";
        check_stated(number, "", "question `one`: it states no `number`");
        check_stated(number, "facts = [[\"two\"]]\n", "`facts` does not go with");
        check_stated(
            number,
            "number = nan\n",
            "`number` and `tolerance` are finite",
        );
        check_stated(number, "number = 2\ntolerance = -1\n", "not below 0");
        let scored = |scoring: &str, answer: &str, want| {
            let text = STATED.replace("\"number\"", &format!("\"{scoring}\""));
            let text = text.replace(number, &format!("{answer}\n"));
            let error = Suite::parse("stated.toml", &text).unwrap_err();
            assert!(error.to_string().contains(want), "{error}");
        };
        scored(
            "facts",
            "facts = [[\"two\", \"*\"]]",
            "has a letter or a digit",
        );
        scored("facts", "facts = [[]]", "is a list of names");
        scored(
            "direct",
            "expected = \"two\"\nchoices = [\"one\"]",
            "`expected` is none of its `choices`",
        );
        scored("json", "json = 2", "`schema` goes with scoring \"json\"");
        scored(
            "caption",
            "",
            "states no answer that its task's scoring could read",
        );
        scored("none", "number = 2", "`number` does not go with");
    }

    #[test]
    fn a_document_has_to_match_its_schema() {
        let with = |schema: &str, json: &str| {
            let text = STATED.replace(
                "scoring = \"number\"",
                &format!("scoring = \"json\"\nschema = {schema}"),
            );
            Suite::parse(
                "stated.toml",
                &text.replace("number = 2", &format!("json = {json}")),
            )
        };
        let message = |schema, json| with(schema, json).unwrap_err().to_string();
        assert!(with("{ type = \"integer\", minimum = 2 }", "2").is_ok());
        assert!(message("{ type = \"string\" }", "2").contains("does not match"));
        let unknown = message("{ type = \"string\", minLength = 3 }", "\"two\"");
        assert!(unknown.contains("unknown field `minLength`"), "{unknown}");
    }

    #[test]
    fn a_history_is_a_conversation() {
        let check = |history: &str, want: bool| {
            let (start, _) = STATED.split_once("history").unwrap();
            let text = format!("{start}history = [{history}]");
            let suite = Suite::parse("stated.toml", &text);
            assert_eq!(suite.is_ok(), want, "{history}: {suite:?}");
        };
        let [system, user, assistant] = ["system", "user", "assistant"]
            .map(|speaker| format!("{{ speaker = \"{speaker}\", text = \"x\" }}"));
        check("", true);
        check(&system, true);
        check(&format!("{system}, {user}, {assistant}"), true);
        check(&format!("{user}, {assistant}, {user}, {assistant}"), true);
        check(&user, false);
        check(&assistant, false);
        check(&format!("{user}, {assistant}, {assistant}"), false);
        check(&format!("{user}, {system}"), false);
        check(&format!("{user}, {assistant}, {system}"), false);
        check("{ speaker = \"judge\", text = \"x\" }", false);
    }

    #[test]
    fn a_task_without_a_picture_is_refused_what_goes_with_one() {
        check_stated("rounds = 2", "text_only = true", "leave out `text_only`");
        check_stated(
            "rounds = 2",
            "prompt_words = 9",
            "`prompt_words` goes with `prompt` only",
        );
        check_stated(
            "rounds = 2",
            "prompt = \"Hi\"",
            "a `prompt` and questions of its own",
        );
        let question = &STATED[STATED.find("[[task.question]]").unwrap()..];
        check_stated(question, "", "it has nothing to ask");
        let bare = format!("rounds = 2\n        {question}");
        check_stated(&bare, "prompt = \"Hi\"\n", "add [pictures]");
        check_stated(
            "warm_up = 1",
            "warm_up = 1\nconcurrency = [2000]",
            "at most 1024",
        );
        check_stated(
            "        [[task.question]]",
            &format!("{question}[[task.question]]"),
            "two questions are called `one`",
        );
    }

    #[test]
    fn a_chart_is_asked_about_as_its_answer_is_known() {
        let caption = "scoring = \"caption\"";
        let with = |keys: &'static str| move |want| check(caption, keys, want);
        with("scoring = \"number\"\nchart = \"trend\"")("is scored by \"direct\"");
        with("scoring = \"number\"\nchart = \"bar_value\"")("{bar} belongs into");
        with("scoring = \"direct\"\nchart = \"trend\"\ntext_only = true")("leave out `text_only`");
        with("scoring = \"caption\"\ntext_only = true")("its scoring is \"none\"");
        with("scoring = \"number\"")("not for scenes");
        with("scoring = \"caption\"\nrounds = 2")("`rounds` goes with");
        with("scoring = \"caption\"\nprompt_words = 2")("at least its prompt's own 3");
        check(
            "side_px = 96",
            "side_px = 96, sides_px = [128]",
            "either `side_px` or `sides_px`",
        );
        check(", side_px = 96", "", "either `side_px` or `sides_px`");
        check(
            "side_px = 96",
            "side_px = 96, usual_count = 5",
            "`usual_count` is at most `count`",
        );
    }

    /// So that a slip in a suite of ours cannot make every model wrong.
    #[test]
    fn the_stated_answers_of_the_suites_compiled_in_are_right() {
        let suites = Suite::built_in().map(|name| Suite::load(name).unwrap());
        for task in suites.flat_map(|suite| suite.tasks) {
            for question in &task.questions {
                let truth = question.truth(task.scoring, task.schema.as_ref()).unwrap();
                let answer = quality::canonical_answer(task.scoring, &truth).unwrap();
                let score = quality::score(task.scoring, &answer, &truth).unwrap();
                assert_eq!(score.is_correct, Some(true), "{}: {answer}", question.name);
            }
        }
    }

    #[test]
    fn how_much_is_asked_at_once_is_none_of_the_digests_business() {
        let digest = |text: &str| Suite::parse("mine.toml", text).unwrap().digest();
        let eager = SOUND.replace(
            "warm_up = 1",
            "warm_up = 1\nconcurrency = [1, 4]\nrequests_per_slot = 20",
        );
        let eager = eager.replace("count = 4", "count = 4, usual_count = 2");
        assert_eq!(digest(SOUND), digest(&eager));
        let fixed = SOUND.replace("scoring", "fixed_length = true\nscoring");
        assert_ne!(digest(SOUND), digest(&fixed));
        let sides = SOUND.replace("side_px = 96", "sides_px = [96]");
        assert_ne!(digest(SOUND), digest(&sides));
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
                "charts 21e4f7c657d7651193888b9d3812a339e1609b614a7c3465f43706f91864b3b0",
                "text-seven 46da8afc80e2a6e36dff60452a193abc89f280c7ecbbd0f6898774d2c7c15426",
                "german-plc 5a92f7a2135c639b4ff8f5f61e79081e0cc452ceec391d734e24641b733de4b5",
                "concurrency f96cb24cd26e316b50b3942dd07fb2d34407cf94f10ef1385e94afc030a786cb",
                "batch 80a9ded435290358c74c5b2232f6b045b13ccff81245689aa154152d83c97370",
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
