//! JSON as other tools write it, within bounded memory: several documents in a row, duplicate keys (the last one counts), and the
//! `NaN` and `Infinity` that Python writes and JSON does not have.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt,
    io::{self, BufRead, Read},
    rc::Rc,
};

use serde::de::{
    self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::budget::Budget;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// `null`, and what is no number.
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

/// A document of a stream.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Document {
    /// The line on which it begins, from 1.
    pub(super) line: u64,
    pub(super) node: Node,
}

impl Node {
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }

    pub(super) fn object(&self) -> Option<&BTreeMap<String, Self>> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// A member of an object; `null` is none.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let member = self.object()?.get(key);
        member.filter(|member| **member != Self::Null)
    }

    /// A member of a member of … an object.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }
}

/// All documents of a stream, within what is left of the file's memory.
///
/// # Errors
/// What `serde_json` says of it, with line and column.
pub(super) fn documents(input: impl BufRead, budget: &Budget) -> serde_json::Result<Vec<Document>> {
    let line = Rc::new(Lines::default());
    let input = Python {
        input,
        lines: Rc::clone(&line),
        is_in_text: false,
        is_escaped: false,
        pending: Vec::new(),
    };
    let mut deserializer = serde_json::Deserializer::from_reader(input);
    let mut documents = Vec::new();
    loop {
        line.begins.set(None);
        if is_at_end(&mut deserializer)? {
            return Ok(documents);
        }
        let node = Seed { budget }.deserialize(&mut deserializer)?;
        documents.push(Document {
            line: line.begins.get().unwrap_or(1),
            node,
        });
    }
}

/// Whether nothing but white space follows.
fn is_at_end<R: Read>(
    deserializer: &mut serde_json::Deserializer<serde_json::de::IoRead<R>>,
) -> serde_json::Result<bool> {
    match deserializer.end() {
        Ok(()) => Ok(true),
        // What follows is looked at, not taken.
        Err(error) if error.is_syntax() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Which line is being read, and on which the document began.
#[derive(Default)]
struct Lines {
    passed: Cell<u64>,
    begins: Cell<Option<u64>>,
}

/// Puts an empty text for what is no number, so that it is absent and not zero.
struct Python<R> {
    input: R,
    lines: Rc<Lines>,
    is_in_text: bool,
    is_escaped: bool,
    /// What goes out next, last one first.
    pending: Vec<u8>,
}

impl<R: BufRead> Read for Python<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut n = 0;
        while n < buffer.len() {
            let Some(byte) = self.next()? else {
                break;
            };
            buffer[n] = byte;
            n += 1;
        }
        Ok(n)
    }
}

impl<R: BufRead> Python<R> {
    fn next(&mut self) -> io::Result<Option<u8>> {
        if let Some(byte) = self.pending.pop() {
            return Ok(Some(byte));
        }
        let Some(byte) = self.take()? else {
            return Ok(None);
        };
        if self.is_in_text {
            self.is_in_text = self.is_escaped || byte != b'"';
            self.is_escaped = !self.is_escaped && byte == b'\\';
            return Ok(Some(byte));
        }
        match byte {
            b'"' => self.is_in_text = true,
            b'-' if self.peek()? == Some(b'I') => return self.no_number(),
            b'N' | b'I' => return self.no_number(),
            _ => {}
        }
        Ok(Some(byte))
    }

    fn take(&mut self) -> io::Result<Option<u8>> {
        let Some(byte) = self.peek()? else {
            return Ok(None);
        };
        self.input.consume(1);
        if byte == b'\n' {
            self.lines.passed.set(self.lines.passed.get() + 1);
        }
        if !byte.is_ascii_whitespace() && self.lines.begins.get().is_none() {
            self.lines.begins.set(Some(self.lines.passed.get() + 1));
        }
        Ok(Some(byte))
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.input.fill_buf()?.first().copied())
    }

    /// Passes over the rest of the word.
    fn no_number(&mut self) -> io::Result<Option<u8>> {
        while self.peek()?.is_some_and(|byte| byte.is_ascii_alphabetic()) {
            self.take()?;
        }
        self.pending.push(b'"');
        Ok(Some(b'"'))
    }
}

/// Reads a value, and ends when it takes too much memory.
#[derive(Clone, Copy)]
struct Seed<'a> {
    budget: &'a Budget,
}

impl Seed<'_> {
    fn charge<E: de::Error>(self, bytes: usize) -> Result<(), E> {
        self.budget.charge(bytes).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        self.charge(size_of::<Node>())?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        match value.is_finite() {
            true => Ok(Node::Number(value)),
            false => Err(E::invalid_value(Unexpected::Float(value), &self)),
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts beyond 2^53 are read as the nearest 64-bit float, as JavaScript reads them"
    )]
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        self.visit_f64(value as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "as above")]
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        self.visit_f64(value as f64)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        self.charge(value.len())?;
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut object = BTreeMap::new();
        while let Some(key) = members.next_key::<String>()? {
            if PASSED_OVER.contains(&key.as_str()) {
                members.next_value::<IgnoredAny>()?;
                continue;
            }
            self.charge(key.len() + MEMBER_BYTES)?;
            object.insert(key, members.next_value_seed(self)?);
        }
        Ok(Node::Object(object))
    }
}

/// Members that hold something of each token or each answer: a reader needs none of it.
const PASSED_OVER: [&str; 13] = [
    "errors",
    "generated_texts",
    "itl",
    "itls",
    "output_length_distribution",
    "output_text",
    "pdf",
    "prompt",
    "queue_times",
    "reasoning_output_text",
    "requests",
    "response_outputs",
    "start_times",
];

/// A map's share of a member: its node of the tree holds eleven, and may be as good as empty.
pub(super) const MEMBER_BYTES: usize = 640;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> serde_json::Result<Vec<Document>> {
        documents(text.as_bytes(), &Budget::default())
    }

    #[test]
    fn documents_follow_one_another_and_know_their_lines() {
        let found = read("{\"a\":1}\n{\n\"a\":2}\n\n  {\"a\":3}{\"a\":4}").unwrap();
        let found: Vec<(u64, f64)> = found
            .iter()
            .map(|document| {
                let number = document.node.get("a").and_then(Node::number);
                (document.line, number.unwrap())
            })
            .collect();
        assert_eq!(found, [(1, 1.0), (2, 2.0), (5, 3.0), (5, 4.0)]);
    }

    #[test]
    fn the_last_of_two_members_of_one_name_counts() {
        let found = read(r#"{"a":1,"b":{"x":1},"a":2}"#).unwrap();
        assert_eq!(found[0].node.get("a"), Some(&Node::Number(2.0)));
    }

    #[test]
    fn what_python_writes_for_no_number_is_absent_and_texts_stay_as_they_are() {
        let text =
            r#"{"a":NaN,"b":-Infinity,"c":Infinity,"d":"NaN \" -Infinity","e":-1.5,"f":null}"#;
        let node = &read(text).unwrap()[0].node;
        for absent in ["a", "b", "c"] {
            assert_eq!(node.get(absent).and_then(Node::number), None, "{absent}");
        }
        let text = node.get("d").and_then(Node::text);
        assert_eq!(text, Some("NaN \" -Infinity"));
        assert_eq!(node.get("e"), Some(&Node::Number(-1.5)));
        assert_eq!(node.get("f"), None);
    }

    #[test]
    fn a_file_that_would_not_fit_into_memory_ends_with_advice() {
        let mut text = "[".to_owned();
        text.push_str(&"{\"a\":0},".repeat(500_000));
        text.push_str("{}]");
        let error = read(&text).unwrap_err().to_string();
        assert!(error.contains("import the tool's summary"), "{error}");
    }

    #[test]
    fn nesting_without_end_is_refused() {
        assert!(read(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn what_is_cut_off_says_so() {
        for text in [r#"{"a":1"#, "[1,", r#"{"a":"#, r#"{"a":"b"#] {
            assert!(read(text).unwrap_err().is_eof(), "{text}");
        }
    }
}
