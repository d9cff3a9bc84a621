//! `rank`: who is better.

use clap::{Args, ValueEnum};
use tokwatt_domain::leaderboard::Board;
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
    };
    let answer = arguments
        .address
        .ask::<Board, _>(async |mut client| client.rank(request).await)?;
    let text = match arguments.format {
        Format::Json => answer.json,
        Format::Table => report::board(&answer.document),
        Format::Csv => report::csv(&answer.document),
        Format::Markdown => report::markdown(&answer.document),
    };
    Ok(output.print(&text)?)
}
