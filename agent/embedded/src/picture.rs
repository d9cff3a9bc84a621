//! A picture's header, checked before anything is decoded.
//!
//! A file of a few bytes can announce a picture of gigabytes, and the decoder would believe it.

use imagesize::{ImageSize, ImageType};

use crate::EngineError;

/// Most pixels along one side.
pub const SIDE_MAX: usize = 8_192;

/// Most pixels in all: 192 MB once decoded.
pub const PIXELS_MAX: usize = 64_000_000;

/// Accepts a PNG or JPEG of a size that can be decoded.
pub(crate) fn check(file: &[u8]) -> Result<(), EngineError> {
    if !matches!(
        imagesize::image_type(file),
        Ok(ImageType::Png | ImageType::Jpeg)
    ) {
        return refuse("is neither PNG nor JPEG");
    }
    let Ok(ImageSize { width, height }) = imagesize::blob_size(file) else {
        return refuse("ends inside its header");
    };
    if width == 0 || height == 0 {
        return refuse(&format!("is {width}×{height} px"));
    }
    if width > SIDE_MAX || height > SIDE_MAX {
        return refuse(&format!(
            "is {width}×{height} px, at most {SIDE_MAX} px a side are looked at: make it smaller"
        ));
    }
    if width.saturating_mul(height) > PIXELS_MAX {
        return refuse(&format!(
            "is {width}×{height} px, at most {PIXELS_MAX} px in all are looked at: make it smaller"
        ));
    }
    Ok(())
}

fn refuse(why: &str) -> Result<(), EngineError> {
    Err(EngineError::Picture(why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of a PNG: signature and the announced size.
    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        file.extend(width.to_be_bytes());
        file.extend(height.to_be_bytes());
        file.extend([8, 2, 0, 0, 0, 0, 0, 0, 0]);
        file
    }

    /// The head of a JPEG: start, and the frame with its size.
    fn jpeg(width: u16, height: u16) -> Vec<u8> {
        let mut file = vec![0xff, 0xd8, 0xff, 0xc0, 0, 17, 8];
        file.extend(height.to_be_bytes());
        file.extend(width.to_be_bytes());
        file.extend([3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]);
        file
    }

    #[track_caller]
    fn is_refused(file: &[u8], words: &str) {
        let message = check(file).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }

    #[test]
    fn a_picture_within_the_limits_is_accepted() {
        assert!(check(&png(96, 96)).is_ok());
        assert!(check(&png(8_000, 8_000)).is_ok());
        assert!(check(&jpeg(640, 480)).is_ok());
    }

    #[test]
    fn a_limit_is_named_with_the_size_that_breaks_it() {
        is_refused(
            &png(20_000, 20_000),
            "20000×20000 px, at most 8192 px a side",
        );
        is_refused(&png(8_192, 8_192), "at most 64000000 px in all");
        is_refused(&jpeg(9_000, 10), "9000×10 px, at most 8192 px a side");
        is_refused(&png(0, 96), "is 0×96 px");
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        is_refused(b"", "neither PNG nor JPEG");
        is_refused(b"GIF89a\x01\0\x01\0", "neither PNG nor JPEG");
        is_refused(&png(96, 96)[..14], "ends inside its header");
    }
}
