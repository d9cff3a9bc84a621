//! A report of what was delivered, as a folder: whole, safe, and the same in any order.

use std::{collections::BTreeMap, fs, path::Path};

use tempfile::TempDir;
use tokwatt_domain::{ids::RunId, leaderboard::Board, metrics::Percentile, run::RunTrace};
use tokwatt_proto::Record;

use crate::{
    agent::{block_on, deliver, records, trace_with_power},
    command_line::{Server, refuses, run},
};

/// A collector to which these were delivered, in this order.
struct Delivered {
    home: TempDir,
    server: Server,
}

impl Delivered {
    fn of(traces: &[RunTrace]) -> Self {
        let home = TempDir::new().unwrap();
        let server = Server::start(&home.path().join("data"));
        let mut spools: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for trace in traces {
            let spool = spools.entry(trace.header.device.to_string()).or_default();
            spool.extend(records(trace).iter().map(Record::encode));
            block_on(deliver(
                server.addr(),
                trace.header.device.as_str(),
                1,
                spool,
            ));
        }
        Self { home, server }
    }

    fn report(&self, extra: &[&str]) -> BTreeMap<String, String> {
        let out = self.home.path().join("report");
        let arguments = [
            "report",
            out.to_str().unwrap(),
            "--collector",
            &self.server.url,
        ];
        let output = run(&[&arguments, extra].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        files(&out)
    }
}

/// Texts as they are, pictures by their digits.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for folder in [folder.to_owned(), folder.join("figures")] {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let content = fs::read(&path).unwrap();
                let text = String::from_utf8(content)
                    .unwrap_or_else(|error| format!("{:?}", error.as_bytes()));
                files.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), text);
            }
        }
    }
    files
}

/// Three repetitions on each of two devices.
fn traces() -> Vec<RunTrace> {
    let of = |device: &'static str, first: u8, token_ms: u64| {
        (0..3).map(move |number| {
            trace_with_power(
                device,
                RunId([first + number; 16]),
                u32::from(number) + 1,
                token_ms,
            )
        })
    };
    of("orin-1", 1, 20).chain(of("thor-1", 11, 10)).collect()
}

#[test]
fn a_report_has_the_same_bytes_in_any_order_of_arrival() {
    let forwards = Delivered::of(&traces()).report(&[]);
    let backwards: Vec<RunTrace> = traces().into_iter().rev().collect();
    let backwards = Delivered::of(&backwards).report(&[]);
    assert_eq!(
        forwards.keys().collect::<Vec<_>>(),
        backwards.keys().collect::<Vec<_>>()
    );
    for (name, content) in &forwards {
        assert!(*content == backwards[name], "{name} differs");
    }
    assert!(forwards.len() > 20, "{:?}", forwards.keys());
    assert!(
        forwards
            .keys()
            .any(|name| name.contains("power-orin-1") && name.ends_with(".png"))
    );
}

#[test]
fn the_page_needs_nothing_from_anywhere_and_runs_nothing() {
    let page = &Delivered::of(&traces()).report(&[])["index.html"];
    assert!(page.contains("<svg role=\"img\""));
    for word in [
        "<script",
        "<img",
        "<link",
        "<iframe",
        "javascript:",
        "url(",
        "@import",
        "src=",
    ] {
        assert!(!page.contains(word), "{word}");
    }
    let outside = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!outside.contains("http://") && !outside.contains("https://"));
    let mut links = page
        .match_indices("href=\"")
        .map(|(place, mark)| &page[place + mark.len()..]);
    assert!(links.all(|link| link.starts_with('#')));
    let ids: Vec<&str> = page
        .split("<title id=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let mut different = ids.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(ids.len(), different.len(), "no two pictures have one id");
}

#[test]
fn a_name_is_never_markup_and_never_a_formula() {
    let mut traces = traces();
    for trace in &mut traces {
        trace.header.cell.identity.model = "<img src=x onerror=alert(1)>|a\nb".to_owned();
        trace.header.cell.configuration.engine = "=cmd()|' /C calc'!A0".to_owned();
    }
    let files = Delivered::of(&traces).report(&[]);
    for (name, text) in files.iter().filter(|(name, _)| {
        !name.ends_with("png") && *name != "metrics.csv" && *name != "summary.txt"
    }) {
        assert!(!text.contains("<img"), "{name}");
    }
    assert!(files["index.html"].contains("&lt;img src=x"));
    assert!(files["metrics.csv"].contains("'=cmd()|' /C calc'!A0"));
    assert!(
        files["metrics.csv"]
            .lines()
            .all(|line| !line.contains(",=cmd"))
    );
}

#[test]
fn figures_in_the_table_are_those_of_the_boards() {
    let delivered = Delivered::of(&traces());
    let files = delivered.report(&[]);
    let arguments = [
        "rank",
        "--metric",
        "decode_tps",
        "--format",
        "json",
        "--collector",
        &delivered.server.url,
    ];
    let board: Board = serde_json::from_slice(&run(&arguments).stdout).unwrap();
    let mut table = csv::Reader::from_reader(files["metrics.csv"].as_bytes());
    let lines: Vec<BTreeMap<String, String>> = table.deserialize().map(Result::unwrap).collect();
    assert_eq!((lines.len(), board.rows.len()), (2, 2));
    for line in lines {
        let row = board
            .rows
            .iter()
            .find(|row| row.key["device"] == line["device"])
            .unwrap();
        assert_eq!(
            row.value,
            Percentile::Value(line["decode_tps (tok/s)"].parse().unwrap())
        );
        assert_eq!(line["decode_tps n"], "3");
        assert_eq!(line["provenance"], "measured");
        assert!(
            line.contains_key("j_per_image@module (J)"),
            "{:?}",
            line.keys()
        );
    }
    assert!(files["summary.txt"].contains("Highest throughput"));
}

#[test]
fn a_store_without_such_runs_says_what_there_is() {
    let empty = Delivered::of(&[]).report(&[]);
    assert!(empty["index.html"].contains("There is no measured run"));
    let others = Delivered::of(&traces()).report(&["--provenance", "simulated"]);
    let page = &others["index.html"];
    assert!(
        page.contains("6 measured runs are in a report of their own"),
        "{page}"
    );
    assert!(others["summary.txt"].contains("--provenance measured"));
}

#[test]
fn what_cannot_be_reported_is_named_and_leaves_no_folder() {
    let delivered = Delivered::of(&[]);
    let out = delivered.home.path().join("report");
    let report = [
        "report",
        out.to_str().unwrap(),
        "--collector",
        &delivered.server.url,
    ];
    refuses(
        &[&report[..], &["--where", "precison=f16"]].concat(),
        &["did you mean `precision`?"],
    );
    refuses(
        &[&report[..], &["--provenance", "simulted"]].concat(),
        &["did you mean `simulated`?"],
    );
    let data = delivered.home.path().join("data");
    let other = [
        "report",
        data.to_str().unwrap(),
        "--collector",
        &delivered.server.url,
    ];
    refuses(&other, &["not empty and not a report of ours"]);
    assert_eq!(
        fs::read_dir(delivered.home.path()).unwrap().count(),
        1,
        "the data folder alone"
    );
}
