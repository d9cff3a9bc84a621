//! A report as a folder of files: a page that needs no other, the same as Markdown, its pictures, every figure as CSV, rankings as text.
//!
//! What is shown is of one provenance, and of one *setting*: suite, size of pictures, load, caches and answer limits are those of which
//! there is most, since figures of two settings are not to be compared. The others stand in `metrics.csv`, and the page says how
//! to draw them. Pure, but for the gathering: same runs, same bytes.

mod batch;
mod gathering;
mod markdown;
mod method;
mod metrics_csv;
mod page;
mod rankings;
mod sections;
mod setting;
mod titles;

use std::collections::BTreeMap;

use tokwatt_domain::{leaderboard::Board, power::Provenance};

use self::{rankings::Ranking, setting::Setting};
use crate::{
    chart::{self, Chart, DrawError, Group, make::Latencies},
    rank::{Condition, RankedCell},
};

/// Everything that a report is made from.
#[derive(Clone, Debug)]
pub struct Material {
    provenance: Provenance,
    conditions: Vec<Condition>,
    /// Of all settings.
    cells: Vec<RankedCell>,
    /// The one that is drawn; none without cells.
    setting: Option<Setting>,
    /// Metric, with its scope, to what was answered for each model.
    by_model: BTreeMap<String, Asked>,
    /// Likewise over all models.
    overall: BTreeMap<String, Asked>,
    /// Of single requests: model to tasks.
    latencies: BTreeMap<String, Vec<Group<Latencies>>>,
    /// Power over time.
    powers: Vec<Chart>,
    /// What was not looked at, and what cannot be.
    left_out: Vec<String>,
}

/// Boards over one metric, and why there are no others.
#[derive(Clone, Debug, Default)]
struct Asked {
    boards: Vec<(String, Board)>,
    refused: Vec<String>,
}

/// A report, made: what page and Markdown both say.
#[derive(Clone, Debug)]
struct Report {
    title: String,
    /// What it is about, a line each.
    about: Vec<String>,
    rankings: Vec<Ranking>,
    sections: Vec<Section>,
    method: method::Method,
    excluded: Vec<String>,
}

/// Charts about one thing.
#[derive(Clone, Debug)]
struct Section {
    title: &'static str,
    /// What to know before believing.
    text: &'static str,
    charts: Vec<Chart>,
    /// Charts that are not there, and why.
    left_out: Vec<String>,
}

impl Material {
    /// The folder: relative path to content.
    ///
    /// # Errors
    /// A picture could not be drawn.
    pub fn files(&self) -> Result<BTreeMap<String, Vec<u8>>, DrawError> {
        let report = self.report();
        let mut files: BTreeMap<String, Vec<u8>> = [
            ("index.html", page::page(&report)),
            ("report.md", markdown::markdown(&report)),
            (
                "metrics.csv",
                metrics_csv::csv(&self.cells, self.provenance),
            ),
            ("summary.txt", rankings::text(&report)),
        ]
        .map(|(path, text)| (path.to_owned(), text.into_bytes()))
        .into();
        for chart in report.sections.iter().flat_map(|section| &section.charts) {
            files.insert(figure(chart, "svg"), chart::svg(chart).into_bytes());
            files.insert(figure(chart, "png"), chart::png(chart)?);
        }
        Ok(files)
    }

    /// The page alone, with everything in it.
    pub fn page(&self) -> String {
        page::page(&self.report())
    }

    fn report(&self) -> Report {
        let mut sections = sections::sections(self);
        // Numbered, so that files are in the order of the page and no two have one name.
        let charts = sections.iter_mut().flat_map(|section| &mut section.charts);
        for (number, chart) in (1..).zip(charts) {
            chart.name = chart::file_name(&format!("{number:02}-{}", chart.name));
        }
        let provenance = match self.provenance {
            Provenance::Measured => String::new(),
            other => format!(" — {}, not measured", other.as_str().to_uppercase()),
        };
        Report {
            title: format!("tokwatt report{provenance}"),
            about: self.about(),
            rankings: rankings::rankings(self),
            sections,
            method: method::method(self),
            excluded: self.excluded(),
        }
    }

    fn about(&self) -> Vec<String> {
        let Some(setting) = &self.setting else {
            let conditions = match self.conditions.is_empty() {
                true => String::new(),
                false => format!(" that meets {}", conditions(&self.conditions)),
            };
            return vec![
                format!("There is no {} run{conditions}.", self.provenance),
                "`tokwatt-agent bench --collector URL` on a device measures and delivers some; `--simulate orin` does so with a made-up device, which `report OUT --provenance simulated` shows."
                    .to_owned(),
            ];
        };
        let n_runs: usize = self.cells.iter().map(|cell| cell.runs.len()).sum();
        let mut about = vec![
            format!(
                "{n_runs} {} runs in {} cells.",
                self.provenance,
                self.cells.len()
            ),
            format!("Drawn is one setting: {}.", setting.words()),
        ];
        if !self.conditions.is_empty() {
            about.push(format!("Only runs with {}.", conditions(&self.conditions)));
        }
        let others = setting::others(&self.cells, setting);
        if !others.is_empty() {
            about.push(format!(
                "{} other settings stand in metrics.csv, and in the curves over concurrency; to draw one of them: {}.",
                others.len(),
                others.iter().take(SETTINGS_SHOWN).map(|other| other.flags(setting)).collect::<Vec<_>>().join("; or ")
            ));
        }
        about
    }

    /// What boards say of what they left out and of what to know, each once with the metrics that it is about.
    fn excluded(&self) -> Vec<String> {
        let mut said: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (metric, asked) in self.overall.iter().chain(&self.by_model) {
            let notes = asked.boards.iter().flat_map(|(_, board)| &board.notes);
            for note in notes.chain(&asked.refused) {
                let metrics = said.entry(note).or_default();
                if !metrics.contains(&metric.as_str()) {
                    metrics.push(metric);
                }
            }
        }
        let said = said
            .into_iter()
            .map(|(note, metrics)| format!("{note} [{}]", metrics.join(", ")));
        self.left_out.iter().cloned().chain(said).collect()
    }

    /// Cells of the setting that is drawn.
    fn drawn(&self) -> Vec<&RankedCell> {
        let setting = self.setting.as_ref();
        let cells = self.cells.iter();
        cells
            .filter(|cell| setting.is_some_and(|setting| setting.has(cell)))
            .collect()
    }
}

fn conditions(conditions: &[Condition]) -> String {
    let texts = conditions
        .iter()
        .map(|condition| format!("{}={}", condition.key.as_str(), condition.value));
    texts.collect::<Vec<_>>().join(" and ")
}

/// Path of a picture.
fn figure(chart: &Chart, ending: &str) -> String {
    format!("figures/{}.{ending}", chart.name)
}

/// Enough to see how it is done.
const SETTINGS_SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Material {
        Material {
            provenance: Provenance::Measured,
            conditions: Vec::new(),
            cells: Vec::new(),
            setting: None,
            by_model: BTreeMap::new(),
            overall: BTreeMap::new(),
            latencies: BTreeMap::new(),
            powers: Vec::new(),
            left_out: Vec::new(),
        }
    }

    #[test]
    fn a_report_of_nothing_says_so_and_what_to_do() {
        let files = empty().files().unwrap();
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["index.html", "metrics.csv", "report.md", "summary.txt"]
        );
        for name in ["index.html", "report.md", "summary.txt"] {
            let text = String::from_utf8(files[name].clone()).unwrap();
            assert!(
                text.contains("There is no measured run") && text.contains("tokwatt-agent bench"),
                "{name}: {text}"
            );
        }
    }
}
