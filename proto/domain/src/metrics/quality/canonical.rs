//! The answer that says exactly what is true, in the form that the suite's prompts ask for.

use std::collections::BTreeMap;

use super::facts::third;
use crate::workload::{KeyFact, SceneObject, SceneTruth, Scoring, Truth};

/// The right answer in its plainest form; `None` if the truth is of another kind than the scoring.
///
/// Scenes without objects are answered with `none` where objects were asked for.
pub fn canonical_answer(scoring: Scoring, truth: &Truth) -> Option<String> {
    match (scoring, truth) {
        (Scoring::Direct, Truth::Answer { expected, .. }) => Some(expected.clone()),
        (Scoring::Number, Truth::Number { value, .. }) => Some(value.to_string()),
        (Scoring::Facts, Truth::Facts(facts)) => Some(naming(facts)),
        (Scoring::CodeFacts, Truth::Facts(facts)) => Some(format!("```\n{}\n```", naming(facts))),
        (Scoring::Json, Truth::Json { answer, .. }) => Some(answer.to_string()),
        (Scoring::Caption, Truth::Scene(scene)) => Some(caption(scene)),
        (Scoring::SceneContext, Truth::Scene(scene)) => Some(setting(scene)),
        (Scoring::Counts | Scoring::Attributes | Scoring::Spatial, Truth::Scene(scene))
            if scene.objects.is_empty() =>
        {
            Some("none".to_owned())
        }
        (Scoring::Counts, Truth::Scene(scene)) => Some(counts(scene)),
        (Scoring::Attributes, Truth::Scene(scene)) => Some(attributes(scene)),
        (Scoring::Spatial, Truth::Scene(scene)) => Some(spatial(scene)),
        _ => None,
    }
}

/// The first name of each fact.
fn naming(facts: &[KeyFact]) -> String {
    let names = facts.iter().filter_map(|fact| fact.0.first());
    let names: Vec<String> = names.map(|name| name.replace('*', "")).collect();
    names.join(", ")
}

/// How a thing is called in a sentence: `red ball`.
pub(super) fn name(object: &SceneObject) -> String {
    format!("{} {}", object.color, object.kind)
}

/// `A cloudy beach at night with two blue trees and one black ball.`
fn caption(scene: &SceneTruth) -> String {
    let weather = match scene.weather.as_str() {
        "indoors" => String::new(),
        weather => format!("{weather} "),
    };
    let place = match scene.place.as_str() {
        "field" => "grassy field",
        "snow" => "snowy field",
        place => place,
    };
    let time = match scene.time.as_str() {
        "day" => "during the day".to_owned(),
        time => format!("at {time}"),
    };
    let groups = groups(scene);
    let with = if groups.is_empty() {
        String::new()
    } else {
        format!(" with {}", list(&groups))
    };
    let start = format!("{weather}{place}");
    let article = if start.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "An"
    } else {
        "A"
    };
    format!("{article} {start} {time}{with}.")
}

/// `two blue trees`, in the order in which their first ones stand.
fn groups(scene: &SceneTruth) -> Vec<String> {
    let mut groups: Vec<(String, &SceneObject, usize)> = Vec::new();
    for object in &scene.objects {
        let name = name(object);
        match groups.iter_mut().find(|(other, ..)| *other == name) {
            Some((.., count)) => *count += 1,
            None => groups.push((name, object, 1)),
        }
    }
    let phrase = |(_, object, count): &(String, &SceneObject, usize)| {
        let kind = if *count == 1 {
            object.kind.clone()
        } else {
            plural(&object.kind)
        };
        format!("{} {} {kind}", number_word(*count), object.color)
    };
    groups.iter().map(phrase).collect()
}

fn list(parts: &[String]) -> String {
    match parts.split_last() {
        Some((last, front)) if !front.is_empty() => format!("{} and {last}", front.join(", ")),
        _ => parts.concat(),
    }
}

fn number_word(count: usize) -> String {
    const WORDS: [&str; 7] = ["zero", "one", "two", "three", "four", "five", "six"];
    WORDS
        .get(count)
        .map_or_else(|| count.to_string(), |word| (*word).to_owned())
}

fn plural(kind: &str) -> String {
    let takes_es = ["s", "x", "z", "ch", "sh"]
        .iter()
        .any(|ending| kind.ends_with(ending));
    format!("{kind}{}", if takes_es { "es" } else { "s" })
}

/// `ball: 1, tree: 2`, kinds in alphabetical order.
fn counts(scene: &SceneTruth) -> String {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for object in &scene.objects {
        *counts.entry(&object.kind).or_default() += 1;
    }
    let pairs: Vec<String> = counts
        .iter()
        .map(|(kind, count)| format!("{kind}: {count}"))
        .collect();
    pairs.join(", ")
}

/// `small red ball, large blue box`, from left to right.
fn attributes(scene: &SceneTruth) -> String {
    let phrase = |object: &SceneObject| format!("{} {}", object.size, name(object));
    let phrases: Vec<String> = scene.objects.iter().map(phrase).collect();
    phrases.join(", ")
}

/// `The red ball is left of the blue box. The blue box is below the car.`, each with its right neighbour, along the axis on which they are
/// further apart; a single thing by its third of the picture.
fn spatial(scene: &SceneTruth) -> String {
    if let [only] = scene.objects.as_slice() {
        return format!("The {} is at the {}.", name(only), position(only));
    }
    let sentences: Vec<String> = scene
        .objects
        .windows(2)
        .map(|pair| {
            format!(
                "The {} is {} the {}.",
                name(&pair[0]),
                relation(&pair[0], &pair[1]),
                name(&pair[1])
            )
        })
        .collect();
    sentences.join(" ")
}

fn relation(from: &SceneObject, to: &SceneObject) -> &'static str {
    if from.x.abs_diff(to.x) >= from.y.abs_diff(to.y) {
        return if from.x < to.x { "left of" } else { "right of" };
    }
    if from.y < to.y { "above" } else { "below" }
}

fn position(object: &SceneObject) -> String {
    let row = ["top", "middle", "bottom"][usize::from(third(object.y))];
    let column = ["left", "center", "right"][usize::from(third(object.x))];
    format!("{row} {column}")
}

/// `place: beach, time: night, weather: cloudy`.
fn setting(scene: &SceneTruth) -> String {
    format!(
        "place: {}, time: {}, weather: {}",
        scene.place, scene.time, scene.weather
    )
}
