//! `suites list|show|draw`: what can be asked, and pictures of it.

use std::{io::Write, num::NonZeroU32, path::PathBuf};

use clap::{Args, Subcommand};

use super::Exit;
use crate::workload::{
    gallery::{Drawing, draw_to_folder},
    picture::Side,
    suite::Suite,
};

#[derive(Args)]
pub(super) struct SuitesArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// The suites that are built in
    List,
    /// One suite: what it measures, its tasks and prompts
    Show {
        /// Name of a built-in suite, or a file
        suite: String,
    },
    /// Draw scenes as PNG files with truth.jsonl and a contact sheet
    Draw {
        /// Folder to write into; made if it is not there, refused if it is not empty
        out: PathBuf,
        /// How many
        #[arg(long, default_value = "32")]
        count: NonZeroU32,
        /// Where the generator starts
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Side in pixels, 96 to 1024
        #[arg(long, default_value_t = 96)]
        size: u32,
    },
}

pub(super) fn suites(args: &SuitesArgs) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    match &args.action {
        Action::List => {
            for name in Suite::built_in() {
                writeln!(out, "{name}")?;
                write_wrapped(&Suite::load(name)?.description, "  ", &mut out)?;
            }
        }
        Action::Show { suite } => show(&Suite::load(suite)?, &mut out)?,
        Action::Draw {
            out: folder,
            count,
            seed,
            size,
        } => {
            draw_to_folder(folder, &Drawing::Scenes, *count, *seed, Side::new(*size)?)?;
            writeln!(
                out,
                "{count} scenes, truth.jsonl and contact_sheet.png are in {}",
                folder.display()
            )?;
        }
    }
    Ok(Exit::Done)
}

fn show(suite: &Suite, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "{} version {}", suite.name, suite.version)?;
    writeln!(out, "digest    {}", suite.digest())?;
    writeln!(out)?;
    write_wrapped(&suite.description, "", out)?;
    for task in &suite.tasks {
        writeln!(out, "\n{} (at most {} tokens)", task.name, task.max_tokens)?;
        writeln!(out, "  {}", task.prompt)?;
    }
    Ok(())
}

/// A text in lines of at most [`COLUMNS`], broken between words.
fn write_wrapped(text: &str, indent: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let mut line = indent.to_owned();
    for word in text.split_whitespace() {
        let is_first = line.len() == indent.len();
        if !is_first && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            writeln!(out, "{line}")?;
            indent.clone_into(&mut line);
        } else if !is_first {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(out, "{line}")?;
    Ok(())
}

const COLUMNS: usize = 100;
