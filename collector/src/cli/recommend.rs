//! `recommend`: the best for a use case.

use std::{fs, path::Path};

use anyhow::{Context, anyhow};
use clap::Args;
use tokwatt_proto::v1;

use super::{client::Address, output::Output, page::Format};
use crate::{
    recommend::{Recommendation, SHIPPED, UseCase, shipped},
    report,
};

/// The best configuration for a use case, what comes next, and what is excluded and why
#[derive(Args, Debug)]
pub(super) struct Recommend {
    /// A use case that is built in, or a file in the form of those in configs/rankings; left out: lists those that are built in
    #[arg(value_name = "NAME|FILE")]
    use_case: Option<String>,
    /// Which runs take part, instead of what the use case says of the same key; more than once: all must hold
    #[arg(long = "where", value_name = "KEY=VALUE")]
    conditions: Vec<String>,
    /// How the figures came to be: measured, replayed, simulated, imported, estimated
    #[arg(long, default_value = "measured")]
    provenance: String,
    /// Power scope of all energies [default: the use case's, else the only one there is]
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// A limit instead of the use case's over the same metric, in SI units, such as avg_power=15
    #[arg(long, value_name = "ID=VALUE")]
    at_most: Vec<String>,
    /// A limit from below, such as success_rate=0.999
    #[arg(long, value_name = "ID=VALUE")]
    at_least: Vec<String>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    address: Address,
}

pub(super) fn recommend(arguments: &Recommend, output: &mut Output<'_>) -> anyhow::Result<()> {
    let Some(use_case) = &arguments.use_case else {
        return list(arguments.format, output);
    };
    let request = v1::RecommendRequest {
        use_case: text_of(use_case)?,
        r#where: arguments.conditions.clone(),
        provenance: arguments.provenance.clone(),
        scope: arguments.scope.clone().unwrap_or_default(),
        at_most: arguments.at_most.clone(),
        at_least: arguments.at_least.clone(),
    };
    let answer = arguments
        .address
        .ask::<Recommendation, _>(async |mut client| client.recommend(request).await)?;
    let page = report::recommendation(&answer.document);
    output.page(arguments.format, answer.json, &page)
}

/// What is built in needs no collector.
fn list(format: Format, output: &mut Output<'_>) -> anyhow::Result<()> {
    let cases = SHIPPED.map(|shipped| UseCase::parse(shipped.text));
    let cases: Vec<UseCase> = cases.into_iter().collect::<Result<_, _>>()?;
    let named: Vec<serde_json::Value> = cases
        .iter()
        .map(|case| serde_json::json!({ "name": case.name, "question": case.question }))
        .collect();
    let json = serde_json::json!({ "schema": "tokwatt.use_cases/1", "use_cases": named });
    output.page(format, json.to_string(), &report::use_cases(&cases))
}

/// A file if there is one of that name, else what is built in.
fn text_of(use_case: &str) -> anyhow::Result<String> {
    if let Ok(shipped) = shipped(use_case) {
        return Ok(shipped.text.to_owned());
    }
    let is_path = use_case.contains('/') || use_case.ends_with(".toml");
    if is_path || Path::new(use_case).exists() {
        return fs::read_to_string(use_case)
            .with_context(|| format!("cannot read the use case `{use_case}`"));
    }
    let advice = shipped(use_case).err().unwrap_or_default();
    Err(anyhow!(
        "unknown use case `{use_case}`, {advice} (a file of your own is given by its path)"
    ))
}
