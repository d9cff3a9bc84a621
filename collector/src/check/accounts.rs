//! The books: of each stream, what was delivered; of each run, what there was.

use tokwatt_proto::Account;

use super::{Check, CheckError, RESTORE};
use crate::store::Store;

/// Each delivered record is stored, held by another epoch, or replaced by a declared gap.
pub(super) async fn of_streams(store: &Store, check: &mut Check) -> Result<(), CheckError> {
    for stream in store.stream_accounts().await? {
        check.streams.add(&stream);
        if stream.is_balanced() {
            continue;
        }
        let problem = format!(
            "{} records were delivered, of which {} are stored up to number {}, {} held by another epoch, {} declared",
            stream.through, stream.stored, stream.last, stream.held, stream.declared
        );
        let whose = format!("epoch {} of `{}`", stream.epoch, stream.device);
        check.find("streams", whose, problem, RESTORE);
    }
    Ok(())
}

/// What does not balance, in words.
pub(super) fn imbalance(account: &Account) -> String {
    let Account {
        segment,
        part,
        expected,
        stored,
        declared,
    } = account;
    match expected {
        None => format!("segment {segment} has {part} and no end"),
        Some(expected) => format!(
            "segment {segment}: of {expected} {part} {stored} are stored and {declared} declared missing"
        ),
    }
}
