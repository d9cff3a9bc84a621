//! What five published studies ask, asked here: the pages of fixtures/studies hold the commands, and the answers of the simulated fleet.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is tests; the lint sees only functions marked as such"
)]

/// Pages of commands and answers.
mod page;

use std::{fs, path::Path, process::Command};

use tokwatt_harness::{CollectorProcess, SimulatedFleet, program, tell};

use crate::page::{Block, Page};

#[test]
fn every_question_of_the_studies_is_answered_as_it_is_written() {
    let is_writing = std::env::var("TOKWATT_STUDIES").is_ok_and(|word| word == "write");
    let folder = tempfile::tempdir().unwrap();
    let collector = CollectorProcess::start(&folder.path().join("collector")).unwrap();
    let fleet = SimulatedFleet::of_seed(1).unwrap();
    fleet
        .deliver(collector.url(), folder.path(), &|_| {})
        .unwrap();
    let ask = |command: &str| answer(&collector, folder.path(), command);
    ask("import published").unwrap();
    let (mut differing, mut refused) = (Vec::new(), Vec::new());
    for mut page in Page::all(Path::new(PAGES)) {
        for block in page.blocks() {
            if !is_writing && block.answer.is_empty() {
                tell(&format!(
                    "left out, no answer is written: {}",
                    block.command
                ));
                continue;
            }
            let answer = match ask(&block.command) {
                Ok(answer) => answer,
                Err(why) => {
                    refused.push(why);
                    continue;
                }
            };
            if !is_writing && !block.varies && block.answer != answer {
                differing.push(difference(&block, &answer));
            }
            block.write(&mut page, &answer);
        }
        if is_writing {
            fs::write(&page.path, &page.text).unwrap();
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(
        differing.is_empty(),
        "`tests/studies --write` writes down what is answered now:\n{}",
        differing.join("\n")
    );
}

/// In a folder that goes away, for a report is one; or what it says where it cannot answer.
fn answer(collector: &CollectorProcess, folder: &Path, command: &str) -> Result<String, String> {
    let mut arguments: Vec<&str> = command
        .split(' ')
        .map(|word| word.trim_matches('\''))
        .collect();
    // What is shipped is checked without a collector.
    if arguments[0] != "check" {
        arguments.extend(["--collector", collector.url()]);
    }
    let output = Command::new(program("tokwatt-collector"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command}\n{said}"));
    }
    let answer = String::from_utf8(output.stdout).unwrap();
    Ok(format!("{}\n", answer.trim_end()))
}

fn difference(block: &Block, answer: &str) -> String {
    format!(
        "--- {}\nwritten:\n{}\nanswered:\n{answer}",
        block.command, block.answer
    )
}

const PAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/studies");
