//! Logs on stderr: lines for people, or one JSON object a line for programs.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// For programs: one object a line, with its time, its fields, and the spans around it (device, run)
    Json,
}

/// A program's logs, before they start.
#[derive(Clone, Copy, Debug)]
pub struct Logs {
    /// How they are written.
    pub format: LogFormat,
    /// What is logged if `TOKWATT_LOG` does not choose: `info`, `warn`.
    pub level: &'static str,
    /// Whether text has times. A service manager puts its own before each line.
    pub text_has_time: bool,
}

impl Logs {
    /// Starts them, once in a process.
    pub fn start(self) {
        let filter =
            EnvFilter::try_from_env("TOKWATT_LOG").unwrap_or_else(|_| EnvFilter::new(self.level));
        tracing_subscriber::registry()
            .with(self.lines(io::stderr).with_filter(filter))
            .init();
    }

    fn lines<W>(self, to: W) -> Box<dyn Layer<Registry> + Send + Sync>
    where
        W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
    {
        let lines = fmt::layer().with_writer(to);
        match self.format {
            // The list of spans says all that the innermost one says.
            LogFormat::Json => lines
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .boxed(),
            LogFormat::Text if self.text_has_time => lines.with_ansi(has_colour()).boxed(),
            LogFormat::Text => lines.with_ansi(has_colour()).without_time().boxed(),
        }
    }
}

fn has_colour() -> bool {
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !is_plain && io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What an event inside two spans leaves.
    fn written(format: LogFormat) -> String {
        let paper = Paper::default();
        let logs = Logs {
            format,
            level: "info",
            text_has_time: false,
        };
        let to = paper.clone();
        let subscriber = tracing_subscriber::registry().with(logs.lines(move || to.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let _delivery = tracing::info_span!("delivery", device = "orin-1").entered();
            let _run = tracing::info_span!("run", run = "3f9a").entered();
            tracing::warn!(rail = "VDD_IN", "power reading failed");
        });
        let bytes = paper.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn programs_get_one_object_a_line_with_fields_and_spans() {
        let written = written(LogFormat::Json);
        assert_eq!(written.lines().count(), 1, "{written}");
        for part in [
            r#""level":"WARN""#,
            r#""message":"power reading failed""#,
            r#""rail":"VDD_IN""#,
            r#""spans":[{"#,
            r#""device":"orin-1""#,
            r#""run":"3f9a""#,
            r#""timestamp":""#,
        ] {
            assert!(written.contains(part), "`{part}` is not in {written}");
        }
    }

    #[test]
    fn people_get_words() {
        let written = written(LogFormat::Text);
        assert!(
            written.contains("device=\"orin-1\"") && written.contains("power reading failed"),
            "{written}"
        );
        assert!(!written.contains('{') || !written.starts_with('{'));
    }
}
