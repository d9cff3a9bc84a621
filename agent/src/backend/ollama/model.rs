//! What Ollama says of a model: `/api/show` of what it is, `/api/ps` of where it lies.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use tokwatt_domain::ids::Digest;

use crate::backend::{ModelCard, openai::refusal::excerpt};

/// `/api/show`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Shown {
    /// Its recipe, in which the files of weights and projector stand by their digests.
    modelfile: String,
    details: Details,
    model_info: Map<String, Value>,
    /// What it can do; versions before 0.6.4 do not say.
    capabilities: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    family: String,
    parameter_size: String,
    quantization_level: String,
}

/// `/api/ps`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Running {
    models: Vec<Resident>,
}

/// A model in memory.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resident {
    name: String,
    size: u64,
    size_vram: u64,
    digest: String,
    context_length: Option<u64>,
}

impl Shown {
    /// What it can do instead, if it is known not to see.
    pub(super) fn blind(&self) -> Option<String> {
        let capabilities = self.capabilities.as_ref()?;
        let sees = capabilities.iter().any(|capability| capability == "vision");
        (!sees).then(|| excerpt(capabilities.join(", ").as_bytes()))
    }

    /// The card of a model that is in memory by now.
    pub(super) fn card(&self, model: &str, version: &str, precision: Option<&str>) -> ModelCard {
        let own = &self.details.quantization_level;
        let own = (!own.is_empty()).then(|| own.to_ascii_lowercase());
        let mut files = self.files();
        ModelCard {
            engine: format!("Ollama {version}"),
            engine_flags: BTreeMap::new(),
            model: model.to_owned(),
            precision: precision
                .map(str::to_owned)
                .or(own)
                .unwrap_or_else(|| "unknown".to_owned()),
            facts: self.facts(),
            digest: files.next(),
            mmproj_digest: files.next(),
            mmproj_precision: None,
            load_time: None,
        }
    }

    fn facts(&self) -> BTreeMap<String, String> {
        let number = |name: &str| self.model_info.get(name).filter(|value| value.is_number());
        let architecture = self.model_info.get("general.architecture");
        let architecture = architecture.and_then(Value::as_str).unwrap_or_default();
        let said = [
            ("architecture", architecture.to_owned()),
            ("family", self.details.family.clone()),
            ("parameter_size", self.details.parameter_size.clone()),
            ("quantization", self.details.quantization_level.clone()),
        ];
        let said = said.into_iter().filter(|(_, text)| !text.is_empty());
        let counted = [
            ("parameters", number("general.parameter_count")),
            (
                "expert_count",
                number(&format!("{architecture}.expert_count")),
            ),
        ];
        let counted = counted.into_iter();
        said.map(|(name, text)| (name.to_owned(), excerpt(text.as_bytes())))
            .chain(counted.filter_map(|(name, value)| Some((name.to_owned(), value?.to_string()))))
            .collect()
    }

    /// SHA-256 of the files that it is made of, in the order of its recipe: the weights, then the projector, if that is a file of its own.
    fn files(&self) -> impl Iterator<Item = Digest> {
        let lines = self.modelfile.lines();
        let from = lines.filter_map(|line| line.trim().strip_prefix("FROM "));
        from.filter_map(|file| Digest::parse(file.rsplit_once("sha256-")?.1.trim()).ok())
    }
}

impl Running {
    /// Whether the model is in memory.
    pub(super) fn has(&self, model: &str) -> bool {
        self.find(model).is_some()
    }

    /// Where the model lies, and who else is there.
    pub(super) fn add_to(&self, card: &mut ModelCard, model: &str) {
        if let Some(resident) = self.find(model) {
            resident.add_to(card);
        }
        let others = self
            .models
            .iter()
            .filter(|other| !is_same(&other.name, model));
        let others: Vec<&str> = others.map(|other| other.name.as_str()).collect();
        if !others.is_empty() {
            let others = excerpt(others.join(", ").as_bytes());
            card.engine_flags.insert("other_models".to_owned(), others);
        }
    }

    fn find(&self, model: &str) -> Option<&Resident> {
        self.models
            .iter()
            .find(|resident| is_same(&resident.name, model))
    }
}

impl Resident {
    fn add_to(&self, card: &mut ModelCard) {
        let mut fact = |name: &str, value: String| drop(card.facts.insert(name.to_owned(), value));
        fact("memory_bytes", self.size.to_string());
        fact("gpu_memory_bytes", self.size_vram.to_string());
        if self.digest.len() <= DIGEST_LENGTH_MAX {
            fact("manifest_digest", self.digest.clone());
        }
        if self.size_vram < self.size {
            let percent = 100.0 * self.size_vram as f64 / self.size as f64;
            let note = format!(
                "{percent:.0} % of the model is in the GPU's memory, the rest is computed by the processor"
            );
            fact("note", note);
        }
        if let Some(context) = self.context_length {
            card.engine_flags
                .insert("context".to_owned(), context.to_string());
        }
    }
}

/// A name without a tag means the tag `latest`.
fn is_same(one: &str, other: &str) -> bool {
    let full = |name: &str| {
        let last = name.rsplit('/').next().unwrap_or(name);
        let tag = if last.contains(':') { "" } else { ":latest" };
        format!("{name}{tag}").to_ascii_lowercase()
    };
    full(one) == full(other)
}

/// `sha256:` and 64 digits.
const DIGEST_LENGTH_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_is_the_latest() {
        assert!(is_same("llava", "llava:latest"));
        assert!(is_same("hf.co/A/b:Q4_K_M", "hf.co/a/b:q4_k_m"));
        assert!(!is_same("llava:7b", "llava"));
        assert!(is_same("host:5000/llava", "host:5000/llava:latest"));
    }

    #[test]
    fn weights_and_projector_are_the_files_of_the_recipe() {
        let digit = |digit: &str| digit.repeat(64);
        let shown = Shown {
            modelfile: format!(
                "# To build a new Modelfile\nFROM /usr/share/ollama/blobs/sha256-{}\nFROM /x/sha256-{}\nTEMPLATE {{{{ .Prompt }}}}",
                digit("a"),
                digit("b")
            ),
            ..Shown::default()
        };
        let card = shown.card("llava", "0.12.3", None);
        assert_eq!(card.digest.unwrap().to_string(), digit("a"));
        assert_eq!(card.mmproj_digest.unwrap().to_string(), digit("b"));
        assert_eq!(card.precision, "unknown");
        assert_eq!(Shown::default().card("llava", "0", None).digest, None);
    }

    #[test]
    fn a_model_is_blind_only_if_that_is_known() {
        let shown = |json: &str| serde_json::from_str::<Shown>(json).unwrap().blind();
        assert_eq!(shown(r#"{"capabilities":["completion","vision"]}"#), None);
        assert_eq!(
            shown(r#"{"capabilities":["completion","tools"]}"#).as_deref(),
            Some("completion, tools")
        );
        assert_eq!(shown("{}"), None);
    }

    #[test]
    fn a_model_half_on_the_gpu_says_so() {
        let running: Running = serde_json::from_str(
            r#"{"models":[{"name":"other:1b"},{"name":"llava:latest","size":8000,"size_vram":5000,"digest":"ab","context_length":4096}]}"#,
        )
        .unwrap();
        let mut card = Shown::default().card("llava", "0.12.3", Some("q4"));
        running.add_to(&mut card, "llava");
        assert_eq!(
            card.facts["note"],
            "62 % of the model is in the GPU's memory, the rest is computed by the processor"
        );
        assert_eq!(card.facts["gpu_memory_bytes"], "5000");
        assert_eq!(card.engine_flags["other_models"], "other:1b");
        assert_eq!(card.engine_flags["context"], "4096");
    }
}
