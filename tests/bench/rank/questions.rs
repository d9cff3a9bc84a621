//! What is asked, in our words and in SQL.

use tokwatt_collector::rank;

/// A question.
pub(crate) struct Question {
    /// For people.
    pub(crate) says: &'static str,
    metric: &'static str,
    by: &'static [&'static str],
    conditions: &'static [(&'static str, &'static str)],
    /// Whether there is no such board, which has to be found out as fast.
    pub(crate) is_refused: bool,
    /// The ranked figure in a stored report; absent where SQL has nothing to compare.
    pub(crate) figure: Option<&'static str>,
}

impl Question {
    /// As the collector is asked.
    pub(crate) fn parsed(&self) -> anyhow::Result<rank::Question> {
        let by: Vec<String> = self.by.iter().map(|key| (*key).to_owned()).collect();
        let conditions = self.conditions.iter();
        let conditions: Vec<String> = conditions
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        Ok(rank::Question::parse(
            self.metric,
            &by,
            &conditions,
            "simulated",
            false,
        )?)
    }

    /// The means of the rows, best first, read from the reports: less than a board says, and what a person would type first.
    pub(crate) fn sql(&self) -> Option<String> {
        let figure = self.figure?;
        let by: Vec<String> = self.by.iter().map(|key| place(key)).collect();
        let by = by.join(", ");
        let conditions = self.conditions.iter();
        let conditions: Vec<String> = conditions
            .map(|(key, value)| format!("AND {} = '{value}'", place(key)))
            .collect();
        Some(format!(
            "SELECT {by}, avg({figure}) AS value, count(*) FROM run
             WHERE state = 'complete' AND json_extract(report, '$.provenance.requests') = 'simulated' {}
             GROUP BY {by} ORDER BY value DESC",
            conditions.join(" ")
        ))
    }
}

/// Where a key stands in a report, as text.
fn place(key: &str) -> String {
    match key {
        "device" => "device".to_owned(),
        "load" => "'closed(' || json_extract(report, '$.cell.load.closed') || ')'".to_owned(),
        _ => format!("CAST(json_extract(report, '$.cell.{key}') AS TEXT)"),
    }
}

const ONE: &[(&str, &str)] = &[
    ("model", "model-07"),
    ("precision", "q8_0"),
    ("task", "caption_brief"),
    ("image_px", "512"),
    ("load", "closed(1)"),
];

const DECODE: &str =
    "json_extract(report, '$.totals.decode_tokens') / json_extract(report, '$.totals.decode_s')";

/// From the narrowest to the widest.
pub(crate) const QUESTIONS: &[Question] = &[
    Question {
        says: "decode_tps of all devices, one model, precision, task, size, load",
        metric: "decode_tps",
        by: &["device"],
        conditions: ONE,
        is_refused: false,
        figure: Some(DECODE),
    },
    Question {
        says: "the same, request_latency.p90",
        metric: "request_latency.p90",
        by: &["device"],
        conditions: ONE,
        is_refused: false,
        figure: Some("json_extract(report, '$.metrics.request_latency.p90')"),
    },
    Question {
        says: "the same, j_per_image@module",
        metric: "j_per_image@module",
        by: &["device"],
        conditions: ONE,
        is_refused: false,
        figure: Some(
            "json_extract(report, '$.\"totals\".\"energy_j@module\"') / json_extract(report, '$.totals.images')",
        ),
    },
    Question {
        says: "decode_tps of all devices and precisions, all tasks of one model together",
        metric: "decode_tps",
        by: &["device", "precision"],
        conditions: &[
            ("model", "model-07"),
            ("image_px", "512"),
            ("load", "closed(1)"),
        ],
        is_refused: false,
        figure: Some(DECODE),
    },
    Question {
        says: "images_per_s of all models on one device, with what stands beside",
        metric: "images_per_s",
        by: &["model"],
        conditions: &[
            ("device", "device-11"),
            ("precision", "q8_0"),
            ("image_px", "512"),
            ("load", "closed(1)"),
        ],
        is_refused: false,
        figure: Some(
            "json_extract(report, '$.totals.images') / json_extract(report, '$.totals.window_s')",
        ),
    },
    Question {
        says: "requests_per_s of everything there is, a row for each identity, all tasks together",
        metric: "requests_per_s",
        by: &["device", "model", "precision", "image_px", "load"],
        conditions: &[],
        is_refused: false,
        figure: Some(
            "json_extract(report, '$.totals.successes') / json_extract(report, '$.totals.window_s')",
        ),
    },
    Question {
        says: "requests_per_s of everything by device: refused, with what to fix",
        metric: "requests_per_s",
        by: &["device"],
        conditions: &[],
        is_refused: true,
        figure: None,
    },
];
