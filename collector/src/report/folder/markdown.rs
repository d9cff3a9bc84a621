//! The report as Markdown: the same words and pictures, for notes, issues and repositories.

use super::{Report, Section, figure, method::Method, rankings::Ranking};
use crate::chart;

pub(super) fn markdown(report: &Report) -> String {
    let mut text = format!("# {}\n", escaped(&report.title));
    for line in &report.about {
        text += &format!("\n{}\n", escaped(line));
    }
    if !report.rankings.is_empty() {
        text += "\n## Rankings\n\nRows that share a place cannot be told apart yet; in brackets are the places that the 95 % intervals leave open. The 95 % hold for each pair, not for a list as a whole.\n";
    }
    for ranking in &report.rankings {
        text += &of_ranking(ranking);
    }
    for section in &report.sections {
        text += &of_section(section);
    }
    if !report.sections.is_empty() {
        text += &of_method(&report.method);
    }
    text += "\n## What is not in it, and what to know\n\n";
    if report.excluded.is_empty() {
        text += "Nothing was left out.\n";
    }
    for line in &report.excluded {
        text += &format!("- {}\n", escaped(line));
    }
    text
}

fn of_ranking(ranking: &Ranking) -> String {
    let mut text = format!(
        "\n### {}\n\n{}\n\n",
        escaped(&ranking.title),
        escaped(&ranking.of)
    );
    text += &head(&[
        "place",
        "configuration",
        "value",
        "95 % interval",
        "runs",
        "flags",
    ]);
    for line in &ranking.lines {
        let n_runs = line.n_runs.to_string();
        text += &row(&[
            &line.place,
            &line.name,
            &line.value,
            &line.interval,
            &n_runs,
            &line.flags,
        ]);
    }
    if ranking.n_more > 0 {
        text += &format!("\n{} more stand in metrics.csv\n", ranking.n_more);
    }
    text
}

fn of_section(section: &Section) -> String {
    let mut text = format!("\n## {}\n\n{}\n", section.title, section.text);
    for chart in &section.charts {
        // Square brackets and line ends would end the text that stands for the picture.
        let alternative = escaped(&chart.title).replace(['[', ']'], "");
        text += &format!("\n![{alternative}]({})\n", figure(chart, "svg"));
        for (title, table) in chart::tables(chart) {
            text += &format!(
                "\n<details><summary>Numbers: {}</summary>\n\n",
                escaped(&title)
            );
            let words: Vec<&str> = table.head.iter().map(String::as_str).collect();
            text += &head(&words);
            for cells in &table.rows {
                let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
                text += &row(&cells);
            }
            text += "\n</details>\n";
        }
    }
    for line in &section.left_out {
        text += &format!("\n- not drawn: {}", escaped(line));
    }
    text + "\n"
}

fn of_method(method: &Method) -> String {
    let mut text = "\n## Method\n\n".to_owned();
    for rule in &method.rules {
        text += &format!("- {}\n", escaped(rule));
    }
    text += &table(&["scope", "what it includes"], &method.scopes);
    text += &table(
        &["device", "engine", "power mode", "system"],
        &method.devices,
    );
    text + &table(
        &["id", "unit", "better", "how it comes about"],
        &method.definitions,
    )
}

fn table<const N: usize>(words: &[&str; N], rows: &[[String; N]]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let rows = rows
        .iter()
        .map(|cells| row(&cells.each_ref().map(String::as_str)));
    format!("\n{}{}", head(words), rows.collect::<String>())
}

fn head(words: &[&str]) -> String {
    row(words) + &row(&vec!["---"; words.len()])
}

fn row(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// Nothing of a name is HTML, a column, or a line of its own.
fn escaped(text: &str) -> String {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
