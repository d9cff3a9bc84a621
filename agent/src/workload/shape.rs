//! Flat shapes in whole numbers, told row by row.
//!
//! Lengths are in *points*: [`SIDE`] of them span the picture whatever its size in pixels, so that one scene is the same
//! at every size. Nothing here rounds through floating point, whose last bit differs between processors.

/// Points across a picture. Divisible by 1,000, in which truth is told, and by 192, the samples across the smallest picture.
pub(super) const SIDE: i32 = 192_000;

/// A place in the picture, from its upper left corner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Point {
    pub(super) x: i32,
    pub(super) y: i32,
}

/// A part of a row: `left..right`.
pub(super) type Span = (i32, i32);

/// A shape.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Rectangle {
        left: i32,
        top: i32,
        right: i32,
        bottom: i32,
    },
    Ellipse {
        center: Point,
        radius_x: i32,
        radius_y: i32,
    },
    /// A disc with a hole.
    Ring {
        center: Point,
        outer: i32,
        inner: i32,
    },
    /// Even-odd.
    Polygon(Vec<Point>),
}

impl Shape {
    pub(super) fn rectangle(left: i32, top: i32, right: i32, bottom: i32) -> Self {
        Self::Rectangle {
            left,
            top,
            right,
            bottom,
        }
    }

    pub(super) fn disc(center: Point, radius: i32) -> Self {
        Self::Ellipse {
            center,
            radius_x: radius,
            radius_y: radius,
        }
    }

    /// A stroke from `from` by `dx, dy`, `width` wide along the row and steeper than it is flat.
    pub(super) fn stroke(from: Point, dx: i32, dy: i32, width: i32) -> Self {
        let corner = |x: i32, y: i32| Point {
            x: from.x + x,
            y: from.y + y,
        };
        Self::Polygon(vec![
            corner(0, 0),
            corner(width, 0),
            corner(width + dx, dy),
            corner(dx, dy),
        ])
    }

    /// The way from `from` to `to`, `width` thick on both sides.
    pub(super) fn line(from: Point, to: Point, width: i32) -> Self {
        band(from, to, width)
    }

    /// First and last row that it may touch.
    pub(super) fn rows(&self) -> Span {
        match self {
            Self::Rectangle { top, bottom, .. } => (*top, *bottom),
            Self::Ellipse {
                center, radius_y, ..
            } => (center.y - radius_y, center.y + radius_y),
            Self::Ring { center, outer, .. } => (center.y - outer, center.y + outer),
            Self::Polygon(corners) => {
                let rows = corners.iter().map(|corner| corner.y);
                (
                    rows.clone().min().unwrap_or_default(),
                    rows.max().unwrap_or_default(),
                )
            }
        }
    }

    /// The parts of the row at `y` that lie inside, from left to right.
    pub(super) fn spans(&self, y: i32) -> Vec<Span> {
        match self {
            Self::Rectangle {
                left,
                top,
                right,
                bottom,
            } => Vec::from_iter((*top <= y && y < *bottom).then_some((*left, *right))),
            Self::Ellipse {
                center,
                radius_x,
                radius_y,
            } => Vec::from_iter(
                half_chord(y - center.y, *radius_x, *radius_y)
                    .map(|half| (center.x - half, center.x + half)),
            ),
            Self::Ring {
                center,
                outer,
                inner,
            } => ring_spans(*center, y, *outer, *inner),
            Self::Polygon(corners) => polygon_spans(corners, y),
        }
    }

    /// What covers the rim of a polygon to a depth of `width`: a band along each edge and a disc at each corner.
    pub(super) fn rim(corners: &[Point], width: i32) -> Vec<Self> {
        let next = corners.iter().cycle().skip(1);
        let bands = corners
            .iter()
            .zip(next)
            .map(|(from, to)| band(*from, *to, width));
        let joints = corners.iter().map(|corner| Self::disc(*corner, width));
        bands.chain(joints).collect()
    }
}

/// Half the width of an ellipse, `dy` above its centre.
fn half_chord(dy: i32, radius_x: i32, radius_y: i32) -> Option<i32> {
    let [dy, radius_x, radius_y] = [dy, radius_x, radius_y].map(i64::from);
    let under_root = radius_y * radius_y - dy * dy;
    let half = radius_x * under_root.checked_isqrt()? / radius_y;
    Some(i32::try_from(half).expect("at most the radius"))
}

fn ring_spans(center: Point, y: i32, outer: i32, inner: i32) -> Vec<Span> {
    let dy = y - center.y;
    match (half_chord(dy, outer, outer), half_chord(dy, inner, inner)) {
        (None, _) => Vec::new(),
        (Some(far), None) => vec![(center.x - far, center.x + far)],
        (Some(far), Some(near)) => vec![
            (center.x - far, center.x - near),
            (center.x + near, center.x + far),
        ],
    }
}

fn polygon_spans(corners: &[Point], y: i32) -> Vec<Span> {
    let next = corners.iter().cycle().skip(1);
    let mut crossings: Vec<i32> = corners
        .iter()
        .zip(next)
        .filter_map(|(from, to)| crossing(*from, *to, y))
        .collect();
    crossings.sort_unstable();
    crossings
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect()
}

/// Where an edge crosses the row at `y`; its lower end belongs to the next edge.
fn crossing(from: Point, to: Point, y: i32) -> Option<i32> {
    if (from.y <= y) == (to.y <= y) {
        return None;
    }
    let [x, dx, dy, down] = [from.x, to.x - from.x, to.y - from.y, y - from.y].map(i64::from);
    let at = x + (down * dx).div_euclid(dy);
    Some(i32::try_from(at).expect("between the two ends"))
}

/// The edge from `from` to `to`, `width` thick on both sides.
fn band(from: Point, to: Point, width: i32) -> Shape {
    let [dx, dy, width] = [to.x - from.x, to.y - from.y, width].map(i64::from);
    let length = (dx * dx + dy * dy).isqrt().max(1);
    let scaled = |part: i64| i32::try_from(part * width / length).expect("at most the width");
    let (across_x, across_y) = (scaled(-dy), scaled(dx));
    let beside = |point: Point, side: i32| Point {
        x: point.x + side * across_x,
        y: point.y + side * across_y,
    };
    Shape::Polygon(vec![
        beside(from, 1),
        beside(to, 1),
        beside(to, -1),
        beside(from, -1),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(shape: &Shape, y: i32, want: &[Span]) {
        assert_eq!(shape.spans(y), want);
    }

    fn polygon(corners: &[(i32, i32)]) -> Shape {
        Shape::Polygon(corners.iter().map(|&(x, y)| Point { x, y }).collect())
    }

    #[test]
    fn a_row_is_inside_up_to_the_edge() {
        let square = Shape::rectangle(10, 20, 30, 40);
        check(&square, 19, &[]);
        check(&square, 20, &[(10, 30)]);
        check(&square, 39, &[(10, 30)]);
        check(&square, 40, &[]);

        let disc = Shape::disc(Point { x: 100, y: 100 }, 50);
        check(&disc, 100, &[(50, 150)]);
        check(&disc, 130, &[(60, 140)]);
        check(&disc, 151, &[]);

        let ring = Shape::Ring {
            center: Point { x: 100, y: 100 },
            outer: 50,
            inner: 25,
        };
        check(&ring, 100, &[(50, 75), (125, 150)]);
        check(&ring, 130, &[(60, 140)]);

        let triangle = polygon(&[(50, 0), (100, 100), (0, 100)]);
        check(&triangle, 50, &[(25, 75)]);
        check(&triangle, 100, &[]);

        let two_legs = polygon(&[(0, 0), (100, 0), (100, 100), (50, 50), (0, 100)]);
        check(&two_legs, 75, &[(0, 25), (75, 100)]);
    }

    #[test]
    fn a_rim_lies_on_both_sides_of_its_edges() {
        let corners = [
            Point { x: 0, y: 0 },
            Point { x: 1000, y: 0 },
            Point { x: 1000, y: 1000 },
        ];
        let rim = Shape::rim(&corners, 10);
        let is_covered = |x: i32, y: i32| {
            rim.iter()
                .flat_map(|part| part.spans(y))
                .any(|(left, right)| left <= x && x < right)
        };
        assert!(is_covered(995, 500) && is_covered(1005, 500));
        assert!(!is_covered(980, 500) && !is_covered(1015, 500));
        assert!(is_covered(500, 505) && is_covered(500, 495));
    }
}
