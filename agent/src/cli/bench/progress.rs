//! Where a bench stands: a bar with its end in sight on a terminal, plain lines elsewhere. On stderr, stdout is the result's.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::runner::Progress;

/// The bar, or lines where there is no terminal.
pub(super) struct Bar {
    bar: ProgressBar,
    is_terminal: bool,
}

impl Bar {
    pub(super) fn start() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let target = if is_terminal {
            // Drawn at most twice a second, so that it costs the measurement nothing.
            ProgressDrawTarget::stderr_with_hz(2)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        let style =
            ProgressStyle::with_template("{bar:24} {pos}/{len} requests, {eta} left  {msg}");
        bar.set_style(style.expect("the template is well formed"));
        Self { bar, is_terminal }
    }

    pub(super) fn show(&mut self, step: Progress) {
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
            Progress::Requests { done, total } => {
                self.bar.set_length(total);
                self.bar.set_position(done);
            }
        }
    }

    pub(super) fn end(&self) {
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
        let left = self.bar.eta();
        if left == Duration::ZERO {
            return String::new();
        }
        format!("  (about {} s left)", left.as_secs().max(1))
    }
}
