//! The model that is shipped inside the program, so that a fresh machine without a network does the real job.
//!
//! It is a reference load that knows drawn scenes only: see `model/README.md`. llama.cpp reads files, so the bytes are
//! written out once, under a name that carries their digest.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use crate::EngineError;

/// One file of the shipped model.
#[derive(Clone, Copy)]
pub struct ShippedFile {
    /// Precision class, as in file names.
    pub precision: &'static str,
    /// SHA-256, in hexadecimal digits.
    pub sha256: &'static str,
    name: &'static str,
    bytes: &'static [u8],
}

/// Where the shipped model lies on the disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unpacked {
    /// The language model.
    pub model: PathBuf,
    /// Its projector.
    pub mmproj: PathBuf,
}

/// The language model in each precision.
pub const MODELS: [ShippedFile; 4] = [
    ShippedFile {
        precision: "f32",
        sha256: "1cc5147a1908bd99e9ba539f8841a2633d4b7f30badc252279cb388f96c59286",
        name: "tiny-vlm-f32",
        bytes: include_bytes!("../model/tiny-vlm-f32.gguf"),
    },
    ShippedFile {
        precision: "f16",
        sha256: "331ec1b248d03c64c1eeebcba038672f2740c197deb7a3704e3fd66a0890095a",
        name: "tiny-vlm-f16",
        bytes: include_bytes!("../model/tiny-vlm-f16.gguf"),
    },
    ShippedFile {
        precision: "bf16",
        sha256: "e71de317e02d0ace878f0eb3a087c269eb87c3caef1f98c33db118a5f3ad4e67",
        name: "tiny-vlm-bf16",
        bytes: include_bytes!("../model/tiny-vlm-bf16.gguf"),
    },
    ShippedFile {
        precision: "q8_0",
        sha256: "62fb11e38f828ae8728c6e5d4c7b3724d46b8ba105a442949cf4fff2e9f332a6",
        name: "tiny-vlm-q8_0",
        bytes: include_bytes!("../model/tiny-vlm-q8_0.gguf"),
    },
];

/// The projector, one for all of them.
pub const MMPROJ: ShippedFile = ShippedFile {
    precision: "f32",
    sha256: "03c1df5f28b192126ea4885c11367fbe4aba77f97d2a69ea29fd6afe4bc94954",
    name: "tiny-vlm-mmproj-f32",
    bytes: include_bytes!("../model/tiny-vlm-mmproj-f32.gguf"),
};

/// Writes the model of this precision and its projector into `folder`, unless they are there.
///
/// # Errors
/// There is no such precision, or the folder cannot be written.
pub fn unpack(precision: &str, folder: &Path) -> Result<Unpacked, EngineError> {
    let Some(model) = MODELS.iter().find(|file| file.precision == precision) else {
        return Err(EngineError::ShippedPrecision(precision.to_owned()));
    };
    Ok(Unpacked {
        model: model.unpack(folder)?,
        mmproj: MMPROJ.unpack(folder)?,
    })
}

/// Where [`unpack`] puts them, whether they are there or not; nothing if there is no such precision.
pub fn places(precision: &str, folder: &Path) -> Option<Unpacked> {
    let model = MODELS.iter().find(|file| file.precision == precision)?;
    Some(Unpacked {
        model: model.place(folder),
        mmproj: MMPROJ.place(folder),
    })
}

impl ShippedFile {
    fn place(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}-{}.gguf", &self.sha256[..16], self.name))
    }

    fn unpack(&self, folder: &Path) -> Result<PathBuf, EngineError> {
        let path = self.place(folder);
        let has_all = fs::metadata(&path).is_ok_and(|file| file.len() == self.bytes.len() as u64);
        if !has_all {
            self.write(folder, &path)
                .map_err(|source| EngineError::Shipped {
                    path: path.clone(),
                    source,
                })?;
        }
        Ok(path)
    }

    /// Under another name first: a file that is there is whole.
    fn write(&self, folder: &Path, path: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let unfinished = path.with_extension(format!("{}.part", std::process::id()));
        let mut file = fs::File::create(&unfinished)?;
        file.write_all(self.bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    }
}
