//! What a file is, by its first bytes.

use std::io::BufRead;

use super::ForeignError;

/// A form that some reader takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    Json,
    MlperfSummary,
    MlperfDetail,
    LlamaBenchCsv,
}

/// Looks at the beginning, and takes nothing but a byte order mark.
///
/// # Errors
/// Nothing that is read here; the message says what it is, and what to do.
pub(super) fn look(input: &mut impl BufRead) -> Result<Form, ForeignError> {
    if input.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
        input.consume(BYTE_ORDER_MARK.len());
    }
    let head = input.fill_buf()?;
    if head.is_empty() {
        return Err(ForeignError::Empty);
    }
    let other = |what, advice| Err(ForeignError::Other { what, advice });
    for (beginning, what, advice) in OTHERS {
        if head.starts_with(beginning) {
            return other(what, advice);
        }
    }
    let head = &head[..head.len().min(LOOKED_AT)];
    if head.contains(&0) {
        return other("binary", "the tools' results are text");
    }
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start();
    let begins = |beginning: &str| text.to_ascii_lowercase().starts_with(beginning);
    if text.is_empty() {
        return Err(ForeignError::Empty);
    }
    if begins("{") || begins("[") {
        return Ok(Form::Json);
    }
    if begins("<!doctype") || begins("<html") || begins("<?xml") {
        return other(
            "a web page, not what it links to",
            "download the file itself, on GitHub by `Raw`",
        );
    }
    if begins(":::mllog") {
        return Ok(Form::MlperfDetail);
    }
    if begins("=====") && text.contains("MLPerf Results Summary") {
        return Ok(Form::MlperfSummary);
    }
    if begins("build_commit,") {
        return Ok(Form::LlamaBenchCsv);
    }
    if begins("metric,avg") || begins("metric,value") {
        return other(
            "a table of rounded numbers",
            "import the JSON file that AIPerf and GenAI-Perf write beside it",
        );
    }
    if begins("version https://git-lfs") {
        return other(
            "a pointer of Git LFS",
            "fetch the file itself: git lfs pull",
        );
    }
    other(
        "no form that is read here",
        "import the JSON (or JSON Lines) that the tool can write, MLPerf's mlperf_log_summary.txt or mlperf_log_detail.txt, or llama-bench's CSV",
    )
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// First bytes, what they are of, and what to do.
const OTHERS: [(&[u8], &str, &str); 7] = [
    (
        b"PK\x03\x04",
        "a zip archive",
        "unpack it, and import the files in it",
    ),
    (b"\x1f\x8b", "compressed by gzip", "unpack it first: gunzip"),
    (
        b"\x28\xb5\x2f\xfd",
        "compressed by zstd",
        "unpack it first: unzstd; a run bundle is looked at by `tokwatt-collector verify`",
    ),
    (b"%PDF", "a PDF", "import the tool's own result file"),
    (
        b"PAR1",
        "a Parquet file",
        "import the tool's own result file",
    ),
    (
        b"SQLite format 3",
        "a database",
        "import the tool's own result file; profiles of Nsight are not read",
    ),
    (
        b"tokwatt export 1",
        "a spool export",
        "it is imported without --tool and labels",
    ),
];

/// Enough to see what a text is.
const LOOKED_AT: usize = 4096;
