//! A picture on its sheet: title, what is fixed, how the figures came to be, the drawing, notes; as SVG and as PNG.
//!
//! Text stays text. Same chart, same bytes, on every machine.

use resvg::{tiny_skia, usvg};
use tokwatt_domain::power::Provenance;

use super::{
    Chart,
    canvas::{Area, Canvas, Ink, Side},
    color,
    description::file_name,
    font, table,
};

/// A picture that could not be made into pixels.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw picture `{name}` as PNG: {problem}")]
pub struct DrawError {
    /// Which picture.
    pub name: String,
    /// What is wrong.
    pub problem: String,
}

/// As an SVG document that can stand in a page, too: with title and description for screen readers.
pub fn svg(chart: &Chart) -> String {
    let words = Words::of(chart);
    let mut text = String::new();
    let mut canvas = Canvas::new(&mut text, WIDTH, words.height + chart.drawing.height(INNER));
    draw(chart, &words, &mut canvas);
    canvas.finish();
    with_description(chart, &text)
}

/// As a PNG, twice as large, so that it can be printed.
///
/// # Errors
/// The picture is too large to be held in memory.
pub fn png(chart: &Chart) -> Result<Vec<u8>, DrawError> {
    let failed = |problem: String| DrawError {
        name: chart.name.clone(),
        problem,
    };
    let mut fonts = usvg::fontdb::Database::new();
    fonts.load_font_data(font::BYTES.to_vec());
    let options = usvg::Options {
        fontdb: std::sync::Arc::new(fonts),
        ..usvg::Options::default()
    };
    let tree =
        usvg::Tree::from_str(&svg(chart), &options).map_err(|error| failed(error.to_string()))?;
    let size = tree.size().to_int_size().scale_by(ZOOM);
    let size = size.ok_or_else(|| failed("it has no size".to_owned()))?;
    let pixels = tiny_skia::Pixmap::new(size.width(), size.height());
    let mut pixels = pixels.ok_or_else(|| failed("it is too large".to_owned()))?;
    let zoom = tiny_skia::Transform::from_scale(ZOOM, ZOOM);
    resvg::render(&tree, zoom, &mut pixels.as_mut());
    pixels
        .encode_png()
        .map_err(|error| failed(error.to_string()))
}

/// Everything that is said around the drawing, in lines.
struct Words {
    title: Vec<String>,
    warning: Option<String>,
    subtitle: Vec<String>,
    notes: Vec<String>,
    height: i32,
}

impl Words {
    fn of(chart: &Chart) -> Self {
        let title = font::wrapped(&chart.title, TITLE.size, INNER);
        let warning = warning(chart.provenance);
        let wrap = |lines: &[String]| -> Vec<String> {
            let lines = lines.iter();
            lines
                .flat_map(|line| font::wrapped(line, SMALL.size, INNER))
                .collect()
        };
        let (subtitle, notes) = (wrap(&chart.subtitle), wrap(&chart.notes));
        let lines = |lines: &[String], each: i32| each * i32::try_from(lines.len()).unwrap_or(0);
        let height = 2 * MARGIN
            + lines(&title, TITLE_LINE)
            + warning.as_ref().map_or(0, |_| WARNING_LINE)
            + lines(&subtitle, LINE)
            + lines(&notes, LINE)
            + 2 * GAP;
        Self {
            title,
            warning,
            subtitle,
            notes,
            height,
        }
    }
}

/// What is not measured says so, whatever becomes of the picture.
fn warning(provenance: Provenance) -> Option<String> {
    let word = match provenance {
        Provenance::Measured => return None,
        other => other.as_str().to_uppercase(),
    };
    Some(format!("{word}, NOT MEASURED"))
}

fn draw(chart: &Chart, words: &Words, canvas: &mut Canvas<'_>) {
    let inner = chart.drawing.height(INNER);
    let bottom = words.height + inner;
    let sheet = Area {
        left: 0,
        top: 0,
        right: WIDTH,
        bottom,
    };
    canvas.fill(sheet, color::PAPER);
    let mut top = MARGIN;
    for line in &words.title {
        canvas.text((MARGIN, top + TITLE_LINE / 2), Side::Right, TITLE, line);
        top += TITLE_LINE;
    }
    if let Some(warning) = &words.warning {
        let ground = Area {
            left: MARGIN,
            top: top + 2,
            right: MARGIN + font::width(warning, WARNING.size) + 16,
            bottom: top + WARNING_LINE - 4,
        };
        canvas.fill(ground, color::WARNING);
        canvas.text(
            (MARGIN + 8, ground.middle().1),
            Side::Right,
            WARNING,
            warning,
        );
        top += WARNING_LINE;
    }
    let lines = |canvas: &mut Canvas<'_>, lines: &[String], mut top: i32| {
        for line in lines {
            canvas.text((MARGIN, top + LINE / 2), Side::Right, SMALL, line);
            top += LINE;
        }
        top
    };
    top = lines(canvas, &words.subtitle, top) + GAP;
    let area = Area {
        left: MARGIN,
        top,
        right: WIDTH - MARGIN,
        bottom: top + inner,
    };
    chart.drawing.draw(canvas, area);
    lines(canvas, &words.notes, area.bottom + GAP);
}

/// Adds what the drawing library has no place for: the picture's role, its title and its description.
fn with_description(chart: &Chart, text: &str) -> String {
    let id = file_name(&chart.name);
    let head = format!("<svg role=\"img\" aria-labelledby=\"{id}-title {id}-description\" ");
    let text = text.replacen("<svg ", &head, 1);
    let (open, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let warning = warning(chart.provenance).map(|warning| format!(" ({warning})"));
    let title = escaped(&format!("{}{}", chart.title, warning.unwrap_or_default()));
    let description = escaped(&table::description(chart));
    format!(
        "{open}\n<title id=\"{id}-title\">{title}</title>\n<desc id=\"{id}-description\">{description}</desc>\n{rest}"
    )
}

fn escaped(text: &str) -> String {
    let text = text.replace(char::is_control, "\u{fffd}");
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Of every picture, in pixels.
const WIDTH: i32 = 960;
const MARGIN: i32 = 20;
const INNER: i32 = WIDTH - 2 * MARGIN;

const TITLE: Ink = Ink::new(18, color::INK);
const TITLE_LINE: i32 = 26;
const WARNING: Ink = Ink::new(13, color::PAPER);
const WARNING_LINE: i32 = 28;
const SMALL: Ink = Ink::new(12, color::FAINT);
const LINE: i32 = 17;
const GAP: i32 = 12;

/// 960 pixels of a screen are 1,920 of a print.
const ZOOM: f32 = 2.0;
