//! What tests and demo share: where the built programs are.

use std::path::PathBuf;

/// A program of this workspace, built in the same profile as the caller.
///
/// # Panics
/// If it has not been built: `cargo build --release --workspace --bins` does.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the running program has a path");
    let folders = own.ancestors().skip(1).take(2);
    folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!("`{name}` is not built: run `cargo build --release --workspace --bins` first")
        })
}
