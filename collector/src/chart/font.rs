//! The font of pictures, in the program itself: a machine without any draws the same bytes.
//!
//! `font/DejaVuSans.ttf` is DejaVu Sans 2.37 without hinting, cut down to Latin, Greek and Cyrillic letters, digits and signs.

use std::sync::Once;

use plotters::style::{FontStyle, IntoFont, TextStyle, register_font};

/// What a reader's own program looks for; the first is ours, the second as wide.
pub(super) const FAMILIES: &str = "DejaVu Sans, Verdana, sans-serif";

/// Its file.
pub(super) const BYTES: &[u8] = include_bytes!("font/DejaVuSans.ttf");

/// The font in a size in pixels.
pub(super) fn style(size: i32) -> TextStyle<'static> {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        let registered = register_font(FAMILIES, FontStyle::Normal, BYTES);
        assert!(registered.is_ok(), "the font in the program is a font");
    });
    // The library takes a line's height, which is so much more.
    (FAMILIES, f64::from(size) * 1.24).into_font().into()
}

/// How wide a text is, in pixels; letters that the font lacks, as wide as they are high.
pub(super) fn width(text: &str, size: i32) -> i32 {
    let (known, foreign): (String, String) = text.chars().partition(|letter| *letter < '\u{2e80}');
    let measured = style(size).font.box_size(&known);
    let (width, _) = measured.expect("the font in the program is registered");
    let foreign = i32::try_from(foreign.chars().count()).unwrap_or(i32::MAX);
    i32::try_from(width)
        .unwrap_or(i32::MAX)
        .saturating_add(foreign.saturating_mul(size))
}

/// The text, or as much of its beginning and end as is not wider than this.
pub(super) fn cut(text: &str, size: i32, most: i32) -> String {
    if width(text, size) <= most {
        return text.to_owned();
    }
    let letters: Vec<char> = text.chars().collect();
    let shortened = |kept: usize| -> String {
        let (head, tail) = (kept.div_ceil(2), kept / 2);
        let head = letters.iter().take(head);
        let tail = letters.iter().skip(letters.len() - tail);
        head.chain(['…'].iter()).chain(tail).collect()
    };
    let fits = |kept: &usize| width(&shortened(*kept), size) <= most;
    let kept = (0..letters.len()).rev().find(fits).unwrap_or(0);
    shortened(kept)
}

/// The text, or as much of its beginning as is not wider than this.
pub(super) fn cut_behind(text: &str, size: i32, most: i32) -> String {
    if width(text, size) <= most {
        return text.to_owned();
    }
    let ends = text.char_indices().map(|(end, _)| end).rev();
    let mut shortened = ends.map(|end| format!("{}…", text[..end].trim_end_matches([' ', '·'])));
    let fitting = shortened.find(|text| width(text, size) <= most);
    fitting.unwrap_or_else(|| "…".to_owned())
}

/// The text in lines that are no wider than this, broken at spaces, or cut where a word is too long.
pub(super) fn wrapped(text: &str, size: i32, most: i32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = cut(word, size, most);
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}"), size) <= most => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_keeps_its_beginning_and_its_end() {
        let name = "Qwen2.5-VL-7B-Instruct-with-a-name-that-goes-on-Q4_K_M";
        let short = cut(name, 12, 150);
        assert!(width(&short, 12) <= 150 && short.contains('…'), "{short}");
        assert!(
            short.starts_with("Qwen2.5") && short.ends_with("K_M"),
            "{short}"
        );
        assert_eq!(cut("orin", 12, 150), "orin");
        let figure = cut_behind("1.438 (1.432–1.443) · window_below_60_s", 12, 180);
        assert!(
            figure.starts_with("1.438 (1.432–1.443)") && figure.ends_with('…'),
            "{figure}"
        );
    }

    #[test]
    fn lines_are_no_wider_than_they_may_be() {
        let text =
            "a sentence of several words, and one-that-is-far-too-long-for-any-line-of-this-width";
        let lines = wrapped(text, 12, 120);
        assert!(lines.len() > 2);
        assert!(lines.iter().all(|line| width(line, 12) <= 120), "{lines:?}");
    }
}
