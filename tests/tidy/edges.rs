//! Who may use whom inside agent and collector, and that the domain uses nobody outside.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, ItemMod, ItemUse, UseTree,
    visit::{self, Visit},
};

use crate::sources;

/// A module and the modules of its package that it may use.
type Edges = &'static [(&'static str, &'static [&'static str])];

/// A new edge is a decision: add it here, in a commit of its own.
const AGENT: Edges = &[
    ("blocking", &[]),
    ("clock", &[]),
    ("settings", &[]),
    ("guard", &[]),
    ("device", &[]),
    ("workload", &[]),
    // A server's own metrics are gauges.
    (
        "backend",
        &["blocking", "clock", "device", "guard", "workload"],
    ),
    ("power", &["clock", "device", "guard"]),
    ("power_mode", &["device"]),
    ("decode", &["device", "power"]),
    (
        "simulate",
        &["backend", "clock", "device", "power", "workload"],
    ),
    (
        "runner",
        &[
            "backend",
            "blocking",
            "clock",
            "device",
            "power",
            "power_mode",
            "spool",
            "workload",
        ],
    ),
    ("spool", &["clock"]),
    // The gate that the runner closes while it measures.
    ("uplink", &["blocking", "clock", "runner", "spool"]),
    ("enrol", &["clock", "runner", "uplink"]),
    // Its runner starts benches by the settings' names, and waits where they measure.
    (
        "attend",
        &[
            "backend", "blocking", "clock", "runner", "settings", "spool", "uplink", "workload",
        ],
    ),
    (
        "cli",
        &[
            "attend",
            "backend",
            "clock",
            "decode",
            "device",
            "enrol",
            "guard",
            "power",
            "power_mode",
            "runner",
            "settings",
            "simulate",
            "spool",
            "uplink",
            "workload",
        ],
    ),
];

const COLLECTOR: Edges = &[
    ("clock", &[]),
    ("peer", &[]),
    ("settings", &[]),
    ("vitals", &[]),
    ("store", &["vitals"]),
    ("enrol", &["clock", "peer", "store", "vitals"]),
    // With each cell it writes the index that ranking reads.
    ("rollup", &["clock", "rank", "store", "vitals"]),
    ("retention", &["clock", "store"]),
    ("published", &[]),
    // What could not be read when it came is read as if it came now.
    (
        "check",
        &["ingest", "published", "rollup", "store", "vitals"],
    ),
    ("ingest", &["peer", "store", "vitals"]),
    // A file is admitted as a delivery is, and a bundle is measured as one.
    (
        "exchange",
        &[
            "clock", "enrol", "ingest", "peer", "query", "rank", "report", "rollup", "store",
            "vitals",
        ],
    ),
    ("dispatch", &["clock", "peer", "store"]),
    ("rank", &[]),
    ("compare", &["rank"]),
    ("recommend", &["rank"]),
    // Two models on one device are two sides.
    ("estimate", &["compare", "rank"]),
    (
        "query",
        &[
            "compare",
            "estimate",
            "peer",
            "rank",
            "recommend",
            "rollup",
            "store",
        ],
    ),
    ("chart", &["query", "rank"]),
    // Documents of the questions, of a check, and of what an operator sees.
    (
        "report",
        &[
            "chart",
            "check",
            "compare",
            "enrol",
            "estimate",
            "peer",
            "query",
            "rank",
            "recommend",
        ],
    ),
    (
        "web",
        &[
            "chart",
            "clock",
            "compare",
            "dispatch",
            "enrol",
            "exchange",
            "peer",
            "query",
            "rank",
            "recommend",
            "report",
            "store",
            "vitals",
        ],
    ),
    ("backup", &["store"]),
    (
        "server",
        &[
            "clock",
            "dispatch",
            "enrol",
            "exchange",
            "ingest",
            "peer",
            "query",
            "report",
            "retention",
            "rollup",
            "settings",
            "store",
            "vitals",
            "web",
        ],
    ),
    // `check` looks at the database itself. Use cases that are built in need no collector, and plans and sides are read before they are
    // sent.
    (
        "cli",
        &[
            "backup",
            "check",
            "clock",
            "compare",
            "enrol",
            "estimate",
            "exchange",
            "published",
            "query",
            "recommend",
            "report",
            "server",
            "settings",
            "store",
            "vitals",
        ],
    ),
];

/// Parts of the standard library that reach outside of the program.
const OUTSIDE: [&str; 7] = ["env", "fs", "io", "net", "os", "process", "thread"];

/// Uses that no edge allows.
pub(crate) fn beyond() -> Vec<String> {
    let mut beyond = Vec::new();
    for (package, edges) in [("agent", AGENT), ("collector", COLLECTOR)] {
        for (module, allowed) in edges {
            for path in sources::of_module(package, module) {
                let mut used = uses("crate", &path);
                used.retain(|used| used != module && !allowed.contains(&used.as_str()));
                beyond.extend(used.iter().map(|used| breach(&path, used)));
            }
        }
    }
    beyond
}

/// Modules of the two packages that are in no table.
pub(crate) fn unlisted() -> Vec<PathBuf> {
    let mut unlisted = Vec::new();
    for (package, edges) in [("agent", AGENT), ("collector", COLLECTOR)] {
        let home = sources::root().join(package).join("src");
        let mut files = sources::files(package, "rs");
        files.retain(|path| path.parent() == Some(&home));
        files.retain(|path| {
            let module = path.file_stem().unwrap().to_str().unwrap();
            !["lib", "main"].contains(&module) && !edges.iter().any(|(name, _)| *name == module)
        });
        unlisted.extend(files);
    }
    unlisted
}

/// Uses of the outside world in a package that should have none.
pub(crate) fn outside_world(package: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    for path in sources::files(&format!("{package}/src"), "rs") {
        let mut used = uses("std", &path);
        used.retain(|used| OUTSIDE.contains(&used.as_str()));
        breaches.extend(used.iter().map(|used| breach(&path, used)));
    }
    breaches
}

fn breach(path: &Path, used: &str) -> String {
    let path = path.strip_prefix(sources::root()).unwrap();
    format!("{} uses {used}", path.display())
}

fn uses(root: &'static str, path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap();
    uses_in(root, depth(path), &text)
}

/// How many `super`s lead from a file of `src` to the crate.
fn depth(path: &Path) -> usize {
    let parts = path.iter().rev().take_while(|part| *part != "src");
    parts.count()
}

fn uses_in(root: &'static str, depth: usize, text: &str) -> BTreeSet<String> {
    let mut uses = Uses {
        root,
        depth,
        found: BTreeSet::new(),
    };
    uses.visit_file(&syn::parse_file(text).unwrap());
    uses.found
}

/// What stands behind every `ROOT::…` outside of tests; `super::…` that climbs up to the crate is found as `super`.
struct Uses {
    root: &'static str,
    depth: usize,
    found: BTreeSet<String>,
}

impl<'ast> Visit<'ast> for Uses {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !module.attrs.iter().any(is_cfg_test) {
            self.depth += 1;
            visit::visit_item_mod(self, module);
            self.depth -= 1;
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_use(&item.tree, 0);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        if names.len() > 1 && names[0] == self.root {
            self.found.insert(names[1].clone());
        }
        self.check_climb(names.iter().take_while(|name| *name == "super").count());
        visit::visit_path(self, path);
    }
}

impl Uses {
    fn add_use(&mut self, tree: &UseTree, climbed: usize) {
        match tree {
            UseTree::Path(path) if path.ident == self.root => self.add_heads(&path.tree),
            UseTree::Path(path) if path.ident == "super" => {
                self.check_climb(climbed + 1);
                self.add_use(&path.tree, climbed + 1);
            }
            UseTree::Group(group) => {
                for item in &group.items {
                    self.add_use(item, climbed);
                }
            }
            _ => {}
        }
    }

    fn add_heads(&mut self, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => drop(self.found.insert(path.ident.to_string())),
            UseTree::Name(name) => drop(self.found.insert(name.ident.to_string())),
            UseTree::Rename(rename) => drop(self.found.insert(rename.ident.to_string())),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.add_heads(item)),
            UseTree::Glob(_) => drop(self.found.insert("*".to_owned())),
        }
    }

    /// Only a module's own files may be reached by `super`; others are named from the crate, where a reader sees the edge.
    fn check_climb(&mut self, supers: usize) {
        if supers >= self.depth && self.root == "crate" {
            self.found.insert("super".to_owned());
        }
    }
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute
            .meta
            .require_list()
            .is_ok_and(|list| list.tokens.to_string() == "test")
}

#[test]
fn every_way_to_name_a_module_is_seen() {
    check("use crate::spool::Spool;", &["spool"]);
    check("use crate::{clock::Clock, spool};", &["clock", "spool"]);
    check("use {crate::clock as time, std::fs};", &["clock"]);
    check(
        "fn f() { crate::power::sample::<crate::device::Rail>() }",
        &["device", "power"],
    );
    check("use super::clock::Clock;", &["super"]);
    check("mod inner { use super::own; }", &[]);
    check("mod inner { use super::super::clock; }", &["super"]);
    check("fn f() { super::clock::now() }", &["super"]);
    check("#[cfg(test)] mod tests { use crate::simulate; }", &[]);
    check("use std::fs; use self::own::Thing;", &[]);

    #[track_caller]
    fn check(text: &str, want: &[&str]) {
        let found = uses_in("crate", 1, text);
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), want);
    }
}
