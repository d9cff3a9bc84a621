//! `estimate`: whether a model fits, how long a batch takes, what energy costs, when a swap pays.

use clap::{Args, Subcommand};
use tokwatt_domain::{metrics::fit::CacheKind, power::Scope};
use tokwatt_proto::v1;

use super::{client::Address, output::Output, page::Format};
use crate::{
    compare::split,
    estimate::{BatchPlan, CostPlan, Estimate, FitPlan, Plan, Price, SwapPlan},
    report,
};

/// Answers for a plan, from what was measured; each says whether it is measured, estimated or extrapolated
#[derive(Debug, Subcommand)]
pub(super) enum EstimateCommand {
    /// Whether a model fits into the memory of each device
    Fit(Fit),
    /// How long so many pictures take, and what they draw
    Batch(Batch),
    /// What energy costs, for a million output tokens and for 1,000 pictures
    Cost(Cost),
    /// From how many requests in a row on it pays to load another model
    Swap(Swap),
}

#[derive(Args, Debug)]
pub(super) struct Fit {
    /// Model as runs call it: what is left out below is looked up there, and devices that ran it are marked as tested
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Precision as runs call it
    #[arg(long, value_name = "NAME")]
    precision: Option<String>,
    /// Size of the weights, such as 4.4GB or 4100MiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    weights: u64,
    /// Size of the picture encoder and projector
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "0")]
    encoder: u64,
    /// Scratch space of the engine
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "0")]
    scratch: u64,
    /// Layers of the language model
    #[arg(long, value_name = "N")]
    layers: Option<u64>,
    /// Heads that have keys and values of their own
    #[arg(long, value_name = "N")]
    kv_heads: Option<u64>,
    /// Numbers in the key of one head
    #[arg(long, value_name = "N")]
    head_size: Option<u64>,
    /// Most tokens of one request: prompt, picture and answer
    #[arg(long, value_name = "N", default_value_t = 4096)]
    context: u64,
    /// Requests at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    slots: u64,
    /// How the key-value cache is stored: f32, f16, bf16, fp8, q8_0, q5_0, q4_0
    #[arg(long, value_name = "TYPE", value_parser = cache_kind, default_value = "f16")]
    kv_type: CacheKind,
    #[command(flatten)]
    question: Question,
}

#[derive(Args, Debug)]
pub(super) struct Batch {
    /// How many pictures
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "5000,50000,170000,200000"
    )]
    pictures: Vec<u64>,
    #[command(flatten)]
    energy: Energy,
    #[command(flatten)]
    question: Question,
}

#[derive(Args, Debug)]
pub(super) struct Cost {
    #[command(flatten)]
    energy: Energy,
    #[command(flatten)]
    question: Question,
}

#[derive(Args, Debug)]
pub(super) struct Swap {
    /// The model that is loaded, such as model=gemma-3-4b,precision=q8_0
    #[arg(value_name = "KEY=VALUE,…")]
    from: String,
    /// The other one
    #[arg(value_name = "KEY=VALUE,…")]
    to: String,
    #[command(flatten)]
    question: Question,
}

/// Which energy, and what it costs.
#[derive(Args, Debug)]
struct Energy {
    /// At which power scope [default: every one there is, each for itself]
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
    /// What a kWh costs
    #[arg(long, value_name = "NUMBER")]
    price_per_kwh: Option<f64>,
    /// What the price is in: a label
    #[arg(long, value_name = "NAME", default_value = "EUR")]
    currency: String,
}

/// From which runs, and how it is printed.
#[derive(Args, Debug)]
struct Question {
    /// From which runs; more than once: all must hold
    #[arg(long = "where", value_name = "KEY=VALUE")]
    conditions: Vec<String>,
    /// How their figures came to be: measured, replayed, simulated, imported, estimated
    #[arg(long, default_value = "measured")]
    provenance: String,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    address: Address,
}

pub(super) fn estimate(command: &EstimateCommand, output: &mut Output<'_>) -> anyhow::Result<()> {
    let (plan, question) = match command {
        EstimateCommand::Fit(fit) => (fit.plan(), &fit.question),
        EstimateCommand::Batch(batch) => {
            let plan = BatchPlan {
                pictures: batch.pictures.clone(),
                scope: batch.energy.scope,
                price: batch.energy.price(),
            };
            (Plan::Batch(plan), &batch.question)
        }
        EstimateCommand::Cost(cost) => {
            let plan = CostPlan {
                scope: cost.energy.scope,
                price: cost.energy.price(),
            };
            (Plan::Cost(plan), &cost.question)
        }
        EstimateCommand::Swap(swap) => {
            let plan = SwapPlan {
                from: split(&swap.from),
                to: split(&swap.to),
            };
            (Plan::Swap(plan), &swap.question)
        }
    };
    let request = v1::EstimateRequest {
        plan_json: serde_json::to_string(&plan)?,
        r#where: question.conditions.clone(),
        provenance: question.provenance.clone(),
    };
    let answer = question
        .address
        .ask::<Estimate, _>(async |mut client| client.estimate(request).await)?;
    let page = report::estimate(&answer.document);
    output.page(question.format, answer.json, &page)
}

impl Fit {
    fn plan(&self) -> Plan {
        Plan::Fit(FitPlan {
            model: self.model.clone(),
            precision: self.precision.clone(),
            weights_bytes: self.weights,
            encoder_bytes: self.encoder,
            scratch_bytes: self.scratch,
            layers: self.layers,
            kv_heads: self.kv_heads,
            head_size: self.head_size,
            context: self.context,
            slots: self.slots,
            kv_kind: self.kv_type,
        })
    }
}

impl Energy {
    fn price(&self) -> Option<Price> {
        Some(Price {
            per_kwh: self.price_per_kwh?,
            currency: self.currency.clone(),
        })
    }
}

fn cache_kind(text: &str) -> Result<CacheKind, String> {
    let found = CacheKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == text);
    found.ok_or_else(|| {
        tokwatt_domain::spelling::advice(text, &CacheKind::ALL.map(CacheKind::as_str))
    })
}

/// Bytes, or a number with kB, MB, GB, KiB, MiB, GiB.
fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let letters = text.find(|letter: char| letter.is_ascii_alphabetic());
    let (number, unit) = text.split_at(letters.unwrap_or(text.len()));
    let known = UNITS.iter().find(|(name, _)| *name == unit);
    let bytes = number.trim().parse::<f64>().ok().zip(known);
    let bytes = bytes.map(|(number, (_, factor))| number * factor);
    bytes.and_then(crate::estimate::whole_bytes).ok_or_else(|| {
        "write a number of bytes, or one with kB, MB, GB, KiB, MiB or GiB".to_owned()
    })
}

const UNITS: [(&str, f64); 8] = [
    ("", 1.0),
    ("B", 1.0),
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_bytes_or_has_a_unit() {
        let check = |text, want: Option<u64>| assert_eq!(size(text).ok(), want, "{text}");
        check("4400000000", Some(4_400_000_000));
        check("4.4GB", Some(4_400_000_000));
        check("1 GiB", Some(1 << 30));
        check("many", None);
        check("4 bananas", None);
        check("-1GB", None);
    }
}
