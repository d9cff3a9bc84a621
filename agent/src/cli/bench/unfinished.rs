//! A bench that was interrupted: said, gone on with, or given up, but never forgotten.
//!
//! Why it is asked for and not guessed: the same command may be meant to begin anew, because the first try was disturbed; and a bench
//! that goes on is another one than one in a piece, and says so (`resumed`).

use std::collections::BTreeMap;

use anyhow::Context;
use tokwatt_domain::{campaign::JobRef, ids::Name, time::Stamp};

use super::BenchArgs;
use crate::{
    attend::child::{JOB_KEY, job_of},
    runner::{abandon, asked_so_far, last_stamp},
    settings::Settings,
    spool::{Spool, Unfinished},
    workload::plan::Plan,
};

/// What was asked for, as far as it decides which runs there are and what they measure: flag to value. What else makes a cell, such as
/// the engine's version, is compared when it is loaded.
type Description = BTreeMap<String, String>;

/// Why a bench is not begun, nor gone on with.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// Nobody said what is to become of the one that was interrupted.
    #[error(
        "a bench was interrupted, and {0}; its command with --resume goes on with it, --abandon gives it up and begins this one"
    )]
    Interrupted(String),
    /// The same, of one that nobody typed.
    #[error(
        "a job of a campaign was interrupted, and {0}; `tokwatt-agent run` goes on with it, --abandon gives it up and begins this one"
    )]
    OfAJob(String),
    /// This is not the one that was interrupted.
    #[error(
        "--resume: the bench that was interrupted was asked for otherwise: {}; ask for the same, or give it up with --abandon in place of --resume",
        .0.join(", ")
    )]
    AskedOtherwise(Vec<String>),
}

/// Begins the bench in the spool, or goes on with the one that is there; then after the stamp that is returned.
///
/// # Errors
/// One was interrupted and nobody said what is to become of it, or it was asked for otherwise.
pub(super) fn take_up(
    spool: &Spool,
    args: &BenchArgs,
    settings: &Settings,
    plan: &Plan,
) -> anyhow::Result<Option<Stamp>> {
    let asked = description(args, settings, plan);
    let interrupted = spool.unfinished()?.filter(Unfinished::has_measured);
    match interrupted {
        Some(interrupted) if args.resume => {
            let before: Description = serde_json::from_str(&interrupted.description)
                .context("cannot read what the interrupted bench was asked for")?;
            let differ = differences(&before, &asked);
            if !differ.is_empty() {
                return Err(Refused::AskedOtherwise(differ).into());
            }
            Ok(Some(last_stamp(spool)?.unwrap_or_default()))
        }
        Some(interrupted) if !args.abandon => {
            let so_far = so_far(spool, &interrupted)?;
            Err(match job_of(&interrupted) {
                Some(_) => Refused::OfAJob(so_far),
                None => Refused::Interrupted(so_far),
            }
            .into())
        }
        Some(_) => {
            abandon(spool)?;
            begin(spool, &asked)
        }
        None => begin(spool, &asked),
    }
}

fn begin(spool: &Spool, asked: &Description) -> anyhow::Result<Option<Stamp>> {
    spool.begin_bench(&serde_json::to_string(asked)?)?;
    Ok(None)
}

fn description(args: &BenchArgs, settings: &Settings, plan: &Plan) -> Description {
    let all = |values: Vec<String>| match values.is_empty() {
        true => "none".to_owned(),
        false => values.join(","),
    };
    let path = |path: &Option<std::path::PathBuf>| {
        all(path.iter().map(|path| path.display().to_string()).collect())
    };
    let cells = plan.cells.iter().map(|cell| {
        let size = cell
            .image_px
            .map_or_else(|| "own".to_owned(), |px| px.to_string());
        format!("{} {} of {size} px", cell.items.len(), cell.task)
    });
    let number = |number: Option<u32>| all(number.iter().map(u32::to_string).collect());
    let loads = args.load.loads(&plan.concurrency);
    let limits = args.load.limits();
    [
        ("--suite", format!("{} {}", plan.suite, plan.digest)),
        ("questions", all(cells.collect())),
        ("--backend", args.backend.name().to_owned()),
        ("--model", path(&args.model)),
        ("--mmproj", path(&args.mmproj)),
        (
            "--url",
            all(settings.backend_url.value.iter().cloned().collect()),
        ),
        ("--precision", all(args.precision.clone())),
        ("--repeat", args.repeat.to_string()),
        ("load", all(loads.iter().map(ToString::to_string).collect())),
        (
            "--goodput",
            all(limits.iter().map(ToString::to_string).collect()),
        ),
        ("--timeout", format!("{:?}", args.timeout)),
        ("--max-tokens", number(args.max_tokens)),
        ("--threads", number(args.threads)),
        ("--no-stream", args.no_stream.to_string()),
        ("--quick", args.quick.to_string()),
        (
            "--models",
            all(args.models.iter().map(Name::to_string).collect()),
        ),
        (
            "--servers",
            all(args.servers.iter().map(Name::to_string).collect()),
        ),
        (
            JOB_KEY,
            all(args.job.iter().map(JobRef::to_string).collect()),
        ),
        ("--power", settings.power.value.clone()),
        ("--power-modes", all(args.power_modes.clone())),
        (
            "--host-root",
            settings.host_root.value.display().to_string(),
        ),
    ]
    .map(|(flag, value)| (flag.to_owned(), value))
    .into()
}

fn differences(before: &Description, now: &Description) -> Vec<String> {
    let flags = now
        .keys()
        .chain(before.keys().filter(|flag| !now.contains_key(*flag)));
    let of = |asked: &Description, flag: &str| {
        asked
            .get(flag)
            .map_or_else(|| "none".to_owned(), Clone::clone)
    };
    flags
        .filter(|flag| of(before, flag) != of(now, flag))
        .map(|flag| format!("{flag} was {}, now {}", of(before, flag), of(now, flag)))
        .collect()
}

/// What there is of it.
fn so_far(spool: &Spool, unfinished: &Unfinished) -> anyhow::Result<String> {
    let runs = match unfinished.next {
        1 => "1 run of it is finished".to_owned(),
        n => format!("{n} runs of it are finished"),
    };
    if unfinished.open.is_none() {
        return Ok(runs);
    }
    // What cannot be read is for --resume and --abandon to say.
    let requests = match asked_so_far(spool) {
        Ok(asked) => format!("{asked} requests"),
        Err(_) => "some requests".to_owned(),
    };
    Ok(format!("{runs}, with {requests} of the next one kept"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_by_its_flag() {
        let asked = |pairs: &[(&str, &str)]| -> Description {
            let owned = |(flag, value): &(&str, &str)| ((*flag).to_owned(), (*value).to_owned());
            pairs.iter().map(owned).collect()
        };
        let before = asked(&[("--repeat", "3"), ("--quick", "true"), ("--old", "x")]);
        let now = asked(&[("--repeat", "5"), ("--quick", "true"), ("--new", "none")]);
        assert_eq!(
            differences(&before, &now),
            ["--repeat was 3, now 5", "--old was x, now none"]
        );
    }
}
