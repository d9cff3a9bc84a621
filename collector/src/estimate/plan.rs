//! What is asked of the planner: a JSON document with one of these four plans.

use serde::{Deserialize, Serialize};
use tokwatt_domain::{metrics::fit::CacheKind, power::Scope};

use super::EstimateError;

/// What is to be estimated.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// Whether a model fits into the memory of each device.
    Fit(FitPlan),
    /// How long so many pictures take.
    Batch(BatchPlan),
    /// What energy costs.
    Cost(CostPlan),
    /// From how many requests on another model pays.
    Swap(SwapPlan),
}

/// A model, as far as its memory goes. What is left out is looked up in runs of the model, where there are such.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FitPlan {
    /// Its family, as runs call it.
    pub model: Option<String>,
    /// Its precision, as runs call it.
    pub precision: Option<String>,
    /// Bytes of its weights.
    pub weights_bytes: u64,
    /// Bytes of the picture encoder and projector.
    #[serde(default)]
    pub encoder_bytes: u64,
    /// Bytes of the engine's scratch space.
    #[serde(default)]
    pub scratch_bytes: u64,
    /// Layers of the language model.
    pub layers: Option<u64>,
    /// Heads that have keys and values of their own.
    pub kv_heads: Option<u64>,
    /// Numbers in the key of one head.
    pub head_size: Option<u64>,
    /// Most tokens of one request.
    pub context: u64,
    /// Requests at once.
    pub slots: u64,
    /// How the cache is stored.
    #[serde(default)]
    pub kv_kind: CacheKind,
}

/// So many pictures.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BatchPlan {
    /// How many, each once or more.
    pub pictures: Vec<u64>,
    /// At which power scope; absent: all there are, each for itself.
    pub scope: Option<Scope>,
    /// What a kWh costs.
    pub price: Option<Price>,
}

/// What energy costs.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CostPlan {
    /// At which power scope; absent: all there are, each for itself.
    pub scope: Option<Scope>,
    /// What a kWh costs.
    pub price: Option<Price>,
}

/// A price.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Of a kWh.
    pub per_kwh: f64,
    /// What it is in: a label and nothing else.
    pub currency: String,
}

/// Two models on one machine that holds one of them.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SwapPlan {
    /// Conditions `key=value` on the one that is loaded.
    pub from: Vec<String>,
    /// Conditions on the other one.
    pub to: Vec<String>,
}

impl Plan {
    /// Reads a plan and looks whether its figures can be used.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(json: &str) -> Result<Self, EstimateError> {
        let plan: Self =
            serde_json::from_str(json).map_err(|error| EstimateError::Plan(error.to_string()))?;
        match &plan {
            Self::Fit(fit) => fit.check()?,
            Self::Batch(batch) => {
                if batch.pictures.is_empty() || batch.pictures.contains(&0) {
                    return wrong("pictures: how many? write numbers above 0, such as 5000,50000");
                }
                check_price(batch.price.as_ref())?;
            }
            Self::Cost(cost) => check_price(cost.price.as_ref())?,
            Self::Swap(swap) => {
                if swap.from.is_empty() || swap.to.is_empty() {
                    return wrong("both models have to be named: model=…[,precision=…] for each");
                }
            }
        }
        Ok(plan)
    }
}

impl FitPlan {
    fn check(&self) -> Result<(), EstimateError> {
        let figures = [
            ("--weights", self.weights_bytes),
            ("--context", self.context),
            ("--slots", self.slots),
        ];
        match figures.into_iter().find(|(_, figure)| *figure == 0) {
            Some((flag, _)) => wrong(&format!("{flag} is 0: a model needs some")),
            None => Ok(()),
        }
    }
}

fn check_price(price: Option<&Price>) -> Result<(), EstimateError> {
    match price {
        Some(price) if !(price.per_kwh.is_finite() && price.per_kwh >= 0.0) => wrong(&format!(
            "a price of {} per kWh is none: write a number from 0 on",
            price.per_kwh
        )),
        _ => Ok(()),
    }
}

fn wrong<T>(problem: &str) -> Result<T, EstimateError> {
    Err(EstimateError::Figure(problem.to_owned()))
}
