//! A drawn picture: its size, its pixels, their digest, its file.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokwatt_domain::ids::Digest;

/// Side of a square picture in pixels, 96 to 1,024.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Side(u32);

/// A size at which no scene is drawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("pictures are drawn at 96 to 1024 px a side, not at {0}")]
pub struct SideOutOfRange(pub u32);

/// A square picture.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Picture {
    side: Side,
    rgb: Vec<u8>,
}

impl Side {
    /// The shipped model's own size.
    pub const SMALLEST: Self = Self(96);

    /// Checks the range.
    ///
    /// # Errors
    /// Less than 96 or more than 1,024.
    pub fn new(px: u32) -> Result<Self, SideOutOfRange> {
        if (96..=1024).contains(&px) {
            Ok(Self(px))
        } else {
            Err(SideOutOfRange(px))
        }
    }

    /// In pixels.
    pub fn px(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Side {
    type Error = SideOutOfRange;

    fn try_from(px: u32) -> Result<Self, SideOutOfRange> {
        Self::new(px)
    }
}

impl From<Side> for u32 {
    fn from(side: Side) -> Self {
        side.0
    }
}

impl Picture {
    pub(super) fn new(side: Side, rgb: Vec<u8>) -> Self {
        Self { side, rgb }
    }

    /// Its size.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Red, green, blue of each pixel, row by row.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// SHA-256 over [`rgb`](Self::rgb), the same on every platform; a PNG's bytes may change with the encoder.
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(&self.rgb).into())
    }

    /// As a PNG file.
    pub fn to_png(&self) -> Vec<u8> {
        encode_png(self.side.px(), self.side.px(), &self.rgb)
    }
}

/// A PNG file of 8-bit RGB.
pub(super) fn encode_png(width: u32, height: u32, rgb: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().expect("written to memory");
    writer
        .write_image_data(rgb)
        .expect("as many bytes as pixels, written to memory");
    writer.finish().expect("written to memory");
    file
}
