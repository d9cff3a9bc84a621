//! A published figure.

use serde::Deserialize;
use serde_json::Number;

/// A figure as a study prints it, under the id of the definition that explains it; `foreign.…` where none does.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// `STUDY/NAME`.
    pub row: String,
    /// When it was published, as far as that is stated.
    pub date: Option<String>,
    /// Where it ran.
    pub device: String,
    /// What answered.
    pub engine: String,
    /// Which model.
    pub model: String,
    /// Of the weights.
    pub precision: Option<String>,
    /// What was asked.
    pub task: Option<String>,
    /// Under which circumstances.
    pub conditions: Option<String>,
    /// Id of the metric, with `@scope` for those over energy; `@unstated` where nobody said.
    pub metric: String,
    /// As printed, with the digits that it is printed with.
    value: Number,
    /// Of the value.
    pub unit: String,
    /// How it came to be.
    pub kind: Kind,
    /// Runs behind it.
    pub n: Option<u32>,
    /// Sample standard deviation over them.
    pub sd: Option<f64>,
    /// Least and most of them.
    pub min: Option<f64>,
    /// Most of them.
    pub max: Option<f64>,
    /// What is doubtful about it.
    pub note: Option<String>,
}

/// How a published figure came to be.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The study measured it.
    Measured,
    /// The study estimated it.
    Estimated,
    /// It follows from others of the study.
    Derived,
}

impl Row {
    /// What it is.
    pub fn value(&self) -> f64 {
        self.value.as_f64().unwrap_or(f64::NAN)
    }

    /// How it is printed: `1.0` is not `1`.
    pub fn printed(&self) -> String {
        self.value.to_string()
    }

    /// Id of its study.
    pub fn study(&self) -> &str {
        self.row.split_once('/').map_or("", |(study, _)| study)
    }

    /// Its name within the study.
    pub fn name(&self) -> &str {
        self.row.split_once('/').map_or(&self.row, |(_, name)| name)
    }

    /// Which model did what, in short.
    pub fn label(&self) -> String {
        let task = self.task.as_deref().filter(|task| *task != "overall");
        let parts = [Some(self.model.as_str()), task, self.conditions.as_deref()];
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        parts.join(", ")
    }
}
