//! Letters of our own: capitals, digits and a few signs, seven dots high.
//!
//! A dot is a square of whole points, and texts begin on the grid of dots: at 256 px a side a dot of size 1 is one pixel, at 512
//! two, at 1,024 four, with no blur between. Below 256 px a text of size 1 cannot be read.

use crate::workload::{
    canvas::{Color, Mark},
    shape::Shape,
};

/// Points of one dot, and of one unit in which charts are laid out: the 256th part of the picture's side.
pub(super) const UNIT: i32 = 750;

/// Height of a letter in dots.
pub(super) const HEIGHT: i32 = 7;

/// Where a text's given x lies in it.
#[derive(Clone, Copy)]
pub(super) enum Align {
    Center,
    Right,
}

/// A text whose upper edge is at `y`, both in units; `size` dots make one.
pub(super) fn text(
    text: &str,
    (x, y): (i32, i32),
    size: i32,
    align: Align,
    color: Color,
) -> Vec<Mark> {
    let width = width(text) * size;
    let mut left = match align {
        Align::Center => x - width / 2,
        Align::Right => x - width,
    };
    let mut marks = Vec::new();
    for letter in text.chars() {
        let rows = glyph(letter);
        for (row, dots) in (0..).zip(rows.split(' ')) {
            let top = y + row * size;
            for (from, to) in runs(dots) {
                let shape = Shape::rectangle(
                    (left + from * size) * UNIT,
                    top * UNIT,
                    (left + to * size) * UNIT,
                    (top + size) * UNIT,
                );
                marks.push(Mark::Area { shape, color });
            }
        }
        left += (advance(rows) + GAP) * size;
    }
    marks
}

/// In dots.
pub(super) fn width(text: &str) -> i32 {
    let letters = text.chars().map(|letter| advance(glyph(letter)) + GAP);
    // The gap after the last letter is none of the text's.
    (letters.sum::<i32>() - GAP).max(0)
}

/// Between two letters, in dots.
const GAP: i32 = 1;

fn advance(rows: &str) -> i32 {
    let first = rows.split(' ').next().unwrap_or_default();
    i32::try_from(first.len()).expect("a few dots")
}

/// Where a row has dots: `from..to`.
fn runs(dots: &str) -> Vec<(i32, i32)> {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for (at, dot) in (0..).zip(dots.bytes()) {
        match runs.last_mut() {
            Some((_, end)) if dot == b'#' && *end == at => *end += 1,
            _ if dot == b'#' => runs.push((at, at + 1)),
            _ => {}
        }
    }
    runs
}

/// The rows of a letter, from the top; of one that there is not, a blank.
fn glyph(letter: char) -> &'static str {
    let found = GLYPHS.iter().find(|(own, _)| *own == letter);
    found.map_or("...", |(_, rows)| rows)
}

#[rustfmt::skip]
const GLYPHS: &[(char, &str)] = &[
    (' ', "..."),
    ('A', ".##. #..# #..# #### #..# #..# #..#"),
    ('B', "###. #..# #..# ###. #..# #..# ###."),
    ('C', ".### #... #... #... #... #... .###"),
    ('D', "###. #..# #..# #..# #..# #..# ###."),
    ('E', "#### #... #... ###. #... #... ####"),
    ('F', "#### #... #... ###. #... #... #..."),
    ('G', ".### #... #... #.## #..# #..# .###"),
    ('H', "#..# #..# #..# #### #..# #..# #..#"),
    ('I', "### .#. .#. .#. .#. .#. ###"),
    ('J', "..## ...# ...# ...# ...# #..# .##."),
    ('K', "#..# #..# #.#. ##.. #.#. #..# #..#"),
    ('L', "#... #... #... #... #... #... ####"),
    ('M', "#...# ##.## #.#.# #.#.# #...# #...# #...#"),
    ('N', "#..# ##.# ##.# #.## #.## #..# #..#"),
    ('O', ".###. #...# #...# #...# #...# #...# .###."),
    ('P', "###. #..# #..# ###. #... #... #..."),
    ('Q', ".###. #...# #...# #...# #.#.# #..#. .##.#"),
    ('R', "###. #..# #..# ###. #.#. #..# #..#"),
    ('S', ".### #... #... .##. ...# ...# ###."),
    ('T', "##### ..#.. ..#.. ..#.. ..#.. ..#.. ..#.."),
    ('U', "#..# #..# #..# #..# #..# #..# .##."),
    ('V', "#...# #...# #...# #...# .#.#. .#.#. ..#.."),
    ('W', "#...# #...# #...# #.#.# #.#.# ##.## #...#"),
    ('X', "#...# #...# .#.#. ..#.. .#.#. #...# #...#"),
    ('Y', "#...# #...# .#.#. ..#.. ..#.. ..#.. ..#.."),
    ('Z', "#### ...# ..#. ..#. .#.. #... ####"),
    ('0', ".##. #..# #..# #..# #..# #..# .##."),
    ('1', ".#. ##. .#. .#. .#. .#. ###"),
    ('2', ".##. #..# ...# ..#. .#.. #... ####"),
    ('3', "###. ...# ...# .##. ...# ...# ###."),
    ('4', "..#. .##. #.#. #.#. #### ..#. ..#."),
    ('5', "#### #... ###. ...# ...# #..# .##."),
    ('6', ".##. #... #... ###. #..# #..# .##."),
    ('7', "#### ...# ...# ..#. ..#. .#.. .#.."),
    ('8', ".##. #..# #..# .##. #..# #..# .##."),
    ('9', ".##. #..# #..# .### ...# ...# .##."),
    ('.', ". . . . . . #"),
    (':', ". . # . . # ."),
    ('-', "... ... ... ### ... ... ..."),
    ('(', ".# #. #. #. #. #. .#"),
    (')', "#. .# .# .# .# .# #."),
    ('/', "..# ..# .#. .#. .#. #.. #.."),
    ('%', "##..# ##.#. ...#. ..#.. .#... .#.## #..##"),
];

/// Whether every letter of a text can be drawn.
#[cfg(test)]
pub(super) fn has_all(text: &str) -> bool {
    text.chars()
        .all(|letter| GLYPHS.iter().any(|(own, _)| *own == letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_is_seven_rows_of_one_width() {
        for (letter, rows) in GLYPHS {
            let rows: Vec<&str> = rows.split(' ').collect();
            let is_blank = *letter == ' ';
            assert!(is_blank || rows.len() == 7, "{letter}");
            assert!(
                rows.iter().all(|row| row.len() == rows[0].len()),
                "{letter}"
            );
        }
    }

    #[test]
    fn no_two_letters_look_alike() {
        for (at, (letter, rows)) in GLYPHS.iter().enumerate() {
            let twin = GLYPHS[..at].iter().find(|(_, other)| other == rows);
            assert_eq!(twin, None, "{letter}");
        }
    }

    #[test]
    fn a_text_is_as_wide_as_its_letters_and_the_gaps_between_them() {
        assert_eq!(
            (width(""), width("I"), width("MAY")),
            (0, 3, 5 + 1 + 4 + 1 + 5)
        );
    }

    #[test]
    fn a_text_is_placed_by_its_end_or_its_middle() {
        let left_of = |align| {
            let marks = text("L", (100, 10), 2, align, Color([0; 3]));
            match marks.first() {
                Some(Mark::Area {
                    shape: Shape::Rectangle { left, .. },
                    ..
                }) => *left / UNIT,
                _ => panic!("a letter is rectangles"),
            }
        };
        let places = [Align::Center, Align::Right].map(left_of);
        assert_eq!(places, [96, 92]);
    }
}
