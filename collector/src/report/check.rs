//! A check for people: what was looked at, what is set aside, what is wrong and what to do.

use super::lines::wrapped;
use crate::check::{Balance, Check, Rebuilt};

/// A check, and what was rebuilt before it.
pub fn check(check: &Check, rebuilt: Option<Rebuilt>) -> String {
    let mut text = String::new();
    if let Some(Rebuilt { readmitted, cells }) = rebuilt {
        text += &format!(
            "rebuilt   {readmitted} records can be used now that could not be read, all reports and {cells} cells made anew\n"
        );
    }
    let streams = &check.streams;
    text += &format!(
        "records   {} delivered in {} streams = {} stored + {} held by another epoch + {} declared\n",
        streams.delivered, streams.n, streams.stored, streams.held, streams.declared
    );
    let runs = &check.runs;
    text += &format!(
        "runs      {}: {} complete, {} open, {} not measured yet, {} unreadable; {} without raw samples (retention)\n",
        runs.n, runs.complete, runs.open, runs.finished, runs.unreadable, runs.without_raw_samples
    );
    text += &balance("requests", check.requests);
    text += &balance("samples", check.samples);
    text += &format!("cells     {} made again\n", check.n_cells);
    text += &format!("set aside {}\n", check.set_aside.len());
    for record in check.set_aside.iter().take(SHOWN_MAX) {
        let line = format!(
            "- record {} of epoch {} of `{}` is kept and not used: {}",
            record.seq, record.epoch, record.device, record.problem
        );
        text += &(wrapped(&line, 2) + "\n");
    }
    text += &more(check.set_aside.len());
    if check.findings.is_empty() {
        return text + "\nnothing is wrong\n";
    }
    text += &format!("\n{} things are wrong\n", check.findings.len());
    for finding in check.findings.iter().take(SHOWN_MAX) {
        let line = format!(
            "- {}: {}: {}; to do: {}",
            finding.check, finding.subject, finding.problem, finding.remedy
        );
        text += &(wrapped(&line, 2) + "\n");
    }
    text + &more(check.findings.len())
}

fn balance(what: &str, balance: Balance) -> String {
    format!(
        "{what:9} {} expected = {} stored + {} declared missing\n",
        balance.expected, balance.stored, balance.declared
    )
}

fn more(n: usize) -> String {
    match n.saturating_sub(SHOWN_MAX) {
        0 => String::new(),
        n => format!("- {n} more: --format json has them\n"),
    }
}

/// Enough to see what is going on.
const SHOWN_MAX: usize = 20;
