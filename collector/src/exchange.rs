//! Results that come and go as files: spool exports of devices that no network reaches, result files of other tools, and what is
//! handed on.

mod document;
mod export;
mod foreign;
mod import;
mod results;
mod service;

pub(crate) use self::service::{RESULTS_BYTES_MAX, TOO_LONG, nameless};
pub use self::{
    document::{Import, Results, ResultsRun, SetAside},
    export::{
        BundleError, ExportError, Exporter, Made, Question, TableForm, Verified, Verify,
        VerifyError, What, verify,
    },
    foreign::{ForeignError, Labels, Tool, Value},
    import::{ImportError, Imported, Importer},
    results::{Asked, ResultsError, ResultsImporter},
    service::Exchange,
};
