//! Keys: the properties of runs that decide what is compared with what.

use tokwatt_domain::{ids::DeviceId, metrics::RunReport, run::Cell, spelling, workload::Limits};

use super::RankError;

/// A property of a run that stands on a board: as what its rows differ in, or as what they have in common.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Key {
    /// Name of the device.
    Device,
    /// Name of the suite.
    Suite,
    /// What the suite consists of.
    SuiteDigest,
    /// Name of the task within the suite.
    Task,
    /// Side of the pictures in pixels.
    ImagePx,
    /// Model family.
    Model,
    /// Precision class of the weights.
    Precision,
    /// Most tokens of an answer.
    MaxTokens,
    /// How tokens are chosen.
    Sampling,
    /// How requests are offered.
    Load,
    /// What a request has to keep to; matters to goodput only.
    Limits,
    /// Whether caches may be reused.
    CachePolicy,
    /// Whether answers are streamed.
    IsStreaming,
    /// Kind of backend.
    Backend,
    /// Engine with its version.
    Engine,
    /// Its settings.
    EngineFlags,
    /// SHA-256 of the weights.
    ModelDigest,
    /// SHA-256 of the picture projector.
    MmprojDigest,
    /// Precision of the projector.
    MmprojPrecision,
    /// Power mode in force.
    PowerMode,
    /// Operating system and kernel.
    Os,
}

/// A condition on runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Condition {
    /// Which property.
    pub key: Key,
    /// Which value it has.
    pub value: String,
}

impl Condition {
    /// Reads `key=value`.
    ///
    /// # Errors
    /// Another form, or no such key.
    pub fn parse(text: &str) -> Result<Self, RankError> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| RankError::Condition(text.to_owned()))?;
        Ok(Self {
            key: Key::parse(key)?,
            value: value.to_owned(),
        })
    }

    /// Whether a run meets it.
    pub fn holds(&self, report: &RunReport) -> bool {
        self.key.of(report) == self.value
    }
}

impl Key {
    /// All of them, identity before configuration.
    pub const ALL: [Self; 21] = [
        Self::Device,
        Self::Suite,
        Self::SuiteDigest,
        Self::Task,
        Self::ImagePx,
        Self::Model,
        Self::Precision,
        Self::MaxTokens,
        Self::Sampling,
        Self::Load,
        Self::Limits,
        Self::CachePolicy,
        Self::IsStreaming,
        Self::Backend,
        Self::Engine,
        Self::EngineFlags,
        Self::ModelDigest,
        Self::MmprojDigest,
        Self::MmprojPrecision,
        Self::PowerMode,
        Self::Os,
    ];

    /// Reads a key's name.
    ///
    /// # Errors
    /// There is none of that name; the error suggests a similar one.
    pub fn parse(name: &str) -> Result<Self, RankError> {
        let found = Self::ALL.into_iter().find(|key| key.as_str() == name);
        found.ok_or_else(|| RankError::UnknownKey {
            name: name.to_owned(),
            advice: spelling::advice(name, &Self::ALL.map(Self::as_str)),
        })
    }

    /// The name that documents, command line and messages use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Suite => "suite",
            Self::SuiteDigest => "suite_digest",
            Self::Task => "task",
            Self::ImagePx => "image_px",
            Self::Model => "model",
            Self::Precision => "precision",
            Self::MaxTokens => "max_tokens",
            Self::Sampling => "sampling",
            Self::Load => "load",
            Self::Limits => "limits",
            Self::CachePolicy => "cache_policy",
            Self::IsStreaming => "is_streaming",
            Self::Backend => "backend",
            Self::Engine => "engine",
            Self::EngineFlags => "engine_flags",
            Self::ModelDigest => "model_digest",
            Self::MmprojDigest => "mmproj_digest",
            Self::MmprojPrecision => "mmproj_precision",
            Self::PowerMode => "power_mode",
            Self::Os => "os",
        }
    }

    /// Whether it must match within a board; otherwise it is printed and never merged within a row.
    pub fn is_identity(self) -> bool {
        (Self::Suite..=Self::IsStreaming).contains(&self)
    }

    /// Where it stands in [`Key::ALL`].
    pub(super) fn position(self) -> usize {
        self as usize
    }

    /// Whether it says which engine: `--strict` fixes these too.
    pub fn is_engine(self) -> bool {
        matches!(self, Self::Backend | Self::Engine | Self::EngineFlags)
    }

    /// Its value in a run, as text; `none` where it is absent.
    pub fn of(self, report: &RunReport) -> String {
        self.of_cell(&report.device, &report.cell, report.limits)
    }

    /// Its value in a cell on a device, as text; `none` where it is absent.
    pub fn of_cell(self, device: &DeviceId, cell: &Cell, limits: Option<Limits>) -> String {
        let identity = &cell.identity;
        let configuration = &cell.configuration;
        match self {
            Self::Device => device.to_string(),
            Self::Suite => identity.suite.clone(),
            Self::SuiteDigest => identity.suite_digest.to_string(),
            Self::Task => identity.task.clone(),
            Self::ImagePx => or_none(identity.image_px),
            Self::Model => identity.model.clone(),
            Self::Precision => identity.precision.clone(),
            Self::MaxTokens => identity.max_tokens.to_string(),
            Self::Sampling => identity.sampling.to_string(),
            Self::Load => identity.load.to_string(),
            Self::Limits => or_none(limits),
            Self::CachePolicy => identity.cache_policy.to_string(),
            Self::IsStreaming => identity.is_streaming.to_string(),
            Self::Backend => configuration.backend.clone(),
            Self::Engine => configuration.engine.clone(),
            Self::EngineFlags => {
                let flags = configuration.engine_flags.iter();
                let texts: Vec<String> = flags
                    .map(|(flag, value)| format!("{flag}={value}"))
                    .collect();
                or_none(Some(texts.join(" ")).filter(|text| !text.is_empty()))
            }
            Self::ModelDigest => or_none(configuration.model_digest),
            Self::MmprojDigest => or_none(configuration.mmproj_digest),
            Self::MmprojPrecision => or_none(configuration.mmproj_precision.as_ref()),
            Self::PowerMode => or_none(configuration.power_mode.as_ref()),
            Self::Os => configuration.os.clone(),
        }
    }
}

fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_by_its_name() {
        for (position, key) in Key::ALL.into_iter().enumerate() {
            assert_eq!(Key::parse(key.as_str()), Ok(key));
            assert_eq!(key.position(), position);
        }
    }

    #[test]
    fn a_misspelt_key_suggests_the_nearest() {
        let error = Key::parse("precison").unwrap_err().to_string();
        assert_eq!(error, "unknown key `precison`, did you mean `precision`?");
        let error = Key::parse("x").unwrap_err().to_string();
        assert!(error.contains("there are: device, suite"), "{error}");
    }

    #[test]
    fn a_condition_without_a_value_is_refused() {
        let error = Condition::parse("device").unwrap_err().to_string();
        assert!(
            error.contains("`device`") && error.contains("KEY=VALUE"),
            "{error}"
        );
        let condition = Condition::parse("load=closed(1)").unwrap();
        assert_eq!(
            (condition.key, condition.value.as_str()),
            (Key::Load, "closed(1)")
        );
    }
}
