//! What an object looks like: a few flat shapes with a rim that stands out from any ground.

use super::layout::{Kind, Thing};
use crate::workload::{
    canvas::{Color, Mark},
    chance::Chance,
    shape::{Point, Shape},
};

/// The marks of one object.
pub(super) fn marks(thing: &Thing, shade: &mut Chance) -> Vec<Mark> {
    let fill = thing.paint.color().jitter(10, shade);
    let rim = if fill.brightness() > 90 {
        Color([30, 30, 34])
    } else {
        Color([228, 228, 232])
    };
    let pen = Pen {
        center: thing.center(),
        reach: thing.reach(),
        fill,
        rim,
    };
    match thing.kind {
        Kind::Ball => pen.ball(),
        Kind::Box => pen.cube(),
        Kind::Car => pen.car(),
        Kind::Cone => pen.cone(),
        Kind::Heart => pen.heart(),
        Kind::House => pen.house(),
        Kind::Ring => pen.ring(),
        Kind::Star => pen.star(),
        Kind::Tree => pen.tree(),
    }
}

/// Draws one object. Lengths of its parts are in thousandths of the object's reach, from its centre, unless they are rims.
struct Pen {
    center: Point,
    reach: i32,
    fill: Color,
    rim: Color,
}

impl Pen {
    fn ball(&self) -> Vec<Mark> {
        self.oval((-1000, -1000, 1000, 1000), self.fill, self.rim, RIM)
    }

    fn cube(&self) -> Vec<Mark> {
        self.panel((-900, -900, 900, 900), self.fill, RIM)
    }

    fn cone(&self) -> Vec<Mark> {
        vec![self.cut_out(&[(0, -1000), (1000, 900), (-1000, 900)], self.fill)]
    }

    fn star(&self) -> Vec<Mark> {
        let corners: Vec<(i32, i32)> = TURN_BY_TENTHS
            .iter()
            .zip([1080, 460].iter().cycle())
            .map(|((x, y), reach)| (x * reach / 1000, y * reach / 1000))
            .collect();
        vec![self.cut_out(&corners, self.fill)]
    }

    fn heart(&self) -> Vec<Mark> {
        let right = HALF_A_HEART.iter().copied();
        let left = HALF_A_HEART[1..HALF_A_HEART.len() - 1]
            .iter()
            .rev()
            .map(|(x, y)| (-x, *y));
        let corners: Vec<(i32, i32)> = right.chain(left).collect();
        vec![self.cut_out(&corners, self.fill)]
    }

    /// A ring of rim colour with a narrower one of its own colour on it; the ground shows through the hole.
    fn ring(&self) -> Vec<Mark> {
        let thickness = self.part(450);
        let ring = |outer, inner, color| Mark::Area {
            shape: Shape::Ring {
                center: self.center,
                outer,
                inner,
            },
            color,
        };
        let outer = self.reach + OVERHANG;
        let inner = outer - RIM - thickness;
        vec![
            ring(outer, inner - OVERHANG, self.rim),
            ring(outer - RIM, inner + OVERHANG, self.fill),
        ]
    }

    fn tree(&self) -> Vec<Mark> {
        let mut marks = self.panel((-200, 200, 200, 1000), Color([104, 66, 36]), THIN_RIM);
        marks.extend(self.oval((-800, -1000, 800, 450), self.fill, self.rim, RIM));
        marks
    }

    fn house(&self) -> Vec<Mark> {
        let roof = if self.fill.brightness() > 60 {
            self.fill.lit([650; 3])
        } else {
            Color([90, 90, 96])
        };
        let mut marks = self.panel((-800, -150, 800, 1000), self.fill, RIM);
        marks.push(self.cut_out(&[(-1000, -100), (0, -1000), (1000, -100)], roof));
        marks.extend(self.panel((-200, 350, 200, 1000), self.rim, RIM));
        marks
    }

    fn car(&self) -> Vec<Mark> {
        let glass = Color([190, 220, 240]);
        let mut marks = self.panel((-550, -620, 450, 100), glass, RIM);
        marks.extend(self.panel((-1100, -120, 1100, 460), self.fill, RIM));
        for hub in [-600, 600] {
            let wheel = (hub - 320, 200, hub + 320, 840);
            let (tyre, edge) = (Color([20, 20, 22]), Color([200; 3]));
            marks.extend(self.oval(wheel, tyre, edge, THIN_RIM));
        }
        marks
    }

    /// A rectangle with a rim.
    fn panel(&self, (left, top, right, bottom): Extent, fill: Color, rim: i32) -> Vec<Mark> {
        let [left, top] = [self.at_x(left), self.at_y(top)].map(|edge| edge - OVERHANG);
        let [right, bottom] = [self.at_x(right), self.at_y(bottom)].map(|edge| edge + OVERHANG);
        vec![
            Mark::Area {
                shape: Shape::rectangle(left, top, right, bottom),
                color: self.rim,
            },
            Mark::Area {
                shape: Shape::rectangle(left + rim, top + rim, right - rim, bottom - rim),
                color: fill,
            },
        ]
    }

    /// An ellipse with a rim.
    fn oval(&self, extent: Extent, fill: Color, edge: Color, rim: i32) -> Vec<Mark> {
        let (left, top, right, bottom) = extent;
        let ellipse = |less: i32, color| Mark::Area {
            shape: Shape::Ellipse {
                center: Point {
                    x: self.at_x((left + right) / 2),
                    y: self.at_y((top + bottom) / 2),
                },
                radius_x: self.part((right - left) / 2) + OVERHANG - less,
                radius_y: self.part((bottom - top) / 2) + OVERHANG - less,
            },
            color,
        };
        vec![ellipse(0, edge), ellipse(rim, fill)]
    }

    /// A polygon with a rim.
    fn cut_out(&self, corners: &[(i32, i32)], fill: Color) -> Mark {
        let reach = self.reach + OVERHANG;
        Mark::Rimmed {
            corners: corners
                .iter()
                .map(|(x, y)| Point {
                    x: self.center.x + x * reach / 1000,
                    y: self.center.y + y * reach / 1000,
                })
                .collect(),
            fill,
            rim: self.rim,
            width: RIM,
        }
    }

    fn at_x(&self, x: i32) -> i32 {
        self.center.x + self.part(x)
    }

    fn at_y(&self, y: i32) -> i32 {
        self.center.y + self.part(y)
    }

    fn part(&self, thousandths: i32) -> i32 {
        self.reach * thousandths / 1000
    }
}

/// Left, top, right, bottom.
type Extent = (i32, i32, i32, i32);

/// One pixel of the smallest picture, in points.
const RIM: i32 = 2000;

/// Half of that.
const THIN_RIM: i32 = 1000;

/// The trained look was drawn with edges that count as inside: a quarter of a pixel bolder all round.
const OVERHANG: i32 = 500;

/// Sine and cosine of a turn by tenths, clockwise from the top, in thousandths.
const TURN_BY_TENTHS: [(i32, i32); 10] = [
    (0, -1000),
    (588, -809),
    (951, -309),
    (951, 309),
    (588, 809),
    (0, 1000),
    (-588, 809),
    (-951, 309),
    (-951, -309),
    (-588, -809),
];

/// The heart curve x = sin³ t, y = −(13 cos t − 5 cos 2t − 2 cos 3t − cos 4t) / 15 at t = 2πi / 28 for i of 0..=14, in thousandths.
const HALF_A_HEART: [(i32, i32); 15] = [
    (0, -333),
    (11, -399),
    (82, -558),
    (242, -721),
    (478, -795),
    (731, -729),
    (927, -535),
    (1000, -267),
    (927, 17),
    (731, 283),
    (478, 526),
    (242, 750),
    (82, 944),
    (11, 1083),
    (0, 1133),
];
