//! What bars and box plots have in common: named rows under headings, a plot, and a column of words beside it.

use crate::chart::{
    canvas::{Area, Canvas, Side, Span},
    color,
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
        // A narrow picture needs more of its width to tell rows apart.
        let share = if is_narrow(area) { 45 } else { 30 };
        let names = names.max().unwrap_or(0).min(area.width() * share / 100);
        let words = words.iter().map(|words| font::width(words, SMALL.size));
        let words = words.max().unwrap_or(0).min(area.width() * 4 / 10);
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
        let ticks = ticks(span, ticks_in(self.plot));
        // Lines would cross out the headings.
        let stretches = stretches(groups, self.plot.top);
        horizontal_axis(
            canvas,
            (self.plot, &stretches),
            &ticks,
            (self.left(), title),
        );
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
                let beside = words.next().map_or("", String::as_str);
                let beside = font::cut_behind(beside, SMALL.size, self.words);
                canvas.text((self.plot.right + GAP / 2, y), Side::Right, SMALL, &beside);
                let category = categories
                    .iter()
                    .position(|own| *own == kind(name))
                    .unwrap_or(0);
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

/// Where rows are, without their headings.
fn stretches<T>(groups: &[Group<T>], top: i32) -> Vec<(i32, i32)> {
    let mut top = top;
    let mut stretches = Vec::new();
    for group in groups {
        top += if group.name.is_empty() { 0 } else { HEADING };
        let bottom = top + ROW * i32::try_from(group.rows.len()).unwrap_or(0);
        stretches.push((top, bottom));
        top = bottom;
    }
    stretches
}

/// Kinds of rows that have a colour each: what names begin with, such as the device, where several rows begin so. A list of single
/// things needs no colours, and more kinds than colours have none.
fn categories<T>(groups: &[Group<T>]) -> Vec<&str> {
    let rows = || groups.iter().flat_map(|group| &group.rows);
    let mut kinds: Vec<&str> = rows().map(|(name, _)| kind(name)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.len() == rows().count() || kinds.len() > color::N_CATEGORIES {
        kinds.clear();
    }
    kinds
}

fn kind(name: &str) -> &str {
    name.split(" · ").next().unwrap_or(name)
}

/// Whether there is room for the figures only, without what is beside them.
pub(super) fn is_narrow(area: Area) -> bool {
    area.width() < 600
}

/// So many that their words do not touch.
pub(super) fn ticks_in(plot: Area) -> usize {
    usize::try_from(plot.width() / 60).unwrap_or(0).clamp(3, 11)
}

const ROW: i32 = 24;
const HEADING: i32 = 26;
const GAP: i32 = 16;
