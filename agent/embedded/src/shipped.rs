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
        sha256: "2b8d1d0cb234cd3011d303c4b12f69b7101ce6a0b3e123ed417f150f9b175edf",
        name: "tiny-vlm-f32",
        bytes: include_bytes!("../model/tiny-vlm-f32.gguf"),
    },
    ShippedFile {
        precision: "f16",
        sha256: "80e3efb8b53b9291b06cf7c892a61d073cd811e925b04b7ecaa290d11f01db04",
        name: "tiny-vlm-f16",
        bytes: include_bytes!("../model/tiny-vlm-f16.gguf"),
    },
    ShippedFile {
        precision: "bf16",
        sha256: "40979a2bbe116e337f36e903acbd28b9c3559cbcbb0fb5cb3e6f08be43285050",
        name: "tiny-vlm-bf16",
        bytes: include_bytes!("../model/tiny-vlm-bf16.gguf"),
    },
    ShippedFile {
        precision: "q8_0",
        sha256: "a7c9ea6c4abc810918f9064407869520554214c59bcc58018e0cd41609ea1bd9",
        name: "tiny-vlm-q8_0",
        bytes: include_bytes!("../model/tiny-vlm-q8_0.gguf"),
    },
];

/// The projector, one for all of them.
pub const MMPROJ: ShippedFile = ShippedFile {
    precision: "f32",
    sha256: "22c8b337a90348816724656419aed5777113043dc22f407fe80f0ca2ca3b600e",
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
