//! A page of Markdown with commands in it, each with its answer below:
//!
//! ````text
//! ```console
//! $ tokwatt-collector rank --metric ttft
//! what it answers
//! ```
//! ````
//!
//! `console varies` is a command whose answer is not the same every time.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A page.
pub(crate) struct Page {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// A command in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Block {
    /// Without the program.
    pub(crate) command: String,
    /// Empty where none is written.
    pub(crate) answer: String,
    /// Whether it differs from time to time.
    pub(crate) varies: bool,
}

impl Page {
    /// All pages of a folder, by name.
    pub(crate) fn all(folder: &Path) -> Vec<Self> {
        let entries = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut paths: Vec<PathBuf> = entries.collect();
        paths.sort();
        let read = |path: PathBuf| Self {
            text: fs::read_to_string(&path).unwrap(),
            path,
        };
        paths.into_iter().map(read).collect()
    }

    /// Its commands, in order.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut rest = self.text.as_str();
        while let Some((_, after)) = rest.split_once("\n```console") {
            let (head, body) = after.split_once("\n$ tokwatt-collector ").unwrap();
            let (command, answer) = body.split_once('\n').unwrap();
            let end = match answer.starts_with(FENCE) {
                true => 0,
                false => 1 + answer.find(&format!("\n{FENCE}\n")).unwrap(),
            };
            blocks.push(Block {
                command: command.to_owned(),
                answer: answer[..end].to_owned(),
                varies: head == " varies",
            });
            rest = &answer[end..];
        }
        blocks
    }
}

impl Block {
    /// Puts an answer below the command.
    pub(crate) fn write(&self, page: &mut Page, answer: &str) {
        let command = format!("\n$ tokwatt-collector {}\n", self.command);
        let before = format!("{command}{}{FENCE}", self.answer);
        let after = format!("{command}{}\n{FENCE}", answer.trim_end());
        page.text = page.text.replacen(&before, &after, 1);
    }
}

const FENCE: &str = "```";

#[test]
fn a_command_gets_its_answer_and_nothing_else_changes() {
    let text = "# T\n\n```console\n$ tokwatt-collector rank a\n```\n\nwords\n\n```console varies\n$ tokwatt-collector rank b\nold\nanswer\n```\n";
    let mut page = Page {
        path: PathBuf::new(),
        text: text.to_owned(),
    };
    let blocks = page.blocks();
    assert_eq!(
        (blocks[0].command.as_str(), blocks[0].answer.as_str()),
        ("rank a", "")
    );
    assert_eq!(blocks[1].answer, "old\nanswer\n");
    assert!(blocks[1].varies && !blocks[0].varies);
    blocks[0].write(&mut page, "new\n");
    let want = text.replace("rank a\n", "rank a\nnew\n");
    assert_eq!(page.text, want);
    assert_eq!(page.blocks()[0].answer, "new\n");
}
