//! Made-up cells of which it is known who is the best for what.

use tokwatt_domain::{
    metrics::RunReport,
    power::{Provenance, Scope},
};

use super::*;
use crate::rank::{
    RankedRun, cells,
    made_up::{check_schema, powered, three, throttled, times, with},
};

const FOR_SPEED: &str = r#"
    form = 1
    name = "speed"
    version = 1
    question = "Who is fast?"
    choose = ["precision"]
    front = ["images_per_s", "output_tps"]
    [[limit]]
    metric = "request_latency.p90"
    at_most = 1.0
    [[objective]]
    metric = "output_tps"
    across_models = "images_per_s"
"#;

fn ask(runs: &[RankedRun], text: &str) -> Result<Recommendation, RecommendError> {
    let case = UseCase::parse(text).unwrap();
    let cells = cells(runs, &case.conditions, Provenance::Measured);
    recommend(&cells, &case, Provenance::Measured)
}

fn devices(recommendation: &Recommendation) -> Vec<(&str, u32)> {
    let all = recommendation.recommended.iter();
    all.map(|one| (one.key["device"].as_str(), one.place))
        .collect()
}

fn reasons(recommendation: &Recommendation, device: &str) -> Vec<(ReasonKind, String)> {
    let of = |one: &&Excluded| one.key["device"] == device;
    let found = recommendation.excluded.iter().find(of).unwrap();
    let reasons = found.reasons.iter();
    reasons
        .map(|reason| (reason.kind, reason.text.clone()))
        .collect()
}

fn task(name: &str) -> impl Fn(&mut RunReport) {
    let name = name.to_owned();
    move |report| report.cell.identity.task.clone_from(&name)
}

fn module(watts: f64) -> impl Fn(&mut RunReport) {
    move |report| powered(report, Scope::Module, watts)
}

fn quality(share: f64) -> impl Fn(&mut RunReport) {
    move |report| {
        report
            .quality
            .insert("caption_true_facts".to_owned(), Some(share));
    }
}

#[test]
fn the_best_wins_and_the_rest_follow_with_what_lies_between() {
    let runs = [
        three(1, "a", 20.0),
        three(4, "b", 40.0),
        three(7, "c", 30.0),
    ]
    .concat();
    let answer = ask(&runs, FOR_SPEED).unwrap();
    assert_eq!(devices(&answer), [("b", 1), ("c", 2), ("a", 3)]);
    assert_eq!(answer.recommended[0].against_first, None);
    let last = answer.recommended[2].against_first.as_ref().unwrap();
    assert!((last.ratio - 0.5).abs() < 1e-9 && !last.is_tied, "{last:?}");
    assert!((answer.recommended[0].value - 40.0).abs() < 1e-3);
}

#[test]
fn a_tie_is_a_tie() {
    let runs = [
        three(1, "a", 30.0),
        three(4, "b", 30.01),
        three(7, "c", 20.0),
    ]
    .concat();
    let answer = ask(&runs, FOR_SPEED).unwrap();
    assert_eq!(devices(&answer), [("b", 1), ("a", 1), ("c", 3)]);
    let second = &answer.recommended[1];
    assert_eq!(second.place_range, (1, 2));
    assert!(second.against_first.as_ref().unwrap().is_tied);
    assert!(second.more_repetitions.is_some());
    assert!(
        answer
            .notes
            .iter()
            .any(|note| note.contains("share the first place")),
        "{:?}",
        answer.notes
    );
}

#[test]
fn who_breaks_a_limit_is_excluded_with_how_far() {
    // A latency of 10 / speed: 2 s at 5 tokens a second.
    let runs = [three(1, "a", 5.0), three(4, "b", 40.0)].concat();
    let answer = ask(&runs, FOR_SPEED).unwrap();
    assert_eq!(devices(&answer), [("b", 1)]);
    let reasons = reasons(&answer, "a");
    assert_eq!(reasons.len(), 1);
    assert_eq!(reasons[0].0, ReasonKind::Limit);
    assert!(
        reasons[0]
            .1
            .contains("2 s in caption_brief: 2 times the limit of 1 s"),
        "{}",
        reasons[0].1
    );
}

#[test]
fn a_limit_holds_for_every_task() {
    let slow = with(three(7, "a", 5.0), task("scene_context"));
    let fast = with(three(10, "b", 30.0), task("scene_context"));
    let runs = [three(1, "a", 50.0), three(4, "b", 40.0), slow, fast].concat();
    let answer = ask(&runs, FOR_SPEED).unwrap();
    assert_eq!(devices(&answer), [("b", 1)]);
    assert!(reasons(&answer, "a")[0].1.contains("scene_context"));
    assert!(answer.aggregate.contains("geometric mean"));
    // 40 and 30.
    assert!((answer.recommended[0].value - 1200.0_f64.sqrt()).abs() < 1e-2);
}

#[test]
fn a_limit_within_the_interval_may_be_broken() {
    let runs = with(three(1, "a", 10.004), |_| {});
    let answer = ask(&runs, FOR_SPEED).unwrap();
    let limit = &answer.recommended[0].limits[0];
    assert!(
        limit.may_be_broken && limit.value.unwrap() < 1.0,
        "{limit:?}"
    );
}

#[test]
fn what_is_missing_flagged_or_too_rare_is_excluded_with_the_reason() {
    let mut runs = [
        three(1, "good", 20.0),
        with(three(4, "flagged", 40.0), throttled),
        with(three(7, "silent", 30.0), |report| {
            report.totals.remove("completion_tokens");
            let why = "the server counts no tokens".to_owned();
            report.reasons.insert("output_tps".to_owned(), why);
        }),
        three(10, "rare", 50.0),
        three(13, "partial", 60.0),
        with(three(16, "good", 20.0), task("attributes")),
        with(three(19, "flagged", 40.0), task("attributes")),
        with(three(22, "silent", 30.0), task("attributes")),
        with(three(25, "rare", 50.0), task("attributes")),
    ]
    .concat();
    runs.retain(|run| !(run.report.device.as_str() == "rare" && run.report.repetition % 3 == 0));
    let answer = ask(&runs, FOR_SPEED).unwrap();
    assert_eq!(devices(&answer), [("good", 1)]);
    let first = |device: &str| reasons(&answer, device)[0].clone();
    assert_eq!(first("flagged").0, ReasonKind::Blocked);
    assert!(
        first("flagged").1.contains("throttled (in caption_brief)"),
        "{:?}",
        first("flagged")
    );
    assert_eq!(first("silent").0, ReasonKind::Missing);
    assert!(
        first("silent").1.contains("the server counts no tokens"),
        "{:?}",
        first("silent")
    );
    assert_eq!(first("rare").0, ReasonKind::TooFew);
    assert!(
        first("rare").1.contains("needs 1 more repetition "),
        "{:?}",
        first("rare")
    );
    assert_eq!(first("partial").0, ReasonKind::MissingTask);
    assert!(first("partial").1.contains("attributes"));
}

#[test]
fn energies_are_of_one_scope_and_who_lacks_it_is_excluded() {
    let text = FOR_SPEED.replace("\"output_tps\"\n    across", "\"j_per_image\"\n    across");
    assert_ne!(text, FOR_SPEED);
    let rail = |report: &mut RunReport| powered(report, Scope::GpuRail, 5.0);
    let runs = [
        with(three(1, "a", 20.0), module(20.0)),
        with(three(4, "b", 20.0), module(10.0)),
        with(three(7, "c", 20.0), rail),
        three(10, "d", 20.0),
    ]
    .concat();
    let error = ask(&runs, &text).unwrap_err().to_string();
    assert!(
        error.contains("module (2 cells) or gpu_rail (1 cells)")
            || error.contains("gpu_rail (1 cells) or module (2 cells)"),
        "{error}"
    );
    let chosen = text.replace("choose = ", "scope = \"module\"\n    choose = ");
    let answer = ask(&runs, &chosen).unwrap();
    assert_eq!(devices(&answer), [("b", 1), ("a", 2)]);
    assert_eq!(answer.scope, Some(Scope::Module));
    let other = &reasons(&answer, "c")[0];
    assert!(
        other.1.contains("it has power for gpu_rail only"),
        "{other:?}"
    );
    let none = &reasons(&answer, "d")[0];
    assert!(none.1.contains("no power sensor"), "{none:?}");
}

#[test]
fn models_are_weighed_by_pictures_not_by_tokens() {
    let text = FOR_SPEED.replace("[\"precision\"]", "[\"precision\", \"model\"]");
    let other = |report: &mut RunReport| {
        report.cell.identity.model = "other".to_owned();
        report.totals.insert("images".to_owned(), 300.0);
    };
    let runs = [three(1, "a", 50.0), with(three(4, "a", 20.0), other)].concat();
    let answer = ask(&runs, &text).unwrap();
    assert_eq!(answer.use_case.objective[0].metric, "images_per_s");
    assert_eq!(answer.recommended[0].key["model"], "other");
    assert!(
        answer
            .notes
            .iter()
            .any(|note| note.contains("what a token is")),
        "{:?}",
        answer.notes
    );
    let without = text.replace("across_models = \"images_per_s\"", "");
    let error = ask(&runs, &without).unwrap_err().to_string();
    assert!(error.contains("`output_tps` counts tokens"), "{error}");
}

#[test]
fn tokens_of_several_models_stand_beside_nothing_and_limit_nobody() {
    let text = FOR_SPEED.replace("[\"precision\"]", "[\"precision\", \"model\"]");
    let other = |report: &mut RunReport| report.cell.identity.model = "other".to_owned();
    let runs = [three(1, "a", 50.0), with(three(4, "a", 40.0), other)].concat();
    let answer = ask(&runs, &text).unwrap();
    let first = &answer.recommended[0];
    assert!(!first.figures.contains_key("output_tps"), "{first:?}");
    assert_eq!(first.on_front, None, "a front of one axis is none");
    let limited = text
        .replace("request_latency.p90", "output_tps")
        .replace("at_most", "at_least");
    let error = ask(&runs, &limited).unwrap_err().to_string();
    assert!(
        error.contains("the limit on `output_tps` counts tokens"),
        "{error}"
    );
    assert!(ask(&three(1, "a", 50.0), &limited).is_ok());
}

#[test]
fn repetitions_of_tasks_are_joined_by_their_number() {
    let numbered = |runs: Vec<RankedRun>, numbers: [u32; 3]| -> Vec<RankedRun> {
        let mut runs = runs;
        for (run, number) in runs.iter_mut().zip(numbers) {
            run.report.repetition = number;
        }
        runs
    };
    let scene = with(three(4, "a", 30.0), task("scene_context"));
    let all = [three(1, "a", 50.0), numbered(scene.clone(), [1, 2, 3])].concat();
    assert_eq!(devices(&ask(&all, FOR_SPEED).unwrap()), [("a", 1)]);
    // Of the second task the first repetition is missing: two are of both.
    let some = [three(1, "a", 50.0), numbered(scene, [2, 3, 4])].concat();
    let answer = ask(&some, FOR_SPEED).unwrap();
    let reasons = reasons(&answer, "a");
    assert_eq!(reasons[0].0, ReasonKind::TooFew);
    assert!(
        reasons[0].1.starts_with("2 of 3 repetitions"),
        "{reasons:?}"
    );
}

#[test]
fn what_may_not_be_chosen_must_be_the_same() {
    let large = |report: &mut RunReport| report.cell.identity.image_px = Some(512);
    let runs = [three(1, "a", 20.0), with(three(4, "b", 20.0), large)].concat();
    let error = ask(&runs, FOR_SPEED).unwrap_err().to_string();
    assert!(
        error.contains("image_px has several values (512, 96)"),
        "{error}"
    );
    assert!(error.contains("--where 'image_px=512'"), "{error}");
}

/// Half speed, half of the reciprocal of energy.
const COMPOSITE: &str = r#"
    form = 1
    name = "both"
    version = 1
    question = "Who is good at both?"
    choose = []
    scope = "module"
    front = ["images_per_s", "j_per_image", "quality"]
    [[objective]]
    metric = "output_tps"
    [[objective]]
    metric = "j_per_image"
"#;

#[test]
fn a_score_is_the_weighted_geometric_mean_as_a_multiple_of_the_best() {
    // 20 tok/s at 20 W and 40 tok/s at 10 W: √(2 · 2) = 2 times the score.
    let runs = [
        with(three(1, "a", 20.0), module(20.0)),
        with(three(4, "b", 40.0), module(10.0)),
    ]
    .concat();
    let answer = ask(&runs, COMPOSITE).unwrap();
    assert_eq!(devices(&answer), [("b", 1), ("a", 2)]);
    assert_eq!(answer.recommended[0].value, 1.0);
    assert!((answer.recommended[1].value - 0.5).abs() < 1e-6);
    let weights: Vec<f64> = answer
        .use_case
        .objective
        .iter()
        .map(|term| term.weight)
        .collect();
    assert_eq!(weights, [0.5, 0.5]);
    assert!((answer.recommended[1].terms[1].value.unwrap() - 20.0).abs() < 1e-6);
}

#[test]
fn a_third_candidate_does_not_change_how_two_stand_to_each_other() {
    let two = [
        with(three(1, "a", 20.0), module(20.0)),
        with(three(4, "b", 30.0), module(18.0)),
    ]
    .concat();
    let three = [two.clone(), with(three(7, "c", 90.0), module(30.0))].concat();
    let ratio = |answer: &Recommendation| {
        let value = |device: &str| {
            let of = |one: &&Recommended| one.key["device"] == device;
            answer.recommended.iter().find(of).unwrap().value
        };
        value("a") / value("b")
    };
    let (before, after) = (
        ask(&two, COMPOSITE).unwrap(),
        ask(&three, COMPOSITE).unwrap(),
    );
    assert!((ratio(&before) - ratio(&after)).abs() < 1e-12);
}

#[test]
fn the_front_is_what_nothing_beats_on_every_axis() {
    let of = |first: u8, device: &str, images: f64, watts: f64, share: f64| {
        let runs = with(three(first, device, 20.0), |report| {
            report.totals.insert("images".to_owned(), images);
        });
        with(with(runs, module(watts)), quality(share))
    };
    let runs = [
        of(1, "fast", 400.0, 40.0, 0.5),
        of(4, "frugal", 100.0, 5.0, 0.5),
        of(7, "right", 100.0, 20.0, 0.9),
        of(10, "beaten", 90.0, 20.0, 0.5),
        with(three(13, "unlabelled", 20.0), module(20.0)),
    ]
    .concat();
    let answer = ask(&runs, COMPOSITE).unwrap();
    let front: BTreeMap<&str, Option<bool>> = answer
        .recommended
        .iter()
        .map(|one| (one.key["device"].as_str(), one.on_front))
        .collect();
    let want = [
        ("beaten", Some(false)),
        ("fast", Some(true)),
        ("frugal", Some(true)),
        ("right", Some(true)),
        ("unlabelled", None),
    ];
    assert_eq!(front, BTreeMap::from(want));
}

#[test]
fn quality_is_each_tasks_own_score() {
    let text = shipped("detailed-understanding").unwrap().text;
    let counts = |share: f64| {
        move |report: &mut RunReport| {
            report.cell.identity.task = "objects_and_counts".to_owned();
            report.quality.insert("counts_f1".to_owned(), Some(share));
        }
    };
    let runs = [
        with(three(1, "a", 20.0), quality(0.9)),
        with(three(4, "a", 20.0), counts(0.5)),
        with(three(7, "b", 20.0), quality(0.6)),
        with(three(10, "b", 20.0), counts(0.6)),
        three(13, "c", 20.0),
        with(three(16, "c", 20.0), task("objects_and_counts")),
    ]
    .concat();
    let answer = ask(&runs, text).unwrap();
    assert_eq!(devices(&answer), [("a", 1), ("b", 2)]);
    assert!((answer.recommended[0].value - 0.7).abs() < 1e-12);
    assert_eq!(reasons(&answer, "c")[0].0, ReasonKind::Missing);
}

#[test]
fn every_shipped_use_case_answers_a_fleet() {
    let complete = |runs: Vec<RankedRun>| {
        let runs = with(with(runs, module(20.0)), quality(0.8));
        with(runs, |report| {
            let cv = tokwatt_domain::metrics::MetricValue::Number(
                0.1 + report.totals["completion_tokens"] * 1e-5,
            );
            report.metrics.insert("cv_requests".to_owned(), Some(cv));
            report
                .metrics
                .insert("output_chars".to_owned(), Some(times(80.0)));
        })
    };
    let runs = [complete(three(1, "a", 20.0)), complete(three(4, "b", 40.0))].concat();
    for shipped in SHIPPED {
        let answer = ask(&runs, shipped.text).unwrap();
        assert_eq!(
            answer.recommended.len(),
            2,
            "{}: {:?}",
            shipped.name,
            answer.excluded
        );
    }
}

#[test]
fn what_nobody_has_gives_way_and_the_answer_says_so() {
    let chars = |n: f64| {
        move |report: &mut RunReport| {
            report
                .metrics
                .insert("output_chars".to_owned(), Some(times(n)));
        }
    };
    let runs = [
        with(with(three(1, "a", 20.0), chars(100.0)), module(20.0)),
        with(with(three(4, "b", 20.0), chars(200.0)), module(40.0)),
    ]
    .concat();
    let answer = ask(&runs, shipped("detailed-understanding").unwrap().text).unwrap();
    assert_eq!(answer.use_case.objective[0].metric, "output_chars");
    assert_eq!(devices(&answer)[0], ("b", 1));
    let said = |answer: &Recommendation| answer.notes.join(" ");
    assert!(
        said(&answer).contains("nobody has `quality`: `output_chars` decides"),
        "{}",
        said(&answer)
    );
    let answer = ask(&runs, shipped("balanced").unwrap().text).unwrap();
    let weights: Vec<f64> = answer
        .use_case
        .objective
        .iter()
        .map(|term| term.weight)
        .collect();
    assert_eq!(weights.len(), 2);
    assert!(
        (weights.iter().sum::<f64>() - 1.0).abs() < 1e-12,
        "{weights:?}"
    );
    assert!(
        said(&answer).contains("nobody has `quality`: it is left out"),
        "{}",
        said(&answer)
    );
}

#[test]
fn energies_that_only_stand_beside_need_no_scope() {
    let rail = |report: &mut RunReport| powered(report, Scope::GpuRail, 5.0);
    let runs = [
        with(three(1, "a", 20.0), module(20.0)),
        with(three(4, "b", 40.0), rail),
    ]
    .concat();
    let answer = ask(&runs, shipped("batch-throughput").unwrap().text).unwrap();
    assert_eq!(answer.recommended.len(), 2);
    let axes: Vec<&str> = answer
        .use_case
        .front
        .iter()
        .map(|axis| axis.metric.as_str())
        .collect();
    assert_eq!(axes, [""; 0], "one axis is no front");
    assert!(
        answer
            .notes
            .iter()
            .any(|note| note.contains("choose one to see them")),
        "{:?}",
        answer.notes
    );
}

#[test]
fn the_order_of_arrival_changes_not_one_byte() {
    let mut runs = [three(1, "a", 30.0), three(4, "b", 30.0), three(7, "c", 5.0)].concat();
    let json = |runs: &[RankedRun]| serde_json::to_string(&ask(runs, FOR_SPEED).unwrap()).unwrap();
    let first = json(&runs);
    runs.reverse();
    assert_eq!(first, json(&runs));
    runs.swap(2, 6);
    assert_eq!(first, json(&runs));
}

#[test]
fn a_recommendation_is_as_its_schema_says() {
    let runs = [
        with(three(1, "a", 30.0), module(20.0)),
        with(three(4, "b", 20.0), module(20.0)),
        three(7, "c", 5.0),
    ]
    .concat();
    let text = COMPOSITE.replace(
        "[[objective]]\n    metric = \"output_tps\"",
        "[[limit]]\n    metric = \"success_rate\"\n    at_least = 0.9\n    [[objective]]\n    metric = \"output_tps\"",
    );
    let answer = ask(&runs, &text).unwrap();
    assert_eq!((answer.recommended.len(), answer.excluded.len()), (2, 1));
    let open = ["/fixed", "/key", "/figures"];
    check_schema(tokwatt_proto::documents::RECOMMEND_SCHEMA, &answer, &open);
}
