//! What bars and box plots have in common: named rows under headings, a plot, and a column of words beside it.

use crate::chart::{
    canvas::{Area, Canvas, Side, Span},
    description::Group,
    font,
};

use super::{AXIS_HEIGHT, LABEL, SMALL, horizontal_axis, ticks};

/// Where the parts are.
pub(super) struct Layout {
    pub(super) plot: Area,
    names: i32,
    words: i32,
}

/// A row's name, data, middle line, and number among the different names.
pub(super) struct Row<'a, T> {
    pub(super) data: &'a T,
    pub(super) y: i32,
    pub(super) category: usize,
}

pub(super) fn height<T>(groups: &[Group<T>]) -> i32 {
    let height = |group: &Group<T>| {
        let heading = if group.name.is_empty() { 0 } else { HEADING };
        heading + ROW * i32::try_from(group.rows.len()).unwrap_or(i32::MAX / ROW / 2)
    };
    groups.iter().map(height).sum::<i32>() + AXIS_HEIGHT
}

impl Layout {
    /// Names at the left as wide as they are but not too wide, words at the right likewise.
    pub(super) fn of<T>(groups: &[Group<T>], words: &[String], area: Area) -> Self {
        let names = groups.iter().flat_map(|group| &group.rows);
        let names = names.map(|(name, _)| font::width(name, LABEL.size));
        let names = names.max().unwrap_or(0).min(area.width() * 3 / 10);
        let words = words.iter().map(|words| font::width(words, SMALL.size));
        let words = words.max().unwrap_or(0).min(area.width() * 3 / 10);
        let plot = Area {
            left: area.left + names + GAP,
            top: area.top,
            right: area.right - words - GAP,
            bottom: area.bottom - AXIS_HEIGHT,
        };
        Self { plot, names, words }
    }

    /// Grid, headings, names and words; gives each row's place.
    pub(super) fn draw<'a, T>(
        &self,
        canvas: &mut Canvas<'_>,
        groups: &'a [Group<T>],
        words: &[String],
        (span, title): (&Span, &str),
    ) -> Vec<Row<'a, T>> {
        horizontal_axis(canvas, self.plot, &ticks(span, ticks_in(self.plot)), title);
        let categories = categories(groups);
        let (mut rows, mut words) = (Vec::new(), words.iter());
        let mut top = self.plot.top;
        for group in groups {
            if !group.name.is_empty() {
                let name = font::cut(&group.name, LABEL.size, self.plot.right - self.left());
                canvas.text((self.left(), top + HEADING / 2), Side::Right, LABEL, &name);
                top += HEADING;
            }
            for (name, data) in &group.rows {
                let y = top + ROW / 2;
                let label = font::cut(name, LABEL.size, self.names);
                canvas.text((self.plot.left - GAP / 2, y), Side::Left, LABEL, &label);
                let beside = font::cut(
                    words.next().map_or("", String::as_str),
                    SMALL.size,
                    self.words,
                );
                canvas.text((self.plot.right + GAP / 2, y), Side::Right, SMALL, &beside);
                let category = categories.iter().position(|own| own == name).unwrap_or(0);
                rows.push(Row { data, y, category });
                top += ROW;
            }
        }
        rows
    }

    fn left(&self) -> i32 {
        self.plot.left - self.names - GAP
    }
}

/// Different names under several headings are told apart by colour; a single list needs none.
fn categories<T>(groups: &[Group<T>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    if groups.len() > 1 {
        let rows = groups.iter().flat_map(|group| &group.rows);
        names.extend(rows.map(|(name, _)| name.clone()));
        names.sort();
        names.dedup();
    }
    names
}

/// So many that their words do not touch.
pub(super) fn ticks_in(plot: Area) -> usize {
    usize::try_from(plot.width() / 70).unwrap_or(0).clamp(2, 11)
}

const ROW: i32 = 24;
const HEADING: i32 = 26;
const GAP: i32 = 16;
