//! Text in lines that a terminal of 110 columns shows whole.

/// Words after each other, broken between them; every line but the first begins with `indent` spaces.
pub(super) fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > COLUMNS {
            lines += "\n";
            lines += &" ".repeat(indent);
            width = indent;
        } else if width > 0 {
            lines += " ";
            width += 1;
        }
        lines += word;
        width += length;
    }
    lines
}

/// One below the other, each with a dash.
pub(super) fn dashed(notes: &[String]) -> String {
    let lines: String = notes
        .iter()
        .map(|note| wrapped(&format!("- {note}"), 2) + "\n")
        .collect();
    if lines.is_empty() {
        lines
    } else {
        format!("\n{lines}")
    }
}

const COLUMNS: usize = 110;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_too_long_and_no_word_is_cut() {
        let text = "word ".repeat(100);
        let lines = wrapped(text.trim(), 4);
        assert!(lines.lines().count() > 1);
        assert!(lines.lines().all(|line| line.chars().count() <= COLUMNS));
        assert!(
            lines
                .lines()
                .skip(1)
                .all(|line| line.starts_with("    word"))
        );
        assert_eq!(lines.split_whitespace().count(), 100);
    }

    #[test]
    fn no_notes_take_no_line() {
        assert_eq!(dashed(&[]), "");
        assert_eq!(dashed(&["a b".to_owned()]), "\n- a b\n");
    }
}
