//! `suites list|show|draw`: what can be asked, and pictures of it.

use std::{io::Write, num::NonZeroU32, path::PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use tokwatt_domain::ids::Name;

use super::{Exit, General};
use crate::{
    settings::Given,
    workload::{
        gallery::{Drawing, draw_to_folder},
        picture::Side,
        suite::{Suite, Task},
    },
};

#[derive(Args)]
pub(super) struct SuitesArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// The suites that are built in, and those of the configuration's folder
    List,
    /// One suite: what it measures, its tasks and prompts
    Show {
        /// Name of a built-in suite or of one in the configuration's folder, or a file
        suite: String,
    },
    /// Draw scenes or charts as PNG files with truth.jsonl and a contact sheet
    Draw {
        /// Folder to write into; made if it is not there, refused if it is not empty
        out: PathBuf,
        /// Whose pictures: a suite by its name, or a file; what it asks about them is in truth.jsonl only as far as it is drawn
        #[arg(long, default_value = "edge-vision", value_name = "NAME|FILE")]
        suite: String,
        /// How many
        #[arg(long, default_value = "32")]
        count: NonZeroU32,
        /// Where the generator starts
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Side in pixels, 96 to 1024; the suite's own without it
        #[arg(long, value_name = "PX")]
        size: Option<u32>,
    },
}

pub(super) fn suites(general: General, args: &SuitesArgs) -> anyhow::Result<Exit> {
    let settings = general.settings(Given::default())?;
    let own = settings.suites.value.as_deref();
    let find = |name: &str| Suite::find(name, own);
    let mut out = std::io::stdout().lock();
    match &args.action {
        Action::List => {
            let own = own.map_or_else(Vec::new, Suite::own);
            let built_in = Suite::built_in().map(str::to_owned);
            for name in built_in.chain(own.iter().map(Name::to_string)) {
                writeln!(out, "{name}")?;
                write_wrapped(&find(&name)?.description, "  ", &mut out)?;
            }
        }
        Action::Show { suite } => show(&find(suite)?, &mut out)?,
        Action::Draw {
            out: folder,
            suite,
            count,
            seed,
            size,
        } => {
            let suite = find(suite).context("--suite")?;
            let drawing = drawing(&suite)?;
            let side = match (size, &suite.pictures) {
                (Some(px), _) => Side::new(*px).context("--size")?,
                (None, Some(pictures)) => pictures.sides()[0],
                (None, None) => Side::SMALLEST,
            };
            draw_to_folder(folder, &drawing, *count, *seed, side)?;
            writeln!(
                out,
                "{count} {}, truth.jsonl and contact_sheet.png are in {}",
                drawing.noun(),
                folder.display()
            )?;
        }
    }
    Ok(Exit::Done)
}

/// What a suite's pictures are of.
fn drawing(suite: &Suite) -> anyhow::Result<Drawing> {
    let figures = suite.figures();
    let has_pictures = suite.tasks.iter().any(Task::has_pictures);
    ensure!(
        has_pictures,
        "--suite: `{}` asks about no picture",
        suite.name
    );
    Ok(match figures.is_empty() {
        true => Drawing::Scenes,
        false => Drawing::Charts(figures),
    })
}

fn show(suite: &Suite, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "{} version {}", suite.name, suite.version)?;
    writeln!(out, "digest    {}", suite.digest())?;
    if let Some(pictures) = &suite.pictures {
        let sides = pictures
            .sides()
            .into_iter()
            .map(|side| side.px().to_string());
        let sides: Vec<String> = sides.collect();
        writeln!(
            out,
            "pictures  {} at {} px{}",
            pictures.count,
            sides.join(", "),
            match pictures.usual_count {
                Some(usual) => format!(", {usual} of them unless --limit says otherwise"),
                None => String::new(),
            }
        )?;
    }
    if !suite.concurrency.is_empty() {
        let loads: Vec<String> = suite.concurrency.iter().map(|n| n.to_string()).collect();
        writeln!(out, "in flight {}", loads.join(", "))?;
    }
    if let Some(each) = suite.requests_per_slot {
        writeln!(out, "requests  at most {each} for each in flight")?;
    }
    writeln!(out)?;
    write_wrapped(&suite.description, "", out)?;
    for task in &suite.tasks {
        show_task(task, out)?;
    }
    Ok(())
}

fn show_task(task: &Task, out: &mut impl Write) -> anyhow::Result<()> {
    let length = if task.fixed_length {
        "exactly"
    } else {
        "at most"
    };
    let mut about = format!("{length} {} tokens", task.max_tokens);
    if let Some(words) = task.prompt_words {
        about += &format!(", prompts of {words} words");
    }
    if let Some(rounds) = task.rounds {
        about += &format!(", each question {rounds} times");
    }
    writeln!(out, "\n{} ({about})", task.name)?;
    if let Some(prompt) = &task.prompt {
        return write_wrapped(prompt, "  ", out);
    }
    for question in &task.questions {
        let before = match question.history.len() {
            0 => String::new(),
            turns => format!(" (after {turns} turns)"),
        };
        writeln!(out, "  {}{before}", question.name)?;
        write_wrapped(&question.prompt, "    ", out)?;
    }
    if let Some(schema) = &task.schema {
        write_wrapped(&format!("schema: {schema}"), "  ", out)?;
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
