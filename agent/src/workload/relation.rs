//! Direct questions: where one object of a picture is relative to another.

use serde::{Deserialize, Serialize};
use tokwatt_domain::workload::{SceneObject, SceneTruth, Truth};

/// What is asked about two objects.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// Is {a} left or right of {b}?
    LeftRight,
    /// Is {a} above or below {b}?
    AboveBelow,
}

impl Relation {
    /// The question with this number, and its answer; none where no two objects can be asked about.
    ///
    /// Even numbers have the first choice as their answer and odd ones the second: a constant answer is right half the time.
    pub(super) fn question(
        self,
        template: &str,
        truth: &SceneTruth,
        number: usize,
    ) -> Option<(String, Truth)> {
        let pairs = self.pairs(&truth.objects);
        let &(low, high) = pairs.get(number / 2 % pairs.len().max(1))?;
        let choices = self.choices();
        let (a, b) = if number.is_multiple_of(2) {
            (low, high)
        } else {
            (high, low)
        };
        let prompt = template.replace(A, &name(a)).replace(B, &name(b));
        let answer = Truth::Answer {
            expected: choices[number % 2].to_owned(),
            choices: choices.map(str::to_owned).to_vec(),
        };
        Some((prompt, answer))
    }

    /// Whether this picture has two objects to ask about.
    pub(super) fn applies_to(self, truth: &SceneTruth) -> bool {
        !self.pairs(&truth.objects).is_empty()
    }

    fn choices(self) -> [&'static str; 2] {
        match self {
            Self::LeftRight => ["left", "right"],
            Self::AboveBelow => ["above", "below"],
        }
    }

    /// Pairs of objects that have names of their own and are clearly apart, the one of the first choice first.
    fn pairs(self, objects: &[SceneObject]) -> Vec<(&SceneObject, &SceneObject)> {
        let named: Vec<&SceneObject> = objects
            .iter()
            .filter(|object| has_a_name_of_its_own(object, objects))
            .collect();
        let ordered = |low: &SceneObject, high: &SceneObject| {
            self.position(high) >= self.position(low) + CLEARLY_APART
        };
        named
            .iter()
            .flat_map(|&low| named.iter().map(move |&high| (low, high)))
            .filter(|(low, high)| ordered(low, high))
            .collect()
    }

    fn position(self, object: &SceneObject) -> u32 {
        u32::from(match self {
            Self::LeftRight => object.x,
            Self::AboveBelow => object.y,
        })
    }
}

/// Stands for the first object in a template.
pub(super) const A: &str = "{a}";

/// Stands for the second object in a template.
pub(super) const B: &str = "{b}";

/// Thousandths of the picture's side: half a small object.
const CLEARLY_APART: u32 = 63;

/// What an object is called in a question.
fn name(object: &SceneObject) -> String {
    format!("{} {}", object.color, object.kind)
}

fn has_a_name_of_its_own(object: &SceneObject, objects: &[SceneObject]) -> bool {
    let namesakes = objects.iter().filter(|other| name(other) == name(object));
    namesakes.count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(objects: &[(&str, &str, u16, u16)]) -> SceneTruth {
        SceneTruth {
            place: "beach".to_owned(),
            time: "day".to_owned(),
            weather: "clear".to_owned(),
            objects: objects
                .iter()
                .map(|&(color, kind, x, y)| SceneObject {
                    kind: kind.to_owned(),
                    color: color.to_owned(),
                    size: "small".to_owned(),
                    x,
                    y,
                    radius: 70,
                })
                .collect(),
        }
    }

    #[track_caller]
    fn check(relation: Relation, number: usize, truth: &SceneTruth, want: Option<(&str, &str)>) {
        let got = relation
            .question("{a} or {b}?", truth, number)
            .map(|(prompt, answer)| match answer {
                Truth::Answer { expected, .. } => (prompt, expected),
                other => panic!("a direct question has one answer, not {other:?}"),
            });
        let want = want.map(|(prompt, answer)| (prompt.to_owned(), answer.to_owned()));
        assert_eq!(got, want);
    }

    #[test]
    fn the_number_of_the_question_chooses_its_answer() {
        use Relation::{AboveBelow, LeftRight};
        let two = truth(&[("red", "ball", 200, 700), ("blue", "box", 600, 300)]);
        check(LeftRight, 0, &two, Some(("red ball or blue box?", "left")));
        check(LeftRight, 1, &two, Some(("blue box or red ball?", "right")));
        check(
            AboveBelow,
            0,
            &two,
            Some(("blue box or red ball?", "above")),
        );
        check(
            AboveBelow,
            1,
            &two,
            Some(("red ball or blue box?", "below")),
        );
    }

    #[test]
    fn pairs_take_turns() {
        let three = truth(&[
            ("red", "ball", 200, 500),
            ("blue", "box", 500, 500),
            ("red", "car", 800, 500),
        ]);
        let ask = |number, want| check(Relation::LeftRight, number, &three, Some((want, "left")));
        ask(0, "red ball or blue box?");
        ask(2, "red ball or red car?");
        ask(4, "blue box or red car?");
        ask(6, "red ball or blue box?");
    }

    #[test]
    fn what_cannot_be_told_apart_is_not_asked() {
        let alone = truth(&[("red", "ball", 200, 500)]);
        let twins = truth(&[("red", "ball", 200, 500), ("red", "ball", 600, 500)]);
        let level = truth(&[("red", "ball", 200, 500), ("red", "box", 600, 562)]);
        check(Relation::LeftRight, 0, &alone, None);
        check(Relation::LeftRight, 0, &twins, None);
        check(Relation::AboveBelow, 0, &level, None);
        assert!(Relation::LeftRight.applies_to(&level));
    }
}
