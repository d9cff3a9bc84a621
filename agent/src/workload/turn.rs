//! What was said in a conversation before its last question.

use serde::{Deserialize, Serialize};

/// One thing said.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Who said it.
    pub speaker: Speaker,
    /// What.
    pub text: String,
}

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// Rules for the conversation, before it begins.
    System,
    /// Who asks.
    User,
    /// Who answers.
    Assistant,
}
