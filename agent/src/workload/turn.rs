//! What was said in a conversation before its last question.

/// One thing said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Turn {
    /// Who said it.
    pub speaker: Speaker,
    /// What.
    pub text: String,
}

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Speaker {
    /// Rules for the conversation, before it begins.
    System,
    /// Who asks.
    User,
    /// Who answers.
    Assistant,
}
