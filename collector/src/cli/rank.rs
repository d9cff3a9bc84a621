//! `rank`: who is better.

use clap::{Args, ValueEnum};
use tokwatt_domain::leaderboard::{Board, Boards};
use tokwatt_proto::v1;

use super::{client::Address, output::Output};
use crate::report;

#[derive(Args, Debug)]
pub(super) struct Rank {
    /// What to rank by, such as `decode_tps`, `ttft.p90` or `j_per_image@module`
    #[arg(long, value_name = "ID[@SCOPE]")]
    metric: String,
    /// What makes a row
    #[arg(
        long,
        value_name = "KEY,…",
        value_delimiter = ',',
        default_value = "device"
    )]
    by: Vec<String>,
    /// Which runs take part; more than once: all must hold
    #[arg(long = "where", value_name = "KEY=VALUE")]
    conditions: Vec<String>,
    /// How the figures came to be: measured, replayed, simulated, imported, estimated
    #[arg(long, default_value = "measured")]
    provenance: String,
    /// Compare the same engine only
    #[arg(long)]
    strict: bool,
    /// How several tasks are put together: `sums` (a task counts by its tokens) or `macro` (each counts the same) [default: sums where the
    /// metric is made of sums]
    #[arg(
        long,
        value_name = "HOW",
        default_value = "",
        hide_default_value = true
    )]
    aggregate: String,
    /// Rank models by tokens though they differ in what a token is; every row says so
    #[arg(long)]
    across_tokenizers: bool,
    /// A board for each power scope, where the metric names none; a value on one may not be compared with a value on another
    #[arg(long)]
    allow_mixed_scope: bool,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    address: Address,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
    Markdown,
}

pub(super) fn rank(arguments: &Rank, output: &mut Output<'_>) -> anyhow::Result<()> {
    let request = v1::RankRequest {
        metric: arguments.metric.clone(),
        by: arguments.by.clone(),
        r#where: arguments.conditions.clone(),
        provenance: arguments.provenance.clone(),
        strict: arguments.strict,
        aggregate: arguments.aggregate.clone(),
        across_tokenizers: arguments.across_tokenizers,
        allow_mixed_scope: arguments.allow_mixed_scope,
    };
    let address = &arguments.address;
    let text = if arguments.allow_mixed_scope {
        let answer = address.ask::<Boards, _>(async |mut client| client.rank(request).await)?;
        match arguments.format.of_board() {
            None => answer.json,
            Some(board) => report::boards(&answer.document, board),
        }
    } else {
        let answer = address.ask::<Board, _>(async |mut client| client.rank(request).await)?;
        match arguments.format.of_board() {
            None => answer.json,
            Some(board) => board(&answer.document),
        }
    };
    Ok(output.print(&text)?)
}

impl Format {
    /// How a board is written; JSON is the document itself.
    fn of_board(self) -> Option<fn(&Board) -> String> {
        match self {
            Self::Json => None,
            Self::Table => Some(report::board),
            Self::Csv => Some(report::csv),
            Self::Markdown => Some(report::markdown),
        }
    }
}
