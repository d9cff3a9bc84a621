//! Records that are many are deflated: answers, truths and the readings of a coarse sensor say the same over and over.
//!
//! At one go and not as a stream: there is no window of 32 KiB to be cleared for a record of one, and millions of them are read.

use miniz_oxide::{
    deflate::compress_to_vec,
    inflate::{TINFLStatus, decompress_to_vec_with_limit},
};

use super::RECORD_BYTES_MAX;
use crate::error::ContractError;

/// An encoded record, made smaller.
pub(super) fn write(record: &[u8]) -> Vec<u8> {
    compress_to_vec(record, LEVEL)
}

/// The encoded record; takes no more memory than the largest one has bytes, whatever comes.
pub(super) fn read(deflated: &[u8]) -> Result<Vec<u8>, ContractError> {
    decompress_to_vec_with_limit(deflated, RECORD_BYTES_MAX).map_err(|error| {
        let problem = match error.status {
            TINFLStatus::HasMoreOutput => {
                format!("is inflated more than {RECORD_BYTES_MAX} bytes")
            }
            _ => "cannot be inflated: it is damaged".to_owned(),
        };
        ContractError::field("deflated", problem)
    })
}

/// What is gained beyond it is a few per cent, for several times the work.
const LEVEL: u8 = 4;
