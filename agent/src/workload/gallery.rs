//! Scenes and charts as files, for people to look at and for other programs to use.

use std::{
    fs, io,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    chart::{Chart, Data, Figure},
    folder::{CONTACT_SHEET, Label},
    picture::{Picture, Side, encode_png},
    scene::Scene,
};

/// What is drawn.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Drawing {
    /// Scenes.
    Scenes,
    /// Charts, each figure in its turn.
    Charts(Vec<Figure>),
}

/// Why nothing was drawn.
#[derive(Debug, thiserror::Error)]
pub enum GalleryError {
    /// Something is there already.
    #[error("`{}` is not empty; name a new or an empty folder", .0.display())]
    NotEmpty(PathBuf),
    /// The folder or a file in it.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Draws `count` pictures, the first one of this seed, into a new or an empty folder: `scene_0000.png` and so on, `truth.jsonl`
/// with what is in each (of scenes in the form of a label file), and `contact_sheet.png` with the first of them.
///
/// # Errors
/// The folder holds something, or cannot be written to.
pub fn draw_to_folder(
    out: &Path,
    drawing: &Drawing,
    count: NonZeroU32,
    seed: u64,
    side: Side,
) -> Result<(), GalleryError> {
    make_empty(out)?;
    let mut labels = String::new();
    let mut sheet = ContactSheet::new(count, side);
    for index in 0..count.get() {
        let seed = seed.wrapping_add(u64::from(index));
        let (file, picture, label) = drawing.draw(index, seed, side);
        write(out, &file, &picture.to_png())?;
        sheet.add(&picture);
        labels += &label;
        labels.push('\n');
    }
    write(out, "truth.jsonl", labels.as_bytes())?;
    write(out, CONTACT_SHEET, &sheet.to_png())
}

/// A line of a chart's truth.
#[derive(Serialize)]
struct ChartLabel<'a> {
    file: &'a str,
    chart: &'a Data,
}

impl Drawing {
    /// What its pictures are called.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Scenes => "scenes",
            Self::Charts(_) => "charts",
        }
    }

    /// Name, picture and label of one.
    fn draw(&self, index: u32, seed: u64, side: Side) -> (String, Picture, String) {
        match self {
            Self::Scenes => {
                let scene = Scene::of_seed(seed);
                let label = Label {
                    file: format!("scene_{index:04}.png"),
                    truth: scene.truth().clone(),
                };
                let line = line(&label);
                (label.file, scene.draw(side), line)
            }
            Self::Charts(figures) => {
                let turn = usize::try_from(index).unwrap_or_default() % figures.len().max(1);
                let figure = figures.get(turn).copied().unwrap_or(Figure::Revenue);
                let chart = Chart::of_seed(figure, seed);
                let file = format!("chart_{index:04}.png");
                let line = line(&ChartLabel {
                    file: &file,
                    chart: chart.data(),
                });
                (file, chart.draw(side), line)
            }
        }
    }
}

fn line(label: &impl Serialize) -> String {
    serde_json::to_string(label).expect("plain fields, written to memory")
}

fn make_empty(out: &Path) -> Result<(), GalleryError> {
    let failed = |source| GalleryError::Write {
        path: out.to_owned(),
        source,
    };
    fs::create_dir_all(out).map_err(failed)?;
    match out.read_dir().map_err(failed)?.next() {
        None => Ok(()),
        Some(_) => Err(GalleryError::NotEmpty(out.to_owned())),
    }
}

fn write(out: &Path, file: &str, bytes: &[u8]) -> Result<(), GalleryError> {
    let path = out.join(file);
    fs::write(&path, bytes).map_err(|source| GalleryError::Write { path, source })
}

/// Small pictures in rows, about as many rows as columns.
struct ContactSheet {
    columns: usize,
    /// Side of a small picture.
    thumb: usize,
    width: usize,
    height: usize,
    rgb: Vec<u8>,
    shown: usize,
    shown_max: usize,
}

impl ContactSheet {
    fn new(count: NonZeroU32, side: Side) -> Self {
        let shown_max = usize::try_from(count.get()).map_or(SHOWN_MAX, |n| n.min(SHOWN_MAX));
        let columns = shown_max.isqrt() + usize::from(shown_max.isqrt().pow(2) < shown_max);
        let thumb = thumb(side);
        let (width, height) = (columns * thumb, shown_max.div_ceil(columns) * thumb);
        Self {
            columns,
            thumb,
            width,
            height,
            rgb: vec![255; width * height * 3],
            shown: 0,
            shown_max,
        }
    }

    /// Puts a picture in the next free place, each of its pixels as often as it fits.
    fn add(&mut self, picture: &Picture) {
        if self.shown == self.shown_max {
            return;
        }
        let px = pixels(picture.side());
        let left = self.shown % self.columns * self.thumb;
        let top = self.shown / self.columns * self.thumb;
        self.shown += 1;
        for y in 0..self.thumb {
            for x in 0..self.thumb {
                let from = (y * px / self.thumb * px + x * px / self.thumb) * 3;
                let to = ((top + y) * self.width + left + x) * 3;
                self.rgb[to..to + 3].copy_from_slice(&picture.rgb()[from..from + 3]);
            }
        }
    }

    fn to_png(&self) -> Vec<u8> {
        let side = |pixels| u32::try_from(pixels).expect("at most 20 small pictures");
        encode_png(side(self.width), side(self.height), &self.rgb)
    }
}

/// A sheet of more than this is no help to anybody.
const SHOWN_MAX: usize = 400;

const THUMB_MAX: usize = 192;

/// A whole multiple of a small picture's side; a large picture is reduced.
fn thumb(side: Side) -> usize {
    match THUMB_MAX / pixels(side) {
        0 => THUMB_MAX,
        times => times * pixels(side),
    }
}

fn pixels(side: Side) -> usize {
    usize::try_from(side.px()).expect("at most 1,024")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::folder;

    fn count(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = folder
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_drawn_can_be_asked_about_again() {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("new/gallery");
        draw_to_folder(&out, &Drawing::Scenes, count(3), 7, Side::SMALLEST).unwrap();
        assert_eq!(
            names(&out),
            [
                CONTACT_SHEET,
                "scene_0000.png",
                "scene_0001.png",
                "scene_0002.png",
                "truth.jsonl"
            ]
        );

        fs::rename(out.join("truth.jsonl"), out.join("labels.jsonl")).unwrap();
        let pictures = folder::read(&out, usize::MAX).unwrap();
        for (seed, picture) in (7..).zip(&pictures) {
            let scene = Scene::of_seed(seed);
            assert_eq!(*picture.bytes, *scene.draw(Side::SMALLEST).to_png());
            assert_eq!(picture.truth.as_ref(), Some(scene.truth()));
        }
        assert_eq!(pictures.len(), 3);
    }

    #[test]
    fn charts_are_drawn_in_turns_with_their_data() {
        let out = tempfile::tempdir().unwrap();
        let drawing = Drawing::Charts(vec![Figure::Revenue, Figure::Panels]);
        let side = Side::new(256).unwrap();
        draw_to_folder(out.path(), &drawing, count(3), 5, side).unwrap();
        let truth = fs::read_to_string(out.path().join("truth.jsonl")).unwrap();
        let truths: Vec<serde_json::Value> = truth
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(truths[2]["file"], "chart_0002.png");
        assert_eq!(
            truths[0]["chart"]["revenue"]["months"]
                .as_array()
                .unwrap()
                .len(),
            12
        );
        assert_eq!(truths[1]["chart"]["panels"].as_array().unwrap().len(), 4);
        let png = Chart::of_seed(Figure::Panels, 6).draw(side).to_png();
        assert_eq!(fs::read(out.path().join("chart_0001.png")).unwrap(), png);
    }

    #[test]
    fn the_contact_sheet_shows_small_pictures_doubled_and_large_ones_reduced() {
        let check = |n, px, want| {
            let out = tempfile::tempdir().unwrap();
            draw_to_folder(
                out.path(),
                &Drawing::Scenes,
                count(n),
                1,
                Side::new(px).unwrap(),
            )
            .unwrap();
            let size = imagesize::size(out.path().join(CONTACT_SHEET)).unwrap();
            assert_eq!((size.width, size.height), want);
        };
        check(1, 96, (192, 192));
        check(5, 96, (3 * 192, 2 * 192));
        check(4, 100, (200, 200));
        check(2, 300, (2 * 192, 192));
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let out = tempfile::tempdir().unwrap();
        fs::write(out.path().join("mine.txt"), "mine").unwrap();
        let error =
            draw_to_folder(out.path(), &Drawing::Scenes, count(1), 1, Side::SMALLEST).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("is not empty; name a new or an empty folder")
        );
        assert_eq!(names(out.path()), ["mine.txt"]);

        let file = out.path().join("mine.txt");
        let error =
            draw_to_folder(&file, &Drawing::Scenes, count(1), 1, Side::SMALLEST).unwrap_err();
        assert!(error.to_string().starts_with("cannot write `"), "{error}");
    }
}
