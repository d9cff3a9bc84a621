//! Results that come as files, where no network is between a device and its collector.

mod document;
mod import;
mod service;

pub(crate) use self::service::nameless;
pub use self::{
    document::{Import, SetAside},
    import::{ImportError, Imported, Importer},
    service::Exchange,
};
