//! What a GGUF file says of itself, read and checked before llama.cpp sees it.
//!
//! The file is little-endian: `GGUF`, version (2 or 3), tensor count, key count, the keys with their values, one
//! description of each tensor, and from the next multiple of `general.alignment` (32) the tensors' data. Counts and
//! lengths come from the file, so nothing is allocated for them before the bytes behind them were seen to exist.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

mod tensor;

use tensor::Tensor;

/// The part of a GGUF file before its weights, found to be consistent with the file's length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gguf {
    values: BTreeMap<String, Value>,
    n_weights: u64,
}

/// A value that fits in a line; arrays are skipped.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Unsigned(u64),
    Signed(i64),
    Real(f64),
    Bool(bool),
    Text(String),
}

/// Why a file is no usable GGUF.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// Something else.
    #[error(
        "it is not a GGUF file: it begins with {0:02x?}; convert the model or download a `.gguf`"
    )]
    Magic([u8; 4]),
    /// A version that the engine does not read.
    #[error("GGUF version {0} is not supported, versions 2 and 3 are; convert the model again")]
    Version(u32),
    /// The file ends before what it announces.
    #[error(
        "it is truncated: {what} would end at byte {needed}, the file has {length}; download it again"
    )]
    Truncated {
        /// What is cut.
        what: String,
        /// Where it would end.
        needed: u64,
        /// Where the file ends.
        length: u64,
    },
    /// It contradicts the format.
    #[error("it is damaged: {0}; download it again")]
    Damaged(String),
    /// It cannot be read.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
}

impl Gguf {
    /// Reads the head of a file and checks that every tensor lies within it.
    ///
    /// # Errors
    /// The file cannot be read, is something else, or contradicts itself.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Self::read(BufReader::new(file), length)
    }

    /// Reads the head of a file of `length` bytes.
    ///
    /// # Errors
    /// As [`Gguf::open`].
    pub fn read(file: impl Read + Seek, length: u64) -> Result<Self, GgufError> {
        let mut head = Head {
            file,
            position: 0,
            length,
        };
        head.magic_and_version()?;
        let n_tensors = head.count("tensor count", N_TENSORS_MAX)?;
        let n_values = head.count("key count", N_VALUES_MAX)?;
        let values = head.values(n_values)?;
        let mut tensors = Vec::new();
        for _ in 0..n_tensors {
            tensors.push(head.tensor()?);
        }
        let gguf = Self {
            values,
            n_weights: tensors.iter().map(|tensor| tensor.n_elements).sum(),
        };
        gguf.check_data(&tensors, head.position, length)?;
        Ok(gguf)
    }

    /// A text value.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.values.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number that is not negative.
    pub fn number(&self, key: &str) -> Option<u64> {
        match *self.values.get(key)? {
            Value::Unsigned(number) => Some(number),
            Value::Signed(number) => u64::try_from(number).ok(),
            _ => None,
        }
    }

    /// Number of weights: elements of all tensors.
    pub fn n_weights(&self) -> u64 {
        self.n_weights
    }

    /// Precision class by `general.file_type`, as in file names, lower case: `f32`, `q4_k_m`.
    pub fn precision(&self) -> Option<&'static str> {
        let file_type = self.number("general.file_type")?;
        let found = FILE_TYPES.iter().find(|(number, _)| *number == file_type)?;
        Some(found.1)
    }

    /// Scalar values under `general.` and under the architecture's name, for people.
    pub fn facts(&self) -> BTreeMap<String, String> {
        let architecture = self.text("general.architecture").unwrap_or_default();
        let is_fact =
            |key: &str| key.starts_with("general.") || key.split('.').next() == Some(architecture);
        let facts = self.values.iter().filter(|(key, _)| is_fact(key));
        facts
            .map(|(key, value)| (key.clone(), value.to_string()))
            .collect()
    }

    fn check_data(&self, tensors: &[Tensor], head_end: u64, length: u64) -> Result<(), GgufError> {
        let alignment = self.number("general.alignment").unwrap_or(32);
        if !alignment.is_power_of_two() || alignment > ALIGNMENT_MAX {
            return Err(GgufError::Damaged(format!(
                "general.alignment is {alignment}"
            )));
        }
        let start = head_end.next_multiple_of(alignment);
        for tensor in tensors {
            tensor.check_within(start, length)?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsigned(number) => number.fmt(f),
            Self::Signed(number) => number.fmt(f),
            Self::Real(number) => number.fmt(f),
            Self::Bool(flag) => flag.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// The head of a file while it is read.
struct Head<F> {
    file: F,
    position: u64,
    length: u64,
}

impl<F: Read + Seek> Head<F> {
    fn magic_and_version(&mut self) -> Result<(), GgufError> {
        let magic = self.bytes("the magic")?;
        if &magic != b"GGUF" {
            return Err(GgufError::Magic(magic));
        }
        match self.u32("the version")? {
            2 | 3 => Ok(()),
            version => Err(GgufError::Version(version)),
        }
    }

    fn values(&mut self, n_values: u64) -> Result<BTreeMap<String, Value>, GgufError> {
        let mut values = BTreeMap::new();
        for _ in 0..n_values {
            let key = self.text("a key", KEY_BYTES_MAX)?;
            let kind = self.u32(&key)?;
            if let Some(value) = self.value(&key, kind)? {
                values.insert(key, value);
            }
        }
        Ok(values)
    }

    fn value(&mut self, key: &str, kind: u32) -> Result<Option<Value>, GgufError> {
        Ok(Some(match kind {
            0 => Value::Unsigned(u64::from(u8::from_le_bytes(self.bytes(key)?))),
            1 => Value::Signed(i64::from(i8::from_le_bytes(self.bytes(key)?))),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.bytes(key)?))),
            3 => Value::Signed(i64::from(i16::from_le_bytes(self.bytes(key)?))),
            4 => Value::Unsigned(u64::from(self.u32(key)?)),
            5 => Value::Signed(i64::from(i32::from_le_bytes(self.bytes(key)?))),
            6 => Value::Real(f64::from(f32::from_le_bytes(self.bytes(key)?))),
            7 => Value::Bool(self.bytes::<1>(key)? != [0]),
            8 => Value::Text(self.text(key, TEXT_BYTES_MAX)?),
            ARRAY => return self.skip_array(key).map(|()| None),
            10 => Value::Unsigned(self.u64(key)?),
            11 => Value::Signed(i64::from_le_bytes(self.bytes(key)?)),
            12 => Value::Real(f64::from_le_bytes(self.bytes(key)?)),
            _ => return Err(GgufError::Damaged(format!("key `{key}` has type {kind}"))),
        }))
    }

    fn skip_array(&mut self, key: &str) -> Result<(), GgufError> {
        let kind = self.u32(key)?;
        let n_items = self.u64(key)?;
        let item_bytes: u64 = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => return self.skip_texts(key, n_items),
            _ => {
                return Err(GgufError::Damaged(format!(
                    "array `{key}` has items of type {kind}"
                )));
            }
        };
        self.skip(key, n_items.saturating_mul(item_bytes))
    }

    fn skip_texts(&mut self, key: &str, n_items: u64) -> Result<(), GgufError> {
        for _ in 0..n_items {
            let bytes = self.u64(key)?;
            self.skip(key, bytes)?;
        }
        Ok(())
    }

    fn tensor(&mut self) -> Result<Tensor, GgufError> {
        let name = self.text("a tensor's name", NAME_BYTES_MAX)?;
        let n_dimensions = self.u32(&name)?;
        if n_dimensions > 4 {
            return Err(GgufError::Damaged(format!(
                "tensor `{name}` has {n_dimensions} dimensions"
            )));
        }
        let mut shape = Vec::new();
        for _ in 0..n_dimensions {
            shape.push(self.u64(&name)?);
        }
        let kind = self.u32(&name)?;
        let offset = self.u64(&name)?;
        Tensor::new(name, &shape, kind, offset)
    }

    fn count(&mut self, what: &str, most: u64) -> Result<u64, GgufError> {
        let count = self.u64(what)?;
        if count > most {
            return Err(GgufError::Damaged(format!("its {what} is {count}")));
        }
        Ok(count)
    }

    fn text(&mut self, what: &str, bytes_max: u64) -> Result<String, GgufError> {
        let bytes = self.u64(what)?;
        if bytes > bytes_max {
            return Err(GgufError::Damaged(format!(
                "{what} is a text of {bytes} bytes"
            )));
        }
        self.expect(what, bytes)?;
        let mut text = Vec::new();
        (&mut self.file).take(bytes).read_to_end(&mut text)?;
        self.position += bytes;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        self.bytes(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        self.bytes(what).map(u64::from_le_bytes)
    }

    fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        let n_bytes = N as u64;
        self.expect(what, n_bytes)?;
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        self.position += n_bytes;
        Ok(bytes)
    }

    fn skip(&mut self, what: &str, bytes: u64) -> Result<(), GgufError> {
        self.expect(what, bytes)?;
        self.position += bytes;
        // Relative, so that a short hop stays inside the reader's buffer.
        match i64::try_from(bytes) {
            Ok(hop) if hop <= SHORT_HOP => {
                io::copy(&mut (&mut self.file).take(bytes), &mut io::sink()).map(|_| ())?
            }
            _ => self.file.seek(SeekFrom::Start(self.position)).map(|_| ())?,
        }
        Ok(())
    }

    fn expect(&self, what: &str, bytes: u64) -> Result<(), GgufError> {
        let needed = self.position.saturating_add(bytes);
        if needed > self.length {
            return Err(GgufError::Truncated {
                what: what.to_owned(),
                needed,
                length: self.length,
            });
        }
        Ok(())
    }
}

const ARRAY: u32 = 9;
const KEY_BYTES_MAX: u64 = 65_535;
const NAME_BYTES_MAX: u64 = 64;
/// The longest text in use is a chat template, of some ten thousand bytes.
const TEXT_BYTES_MAX: u64 = 1 << 20;
const N_TENSORS_MAX: u64 = 1 << 20;
const N_VALUES_MAX: u64 = 1 << 16;
const ALIGNMENT_MAX: u64 = 1 << 20;
const SHORT_HOP: i64 = 4096;

/// `general.file_type` and what the world calls it in file names.
const FILE_TYPES: [(u64, &str); 31] = [
    (0, "f32"),
    (1, "f16"),
    (2, "q4_0"),
    (3, "q4_1"),
    (7, "q8_0"),
    (8, "q5_0"),
    (9, "q5_1"),
    (10, "q2_k"),
    (11, "q3_k_s"),
    (12, "q3_k_m"),
    (13, "q3_k_l"),
    (14, "q4_k_s"),
    (15, "q4_k_m"),
    (16, "q5_k_s"),
    (17, "q5_k_m"),
    (18, "q6_k"),
    (19, "iq2_xxs"),
    (20, "iq2_xs"),
    (21, "q2_k_s"),
    (22, "iq3_xs"),
    (23, "iq3_xxs"),
    (24, "iq1_s"),
    (25, "iq4_nl"),
    (26, "iq3_s"),
    (27, "iq3_m"),
    (28, "iq2_s"),
    (29, "iq2_m"),
    (30, "iq4_xs"),
    (31, "iq1_m"),
    (32, "bf16"),
    (38, "mxfp4"),
];

#[cfg(test)]
mod tests;
