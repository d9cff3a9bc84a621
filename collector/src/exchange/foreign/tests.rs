//! True files of every tool, and what they come to.

use std::{fs::File, io::BufReader, path::Path};

use tokwatt_domain::{
    ids::Digest,
    metrics::dictionary::definition,
    power::{Provenance, Scope},
    time::WallTime,
};

use super::*;

/// What a file comes to: definition, value, unit.
type Figures<'a> = &'a [(&'a str, f64, &'a str)];

fn read_text(text: &str, labels: &[&str]) -> Result<Contents, ForeignError> {
    read_from(text.as_bytes(), labels)
}

fn read_from(input: impl BufRead, labels: &[&str]) -> Result<Contents, ForeignError> {
    let labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
    let source = Source {
        name: "a file",
        sha256: Digest([7; 32]),
        labels: &Labels::parse(&labels)?,
        imported: WallTime(1_795_000_000_000_000),
    };
    read(input, None, &source)
}

fn fixture(name: &str, labels: &[&str]) -> Contents {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/foreign");
    let file = File::open(Path::new(folder).join(name)).unwrap();
    read_from(BufReader::new(file), labels).unwrap()
}

const LAB: &[&str] = &["device=lab-1", "model=tiny-vlm"];

#[track_caller]
fn check(name: &str, labels: &[&str], tool: Tool, n_runs: usize, run: usize, want: Figures<'_>) {
    let contents = fixture(name, labels);
    assert_eq!(
        (contents.tool, contents.runs.len()),
        (tool, n_runs),
        "{name}"
    );
    let values = &contents.runs[run].values;
    for (id, value, unit) in want {
        let found = values.iter().find(|found| found.id == *id);
        let found = found.unwrap_or_else(|| panic!("{name} has no {id}"));
        let is_close = (found.value - value).abs() <= 1e-9 * value.abs();
        assert!(is_close, "{name}: {id} is {} and not {value}", found.value);
        assert_eq!(found.unit, *unit, "{name}: {id}");
    }
}

#[test]
fn every_tool_is_recognised_and_its_values_have_their_definitions() {
    check(
        "vllm-bench-0.32.0.json",
        &["device=lab-1"],
        Tool::Vllm,
        2,
        0,
        &[
            ("ttft.mean", 10.250593913319197e-3, "s"),
            ("ttft.p99", 37.19816216049368e-3, "s"),
            ("tpot.p50", 0.3699710000693167e-3, "s"),
            ("icl.mean", 0.44431332147357205e-3, "s"),
            ("request_latency.p90", 26.700090598023966e-3, "s"),
            ("output_tps", 1258.344596364942, "tok/s"),
            ("total_tps", 3463.867054667626, "tok/s"),
            ("requests_per_s", 39.323268636404435, "1/s"),
            ("success_rate", 23.0 / 24.0, "share"),
            ("foreign.vllm.max_output_tokens_per_s", 782.0, ""),
        ],
    );
    check(
        "sglang-0.5.23.jsonl",
        LAB,
        Tool::Sglang,
        1,
        0,
        &[
            ("request_latency.mean", 187.8150290403937e-3, "s"),
            ("tpot.p90", 8.251570028956085e-3, "s"),
            ("icl.p99", 52.6644025593851e-3, "s"),
            ("output_tps", 336.441121601695, "tok/s"),
            ("total_tps", 841.1028040042376, "tok/s"),
            ("foreign.sglang.concurrency", 1.9746468445001557, ""),
        ],
    );
    check(
        "llama-bench.json",
        &[],
        Tool::LlamaBench,
        3,
        0,
        &[
            ("prefill_tps_server", 10313.518217, "tok/s"),
            ("foreign.llama_bench.stddev_ts", 6278.309885, "tok/s"),
        ],
    );
    check(
        "aiperf-0.13.0.json",
        &["device=lab-1"],
        Tool::Aiperf,
        1,
        0,
        &[
            ("ttft.p50", 54.3861735e-3, "s"),
            ("ttft.std", 0.003_121_829_040_482_8, "s"),
            ("request_latency.mean", 687.7734474375e-3, "s"),
            ("requests_per_s", 11.452092824763747, "1/s"),
            ("success_rate", 1.0, "share"),
            ("foreign.aiperf.time_to_second_token", 9.9333059375, "ms"),
        ],
    );
    check(
        "guidellm-0.8.1.json",
        &["device=lab-1"],
        Tool::Guidellm,
        1,
        0,
        &[
            ("request_latency.mean", 0.6859949231147766, "s"),
            ("ttft.p50", 51.750898361206055e-3, "s"),
            ("ntpot.mean", 10.703317122533917e-3, "s"),
            ("tpot.mean", 10.004862669914488e-3, "s"),
            ("output_tps", 726.7775126725919, "tok/s"),
            ("total_tps", 1090.1662690088879, "tok/s"),
        ],
    );
    check(
        "genai-perf-streaming.json",
        &["device=lab-1"],
        Tool::GenaiPerf,
        1,
        0,
        &[
            ("tpot.p99", 0.002_263_123_3, "s"),
            ("ttft.p90", 302.80112349999996e-3, "s"),
            ("output_tps", 44190.56002502682, "tok/s"),
            (
                "foreign.genai_perf.output_sequence_length",
                2565.855,
                "tokens",
            ),
        ],
    );
    check(
        "inference-perf-stage-0.json",
        LAB,
        Tool::InferencePerf,
        1,
        0,
        &[
            ("request_latency.p50", 0.7672252865158953, "s"),
            ("ntpot.p50", 0.012023131171512293, "s"),
            ("tpot.mean", 0.0057914244556198065, "s"),
            ("request_latency.p99_9", 0.8085926662897691, "s"),
        ],
    );
    check(
        "mlperf-server-summary.txt",
        LAB,
        Tool::Mlperf,
        1,
        0,
        &[
            ("request_latency.p99_9", 159.705402675, "s"),
            ("ttft.mean", 0.918456323, "s"),
            ("tpot.p90", 0.163835875, "s"),
            ("output_tps", 24593.77, "tok/s"),
            ("requests_per_s", 81.68, "1/s"),
        ],
    );
    check(
        "mlperf-offline-summary.txt",
        LAB,
        Tool::Mlperf,
        1,
        0,
        &[
            ("output_tps", 27803.9, "tok/s"),
            ("request_latency.mean", 2653.990953659, "s"),
        ],
    );
    check(
        "mlperf-server-detail.txt",
        LAB,
        Tool::Mlperf,
        1,
        0,
        &[
            ("request_latency.p99_9", 159.705402675, "s"),
            ("ttft.mean", 0.918456323, "s"),
            ("tpot.p90", 0.163835875, "s"),
            ("requests_per_s", 81.6768, "1/s"),
        ],
    );
    check(
        "localscore-nvidia.json",
        &[],
        Tool::Localscore,
        9,
        0,
        &[
            ("prefill_tps_server", 4249.872075, "tok/s"),
            ("decode_tps_server", 105.282166, "tok/s"),
            ("ttft.mean", 0.250672818, "s"),
            ("avg_power@gpu_board", 286.565338, "W"),
        ],
    );
    check(
        "ml-energy-leaderboard.json",
        &[],
        Tool::MlEnergy,
        3,
        0,
        &[
            ("output_tps", 1118.903004700627, "tok/s"),
            ("icl.p50", 5.299770040437579e-3, "s"),
            ("j_per_output_token@gpu_board", 0.45809503674383617, "J/tok"),
            ("j_per_request@gpu_board", 424.10429554575666, "J"),
        ],
    );
    check(
        "optimum-benchmark-report.json",
        LAB,
        Tool::Optimum,
        1,
        0,
        &[
            ("load_time.warm", 15.59886232309509, "s"),
            (
                "foreign.optimum_benchmark.forward.throughput",
                5.648934083819028,
                "samples/s",
            ),
        ],
    );
    check(
        "optimum-benchmark-0.5.0.json",
        &[],
        Tool::Optimum,
        1,
        0,
        &[
            ("decode_tps_server", 43.089241533217766, "tok/s"),
            ("load_time.warm", 11.7544541015625, "s"),
            (
                "foreign.optimum_benchmark.prefill.throughput",
                30.819099899209892,
                "samples/s",
            ),
        ],
    );
    check(
        "jetson-ai-lab-2026.json",
        &[],
        Tool::JetsonAiLab,
        9,
        0,
        &[("decode_tps_server", 31.3, "tok/s")],
    );
    check(
        "jetson-ai-lab-2025.json",
        &[],
        Tool::JetsonAiLab,
        28,
        0,
        &[("output_tps", 52.58, "tok/s")],
    );
}

#[test]
fn every_value_has_a_definition_or_says_that_it_has_none() {
    for (name, labels) in ALL {
        let contents = fixture(name, labels);
        for run in &contents.runs {
            for value in &run.values {
                let id = value.id.split('@').next().unwrap();
                let statistics = [".mean", ".std", ".min", ".max"];
                let id = statistics
                    .iter()
                    .find_map(|end| id.strip_suffix(end))
                    .unwrap_or(id);
                let id = match id.rsplit_once(".p") {
                    Some((plain, percent)) if percent.starts_with(|c: char| c.is_ascii_digit()) => {
                        plain
                    }
                    _ => id,
                };
                let is_known = definition(id).is_ok_and(|known| known.unit == value.unit);
                let is_foreign = id.starts_with(&format!("foreign.{}.", contents.tool.id()));
                assert!(
                    is_known || is_foreign,
                    "{name}: {} in {}",
                    value.id,
                    value.unit
                );
                assert!(value.value.is_finite(), "{name}: {}", value.id);
            }
        }
    }
}

#[test]
fn no_run_of_another_tool_is_ever_a_measured_one() {
    for (name, labels) in ALL {
        for run in &fixture(name, labels).runs {
            assert!(
                run.report.provenance.requests >= Provenance::Imported,
                "{name}"
            );
            assert!(
                run.header.requests_provenance >= Provenance::Imported,
                "{name}"
            );
            assert_ne!(
                run.report.provenance.power,
                Some(Provenance::Measured),
                "{name}"
            );
            assert!(run.report.reasons["source"].contains("a file"), "{name}");
        }
    }
}

#[test]
fn what_a_file_does_not_say_has_to_be_said() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/foreign");
    let open = |name: &str| BufReader::new(File::open(Path::new(folder).join(name)).unwrap());
    let error = read_from(open("vllm-bench-0.32.0.json"), &[]).unwrap_err();
    assert!(error.to_string().contains("--device NAME"), "{error}");
    let error = read_from(open("sglang-0.5.23.jsonl"), &["device=a"]).unwrap_err();
    assert!(error.to_string().contains("--model NAME"), "{error}");
    let error = Labels::parse(&["devise=a".to_owned()]).unwrap_err();
    assert!(
        error.to_string().contains("did you mean `device`?"),
        "{error}"
    );
    let error = Tool::parse("vlm").unwrap_err();
    assert!(
        error.to_string().contains("did you mean `vllm`?"),
        "{error}"
    );
}

#[test]
fn what_was_said_goes_before_what_the_file_says() {
    let contents = fixture(
        "llama-bench.json",
        &[
            "device=orin-1",
            "model=tiny",
            "precision=f16",
            "workload=mine",
        ],
    );
    let cell = &contents.runs[0].report.cell;
    assert_eq!(contents.runs[0].report.device.as_str(), "orin-1");
    assert_eq!(
        (
            cell.identity.model.as_str(),
            cell.identity.precision.as_str()
        ),
        ("tiny", "f16")
    );
    assert_eq!(cell.identity.task, "mine");
    let cell = &fixture("llama-bench.json", &[]).runs[0].report.cell;
    assert_eq!(
        (
            cell.identity.model.as_str(),
            cell.identity.precision.as_str()
        ),
        ("tiny-vlm-f32", "f32")
    );
    assert_eq!(
        (
            cell.identity.task.as_str(),
            cell.identity.load.to_string().as_str()
        ),
        ("pp64", "closed(1)")
    );
}

#[test]
fn the_three_forms_of_llama_bench_say_the_same() {
    let of = |name| -> Vec<(String, Vec<Value>)> {
        let runs = fixture(name, &[]).runs.into_iter();
        runs.map(|run| (run.report.cell.identity.task, run.values))
            .collect()
    };
    let ids = |name| -> Vec<(String, Vec<String>)> {
        let tests = of(name).into_iter();
        tests
            .map(|(task, values)| (task, values.into_iter().map(|value| value.id).collect()))
            .collect()
    };
    assert_eq!(ids("llama-bench.json"), ids("llama-bench.jsonl"));
    assert_eq!(ids("llama-bench.json"), ids("llama-bench.csv"));
    let tests: Vec<String> = of("llama-bench.csv")
        .into_iter()
        .map(|(task, _)| task)
        .collect();
    assert_eq!(tests, ["pp64", "tg32", "pp64+tg32"]);
}

#[test]
fn reading_and_generating_together_is_no_speed_of_either() {
    let mixed = &fixture("llama-bench.json", &[]).runs[2];
    let speeds: Vec<&str> = mixed
        .values
        .iter()
        .map(|value| value.id.as_str())
        .filter(|id| !id.starts_with("foreign."))
        .collect();
    assert_eq!(speeds, Vec::<&str>::new());
}

#[test]
fn zero_watts_are_absent_and_watts_of_nobody_knows_what_have_no_scope() {
    let runs = fixture("localscore-no-power.json", &[]).runs;
    for run in &runs {
        assert_eq!(run.report.power, []);
        assert!(
            run.report.reasons["power"].contains("not measured"),
            "{:?}",
            run.report.reasons
        );
    }
    let run = &fixture("localscore-nvidia.json", &[]).runs[0];
    assert_eq!(run.report.power[0].scope, Scope::GpuBoard);
    assert_eq!(run.report.power[0].avg_power_w, Some(286.565338));
    // How the sensor was read is not known, so that its figures are not ranked.
    assert!(!run.report.power[0].doubts(run.report.window_s).is_empty());
    let apple = r#"{"accelerator_info":{"name":"Apple M4","type":"GPU","manufacturer":"Apple"},"results":[{"name":"pp16+tg16","model_name":"m","n_prompt":16,"n_gen":16,"prompt_tps":10.0,"gen_tps":5.0,"power_watts":20.0}]}"#;
    let contents = read_text(apple, &[]).unwrap();
    assert_eq!(contents.runs[0].report.power, []);
    assert!(
        contents.runs[0]
            .values
            .iter()
            .any(|value| value.id == "foreign.localscore.power_watts")
    );
}

#[test]
fn an_answer_in_one_piece_has_no_first_token() {
    let values = &fixture("genai-perf-not-streaming.json", &["device=a"]).runs[0].values;
    assert!(!values.iter().any(|value| value.id.starts_with("ttft")));
}

#[test]
fn a_failed_request_is_counted_and_said() {
    let contents = fixture("vllm-bench-0.32.0.json", &["device=a"]);
    let report = &contents.runs[0].report;
    assert_eq!(
        (report.requests.issued, report.requests.succeeded),
        (24, 23)
    );
    assert!(
        report
            .flags
            .iter()
            .any(|flag| flag.id == "failures_left_out" && !flag.blocking)
    );
    assert!(
        contents.runs[1].report.flags.is_empty(),
        "{:?}",
        contents.runs[1].report.flags
    );
}

#[test]
fn a_file_whose_numbers_contradict_each_other_is_not_ranked() {
    let text = r#"{"model_id":"m","num_prompts":10,"completed":10,"duration":10.0,"total_output_tokens":1000,"output_throughput":250.0,"request_throughput":1.0}"#;
    let contents = read_text(text, &["device=a"]).unwrap();
    let flags = &contents.runs[0].report.flags;
    assert_eq!(flags.len(), 1, "{flags:?}");
    assert!(
        flags[0].blocking && flags[0].id == "source_contradicts",
        "{flags:?}"
    );
    assert!(
        flags[0].detail.contains("output_throughput = 250") && flags[0].detail.contains("100"),
        "{flags:?}"
    );
}

#[test]
fn an_invalid_result_of_loadgen_is_not_ranked() {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/foreign/mlperf-server-summary.txt"
    );
    let text = std::fs::read_to_string(folder)
        .unwrap()
        .replace("Result is : VALID", "Result is : INVALID");
    let contents = read_text(&text, LAB).unwrap();
    assert!(
        contents.runs[0]
            .report
            .flags
            .iter()
            .any(|flag| flag.id == "invalid" && flag.blocking)
    );
}

#[test]
fn runs_of_one_cell_are_repetitions_and_of_another_workload_are_not() {
    let text = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/foreign/llama-bench.jsonl"
    ))
    .unwrap();
    let twice = format!("{text}{text}");
    let contents = read_text(&twice, &[]).unwrap();
    let repetitions: Vec<u32> = contents
        .runs
        .iter()
        .map(|run| run.report.repetition)
        .collect();
    assert_eq!(repetitions, [1, 1, 1, 2, 2, 2]);
    let digests: std::collections::BTreeSet<Digest> = contents
        .runs
        .iter()
        .map(|run| run.report.cell.identity.suite_digest)
        .collect();
    assert_eq!(digests.len(), 3);
    let ids: std::collections::BTreeSet<_> =
        contents.runs.iter().map(|run| run.report.run).collect();
    assert_eq!(ids.len(), 6);
}

#[test]
fn single_requests_of_aiperf_come_to_what_its_summary_says() {
    let requests = &fixture("aiperf-0.13.0-requests.jsonl", LAB).runs[0];
    let summary = &fixture("aiperf-0.13.0.json", LAB).runs[0];
    let value = |run: &ForeignRun, id: &str| {
        run.values
            .iter()
            .find(|value| value.id == id)
            .unwrap()
            .value
    };
    for id in [
        "request_latency.p50",
        "ttft.mean",
        "tpot.mean",
        "e2e_output_tps",
    ] {
        let ratio = value(requests, id) / value(summary, id);
        // 12 of the 16 are in the file.
        assert!((0.95..1.05).contains(&ratio), "{id}: {ratio}");
    }
    assert_eq!(requests.report.requests.succeeded, 12);
}

#[test]
fn energies_of_aiperf_are_of_the_scope_that_the_gpu_has() {
    let of = |gpu: &str| {
        let text = format!(
            r#"{{"schema_version":"1.5","aiperf_version":"1","input_config":{{"models":{{"items":[{{"name":"m"}}]}}}},
            "benchmark_duration":{{"unit":"sec","avg":10.0}},"total_gpu_energy":{{"unit":"J","avg":500.0}},
            "energy_per_output_token":{{"unit":"mJ/token","avg":250.0}},
            "telemetry_data":{{"endpoints":{{"h":{{"gpus":{{"gpu_0":{{"gpu_name":"{gpu}","metrics":{{"nvidia_power_usage":{{"unit":"W","avg":50.0}}}}}}}}}}}}}}}}"#
        );
        read_text(&text, &[]).unwrap().runs.remove(0)
    };
    let board = of("NVIDIA RTX 6000 Ada");
    assert_eq!(board.report.device.as_str(), "nvidia-rtx-6000-ada");
    assert_eq!(board.report.power.len(), 1);
    let power = &board.report.power[0];
    assert_eq!(
        (
            power.scope,
            power.energy_j,
            power.avg_power_w,
            power.j_per_output_token
        ),
        (Scope::GpuBoard, Some(500.0), Some(50.0), Some(0.25))
    );
    assert_eq!(of("NVIDIA GB10").report.power[0].scope, Scope::GpuRail);
}

#[test]
fn duplicate_keys_unknown_members_and_missing_ones_are_no_reason_to_refuse() {
    let text = r#"{"metadata":{"benchmark_phase":"profiling","request_start_ns":1000000000,"request_end_ns":3000000000,"new":{"x":[1]}},
        "metrics":{"time_to_first_token":{"value":1.0,"unit":"ms"},"time_to_first_token":{"value":255.886,"unit":"ms"}},"error":null}"#;
    let contents = read_text(text, LAB).unwrap();
    let ttft = contents.runs[0]
        .values
        .iter()
        .find(|value| value.id == "ttft.mean")
        .unwrap();
    assert!((ttft.value - 0.255886).abs() < 1e-12);
}

#[track_caller]
fn refused(bytes: &[u8], words: &[&str]) {
    let error = read_from(bytes, LAB).unwrap_err();
    let said = std::error::Error::source(&error)
        .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

#[test]
fn what_is_no_result_file_says_what_it_is_and_what_to_do() {
    refused(b"", &["empty"]);
    refused(b"  \n", &["empty"]);
    refused(b"PK\x03\x04rest", &["zip", "unpack"]);
    refused(b"\x1f\x8brest", &["gzip", "gunzip"]);
    refused(b"\x28\xb5\x2f\xfdrest", &["zstd", "verify"]);
    refused(b"<!DOCTYPE html><html>", &["web page", "Raw"]);
    refused(b"\x7fELF\0\0", &["binary"]);
    refused(
        b"version https://git-lfs.github.com/spec/v1",
        &["git lfs pull"],
    );
    refused(b"Metric,avg,min\nx,1,2", &["JSON"]);
    refused(b"hello", &["no form"]);
    refused(
        br#"{"a":1}"#,
        &["no tool that is known", "it has a", "vllm, aiperf"],
    );
    refused(br#"{"a":1"#, &["cut off in line 1", "copy it again"]);
    refused(b"{\"a\":1}\n{\"b\" 2}", &["line 2", "column"]);
    refused(b"===== \nMLPerf Results Summary\n", &["cut off"]);
    let vllm = br#"{"model_id":"m","num_prompts":1,"total_output_tokens":0,"output_throughput":0.0,"duration":0.0}"#;
    refused(vllm, &["vllm", "output_tps", "not measured"]);
    let mixed = br#"{"model_id":"m","num_prompts":1,"total_output_tokens":10,"output_throughput":1.0} {"build_commit":"a","n_prompt":1,"n_gen":0,"avg_ts":3.0}"#;
    refused(mixed, &["line 1", "llama-bench", "vllm"]);
}

#[test]
fn another_tool_than_was_said_is_refused() {
    let source = Source {
        name: "x",
        sha256: Digest([0; 32]),
        labels: &Labels::default(),
        imported: WallTime(0),
    };
    let text = r#"{"build_commit":"a","n_prompt":1,"n_gen":0,"avg_ts":3.0}"#;
    let error = read(text.as_bytes(), Some(Tool::Vllm), &source)
        .unwrap_err()
        .to_string();
    assert!(error.contains("of llama-bench, not of vllm"), "{error}");
}

const ALL: [(&str, &[&str]); 21] = [
    ("aiperf-0.13.0.json", LAB),
    ("aiperf-0.13.0-requests.jsonl", LAB),
    ("genai-perf-not-streaming.json", LAB),
    ("genai-perf-streaming.json", LAB),
    ("guidellm-0.8.1.json", LAB),
    ("inference-perf-stage-0.json", LAB),
    ("jetson-ai-lab-2025.json", &[]),
    ("jetson-ai-lab-2026.json", &[]),
    ("llama-bench.csv", &[]),
    ("llama-bench.json", &[]),
    ("llama-bench.jsonl", &[]),
    ("localscore-no-power.json", &[]),
    ("localscore-nvidia.json", &[]),
    ("ml-energy-leaderboard.json", &[]),
    ("mlperf-offline-summary.txt", LAB),
    ("mlperf-server-detail.txt", LAB),
    ("mlperf-server-summary.txt", LAB),
    ("optimum-benchmark-0.5.0.json", &[]),
    ("optimum-benchmark-report.json", LAB),
    ("sglang-0.5.23.jsonl", LAB),
    ("vllm-bench-0.32.0.json", LAB),
];

#[test]
fn no_form_has_more_runs_than_are_held() {
    let items = |before: &str, item: &str, after: &str| {
        format!(
            "{before}{}{item}{after}",
            format!("{item},").repeat(100_000)
        )
    };
    let rows = "c,1,0,1\n".repeat(100_000);
    let long = "m".repeat(1 << 20);
    let texts = [
        items(
            r#"{"metadata":{"guidellm_version":"1"},"benchmarks":["#,
            "0",
            "]}",
        ),
        items(r#"{"accelerator_info":{},"results":["#, "0", "]}"),
        items(r#"{"model_id":"m","configurations":["#, "0", "]}"),
        // What stands once in the file stands in every run.
        format!(
            r#"{{"model_id":"{long}","configurations":[{}0]}}"#,
            "0,".repeat(1000)
        ),
        format!("build_commit,n_prompt,n_gen,avg_ts\n{rows}"),
    ];
    for text in texts {
        refused(text.as_bytes(), &["more members than are read", "summary"]);
    }
}

#[test]
fn a_long_detail_log_is_no_reason_to_refuse_it() {
    let mut text = String::new();
    let metadata =
        r#""metadata":{"is_error":false,"is_warning":true,"file":"loadgen.cc","line_no":1}"#;
    for _ in 0..100_000 {
        text.push_str(&format!(
            ":::MLLOG {{\"key\":\"warning_generic_message\",\"value\":\"slow\",\"time_ms\":1.0,\"namespace\":\"mlperf\",{metadata}}}\n"
        ));
    }
    for (key, value) in [
        ("effective_scenario", "\"SingleStream\""),
        ("result_mean_latency_ns", "1000000"),
    ] {
        text.push_str(&format!(
            ":::MLLOG {{\"key\":\"{key}\",\"value\":{value}}}\n"
        ));
    }
    let contents = read_text(&text, LAB).unwrap();
    assert_eq!(contents.runs[0].values.len(), 1);
}

#[track_caller]
fn vllm(members: &str) -> ForeignRun {
    let text = format!(
        r#"{{"num_prompts":8,"completed":6,"output_throughput":40.0,"total_output_tokens":80,{members}}}"#
    );
    read_text(&text, LAB).unwrap().runs.remove(0)
}

#[test]
fn failures_that_are_not_counted_are_the_prompts_that_were_not_completed() {
    assert_eq!(vllm(r#""a":1"#).report.requests.issued, 8);
    assert_eq!(vllm(r#""failed":1"#).report.requests.issued, 7);
    let text =
        r#"{"model_id":"m","completed":6,"output_throughput":40.0,"total_output_tokens":80}"#;
    let run = read_text(text, LAB).unwrap().runs.remove(0);
    assert!(!run.report.metrics.contains_key("success_rate"));
}

#[test]
fn runs_whose_requests_come_otherwise_are_no_repetitions() {
    let cells: std::collections::BTreeSet<String> = [
        r#""request_rate":4.0"#,
        r#""request_rate":4.0,"max_concurrency":2"#,
        r#""request_rate":4.0,"max_concurrency":4"#,
        r#""request_rate":4.0,"burstiness":0.5"#,
        r#""request_rate":"inf","max_concurrency":4"#,
        r#""request_rate":"inf","ramp_up_strategy":"linear","ramp_up_start_rps":1,"ramp_up_end_rps":4"#,
        r#""request_rate":"inf","ramp_up_strategy":"linear","ramp_up_start_rps":1,"ramp_up_end_rps":8"#,
    ]
    .iter()
    .map(|members| {
        let identity = vllm(members).header.cell.identity;
        assert!(!identity.load.to_string().contains("constant"), "{members}");
        serde_json::to_string(&identity).unwrap()
    })
    .collect();
    assert_eq!(cells.len(), 7);
}

#[test]
fn what_is_no_number_has_a_reason_and_no_value() {
    let text = "MLPerf Results Summary\n";
    let text = format!(
        "=====\n{text}=====\nSUT name : x\nScenario : Offline\nResult is : VALID\nSamples per second: 5\n\
         Tokens per second: inf\nMean latency (ns): nan\n"
    );
    let run = read_text(&text, LAB).unwrap().runs.remove(0);
    assert!(run.values.iter().all(|value| value.value.is_finite()));
    for id in ["output_tps", "request_latency.mean"] {
        assert!(run.report.reasons.contains_key(id), "{id}");
    }
}

#[test]
fn a_commit_that_looks_like_a_number_is_none() {
    let text = "build_commit,build_number,test_time,n_prompt,n_gen,avg_ts\n1e10,4,2026-01-02T03:04:05Z,8,0,inf\n4567890,4,2026-01-02T03:04:05Z,8,0,9.5\n";
    let contents = read_text(text, LAB).unwrap();
    assert_eq!(contents.runs.len(), 1);
    assert_eq!(contents.runs[0].version.as_deref(), Some("b4 (4567890)"));
}

#[test]
fn published_rows_are_held_against_the_definitions() {
    let row = |metric: &str, value: &str, unit: &str| {
        format!(
            r#"{{"row":"s/a","kind":"measured","task":"t","metric":"{metric}","value":{value},"unit":"{unit}"}}"#
        )
    };
    let text = [
        row("output_tps", "10", "tok/s"),
        row("output_tps", "12", "tok/s"),
        row("ttft", "3", "tok/s"),
        row("e2e_output_tps", "-1", "tok/s"),
    ]
    .join("\n");
    let run = read_text(&text, LAB).unwrap().runs.remove(0);
    let known = run
        .values
        .iter()
        .filter(|value| !value.id.starts_with("foreign."));
    let known: Vec<(&str, f64)> = known
        .map(|value| (value.id.as_str(), value.value))
        .collect();
    assert_eq!(known, [("output_tps", 10.0)]);
    let contradicts =
        |flag: &tokwatt_domain::metrics::Flag| flag.id == "source_contradicts" && flag.blocking;
    assert!(run.report.flags.iter().any(contradicts));
    for id in ["ttft.mean", "e2e_output_tps"] {
        assert!(run.report.reasons.contains_key(id), "{id}");
    }
}
