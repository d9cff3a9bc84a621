//! Where a bench stands: a bar with its end in sight on a terminal, plain lines elsewhere. On stderr, stdout is the result's.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use tokwatt_domain::metrics::{projection::Projection, spread::Interval};

use crate::runner::Progress;

/// The bar, or lines where there is no terminal.
pub(in crate::cli) struct Bar {
    bar: ProgressBar,
    is_terminal: bool,
    left: Option<Projection>,
    /// Requests that were done when a line last said so.
    told: u64,
}

impl Bar {
    pub(in crate::cli) fn start() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let target = if is_terminal {
            // Drawn at most twice a second, so that it costs the measurement nothing.
            ProgressDrawTarget::stderr_with_hz(2)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} requests{prefix}  {msg}");
        bar.set_style(style.expect("the template is well formed"));
        Self {
            bar,
            is_terminal,
            left: None,
            told: 0,
        }
    }

    pub(in crate::cli) fn show(&mut self, step: Progress) {
        match step {
            Progress::Stage(stage) => {
                self.line(&stage);
                self.bar.set_message(stage);
            }
            Progress::Run {
                number,
                total,
                label,
            } => {
                self.line(&format!(
                    "run {number}/{total}  {label}{}",
                    self.time_left()
                ));
                self.bar.set_message(label);
            }
            Progress::Requests { done, total, left } => {
                self.bar.set_length(total);
                self.bar.set_position(done);
                self.left = left;
                self.bar.set_prefix(self.time_left());
                if done >= self.told + total / TOLD_PARTS {
                    self.told = done;
                    self.line(&format!("{done}/{total} requests{}", self.time_left()));
                }
            }
            Progress::Segment(_) | Progress::Finished(_) => {}
        }
    }

    pub(in crate::cli) fn end(&self) {
        self.bar.finish_and_clear();
    }

    #[expect(
        clippy::print_stderr,
        reason = "progress is for whoever watches, not for the result"
    )]
    fn line(&self, text: &str) {
        if !self.is_terminal {
            eprintln!("{text}");
        }
    }

    fn time_left(&self) -> String {
        let left = self.left.filter(|left| left.seconds > 0.0);
        left.map_or_else(String::new, |left| {
            format!(", about {} left", in_words(&left))
        })
    }
}

/// `2 h 5 min (1 h 58 min to 2 h 13 min)`: with its interval of 95 %, where there is one.
pub(super) fn in_words(projection: &Projection) -> String {
    let time = rounded(projection.seconds);
    match projection.interval {
        None => time,
        Some(Interval { low, high }) => format!("{time} ({} to {})", rounded(low), rounded(high)),
    }
}

/// In its two largest units.
fn rounded(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.round()).unwrap_or(Duration::MAX);
    let seconds = whole.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{} s", seconds.max(1)),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Where there is no terminal, a line each time that this part of all requests is done.
const TOLD_PARTS: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_its_two_largest_units_with_its_interval() {
        let check = |seconds: f64, want: &str| assert_eq!(rounded(seconds), want);
        check(0.2, "1 s");
        check(59.4, "59 s");
        check(59.6, "1 min 0 s");
        check(7500.0, "2 h 5 min");
        check(200_000.0, "2 d 7 h");
        let projection = Projection {
            seconds: 7500.0,
            interval: Some(Interval {
                low: 7000.0,
                high: 8000.0,
            }),
        };
        assert_eq!(
            in_words(&projection),
            "2 h 5 min (1 h 56 min to 2 h 13 min)"
        );
    }
}
