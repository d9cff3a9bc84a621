//! JSON documents inside records: the wide, rarely sent, still growing things.

use serde::{Serialize, de::DeserializeOwned};

use super::required;
use crate::{error::ContractError, v1};

/// A `DeviceProfile`.
pub(super) const DEVICE: &str = "tokwatt.device/1";

/// A `RunHeader`.
pub(super) const HEADER: &str = "tokwatt.header/1";

/// A `RunReport`.
pub(super) const REPORT: &str = "tokwatt.report/1";

/// A `Resumption`.
pub(super) const RESUMPTION: &str = "tokwatt.resumption/1";

/// A `Sensor`.
pub(super) const SENSOR: &str = "tokwatt.sensor/1";

/// A `Truth`.
pub(super) const TRUTH: &str = "tokwatt.truth/1";

pub(crate) fn write(schema: &'static str, content: &impl Serialize) -> v1::Document {
    v1::Document {
        schema: schema.to_owned(),
        json: serde_json::to_vec(content)
            .expect("types of the domain have text for keys and nothing else that JSON lacks"),
    }
}

pub(crate) fn read<T: DeserializeOwned>(
    schema: &'static str,
    document: Option<&v1::Document>,
    field: &str,
) -> Result<T, ContractError> {
    let document = required(document, field)?;
    if document.schema != schema {
        let problem = format!("is a `{}`, expected `{schema}`", document.schema);
        return Err(ContractError::field(field, problem));
    }
    serde_json::from_slice(&document.json).map_err(|source| ContractError::Document {
        field: field.to_owned(),
        schema,
        source,
    })
}
