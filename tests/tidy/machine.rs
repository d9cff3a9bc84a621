//! Traces of the machine that a file was written on: its folders, its hosts.

use std::{fs, path::Path};

use crate::sources;

/// Folders in which people and their tools work. Written without slashes, so that this file is no trace itself.
const FOLDERS: [&str; 4] = ["home", "root", "Users", "work"];

/// Ends of names that only one site can resolve.
const SITES: [&str; 4] = [".corp", ".internal", ".intranet", ".lan"];

/// File, line and what was found there.
pub(crate) fn traces() -> Vec<String> {
    let mut traces = Vec::new();
    for path in sources::all() {
        // What is not UTF-8 is no text.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for (number, line) in (1..).zip(text.lines()) {
            traces.extend(trace_in(line).map(|found| place(&path, number, &found)));
        }
    }
    traces
}

fn place(path: &Path, line: u32, found: &str) -> String {
    let path = path.strip_prefix(sources::root()).unwrap();
    format!("{}:{line}: {found}", path.display())
}

fn trace_in(line: &str) -> Option<String> {
    folder_in(line).or_else(|| host_in(line))
}

/// `/NAME/…` where a path begins, not where one goes on.
fn folder_in(line: &str) -> Option<String> {
    let goes_on = |c: char| c.is_alphanumeric() || "._-}/*".contains(c);
    let begins_in = |name: &&str| {
        line.match_indices(&format!("/{name}/"))
            .any(|(place, _)| !line[..place].ends_with(goes_on))
    };
    let name = FOLDERS.iter().find(|name| begins_in(name))?;
    Some(format!("path below {name}"))
}

/// The host of an address, if only one site can resolve it.
fn host_in(line: &str) -> Option<String> {
    let is_host = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    line.match_indices("://").find_map(|(place, mark)| {
        let rest = &line[place + mark.len()..];
        let host = &rest[..rest.find(|c| !is_host(c)).unwrap_or(rest.len())];
        let is_of_site = SITES.iter().any(|end| host.ends_with(end));
        is_of_site.then(|| format!("host {host}"))
    })
}

#[test]
fn paths_and_hosts_of_one_machine_are_found_and_others_are_not() {
    // `~` stands for a slash, so that this file is no trace itself.
    check("open(\"~work~main\")", Some("path below work"));
    check("see ~home~ann~notes", Some("path below home"));
    check(
        "at http:~~packages.lab.internal:8080~x",
        Some("host packages.lab.internal"),
    );
    check("src~work~plan.rs", None);
    check("${HOME}~work~x", None);
    check("~var~lib~tokwatt", None);
    check("http:~~127.0.0.1:8080 and https:~~crates.io~crates", None);

    #[track_caller]
    fn check(line: &str, want: Option<&str>) {
        assert_eq!(trace_in(&line.replace('~', "/")).as_deref(), want);
    }
}
