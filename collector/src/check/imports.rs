//! Files of other tools: whether their bytes are those that came, and their runs those that were read from them.

use sha2::{Digest, Sha256};

use super::{Check, CheckError, REBUILD, RESTORE, named};
use crate::store::{ImportedRow, RunRow, State, Store};

/// Each file's bytes have its digest.
pub(super) async fn of_files(store: &Store, check: &mut Check) -> Result<(), CheckError> {
    for import in store.imports().await? {
        let mut hash = Sha256::new();
        for place in 0.. {
            let Some(bytes) = store.import_part(import.sha256, place).await? else {
                break;
            };
            hash.update(bytes);
        }
        let found: [u8; 32] = hash.finalize().into();
        if found != import.sha256.0 {
            check.find(
                "imports",
                format!("`{}` ({})", import.name, import.sha256),
                "its bytes are not those that were imported".to_owned(),
                RESTORE,
            );
        }
    }
    Ok(())
}

/// Its report is the one that was read from its file.
pub(super) fn look_at_run(check: &mut Check, row: &RunRow, imported: &ImportedRow) {
    check.runs.count(row);
    let is_other = row.report.as_ref() != Some(&imported.report);
    if row.state == State::Complete && is_other {
        check.find(
            "reports",
            named(row),
            "its report is not what was read from its file".to_owned(),
            REBUILD,
        );
    }
}
