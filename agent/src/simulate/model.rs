//! Models that do not exist: how large, how fast, how hungry and how steady each one truly is.
//!
//! `made-up-2b` is a size and nothing else: the roofline, evenly. The others have a nature of their own, so that a fleet of them has a
//! best one, and ties, that everybody who ranks can be held against.

use std::collections::BTreeMap;

use tokwatt_domain::spelling;

use crate::backend::ModelCard;

/// A model that does not exist, at one precision.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    name: String,
    precision: &'static Precision,
    nature: Nature,
}

/// No such model can be made up.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoModel {
    /// The name is none of a made-up model and does not say how large it is.
    #[error(
        "--model: `{name}` is no made-up model, {advice}; or made-up-Nb, N billion parameters, such as made-up-2b or made-up-0.5b"
    )]
    Name {
        /// What was asked for.
        name: String,
        /// What there is.
        advice: String,
    },
    /// The precision's size is not known.
    #[error(
        "--precision: `{0}` is not known to the simulation, there are: f32, f16, bf16, q8_0, q4_k_m"
    )]
    Precision(String),
}

/// What a made-up model truly is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Nature {
    pub(super) parameters: f64,
    /// What it gets of the data sheet's bandwidth.
    pub(super) bandwidth_share: f64,
    /// What it draws while it works, as a multiple of what the machine's load draws.
    pub(super) appetite: f64,
    pub(super) picture: PictureTokens,
    /// Answers have so many tokens, up to five times as many.
    pub(super) shortest_answer: u32,
    /// Standard deviation of its speed from one [`MOOD`] to the next, as a share.
    pub(super) unsteadiness: f64,
    /// Requests that it answers at a time.
    pub(super) slots: u32,
    /// Share of its answers that are right at full precision; nothing if what it says means nothing.
    pub(super) accuracy: Option<f64>,
}

/// How many tokens a picture is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum PictureTokens {
    /// The same for every size.
    Fixed(u32),
    /// One for each block of so many pixels by as many.
    PerBlock(u32),
}

/// How weights are kept.
#[derive(Debug, PartialEq)]
struct Precision {
    name: &'static str,
    /// Bits a parameter, scales included.
    bits: f64,
    /// What is left of the speed that the bits alone would allow, where they have to be unpacked first.
    speed: f64,
    /// What is left of the answers that are right.
    accuracy: f64,
}

impl Model {
    /// Reads `made-up-2b` or `made-up-heron-2b`, and `q8_0`.
    ///
    /// # Errors
    /// Says which of them is none.
    pub fn parse(name: &str, precision: &str) -> Result<Self, NoModel> {
        let known = PRECISIONS.iter().find(|known| known.name == precision);
        Ok(Self {
            name: name.to_owned(),
            precision: known.ok_or_else(|| NoModel::Precision(precision.to_owned()))?,
            nature: nature(name).ok_or_else(|| no_model(name))?,
        })
    }

    /// Those with a nature of their own.
    pub fn names() -> impl Iterator<Item = &'static str> {
        MODELS.iter().map(|(name, _)| *name)
    }

    /// Who it is, as far as that can be said before it was loaded.
    pub fn card(&self) -> ModelCard {
        let slots = self.nature.slots;
        let flags = (slots > 1).then(|| ("slots".to_owned(), slots.to_string()));
        ModelCard {
            engine: concat!("simulated roofline, tokwatt ", env!("CARGO_PKG_VERSION")).to_owned(),
            engine_flags: flags.into_iter().collect(),
            model: self.name.clone(),
            precision: self.precision.name.to_owned(),
            facts: BTreeMap::new(),
            digest: None,
            mmproj_digest: None,
            mmproj_precision: None,
            load_time: None,
        }
    }

    /// Share of its answers that are right; nothing if what it says means nothing.
    pub fn accuracy(&self) -> Option<f64> {
        let accuracy = self.nature.accuracy?;
        Some(accuracy * self.precision.accuracy)
    }

    pub(super) fn nature(&self) -> &Nature {
        &self.nature
    }

    /// Of its weights.
    pub(super) fn bytes(&self) -> f64 {
        self.nature.parameters * self.precision.bits / 8.0
    }

    /// In use while it is loaded: weights, caches of a tenth of that, and an encoder of 400 million parameters.
    pub(super) fn memory_bytes(&self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and far below 2^63"
        )]
        let bytes = (1.1 * self.bytes() + 0.8e9) as u64;
        bytes
    }

    /// One pass over the weights, which is a token, on a memory of such a bandwidth, in s.
    pub(super) fn pass_s(&self, bandwidth: f64) -> f64 {
        self.bytes() / (self.nature.bandwidth_share * self.precision.speed * bandwidth)
    }

    /// Tells its chance from every other model's on the same machine; 0 for a model that is a size and nothing else.
    pub(super) fn stream(&self) -> u64 {
        let position = MODELS.iter().position(|(name, _)| *name == self.name);
        let precision = PRECISIONS.iter().position(|known| known == self.precision);
        match (position, precision) {
            (Some(model), Some(precision)) => (1 + model * PRECISIONS.len() + precision) as u64,
            _ => 0,
        }
    }
}

impl PictureTokens {
    /// Of a picture of such a side; of one whose size is not known as if it were of the smallest usual one.
    pub(super) fn of(self, side_px: Option<u32>) -> u32 {
        match self {
            Self::Fixed(tokens) => tokens,
            Self::PerBlock(block) => {
                let blocks = side_px.unwrap_or(224).div_ceil(block);
                blocks.saturating_mul(blocks)
            }
        }
    }
}

fn nature(name: &str) -> Option<Nature> {
    let known = MODELS.iter().find(|(known, _)| *known == name);
    let known = known.map(|(_, nature)| *nature);
    known.or_else(|| {
        let size = name.strip_prefix("made-up-")?.strip_suffix('b')?;
        let billions: f64 = size.parse().ok()?;
        (0.001..=1000.0).contains(&billions).then_some(Nature {
            parameters: 1e9 * billions,
            ..PLAIN
        })
    })
}

fn no_model(name: &str) -> NoModel {
    let names: Vec<&str> = Model::names().collect();
    NoModel::Name {
        name: name.to_owned(),
        advice: spelling::advice(name, &names),
    }
}

/// Real engines get some two thirds of the data sheet's bandwidth.
const PLAIN: Nature = Nature {
    parameters: 0.0,
    bandwidth_share: 0.66,
    appetite: 1.0,
    picture: PictureTokens::Fixed(256),
    shortest_answer: 12,
    unsteadiness: 0.0,
    slots: 1,
    accuracy: None,
};

/// All but their sizes and manners is invented. Robin and finch are one model under two names: nobody can tell them apart who does not
/// see more than there is.
const MODELS: [(&str, Nature); 6] = [
    (
        "made-up-wren-1b",
        Nature {
            parameters: 1.0e9,
            bandwidth_share: 0.60,
            appetite: 0.90,
            shortest_answer: 8,
            unsteadiness: 0.025,
            accuracy: Some(0.62),
            ..PLAIN
        },
    ),
    ("made-up-robin-2b", TWIN),
    ("made-up-finch-2b", TWIN),
    (
        "made-up-heron-4b",
        Nature {
            parameters: 4.0e9,
            bandwidth_share: 0.70,
            picture: PictureTokens::PerBlock(28),
            shortest_answer: 14,
            unsteadiness: 0.03,
            slots: 8,
            accuracy: Some(0.86),
            ..PLAIN
        },
    ),
    (
        "made-up-stork-7b",
        Nature {
            parameters: 7.0e9,
            bandwidth_share: 0.62,
            appetite: 1.10,
            picture: PictureTokens::Fixed(576),
            shortest_answer: 16,
            unsteadiness: 0.06,
            accuracy: Some(0.90),
            ..PLAIN
        },
    ),
    // Does not fit into an Orin at full precision.
    (
        "made-up-eagle-32b",
        Nature {
            parameters: 32.0e9,
            bandwidth_share: 0.64,
            appetite: 1.15,
            picture: PictureTokens::PerBlock(28),
            unsteadiness: 0.02,
            slots: 8,
            accuracy: Some(0.97),
            ..PLAIN
        },
    ),
];

const TWIN: Nature = Nature {
    parameters: 2.0e9,
    unsteadiness: 0.04,
    accuracy: Some(0.75),
    ..PLAIN
};

const PRECISIONS: [Precision; 5] = [
    Precision::plain("f32", 32.0),
    Precision::plain("f16", 16.0),
    Precision::plain("bf16", 16.0),
    Precision::plain("q8_0", 8.5),
    Precision {
        speed: 0.85,
        accuracy: 0.95,
        ..Precision::plain("q4_k_m", 4.85)
    },
];

impl Precision {
    const fn plain(name: &'static str, bits: f64) -> Self {
        Self {
            name,
            bits,
            speed: 1.0,
            accuracy: 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_size_is_in_its_name() {
        let model = Model::parse("made-up-0.5b", "q8_0").unwrap();
        assert!((model.bytes() - 0.53125e9).abs() < 1.0);
    }

    #[test]
    fn what_cannot_be_made_up_is_named_with_what_can() {
        for name in ["made-up-b", "made-up-0b", "made-up-nanb", "smolvlm2-2b"] {
            let message = Model::parse(name, "f16").unwrap_err().to_string();
            assert!(
                message.contains(name) && message.contains("made-up-2b"),
                "{message}"
            );
        }
        let message = Model::parse("made-up-herron-4b", "f16").unwrap_err();
        assert!(
            message
                .to_string()
                .contains("did you mean `made-up-heron-4b`?")
        );
        let message = Model::parse("made-up-2b", "int3").unwrap_err().to_string();
        assert!(
            message.contains("int3") && message.contains("q8_0"),
            "{message}"
        );
    }

    #[test]
    fn no_two_have_the_same_chance() {
        let models = Model::names().flat_map(|name| {
            PRECISIONS
                .iter()
                .map(move |precision| Model::parse(name, precision.name).unwrap())
        });
        let streams: std::collections::BTreeSet<u64> = models.map(|model| model.stream()).collect();
        assert_eq!(streams.len(), MODELS.len() * PRECISIONS.len());
        assert!(!streams.contains(&0), "that is of a model without a nature");
    }
}
