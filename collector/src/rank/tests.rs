//! Boards of made-up runs with places known beforehand.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tokwatt_domain::{
    ids::{DeviceId, Digest, RunId},
    leaderboard::{Board, Row},
    metrics::{
        Distribution, Failed, Flag, MetricValue, Percentile, PowerReport, RequestCounts,
        RunProvenance, RunReport,
    },
    power::{Provenance, Scope},
    run::{Cell, Configuration, Identity},
    time::WallTime,
    workload::{CachePolicy, Limits, Load, Sampling},
};

use super::*;

/// A run of 100 s that generated `tokens` tokens: `output_tps` is a hundredth of that.
fn run(number: u8, device: &str, tokens: f64) -> RankedRun {
    let report = RunReport {
        loads: Vec::new(),
        run: RunId([number; 16]),
        device: DeviceId::parse(device).unwrap(),
        repetition: u32::from(number),
        started: WallTime(0),
        cell: cell(),
        provenance: RunProvenance {
            requests: Provenance::Measured,
            power: None,
        },
        limits: None,
        window_s: 100.0,
        requests: RequestCounts {
            issued: 20,
            succeeded: 20,
            failed: BTreeMap::new(),
        },
        metrics: BTreeMap::from([("ttft".to_owned(), Some(median(100.0 / tokens)))]),
        power: Vec::new(),
        server: None,
        quality: BTreeMap::new(),
        totals: BTreeMap::from([
            ("completion_tokens".to_owned(), tokens),
            ("window_s".to_owned(), 100.0),
        ]),
        flags: Vec::new(),
        reasons: BTreeMap::from([("power".to_owned(), "no sensor".to_owned())]),
    };
    RankedRun {
        report,
        report_differs: false,
    }
}

fn cell() -> Cell {
    Cell {
        identity: Identity {
            suite: "edge-vision".to_owned(),
            suite_digest: Digest([1; 32]),
            task: "caption_brief".to_owned(),
            image_px: Some(96),
            model: "tiny".to_owned(),
            precision: "f32".to_owned(),
            max_tokens: 64,
            sampling: Sampling::Greedy,
            load: Load::Closed(1),
            cache_policy: CachePolicy::Cold,
            is_streaming: true,
        },
        configuration: Configuration {
            backend: "embedded".to_owned(),
            engine: "llama.cpp 1".to_owned(),
            engine_flags: BTreeMap::new(),
            model_digest: Some(Digest([2; 32])),
            mmproj_digest: None,
            mmproj_precision: None,
            model_facts: BTreeMap::new(),
            power_mode: None,
            os: "linux".to_owned(),
        },
    }
}

fn median(value: f64) -> MetricValue {
    MetricValue::Distribution(Distribution {
        mean: Some(value),
        p50: Some(Percentile::Value(value)),
        p90: None,
        p95: None,
        p99: None,
        n: 20,
    })
}

/// Three repetitions a per mille apart.
fn three(first: u8, device: &str, tokens: f64) -> Vec<RankedRun> {
    let factors = [0.999, 1.0, 1.001];
    let numbers = first..;
    let runs = numbers
        .zip(factors)
        .map(|(number, factor)| run(number, device, tokens * factor));
    runs.collect()
}

/// The same runs with something changed.
fn with(mut runs: Vec<RankedRun>, change: impl Fn(&mut RunReport)) -> Vec<RankedRun> {
    runs.iter_mut().for_each(|run| change(&mut run.report));
    runs
}

/// A trustworthy power reading of `energy_j`.
fn powered(report: &mut RunReport, scope: Scope, energy_j: f64) {
    report.provenance.power = Some(Provenance::Measured);
    report.totals.insert(format!("energy_j@{scope}"), energy_j);
    report.totals.insert("images".to_owned(), 20.0);
    report.power.push(PowerReport {
        scope,
        source: "ina".to_owned(),
        rails: Vec::new(),
        energy_j: Some(energy_j),
        error_bound_j: Some(0.01 * energy_j),
        error_terms_j: BTreeMap::new(),
        avg_power_w: None,
        idle_unloaded_power_w: None,
        idle_loaded_power_w: None,
        energy_net_j: None,
        energy_net_bound_j: None,
        coverage: 1.0,
        bracketed: true,
        sample_period_s: Some(0.1),
        refresh_s: None,
        refresh_source: None,
        samples: 1000,
        largest_gap_s: Some(0.1),
        tok_per_s_per_w: None,
        j_per_output_token: None,
        j_per_request: None,
        j_per_image: Some(energy_j / 20.0),
        j_per_correct_answer: None,
    });
}

fn question(metric: &str, by: &[&str], conditions: &[&str]) -> Question {
    let texts = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    Question::parse(metric, &texts(by), &texts(conditions), "", false).unwrap()
}

fn board(runs: &[RankedRun]) -> Board {
    rank(runs, &question("output_tps", &[], &[])).unwrap()
}

fn of<'a>(board: &'a Board, device: &str) -> &'a Row {
    board
        .rows
        .iter()
        .find(|row| row.key["device"] == device)
        .unwrap()
}

/// Its value, unless it failed.
fn value(row: &Row) -> f64 {
    match row.value {
        Percentile::Value(value) => value,
        Percentile::Failed(_) => panic!("{row:?} failed"),
    }
}

fn ends(row: &Row) -> (Option<u32>, Option<(u32, u32)>) {
    (row.place, row.place_range)
}

#[test]
fn a_clear_winner_is_first_and_alone() {
    let board = board(&[three(1, "a", 1000.0), three(4, "b", 2000.0)].concat());
    let devices: Vec<&str> = board
        .rows
        .iter()
        .map(|row| row.key["device"].as_str())
        .collect();
    assert_eq!(devices, ["b", "a"]);
    assert_eq!(ends(&board.rows[0]), (Some(1), Some((1, 1))));
    assert_eq!(ends(&board.rows[1]), (Some(2), Some((2, 2))));
    assert!(
        (value(&board.rows[0]) - 20.0).abs() < 1e-4,
        "{:?}",
        board.rows[0]
    );
    assert_eq!((board.rows[0].n_runs, board.rows[0].n_requests), (3, 60));
    assert_eq!(board.fixed["precision"], "f32");
    assert_eq!(board.aggregate, "one task");
}

#[test]
fn the_better_one_is_the_smaller_where_less_is_better() {
    let runs = [three(1, "a", 1000.0), three(4, "b", 2000.0)].concat();
    let board = rank(&runs, &question("ttft", &[], &[])).unwrap();
    assert!(board.lower_is_better);
    assert_eq!(
        (of(&board, "b").place, of(&board, "a").place),
        (Some(1), Some(2))
    );
}

#[test]
fn who_cannot_be_told_apart_shares_a_place() {
    let close = [
        three(1, "a", 1000.0),
        three(4, "b", 1000.5),
        three(7, "c", 500.0),
    ]
    .concat();
    let board = board(&close);
    assert_eq!(ends(of(&board, "a")), (Some(1), Some((1, 2))));
    assert_eq!(ends(of(&board, "b")), (Some(1), Some((1, 2))));
    assert_eq!(ends(of(&board, "c")), (Some(3), Some((3, 3))));
    let advice = of(&board, "a").flags.join(" ");
    assert!(
        advice.contains("needs about") && advice.contains("device=b"),
        "{advice}"
    );
}

#[test]
fn rows_whose_repetitions_agree_to_the_last_digit_have_places() {
    let same = |first: u8, device: &str, tokens| {
        let numbers = first..first + 3;
        numbers.map(|number| run(number, device, tokens)).collect()
    };
    let rows: [Vec<RankedRun>; 3] = [
        same(1, "first", 9000.0),
        same(11, "as-good", 9000.0),
        same(21, "last", 5000.0),
    ];
    let board = board(&rows.concat());
    assert_eq!(ends(of(&board, "first")), (Some(1), Some((1, 2))));
    assert_eq!(ends(of(&board, "as-good")), (Some(1), Some((1, 2))));
    assert_eq!(ends(of(&board, "last")), (Some(3), Some((3, 3))));
}

#[test]
fn two_repetitions_have_no_place() {
    let mut runs = [three(1, "a", 1000.0), three(4, "b", 2000.0)].concat();
    runs.pop();
    let board = board(&runs);
    assert_eq!(ends(of(&board, "a")), (Some(1), Some((1, 1))));
    let short = of(&board, "b");
    assert_eq!((ends(short), short.ci95), ((None, None), None));
    assert_eq!(short.flags, ["needs 1 more repetition for an interval"]);
    assert_eq!(
        board.rows[1].key["device"], "b",
        "what has no place comes last"
    );
}

#[test]
fn a_blocking_flag_shows_and_does_not_rank() {
    let throttled = |report: &mut RunReport| {
        report.flags.push(Flag {
            id: "throttled".to_owned(),
            blocking: true,
            detail: String::new(),
        });
    };
    let runs = [
        three(1, "a", 1000.0),
        with(three(4, "b", 2000.0), throttled),
    ]
    .concat();
    let board = board(&runs);
    assert_eq!(of(&board, "a").place, Some(1));
    assert_eq!(
        (of(&board, "b").place, of(&board, "b").flags.clone()),
        (None, vec!["throttled".to_owned()])
    );
    assert!(
        board.notes.iter().any(|note| note.contains("flag")),
        "{:?}",
        board.notes
    );
}

#[test]
fn a_note_does_not_keep_from_a_place() {
    let mut runs = three(1, "a", 1000.0);
    runs[0].report_differs = true;
    let board = board(&runs);
    assert_eq!(
        (board.rows[0].place, board.rows[0].flags.clone()),
        (Some(1), vec!["report_differs".to_owned()])
    );
}

#[test]
fn what_is_simulated_has_a_board_of_its_own() {
    let simulated = |report: &mut RunReport| report.provenance.requests = Provenance::Simulated;
    let runs = [
        three(1, "a", 1000.0),
        with(three(4, "b", 2000.0), simulated),
    ]
    .concat();
    let measured = board(&runs);
    assert_eq!(measured.rows.len(), 1);
    assert!(
        measured
            .notes
            .iter()
            .any(|note| note.contains("3 runs are simulated")),
        "{:?}",
        measured.notes
    );
    assert!(measured.notes.iter().all(|note| !note.contains("--")));
    let other = Question::parse("output_tps", &[], &[], "simulated", false).unwrap();
    let other = rank(&runs, &other).unwrap();
    assert_eq!(
        (other.rows.len(), other.rows[0].key["device"].as_str()),
        (1, "b")
    );
    assert_eq!(other.provenance, Provenance::Simulated);
}

#[test]
fn what_differs_in_identity_is_refused_with_the_way_out() {
    let half = |report: &mut RunReport| report.cell.identity.precision = "f16".to_owned();
    let runs = [three(1, "a", 1000.0), with(three(4, "b", 2000.0), half)].concat();
    let error = rank(&runs, &question("output_tps", &[], &[]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("precision has several values (f16, f32)"),
        "{error}"
    );
    assert!(
        error.contains("--where 'precision=f16'") && error.contains("--by device,precision"),
        "{error}"
    );
    let fixed = rank(&runs, &question("output_tps", &[], &["precision=f16"])).unwrap();
    assert_eq!(
        (fixed.rows.len(), fixed.fixed["precision"].as_str()),
        (1, "f16")
    );
    let split = rank(
        &runs,
        &question("output_tps", &["device", "precision"], &[]),
    )
    .unwrap();
    assert_eq!(split.rows.len(), 2);
}

#[test]
fn a_board_of_models_is_of_one_device() {
    let runs = [three(1, "a", 1000.0), three(4, "b", 2000.0)].concat();
    let error = rank(&runs, &question("output_tps", &["precision"], &[]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("device has several values (a, b)"),
        "{error}"
    );
}

#[test]
fn models_are_not_compared_by_their_tokens() {
    let other = |report: &mut RunReport| report.cell.identity.model = "other".to_owned();
    let runs = [three(1, "a", 1000.0), with(three(4, "a", 2000.0), other)].concat();
    let error = rank(&runs, &question("output_tps", &["model"], &[])).unwrap_err();
    assert_eq!(error, RankError::TokenizersDiffer("output_tps".to_owned()));
    assert!(rank(&runs, &question("ttft", &["model"], &[])).is_ok());
}

#[test]
fn goodput_is_compared_under_the_same_limits_only_and_other_figures_under_any() {
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
    let one = with(three(1, "a", 1000.0), good_within(5.0));
    let same = with(three(4, "b", 2000.0), good_within(5.0));
    let other = with(three(4, "b", 2000.0), good_within(9.0));
    let goodput = question("goodput", &["device"], &[]);
    assert!(rank(&[one.clone(), same].concat(), &goodput).is_ok());
    let runs = [one, other].concat();
    let error = rank(&runs, &goodput).unwrap_err().to_string();
    assert!(
        error.contains("limits has several values (latency=5s, latency=9s)"),
        "{error}"
    );
    assert!(rank(&runs, &question("output_tps", &["device"], &[])).is_ok());
}

#[test]
fn a_device_stands_with_its_best_configuration_by_name() {
    let threads = |report: &mut RunReport| {
        let flags = &mut report.cell.configuration.engine_flags;
        flags.insert("threads".to_owned(), "4".to_owned());
    };
    let runs = [
        three(1, "a", 1000.0),
        with(three(4, "a", 2000.0), threads),
        three(7, "b", 1500.0),
    ]
    .concat();
    let board = board(&runs);
    assert_eq!(board.rows.len(), 2);
    assert_eq!(of(&board, "a").key["engine_flags"], "threads=4");
    assert_eq!(of(&board, "a").place, Some(1));
    assert!(
        board
            .notes
            .iter()
            .any(|note| note.contains("rows by engine_flags, too")),
        "{:?}",
        board.notes
    );
    // Notes are read on pages, too, where there are no flags.
    assert!(board.notes.iter().all(|note| !note.contains("--")));
    let strict = Question::parse("output_tps", &[], &[], "", true).unwrap();
    assert!(matches!(
        rank(&runs, &strict),
        Err(RankError::Several { .. })
    ));
}

#[test]
fn tasks_are_put_together_by_sums_where_there_are_sums() {
    let long = |report: &mut RunReport| {
        report.cell.identity.task = "scene_context".to_owned();
        report.totals.insert("window_s".to_owned(), 300.0);
    };
    let runs = [three(1, "a", 1000.0), with(three(1, "a", 1000.0), long)].concat();
    let runs: Vec<RankedRun> = runs
        .into_iter()
        .zip(1..)
        .map(|(mut run, number)| {
            run.report.run = RunId([number; 16]);
            run
        })
        .collect();
    let sums = board(&runs);
    assert_eq!(sums.aggregate, "ratio of sums");
    assert_eq!(sums.fixed["task"], "caption_brief + scene_context");
    assert_eq!(sums.rows[0].n_runs, 3);
    // 2,000 tokens in 400 s, not the mean of 10/s and 3.33/s.
    assert!(
        (value(&sums.rows[0]) - 5.0).abs() < 1e-4,
        "{:?}",
        sums.rows[0]
    );
    let means = rank(&runs, &question("ttft", &[], &[])).unwrap();
    assert_eq!(means.aggregate, "geometric mean");
}

#[test]
fn who_lacks_a_task_is_left_out_and_named() {
    let scene = |report: &mut RunReport| report.cell.identity.task = "scene_context".to_owned();
    let both = [three(1, "a", 1000.0), with(three(1, "a", 1000.0), scene)].concat();
    let runs = [both, three(7, "b", 2000.0)].concat();
    let board = board(&runs);
    assert_eq!(board.rows.len(), 1);
    assert!(
        board
            .notes
            .iter()
            .any(|note| note == "device=b is left out: it has no figure for scene_context"),
        "{:?}",
        board.notes
    );
}

#[test]
fn energies_of_two_scopes_are_not_compared() {
    let module = |report: &mut RunReport| powered(report, Scope::Module, 1000.0);
    let wall = |report: &mut RunReport| powered(report, Scope::Wall, 2000.0);
    let runs = [
        with(three(1, "a", 1000.0), module),
        with(three(4, "b", 1000.0), wall),
    ]
    .concat();
    let error = rank(&runs, &question("j_per_image", &[], &[]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("j_per_image@module or j_per_image@wall"),
        "{error}"
    );
    let board = rank(&runs, &question("j_per_image@module", &[], &[])).unwrap();
    assert_eq!(
        (board.rows.len(), board.rows[0].place, board.scope),
        (1, Some(1), Some(Scope::Module))
    );
    assert!((value(&board.rows[0]) - 50.0).abs() < 1e-9);
}

#[test]
fn an_energy_that_is_not_good_enough_has_no_place() {
    let check = |change: fn(&mut RunReport), want: &str| {
        let runs = with(three(1, "a", 1000.0), |report| {
            powered(report, Scope::Module, 1000.0);
            change(report);
        });
        let board = rank(&runs, &question("j_per_image@module", &[], &[])).unwrap();
        assert_eq!(
            (board.rows[0].place, board.rows[0].flags.clone()),
            (None, vec![want.to_owned()])
        );
    };
    check(|report| report.power[0].bracketed = false, "not_bracketed");
    check(|report| report.power[0].coverage = 0.94, "low_coverage");
    check(
        |report| report.power[0].error_bound_j = Some(51.0),
        "bound_above_5_percent",
    );
    check(|report| report.window_s = 59.0, "window_below_60_s");
    let quick = Flag {
        id: "quick".to_owned(),
        blocking: false,
        detail: String::new(),
    };
    let runs = with(three(1, "a", 1000.0), |report| {
        powered(report, Scope::Module, 1000.0);
        report.flags.push(quick.clone());
    });
    let energy = rank(&runs, &question("j_per_image@module", &[], &[])).unwrap();
    assert_eq!(energy.rows[0].place, None);
    assert_eq!(board(&runs).rows[0].place, Some(1), "its speed is ranked");
}

#[test]
fn a_doubtful_sensor_keeps_no_speed_off_its_board() {
    let runs = with(three(1, "a", 1000.0), |report| {
        powered(report, Scope::Module, 1000.0);
        report.flags.push(Flag {
            id: "aliased".to_owned(),
            blocking: true,
            detail: String::new(),
        });
    });
    assert_eq!(board(&runs).rows[0].place, Some(1));
    let energy = rank(&runs, &question("j_per_image@module", &[], &[])).unwrap();
    assert_eq!(energy.rows[0].place, None);
}

#[test]
fn of_two_sensors_of_a_scope_the_ranked_one_is_judged() {
    let runs = with(three(1, "a", 1000.0), |report| {
        powered(report, Scope::Module, 900.0);
        report.power[0].source = "csv".to_owned();
        report.power[0].error_bound_j = Some(900.0);
        report.power[0].bracketed = false;
        powered(report, Scope::Module, 1000.0);
    });
    let board = rank(&runs, &question("j_per_image@module", &[], &[])).unwrap();
    let row = &board.rows[0];
    assert_eq!((row.place, row.flags.as_slice()), (Some(1), &[][..]));
}

#[test]
fn a_repetition_that_failed_is_not_forgotten() {
    let fail = |report: &mut RunReport| {
        report.requests.succeeded = 5;
        report.requests.failed = BTreeMap::from([("timeout".to_owned(), 15)]);
        let Some(Some(MetricValue::Distribution(ttft))) = report.metrics.get_mut("ttft") else {
            panic!("no ttft");
        };
        ttft.p50 = Some(Percentile::Failed(Failed::Failed));
    };
    let mut runs = [
        three(1, "a", 1000.0),
        three(4, "b", 2000.0),
        vec![run(7, "b", 2000.0)],
    ]
    .concat();
    fail(&mut runs[6].report);
    let board = rank(&runs, &question("ttft", &[], &[])).unwrap();
    assert_eq!(ends(of(&board, "a")), (Some(1), Some((1, 1))));
    let failed = of(&board, "b");
    assert_eq!(
        (failed.place, failed.value, failed.n_runs),
        (None, Percentile::Failed(Failed::Failed), 4)
    );
    assert_eq!((failed.ci95, failed.flags.len()), (None, 0));
    assert!(
        board
            .notes
            .contains(&"device=b: 15 of 80 requests failed".to_owned()),
        "{:?}",
        board.notes
    );
}

#[test]
fn requests_of_a_repetition_that_is_left_out_do_not_count() {
    let scene = |report: &mut RunReport| report.cell.identity.task = "scene_context".to_owned();
    let mut runs = [three(1, "a", 1000.0), with(three(1, "a", 1000.0), scene)].concat();
    runs.pop();
    let board = board(&runs);
    assert_eq!((board.rows[0].n_runs, board.rows[0].n_requests), (2, 80));
}

#[test]
fn an_absent_figure_is_left_out_with_its_reason() {
    let board = rank(&three(1, "a", 1000.0), &question("energy@module", &[], &[])).unwrap();
    assert!(board.rows.is_empty());
    assert_eq!(
        board.notes,
        ["3 runs are left out: no `energy@module` (no sensor)"]
    );
}

#[test]
fn a_condition_that_nothing_meets_says_what_there_is() {
    let runs = [three(1, "a", 1000.0), three(4, "b", 2000.0)].concat();
    let error = rank(&runs, &question("output_tps", &[], &["device=c"]))
        .unwrap_err()
        .to_string();
    assert_eq!(error, "no run has device=c; there are: a, b");
}

#[test]
fn words_that_mean_nothing_are_answered_with_the_nearest() {
    let parse = |metric, provenance| {
        Question::parse(metric, &[], &[], provenance, false)
            .unwrap_err()
            .to_string()
    };
    assert!(parse("output_tp", "").contains("did you mean `output_tps`?"));
    assert!(parse("output_tps@module", "").contains("takes no power scope"));
    assert!(parse("energy@modul", "").contains("module"));
    assert!(parse("total_tps", "").contains("never ranked"));
    assert!(parse("output_tps", "mesured").contains("did you mean `measured`?"));
}

proptest! {
    #[test]
    fn the_same_runs_make_the_same_bytes_in_any_order(
        shuffled in Just([
            three(1, "a", 1000.0), three(4, "b", 1000.4), three(7, "c", 990.0),
            with(three(10, "d", 700.0), |report| report.cell.configuration.os = "other".to_owned()),
            three(13, "d", 710.0),
        ].concat()).prop_shuffle()
    ) {
        let sorted = {
            let mut runs = shuffled.clone();
            runs.sort_by_key(|run| run.report.run);
            runs
        };
        for metric in ["output_tps", "ttft"] {
            let question = question(metric, &[], &[]);
            let boards = [&sorted, &shuffled].map(|runs| serde_json::to_string(&rank(runs, &question).unwrap()).unwrap());
            prop_assert_eq!(&boards[0], &boards[1]);
        }
    }
}

#[test]
fn a_wide_row_above_a_better_value_is_explained() {
    let explains = |board: &Board| {
        let mut notes = board.notes.iter();
        notes.any(|note| note.contains("above one with a better value"))
    };
    let mut runs = three(1, "best", 1000.0);
    runs.extend(three(4, "second", 900.0));
    assert!(!explains(&board(&runs)));
    let wide = [(7, 300.0), (8, 800.0), (9, 1600.0)];
    runs.extend(wide.map(|(number, tokens)| run(number, "wide", tokens)));
    let board = board(&runs);
    let order: Vec<&str> = board
        .rows
        .iter()
        .map(|row| row.key["device"].as_str())
        .collect();
    assert_eq!(order, ["best", "wide", "second"]);
    assert!(explains(&board), "{:?}", board.notes);
}

fn ask(runs: &[RankedRun], question: Question) -> Result<Board, RankError> {
    rank(runs, &question)
}

/// The same runs under other numbers, so that they are other runs.
fn renumbered(runs: Vec<RankedRun>) -> Vec<RankedRun> {
    let numbered = runs.into_iter().zip(1..);
    numbered
        .map(|(mut run, number)| {
            run.report.run = RunId([number; 16]);
            run
        })
        .collect()
}

#[test]
fn tasks_count_the_same_where_that_is_asked_for() {
    let long = |report: &mut RunReport| {
        report.cell.identity.task = "scene_context".to_owned();
        report.totals.insert("window_s".to_owned(), 300.0);
    };
    let runs = renumbered([three(1, "a", 1000.0), with(three(1, "a", 1000.0), long)].concat());
    let over = |way: &str, metric: &str| Question {
        over_tasks: OverTasks::parse(way).unwrap(),
        ..question(metric, &[], &[])
    };
    let each = ask(&runs, over("macro", "output_tps")).unwrap();
    assert_eq!(each.aggregate, "geometric mean");
    // √(10 · 3.33), not 2,000 tokens in 400 s.
    assert!((value(&each.rows[0]) - (100.0_f64 / 3.0).sqrt()).abs() < 1e-4);
    let sums = ask(&runs, over("sums", "output_tps")).unwrap();
    assert_eq!(sums, board(&runs));
    let error = ask(&runs, over("sums", "ttft")).unwrap_err().to_string();
    assert!(error.contains("`ttft` is not made of sums"), "{error}");
    let error = OverTasks::parse("marco").unwrap_err().to_string();
    assert!(error.contains("did you mean `macro`?"), "{error}");
}

#[test]
fn models_stand_on_a_board_of_tokens_only_with_a_flag_and_always_with_their_answers() {
    let other = |report: &mut RunReport| {
        report.cell.identity.model = "other".to_owned();
        report.quality.insert("counts_f1".to_owned(), Some(0.25));
        let chars = Some(median(160.0));
        report.metrics.insert("output_chars".to_owned(), chars);
    };
    let runs = [three(1, "a", 1000.0), with(three(4, "a", 2000.0), other)].concat();
    let tokens = Question {
        may_differ: true,
        ..question("output_tps", &["model"], &[])
    };
    let board = ask(&runs, tokens).unwrap();
    assert_eq!(board.rows.len(), 2);
    for row in &board.rows {
        assert_eq!(row.flags, ["tokenizer_differs"]);
    }
    let latency = ask(&runs, question("ttft", &["model"], &[])).unwrap();
    for board in [&board, &latency] {
        let beside: Vec<_> = board.rows.iter().map(|row| row.beside.clone()).collect();
        let [other, tiny] = &*beside else {
            panic!("{beside:?}")
        };
        assert!((other["output_chars"] - 160.0).abs() < 1e-9 && tiny.is_empty());
        assert!((other["counts_f1"] - 0.25).abs() < 1e-9);
    }
    assert_eq!(latency.rows[0].flags.len(), 0);
    let one = ask(&runs, question("output_tps", &[], &["model=other"])).unwrap();
    assert!(one.rows[0].beside.is_empty() && one.rows[0].flags.is_empty());
}

#[test]
fn scopes_stand_side_by_side_where_that_is_asked_for_and_never_on_one_board() {
    let both = |report: &mut RunReport| {
        powered(report, Scope::Module, 1000.0);
        powered(report, Scope::Wall, 3000.0);
    };
    let module = |report: &mut RunReport| powered(report, Scope::Module, 1500.0);
    let runs = [
        with(three(1, "a", 1000.0), both),
        with(three(4, "b", 1000.0), module),
    ]
    .concat();
    let index = MemoryIndex::of(&runs).unwrap();
    let mixed = |metric| boards(&index.catalogue, &index, &question(metric, &[], &[])).unwrap();
    let energy = mixed("j_per_image");
    let scopes: Vec<_> = energy.boards.iter().map(|board| board.scope).collect();
    assert_eq!(scopes, [Some(Scope::Module), Some(Scope::Wall)]);
    let rows: Vec<usize> = energy.boards.iter().map(|board| board.rows.len()).collect();
    assert_eq!(rows, [2, 1]);
    assert!(energy.warning.unwrap().contains("may be compared"));
    assert_eq!(
        energy.boards[0],
        rank(&runs, &question("j_per_image@module", &[], &[])).unwrap()
    );
    for metric in ["j_per_image@wall", "output_tps"] {
        let one = mixed(metric);
        assert_eq!((one.boards.len(), one.warning), (1, None), "{metric}");
    }
}

#[test]
fn a_row_that_looks_copied_says_so_and_what_may_well_be_the_same_does_not() {
    let succeeding = |report: &mut RunReport| {
        report.totals.insert("successes".to_owned(), 20.0);
        report.totals.insert("requests".to_owned(), 20.0);
        let memory = Some(MetricValue::Number(3e9));
        report
            .metrics
            .insert("memory_peak.system".to_owned(), memory);
    };
    let runs = [
        three(1, "a", 1000.0),
        three(4, "b", 1000.0),
        three(7, "c", 900.0),
    ]
    .concat();
    let runs = with(runs, succeeding);
    let board = board(&runs);
    assert_eq!(of(&board, "a").flags, ["duplicate"]);
    assert_eq!(of(&board, "b").flags, ["duplicate"]);
    assert_eq!(of(&board, "c").flags.len(), 0);
    let note = "duplicate: device=a and device=b have the same figures to the last digit, as if one had been copied";
    assert!(board.notes.contains(&note.to_owned()), "{:?}", board.notes);
    for metric in ["success_rate", "memory_peak.system"] {
        let same = rank(&runs, &question(metric, &[], &[])).unwrap();
        assert_eq!(same.rows.len(), 3, "{metric}");
        assert!(same.rows.iter().all(|row| row.flags.is_empty()), "{metric}");
    }
}

#[test]
fn a_size_that_takes_as_many_tokens_as_another_is_noted_though_one_is_shown() {
    let sized = |size: u32, tokens: f64| {
        move |report: &mut RunReport| {
            report.cell.identity.model = "qwen".to_owned();
            report.cell.identity.image_px = Some(size);
            let tokens = Some(MetricValue::Number(tokens));
            report.metrics.insert("image_tokens".to_owned(), tokens);
        }
    };
    let runs = [
        with(three(1, "a", 1000.0), sized(512, 300.0)),
        with(three(4, "a", 900.0), sized(1024, 300.0)),
        with(three(7, "a", 800.0), sized(256, 81.0)),
    ]
    .concat();
    let flags = |size: &str| {
        let condition = format!("image_px={size}");
        let board = rank(&runs, &question("output_tps", &[], &[&condition])).unwrap();
        board.rows[0].flags.clone()
    };
    assert_eq!(flags("512"), ["resized"]);
    assert_eq!(flags("1024"), ["resized"]);
    assert_eq!(flags("256").len(), 0);
}

#[test]
fn imported_figures_that_contradict_each_other_are_flagged_and_keep_their_place() {
    let imported = |stated: f64| {
        move |report: &mut RunReport| {
            powered(report, Scope::Module, 1000.0);
            report.provenance.requests = Provenance::Imported;
            report.power[0].tok_per_s_per_w = Some(18.78);
            report.power[0].j_per_output_token = Some(stated);
        }
    };
    let runs = [
        with(three(1, "a", 1000.0), imported(0.051)),
        with(three(4, "b", 2000.0), imported(0.0532)),
    ]
    .concat();
    let question = Question {
        provenance: Provenance::Imported,
        ..question("tok_per_s_per_w@module", &[], &[])
    };
    let board = rank(&runs, &question).unwrap();
    assert_eq!(of(&board, "a").flags, ["reciprocal"]);
    assert!(of(&board, "a").place.is_some());
    assert_eq!(of(&board, "b").flags.len(), 0);
}

/// What another tool states, without the sums that it is made of.
fn stated(number: u8, device: &str, speed: f64) -> RankedRun {
    let mut run = run(number, device, 1000.0);
    let report = &mut run.report;
    report.provenance.requests = Provenance::Imported;
    report.totals.clear();
    let speed = Some(MetricValue::Number(speed));
    report.metrics.insert("output_tps".to_owned(), speed);
    run
}

#[test]
fn a_ratio_that_is_stated_without_its_sums_is_ranked_by_what_is_stated() {
    let scene = |mut run: RankedRun| {
        run.report.cell.identity.task = "scene_context".to_owned();
        run
    };
    let runs = [stated(1, "a", 20.0), stated(2, "b", 40.0)];
    let asked = |over_tasks| Question {
        provenance: Provenance::Imported,
        over_tasks,
        ..question("output_tps", &[], &[])
    };
    let board = rank(&runs, &asked(None)).unwrap();
    assert!((value(of(&board, "a")) - 20.0).abs() < 1e-9);
    assert!((value(of(&board, "b")) - 40.0).abs() < 1e-9);
    // Over tasks there are no sums to add.
    let two = [stated(1, "a", 20.0), scene(stated(1, "a", 80.0))];
    let board = rank(&two, &asked(None)).unwrap();
    assert_eq!(board.rows, []);
    let notes = board.notes.join("; ");
    assert!(notes.contains("has the sums of every task"), "{notes}");
    let board = rank(&two, &asked(Some(OverTasks::Macro))).unwrap();
    assert!((value(of(&board, "a")) - 40.0).abs() < 1e-9);
}

#[test]
fn a_cell_is_of_runs_of_its_provenance_alone() {
    let simulated = |report: &mut RunReport| {
        report.provenance.requests = Provenance::Simulated;
        report.started = WallTime(-5);
        report.requests.failed.insert("crashed".to_owned(), 2);
        report
            .reasons
            .insert("ttft".to_owned(), "made up".to_owned());
        report.flags.push(Flag {
            id: "made_up".to_owned(),
            blocking: false,
            detail: String::new(),
        });
    };
    let runs = [three(1, "a", 1000.0), with(three(4, "a", 500.0), simulated)].concat();
    let measured = cells(&runs, &[], Provenance::Measured).remove(0);
    let ids = [1, 2, 3].map(|number| RunId([number; 16]));
    assert_eq!(measured.runs, ids);
    assert_eq!((measured.n_requests, measured.n_failed), (60, 0));
    assert_eq!(measured.started, WallTime(0));
    assert!(measured.flags.is_empty() && !measured.reasons.contains_key("ttft"));
    let simulated = cells(&runs, &[], Provenance::Simulated).remove(0);
    assert_eq!((simulated.runs.len(), simulated.n_failed), (3, 6));
}

#[test]
fn a_figure_knows_the_runs_behind_it() {
    let mut runs = three(1, "a", 1000.0);
    runs[1].report.flags.push(Flag {
        id: "throttled".to_owned(),
        blocking: true,
        detail: String::new(),
    });
    let cell = cells(&runs, &[], Provenance::Measured).remove(0);
    let behind = |cell: &RankedCell| -> Vec<(RunId, (u32, usize))> {
        let repetitions = &cell.figure("ttft").unwrap().repetitions;
        repetitions
            .iter()
            .map(|one| (one.run, one.position))
            .collect()
    };
    let want = [(RunId([1; 16]), (1, 1)), (RunId([3; 16]), (3, 1))];
    assert_eq!((cell.runs.len(), behind(&cell)), (3, want.to_vec()));
}

#[test]
fn scopes_of_another_provenance_are_none_of_a_board() {
    let module = |report: &mut RunReport| powered(report, Scope::Module, 1000.0);
    let simulated = |report: &mut RunReport| {
        powered(report, Scope::Wall, 3000.0);
        report.provenance.requests = Provenance::Simulated;
        report.provenance.power = Some(Provenance::Simulated);
    };
    let runs = [
        with(three(1, "a", 1000.0), module),
        with(three(4, "b", 1000.0), simulated),
    ]
    .concat();
    let board = rank(&runs, &question("j_per_image", &[], &[])).unwrap();
    assert_eq!((board.scope, board.rows.len()), (Some(Scope::Module), 1));
}

#[test]
fn what_is_flagged_decides_over_no_board() {
    let flagged = |task: &str, digest: u8| {
        let task = task.to_owned();
        move |report: &mut RunReport| {
            report.cell.identity.task.clone_from(&task);
            report.cell.identity.suite_digest = Digest([digest; 32]);
            report.flags.push(Flag {
                id: "throttled".to_owned(),
                blocking: true,
                detail: String::new(),
            });
        }
    };
    let good = [three(1, "a", 1000.0), three(4, "b", 2000.0)].concat();
    let runs = [
        good,
        with(three(7, "c", 1500.0), flagged("caption_brief", 1)),
        with(three(10, "a", 1500.0), flagged("scene_context", 1)),
        with(three(13, "a", 1500.0), flagged("caption_brief", 9)),
    ]
    .concat();
    let board = board(&runs);
    assert_eq!(board.aggregate, "one task");
    assert_eq!(board.rows.len(), 3, "{:?}", board.notes);
    assert_eq!(of(&board, "c").place, None);
    let notes = board.notes.join("; ");
    assert!(
        notes.contains("3 runs are flagged, and left out: nothing of task scene_context"),
        "{notes}"
    );
    // Where nothing else is there, they are shown.
    let alone = with(three(1, "a", 1500.0), flagged("caption_brief", 1));
    assert_eq!(
        rank(&alone, &question("output_tps", &[], &[]))
            .unwrap()
            .rows
            .len(),
        1
    );
}

proptest! {
    /// What the classes of a field count is what every pair by itself says.
    #[test]
    fn places_are_those_that_all_pairs_give(
        rows in prop::collection::vec((0.5..2.0_f64, 1e-5..0.3_f64, 3..6_usize), 2..12),
        is_lower_better in any::<bool>(),
    ) {
        let mut runs = Vec::new();
        for (row, (middle, spread, n)) in rows.iter().enumerate() {
            let steps = [-1.0, 0.0, 1.0, 0.5, -0.5];
            for (step, number) in steps.iter().take(*n).zip(0_u8..) {
                let number = number + 10 * u8::try_from(row).unwrap();
                runs.push(run(number, &format!("d{row}"), 1000.0 * middle * (1.0 + spread * step)));
            }
        }
        let metric = if is_lower_better { "ttft" } else { "output_tps" };
        let board = rank(&runs, &question(metric, &[], &[])).unwrap();
        let values = |device: &str| -> Vec<f64> {
            let own = runs.iter().filter(|run| run.report.device.as_str() == device);
            let definition = tokwatt_domain::metrics::dictionary::definition(metric).unwrap();
            own.map(|run| definition.figure(&run.report, None).unwrap()).collect()
        };
        for row in &board.rows {
            let own = values(&row.key["device"]);
            let beaten_by = board.rows.iter().filter(|other| {
                let other = values(&other.key["device"]);
                let plain = |values| tokwatt_domain::metrics::spread::Repetitions { values, relative_bound: 0.0 };
                let ratio = tokwatt_domain::metrics::spread::ratio(&plain(&other), &plain(&own)).unwrap();
                if is_lower_better { ratio.interval.high < 1.0 } else { ratio.interval.low > 1.0 }
            });
            prop_assert_eq!(row.place, Some(1 + u32::try_from(beaten_by.count()).unwrap()));
        }
    }

    /// An index that was followed up cell by cell, in any order, gives the answers of one that was made at once.
    #[test]
    fn an_index_gives_the_same_bytes_however_it_came_about(
        order in Just((0..5_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let cells = [
            three(1, "a", 1000.0),
            with(three(4, "b", 1000.4), |report| report.cell.configuration.os = "zeta".to_owned()),
            with(three(7, "b", 990.0), |report| report.cell.configuration.os = "alpha".to_owned()),
            with(three(10, "c", 700.0), |report| powered(report, Scope::Module, 500.0)),
            with(three(13, "d", 710.0), |report| report.reasons.insert("ttft".to_owned(), "none".to_owned()).map_or((), drop)),
        ];
        let runs: Vec<RankedRun> = order.iter().flat_map(|cell| cells[*cell].clone()).collect();
        let whole = MemoryIndex::of(&cells.concat()).unwrap();
        let mut catalogue = Catalogue::default();
        let mut columns = BTreeMap::new();
        for (number, cell) in (1..).zip(&order) {
            let name = serde_json::to_string(&CellName::of(&cells[*cell][0].report)).unwrap();
            // A cell that grows, goes, and comes back.
            for runs in [&cells[*cell][..1], &[], &cells[*cell][..]] {
                let index = CellIndex::of(runs);
                let name = (!runs.is_empty()).then_some(&*name);
                catalogue.put(number, name, &index.runs).unwrap();
                columns.insert(number, (name.map(str::to_owned), index.columns));
            }
        }
        let followed = Followed { columns };
        for metric in ["output_tps", "ttft", "j_per_image", "energy"] {
            let question = question(metric, &[], &[]);
            let boards = [
                rank(&runs, &question).unwrap(),
                super::board(&catalogue, &followed, &question).unwrap(),
                super::board(&whole.catalogue, &whole, &question).unwrap(),
            ].map(|board| serde_json::to_string(&board).unwrap());
            prop_assert_eq!(&boards[0], &boards[1]);
            prop_assert_eq!(&boards[0], &boards[2]);
        }
        let listed = [
            super::cells(&runs, &[], Provenance::Measured),
            cells_of(&catalogue, &followed, &[], Provenance::Measured).unwrap(),
        ];
        prop_assert_eq!(listed[0].len(), 5);
        prop_assert_eq!(&listed[0], &listed[1]);
    }
}

/// Metric to its column.
type PackedColumns = BTreeMap<String, Vec<u8>>;

/// Columns by the numbers of cells.
struct Followed {
    columns: BTreeMap<i64, (Option<String>, PackedColumns)>,
}

impl Columns for Followed {
    type Error = RankError;

    fn columns(
        &self,
        metric: &str,
        cells: &[i64],
        take: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<(), RankError> {
        for (position, number) in cells.iter().enumerate() {
            if let Some(column) = self.columns[number].1.get(metric) {
                take(position, column);
            }
        }
        Ok(())
    }

    fn names(&self, cells: &[i64]) -> Result<Vec<String>, RankError> {
        let name = |number| self.columns[number].0.clone().unwrap();
        Ok(cells.iter().map(name).collect())
    }

    fn has(&self, metric: &str) -> Result<bool, RankError> {
        let mut columns = self.columns.values();
        Ok(columns.any(|(_, columns)| columns.contains_key(metric)))
    }
}

#[test]
fn a_damaged_index_is_said_and_never_ranked() {
    let index = CellIndex::of(&three(1, "a", 1000.0));
    let name = serde_json::to_string(&CellName::of(&run(1, "a", 1.0).report)).unwrap();
    let mut catalogue = Catalogue::default();
    for length in 0..index.runs.len() {
        let error = catalogue.put(1, Some(&name), &index.runs[..length]);
        assert!(matches!(error, Err(RankError::Index(_))), "{length}");
    }
    catalogue.put(1, Some(&name), &index.runs).unwrap();
    let column = &index.columns["output_tps"];
    for length in 0..column.len() {
        let columns = BTreeMap::from([("output_tps".to_owned(), column[..length].to_vec())]);
        let columns = Followed {
            columns: BTreeMap::from([(1, (None, columns))]),
        };
        let asked = question("output_tps", &[], &[]);
        let error = super::board(&catalogue, &columns, &asked).unwrap_err();
        assert!(error.to_string().contains("check --rebuild"), "{error}");
    }
}

#[test]
fn choices_are_what_cells_of_the_provenance_have() {
    let simulated = |mut run: RankedRun| {
        run.report.provenance.requests = Provenance::Simulated;
        run
    };
    let runs = [
        vec![run(1, "orin", 9000.0), run(2, "thor", 9000.0)],
        vec![simulated(run(3, "made-up", 9000.0))],
    ]
    .concat();
    let index = MemoryIndex::of(&runs).unwrap();
    let of = |provenance| choices(&index.catalogue, &index, provenance).unwrap();
    let measured = of(Provenance::Measured);
    assert_eq!(measured.n_cells, 2);
    assert_eq!(
        *measured.values(Key::Device),
        BTreeSet::from(["orin", "thor"].map(str::to_owned))
    );
    assert!(measured.metrics.contains("output_tps"));
    assert!(!measured.metrics.contains("j_per_image@module"));
    assert_eq!(of(Provenance::Simulated).n_cells, 1);
    assert_eq!(of(Provenance::Replayed).n_cells, 0);
}
