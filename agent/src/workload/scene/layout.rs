//! Which objects stand where, in which place, at what time, in what weather.

use tokwatt_domain::workload::{SceneObject, SceneTruth};

use crate::workload::{
    canvas::Color,
    chance::Chance,
    shape::{Point, SIDE},
};

/// What a scene consists of.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) setting: Setting,
    /// From left to right.
    pub(super) things: Vec<Thing>,
}

/// Where, when, in what weather.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) place: Place,
    pub(super) time: Time,
    pub(super) weather: Weather,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    Beach,
    Desert,
    Field,
    Room,
    Snow,
    Street,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Time {
    Day,
    Sunset,
    Night,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Weather {
    Clear,
    Cloudy,
    Rainy,
    Indoors,
}

/// An object, in thousandths of the picture's side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thing {
    pub(super) kind: Kind,
    pub(super) paint: Paint,
    size: Size,
    x: i32,
    y: i32,
    radius: i32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Ball,
    Box,
    Car,
    Cone,
    Heart,
    House,
    Ring,
    Star,
    Tree,
}

/// A colour that has a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Paint {
    Red,
    Green,
    Blue,
    Yellow,
    Orange,
    Purple,
    White,
    Black,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Size {
    Small,
    Large,
}

impl Layout {
    pub(super) fn new(chance: &mut Chance) -> Self {
        let setting = Setting::new(chance);
        let wanted = names(chance);
        let mut things = Vec::new();
        for (kind, paint) in wanted {
            things.extend(find_room(kind, paint, &things, chance));
        }
        things.sort_by_key(|thing| thing.x);
        Self { setting, things }
    }

    pub(super) fn truth(&self) -> SceneTruth {
        SceneTruth {
            place: self.setting.place.name().to_owned(),
            time: self.setting.time.name().to_owned(),
            weather: self.setting.weather.name().to_owned(),
            objects: self.things.iter().map(Thing::truth).collect(),
        }
    }
}

impl Setting {
    fn new(chance: &mut Chance) -> Self {
        let place = chance.pick(&Place::ALL);
        let time = chance.pick(&[Time::Day, Time::Sunset, Time::Night]);
        let outdoors = chance.pick(&[Weather::Clear, Weather::Cloudy, Weather::Rainy]);
        let weather = if place == Place::Room {
            Weather::Indoors
        } else {
            outdoors
        };
        Self {
            place,
            time,
            weather,
        }
    }
}

impl Thing {
    /// Centre in points.
    pub(super) fn center(&self) -> Point {
        Point {
            x: self.x * POINTS_PER_THOUSANDTH,
            y: self.y * POINTS_PER_THOUSANDTH,
        }
    }

    /// Radius in points.
    pub(super) fn reach(&self) -> i32 {
        self.radius * POINTS_PER_THOUSANDTH
    }

    /// Two objects keep a gap; they share neither a tile of the model's view nor a column, so that left and right and how
    /// many are never in doubt.
    fn leaves_room_for(&self, other: &Self) -> bool {
        let (dx, dy) = (self.x - other.x, self.y - other.y);
        let apart = self.radius + other.radius + GAP;
        dx * dx + dy * dy >= apart * apart && dx.abs() >= 26 && self.tile() != other.tile()
    }

    fn tile(&self) -> (i32, i32) {
        (self.x * TILES / 1000, self.y * TILES / 1000)
    }

    fn truth(&self) -> SceneObject {
        let thousandths = |length| u16::try_from(length).expect("inside the picture");
        SceneObject {
            kind: self.kind.name().to_owned(),
            color: self.paint.name().to_owned(),
            size: self.size.name().to_owned(),
            x: thousandths(self.x),
            y: thousandths(self.y),
            radius: thousandths(self.radius),
        }
    }
}

const POINTS_PER_THOUSANDTH: i32 = SIDE / 1000;

/// Least distance between objects, and to the edge, in thousandths.
const GAP: i32 = 31;

/// Tiles across the model's view: at most one object in each.
const TILES: i32 = 6;

/// How many are wanted, each as likely as it is listed.
const HOW_MANY: [usize; 9] = [1, 2, 2, 3, 3, 4, 4, 5, 6];

/// Kinds and colours of the objects wanted. Neighbours often share their kind, so that counting is worth asking for.
fn names(chance: &mut Chance) -> Vec<(Kind, Paint)> {
    let mut names: Vec<(Kind, Paint)> = Vec::new();
    for _ in 0..chance.pick(&HOW_MANY) {
        let fresh = (chance.pick(&Kind::ALL), chance.pick(&Paint::ALL));
        names.push(match (names.last(), chance.range(0, 99)) {
            (Some(&same), 0..22) => same,
            (Some(&(same, _)), 22..42) => (same, fresh.1),
            _ => fresh,
        });
    }
    names
}

/// Tries places until one is free; where none is found the scene has one object less.
fn find_room(kind: Kind, paint: Paint, others: &[Thing], chance: &mut Chance) -> Option<Thing> {
    (0..60).find_map(|_| {
        let size = chance.pick(&[Size::Small, Size::Large]);
        let radius = match size {
            Size::Small => chance.range(66, 79),
            Size::Large => chance.range(110, 133),
        };
        let margin = radius + GAP;
        let thing = Thing {
            kind,
            paint,
            size,
            x: chance.range(margin, 1000 - margin),
            y: chance.range(margin, 1000 - margin),
            radius,
        };
        others
            .iter()
            .all(|other| other.leaves_room_for(&thing))
            .then_some(thing)
    })
}

impl Place {
    const ALL: [Self; 6] = [
        Self::Beach,
        Self::Desert,
        Self::Field,
        Self::Room,
        Self::Snow,
        Self::Street,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Beach => "beach",
            Self::Desert => "desert",
            Self::Field => "field",
            Self::Room => "room",
            Self::Snow => "snow",
            Self::Street => "street",
        }
    }
}

impl Time {
    fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Sunset => "sunset",
            Self::Night => "night",
        }
    }
}

impl Weather {
    fn name(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Cloudy => "cloudy",
            Self::Rainy => "rainy",
            Self::Indoors => "indoors",
        }
    }
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Ball,
        Self::Box,
        Self::Car,
        Self::Cone,
        Self::Heart,
        Self::House,
        Self::Ring,
        Self::Star,
        Self::Tree,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Ball => "ball",
            Self::Box => "box",
            Self::Car => "car",
            Self::Cone => "cone",
            Self::Heart => "heart",
            Self::House => "house",
            Self::Ring => "ring",
            Self::Star => "star",
            Self::Tree => "tree",
        }
    }
}

impl Paint {
    const ALL: [Self; 8] = [
        Self::Red,
        Self::Green,
        Self::Blue,
        Self::Yellow,
        Self::Orange,
        Self::Purple,
        Self::White,
        Self::Black,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Yellow => "yellow",
            Self::Orange => "orange",
            Self::Purple => "purple",
            Self::White => "white",
            Self::Black => "black",
        }
    }

    pub(super) fn color(self) -> Color {
        Color(match self {
            Self::Red => [214, 38, 38],
            Self::Green => [40, 160, 60],
            Self::Blue => [40, 84, 220],
            Self::Yellow => [240, 214, 40],
            Self::Orange => [244, 134, 24],
            Self::Purple => [140, 52, 176],
            Self::White => [246, 246, 246],
            Self::Black => [28, 28, 30],
        })
    }
}

impl Size {
    fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::workload::chance::Purpose;

    fn layout(seed: u64) -> Layout {
        Layout::new(&mut Chance::new(seed, Purpose::Layout))
    }

    proptest! {
        #[test]
        fn objects_never_overlap_nor_leave_the_picture(seed in any::<u64>()) {
            let things = layout(seed).things;
            for (index, thing) in things.iter().enumerate() {
                for other in &things[..index] {
                    let (dx, dy) = (thing.x - other.x, thing.y - other.y);
                    let reach = thing.radius + other.radius;
                    prop_assert!(dx * dx + dy * dy > reach * reach);
                }
                for at in [thing.x, thing.y] {
                    prop_assert!(thing.radius < at && at < 1000 - thing.radius);
                }
            }
        }

        #[test]
        fn truth_is_told_from_left_to_right(seed in any::<u64>()) {
            let truth = layout(seed).truth();
            prop_assert!((1..=6).contains(&truth.objects.len()));
            prop_assert!(truth.objects.is_sorted_by(|one, next| one.x < next.x));
        }

        #[test]
        fn weather_is_indoors_in_a_room_and_nowhere_else(seed in any::<u64>()) {
            let truth = layout(seed).truth();
            prop_assert_eq!(truth.place == "room", truth.weather == "indoors");
        }
    }

    #[test]
    fn everything_comes_up_about_as_often_as_meant() {
        let n = 9000;
        let mut counts: BTreeMap<String, i32> = BTreeMap::new();
        for seed in 0..n {
            let truth = layout(seed).truth();
            *counts.entry(truth.place).or_default() += 1;
            *counts.entry(truth.time).or_default() += 1;
            *counts
                .entry(format!("{} objects", truth.objects.len()))
                .or_default() += 1;
        }
        let check = |what: &str, want: i32| {
            let got = counts[what];
            assert!(
                (want * 9 / 10..want * 11 / 10).contains(&got),
                "{what}: {got}"
            );
        };
        for place in ["beach", "desert", "field", "room", "snow", "street"] {
            check(place, 1500);
        }
        for time in ["day", "sunset", "night"] {
            check(time, 3000);
        }
        check("1 objects", 1000);
        check("2 objects", 2000);
        check("3 objects", 2000);
        check("4 objects", 2000);
        check("5 objects", 1000);
    }
}
