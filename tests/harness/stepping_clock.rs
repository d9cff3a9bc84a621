//! A wall clock that steps by ten years whenever a program reads it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

/// Makes it, in a folder of the caller's: a library for `LD_PRELOAD`.
///
/// # Errors
/// There is no C compiler, or it does not compile it.
pub fn stepping_clock(folder: &Path) -> anyhow::Result<PathBuf> {
    let library = folder.join("stepping_clock.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("harness/stepping_clock.c");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(source)
        .status()
        .context("cannot start `cc`")?;
    if !status.success() {
        bail!("`cc` ended with {status}");
    }
    Ok(library)
}
