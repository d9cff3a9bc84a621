//! Names of things: parsed once at the door, trusted inside.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::WallTime;

/// A device of the fleet: 1 to 63 of `[a-z0-9-]`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceId(String);

/// One repetition of one cell: a UUID of version 7 (RFC 9562), made by the agent and written as 32 hexadecimal digits. Older agents' are 128
/// random bits.
///
/// It is the key under which a run is admitted once, for ever.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(pub [u8; 16]);

/// A campaign's part for one device: 128 random bits made by the collector, written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(pub [u8; 16]);

/// What something is called where it is defined: a suite, a model, a server, a campaign. 1 to 63 of `[A-Za-z0-9._-]`, the first a letter or
/// digit: no command, path or URL.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A SHA-256, written as 64 hexadecimal digits: of a suite, a weights file, a picture's pixels.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

/// One life of an agent's spool: a new one starts at a number no earlier spool of the device had.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Epoch(pub u64);

/// Position of a record in one epoch of a device's outbox: 1, 2, 3 … without gaps.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Seq(pub u64);

/// Why a text names nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidId {
    /// Not a [`DeviceId`].
    #[error("device id must be 1 to 63 of [a-z0-9-], got `{0}`")]
    Device(String),
    /// Not a [`Name`].
    #[error(
        "a name is 1 to 63 of [A-Za-z0-9._-] and begins with a letter or digit, got `{0}`: a command, path or URL is no name"
    )]
    Name(String),
    /// Not a lease.
    #[error("a lease is a job's 32 hexadecimal digits, `:` and a number from 1, got `{0}`")]
    Lease(String),
    /// Not `digits` hexadecimal digits.
    #[error("expected {digits} hexadecimal digits, got `{text}`")]
    Hex {
        /// How many it takes.
        digits: usize,
        /// What was there.
        text: String,
    },
}

impl DeviceId {
    /// Checks the form.
    ///
    /// # Errors
    /// Anything but 1 to 63 of `[a-z0-9-]`.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.len() > 63 || !text.chars().all(is_allowed) {
            return Err(InvalidId::Device(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Name {
    /// Checks the form.
    ///
    /// # Errors
    /// Anything but 1 to 63 of `[A-Za-z0-9._-]` that begin with a letter or digit.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
        let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !begins_well || text.len() > 63 || !text.chars().all(is_allowed) {
            return Err(InvalidId::Name(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl JobId {
    /// Reads 32 hexadecimal digits.
    ///
    /// # Errors
    /// Any other text.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        parse_hex(text).map(Self)
    }
}

impl RunId {
    /// Names a run that begins now. 74 of the bits are random: no two agents ever make the same, whatever their clocks say. The time
    /// before them, in ms, decides nothing: it has the runs of a day lie side by side in an index.
    pub fn new(now: WallTime, random: [u8; 10]) -> Self {
        let since_1970_ms = u64::try_from(now.0).unwrap_or_default() / 1_000;
        let uuid = uuid::Builder::from_unix_timestamp_millis(since_1970_ms, &random);
        Self(uuid.into_uuid().into_bytes())
    }

    /// Reads 32 hexadecimal digits.
    ///
    /// # Errors
    /// Any other text.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        parse_hex(text).map(Self)
    }
}

impl Digest {
    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// Any other text.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        parse_hex(text).map(Self)
    }
}

impl TryFrom<String> for DeviceId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::parse(&text)
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::parse(&text)
    }
}

impl TryFrom<String> for JobId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::parse(&text)
    }
}

impl TryFrom<String> for RunId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::parse(&text)
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::parse(&text)
    }
}

impl From<DeviceId> for String {
    fn from(id: DeviceId) -> Self {
        id.0
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.to_string()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.to_string()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], InvalidId> {
    let invalid = || InvalidId::Hex {
        digits: 2 * N,
        text: text.to_owned(),
    };
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(invalid());
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| invalid())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| invalid())?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_name_is_short_and_plain() {
        assert!(DeviceId::parse("lab-thor-1").is_ok());
        for bad in ["", "Thor", "a b", "a/b", "ü", &"x".repeat(64)] {
            assert_eq!(
                DeviceId::parse(bad),
                Err(InvalidId::Device(bad.to_owned())),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_name_has_room_for_no_command_path_or_url() {
        for good in ["edge-vision", "q8_0", "SmolVLM2-2.2B", "7b"] {
            assert!(Name::parse(good).is_ok(), "{good}");
        }
        let long = "x".repeat(64);
        for bad in [
            "",
            "..",
            "/models/a",
            "a/b",
            "a b",
            "http://a",
            "$(id)",
            "-rf",
            "a;b",
            &long,
        ] {
            assert_eq!(Name::parse(bad), Err(InvalidId::Name(bad.to_owned())));
        }
    }

    #[test]
    fn runs_sort_by_the_time_that_they_begin_and_differ_all_the_same() {
        // RFC 9562, appendix A.6.
        let example = RunId::new(
            WallTime(1_645_557_742_000_999),
            [0xc, 0xc3, 0x18, 0xc4, 0xdc, 0xc, 0xc, 0x7, 0x39, 0x8f],
        );
        assert_eq!(example.to_string(), "017f22e279b07cc398c4dc0c0c07398f");
        let later = RunId::new(WallTime(1_645_557_742_001_000), [0; 10]);
        assert!(later > example);
        let [one, other] = [1, 2].map(|byte| RunId::new(WallTime(-1), [byte; 10]));
        assert_ne!(one, other);
    }

    #[test]
    fn hexadecimal_names_survive_the_round_trip() {
        let id = RunId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 254, 255]);
        assert_eq!(id.to_string(), "000102030405060708090a0b0c0dfeff");
        assert_eq!(RunId::parse(&id.to_string()), Ok(id));
    }

    #[test]
    fn a_multibyte_character_is_refused_not_split() {
        let text = "ü".repeat(16);
        assert!(RunId::parse(&text).is_err());
    }
}
