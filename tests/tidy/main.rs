//! Invariants that the compiler cannot see. A failure names the rule and the place that breaks it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod edges;
mod machine;
mod manifests;
mod sources;

use std::{fs, path::PathBuf};

/// Fails with the rule and everything that breaks it.
#[track_caller]
fn none<T: std::fmt::Debug>(rule: &str, breaches: Vec<T>) {
    assert!(breaches.is_empty(), "{rule}: {breaches:#?}");
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut silent = sources::rust();
    silent.retain(|path| !fs::read_to_string(path).unwrap().starts_with("//!"));
    none("the first line is a `//!` sentence", silent);
}

#[test]
fn no_drawers() {
    let drawers = [
        "common", "helper", "helpers", "misc", "mod", "types", "util", "utils",
    ];
    let is_drawer = |path: &PathBuf| {
        let home = path.strip_prefix(sources::root()).unwrap();
        home.iter().any(|part| {
            let name = part.to_str().unwrap();
            drawers.contains(&name.strip_suffix(".rs").unwrap_or(name))
        })
    };
    let mut found = sources::rust();
    found.retain(is_drawer);
    none("files and folders are named by what they do", found);
}

#[test]
fn bindings_match_the_schema() {
    let mut stale = tokwatt_codegen::bindings().unwrap();
    stale.retain(|(kept, made)| fs::read_to_string(kept).unwrap_or_default() != *made);
    let stale: Vec<PathBuf> = stale.into_iter().map(|(kept, _)| kept).collect();
    none("bindings are made by `just proto`", stale);
}

#[test]
fn modules_use_only_whom_they_may() {
    none(
        "who may use whom stands in tests/tidy/edges.rs",
        edges::beyond(),
    );
}

#[test]
fn every_module_has_its_edges() {
    none(
        "a module has a row in tests/tidy/edges.rs",
        edges::unlisted(),
    );
}

#[test]
fn agent_and_collector_never_import_each_other() {
    let agent = manifests::dependencies("agent");
    let collector = manifests::dependencies("collector");
    assert!(!agent.contains("tokwatt-collector"), "{agent:?}");
    assert!(!collector.contains("tokwatt-agent"), "{collector:?}");
}

#[test]
fn the_domain_depends_on_nothing_that_could_do_io() {
    let mut beyond = manifests::dependencies("proto/domain");
    // Answers that are JSON are texts in memory, and a name is given its time and its chance.
    let pure = ["libm", "serde", "serde_json", "thiserror", "uuid"];
    beyond.retain(|name| !pure.contains(&name.as_str()));
    none("the domain computes", beyond.into_iter().collect());
    none("the domain computes", edges::outside_world("proto/domain"));
}

#[test]
fn every_configuration_parses() {
    let mut broken = sources::files("configs", "toml");
    assert!(!broken.is_empty(), "no file in configs");
    broken.retain(|path| {
        fs::read_to_string(path)
            .unwrap()
            .parse::<toml::Table>()
            .is_err()
    });
    none("files in configs are TOML", broken);
}

#[test]
fn json_schemas_are_schemas() {
    let mut broken = sources::files("proto/schema/json", "json");
    assert!(!broken.is_empty(), "no file in proto/schema/json");
    broken.retain(|path| {
        let schema = serde_json::from_str(&fs::read_to_string(path).unwrap());
        !schema.is_ok_and(|schema| jsonschema::meta::is_valid(&schema))
    });
    none("files in proto/schema/json are JSON Schemas", broken);
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    none(
        "no paths and hosts of one machine or site",
        machine::traces(),
    );
}

#[test]
fn dependencies_come_from_the_public_registry() {
    none(
        "sources in Cargo.lock are crates.io",
        manifests::foreign_sources(),
    );
}

#[test]
fn every_folder_has_a_readme() {
    let mut bare = sources::top_folders();
    bare.retain(|folder| !folder.join("README.md").exists());
    none("a top-level folder has a README.md", bare);
}
