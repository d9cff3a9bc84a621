//! `decode KIND < FILE`: reads lines of a device's tool, prints one JSON object a line; also how a new variant is reported.

use std::io::{BufRead, Write};

use clap::Args;

use super::Exit;
use crate::power::decode::{Kind, decode as read_line};

#[derive(Args)]
pub(super) struct DecodeArgs {
    /// Whose lines
    #[arg(value_enum)]
    kind: Kind,
    /// Accepted for symmetry: the output is always JSON
    #[arg(long, default_value = "json", value_parser = ["json"], hide = true)]
    format: String,
}

pub(super) fn decode(args: &DecodeArgs) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    let mut unread = 0_u64;
    for line in std::io::stdin().lock().split(b'\n') {
        let line = line?;
        let text = String::from_utf8_lossy(&line);
        if text.trim().is_empty() {
            continue;
        }
        let value = read_line(args.kind, &text);
        if value.get("error").is_some() {
            unread += 1;
        }
        writeln!(out, "{value}")?;
    }
    if unread > 0 {
        tracing::warn!(lines = unread, "lines that could not be read");
    }
    Ok(if unread == 0 { Exit::Done } else { Exit::FoundWrong })
}
