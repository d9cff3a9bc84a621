//! Sky, ground and weather.

use super::layout::{Place, Setting, Time, Weather};
use crate::workload::{
    canvas::{Color, Mark},
    chance::Chance,
    shape::{Point, SIDE, Shape},
};

/// The marks behind the objects, back to front.
pub(super) fn marks(setting: Setting, chance: &mut Chance) -> Vec<Mark> {
    let mut view = View::new(setting, chance);
    match setting.place {
        Place::Room => view.room(chance),
        Place::Beach | Place::Desert | Place::Field | Place::Snow | Place::Street => {
            view.land(chance);
            view.landmarks(chance);
            view.heavens(chance);
        }
    }
    view.marks
}

/// A backdrop in the making. Lengths are in samples of the smallest picture, [`ACROSS`] of which span any picture.
struct View {
    setting: Setting,
    top: Color,
    bottom: Color,
    horizon: i32,
    marks: Vec<Mark>,
}

/// Hills on the horizon: colour, and the least and greatest offset, width and height.
struct Hills {
    color: Color,
    x: (i32, i32),
    width: (i32, i32),
    height: (i32, i32),
}

const DUNES: Hills = Hills {
    color: Color([204, 142, 70]),
    x: (-40, ACROSS - 60),
    width: (80, 150),
    height: (14, 36),
};

const MOUNTAINS: Hills = Hills {
    color: Color([206, 214, 230]),
    x: (-30, ACROSS - 50),
    width: (70, 130),
    height: (20, 50),
};

impl View {
    fn new(setting: Setting, chance: &mut Chance) -> Self {
        let (top, bottom) = match setting.time {
            Time::Day => ((Color([150, 200, 244]), 18), (Color([206, 230, 250]), 12)),
            Time::Sunset => ((Color([196, 92, 110]), 16), (Color([252, 176, 96]), 16)),
            Time::Night => ((Color([12, 16, 46]), 8), (Color([32, 38, 84]), 10)),
        };
        Self {
            setting,
            top: top.0.jitter(top.1, chance),
            bottom: bottom.0.jitter(bottom.1, chance),
            horizon: chance.range(ACROSS * 32 / 100, ACROSS / 2 - 1),
            marks: Vec::new(),
        }
    }

    /// Sky and grainy ground.
    fn land(&mut self, chance: &mut Chance) {
        self.marks.push(Mark::Gradient {
            down_to: points(self.horizon),
            top: self.top,
            bottom: self.bottom,
        });
        self.marks.push(Mark::Grain {
            from: points(self.horizon),
            color: self.ground().jitter(12, chance).lit(self.light()),
            spread: 7 * self.dimness(),
        });
    }

    /// What tells one place from another besides the colour of the ground.
    fn landmarks(&mut self, chance: &mut Chance) {
        match self.setting.place {
            Place::Beach => self.sea(chance),
            Place::Desert => self.hills(&DUNES, chance),
            Place::Field => self.grass(chance),
            Place::Room => {}
            Place::Snow => self.hills(&MOUNTAINS, chance),
            Place::Street => self.street(chance),
        }
    }

    fn heavens(&mut self, chance: &mut Chance) {
        if self.setting.time == Time::Night {
            self.stars(chance);
        }
        match self.setting.weather {
            Weather::Cloudy => self.clouds(chance),
            Weather::Rainy => self.rain(chance),
            Weather::Clear | Weather::Indoors => {}
        }
    }

    /// Wall, floor, skirting, and a window with the sky in it.
    fn room(&mut self, chance: &mut Chance) {
        let light = match self.setting.time {
            Time::Day => [1000; 3],
            Time::Sunset => [900; 3],
            Time::Night => [700; 3],
        };
        let wall = chance.pick(&WALLS).jitter(10, chance).lit(light);
        let floor = self.ground().jitter(14, chance).lit(light);
        let edge = chance.range(ACROSS * 60 / 100, ACROSS * 72 / 100);
        self.block(0, 0, ACROSS, edge, wall);
        self.block(0, edge, ACROSS, ACROSS, floor);
        self.block(0, edge - 1, ACROSS, edge + 2, Color([90, 64, 44]));

        let x = chance.range(10, ACROSS - 80);
        let frame = Color([250; 3]);
        self.block(x, 8, x + 65, 57, frame);
        self.block(x + 4, 12, x + 61, 53, self.top);
        self.block(x + 4, 34, x + 61, 53, self.bottom);
        self.block(x + 30, 8, x + 34, 57, frame);
    }

    /// Water and the foam at its edge.
    fn sea(&mut self, chance: &mut Chance) {
        let water = Color([44, 128, 190]).jitter(14, chance).lit(self.light());
        let foam = Color([250; 3]).lit([self.dimness(); 3]);
        let shore = self.horizon + ACROSS * 16 / 100;
        self.block(0, self.horizon, ACROSS, shore + 1, water);
        self.block(0, shore - 1, ACROSS, shore + 2, foam);
    }

    fn hills(&mut self, hills: &Hills, chance: &mut Chance) {
        for _ in 0..2 {
            let x = chance.range(hills.x.0, hills.x.1);
            let width = chance.range(hills.width.0, hills.width.1);
            let height = chance.range(hills.height.0, hills.height.1);
            let corners = [
                at(x, self.horizon),
                at(x + width / 2, self.horizon - height),
                at(x + width, self.horizon),
            ];
            let color = hills.color.jitter(14, chance).lit(self.light());
            self.area(Shape::Polygon(corners.to_vec()), color);
        }
    }

    fn grass(&mut self, chance: &mut Chance) {
        for _ in 0..40 {
            let root = at(chance.range(0, ACROSS), chance.range(self.horizon, ACROSS));
            let (lean, height) = (chance.range(-3, 3), chance.range(3, 8));
            let color = Color([60, 132, 44]).jitter(14, chance).lit(self.light());
            let blade = Shape::stroke(root, points(lean), points(-height), points(1));
            self.area(blade, color);
        }
    }

    /// Houses along the horizon and dashes along the road.
    fn street(&mut self, chance: &mut Chance) {
        let mut x = 0;
        while x < ACROSS {
            let width = chance.range(18, 40);
            self.building(x, width, chance);
            x += width + 2;
        }
        let paint = Color([240, 240, 220]).lit([self.dimness(); 3]);
        let y = i32::midpoint(self.horizon, ACROSS);
        let mut x = chance.range(-20, 0);
        while x < ACROSS {
            self.block(x, y, x + 16, y + 4, paint);
            x += 30;
        }
    }

    fn building(&mut self, x: i32, width: i32, chance: &mut Chance) {
        let top = self.horizon - chance.range(20, 56);
        let wall = Color([130, 124, 130]).jitter(24, chance).lit(self.light());
        let pane = match self.setting.time {
            Time::Night => Color([250, 226, 120]),
            Time::Day | Time::Sunset => Color([90, 110, 140]).lit([self.dimness(); 3]),
        };
        self.block(x, top, x + width + 1, self.horizon + 1, wall);
        for y in (top + 5..self.horizon - 6).step_by(9) {
            for x in (x + 4..x + width - 5).step_by(9) {
                self.block(x, y, x + 4, y + 5, pane);
            }
        }
    }

    fn stars(&mut self, chance: &mut Chance) {
        for _ in 0..22 {
            let x = chance.range(0, ACROSS - 1);
            let y = chance.range(0, (self.horizon - 30).max(2));
            self.block(x, y, x + 1, y + 1, Color([235, 235, 245]));
        }
    }

    /// Each is a row of four puffs.
    fn clouds(&mut self, chance: &mut Chance) {
        let color = match self.setting.time {
            Time::Day => Color([250, 250, 252]),
            Time::Sunset => Color([236, 190, 180]),
            Time::Night => Color([92, 96, 116]),
        };
        for _ in 0..chance.range(3, 4) {
            let x = chance.range(-10, ACROSS - 30);
            let y = chance.range(2, (self.horizon * 45 / 100).max(4));
            for puff in 0..4 {
                let rise = chance.range(0, 6);
                let center = Point {
                    x: points(x + 11 * puff + 8) + HALF,
                    y: (points(y - rise) + points(y + 13)) / 2 + HALF,
                };
                let shape = Shape::Ellipse {
                    center,
                    radius_x: points(12) + HALF,
                    radius_y: points(13 + rise) / 2 + HALF,
                };
                self.area(shape, color);
            }
        }
    }

    fn rain(&mut self, chance: &mut Chance) {
        let color = match self.setting.time {
            Time::Day => Color([226, 236, 250]),
            Time::Sunset => Color([236, 226, 236]),
            Time::Night => Color([150, 164, 200]),
        };
        for _ in 0..80 {
            let drop = at(chance.range(0, ACROSS), chance.range(-5, ACROSS));
            self.area(
                Shape::stroke(drop, points(-4), points(14), points(1)),
                color,
            );
        }
    }

    fn block(&mut self, left: i32, top: i32, right: i32, bottom: i32, color: Color) {
        let [left, top, right, bottom] = [left, top, right, bottom].map(points);
        self.area(Shape::rectangle(left, top, right, bottom), color);
    }

    fn area(&mut self, shape: Shape, color: Color) {
        self.marks.push(Mark::Area { shape, color });
    }

    fn ground(&self) -> Color {
        Color(match self.setting.place {
            Place::Beach => [232, 208, 150],
            Place::Desert => [222, 164, 84],
            Place::Field => [96, 170, 70],
            Place::Room => [150, 104, 70],
            Place::Snow => [238, 242, 248],
            Place::Street => [98, 98, 104],
        })
    }

    /// The colour of the light, in thousandths of each channel.
    fn light(&self) -> [i32; 3] {
        match self.setting.time {
            Time::Day => [1000; 3],
            Time::Sunset => [864, 736, 680],
            Time::Night => [357, 378, 483],
        }
    }

    /// Its strength alone, in thousandths.
    fn dimness(&self) -> i32 {
        match self.setting.time {
            Time::Day => 1000,
            Time::Sunset => 800,
            Time::Night => 420,
        }
    }
}

/// Samples across the smallest picture.
const ACROSS: i32 = 192;

/// Half a sample, in points.
const HALF: i32 = SIDE / ACROSS / 2;

const WALLS: [Color; 4] = [
    Color([214, 196, 170]),
    Color([190, 206, 196]),
    Color([206, 190, 206]),
    Color([200, 200, 206]),
];

fn points(samples: i32) -> i32 {
    samples * (SIDE / ACROSS)
}

fn at(x: i32, y: i32) -> Point {
    Point {
        x: points(x),
        y: points(y),
    }
}
