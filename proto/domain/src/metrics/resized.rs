//! Pictures that somebody made smaller: several sizes of which each takes the same number of prompt tokens.
//!
//! One run has one size, so this is asked of runs together, when they are shown, and is stored with none.

use std::collections::{BTreeMap, BTreeSet};

use crate::metrics::{Flag, MetricValue, RunReport};

/// What makes two runs ones of the same engine with the same model.
type Engine<'a> = (&'a str, &'a str, &'a str, &'a str);

/// The note `resized`, once for each engine and model whose pictures of two or more sizes take equally many prompt tokens. Models that
/// are known to take as many for every picture are left alone.
pub fn resized(reports: &[RunReport]) -> Vec<Flag> {
    let mut sizes: BTreeMap<(Engine<'_>, u64), BTreeSet<u32>> = BTreeMap::new();
    for report in reports.iter().filter(|report| !is_fixed(report)) {
        let size = report.cell.identity.image_px;
        if let (Some(size), Some(tokens)) = (size, image_tokens(report)) {
            sizes
                .entry((engine(report), tokens))
                .or_default()
                .insert(size);
        }
    }
    let several = sizes.into_iter().filter(|(_, sizes)| sizes.len() > 1);
    several
        .map(|(((_, _, model, _), tokens), sizes)| {
            let sizes: Vec<String> = sizes.iter().map(u32::to_string).collect();
            let detail = format!(
                "{model} takes {tokens} prompt tokens for a picture of {} px: pictures are made smaller on the way, or it always takes as many",
                sizes.join(", of ")
            );
            Flag::note("resized", detail)
        })
        .collect()
}

fn engine(report: &RunReport) -> Engine<'_> {
    let (identity, configuration) = (&report.cell.identity, &report.cell.configuration);
    (
        &configuration.backend,
        &configuration.engine,
        &identity.model,
        &identity.precision,
    )
}

/// A count of tokens is a whole number.
fn image_tokens(report: &RunReport) -> Option<u64> {
    match report.metrics.get("image_tokens")?.as_ref()? {
        MetricValue::Number(tokens) => format!("{tokens:.0}").parse().ok(),
        MetricValue::Distribution(_) => None,
    }
}

fn is_fixed(report: &RunReport) -> bool {
    let cell = &report.cell;
    let architecture = cell.configuration.model_facts.get("architecture");
    takes_equally_many(&cell.identity.model, architecture.map(String::as_str))
}

/// Whether a model is known to take as many tokens for a picture of any size.
pub fn takes_equally_many(model: &str, architecture: Option<&str>) -> bool {
    [Some(model), architecture]
        .into_iter()
        .flatten()
        .any(|name| {
            let name = name.to_ascii_lowercase();
            FIXED.iter().any(|fixed| name.contains(fixed))
        })
}

/// Parts of names of models that take equally many tokens for a picture of any size.
const FIXED: &[&str] = &[
    "gemma-3",
    "gemma3",
    "paligemma",
    "llava-1.5",
    "llava-v1.5",
    "tiny-vlm",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{example, measure};

    fn run(model: &str, size: u32, tokens: Option<u32>) -> RunReport {
        let mut trace = example::run(vec![example::request(0, 0, &[100], 50, 4)]);
        trace.header.cell.identity.model = model.to_owned();
        trace.header.cell.identity.image_px = Some(size);
        trace.header.image_tokens = tokens;
        measure(&trace)
    }

    #[track_caller]
    fn check(reports: &[RunReport], want: &[&str]) {
        let details: Vec<String> = resized(reports)
            .into_iter()
            .map(|flag| flag.detail)
            .collect();
        assert_eq!(details, want);
    }

    #[test]
    fn sizes_that_take_equally_many_tokens_are_noted() {
        let reports = [
            run("qwen", 512, Some(300)),
            run("qwen", 256, Some(81)),
            run("qwen", 1024, Some(300)),
            run("qwen", 1024, Some(300)),
        ];
        check(
            &reports,
            &[
                "qwen takes 300 prompt tokens for a picture of 512, of 1024 px: pictures are made smaller on the way, or it always takes as many",
            ],
        );
    }

    #[test]
    fn one_size_other_models_and_unknown_counts_say_nothing() {
        check(
            &[run("qwen", 512, Some(300)), run("qwen", 512, Some(300))],
            &[],
        );
        check(
            &[run("qwen", 512, Some(300)), run("llama", 256, Some(300))],
            &[],
        );
        check(&[run("qwen", 512, None), run("qwen", 256, None)], &[]);
        check(
            &[
                run("gemma-3-4b-it", 512, Some(256)),
                run("gemma-3-4b-it", 896, Some(256)),
            ],
            &[],
        );
    }
}
