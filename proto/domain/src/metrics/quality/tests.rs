//! Answers of all forms against scenes with known truth.

use proptest::prelude::*;

use super::*;
use crate::{
    metrics::example,
    run::{FailureClass, Outcome},
    workload::{
        KeyFact, SceneObject,
        json::{Json, Schema},
    },
};

fn object(words: &str, x: u16, y: u16) -> SceneObject {
    let words: Vec<&str> = words.split(' ').collect();
    SceneObject {
        size: words[0].to_owned(),
        color: words[1].to_owned(),
        kind: words[2].to_owned(),
        x,
        y,
        radius: 70,
    }
}

fn scene_of(place: &str, time: &str, weather: &str, objects: &[SceneObject]) -> Truth {
    Truth::Scene(SceneTruth {
        place: place.to_owned(),
        time: time.to_owned(),
        weather: weather.to_owned(),
        objects: objects.to_vec(),
    })
}

/// The first scene of the tiny model's samples.
fn beach() -> Truth {
    let objects = [
        object("large blue tree", 197, 529),
        object("large black ball", 458, 681),
        object("small blue tree", 504, 371),
    ];
    scene_of("beach", "night", "cloudy", &objects)
}

fn room() -> Truth {
    scene_of(
        "room",
        "day",
        "indoors",
        &[object("small red box", 900, 100)],
    )
}

fn nothing() -> Truth {
    scene_of("snow", "day", "clear", &[])
}

#[track_caller]
fn check(scoring: Scoring, truth: &Truth, answer: &str, want: &[f64]) {
    let score = score(scoring, answer, truth).unwrap();
    let got: Vec<f64> = score.values.iter().map(|(_, value)| *value).collect();
    let is_near = |(got, want): (&f64, &f64)| (got - want).abs() < 1e-12;
    assert!(
        got.len() == want.len() && got.iter().zip(want).all(is_near),
        "`{answer}`: {:?}, want {want:?}",
        score.values
    );
}

#[track_caller]
fn check_correct(scoring: Scoring, truth: &Truth, answer: &str, want: bool) {
    let score = score(scoring, answer, truth).unwrap();
    assert_eq!(score.is_correct, Some(want), "`{answer}`: {score:?}");
}

#[test]
fn right_answers_have_the_form_that_the_prompts_ask_for() {
    for (scoring, want) in [
        (
            Scoring::Caption,
            "A cloudy beach at night with two blue trees and one black ball.",
        ),
        (Scoring::Counts, "ball: 1, tree: 2"),
        (
            Scoring::Attributes,
            "large blue tree, large black ball, small blue tree",
        ),
        (
            Scoring::Spatial,
            "The blue tree is left of the black ball. The black ball is below the blue tree.",
        ),
        (
            Scoring::SceneContext,
            "place: beach, time: night, weather: cloudy",
        ),
    ] {
        assert_eq!(canonical_answer(scoring, &beach()).unwrap(), want);
    }
    assert_eq!(canonical_answer(Scoring::Direct, &beach()), None);
    assert_eq!(
        canonical_answer(Scoring::Spatial, &room()).unwrap(),
        "The red box is at the top right."
    );
    assert_eq!(
        canonical_answer(Scoring::Caption, &room()).unwrap(),
        "A room during the day with one red box."
    );
    assert_eq!(
        canonical_answer(Scoring::Caption, &nothing()).unwrap(),
        "A clear snowy field during the day."
    );
    assert_eq!(
        canonical_answer(Scoring::Counts, &nothing()).unwrap(),
        "none"
    );
}

#[test]
fn counts_are_read_in_many_forms() {
    for answer in [
        "ball: 1, tree: 2",
        "Trees: 2; Balls: 1",
        "{\"ball\": 1, \"tree\": 2}",
        "```json\n{\n  \"tree\": 2,\n  \"ball\": 1\n}\n```",
        "[{\"object\": \"ball\", \"count\": 1}, {\"object\": \"tree\", \"count\": 2}]",
        "There are two blue trees and a black ball.",
        "1 sphere, 2 trees, 0 cars",
        "- tree (2)\n- ball (1)",
        "ball: 1, tree: 1, tree: 1",
    ] {
        check(Scoring::Counts, &beach(), answer, &[1.0, 1.0]);
    }
}

#[test]
fn counts_score_pairs_not_kinds() {
    check(Scoring::Counts, &beach(), "ball: 1, tree: 3", &[0.5, 0.0]);
    check(Scoring::Counts, &beach(), "ball: 1", &[2.0 / 3.0, 0.0]);
    check(
        Scoring::Counts,
        &beach(),
        "ball: 1, tree: 2, dog: 1",
        &[0.8, 0.0],
    );
    check(Scoring::Counts, &beach(), "none", &[0.0, 0.0]);
    check(Scoring::Counts, &beach(), "I cannot see", &[0.0, 0.0]);
}

#[test]
fn nothing_said_of_nothing_there_is_right() {
    for answer in ["", "none", "{}", "No objects."] {
        check(Scoring::Counts, &nothing(), answer, &[1.0, 1.0]);
        check(Scoring::Attributes, &nothing(), answer, &[1.0, 1.0]);
        check(Scoring::Spatial, &nothing(), answer, &[1.0]);
        check(Scoring::Counts, &beach(), answer, &[0.0, 0.0]);
        check(Scoring::Spatial, &beach(), answer, &[0.0]);
    }
    check(Scoring::Counts, &nothing(), "ball: 1", &[0.0, 0.0]);
    check(Scoring::Counts, &nothing(), "what a question", &[0.0, 0.0]);
}

#[test]
fn attributes_are_read_in_many_forms() {
    for answer in [
        "small blue tree, large blue tree, large black ball",
        "Small blue tree; big blue trees. A large, black ball",
        "The ball is large and black, the tree is blue and large, the small tree is blue.",
        "[{\"size\": \"large\", \"color\": \"blue\", \"object\": \"tree\"}, {\"object\": \"ball\", \"size\": \"large\", \"color\": \"black\"}, \
         {\"object\": \"tree\", \"color\": \"blue\", \"size\": \"small\"}]",
    ] {
        check(Scoring::Attributes, &beach(), answer, &[1.0, 1.0]);
    }
    let twins = scene_of(
        "room",
        "day",
        "indoors",
        &[
            object("small red box", 100, 100),
            object("small red box", 500, 100),
        ],
    );
    check(
        Scoring::Attributes,
        &twins,
        "two small red boxes",
        &[1.0, 1.0],
    );
    check(
        Scoring::Attributes,
        &twins,
        "small red box",
        &[2.0 / 3.0, 0.0],
    );
}

#[test]
fn an_attribute_left_out_is_not_right() {
    check(Scoring::Attributes, &room(), "red box", &[0.0, 0.0]);
    check(
        Scoring::Attributes,
        &room(),
        "small red box, small red dog",
        &[2.0 / 3.0, 0.0],
    );
    check(
        Scoring::Attributes,
        &beach(),
        "large blue tree, large blue tree, large black ball",
        &[2.0 / 3.0, 0.0],
    );
}

#[test]
fn relations_are_true_of_things_that_are_there() {
    check(
        Scoring::Spatial,
        &beach(),
        "The ball is below the small tree.",
        &[1.0],
    );
    check(
        Scoring::Spatial,
        &beach(),
        "The black ball is to the right of the large tree and under the small tree.",
        &[1.0],
    );
    check(
        Scoring::Spatial,
        &beach(),
        "The ball is above the tree.",
        &[0.0],
    );
    // A car is not there, and neither is a red ball.
    check(
        Scoring::Spatial,
        &beach(),
        "The ball is left of the car. The red ball is below the tree.",
        &[0.0],
    );
    check(
        Scoring::Spatial,
        &beach(),
        "The ball is right of the large tree. The ball is above the small tree.",
        &[0.5],
    );
    check(
        Scoring::Spatial,
        &beach(),
        "The ball is left of the moon.",
        &[0.0],
    );
    // One thing is not left of itself.
    check(
        Scoring::Spatial,
        &beach(),
        "The ball is left of the ball.",
        &[0.0],
    );
    check(
        Scoring::Spatial,
        &room(),
        "The box is in the upper right corner.",
        &[1.0],
    );
    check(
        Scoring::Spatial,
        &room(),
        "The box is in the middle.",
        &[0.0],
    );
}

#[test]
fn a_correct_layout_names_everything() {
    let whole = canonical_answer(Scoring::Spatial, &beach()).unwrap();
    check_correct(Scoring::Spatial, &beach(), &whole, true);
    check_correct(
        Scoring::Spatial,
        &beach(),
        "The small tree is right of the large tree.",
        false,
    );
}

#[test]
fn captions_name_facts_by_count_colour_and_kind() {
    // Five facts: beach, night, cloudy, two blue trees, one black ball.
    check(
        Scoring::Caption,
        &beach(),
        "A cloudy beach at night with two blue trees and a black ball.",
        &[1.0, 0.0],
    );
    check(
        Scoring::Caption,
        &beach(),
        "Two blue trees on a beach.",
        &[0.4, 0.0],
    );
    // Not wrong, but not all that there is to say.
    check(
        Scoring::Caption,
        &beach(),
        "A beach with two trees.",
        &[0.2, 0.0],
    );
    check(
        Scoring::Caption,
        &beach(),
        "A beach with three blue trees and a red ball.",
        &[0.2, 2.0 / 3.0],
    );
    check(Scoring::Caption, &beach(), "A sunny desert.", &[0.0, 1.0]);
    check(Scoring::Caption, &beach(), "Something nice.", &[0.0, 0.0]);
    check(Scoring::Caption, &beach(), "", &[0.0, 0.0]);
}

#[test]
fn nobody_has_to_say_that_a_room_is_indoors() {
    for answer in [
        "A room during the day with one red box.",
        "Indoors, a room by day with one red box",
    ] {
        check(Scoring::Caption, &room(), answer, &[1.0, 0.0]);
    }
    check(
        Scoring::Caption,
        &room(),
        "A rainy room during the day with one red box.",
        &[1.0, 0.25],
    );
    check(
        Scoring::SceneContext,
        &room(),
        "place: room, time: day, weather: indoors",
        &[1.0, 0.0],
    );
}

#[test]
fn scene_context_is_read_in_many_forms() {
    for answer in [
        "place: beach, time: night, weather: cloudy",
        "{\"place\": \"beach\", \"time\": \"night\", \"weather\": \"overcast\"}",
        "A cloudy beach at night.",
        "Place: Beach\nTime of day: Night\nWeather: Cloudy",
    ] {
        check(Scoring::SceneContext, &beach(), answer, &[1.0, 0.0]);
        check_correct(Scoring::SceneContext, &beach(), answer, true);
    }
    check(
        Scoring::SceneContext,
        &beach(),
        "place: mall, time: night",
        &[1.0 / 3.0, 0.5],
    );
    check(
        Scoring::SceneContext,
        &beach(),
        "beach or desert, night, cloudy",
        &[1.0, 0.25],
    );
    check_correct(
        Scoring::SceneContext,
        &beach(),
        "beach or desert, night, cloudy",
        false,
    );
    check(Scoring::SceneContext, &beach(), "no idea", &[0.0, 0.0]);
}

#[test]
fn a_direct_answer_names_one_choice() {
    let truth = |expected: &str, choices: &[&str]| Truth::Answer {
        expected: expected.to_owned(),
        choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
    };
    let side = truth("right", &["left", "right"]);
    for (answer, want) in [
        ("right", 1.0),
        ("Right.", 1.0),
        ("It is right of the box.", 1.0),
        ("left", 0.0),
        ("left or right", 0.0),
        ("above", 0.0),
        ("", 0.0),
    ] {
        check(Scoring::Direct, &side, answer, &[want]);
    }
    check(
        Scoring::Direct,
        &truth("top left", &["top left", "left"]),
        "at the top left",
        &[1.0],
    );
    check(Scoring::Direct, &truth("2", &[]), "There are two.", &[1.0]);
    check(Scoring::Direct, &truth("2", &[]), "3", &[0.0]);
    assert_eq!(score(Scoring::Direct, "2", &beach()), None);
    assert_eq!(score(Scoring::Counts, "2", &side), None);
}

#[test]
fn own_labels_bring_their_own_words() {
    let kitchen = scene_of(
        "kitchen",
        "morning",
        "indoors",
        &[
            object("huge teal kettle", 100, 100),
            object("small red automobile", 500, 500),
        ],
    );
    for scoring in [
        Scoring::Caption,
        Scoring::Counts,
        Scoring::Attributes,
        Scoring::Spatial,
        Scoring::SceneContext,
    ] {
        let answer = canonical_answer(scoring, &kitchen).unwrap();
        let score = score(scoring, &answer, &kitchen).unwrap();
        assert_eq!(score.values[0].1, 1.0, "{answer}: {score:?}");
    }
    check(Scoring::Counts, &kitchen, "car: 1, kettles: 1", &[1.0, 1.0]);
}

/// One request for each truth and answer.
fn run(scoring: Scoring, answers: &[(Truth, &str)]) -> RunTrace {
    let request = |(index, (truth, answer)): (u32, &(Truth, &str))| {
        let mut request = example::request(index, u64::from(index), &[1], 5, 5);
        request.truth = Some(truth.clone());
        request.answer = (*answer).to_owned();
        request
    };
    let mut trace = example::run((0..).zip(answers).map(request).collect());
    trace.header.scoring = Some(scoring);
    trace
}

#[test]
fn failed_answers_score_nothing() {
    let mut trace = run(Scoring::Counts, &[(room(), "box: 1"), (room(), "box: 1")]);
    trace.segments[0].requests[1].outcome = Outcome::Failed {
        class: FailureClass::Timeout,
        message: String::new(),
    };
    let quality = quality(&trace);
    assert_eq!(quality.scores["counts_f1"], Some(0.5));
    assert_eq!(quality.correct_answers, Some(1));
    assert_eq!(quality.bad_outputs, Some(0));
}

#[test]
fn pictures_count_the_same_however_often_they_were_asked() {
    let mut trace = run(
        Scoring::Counts,
        &[
            (room(), "box: 1"),
            (room(), "car"),
            (room(), "car"),
            (room(), "car"),
        ],
    );
    for request in &mut trace.segments[0].requests[1..] {
        request.item = "another".to_owned();
    }
    assert_eq!(quality(&trace).scores["counts_f1"], Some(0.5));
}

#[test]
fn bad_outputs_are_those_without_the_form() {
    let answers = [
        (room(), "box: 1"),
        (room(), "I cannot see it"),
        (room(), " "),
        (room(), "car: 7"),
    ];
    assert_eq!(
        quality(&run(Scoring::Counts, &answers)).bad_outputs,
        Some(2)
    );
}

#[test]
fn without_truth_there_is_length_and_no_quality() {
    let mut trace = run(Scoring::Counts, &[(room(), "box: 1")]);
    trace.segments[0].requests[0].truth = None;
    let unlabelled = quality(&trace);
    assert!(unlabelled.scores.is_empty());
    assert_eq!(
        unlabelled.reasons["quality"],
        "the truth about no question is known"
    );
    trace.header.scoring = None;
    assert_eq!(
        quality(&trace).reasons["quality"],
        "the suite states no scoring"
    );
}

#[test]
fn a_constant_answer_is_the_best_of_the_right_ones() {
    let ball = scene_of(
        "room",
        "day",
        "indoors",
        &[object("small red ball", 100, 100)],
    );
    let answers = [(room(), ""), (room(), ""), (ball, "")];
    let scores = quality(&run(Scoring::Counts, &answers)).scores;
    assert_eq!(scores["counts_f1"], Some(0.0));
    assert_eq!(scores["counts_f1.constant"], Some(2.0 / 3.0));
    assert_eq!(scores["counts_exact.constant"], Some(2.0 / 3.0));
    // The next picture's answer is right for one of the three.
    assert_eq!(scores["counts_f1.grammar"], Some(1.0 / 3.0));
}

#[test]
fn a_layout_guessed_from_the_alphabet_is_right_half_of_the_time() {
    let pair = |left: &str, right: &str| {
        scene_of(
            "room",
            "day",
            "indoors",
            &[object(left, 100, 500), object(right, 900, 500)],
        )
    };
    let (straight, reversed) = (
        pair("small black ball", "small red box"),
        pair("small red box", "small black ball"),
    );
    let scores = quality(&run(Scoring::Spatial, &[(straight, ""), (reversed, "")])).scores;
    assert_eq!(scores["spatial_true.grammar"], Some(0.5));
}

#[test]
fn one_picture_has_no_next_one() {
    let quality = quality(&run(Scoring::Counts, &[(room(), "box: 1")]));
    assert_eq!(quality.scores["counts_f1.grammar"], None);
    assert_eq!(
        quality.reasons["counts_f1.grammar"],
        "takes more than one picture"
    );
    assert_eq!(quality.scores["counts_f1.constant"], Some(1.0));
}

#[test]
fn right_answers_that_take_turns_are_no_gift_to_a_blind_answer() {
    let side = |expected: &str| Truth::Answer {
        expected: expected.to_owned(),
        choices: ["left", "right"].map(str::to_owned).to_vec(),
    };
    let turns = ["left", "right"].repeat(4);
    let answers: Vec<(Truth, &str)> = turns.iter().map(|word| (side(word), "left")).collect();
    let quality = quality(&run(Scoring::Direct, &answers));
    assert_eq!(quality.scores["direct_exact.grammar"], Some(0.5));
    assert_eq!(quality.scores["direct_exact.constant"], Some(0.5));
}

#[test]
fn the_fingerprint_holds_the_words_and_the_version() {
    let text = fingerprint(OF_SCENES.into_iter());
    assert!(
        text.starts_with("tokwatt.quality/1\n") && text.contains("cube=Kind(\"box\")"),
        "{text}"
    );
}

fn facts(names: &[&[&str]]) -> Truth {
    let fact = |names: &&[&str]| KeyFact(names.iter().map(|&name| name.to_owned()).collect());
    Truth::Facts(names.iter().map(fact).collect())
}

fn order() -> Truth {
    let schema: Schema = serde_json::from_str(
        r#"{"type": "object", "required": ["customer", "items"], "properties": {"customer": {"type": "string"}, "items": {"type": "array", "items": {"type": "integer"}}}}"#,
    )
    .unwrap();
    let answer = Json::parse(r#"{"customer": "Müller GmbH", "items": [3, 5, 8]}"#).unwrap();
    Truth::Json { schema, answer }
}

#[test]
fn a_number_is_right_within_its_tolerance() {
    let truth = Truth::Number {
        value: 42.0,
        tolerance: 2.0,
    };
    let check = |answer, want| check(Scoring::Number, &truth, answer, &[want]);
    check("42", 1.0);
    check("The revenue in month 3 was 44 thousand euros.", 1.0);
    check("39.9", 0.0);
    check("It was high.", 0.0);
    let few = Truth::Number {
        value: 3.0,
        tolerance: 0.0,
    };
    check_correct(Scoring::Number, &few, "In three months.", true);
    check_correct(
        Scoring::Number,
        &few,
        "In three months, 4 to be exact.",
        false,
    );
}

#[test]
fn facts_are_named_by_any_of_their_names() {
    let truth = facts(&[&["TON", "*einschaltverzögerung*"], &["Startmerker"]]);
    let check = |answer, want| check(Scoring::Facts, &truth, answer, &[want]);
    check("Die Einschaltverzoegerung wartet.", 0.5);
    check("TON, startmerker", 1.0);
    check("Tonne", 0.0);
    check("", 0.0);
    check_correct(Scoring::Facts, &truth, "ton und STARTMERKER", true);
    check_correct(Scoring::Facts, &truth, "ton", false);
}

#[test]
fn a_program_is_looked_at_in_its_block_only() {
    let truth = facts(&[&["is_prime"], &["return"]]);
    let check = |answer, want| check(Scoring::CodeFacts, &truth, answer, &[want]);
    check("```python\ndef is_prime(n):\n    return n > 1\n```", 1.0);
    check("is_prime does return:\n```\npass\n```", 0.0);
    check("def is_prime(n): return n > 1", 0.0);
}

#[test]
fn a_document_counts_by_its_form_and_by_its_values() {
    let truth = order();
    let check = |answer, want: [f64; 2]| check(Scoring::Json, &truth, answer, &want);
    check(
        r#"{"customer": "mueller gmbh", "items": [3, 5, 8]}"#,
        [1.0, 1.0],
    );
    check(
        "Here it is:\n```json\n{\"customer\": \"Müller GmbH\", \"items\": [3, 5, 8]}\n```",
        [1.0, 1.0],
    );
    check(
        r#"{"customer": "Müller GmbH", "items": [3, 5]}"#,
        [0.75, 1.0],
    );
    check(
        r#"{"customer": "Müller GmbH", "items": [3, 5, 8, 9]}"#,
        [0.8, 1.0],
    );
    check(r#"{"customer": "Müller GmbH"}"#, [0.25, 0.0]);
    check(r#"{"customer": 1, "items": [3, 5, 8]}"#, [0.75, 0.0]);
    check(
        r#"It is {"customer": "Müller GmbH", "items": [3, 5, 8]}"#,
        [0.0, 0.0],
    );
    check("[]", [0.0, 0.0]);
}

#[test]
fn stated_answers_stand_beside_answers_that_did_not_look() {
    let number = |value| Truth::Number {
        value,
        tolerance: 0.0,
    };
    let truths = [number(7.0), number(7.0), number(8.0), number(9.0)];
    for (scoring, truths, want) in [
        (Scoring::Number, truths, [0.5, 0.25]),
        (
            Scoring::Facts,
            [
                facts(&[&["a*"], &["b"]]),
                facts(&[&["b"]]),
                facts(&[&["b"], &["c"]]),
                facts(&[&["d"]]),
            ],
            [0.625, 0.375],
        ),
    ] {
        let answers = truths.map(|truth| (truth.clone(), canonical_answer(scoring, &truth)));
        let answers: Vec<(Truth, &str)> = answers
            .iter()
            .map(|(truth, answer)| (truth.clone(), answer.as_deref().unwrap()))
            .collect();
        let quality = quality(&run(scoring, &answers));
        let id = ids(scoring)[0];
        let score = |suffix: &str| quality.scores[&format!("{id}{suffix}")].unwrap();
        assert_eq!(score(""), 1.0);
        assert_eq!([score(".constant"), score(".grammar")], want, "{id}");
        assert_eq!(quality.correct_answers, Some(4));
    }
}

#[test]
fn a_task_that_is_not_scored_has_no_quality_and_says_so() {
    let quality = quality(&run(Scoring::None, &[(room(), "box: 1")]));
    assert!(quality.scores.is_empty());
    assert_eq!(
        quality.reasons["quality"],
        "answers of this task are not scored"
    );
    assert_eq!((quality.correct_answers, quality.bad_outputs), (None, None));
}

#[test]
fn a_truth_of_another_kind_scores_nothing() {
    for scoring in [Scoring::Number, Scoring::CodeFacts, Scoring::None] {
        assert_eq!(score(scoring, "3", &order()), None);
    }
    assert_eq!(score(Scoring::Counts, "ball: 3", &order()), None);
}

#[test]
fn a_way_of_scoring_that_is_not_used_changes_no_fingerprint() {
    let scenes = fingerprint(OF_SCENES.into_iter());
    assert_eq!(scenes, fingerprint([Scoring::Direct].into_iter()));
    assert_eq!(
        fingerprint([Scoring::Json, Scoring::None, Scoring::Json].into_iter()),
        "tokwatt.quality.json/1"
    );
    let both = fingerprint([Scoring::Facts, Scoring::Caption].into_iter());
    assert_eq!(both, format!("tokwatt.quality.facts/1\n{scenes}"));
}

/// Scenes as the suite draws them: left to right.
fn any_scene() -> impl Strategy<Value = Truth> {
    let word = |words: &'static [&'static str]| prop::sample::select(words);
    let object = (
        word(&["small", "large"]),
        word(&[
            "red", "green", "blue", "yellow", "orange", "purple", "white", "black",
        ]),
        word(&[
            "ball", "box", "car", "cone", "heart", "house", "ring", "star", "tree",
        ]),
        0..=1000_u16,
        0..=1000_u16,
    );
    let setting = (
        word(&["beach", "desert", "field", "room", "snow", "street"]),
        word(&["day", "sunset", "night"]),
        word(&["clear", "cloudy", "rainy"]),
    );
    (setting, prop::collection::vec(object, 0..8)).prop_map(
        |((place, time, weather), mut objects)| {
            objects.sort_by_key(|object| object.3);
            objects.dedup_by_key(|object| object.3);
            let objects: Vec<SceneObject> = objects
                .into_iter()
                .map(|(size, color, kind, x, y)| {
                    self::object(&format!("{size} {color} {kind}"), x, y)
                })
                .collect();
            scene_of(
                place,
                time,
                if place == "room" { "indoors" } else { weather },
                &objects,
            )
        },
    )
}

const OF_SCENES: [Scoring; 5] = [
    Scoring::Caption,
    Scoring::Counts,
    Scoring::Attributes,
    Scoring::Spatial,
    Scoring::SceneContext,
];

/// A truth for every scoring that is not about scenes.
fn any_stated() -> impl Strategy<Value = (Scoring, Truth)> {
    let word = || "[a-zäöüß_]{1,8}";
    let name = (any::<bool>(), word(), any::<bool>()).prop_map(|(before, word, after)| {
        let star = |is_open| if is_open { "*" } else { "" };
        format!("{}{word}a{}", star(before), star(after))
    });
    let names = prop::collection::vec(prop::collection::vec(name, 1..3), 1..4);
    let names = names.prop_map(|facts| Truth::Facts(facts.into_iter().map(KeyFact).collect()));
    let number = (-100_000..100_000_i32).prop_map(|thousandths| Truth::Number {
        value: f64::from(thousandths) / 1000.0,
        tolerance: 0.0,
    });
    let json = (prop::collection::vec(any::<i32>(), 0..4), word()).prop_map(|(items, text)| {
        let answer = format!(r#"{{"items": {items:?}, "text": "{text}", "none": null}}"#);
        Truth::Json {
            schema: Schema::default(),
            answer: Json::parse(&answer).unwrap(),
        }
    });
    prop_oneof![
        names.clone().prop_map(|truth| (Scoring::Facts, truth)),
        names.prop_map(|truth| (Scoring::CodeFacts, truth)),
        number.prop_map(|truth| (Scoring::Number, truth)),
        json.prop_map(|truth| (Scoring::Json, truth)),
    ]
}

proptest! {
    #[test]
    fn the_right_answer_to_a_stated_question_is_right((scoring, truth) in any_stated()) {
        let answer = canonical_answer(scoring, &truth).unwrap();
        let score = score(scoring, &answer, &truth).unwrap();
        prop_assert!(score.values.iter().all(|(_, value)| *value == 1.0), "`{}`: {:?}", answer, score);
        prop_assert_eq!(score.is_correct, Some(true));
    }

    #[test]
    fn any_answer_to_a_stated_question_scores_between_0_and_1(
        (scoring, truth) in any_stated(), answer in "\\PC{0,80}",
    ) {
        for (_, value) in score(scoring, &answer, &truth).unwrap().values {
            prop_assert!((0.0..=1.0).contains(&value));
        }
    }

    #[test]
    fn the_right_answer_is_right(truth in any_scene()) {
        for scoring in OF_SCENES {
            let answer = canonical_answer(scoring, &truth).unwrap();
            let score = score(scoring, &answer, &truth).unwrap();
            prop_assert_eq!(score.values[0].1, 1.0, "`{}`: {:?}", answer, score);
            prop_assert_ne!(score.is_correct, Some(false), "`{}`: {:?}", answer, score);
        }
    }

    #[test]
    fn any_text_scores_between_0_and_1(truth in any_scene(), answer in "\\PC{0,80}") {
        for scoring in OF_SCENES {
            for (_, value) in score(scoring, &answer, &truth).unwrap().values {
                prop_assert!((0.0..=1.0).contains(&value));
            }
        }
    }

    #[test]
    fn words_in_any_order_are_read(
        truth in any_scene(),
        words in prop::collection::vec(
            prop::sample::select(vec!["two", "red", "ball", ",", ".", "{", "}", "left of", "above", "small", "beach", "a", "size", ":"]), 0..30,
        ),
    ) {
        for scoring in OF_SCENES {
            for (_, value) in score(scoring, &words.join(" "), &truth).unwrap().values {
                prop_assert!((0.0..=1.0).contains(&value));
            }
        }
    }
}
