//! A JSON document, and the form it is to have: the part of JSON Schema that structured answers are asked for in.
//!
//! A schema that uses any other keyword is not read: what would be passed over in silence would make an answer right that is not.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize, Serializer};

/// A document.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Whole or not.
    Number(#[serde(serialize_with = "write_number")] f64),
    /// Text.
    Text(String),
    /// `[…]`.
    List(Vec<Self>),
    /// `{…}`.
    Object(BTreeMap<String, Self>),
}

/// The form of a document. Keywords mean what they mean in JSON Schema; those that are absent ask nothing.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Schema {
    /// Which kind of value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<Kind>,
    /// Forms of an object's values, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, Self>,
    /// Keys that an object has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    /// Whether an object may have keys that `properties` does not name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_properties: Option<bool>,
    /// Form of a list's values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Box<Self>>,
    /// What there is to choose from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub r#enum: Vec<Json>,
    /// Least number.
    #[serde(
        serialize_with = "write_limit",
        skip_serializing_if = "Option::is_none"
    )]
    pub minimum: Option<f64>,
    /// Greatest number.
    #[serde(
        serialize_with = "write_limit",
        skip_serializing_if = "Option::is_none"
    )]
    pub maximum: Option<f64>,
}

/// A kind of value.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// Any number.
    Number,
    /// A whole number.
    Integer,
    /// Text.
    String,
    /// `[…]`.
    Array,
    /// `{…}`.
    Object,
}

impl Json {
    /// Reads a document; nothing if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_json(self, f)
    }
}

impl Schema {
    /// Whether a document has this form.
    pub fn matches(&self, document: &Json) -> bool {
        let is_of_kind = self.r#type.is_none_or(|kind| kind.has(document));
        let is_a_choice = self.r#enum.is_empty() || self.r#enum.contains(document);
        is_of_kind
            && is_a_choice
            && match document {
                Json::Object(values) => self.allows_object(values),
                Json::List(values) => {
                    let items = self.items.iter();
                    items
                        .flat_map(|form| values.iter().map(move |value| (form, value)))
                        .all(|(form, value)| form.matches(value))
                }
                Json::Number(number) => {
                    self.minimum.is_none_or(|least| *number >= least)
                        && self.maximum.is_none_or(|most| *number <= most)
                }
                Json::Null | Json::Bool(_) | Json::Text(_) => true,
            }
    }

    fn allows_object(&self, values: &BTreeMap<String, Json>) -> bool {
        let has_all = self.required.iter().all(|key| values.contains_key(key));
        has_all
            && values
                .iter()
                .all(|(key, value)| match self.properties.get(key) {
                    Some(form) => form.matches(value),
                    None => self.additional_properties != Some(false),
                })
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_json(self, f)
    }
}

impl Kind {
    fn has(self, document: &Json) -> bool {
        match (self, document) {
            (Self::Null, Json::Null)
            | (Self::Boolean, Json::Bool(_))
            | (Self::Number, Json::Number(_))
            | (Self::String, Json::Text(_))
            | (Self::Array, Json::List(_))
            | (Self::Object, Json::Object(_)) => true,
            (Self::Integer, Json::Number(number)) => number.fract() == 0.0,
            _ => false,
        }
    }
}

fn write_json(value: &impl Serialize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&serde_json::to_string(value).map_err(|_| fmt::Error)?)
}

/// `42`, not `42.0`.
fn write_number<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match number.to_string().parse::<i64>() {
        Ok(whole) => serializer.serialize_i64(whole),
        Err(_) => serializer.serialize_f64(*number),
    }
}

fn write_limit<S: Serializer>(limit: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match limit {
        Some(limit) => write_number(limit, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = r#"{
        "type": "object",
        "properties": {
            "customer": {"type": "string"},
            "items": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 9}},
            "status": {"enum": ["open", "paid"]}
        },
        "required": ["customer", "items"],
        "additionalProperties": false
    }"#;

    #[track_caller]
    fn check(document: &str, want: bool) {
        let schema: Schema = serde_json::from_str(ORDER).unwrap();
        let document = Json::parse(document).unwrap();
        assert_eq!(schema.matches(&document), want, "{document}");
    }

    #[test]
    fn a_document_has_the_form_or_not() {
        check(
            r#"{"customer": "A", "items": [1, 9.0], "status": "paid"}"#,
            true,
        );
        check(r#"{"customer": "A", "items": []}"#, true);
        check(r#"{"customer": 1, "items": []}"#, false);
        check(r#"{"customer": "A"}"#, false);
        check(r#"{"customer": "A", "items": [1.5]}"#, false);
        check(r#"{"customer": "A", "items": [0]}"#, false);
        check(r#"{"customer": "A", "items": [10]}"#, false);
        check(r#"{"customer": "A", "items": [], "status": "lost"}"#, false);
        check(r#"{"customer": "A", "items": [], "more": null}"#, false);
        check("[]", false);
    }

    #[test]
    fn every_kind_is_told_from_the_others() {
        let kinds = [
            ("null", "null"),
            ("boolean", "true"),
            ("number", "1.5"),
            ("string", r#""1""#),
            ("array", "[]"),
            ("object", "{}"),
        ];
        for (kind, _) in kinds {
            let schema: Schema = serde_json::from_str(&format!(r#"{{"type": "{kind}"}}"#)).unwrap();
            for (other, document) in kinds {
                let document = Json::parse(document).unwrap();
                assert_eq!(
                    schema.matches(&document),
                    kind == other,
                    "{kind} {document}"
                );
            }
        }
    }

    #[test]
    fn a_keyword_that_is_not_known_is_no_schema() {
        let error = serde_json::from_str::<Schema>(r#"{"type": "string", "minLength": 2}"#);
        let message = error.unwrap_err().to_string();
        assert!(message.contains("unknown field `minLength`"), "{message}");
        assert!(serde_json::from_str::<Schema>(r#"{"type": "text"}"#).is_err());
    }

    #[test]
    fn a_schema_is_written_as_it_was_read() {
        let schema: Schema = serde_json::from_str(ORDER).unwrap();
        assert_eq!(
            serde_json::from_str::<Schema>(&schema.to_string()).unwrap(),
            schema
        );
        assert_eq!(Schema::default().to_string(), "{}");
        assert!(schema.to_string().contains(r#""minimum":1,"maximum":9}"#));
    }

    #[test]
    fn a_document_that_is_nested_too_deep_is_none() {
        assert_eq!(Json::parse(&"[".repeat(100_000)), None);
        assert_eq!(Json::parse("{\"a\": 1"), None);
    }
}
