//! A folder of one's own pictures, with what is known about them.
//!
//! PNG and JPEG files by name, and beside them, where there is one, `labels.jsonl`: one JSON object a line,
//! `{"file": "a.png", "truth": {"place": …, "time": …, "weather": …, "objects": [{"kind", "color", "size", "x", "y",
//! "radius"}, …]}}`, lengths in thousandths of the side. That is the form of the `truth.jsonl` that `suites draw` writes;
//! the contact sheet it writes is no picture to ask about and is passed over.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use imagesize::{ImageSize, ImageType};
use serde::{Deserialize, Serialize};
use tokwatt_domain::workload::SceneTruth;

/// A picture of one's own.
#[derive(Clone, Debug)]
pub(super) struct OwnPicture {
    pub(super) file: String,
    pub(super) bytes: Arc<[u8]>,
    /// Its longer side in pixels.
    pub(super) side_px: u32,
    pub(super) truth: Option<SceneTruth>,
}

/// A line of a label file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Label {
    pub(super) file: String,
    pub(super) truth: SceneTruth,
}

/// Why a folder's pictures cannot be asked about.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The folder or a file in it.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing in it.
    #[error("no picture in `{}`; it needs .png, .jpg or .jpeg files", .0.display())]
    Empty(PathBuf),
    /// Its name says picture, its first bytes do not.
    #[error("`{}` is no PNG or JPEG file; take it out of the folder or convert it", .0.display())]
    NotAPicture(PathBuf),
    /// Too many pixels to hand to an engine.
    #[error(
        "`{}` is {width} × {height} px, more than {PX_MAX} a side; make it smaller",
        path.display()
    )]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// In pixels.
        width: usize,
        /// In pixels.
        height: usize,
    },
    /// A PNG that does not decode to its end.
    #[error("`{}` is damaged; copy it again or take it out of the folder", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where decoding ended.
        #[source]
        source: png::DecodingError,
    },
    /// A label that says nothing we understand.
    #[error("`{}` line {line}: {message}", path.display())]
    Label {
        /// The label file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with which field.
        message: String,
    },
}

/// The pictures of a folder by name, at most `limit` of them.
///
/// # Errors
/// One of them cannot be used, or a label fits none of the folder's pictures.
pub(super) fn read(folder: &Path, limit: usize) -> Result<Vec<OwnPicture>, FolderError> {
    let files = list(folder)?;
    let mut labels = read_labels(folder, &files)?;
    files
        .into_iter()
        .take(limit)
        .map(|file| {
            let truth = labels.remove(&file);
            open(folder, file, truth)
        })
        .collect()
}

/// Longest side that is handed to an engine.
const PX_MAX: usize = 8192;

/// What `suites draw` calls its overview.
pub(super) const CONTACT_SHEET: &str = "contact_sheet.png";

const LABELS: &str = "labels.jsonl";

/// Names of the pictures in a folder, sorted.
fn list(folder: &Path) -> Result<Vec<String>, FolderError> {
    let failed = |source| FolderError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in folder.read_dir().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_picture_name(&name) && entry.path().is_file() {
            files.push(name);
        }
    }
    if files.is_empty() {
        return Err(FolderError::Empty(folder.to_owned()));
    }
    files.sort_unstable();
    Ok(files)
}

fn is_picture_name(name: &str) -> bool {
    let extension = Path::new(name).extension().unwrap_or_default();
    name != CONTACT_SHEET
        && ["png", "jpg", "jpeg"]
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
}

/// Checks the header before anything decodes a pixel: a small file can claim a picture that fills the memory.
fn open(folder: &Path, file: String, truth: Option<SceneTruth>) -> Result<OwnPicture, FolderError> {
    let path = folder.join(&file);
    let failed = |source| FolderError::Read {
        path: path.clone(),
        source,
    };
    let (format, size) = read_header(&path)?;
    let side_px = usable_side(&path, size)?;
    let bytes = std::fs::read(&path).map_err(failed)?;
    if format == ImageType::Png {
        decode_png(&bytes).map_err(|source| FolderError::Damaged { path, source })?;
    }
    Ok(OwnPicture {
        file,
        bytes: bytes.into(),
        side_px,
        truth,
    })
}

fn read_header(path: &Path) -> Result<(ImageType, ImageSize), FolderError> {
    let failed = |source| FolderError::Read {
        path: path.to_owned(),
        source,
    };
    let not_a_picture = || FolderError::NotAPicture(path.to_owned());
    let mut start = Vec::new();
    let open = || File::open(path).map_err(failed);
    open()?.take(64).read_to_end(&mut start).map_err(failed)?;
    let format = match imagesize::image_type(&start) {
        Ok(format @ (ImageType::Png | ImageType::Jpeg)) => format,
        _ => return Err(not_a_picture()),
    };
    let size =
        imagesize::reader_size(BufReader::new(open()?)).map_err(|_unreadable| not_a_picture())?;
    Ok((format, size))
}

fn usable_side(path: &Path, ImageSize { width, height }: ImageSize) -> Result<u32, FolderError> {
    if width == 0 || height == 0 {
        return Err(FolderError::NotAPicture(path.to_owned()));
    }
    if width.max(height) > PX_MAX {
        return Err(FolderError::TooLarge {
            path: path.to_owned(),
            width,
            height,
        });
    }
    Ok(u32::try_from(width.max(height)).expect("at most 8,192"))
}

/// Decodes to the end, row by row, and keeps nothing.
fn decode_png(bytes: &[u8]) -> Result<(), png::DecodingError> {
    let mut reader = png::Decoder::new(io::Cursor::new(bytes)).read_info()?;
    while reader.next_row()?.is_some() {}
    reader.finish()
}

/// What is known about which file; nothing where there is no label file.
fn read_labels(
    folder: &Path,
    files: &[String],
) -> Result<BTreeMap<String, SceneTruth>, FolderError> {
    let path = folder.join(LABELS);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(source) => return Err(FolderError::Read { path, source }),
    };
    let mut labels = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |message| FolderError::Label {
            path: path.clone(),
            line: index + 1,
            message,
        };
        let label = read_label(line, files).map_err(wrong)?;
        if labels.contains_key(&label.file) {
            return Err(wrong(format!("`{}` has a label already", label.file)));
        }
        labels.insert(label.file, label.truth);
    }
    Ok(labels)
}

fn read_label(line: &str, files: &[String]) -> Result<Label, String> {
    let mut label: Label = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if !files.contains(&label.file) {
        return Err(format!("no picture `{}` in the folder", label.file));
    }
    for (index, object) in label.truth.objects.iter().enumerate() {
        let fields = [("x", object.x), ("y", object.y), ("radius", object.radius)];
        if let Some((field, value)) = fields.iter().find(|(_, value)| *value > 1000) {
            return Err(format!(
                "objects[{index}].{field} is {value}; it counts thousandths of the side, at most 1000"
            ));
        }
    }
    label.truth.objects.sort_by_key(|object| object.x);
    Ok(label)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::workload::{picture::Side, picture::encode_png, scene::Scene};

    const TRUTH: &str = r#"{"place":"beach","time":"day","weather":"clear","objects":[
        {"kind":"ball","color":"red","size":"small","x":700,"y":500,"radius":70},
        {"kind":"box","color":"blue","size":"large","x":200,"y":500,"radius":120}]}"#;

    fn folder(files: &[(&str, &[u8])]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    fn png() -> Vec<u8> {
        Scene::of_seed(1).draw(Side::SMALLEST).to_png()
    }

    /// Just enough of a JPEG to say its size.
    fn jpeg(width: u16, height: u16) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xe0, 0, 16];
        bytes.extend(b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
        bytes.extend([0xff, 0xc0, 0, 11, 8]);
        bytes.extend(height.to_be_bytes());
        bytes.extend(width.to_be_bytes());
        bytes.extend([1, 1, 0x11, 0, 0xff, 0xd9]);
        bytes
    }

    #[track_caller]
    fn check(files: &[(&str, &[u8])], want: &str) {
        let folder = folder(files);
        let error = read(folder.path(), usize::MAX).unwrap_err();
        let message = error
            .to_string()
            .replace(&format!("{}/", folder.path().display()), "");
        assert!(message.contains(want), "{message}");
    }

    #[test]
    fn pictures_come_by_name_and_other_files_not_at_all() {
        let png = png();
        let folder = folder(&[
            ("b.PNG", &png),
            ("a.jpeg", &jpeg(640, 480)),
            ("notes.txt", b"x"),
            (CONTACT_SHEET, &png),
        ]);
        std::fs::create_dir(folder.path().join("c.png")).unwrap();
        let pictures = read(folder.path(), usize::MAX).unwrap();
        let seen: Vec<(&str, u32)> = pictures
            .iter()
            .map(|picture| (picture.file.as_str(), picture.side_px))
            .collect();
        assert_eq!(seen, [("a.jpeg", 640), ("b.PNG", 96)]);
        assert_eq!(*pictures[1].bytes, *png);
        assert_eq!(read(folder.path(), 1).unwrap().len(), 1);
    }

    #[test]
    fn labels_belong_to_their_files_and_are_told_from_left_to_right() {
        let png = png();
        let label = format!(r#"{{"file":"b.png","truth":{}}}"#, TRUTH.replace('\n', ""));
        let folder = folder(&[("a.png", &png), ("b.png", &png), (LABELS, label.as_bytes())]);
        let pictures = read(folder.path(), usize::MAX).unwrap();
        assert_eq!(pictures[0].truth, None);
        let objects = &pictures[1].truth.as_ref().unwrap().objects;
        assert_eq!([objects[0].x, objects[1].x], [200, 700]);
    }

    #[test]
    fn what_cannot_be_asked_about_is_named() {
        let png = png();
        check(&[], "no picture in");
        check(
            &[("a.png", b"not a picture")],
            "`a.png` is no PNG or JPEG file",
        );
        check(&[("a.png", b"")], "`a.png` is no PNG or JPEG file");
        check(&[("a.png", &png[..20])], "`a.png` is no PNG or JPEG file");
        check(&[("a.png", &png[..png.len() / 2])], "`a.png` is damaged");
        check(&[("a.png", &png[..png.len() - 4])], "`a.png` is damaged");
        check(
            &[("a.jpg", &jpeg(20_000, 10))],
            "`a.jpg` is 20000 × 10 px, more than 8192 a side",
        );
        check(&[("a.jpg", &jpeg(10, 0))], "`a.jpg` is no PNG or JPEG file");
        let vast = encode_png(8193, 1, &[0; 8193 * 3]);
        check(
            &[("a.png", &vast)],
            "`a.png` is 8193 × 1 px, more than 8192 a side",
        );
        let mut changed = png.clone();
        changed[png.len() / 2] ^= 0xff;
        check(&[("a.png", &changed)], "`a.png` is damaged");
    }

    #[test]
    fn a_wrong_label_is_named_with_its_line_and_field() {
        let png = png();
        let good = format!(r#"{{"file":"a.png","truth":{}}}"#, TRUTH.replace('\n', ""));
        let check = |lines: &[&str], want: &str| {
            let text = lines.join("\n");
            check(&[("a.png", &png), (LABELS, text.as_bytes())], want);
        };
        let changed = |old: &str, new: &str| good.replace(old, new);
        check(
            &[&changed("\"color\"", "\"colour\"")],
            "`labels.jsonl` line 1: unknown field `colour`",
        );
        check(
            &["", &changed("\"time\"", "\"hour\"")],
            "line 2: unknown field `hour`",
        );
        check(
            &[&changed("\"place\":\"beach\",", "")],
            "missing field `place`",
        );
        check(
            &[&changed("700", "1001")],
            "objects[0].x is 1001; it counts thousandths",
        );
        check(
            &[&changed("700", "-1")],
            "line 1: invalid value: integer `-1`",
        );
        check(
            &[&changed("a.png", "z.png")],
            "line 1: no picture `z.png` in the folder",
        );
        check(&[&good, &good], "line 2: `a.png` has a label already");
        check(&["{"], "line 1: EOF");
    }
}
