//! llama.cpp in-process: loads a GGUF vision-language model and answers questions about pictures.
//!
//! An assertion inside llama.cpp aborts the process, so the agent runs this in a worker of its own.

/// What a GGUF file says of itself, read and checked before llama.cpp sees it.
pub mod gguf;
/// The model that is shipped inside the program.
#[cfg(feature = "tiny-model")]
pub mod shipped;

/// Whether this processor can run what was compiled.
mod cpu;
/// A picture's header, checked before anything is decoded.
mod picture;
/// The model's own chat template.
mod template;

/// Everything that crosses into C++.
mod llama;
/// Which token comes next.
mod sampler;

/// A model in memory that answers.
mod engine;
/// Why it does not.
mod error;

pub use cpu::FEATURES;
pub use engine::{Answer, Ask, Description, Engine, Finish, LoadOptions, Sampling, Speaker, Turn};
pub use error::EngineError;
pub use picture::{PIXELS_MAX, SIDE_MAX};
