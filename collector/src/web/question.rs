//! A question in an address: its words, and the form that asks it by GET, so that the address is the question.

use maud::{Markup, html};
use tokwatt_domain::{power::Provenance, spelling::advice};

use super::problem::Problem;
use crate::{
    query::QueryError,
    rank::{Condition, PROVENANCES, RankError, parse_provenance},
};

/// What stands in the address, by name.
pub(super) struct Asked(Vec<(String, String)>);

impl Asked {
    /// Reads an address. What is left empty in a form is not asked for.
    pub(super) fn read(pairs: &[(String, String)], own: &[&str]) -> Result<Self, Problem> {
        let known = [own, &COMMON].concat();
        for (name, _) in pairs {
            if !known.contains(&name.as_str()) {
                let advice = advice(name, &known);
                return Err(Problem::bad_request(&format!(
                    "unknown word `{name}` in the address, {advice}"
                )));
            }
        }
        let given = pairs.iter().filter(|(_, value)| !value.trim().is_empty());
        Ok(Self(given.cloned().collect()))
    }

    pub(super) fn first(&self, name: &str) -> &str {
        let mut values = self.0.iter().filter(|(own, _)| own == name);
        values.next().map_or("", |(_, value)| value.trim())
    }

    /// All values of a name.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(own, _)| own == name);
        values.map(|(_, value)| value.trim().to_owned()).collect()
    }

    /// The same where a value may be several with commas between them.
    pub(super) fn parts(&self, name: &str) -> Vec<String> {
        let values = self.list(name);
        let parts = values.iter().flat_map(|value| value.split(','));
        parts.map(|part| part.trim().to_owned()).collect()
    }

    pub(super) fn conditions(&self) -> Result<Vec<Condition>, Problem> {
        let conditions = self.list("where");
        let conditions = conditions.iter().map(|text| Condition::parse(text));
        let conditions: Result<_, RankError> = conditions.collect();
        Ok(conditions.map_err(QueryError::from)?)
    }

    pub(super) fn provenance(&self) -> Result<Provenance, Problem> {
        let provenance = parse_provenance(self.first("provenance"));
        Ok(provenance.map_err(QueryError::from)?)
    }
}

pub(super) fn form(address: &str, asked: &Asked, own: &Markup) -> Markup {
    let provenance = match asked.first("provenance") {
        "" => Provenance::Measured.as_str(),
        text => text,
    };
    html! {
        form.filters method="get" action=(address) aria-label="Question" {
            (own)
            @for condition in asked.list("where") { (field("where", "Where", &condition, "")) }
            (field("where", "Where", "", "task=caption_brief"))
            div.field {
                label for="provenance" { "Figures" }
                select #provenance name="provenance" {
                    @for other in PROVENANCES {
                        option value=(other) selected[other.as_str() == provenance] { (other) }
                    }
                }
            }
            button { "Ask" }
        }
    }
}

pub(super) fn field(name: &str, label: &str, value: &str, example: &str) -> Markup {
    html! {
        // The label is around its field: there may be several of one name.
        div.field {
            label {
                span { (label) }
                input name=(name) value=(value) placeholder=(example);
            }
        }
    }
}

/// Words that all addresses know.
const COMMON: [&str; 2] = ["where", "provenance"];
