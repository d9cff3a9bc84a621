//! Files in and out: results of other tools on boards of their own, tables read back, bundles that anybody can verify.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, RowAccessor};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokwatt_domain::ids::RunId;
use tokwatt_proto::Record;

use crate::{
    agent::{deliver, records, trace_with_power},
    command_line::{Server, refuses, run},
};

fn fixture(name: &str) -> String {
    format!(
        "{}/../tests/fixtures/foreign/{name}",
        env!("CARGO_MANIFEST_DIR")
    )
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Four runs of two devices with power.
fn with_runs() -> (TempDir, Server) {
    let data = TempDir::new().unwrap();
    let server = Server::start(data.path());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (device, first, token_ms) in [("orin-1", 1, 10), ("thor-1", 11, 5)] {
        let mut spool = Vec::new();
        for number in 0..2_u8 {
            let trace = trace_with_power(
                device,
                RunId([first + number; 16]),
                u32::from(number) + 1,
                token_ms,
            );
            spool.extend(records(&trace).iter().map(Record::encode));
        }
        runtime.block_on(deliver(server.addr(), device, 1, &spool));
    }
    (data, server)
}

#[test]
fn what_another_tool_measured_stands_on_boards_of_its_own() {
    let (_data, server) = with_runs();
    let imported = json(&server.ask(&[
        "import",
        &fixture("vllm-bench-0.32.0.json"),
        "--device",
        "orin-1",
        "--format",
        "json",
    ]));
    assert_eq!(
        (imported["schema"].as_str(), imported["is_new"].as_bool()),
        (Some("tokwatt.results/1"), Some(true))
    );
    assert_eq!(imported["runs"].as_array().unwrap().len(), 2);

    let board = json(&server.ask(&[
        "rank",
        "--metric",
        "output_tps",
        "--by",
        "device,load",
        "--provenance",
        "imported",
        "--format",
        "json",
    ]));
    assert_eq!(board["provenance"], "imported");
    let values: Vec<f64> = board["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["value"].as_f64().unwrap())
        .collect();
    assert!(
        (values[0] - 2090.4301804767406).abs() < 1e-6
            && (values[1] - 1258.344596364942).abs() < 1e-6,
        "{values:?}"
    );
    // On the board of what was measured it is not, though it is of the same device.
    let measured = json(&server.ask(&["rank", "--metric", "ttft", "--format", "json"]));
    assert_eq!(measured["rows"].as_array().unwrap().len(), 2);
    assert!(
        measured["notes"].to_string().contains("imported"),
        "{}",
        measured["notes"]
    );

    let runs = json(&server.ask(&["runs", "list", "--format", "json"]));
    let of_file = |run: &&Value| run["provenance"] == "imported";
    let lines: Vec<&Value> = runs["runs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(of_file)
        .collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines.iter().all(|line| line["raw_samples"] == "none"),
        "{lines:?}"
    );

    let id = imported["runs"][0]["run"].as_str().unwrap();
    let shown = json(&server.ask(&["runs", "show", id, "--format", "json"]));
    assert_eq!(shown["source"]["sha256"], imported["sha256"]);
    assert_eq!(shown["source"]["values"], imported["runs"][0]["values"]);
    let text = server.ask(&["runs", "show", id]);
    for words in [
        "not measured by us: line 1 of `vllm-bench-0.32.0.json`",
        "never ranked: foreign.vllm.max_output_tokens_per_s",
    ] {
        assert!(text.contains(words), "`{words}` is not in: {text}");
    }
}

#[test]
fn a_file_is_kept_once_and_as_it_was() {
    let data = TempDir::new().unwrap();
    let file = fixture("llama-bench.jsonl");
    let mut server = Server::start(data.path());
    let first = json(&server.ask(&["import", &file, "--format", "json"]));
    let again = json(&server.ask(&["import", &file, "--format", "json"]));
    assert_eq!(again["is_new"], false);
    assert!(
        again["notes"].to_string().contains("imported before"),
        "{again}"
    );
    assert_eq!(first["runs"], again["runs"]);
    let bytes = fs::read(&file).unwrap();
    let digest: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(first["sha256"], digest);
    refuses(
        &[
            "import",
            &file,
            "--device",
            "another",
            "--collector",
            &server.url,
        ],
        &["imported on", "no labels", "leave the labels out"],
    );
    assert_eq!(
        server
            .ask(&[
                "rank",
                "--metric",
                "decode_tps_server",
                "--provenance",
                "imported",
                "--where",
                "task=tg32",
                "--format",
                "json"
            ])
            .matches("\"place\"")
            .count(),
        1
    );
    server.kill();
    // It is all as it was: the bytes, the reports, the cells; also when they are made anew.
    let folder = data.path().to_str().unwrap();
    for arguments in [
        &["check", "--data", folder][..],
        &["check", "--rebuild", "--data", folder],
        &["check", "--data", folder],
    ] {
        let output = run(arguments);
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn what_was_imported_is_ranked_by_its_ratios_compared_and_reported() {
    let (data, server) = with_runs();
    let text = fs::read_to_string(fixture("genai-perf-streaming.json")).unwrap();
    // A file is told from another by its bytes.
    for (device, end) in [("orin-1", ""), ("thor-1", "\n")] {
        let copy = data.path().join(format!("{device}.json"));
        fs::write(&copy, format!("{text}{end}")).unwrap();
        let copy = copy.to_str().unwrap();
        server.ask(&["import", copy, "--device", device]);
    }
    let imported = ["--provenance", "imported"];
    let board = ["rank", "--metric", "output_tps", "--format", "json"];
    let board = json(&server.ask(&[&board[..], &imported].concat()));
    assert_eq!(board["rows"].as_array().unwrap().len(), 2, "{board}");
    let compare = [
        "compare",
        "device=orin-1",
        "device=thor-1",
        "--format",
        "json",
    ];
    let comparison = json(&server.ask(&[&compare[..], &imported].concat()));
    let notes = comparison["notes"].to_string();
    assert!(
        notes.contains("of 2 runs there are no single requests"),
        "{notes}"
    );
    let out = data.path().join("report");
    server.ask(&[&["report", out.to_str().unwrap()], &imported[..]].concat());
    let page = fs::read_to_string(out.join("index.html")).unwrap();
    assert!(page.contains("of 2 runs from other tools' files"), "{page}");
}

#[test]
fn what_a_file_does_not_count_is_absent_and_not_none() {
    let (data, server) = with_runs();
    let file = fixture("localscore-nvidia.json");
    server.ask(&["import", &file, "--device", "desktop"]);
    let runs = json(&server.ask(&["runs", "list", "--format", "json"]));
    for run in runs["runs"].as_array().unwrap() {
        let is_ours = run["provenance"] != "imported";
        assert_eq!(run["n_requests"].is_number(), is_ours, "{run}");
        let id = run["run"].as_str().unwrap();
        let text = server.ask(&["runs", "show", id]);
        assert_eq!(text.contains("requests succeeded in"), is_ours, "{text}");
        let row = json(&server.ask(&["export", "--format", "jsonl", id, "-"]));
        for column in ["window [s]", "issued", "succeeded"] {
            assert_eq!(row[column].is_number(), is_ours, "{column}: {row}");
        }
    }
    let out = data.path().join("report");
    let out = out.to_str().unwrap();
    server.ask(&["report", out, "--provenance", "imported"]);
    let mut metrics = csv::Reader::from_path(format!("{out}/metrics.csv")).unwrap();
    let head = metrics.headers().unwrap().clone();
    let column = head.iter().position(|name| name == "n_requests").unwrap();
    let lines: Vec<csv::StringRecord> = metrics.records().map(Result::unwrap).collect();
    assert!(!lines.is_empty());
    assert!(lines.iter().all(|line| line[column].is_empty()));
}

#[test]
fn altered_bytes_of_an_imported_file_are_found() {
    let data = TempDir::new().unwrap();
    let mut server = Server::start(data.path());
    server.ask(&["import", &fixture("llama-bench.json")]);
    server.kill();
    let database = rusqlite::Connection::open(data.path().join("collector.sqlite")).unwrap();
    database
        .execute("UPDATE import_part SET bytes = x'00'", [])
        .unwrap();
    drop(database);
    let output = run(&["check", "--data", data.path().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("not those that were imported"), "{said}");
}

#[test]
fn without_a_collector_a_file_is_kept_in_its_database() {
    let data = TempDir::new().unwrap();
    let folder = data.path().to_str().unwrap();
    Server::start(data.path()).kill();
    let output = run(&[
        "import",
        &fixture("localscore-nvidia.json"),
        "--data",
        folder,
    ]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let server = Server::start(data.path());
    let board = json(&server.ask(&[
        "rank",
        "--metric",
        "decode_tps_server",
        "--where",
        "task=pp1024+tg16",
        "--provenance",
        "imported",
        "--format",
        "json",
    ]));
    let value = board["rows"][0]["value"].as_f64().unwrap();
    assert!((value - 105.282166).abs() < 1e-9, "{value}");
}

#[test]
fn what_cannot_be_imported_says_what_to_do_and_is_not_kept() {
    let data = TempDir::new().unwrap();
    let server = Server::start(data.path());
    let folder = TempDir::new().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let refused = |path: &str, more: &[&str], words: &[&str]| {
        refuses(
            &[&["import", path, "--collector", &server.url], more].concat(),
            &[&[path], words].concat(),
        );
    };
    let whole = fs::read(fixture("aiperf-0.13.0.json")).unwrap();
    refused(
        &file("half.json", &whole[..whole.len() / 2]),
        &[],
        &["cut off in line", "copy it again"],
    );
    refused(
        &file("page.json", b"<!DOCTYPE html><html></html>"),
        &[],
        &["web page", "Raw"],
    );
    refused(&file("nothing.json", b""), &[], &["empty"]);
    refused(&file("packed.json", b"PK\x03\x04"), &[], &["zip", "unpack"]);
    refused(&file("noise.json", &[0, 1, 2, 255]), &[], &["binary"]);
    refused(
        &file("other.json", br#"{"speed":3}"#),
        &[],
        &["no tool that is known", "speed"],
    );
    let good = fixture("vllm-bench-0.32.0.json");
    refused(&good, &[], &["on which device", "--device NAME"]);
    refused(&good, &["--device", "Orin 1"], &["[a-z0-9-]", "Orin 1"]);
    refused(&good, &["--tool", "vlm"], &["did you mean `vllm`?"]);
    refused(
        &good,
        &["--tool", "sglang", "--device", "a"],
        &["of vllm, not of sglang"],
    );
    // 2 GB that take no room.
    let path = folder.path().join("long.json");
    File::create(&path).unwrap().set_len(2 << 30).unwrap();
    refused(
        path.to_str().unwrap(),
        &[],
        &["longer than 256 MiB", "--save-detailed"],
    );
    refuses(
        &["import", "missing.json", "--collector", &server.url],
        &["cannot import `missing.json`"],
    );
    let runs = json(&server.ask(&["runs", "list", "--format", "json"]));
    assert_eq!(runs["runs"].as_array().unwrap().len(), 0);
    // Of several, the good ones are kept.
    let output = run(&[
        "import",
        &good,
        &file("bad.json", b"x"),
        "--device",
        "a",
        "--collector",
        &server.url,
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("bad.json"));
    let runs = json(&server.ask(&["runs", "list", "--format", "json"]));
    assert_eq!(runs["runs"].as_array().unwrap().len(), 2);
}

#[test]
fn every_answer_to_an_import_keeps_to_its_schema() {
    let data = TempDir::new().unwrap();
    let server = Server::start(data.path());
    let schema = include_str!("../../proto/schema/json/results.schema.json");
    let schema = jsonschema::validator_for(&json(schema)).unwrap();
    let mut n = 0;
    for entry in fs::read_dir(fixture("")).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("README.md") {
            continue;
        }
        let answer = json(&server.ask(&[
            "import",
            path.to_str().unwrap(),
            "--device",
            "lab-1",
            "--model",
            "m",
            "--format",
            "json",
        ]));
        let errors: Vec<String> = schema
            .iter_errors(&answer)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert_eq!(errors, Vec::<String>::new(), "{}", path.display());
        n += 1;
    }
    assert_eq!(n, 21);
}

#[test]
fn tables_are_read_back_with_units_scopes_and_provenance() {
    let (_data, server) = with_runs();
    server.ask(&["import", &fixture("llama-bench.json"), "--model", "=cmd()"]);
    let folder = TempDir::new().unwrap();
    let out = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();

    let table = server.ask(&["export", "--what", "runs", "-"]);
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let headers = reader.headers().unwrap().clone();
    let place = |name: &str| {
        headers
            .iter()
            .position(|header| header == name)
            .unwrap_or_else(|| panic!("no {name} in {headers:?}"))
    };
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 7);
    let imported: Vec<&csv::StringRecord> = rows
        .iter()
        .filter(|row| &row[place("provenance")] == "imported")
        .collect();
    assert_eq!(imported.len(), 3);
    assert!(imported.iter().all(|row| &row[place("model")] == "'=cmd()" && row[place("source")].contains("sha256")));
    let measured = rows
        .iter()
        .find(|row| &row[place("device")] == "orin-1")
        .unwrap();
    let energy: f64 = measured[place("energy@module [J]")].parse().unwrap();
    let shown = json(&server.ask(&["runs", "show", &measured[place("run")], "--format", "json"]));
    assert_eq!(
        shown["report"]["power"][0]["energy_j"].as_f64(),
        Some(energy)
    );

    server.ask(&["export", "--what", "runs", &out("runs.parquet")]);
    let parquet = SerializedFileReader::new(File::open(out("runs.parquet")).unwrap()).unwrap();
    let metadata = parquet
        .metadata()
        .file_metadata()
        .key_value_metadata()
        .unwrap();
    let columns = metadata
        .iter()
        .find(|pair| pair.key == "tokwatt.columns")
        .unwrap();
    let columns = json(columns.value.as_ref().unwrap());
    let column = columns
        .as_array()
        .unwrap()
        .iter()
        .find(|column| column["name"] == "energy@module")
        .unwrap();
    assert_eq!(
        (&column["unit"], &column["definition"], &column["scope"]),
        (&json("\"J\""), &json("\"energy\""), &json("\"module\""))
    );
    let energies: Vec<f64> = parquet
        .get_row_iter(None)
        .unwrap()
        .map(Result::unwrap)
        .filter_map(|row| {
            let place = row
                .get_column_iter()
                .position(|(name, _)| name == "energy@module")
                .unwrap();
            row.get_double(place).ok()
        })
        .collect();
    let of_table: Vec<f64> = rows
        .iter()
        .filter_map(|row| row[place("energy@module [J]")].parse().ok())
        .collect();
    assert_eq!((energies.len(), &energies), (4, &of_table));

    let cells = json(&server.ask(&["export", "--what", "cells", "--format", "json", "-"]));
    let rows = cells["rows"].as_array().unwrap();
    assert_eq!(
        (cells["schema"].as_str(), rows.len()),
        (Some("tokwatt.export/1"), 4)
    );
    let orin = rows.iter().find(|row| row["device"] == "orin-1").unwrap();
    assert_eq!(
        (&orin["n_runs"], &orin["output_tps.n"]),
        (&json("2"), &json("2"))
    );

    let lines = server.ask(&[
        "export",
        "--what",
        "requests",
        "--format",
        "jsonl",
        "--where",
        "device=thor-1",
        "-",
    ]);
    let lines: Vec<Value> = lines.lines().map(json).collect();
    assert_eq!(lines.len(), 40);
    assert!(
        lines
            .iter()
            .all(|line| line["device"] == "thor-1" && line["ttft [s]"].as_f64() > Some(0.0))
    );

    server.ask(&["export", "--what", "power", &out("power.parquet")]);
    let parquet = SerializedFileReader::new(File::open(out("power.parquet")).unwrap()).unwrap();
    let n_rows = parquet.metadata().file_metadata().num_rows();
    let csv = server.ask(&["export", "--what", "power", "-"]);
    assert_eq!(usize::try_from(n_rows).unwrap(), csv.lines().count() - 1);
    let first = parquet.get_row_iter(None).unwrap().next().unwrap().unwrap();
    assert!(matches!(
        first.get_column_iter().last().unwrap().1,
        Field::Null
    ));
}

#[test]
fn the_same_runs_are_the_same_bytes() {
    let (_data, server) = with_runs();
    for what in ["cells", "runs", "requests", "power"] {
        for form in ["csv", "json", "jsonl"] {
            let export = || server.ask(&["export", "--what", what, "--format", form, "-"]);
            assert_eq!(export(), export());
        }
    }
}

#[test]
fn an_export_that_cannot_be_says_what_can() {
    let (_data, server) = with_runs();
    let refused = |arguments: &[&str], words: &[&str]| {
        refuses(
            &[&["export", "--collector", &server.url], arguments].concat(),
            words,
        );
    };
    refused(
        &["--what", "cell", "-"],
        &["unknown export `cell`", "did you mean `cells`?"],
    );
    refused(
        &["--format", "parket", "-"],
        &["unknown form `parket`", "did you mean `parquet`?"],
    );
    refused(&["--where", "devise=x", "-"], &["did you mean `device`?"]);
    refused(
        &["--where", "device=x", "-"],
        &["no measured run meets that", "runs list"],
    );
    refused(
        &["--what", "bundle", "-"],
        &["no text", "a file or a folder"],
    );
    refused(&["abcdef", "-"], &["no run begins or ends with `abcdef`"]);
    let id = json(&server.ask(&["import", &fixture("llama-bench.csv"), "--format", "json"]));
    refused(
        &[
            "--what",
            "requests",
            id["runs"][0]["run"].as_str().unwrap(),
            "-",
        ],
        &["another tool's file", "runs show"],
    );
}

/// A run as a bundle.
fn bundle(server: &Server, run: &str, folder: &Path) -> PathBuf {
    let said = server.ask(&["export", "--what", "bundle", run, folder.to_str().unwrap()]);
    PathBuf::from(said.trim())
}

fn verified(path: &Path) -> (Option<i32>, String) {
    let output = run(&["verify", path.to_str().unwrap()]);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_bundle_is_what_it_says_wherever_it_is() {
    let (data, mut server) = with_runs();
    let folder = TempDir::new().unwrap();
    let id = "01".repeat(16);
    let path = bundle(&server, &id, folder.path());
    assert_eq!(
        path.file_name().unwrap(),
        "orin-1-010101010101.tokwatt-run.tar.zst"
    );
    let bytes = fs::read(&path).unwrap();
    assert_eq!(
        fs::read(bundle(&server, &id, folder.path())).unwrap(),
        bytes
    );
    let imported = json(&server.ask(&[
        "import",
        &fixture("aiperf-0.13.0.json"),
        "--device",
        "lab-1",
        "--format",
        "json",
    ]));
    let of_file = bundle(
        &server,
        imported["runs"][0]["run"].as_str().unwrap(),
        folder.path(),
    );
    // All others, into a folder that is made.
    let all = folder.path().join("all");
    server.ask(&["export", "--what", "bundle", all.to_str().unwrap()]);
    assert_eq!(fs::read_dir(&all).unwrap().count(), 5);
    server.kill();
    drop(data);
    let (code, said) = verified(&path);
    assert_eq!(code, Some(0), "{said}");
    for words in [
        "report.json",
        "made again: the same",
        "records, ",
        "is what it says",
    ] {
        assert!(said.contains(words), "`{words}` is not in: {said}");
    }
    let (code, said) = verified(&of_file);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("source"), "{said}");
}

/// Files of a bundle, changed, and packed again.
fn repacked(path: &Path, change: impl Fn(&str, &mut Vec<u8>) -> bool) -> PathBuf {
    let file = File::open(path).unwrap();
    let decoder = ruzstd::decoding::StreamingDecoder::new(file).unwrap();
    let mut archive = tar::Archive::new(decoder);
    let mut entries = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        if change(&name, &mut bytes) {
            entries.push((name, bytes, tar::EntryType::Regular));
        }
    }
    pack(path, &entries)
}

/// Packs what tar itself would refuse to.
fn pack(beside: &Path, entries: &[(String, Vec<u8>, tar::EntryType)]) -> PathBuf {
    let mut archive = Vec::new();
    for (name, bytes, kind) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_cksum();
        archive.extend(header.as_bytes());
        archive.extend(bytes);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.extend([0; 1024]);
    let path = beside.with_file_name("changed.tokwatt-run.tar.zst");
    fs::write(
        &path,
        compress_to_vec(archive.as_slice(), CompressionLevel::Fastest),
    )
    .unwrap();
    path
}

#[test]
fn every_change_of_a_bundle_is_said() {
    let (_data, server) = with_runs();
    let folder = TempDir::new().unwrap();
    let path = bundle(&server, &"01".repeat(16), folder.path());
    let differs = |change: &dyn Fn(&str, &mut Vec<u8>) -> bool, words: &[&str]| {
        let (code, said) = verified(&repacked(&path, change));
        assert_eq!(code, Some(1), "{said}");
        for word in words {
            assert!(said.contains(word), "`{word}` is not in: {said}");
        }
    };
    let (code, said) = verified(&repacked(&path, |_, _| true));
    assert_eq!(code, Some(0), "{said}");
    differs(
        &|name, bytes| {
            if name == "report.json" {
                bytes[10] ^= 1;
            }
            true
        },
        &["`report.json` has", "is not what the records come to"],
    );
    differs(&|name, _| name != "power.csv", &["`power.csv` is missing"]);
    differs(
        &|name, _| name != "records/000003",
        &["`records/000003` is missing"],
    );
    // Whoever fits the hashes to the change is told by what the records come to.
    let forged = |name: &str, bytes: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if name == "report.json" {
            *bytes = text
                .replacen("\"repetition\":1", "\"repetition\":2", 1)
                .into_bytes();
        }
        if name == "manifest.json" {
            let mut manifest = json(&text);
            let report = report_of(&path).replacen("\"repetition\":1", "\"repetition\":2", 1);
            let files = manifest["files"].as_array_mut().unwrap();
            let file = files
                .iter_mut()
                .find(|file| file["path"] == "report.json")
                .unwrap();
            let digest = Sha256::digest(report.as_bytes());
            file["sha256"] = digest
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
                .into();
            *bytes = manifest.to_string().into_bytes();
        }
        true
    };
    differs(&forged, &["`report.json` is not what the records come to"]);
}

fn report_of(path: &Path) -> String {
    let found = std::cell::RefCell::new(String::new());
    repacked(path, |name, bytes| {
        if name == "report.json" {
            *found.borrow_mut() = String::from_utf8(bytes.clone()).unwrap();
        }
        true
    });
    found.into_inner()
}

#[test]
fn a_bundle_that_would_harm_is_not_looked_into() {
    let folder = TempDir::new().unwrap();
    let beside = folder.path().join("x");
    let regular = tar::EntryType::Regular;
    let file = |name: &str| (name.to_owned(), b"x".to_vec(), regular);
    let refused = |path: &Path, words: &[&str]| {
        refuses(&["verify", path.to_str().unwrap()], words);
    };
    for name in ["../x", "/etc/passwd", "a/../../x", "./x/../y"] {
        refused(
            &pack(&beside, &[file(name)]),
            &[name, "leads elsewhere", "do not unpack"],
        );
    }
    for kind in [
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Directory,
        tar::EntryType::Fifo,
    ] {
        refused(
            &pack(&beside, &[("x".to_owned(), Vec::new(), kind)]),
            &["`x` in it is no plain file"],
        );
    }
    refused(&pack(&beside, &[file("x"), file("x")]), &["`x` twice"]);
    refused(
        &pack(&beside, &[file("x")]),
        &["no manifest.json", "there is none"],
    );
    let other = (
        "manifest.json".to_owned(),
        br#"{"schema":"tokwatt.bundle/9","run":"","device":"","files":[]}"#.to_vec(),
        regular,
    );
    refused(&pack(&beside, &[other]), &["tokwatt.bundle/9"]);
    // 600 MiB of nothing in a few KB.
    let mut header = tar::Header::new_ustar();
    header.set_path("x").unwrap();
    header.set_size(600 << 20);
    header.set_entry_type(regular);
    header.set_cksum();
    let bomb = std::io::Read::chain(
        &header.as_bytes()[..],
        std::io::Read::take(std::io::repeat(0), 600 << 20),
    );
    let path = folder.path().join("bomb");
    fs::write(&path, compress_to_vec(bomb, CompressionLevel::Fastest)).unwrap();
    assert!(fs::metadata(&path).unwrap().len() < 1 << 20);
    refused(&path, &["unpacks to more than 512 MiB"]);
    for (bytes, words) in [
        (&b""[..], "no run bundle"),
        (b"PK\x03\x04", "no run bundle"),
        (b"\x28\xb5\x2f\xfd", "no run bundle"),
    ] {
        File::create(&path).unwrap().write_all(bytes).unwrap();
        refused(&path, &[words]);
    }
    let whole = fs::read(pack(&beside, &[file("manifest.json")])).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    refused(&path, &["cut off or damaged"]);
    refuses(&["verify", "missing"], &["cannot verify `missing`"]);
}
