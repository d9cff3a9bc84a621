//! Why an engine does not load, or a question is not answered.

use std::path::PathBuf;

use crate::gguf::GgufError;

/// Why an engine does not load, or a question is not answered.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The program was compiled for a newer processor.
    #[error(
        "this processor lacks {}, which the engine was compiled for; build it on this device or use a server with \
         `--backend openai`",
        missing.join(", ")
    )]
    Cpu {
        /// Names of the instruction sets.
        missing: Vec<&'static str>,
    },
    /// A weights file cannot be used.
    #[error("cannot use `{}`", path.display())]
    Gguf {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: GgufError,
    },
    /// A file of another kind was given, or of another precision.
    #[error("`{}` {problem}", path.display())]
    Mismatch {
        /// Which file.
        path: PathBuf,
        /// What it is and what it should be.
        problem: String,
    },
    /// The model's chat template cannot be used.
    #[error("the chat template of the model cannot be rendered")]
    Template(#[from] minijinja::Error),
    /// The chat template leaves out what it is given.
    #[error("the chat template of the model drops the question; use another GGUF of this model")]
    TemplateDrops,
    /// llama.cpp refuses the file; its reason is on standard error.
    #[error("llama.cpp cannot load `{}`", path.display())]
    Load {
        /// Which file.
        path: PathBuf,
    },
    /// The projector was made for another model.
    #[error(
        "the projector `{}` does not fit the model `{}`: give the `mmproj` file that came with the model",
        mmproj.display(), model.display()
    )]
    Projector {
        /// The projector's file.
        mmproj: PathBuf,
        /// The model's file.
        model: PathBuf,
    },
    /// The shipped model cannot be written where llama.cpp can read it.
    #[error("cannot write the shipped model to `{}`", path.display())]
    Shipped {
        /// Where to.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The program was built without the shipped model.
    #[error("this program was built without the shipped model: name one with --model and --mmproj")]
    NotShipped,
    /// The shipped model does not exist in this precision.
    #[error(
        "the shipped model has no precision `{0}`: use one of {names}",
        names = "f32, f16, bf16, q8_0"
    )]
    ShippedPrecision(String),
    /// The picture cannot be looked at.
    #[error("the picture {0}")]
    Picture(String),
    /// The question does not fit.
    #[error(
        "{prompt} prompt tokens and up to {answer} of the answer do not fit a context of {context}: raise the context \
         or ask for less"
    )]
    TooLong {
        /// Tokens of the prompt, picture included.
        prompt: u32,
        /// Most tokens of the answer.
        answer: u32,
        /// Tokens that fit.
        context: u32,
    },
    /// llama.cpp gave up on this question.
    #[error("llama.cpp cannot {step} (code {code})")]
    Compute {
        /// What it was doing.
        step: &'static str,
        /// What it said.
        code: i32,
    },
}

impl EngineError {
    /// Whether it is about one question only: the next one may be asked.
    pub fn is_about_the_question(&self) -> bool {
        matches!(
            self,
            Self::Picture(_)
                | Self::TooLong { .. }
                | Self::Compute { .. }
                | Self::Template(_)
                | Self::TemplateDrops
        )
    }
}
