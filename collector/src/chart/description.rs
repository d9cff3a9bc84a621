//! What a picture shows: plain values, from which page, report and files are made alike.

use tokwatt_domain::{
    metrics::{
        dictionary::Better,
        front::{Place, front},
    },
    power::Provenance,
};

/// A picture of figures, described.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Name of its files, made safe by [`file_name`]; pictures of one page have different ones.
    pub name: String,
    /// What is shown.
    pub title: String,
    /// What is fixed: power scope, task, load, aggregate. A line each.
    pub subtitle: Vec<String>,
    /// How the figures came to be; anything but measured is said in the picture.
    pub provenance: Provenance,
    /// Its kind and data.
    pub drawing: Drawing,
    /// What is left out, and what marks mean. A line each.
    pub notes: Vec<String>,
}

/// Kinds of pictures.
#[derive(Clone, Debug, PartialEq)]
pub enum Drawing {
    /// Lengths from 0, with intervals.
    Bars(Bars),
    /// A table of colours, with the value in each cell.
    HeatMap(HeatMap),
    /// How single values are spread.
    Boxes(Boxes),
    /// One figure over another.
    Lines(Lines),
    /// Two figures of each thing.
    Scatter(Scatter),
    /// Several pictures in one, side by side.
    Panels(Vec<Panel>),
}

/// What is drawn along an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What it is.
    pub label: String,
    /// SI unit; empty for a bare count.
    pub unit: String,
    /// Which direction is the better one.
    pub better: Better,
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Datum {
    /// In the axis' unit.
    pub value: Value,
    /// 95 %.
    pub interval: Option<(f64, f64)>,
    /// Shown and not ranked.
    pub is_blocked: bool,
    /// Words beside it: flags, `estimated`, `1 run`.
    pub marks: Vec<String>,
}

/// A figure's value, if it has one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Finite.
    Number(f64),
    /// A percentile that is a failed request: worse than any.
    Failed,
    /// Not known; drawn as such, never as 0.
    Absent,
}

/// Horizontal bars, so that long names can be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Bars {
    /// Of their lengths.
    pub axis: Axis,
    /// From above.
    pub groups: Vec<Group<Datum>>,
}

/// Rows under one heading.
#[derive(Clone, Debug, PartialEq)]
pub struct Group<T> {
    /// The heading; empty for rows without one.
    pub name: String,
    /// Names and what they have, from above.
    pub rows: Vec<(String, T)>,
}

/// Cells in rows and columns.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    /// Of the values.
    pub axis: Axis,
    /// What rows are, and what columns are: `device`, `model`.
    pub keys: [String; 2],
    /// From the left.
    pub columns: Vec<String>,
    /// From above: a name, and a figure for each column.
    pub rows: Vec<(String, Vec<Datum>)>,
}

/// Horizontal box plots.
#[derive(Clone, Debug, PartialEq)]
pub struct Boxes {
    /// Of the values.
    pub axis: Axis,
    /// From above.
    pub groups: Vec<Group<Quartiles>>,
}

/// Five numbers that stand for many, and what lies far from them.
#[derive(Clone, Debug, PartialEq)]
pub struct Quartiles {
    /// How many values.
    pub n: usize,
    /// How many more failed and have none.
    pub n_failed: usize,
    /// Nearest rank, failures ranked as slower than any; infinite where it is one of them.
    pub lower: f64,
    /// Likewise.
    pub median: f64,
    /// Likewise.
    pub upper: f64,
    /// Farthest values that are within one and a half boxes of the box.
    pub whiskers: (f64, f64),
    /// Values beyond the whiskers, sorted.
    pub outliers: Vec<f64>,
}

/// Points in order, joined.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines {
    /// From left to right.
    pub x: Axis,
    /// From below.
    pub y: Axis,
    /// Each doubling is as far as the last: for 1, 2, 4, … at once. Only for values above 0.
    pub is_doubling: bool,
    /// Whether each point is marked; a trace of many readings has none.
    pub has_markers: bool,
    /// Each with a name of its own.
    pub series: Vec<Series>,
    /// Stretches of x that are shaded, with what they are.
    pub stretches: Vec<(String, f64, f64)>,
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Stands at its end.
    pub name: String,
    /// By x.
    pub points: Vec<(f64, Datum)>,
}

/// Points with names.
#[derive(Clone, Debug, PartialEq)]
pub struct Scatter {
    /// From left to right.
    pub x: Axis,
    /// From below.
    pub y: Axis,
    /// Names and figures; what lacks one of the two is listed below the picture.
    pub dots: Vec<(String, [Datum; 2])>,
}

/// A picture in a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What is shown.
    pub title: String,
    /// Anything but panels again.
    pub drawing: Drawing,
}

impl Axis {
    /// An axis of which more is neither better nor worse.
    pub fn plain(label: &str, unit: &str) -> Self {
        Self {
            label: label.to_owned(),
            unit: unit.to_owned(),
            better: Better::Neither,
        }
    }
}

impl Datum {
    /// A bare number; absent if it is not finite.
    pub fn number(value: f64) -> Self {
        Self {
            value: if value.is_finite() {
                Value::Number(value)
            } else {
                Value::Absent
            },
            interval: None,
            is_blocked: false,
            marks: Vec::new(),
        }
    }

    /// A figure that is not there.
    pub fn absent() -> Self {
        Self::number(f64::NAN)
    }

    /// Its number, if it has one.
    pub fn as_number(&self) -> Option<f64> {
        match self.value {
            Value::Number(value) => Some(value),
            Value::Failed | Value::Absent => None,
        }
    }

    /// Where it stands beside others; nowhere if it is not ranked.
    fn place(&self) -> Option<Place> {
        let value = self.as_number().filter(|_| !self.is_blocked)?;
        let exact = Place::exact(value);
        let interval = self.interval.unwrap_or(exact.interval);
        Some(Place { interval, ..exact })
    }
}

impl Quartiles {
    /// Of finite values in any order; `None` without any.
    pub fn of(values: &[f64], n_failed: usize) -> Option<Self> {
        let mut sorted: Vec<f64> = values
            .iter()
            .copied()
            .filter(|value| value.is_finite())
            .collect();
        sorted.sort_by(f64::total_cmp);
        let at = |quarter: usize| {
            let rank = ((sorted.len() + n_failed) * quarter).div_ceil(4).max(1);
            sorted.get(rank - 1).copied().unwrap_or(f64::INFINITY)
        };
        let (lower, median, upper) = (at(1), at(2), at(3));
        let reach = 1.5 * (upper - lower);
        // Nothing is far from a box without an end.
        let is_near =
            |value: &f64| !upper.is_finite() || (lower - reach..=upper + reach).contains(value);
        let near: Vec<f64> = sorted.iter().copied().filter(is_near).collect();
        Some(Self {
            n: sorted.len(),
            n_failed,
            lower,
            median,
            upper,
            whiskers: (*near.first()?, *near.last()?),
            outliers: sorted
                .iter()
                .copied()
                .filter(|value| !is_near(value))
                .collect(),
        })
    }
}

impl Scatter {
    /// For each dot, whether nothing beats it beyond doubt. Blocked ones and those that lack a figure are on no front, and where one axis
    /// has no better direction, nobody is.
    pub fn front(&self) -> Vec<bool> {
        let axes = [self.x.better, self.y.better];
        if axes.contains(&Better::Neither) {
            return vec![false; self.dots.len()];
        }
        let place = |(_, [x, y]): &(String, [Datum; 2])| Some(vec![x.place()?, y.place()?]);
        let places: Vec<Option<Vec<Place>>> = self.dots.iter().map(place).collect();
        let whole: Vec<Vec<Place>> = places.iter().flatten().cloned().collect();
        let mut on_front = front(&whole, &axes.map(|better| better == Better::Lower)).into_iter();
        let places = places.iter();
        places
            .map(|place| place.is_some() && on_front.next() == Some(true))
            .collect()
    }
}

/// A name that is good for a file and an XML id: small letters, digits, `.`, `_` and `-`, no dot in front, not too long.
pub fn file_name(text: &str) -> String {
    let safe = |letter: char| match letter {
        'a'..='z' | '0'..='9' | '_' | '.' => letter,
        'A'..='Z' => letter.to_ascii_lowercase(),
        _ => '-',
    };
    let name: String = text.chars().map(safe).take(NAME_CHARS).collect();
    let name = name.trim_matches(['-', '.']).to_owned();
    if name.is_empty() {
        return "unnamed".to_owned();
    }
    name
}

/// Every file system takes this many, with a suffix.
const NAME_CHARS: usize = 100;
