//! What is handed on: columns with unit, definition and scope, and rows of fields.

use serde::Serialize;
use tokwatt_domain::power::Scope;

/// A column.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Empty for what has none.
    pub(super) unit: &'static str,
    /// Id of the dictionary; absent for what is no metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) definition: Option<&'static str>,
    /// What the power figures include.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<Scope>,
}

/// What the fields of a column are.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Text,
    /// A 64-bit float. A percentile that is a failed request is infinite.
    Number,
    Integer,
    Truth,
    /// Microseconds since 1970.
    Time,
}

/// What stands in a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Field {
    Absent,
    Text(String),
    Number(f64),
    Integer(i64),
    Truth(bool),
    Time(i64),
}

pub(super) type Row = Vec<Field>;

impl Column {
    pub(super) fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            unit: "",
            definition: None,
            scope: None,
        }
    }

    pub(super) fn of_unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    pub(super) fn of_definition(mut self, definition: &'static str, scope: Option<Scope>) -> Self {
        self.definition = Some(definition);
        self.scope = scope;
        self
    }

    /// Its name with its unit, for forms that have no other place for it: `ttft.p90 [s]`.
    pub(super) fn label(&self) -> String {
        match self.unit {
            "" => self.name.clone(),
            unit => format!("{} [{unit}]", self.name),
        }
    }
}

impl Field {
    pub(super) fn text(text: impl ToString) -> Self {
        Self::Text(text.to_string())
    }

    pub(super) fn number(number: Option<f64>) -> Self {
        number.map_or(Self::Absent, Self::Number)
    }

    pub(super) fn integer(integer: Option<impl TryInto<i64>>) -> Self {
        let integer = integer.and_then(|integer| integer.try_into().ok());
        integer.map_or(Self::Absent, Self::Integer)
    }

    pub(super) fn optional(text: Option<impl ToString>) -> Self {
        text.map_or(Self::Absent, |text| Self::text(text))
    }
}
