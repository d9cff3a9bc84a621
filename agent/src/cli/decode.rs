//! `decode KIND < FILE`: reads what a device's tool prints, writes JSON; also how a new variant is reported.

use std::io::{BufRead, Read, Write};

use clap::Args;

use super::Exit;
use crate::decode::{Kind, decode as read};

#[derive(Args)]
pub(super) struct DecodeArgs {
    /// tegrastats (one object a line), nvpmodel, release, dgx-release, model, compatible
    kind: Kind,
    /// Accepted so that scripts may say it: the output is always JSON
    #[arg(long, default_value = "json", value_parser = ["json"], hide = true)]
    format: String,
}

pub(super) fn decode(args: &DecodeArgs) -> anyhow::Result<Exit> {
    let input = std::io::stdin().lock();
    let unread = if args.kind.is_by_line() {
        by_line(args.kind, input)?
    } else {
        whole(args.kind, input)?
    };
    Ok(if unread == 0 {
        Exit::Done
    } else {
        Exit::FoundWrong
    })
}

/// A line that cannot be read is reported and counted, and the next one is read.
fn by_line(kind: Kind, input: impl BufRead) -> anyhow::Result<u64> {
    let mut unread = 0;
    for (number, line) in input.split(b'\n').enumerate() {
        let line = line?;
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() && !write_one(kind, &text, &format!("line {}", number + 1))? {
            unread += 1;
        }
    }
    Ok(unread)
}

fn whole(kind: Kind, mut input: impl Read) -> anyhow::Result<u64> {
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes)?;
    let is_read = write_one(kind, &String::from_utf8_lossy(&bytes), "input")?;
    Ok(u64::from(!is_read))
}

fn write_one(kind: Kind, text: &str, place: &str) -> anyhow::Result<bool> {
    match read(kind, text) {
        Ok(value) => {
            writeln!(std::io::stdout().lock(), "{value}")?;
            Ok(true)
        }
        Err(error) => {
            writeln!(std::io::stderr().lock(), "tokwatt-agent: {place}: {error}")?;
            Ok(false)
        }
    }
}
