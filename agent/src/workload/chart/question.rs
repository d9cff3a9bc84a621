//! What is asked about a chart, and what a right answer is.

use serde::{Deserialize, Serialize};
use tokwatt_domain::workload::{KeyFact, Scoring, Truth};

use super::{
    Chart, Data, Figure,
    panels::{BARS, LETTERS, Panels, Plot, SLICES},
    revenue::{MONTHS, Revenue, Trend},
};
use crate::workload::chance::{Chance, Purpose};

/// What a task asks about each chart.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChartQuestion {
    /// The month of the highest revenue, in three letters.
    PeakMonth,
    /// The revenue in {month}, to a twentieth of the axis.
    MonthValue,
    /// In how many months it was above {limit}.
    MonthsAbove,
    /// Whether the year is rising, falling or level.
    Trend,
    /// What the chart shows: of what, whose, the highest month, the trend.
    Description,
    /// Which kind of chart {panel} is.
    PanelKind,
    /// The height of bar {bar}, to a twentieth of the axis.
    BarValue,
    /// The colour of the largest slice.
    LargestSlice,
    /// Whether the points go up, down or neither.
    Direction,
}

impl ChartQuestion {
    /// Which charts it can be asked about.
    pub fn figure(self) -> Figure {
        match self {
            Self::PeakMonth
            | Self::MonthValue
            | Self::MonthsAbove
            | Self::Trend
            | Self::Description => Figure::Revenue,
            Self::PanelKind | Self::BarValue | Self::LargestSlice | Self::Direction => {
                Figure::Panels
            }
        }
    }

    /// How its answers are scored.
    pub fn scoring(self) -> Scoring {
        match self {
            Self::MonthValue | Self::MonthsAbove | Self::BarValue => Scoring::Number,
            Self::Description => Scoring::Facts,
            _ => Scoring::Direct,
        }
    }

    /// What its prompt has a place for.
    pub fn place(self) -> Option<&'static str> {
        match self {
            Self::MonthValue => Some("{month}"),
            Self::MonthsAbove => Some("{limit}"),
            Self::PanelKind => Some("{panel}"),
            Self::BarValue => Some("{bar}"),
            _ => None,
        }
    }

    /// All places that a prompt may have.
    pub(in crate::workload) const PLACES: [&str; 4] = ["{month}", "{limit}", "{panel}", "{bar}"];

    /// The question about a chart, the seed choosing what fills its place; and its answer.
    pub(in crate::workload) fn ask(
        self,
        template: &str,
        chart: &Chart,
        seed: u64,
    ) -> Option<(String, Truth)> {
        let chance = &mut Chance::new(seed, Purpose::Asked);
        let (filling, truth) = match chart.data() {
            Data::Revenue(revenue) => self.about_revenue(revenue, chance)?,
            Data::Panels(panels) => self.about_panels(panels, chance)?,
        };
        let prompt = match self.place() {
            Some(place) => template.replace(place, &filling),
            None => template.to_owned(),
        };
        Some((prompt, truth))
    }

    fn about_revenue(self, revenue: &Revenue, chance: &mut Chance) -> Option<(String, Truth)> {
        let three_letters = MONTHS.map(|(short, _)| in_small_letters(short));
        let none = String::new();
        match self {
            Self::PeakMonth => {
                let expected = three_letters[revenue.peak()].clone();
                Some((none, answer(expected, &three_letters)))
            }
            Self::MonthValue => {
                let (month, value) = pick(chance, &revenue.months);
                let asked = MONTHS[month].1.to_owned();
                Some((asked, number(value, revenue.axis_max)))
            }
            Self::MonthsAbove => {
                let limit = readable_limit(revenue, chance);
                let above = revenue.months.iter().filter(|value| **value > limit);
                let truth = Truth::Number {
                    value: f64::from(u8::try_from(above.count()).expect("twelve at most")),
                    tolerance: 0.0,
                };
                Some((limit.to_string(), truth))
            }
            Self::Trend => {
                let words = TRENDS.map(|(_, word, _)| word.to_owned());
                let (_, expected, _) = trend(revenue.trend);
                Some((none, answer(expected.to_owned(), &words)))
            }
            Self::Description => {
                let (_, _, names) = trend(revenue.trend);
                let peak = MONTHS[revenue.peak()].0;
                let facts = [
                    fact(&["revenue"]),
                    fact(&[revenue.company]),
                    // `Sep`, `Sept`, `September`.
                    KeyFact(vec![format!("{peak}*")]),
                    fact(names),
                ];
                Some((none, Truth::Facts(facts.into())))
            }
            _ => None,
        }
    }

    fn about_panels(self, panels: &Panels, chance: &mut Chance) -> Option<(String, Truth)> {
        let none = String::new();
        match self {
            Self::PanelKind => {
                let kinds = panels.0.clone().map(|panel| panel.plot.kind().to_owned());
                let (panel, expected) = pick(chance, &kinds);
                let choices = ["line", "bar", "scatter", "pie"].map(str::to_owned);
                Some((LETTERS[panel].to_string(), answer(expected, &choices)))
            }
            Self::BarValue => {
                let (_, values) = panels.find(|plot| match plot {
                    Plot::Bars(values) => Some(*values),
                    _ => None,
                });
                let (bar, value) = pick(chance, &values);
                Some((BARS[bar].1.to_owned(), number(value, 100)))
            }
            Self::LargestSlice => {
                let (_, shares) = panels.find(|plot| match plot {
                    Plot::Pie(shares) => Some(*shares),
                    _ => None,
                });
                let colors = SLICES.map(|(name, _)| name.to_owned());
                let largest = shares
                    .iter()
                    .zip(&colors)
                    .max_by_key(|(share, _)| **share)?;
                Some((none, answer(largest.1.clone(), &colors)))
            }
            Self::Direction => {
                let (_, direction) = panels.find(|plot| match plot {
                    Plot::Points { direction, .. } => Some(*direction),
                    _ => None,
                });
                let choices = ["up", "down", "neither"].map(str::to_owned);
                Some((none, answer(direction.word().to_owned(), &choices)))
            }
            _ => None,
        }
    }
}

fn answer(expected: String, choices: &[String]) -> Truth {
    Truth::Answer {
        expected,
        choices: choices.to_vec(),
    }
}

/// Right to a twentieth of the axis: a quarter of a step between two of its lines, and less where those stand closer.
fn number(value: i32, axis_max: i32) -> Truth {
    Truth::Number {
        value: f64::from(value),
        tolerance: f64::from(axis_max) / 20.0,
    }
}

fn pick<T: Clone>(chance: &mut Chance, values: &[T]) -> (usize, T) {
    let last = i32::try_from(values.len() - 1).expect("a dozen at most");
    let index = usize::try_from(chance.range(0, last)).expect("not negative");
    (index, values[index].clone())
}

/// One of the axis' inner lines from which every month keeps clear, else the one from which they keep clearest.
fn readable_limit(revenue: &Revenue, chance: &mut Chance) -> i32 {
    let lines: Vec<i32> = (1..5).map(|line| line * revenue.step()).collect();
    let distance = |line: &i32| {
        let away = revenue.months.iter().map(|value| (value - line).abs());
        away.min().unwrap_or_default()
    };
    let is_clear = |line: &&i32| distance(line) * 50 >= revenue.axis_max;
    let clear: Vec<i32> = lines.iter().filter(is_clear).copied().collect();
    match clear.as_slice() {
        [] => lines.into_iter().max_by_key(distance).expect("four lines"),
        clear => chance.pick(clear),
    }
}

fn trend(trend: Trend) -> (Trend, &'static str, &'static [&'static str]) {
    let found = TRENDS.iter().find(|(own, ..)| *own == trend);
    *found.expect("every trend has its words")
}

/// The word that a question offers, and those that a description may use.
const TRENDS: [(Trend, &str, &[&str]); 3] = [
    (
        Trend::Rising,
        "rising",
        &[
            "ris*", "rose", "increas*", "grow*", "grew", "upward*", "climb*",
        ],
    ),
    (
        Trend::Falling,
        "falling",
        &[
            "fall*",
            "fell",
            "decreas*",
            "declin*",
            "drop*",
            "downward*",
            "shrink*",
        ],
    ),
    (
        Trend::Level,
        "level",
        &[
            "level",
            "flat",
            "stable",
            "fluctuat*",
            "no clear",
            "no trend",
            "var*",
            "constant",
        ],
    ),
];

fn fact(names: &[&str]) -> KeyFact {
    KeyFact(names.iter().map(|&name| name.to_owned()).collect())
}

/// `JAN` is `Jan` in a sentence.
fn in_small_letters(short: &str) -> String {
    let (first, rest) = short.split_at(1);
    format!("{first}{}", rest.to_lowercase())
}
