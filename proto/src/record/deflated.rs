//! Records that are many are deflated: answers, truths and the readings of a coarse sensor say the same over and over.

use std::io::{Read, Write};

use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};

use super::RECORD_BYTES_MAX;
use crate::error::ContractError;

/// An encoded record, made smaller.
pub(super) fn write(record: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(LEVEL));
    encoder
        .write_all(record)
        .and_then(|()| encoder.finish())
        .expect("memory takes everything")
}

/// The encoded record; takes no more memory than the largest one has bytes, whatever comes.
pub(super) fn read(deflated: &[u8]) -> Result<Vec<u8>, ContractError> {
    let most = RECORD_BYTES_MAX as u64;
    let mut record = Vec::new();
    DeflateDecoder::new(deflated)
        .take(most + 1)
        .read_to_end(&mut record)
        .map_err(|error| {
            ContractError::field("deflated", format!("cannot be inflated: {error}"))
        })?;
    if record.len() > RECORD_BYTES_MAX {
        let problem = format!("is inflated more than {RECORD_BYTES_MAX} bytes");
        return Err(ContractError::field("deflated", problem));
    }
    Ok(record)
}

/// What is gained beyond it is a few per cent, for several times the work.
const LEVEL: u32 = 4;
