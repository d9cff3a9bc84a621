//! Whether this processor can run what was compiled.
//!
//! The instruction sets are chosen at build time (`.cargo/config.toml` and `cpu.cmake`), not by asking the build
//! machine. A processor without them would stop at an illegal instruction in the middle of an answer.

use crate::EngineError;

/// What the engine was compiled for.
pub const FEATURES: &str = if cfg!(target_arch = "x86_64") {
    "x86-64-v3: avx2, fma, f16c, bmi2"
} else if cfg!(target_arch = "aarch64") {
    "armv8.2-a: dotprod, fp16"
} else {
    "the compiler's default"
};

/// Names what is missing.
pub(crate) fn check() -> Result<(), EngineError> {
    let missing: Vec<_> = needed()
        .into_iter()
        .filter(|(_, is_there)| !is_there)
        .map(|(name, _)| name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(EngineError::Cpu { missing })
}

#[cfg(target_arch = "x86_64")]
fn needed() -> Vec<(&'static str, bool)> {
    vec![
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("bmi2", is_x86_feature_detected!("bmi2")),
    ]
}

#[cfg(target_arch = "aarch64")]
fn needed() -> Vec<(&'static str, bool)> {
    use std::arch::is_aarch64_feature_detected;
    vec![
        ("dotprod (asimddp)", is_aarch64_feature_detected!("dotprod")),
        ("fp16 (fphp, asimdhp)", is_aarch64_feature_detected!("fp16")),
    ]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn needed() -> Vec<(&'static str, bool)> {
    Vec::new()
}
