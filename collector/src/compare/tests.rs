//! Made-up cells of which it is known who is better.

use tokwatt_domain::{
    ids::RunId,
    metrics::{Percentile, RunReport, spread::verdict::Verdict},
    power::{Provenance, Scope},
    time::WallTime,
    workload::Limits,
};

use super::*;
use crate::rank::{
    RankedRun, cells,
    made_up::{check_schema, powered, run, three, throttled, with},
};

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn ask(
    runs: &[RankedRun],
    left: &str,
    right: &str,
    metrics: &[&str],
) -> Result<Comparison, CompareError> {
    let question = Question::parse(&split(left), &split(right), &texts(metrics), "").unwrap();
    compare(&cells(runs, &[], Provenance::Measured), &question)
}

fn figure<'a>(comparison: &'a Comparison, metric: &str) -> &'a FigurePair {
    let figures = comparison.pairs.iter().flat_map(|pair| &pair.figures);
    let mut found = figures.filter(|figure| figure.metric == metric);
    found.next().unwrap_or_else(|| panic!("no {metric}"))
}

fn precision(name: &str) -> impl Fn(&mut RunReport) {
    let name = name.to_owned();
    move |report| report.cell.identity.precision.clone_from(&name)
}

fn task(name: &str) -> impl Fn(&mut RunReport) {
    let name = name.to_owned();
    move |report| report.cell.identity.task.clone_from(&name)
}

fn engine(version: &str, started: i64) -> impl Fn(&mut RunReport) {
    let version = version.to_owned();
    move |report| {
        report.cell.configuration.engine.clone_from(&version);
        report.started = WallTime(started + report.started.0);
    }
}

#[test]
fn b_is_so_many_times_a_and_better_where_that_is_better() {
    let runs = [three(1, "a", 10.0), three(4, "b", 12.7)].concat();
    let comparison = ask(&runs, "device=a", "device=b", &[]).unwrap();
    assert_eq!(comparison.pairs.len(), 1);
    let speed = figure(&comparison, "output_tps");
    assert!((speed.ratio.unwrap() - 1.27).abs() < 1e-9, "{speed:?}");
    assert_eq!(speed.verdict, Verdict::RightBetter);
    assert_eq!(speed.text, "B is 1.27 times as fast as A");
    let latency = figure(&comparison, "request_latency");
    assert_eq!(latency.verdict, Verdict::RightBetter);
    assert_eq!(latency.text, "B takes 0.79 times as long as A");
    assert_eq!(comparison.fixed["task"], "caption_brief");
    let back = ask(&runs, "device=b", "device=a", &[]).unwrap();
    assert_eq!(figure(&back, "output_tps").verdict, Verdict::LeftBetter);
}

#[test]
fn what_cannot_be_told_apart_says_how_many_more_it_takes() {
    let runs = [three(1, "a", 10.0), three(4, "b", 10.005)].concat();
    let comparison = ask(&runs, "device=a", "device=b", &["output_tps"]).unwrap();
    let speed = figure(&comparison, "output_tps");
    assert_eq!(speed.verdict, Verdict::Tied);
    assert!(speed.more_repetitions.unwrap() > 0);
    assert!(
        speed.text.starts_with("cannot be told apart"),
        "{}",
        speed.text
    );
}

#[test]
fn two_repetitions_are_shown_and_not_judged() {
    let mut runs = [three(1, "a", 10.0), three(4, "b", 20.0)].concat();
    runs.pop();
    let comparison = ask(&runs, "device=a", "device=b", &["output_tps"]).unwrap();
    let speed = figure(&comparison, "output_tps");
    assert_eq!((speed.verdict, speed.ci95), (Verdict::TooFew, None));
    assert_eq!(speed.more_repetitions, Some(1));
    assert!(
        comparison
            .notes
            .iter()
            .any(|note| note.contains("fewer than three")),
        "{:?}",
        comparison.notes
    );
}

#[test]
fn every_task_is_a_pair_of_its_own() {
    let both = |device: &str, first: u8, speed: f64| {
        [
            three(first, device, speed),
            with(three(first + 3, device, 2.0 * speed), task("attributes")),
        ]
        .concat()
    };
    let runs = [both("a", 1, 10.0), both("b", 11, 20.0)].concat();
    let comparison = ask(&runs, "device=a", "device=b", &["output_tps"]).unwrap();
    let tasks: Vec<&str> = comparison
        .pairs
        .iter()
        .map(|pair| pair.key["task"].as_str())
        .collect();
    assert_eq!(tasks, ["attributes", "caption_brief"]);
    assert!(!comparison.fixed.contains_key("task"));
}

#[test]
fn a_precision_is_compared_on_every_device_that_has_both() {
    let of = |device: &str, first: u8, name: &str, speed: f64| {
        with(three(first, device, speed), precision(name))
    };
    let runs = [
        of("a", 1, "f16", 10.0),
        of("a", 4, "bf16", 11.0),
        of("b", 7, "f16", 20.0),
        of("b", 10, "bf16", 20.0),
        of("c", 13, "f16", 30.0),
    ]
    .concat();
    let comparison = ask(&runs, "precision=f16", "precision=bf16", &["output_tps"]).unwrap();
    let devices: Vec<(&str, Verdict)> = comparison
        .pairs
        .iter()
        .map(|pair| (pair.key["device"].as_str(), pair.figures[0].verdict))
        .collect();
    assert_eq!(devices, [("a", Verdict::RightBetter), ("b", Verdict::Tied)]);
    let left_out = comparison
        .notes
        .iter()
        .find(|note| note.contains("no counterpart"));
    assert!(
        left_out.is_some_and(|note| note.contains(" c ")),
        "{:?}",
        comparison.notes
    );
}

#[test]
fn configurations_of_a_side_are_told_apart_and_matched() {
    let mode = |name: &str| {
        let name = name.to_owned();
        move |report: &mut RunReport| report.cell.configuration.power_mode = Some(name.clone())
    };
    let runs = [
        with(three(1, "a", 10.0), mode("MAXN")),
        with(three(4, "a", 5.0), mode("15W")),
        with(three(7, "b", 20.0), mode("MAXN")),
    ]
    .concat();
    let comparison = ask(&runs, "device=a", "device=b", &["output_tps"]).unwrap();
    assert_eq!(comparison.pairs.len(), 1);
    assert!((comparison.pairs[0].figures[0].ratio.unwrap() - 2.0).abs() < 1e-9);
    assert!(
        comparison
            .notes
            .iter()
            .any(|note| note.contains("power_mode 15W")),
        "{:?}",
        comparison.notes
    );
}

#[test]
fn what_differs_beside_is_printed_on_each_side() {
    let runs = [
        with(three(1, "a", 10.0), engine("llama.cpp 1", 0)),
        with(three(4, "b", 10.0), engine("vllm 2", 0)),
    ]
    .concat();
    let comparison = ask(&runs, "device=a", "device=b", &["output_tps"]).unwrap();
    let pair = &comparison.pairs[0];
    assert_eq!(pair.left.configuration["engine"], "llama.cpp 1");
    assert_eq!(pair.right.configuration["engine"], "vllm 2");
}

#[test]
fn energies_are_compared_at_shared_scopes_only() {
    let module = |watts: f64| move |report: &mut RunReport| powered(report, Scope::Module, watts);
    let rail = |watts: f64| move |report: &mut RunReport| powered(report, Scope::GpuRail, watts);
    let shared = [
        with(three(1, "a", 10.0), module(20.0)),
        with(with(three(4, "b", 10.0), module(10.0)), rail(5.0)),
    ]
    .concat();
    let comparison = ask(&shared, "device=a", "device=b", &[]).unwrap();
    let energy = figure(&comparison, "j_per_image");
    assert_eq!(energy.scope, Some(Scope::Module));
    assert_eq!(energy.verdict, Verdict::RightBetter);
    assert_eq!(energy.left.relative_bound, Some(0.01));
    let apart = [
        with(three(1, "a", 10.0), module(20.0)),
        with(three(4, "b", 10.0), rail(10.0)),
    ]
    .concat();
    let comparison = ask(&apart, "device=a", "device=b", &[]).unwrap();
    assert!(
        comparison.pairs[0]
            .figures
            .iter()
            .all(|figure| figure.scope.is_none())
    );
    assert!(
        comparison
            .notes
            .iter()
            .any(|note| note.contains("never mixed")),
        "{:?}",
        comparison.notes
    );
    let error = ask(&apart, "device=a", "device=b", &["j_per_image"])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("device=a has it for module") && error.contains("gpu_rail"),
        "{error}"
    );
}

#[test]
fn a_bound_keeps_energies_together_that_repetitions_would_tell_apart() {
    let module = |watts: f64| move |report: &mut RunReport| powered(report, Scope::Module, watts);
    let runs = [
        with(three(1, "a", 10.0), module(10.0)),
        with(three(4, "b", 10.0), module(10.15)),
    ]
    .concat();
    let comparison = ask(&runs, "device=a", "device=b", &["j_per_image"]).unwrap();
    // 1.5 % apart, and each may be 1 % off.
    assert_eq!(figure(&comparison, "j_per_image").verdict, Verdict::Tied);
}

#[test]
fn models_are_not_compared_by_tokens() {
    let other = |report: &mut RunReport| report.cell.identity.model = "other".to_owned();
    let runs = [three(1, "a", 10.0), with(three(4, "a", 20.0), other)].concat();
    let comparison = ask(&runs, "model=tiny", "model=other", &[]).unwrap();
    let metrics: Vec<&str> = comparison.pairs[0]
        .figures
        .iter()
        .map(|one| one.metric.as_str())
        .collect();
    assert!(
        !metrics.contains(&"output_tps") && metrics.contains(&"images_per_s"),
        "{metrics:?}"
    );
    let error = ask(&runs, "model=tiny", "model=other", &["output_tps"])
        .unwrap_err()
        .to_string();
    assert!(error.contains("differ in what a token is"), "{error}");
}

#[test]
fn what_is_flagged_is_shown_and_said_to_be_so() {
    let runs = [three(1, "a", 10.0), with(three(4, "b", 20.0), throttled)].concat();
    let comparison = ask(&runs, "device=a", "device=b", &["output_tps"]).unwrap();
    let speed = figure(&comparison, "output_tps");
    assert!(
        speed.is_blocked && speed.text.contains("flagged"),
        "{speed:?}"
    );
}

#[test]
fn a_failed_percentile_is_no_ratio() {
    let mut runs = [three(1, "a", 10.0), three(4, "b", 20.0)].concat();
    let failed =
        tokwatt_domain::metrics::MetricValue::Distribution(tokwatt_domain::metrics::Distribution {
            mean: None,
            p50: Some(Percentile::Failed(tokwatt_domain::metrics::Failed::Failed)),
            p90: None,
            p95: None,
            p99: None,
            n: 100,
        });
    runs[4]
        .report
        .metrics
        .insert("ttft".to_owned(), Some(failed));
    let comparison = ask(&runs, "device=a", "device=b", &["ttft"]).unwrap();
    let ttft = figure(&comparison, "ttft");
    assert_eq!((ttft.ratio, ttft.verdict), (None, Verdict::NoRatio));
}

#[test]
fn variation_stands_in_its_band() {
    let varying = |cv: f64| {
        move |report: &mut RunReport| {
            let value = tokwatt_domain::metrics::MetricValue::Number(cv);
            report.metrics.insert("cv_requests".to_owned(), Some(value));
        }
    };
    let runs = [
        with(three(1, "a", 10.0), varying(0.19)),
        with(three(4, "b", 10.0), varying(0.36)),
    ]
    .concat();
    let comparison = ask(&runs, "device=a", "device=b", &[]).unwrap();
    let bands =
        [&comparison.pairs[0].left, &comparison.pairs[0].right].map(|side| side.band.as_deref());
    assert_eq!(bands, [Some("low"), Some("high")]);
    let speed = figure(&comparison, "output_tps");
    assert!((speed.left.cv_runs.unwrap() - 0.001).abs() < 1e-5);
}

#[test]
fn sides_that_share_nothing_say_what_differs() {
    let runs = [
        three(1, "a", 10.0),
        with(three(4, "b", 10.0), task("attributes")),
    ]
    .concat();
    let error = ask(&runs, "device=a", "device=b", &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("share no cell"), "{error}");
    assert!(
        error.contains("task is caption_brief on the one side and attributes"),
        "{error}"
    );
}

#[test]
fn a_side_without_runs_says_what_there_is() {
    let runs = [three(1, "a", 10.0), three(4, "b", 10.0)].concat();
    let error = ask(&runs, "device=a", "device=c", &[])
        .unwrap_err()
        .to_string();
    assert_eq!(error, "no run is device=c: of device there are: a, b");
}

#[test]
fn a_run_is_never_on_both_sides() {
    let runs = [three(1, "a", 10.0), three(4, "b", 10.0)].concat();
    let error = ask(&runs, "device=a", "precision=f32", &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("both sides") && error.contains("device=a"),
        "{error}"
    );
}

#[test]
fn misspelt_names_suggest_the_nearest() {
    let parse = |left: &str, metric: &str| {
        Question::parse(&split(left), &split("device=b"), &texts(&[metric]), "")
            .unwrap_err()
            .to_string()
    };
    assert!(parse("devise=a", "ttft").contains("did you mean `device`?"));
    assert!(parse("device=a", "decode_tp").contains("did you mean `decode_tps`?"));
    assert!(parse("device=a", "j_per_image@modul").contains("there are: gpu_board"));
    let empty = Question::parse(&[], &split("device=b"), &[], "")
        .unwrap_err()
        .to_string();
    assert!(empty.contains("first side says nothing"), "{empty}");
}

#[test]
fn the_order_of_arrival_changes_not_one_byte() {
    let mut runs = [three(1, "a", 10.0), three(4, "b", 12.7)].concat();
    let json = |runs: &[RankedRun]| {
        serde_json::to_string(&ask(runs, "device=a", "device=b", &[]).unwrap()).unwrap()
    };
    let first = json(&runs);
    runs.reverse();
    assert_eq!(first, json(&runs));
    runs.swap(0, 3);
    assert_eq!(first, json(&runs));
}

#[test]
fn a_version_that_is_slower_is_found_and_said() {
    let runs = [
        with(three(1, "a", 10.0), engine("1.0", 0)),
        with(three(4, "a", 12.0), engine("2.0", 1_000_000)),
        with(three(7, "a", 11.0), engine("1.9-rc", 2_000_000)),
    ]
    .concat();
    let (over, metrics) = parse_history("engine", &texts(&["output_tps"])).unwrap();
    let history = history(
        &cells(&runs, &[], Provenance::Measured),
        over,
        &metrics,
        Provenance::Measured,
    )
    .unwrap();
    let values: Vec<&str> = history
        .values
        .iter()
        .map(|moment| moment.value.as_str())
        .collect();
    assert_eq!(
        values,
        ["1.0", "2.0", "1.9-rc"],
        "in order of their first start, not of their names"
    );
    assert_eq!(history.series.len(), 1);
    let points = &history.series[0].points;
    assert_eq!((&points[0].previous, &points[0].first), (&None, &None));
    let previous: Vec<Verdict> = points[1..]
        .iter()
        .map(|point| point.previous.as_ref().unwrap().verdict)
        .collect();
    assert_eq!(previous, [Verdict::RightBetter, Verdict::LeftBetter]);
    let first = points[2].first.as_ref().unwrap();
    assert!((first.ratio.unwrap() - 1.1).abs() < 1e-9 && first.verdict == Verdict::RightBetter);
    assert!(
        history
            .notes
            .iter()
            .any(|note| note.starts_with("worse: output_tps 1.9-rc")),
        "{:?}",
        history.notes
    );
}

#[test]
fn a_history_of_models_is_not_told_in_tokens() {
    let model = |name: &str, started: i64| {
        let name = name.to_owned();
        move |report: &mut RunReport| {
            report.cell.identity.model.clone_from(&name);
            report.started = WallTime(started + report.started.0);
        }
    };
    let runs = [
        with(three(1, "a", 10.0), model("one", 0)),
        with(three(4, "a", 12.0), model("two", 1_000_000)),
    ]
    .concat();
    let cells = cells(&runs, &[], Provenance::Measured);
    let ask = |metrics: &[&str]| {
        let (over, metrics) = parse_history("model", &texts(metrics)).unwrap();
        history(&cells, over, &metrics, Provenance::Measured)
    };
    let error = ask(&["request_latency", "output_tps"]).unwrap_err();
    assert!(
        matches!(error, CompareError::TokenizersDiffer(_)),
        "{error}"
    );
    let usual = ask(&[]).unwrap();
    let metrics: Vec<&str> = usual.series.iter().map(|one| one.metric.as_str()).collect();
    assert!(metrics.contains(&"request_latency"), "{metrics:?}");
    assert!(!metrics.contains(&"output_tps"), "{metrics:?}");
    assert!(
        usual.notes.contains(&NO_TOKENS.to_owned()),
        "{:?}",
        usual.notes
    );
}

#[test]
fn goodput_under_other_limits_is_left_out() {
    let good_within = |seconds: f64| {
        move |report: &mut RunReport| {
            report.limits = Some(Limits {
                ttft_s: None,
                tpot_s: None,
                latency_s: Some(seconds),
            });
            report.totals.insert("good_requests".to_owned(), 50.0);
        }
    };
    let figures = |seconds| {
        let runs = [
            with(three(1, "a", 10.0), good_within(5.0)),
            with(three(4, "b", 12.0), good_within(seconds)),
        ]
        .concat();
        let comparison = ask(&runs, "device=a", "device=b", &["goodput"]).unwrap();
        (
            comparison.pairs[0].figures.len(),
            comparison.notes.join("; "),
        )
    };
    assert_eq!(figures(5.0).0, 1);
    let (n, notes) = figures(9.0);
    assert_eq!(n, 0);
    assert!(notes.contains("latency=5s, B under latency=9s"), "{notes}");
}

#[test]
fn pictures_are_paired_of_the_runs_behind_the_figure() {
    let mut runs = [three(1, "a", 10.0), three(4, "b", 12.0)].concat();
    throttled(&mut runs[1].report);
    let comparison = ask(&runs, "device=a", "device=b", &["request_latency"]).unwrap();
    let [left, right] = comparison.items_of(0);
    let ids = |numbers: &[u8]| -> std::collections::BTreeSet<_> {
        numbers.iter().map(|number| RunId([*number; 16])).collect()
    };
    assert_eq!((left.runs(), right.runs()), (ids(&[1, 3]), ids(&[4, 5, 6])));
}

#[test]
fn a_single_version_has_no_history() {
    let error = history(
        &cells(&[run(1, "a", 10.0)], &[], Provenance::Measured),
        Key::Engine,
        &[],
        Provenance::Measured,
    );
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("engine") && error.contains("`llama.cpp 1` alone"),
        "{error}"
    );
    assert!(
        parse_history("engin", &[])
            .unwrap_err()
            .to_string()
            .contains("`engine`")
    );
}

#[test]
fn documents_are_as_their_schemas_say() {
    let module = |report: &mut RunReport| powered(report, Scope::Module, 10.0);
    let runs = [
        with(three(1, "a", 10.0), module),
        with(three(4, "b", 12.0), engine("2", 9)),
    ]
    .concat();
    let open = ["/left", "/right", "/fixed", "/key", "/configuration"];
    let mut comparison = ask(&runs, "device=a", "device=b", &[]).unwrap();
    comparison.pairs[0].figures[0].within_repetitions = Some(Within {
        ratio: 1.0,
        ci95: (0.9, 1.1),
        n_items: 20,
        n_left_out: 1,
        n_resamples: 2000,
        generator: "chacha20".to_owned(),
    });
    check_schema(tokwatt_proto::documents::COMPARE_SCHEMA, &comparison, &open);
    let runs = [
        with(three(1, "a", 10.0), engine("1", 0)),
        with(three(4, "a", 12.0), engine("2", 9)),
    ]
    .concat();
    let cells = cells(&runs, &[], Provenance::Measured);
    let history = history(&cells, Key::Engine, &[], Provenance::Measured).unwrap();
    check_schema(tokwatt_proto::documents::HISTORY_SCHEMA, &history, &open);
}
