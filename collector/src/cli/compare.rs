//! `compare`: two sides against each other, or one key over time.

use anyhow::bail;
use clap::Args;
use tokwatt_proto::v1;

use super::{client::Address, output::Output, page::Format};
use crate::{
    compare::{Comparison, History, split},
    report,
};

/// Two devices, models, precisions or versions against each other, task by task
///
/// Everything but what the two sides name has to match. Each figure of B is divided by that of A, with a 95 % interval over repetitions and
/// a verdict; times and energies of single requests are compared on the same pictures, too.
#[derive(Args, Debug)]
pub(super) struct Compare {
    /// Side A, such as `device=orin-1` or `precision=f16,engine=…`
    #[arg(value_name = "KEY=VALUE,…", required_unless_present = "over")]
    left: Option<String>,
    /// Side B
    #[arg(value_name = "KEY=VALUE,…", required_unless_present = "over")]
    right: Option<String>,
    /// Instead of two sides: all values of this key in the order in which they came, such as `engine` or `os`
    #[arg(long, value_name = "KEY", conflicts_with_all = ["left", "right"])]
    over: Option<String>,
    /// Which runs take part, on both sides; more than once: all must hold
    #[arg(long = "where", value_name = "KEY=VALUE")]
    conditions: Vec<String>,
    /// In which metrics [default: those that people ask for first]
    #[arg(long = "metric", value_name = "ID[@SCOPE],…", value_delimiter = ',')]
    metrics: Vec<String>,
    /// How the figures came to be: measured, replayed, simulated, imported, estimated
    #[arg(long, default_value = "measured")]
    provenance: String,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    address: Address,
}

pub(super) fn compare(arguments: &Compare, output: &mut Output<'_>) -> anyhow::Result<()> {
    let mut request = v1::CompareRequest {
        r#where: arguments.conditions.clone(),
        metrics: arguments.metrics.clone(),
        provenance: arguments.provenance.clone(),
        ..v1::CompareRequest::default()
    };
    match (&arguments.over, &arguments.left, &arguments.right) {
        (Some(key), ..) => {
            request.over.clone_from(key);
            let answer = arguments
                .address
                .ask::<History, _>(async |mut client| client.compare(request).await)?;
            let page = report::history(&answer.document);
            output.page(arguments.format, answer.json, &page)
        }
        (None, Some(left), Some(right)) => {
            request.left = split(left);
            request.right = split(right);
            let answer = arguments
                .address
                .ask::<Comparison, _>(async |mut client| client.compare(request).await)?;
            let page = report::comparison(&answer.document);
            output.page(arguments.format, answer.json, &page)
        }
        _ => bail!("compare takes two sides, such as device=orin-1 device=thor-1, or --over KEY"),
    }
}
