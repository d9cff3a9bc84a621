//! Pictures in a picture: two in each line, where there is room.

use crate::chart::{
    canvas::{Area, Canvas, Side},
    description::Panel,
    font,
};

use super::LABEL;

pub(super) fn height(panels: &[Panel], width: i32) -> i32 {
    let lines = panels.chunks(columns(width));
    lines.map(|line| line_height(line, width) + GAP).sum()
}

pub(super) fn draw(panels: &[Panel], canvas: &mut Canvas<'_>, area: Area) {
    let mut top = area.top;
    for line in panels.chunks(columns(area.width())) {
        let height = line_height(line, area.width());
        let mut left = area.left;
        for panel in line {
            let right = left + panel_width(area.width());
            let title = font::cut(&panel.title, LABEL.size, right - left);
            canvas.text((left, top + HEAD / 2), Side::Right, LABEL, &title);
            let own = panel.drawing.height(right - left);
            let place = Area {
                left,
                top: top + HEAD,
                right,
                bottom: top + HEAD + own,
            };
            panel.drawing.draw(canvas, place);
            left = right + GAP;
        }
        top += height + GAP;
    }
}

fn line_height(line: &[Panel], width: i32) -> i32 {
    let heights = line
        .iter()
        .map(|panel| panel.drawing.height(panel_width(width)));
    heights.max().unwrap_or(0) + HEAD
}

fn panel_width(width: i32) -> i32 {
    match columns(width) {
        1 => width,
        _ => (width - GAP) / 2,
    }
}

fn columns(width: i32) -> usize {
    if width < 700 { 1 } else { 2 }
}

const HEAD: i32 = 26;
const GAP: i32 = 24;
