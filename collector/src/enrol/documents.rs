//! What an operator sees of tokens, as a document.

use serde::{Deserialize, Serialize};
use tokwatt_domain::time::WallTime;

use crate::store::TokenRow;

/// `tokwatt.tokens/1`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Tokens {
    /// Name of the document.
    pub schema: String,
    /// The latest first.
    pub tokens: Vec<Token>,
}

/// A token without its secret.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Token {
    /// Its public part.
    pub id: String,
    /// What it enrols for.
    pub role: String,
    /// The only name that it enrols, if there is only one.
    pub name: Option<String>,
    /// Whether a name that has a certificate may get another one.
    pub replace: bool,
    /// When it was made, in µs since 1970.
    pub created: i64,
    /// By whom.
    pub created_by: String,
    /// Its end, in µs since 1970.
    pub expires: i64,
    /// `open`, `used`, `expired` or `revoked`.
    pub state: String,
    /// Whom it enrolled.
    pub used_by: Option<String>,
}

impl Tokens {
    pub(super) fn new(rows: Vec<TokenRow>, now: WallTime) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            tokens: rows.into_iter().map(|row| Token::new(row, now)).collect(),
        }
    }
}

impl Token {
    fn new(row: TokenRow, now: WallTime) -> Self {
        let state = if row.used_by.is_some() {
            "used"
        } else if row.revoked_us.is_some() {
            "revoked"
        } else if row.expires_us <= now.0 {
            "expired"
        } else {
            "open"
        };
        Self {
            id: row.id,
            role: row.role,
            name: row.name,
            replace: row.may_replace,
            created: row.created_us,
            created_by: row.created_by,
            expires: row.expires_us,
            state: state.to_owned(),
            used_by: row.used_by,
        }
    }
}

const SCHEMA: &str = "tokwatt.tokens/1";
