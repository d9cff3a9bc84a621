//! A row's value and its interval as a line on an axis that all rows share.

use maud::{Markup, html};
use tokwatt_domain::{leaderboard::Board, metrics::Percentile};

use crate::report;

/// From the smallest value of a board to the largest, ends of intervals included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// None where nothing can be drawn.
    pub(super) fn of(board: &Board) -> Option<Self> {
        let rows = board.rows.iter();
        let values = rows.flat_map(|row| {
            let value = match row.value {
                Percentile::Value(value) => Some(value),
                Percentile::Failed(_) => None,
            };
            let ends = row.ci95.map(|(low, high)| [low, high]);
            value.into_iter().chain(ends.into_iter().flatten())
        });
        let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        let low = values.iter().copied().reduce(f64::min)?;
        let high = values.iter().copied().reduce(f64::max)?;
        Some(Self { low, high })
    }

    /// What the two ends stand for.
    pub(super) fn ends(self, scale: &report::Scale<'_>) -> Markup {
        html! {
            span.axis { span { (scale.show(self.low)) } span { (scale.show(self.high)) } }
        }
    }

    /// The numbers stand beside it: it is for the eye alone.
    pub(super) fn draw(self, value: Percentile, ci95: Option<(f64, f64)>) -> Markup {
        let Percentile::Value(value) = value else {
            return html! { "–" };
        };
        html! {
            svg.interval viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } width=(WIDTH) height=(HEIGHT) aria-hidden="true" focusable="false" {
                line.axis-line x1=(MARGIN) x2=(WIDTH - MARGIN) y1=(HEIGHT / 2.0) y2=(HEIGHT / 2.0) {}
                @if let Some((low, high)) = ci95 {
                    line.extent x1=(self.at(low)) x2=(self.at(high)) y1=(HEIGHT / 2.0) y2=(HEIGHT / 2.0) {}
                    @for end in [low, high] {
                        line.extent x1=(self.at(end)) x2=(self.at(end)) y1="4" y2=(HEIGHT - 4.0) {}
                    }
                }
                circle cx=(self.at(value)) cy=(HEIGHT / 2.0) r="3.5" {}
            }
        }
    }

    fn at(self, value: f64) -> String {
        let length = self.high - self.low;
        let share = match length > 0.0 {
            true => (value - self.low) / length,
            false => 0.5,
        };
        format!("{:.1}", MARGIN + share * (WIDTH - 2.0 * MARGIN))
    }
}

const WIDTH: f64 = 180.0;
const HEIGHT: f64 = 16.0;

/// Room for the marks at the ends.
const MARGIN: f64 = 5.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_between_the_ends() {
        let axis = Axis {
            low: 10.0,
            high: 20.0,
        };
        let places = [10.0, 15.0, 20.0].map(|value| axis.at(value));
        assert_eq!(places, ["5.0", "90.0", "175.0"]);
        let point = Axis {
            low: 1.0,
            high: 1.0,
        };
        assert_eq!(point.at(1.0), "90.0");
    }
}
