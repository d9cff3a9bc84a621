//! Scatter: two figures of each thing, named where there is room, and the front of those that nothing beats in both.

use crate::chart::{
    canvas::{Area, Canvas, Side, Span, extent},
    color,
    description::{Datum, Scatter},
    font,
    number::Scale,
};

use super::{
    AXIS_HEIGHT, LABEL, SMALL, horizontal_axis, lines::vertical_axis, reach, rows::ticks_in, ticks,
    title,
};

/// A dot on the sheet.
struct Placed<'a> {
    name: &'a str,
    at: (i32, i32),
    is_blocked: bool,
    is_on_front: bool,
}

impl Scatter {
    pub(super) fn height(&self, width: i32) -> i32 {
        let numbered = self
            .place(plot(Area {
                left: 0,
                top: 0,
                right: width,
                bottom: HEIGHT,
            }))
            .len();
        // Room for a list of those that find no room for their name.
        HEIGHT
            + LINE
                * i32::try_from(numbered.div_ceil(2)).unwrap_or(0)
                * i32::from(numbered > DIRECT_MOST)
    }

    pub(super) fn draw(&self, canvas: &mut Canvas<'_>, area: Area) {
        let plot = plot(Area {
            bottom: area.top + HEIGHT,
            ..area
        });
        let (across, up) = self.spans(plot);
        let x_title = title(&self.x, &self.scale(0));
        let whole = [(plot.top, plot.bottom)];
        let x_ticks = ticks(&across, ticks_in(plot));
        horizontal_axis(canvas, (plot, &whole), &x_ticks, (area.left, &x_title));
        vertical_axis(
            canvas,
            plot,
            &up,
            area.left,
            &title(&self.y, &self.scale(1)),
        );
        let dots = self.place(plot);
        draw_front(canvas, &dots, plot);
        let mut taken: Vec<Area> = Vec::new();
        for (dot, (_, pair)) in dots.iter().zip(self.known()) {
            let scales = [self.scale(0), self.scale(1)];
            taken.extend(cross(dot.at, pair, &scales, (&across, &up)));
        }
        for line in &taken {
            canvas.fill(*line, color::FAINT);
        }
        draw_names(canvas, &dots, taken, plot);
        for dot in &dots {
            let color = if dot.is_on_front {
                color::category(4)
            } else {
                color::category(0)
            };
            if dot.is_blocked {
                canvas.ring(dot.at, 5, color);
            } else {
                canvas.marker(dot.at, if dot.is_on_front { 3 } else { 0 }, color);
            }
        }
        if dots.len() > DIRECT_MOST {
            draw_list(canvas, &dots, area, area.top + HEIGHT);
        }
    }

    pub(in crate::chart) fn scale(&self, direction: usize) -> Scale<'_> {
        let axis = if direction == 0 { &self.x } else { &self.y };
        Scale::of(&axis.unit, self.reach(direction))
    }

    fn reach(&self, direction: usize) -> impl Iterator<Item = f64> {
        reach(self.known().map(move |(_, pair)| &pair[direction]))
    }

    /// Those that have both figures.
    fn known(&self) -> impl Iterator<Item = (usize, &[Datum; 2])> {
        let has_both = |pair: &[Datum; 2]| pair.iter().all(|datum| datum.as_number().is_some());
        let dots = self.dots.iter().enumerate();
        dots.filter(move |(_, (_, pair))| has_both(pair))
            .map(|(number, (_, pair))| (number, pair))
    }

    fn spans(&self, plot: Area) -> (Span, Span) {
        let span = |direction: usize, pixels| {
            let scale = self.scale(direction);
            if scale.unit == "share" {
                let (low, high) = extent(self.reach(direction));
                // Nobody looks for a share below 0 or above 1, unless there is one.
                let low = (low - 0.1).max(low.min(0.0));
                return Span::new(low, (high + 0.1).min(high.max(1.0)), pixels);
            }
            Span::around(
                self.reach(direction).map(|value| scale.scaled(value)),
                pixels,
            )
        };
        let across = span(0, (plot.left, plot.right));
        (across, span(1, (plot.bottom, plot.top)))
    }

    fn place(&self, plot: Area) -> Vec<Placed<'_>> {
        let (across, up) = self.spans(plot);
        let front = self.front();
        let at = |datum: &Datum, span: &Span, scale: Scale<'_>| {
            span.at(scale.scaled(datum.as_number().unwrap_or_default()))
        };
        let place = |(number, pair): (usize, &[Datum; 2])| Placed {
            name: &self.dots[number].0,
            at: (
                at(&pair[0], &across, self.scale(0)),
                at(&pair[1], &up, self.scale(1)),
            ),
            is_blocked: pair.iter().any(|datum| datum.is_blocked),
            is_on_front: front[number],
        };
        self.known().map(place).collect()
    }
}

fn plot(area: Area) -> Area {
    Area {
        left: area.left + 70,
        top: area.top + HEAD,
        right: area.right - 20,
        bottom: area.bottom - AXIS_HEIGHT,
    }
}

/// Steps between those on the front: between two of them, nothing better is known.
fn draw_front(canvas: &mut Canvas<'_>, dots: &[Placed<'_>], plot: Area) {
    let mut front: Vec<(i32, i32)> = dots
        .iter()
        .filter(|dot| dot.is_on_front)
        .map(|dot| dot.at)
        .collect();
    front.sort_unstable();
    front.dedup();
    if front.len() > 1 {
        canvas.path(&front, color::category(4), 1);
    }
    if !front.is_empty() {
        let words = "◆ Pareto front: nothing beats it in both, beyond doubt";
        canvas.text((plot.right, plot.top - 12), Side::Left, SMALL, words);
    }
}

/// Thin areas: the intervals.
fn cross(
    (x, y): (i32, i32),
    pair: &[Datum; 2],
    scales: &[Scale<'_>; 2],
    (across, up): (&Span, &Span),
) -> Vec<Area> {
    let ends = |direction: usize, span: &Span| {
        let (low, high) = pair[direction].interval?;
        Some([low, high].map(|value| span.at(scales[direction].scaled(value))))
    };
    let horizontal = ends(0, across).map(|[left, right]| Area {
        left,
        top: y,
        right,
        bottom: y + 1,
    });
    let vertical = ends(1, up).map(|[bottom, top]| Area {
        left: x,
        top,
        right: x + 1,
        bottom,
    });
    horizontal.into_iter().chain(vertical).collect()
}

/// Beside its dot, wherever nothing else is; else not at all, and then the list has it by number.
fn draw_names(canvas: &mut Canvas<'_>, dots: &[Placed<'_>], mut taken: Vec<Area>, plot: Area) {
    let is_numbered = dots.len() > DIRECT_MOST;
    let around = |(x, y): (i32, i32)| Area {
        left: x - 6,
        top: y - 6,
        right: x + 6,
        bottom: y + 6,
    };
    taken.extend(dots.iter().map(|dot| around(dot.at)));
    for (number, dot) in dots.iter().enumerate() {
        let name = match is_numbered {
            true => (number + 1).to_string(),
            false => font::cut(dot.name, SMALL.size, plot.width() / 2),
        };
        let width = font::width(&name, SMALL.size);
        let (x, y) = dot.at;
        let places = (0..8).flat_map(|ring| {
            let (dx, dy) = (9, 14 * ring);
            [(dx, -dy), (dx, dy), (-dx - width, -dy), (-dx - width, dy)]
        });
        let place = places
            .map(|(dx, dy)| Area {
                left: x + dx,
                top: y + dy - 7,
                right: x + dx + width,
                bottom: y + dy + 7,
            })
            .find(|place| {
                let is_inside = place.left >= plot.left
                    && place.right <= plot.right
                    && place.top >= plot.top
                    && place.bottom <= plot.bottom;
                is_inside && !taken.iter().any(|other| other.overlaps(*place))
            });
        if let Some(place) = place {
            let y = place.top.midpoint(place.bottom);
            if (y - dot.at.1).abs() > 12 {
                let edge = if place.left > dot.at.0 {
                    place.left
                } else {
                    place.right
                };
                canvas.line(dot.at, (edge, y), color::GRID, 1);
            }
            canvas.text((place.left, y), Side::Right, SMALL, &name);
            taken.push(place);
        }
    }
}

fn draw_list(canvas: &mut Canvas<'_>, dots: &[Placed<'_>], area: Area, top: i32) {
    let half = dots.len().div_ceil(2);
    for (number, dot) in dots.iter().enumerate() {
        let (column, line) = (number / half, number % half);
        let x = area.left + i32::try_from(column).unwrap_or(0) * area.width() / 2;
        let y = top + LINE * i32::try_from(line).unwrap_or(0) + LINE / 2;
        let words = format!("{} {}", number + 1, dot.name);
        canvas.text(
            (x, y),
            Side::Right,
            LABEL,
            &font::cut(&words, LABEL.size, area.width() / 2 - 10),
        );
    }
}

const HEIGHT: i32 = 440;
const HEAD: i32 = 26;
const LINE: i32 = 16;

/// More names would not find room: numbers do, and a list has the names.
const DIRECT_MOST: usize = 24;
