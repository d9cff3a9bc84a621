//! What packages depend on, and where it comes from.

use std::{collections::BTreeSet, fs};

use toml::Table;

use crate::sources;

/// Names of what a package needs to be built and run; what only its tests need is left out.
pub(crate) fn dependencies(package: &str) -> BTreeSet<String> {
    let path = sources::root().join(package).join("Cargo.toml");
    let manifest: Table = fs::read_to_string(path).unwrap().parse().unwrap();
    let mut names = names_in(&manifest);
    let targets = manifest
        .get("target")
        .and_then(|targets| targets.as_table());
    for target in targets.into_iter().flat_map(Table::values) {
        names.extend(names_in(target.as_table().unwrap()));
    }
    names
}

/// Lines of the lock file that name another source than crates.io.
pub(crate) fn foreign_sources() -> Vec<String> {
    let lock = fs::read_to_string(sources::root().join("Cargo.lock")).unwrap();
    let known = r#"source = "registry+https://github.com/rust-lang/crates.io-index""#;
    lock.lines()
        .filter(|line| line.starts_with("source = ") && *line != known)
        .map(str::to_owned)
        .collect()
}

fn names_in(table: &Table) -> BTreeSet<String> {
    ["dependencies", "build-dependencies"]
        .iter()
        .filter_map(|section| table.get(*section)?.as_table())
        .flat_map(|section| section.keys().cloned())
        .collect()
}
