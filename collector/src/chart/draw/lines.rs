//! Lines: one figure over another, each line named at its end.

use crate::chart::{
    canvas::{Area, Canvas, Ink, Side, Span, extent},
    color,
    description::{Datum, Lines},
    font,
    number::Scale,
};

use super::{AXIS_HEIGHT, LABEL, SMALL, horizontal_axis, reach, rows::ticks_in, ticks, title};

impl Lines {
    pub(super) fn height(&self) -> i32 {
        let names = i32::try_from(self.series.len()).unwrap_or(0) * NAME_HEIGHT;
        HEIGHT.max(names + HEAD + AXIS_HEIGHT)
    }

    pub(super) fn draw(&self, canvas: &mut Canvas<'_>, area: Area) {
        let (x_scale, y_scale) = (self.x_scale(), self.y_scale());
        let names = self
            .series
            .iter()
            .map(|series| font::width(&series.name, LABEL.size));
        // One line needs no name at its end.
        let names = match self.series.len() {
            0 | 1 => 0,
            _ => names.max().unwrap_or(0).min(area.width() * 3 / 10),
        };
        let plot = Area {
            left: area.left + 70,
            top: area.top + HEAD,
            right: area.right - names - 24,
            bottom: area.bottom - AXIS_HEIGHT,
        };
        let across = self.across(plot, &x_scale);
        let values = reach(self.data()).map(|value| y_scale.scaled(value));
        let up = Span::from_zero(values, (plot.bottom, plot.top));
        self.draw_stretches(canvas, plot, &across, &x_scale);
        let at = |x: f64| across.at(self.place(x_scale.scaled(x)));
        let x_ticks = self.x_ticks(&across, plot, &x_scale);
        let x_title = title(&self.x, &x_scale);
        let whole = [(plot.top, plot.bottom)];
        horizontal_axis(canvas, (plot, &whole), &x_ticks, (area.left, &x_title));
        vertical_axis(canvas, plot, &up, area.left, &title(&self.y, &y_scale));
        let mut ends = Vec::new();
        for (number, series) in self.series.iter().enumerate() {
            let ink = color::category(number);
            let known = series
                .points
                .iter()
                .filter_map(|(x, datum)| Some((*x, datum, datum.as_number()?)));
            let mut points = Vec::new();
            for (x, datum, value) in known {
                let point = (at(x), up.at(y_scale.scaled(value)));
                draw_interval(canvas, point.0, datum, &up, &y_scale);
                points.push((point, datum));
            }
            let path: Vec<(i32, i32)> = points.iter().map(|(point, _)| *point).collect();
            let path = outlined(&path);
            canvas.path(&path, ink, 2);
            if self.has_markers {
                for (point, datum) in &points {
                    canvas.marker(*point, number, ink);
                    if datum.is_blocked {
                        canvas.ring(*point, 8, color::INK);
                    }
                }
            }
            if let Some((x, y)) = path.last() {
                ends.push((*y, *x, number));
            }
        }
        if self.series.len() > 1 {
            self.draw_names(canvas, ends, plot, area);
        }
    }

    pub(in crate::chart) fn data(&self) -> impl Iterator<Item = &Datum> {
        let points = self.series.iter().flat_map(|series| &series.points);
        points.map(|(_, datum)| datum)
    }

    pub(in crate::chart) fn x_scale(&self) -> Scale<'_> {
        Scale::of(&self.x.unit, self.xs())
    }

    pub(in crate::chart) fn y_scale(&self) -> Scale<'_> {
        Scale::of(&self.y.unit, reach(self.data()))
    }

    fn xs(&self) -> impl Iterator<Item = f64> {
        let points = self.series.iter().flat_map(|series| &series.points);
        let stretches = self.stretches.iter().flat_map(|(_, from, to)| [*from, *to]);
        points.map(|(x, _)| *x).chain(stretches)
    }

    fn place(&self, x: f64) -> f64 {
        if self.is_doubling { libm::log2(x) } else { x }
    }

    fn across(&self, plot: Area, scale: &Scale<'_>) -> Span {
        let (low, high) = extent(self.xs().map(|x| self.place(scale.scaled(x))));
        let room = if self.has_markers { 0.05 } else { 0.02 } * (high - low);
        Span::new(low - room, high + room, (plot.left, plot.right))
    }

    /// On a doubling axis, the values themselves.
    fn x_ticks(&self, across: &Span, plot: Area, scale: &Scale<'_>) -> Vec<(i32, String)> {
        if !self.is_doubling {
            return ticks(across, ticks_in(plot));
        }
        let mut xs: Vec<f64> = self.xs().map(|x| scale.scaled(x)).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        let mut last = i32::MIN;
        let mut ticks = Vec::new();
        for x in xs {
            let at = across.at(self.place(x));
            if last == i32::MIN || at - last > 30 {
                ticks.push((at, x.to_string()));
                last = at;
            }
        }
        ticks
    }

    fn draw_stretches(
        &self,
        canvas: &mut Canvas<'_>,
        plot: Area,
        across: &Span,
        scale: &Scale<'_>,
    ) {
        let at = |x: f64| {
            across
                .at(self.place(scale.scaled(x)))
                .clamp(plot.left, plot.right)
        };
        let mut free = plot.left;
        for (name, from, to) in &self.stretches {
            let shaded = Area {
                left: at(*from),
                top: plot.top,
                right: at(*to),
                bottom: plot.bottom,
            };
            canvas.fill(shaded, color::SHADE);
            if shaded.left >= free {
                let name = font::cut(name, SMALL.size, plot.right - shaded.left);
                canvas.text((shaded.left, plot.top - 10), Side::Right, SMALL, &name);
                free = shaded.left + font::width(&name, SMALL.size) + 10;
            }
        }
    }

    /// Names at the ends of their lines, moved apart where they would touch.
    fn draw_names(
        &self,
        canvas: &mut Canvas<'_>,
        mut ends: Vec<(i32, i32, usize)>,
        plot: Area,
        area: Area,
    ) {
        ends.sort_unstable();
        let mut wanted: Vec<i32> = ends.iter().map(|(y, _, _)| *y).collect();
        spread(&mut wanted, NAME_HEIGHT, plot.bottom);
        for ((y, x, number), place) in ends.into_iter().zip(wanted) {
            let ink = Ink::new(LABEL.size, color::INK);
            let start = plot.right + 14;
            canvas.line((x + 6, y), (start - 4, place), color::category(number), 1);
            let name = font::cut(&self.series[number].name, ink.size, area.right - start);
            canvas.text((start, place), Side::Right, ink, &name);
        }
    }
}

/// Horizontal grid, values at its left, and the axis' title at `left`, running upwards.
pub(super) fn vertical_axis(
    canvas: &mut Canvas<'_>,
    plot: Area,
    up: &Span,
    left: i32,
    title: &str,
) {
    for (at, words) in ticks(
        up,
        usize::try_from(plot.height() / 40).unwrap_or(0).clamp(2, 9),
    ) {
        canvas.line((plot.left, at), (plot.right, at), color::GRID, 1);
        canvas.text((plot.left - 6, at), Side::Left, SMALL, &words);
    }
    let title = font::cut(title, LABEL.size, plot.height() + 40);
    let middle = plot.top.midpoint(plot.bottom);
    canvas.turned((left + 8, middle), Side::Middle, LABEL, &title);
}

fn draw_interval(canvas: &mut Canvas<'_>, x: i32, datum: &Datum, up: &Span, scale: &Scale<'_>) {
    if let Some((low, high)) = datum.interval {
        let (low, high) = (up.at(scale.scaled(low)), up.at(scale.scaled(high)));
        canvas.line((x, low), (x, high), color::FAINT, 1);
        for end in [low, high] {
            canvas.line((x - 3, end), (x + 3, end), color::FAINT, 1);
        }
    }
}

/// Of many readings on one column of pixels the first, the lowest, the highest and the last: a peak stays a peak.
fn outlined(path: &[(i32, i32)]) -> Vec<(i32, i32)> {
    let mut outline = Vec::new();
    for column in path.chunk_by(|left, right| left.0 == right.0) {
        let lowest = column.iter().max_by_key(|(_, y)| *y);
        let highest = column.iter().min_by_key(|(_, y)| *y);
        let kept = [column.first(), lowest, highest, column.last()];
        outline.extend(kept.into_iter().flatten());
    }
    outline.dedup();
    outline
}

/// Moves sorted places apart, and up again where the last would be too low.
fn spread(places: &mut [i32], distance: i32, lowest: i32) {
    for position in 1..places.len() {
        places[position] = places[position].max(places[position - 1] + distance);
    }
    let mut limit = lowest;
    for place in places.iter_mut().rev() {
        *place = (*place).min(limit);
        limit = *place - distance;
    }
}

const HEIGHT: i32 = 380;
const HEAD: i32 = 24;
const NAME_HEIGHT: i32 = 15;

#[cfg(test)]
mod tests {
    use super::{outlined, spread};

    #[test]
    fn names_move_apart_and_stay_inside() {
        let mut places = [10, 12, 13, 98, 99];
        spread(&mut places, 15, 100);
        assert_eq!(places, [10, 25, 40, 85, 100]);
    }

    #[test]
    fn a_peak_of_many_readings_stays() {
        let path: Vec<(i32, i32)> = (0..1000)
            .map(|step| (step / 100, if step == 555 { 5 } else { 50 }))
            .collect();
        let outline = outlined(&path);
        assert!(
            outline.contains(&(5, 5)) && outline.len() <= 14,
            "{outline:?}"
        );
    }
}
