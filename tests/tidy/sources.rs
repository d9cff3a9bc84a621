//! The files of the repository: what git ignores, bindings and fixtures apart.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// All Rust files that people wrote.
pub(crate) fn rust() -> Vec<PathBuf> {
    files("", "rs")
}

/// `src/MODULE.rs` of a package and everything in `src/MODULE/`.
pub(crate) fn of_module(package: &str, module: &str) -> Vec<PathBuf> {
    let home = root().join(package).join("src");
    let file = home.join(format!("{module}.rs"));
    let folder = home.join(module);
    let mut found = files(package, "rs");
    found.retain(|path| *path == file || path.starts_with(&folder));
    found
}

/// All files with an extension below a folder, which may not exist yet.
pub(crate) fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = all();
    found.retain(|path| path.starts_with(root().join(folder)));
    found.retain(|path| path.extension().is_some_and(|found| found == extension));
    found
}

/// All files, sorted.
pub(crate) fn all() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let path = entry.unwrap().path();
        if !is_ignored(&path) {
            walk(path, &mut found);
        }
    }
    found.sort();
    found
}

/// Folders at the top that do not start with a dot.
pub(crate) fn top_folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(root()).unwrap();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir() && !is_ignored(path) && !name(path).starts_with('.'));
    folders
}

/// The folder of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn walk(path: PathBuf, found: &mut Vec<PathBuf>) {
    if path.is_symlink() || path.ends_with("generated") {
        return;
    }
    if path.is_file() {
        found.push(path);
        return;
    }
    for entry in fs::read_dir(path).unwrap() {
        walk(entry.unwrap().path(), found);
    }
}

/// Whether git does not look at it: `.gitignore` names it as `/NAME`.
fn is_ignored(path: &Path) -> bool {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap();
    let line = format!("/{}", name(path));
    name(path) == ".git"
        || ignored
            .lines()
            .any(|found| found.trim_end_matches('/') == line)
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}
