//! What a person carries from the collector to a machine that is to join: good once, for a few minutes.
//!
//! `tw1.ID.SECRET.HEX`: ID may be shown and names the token where it was made, SECRET is what it is worth, HEX is the SHA-256 of the public
//! key of the site's authority, so that the machine tells it nobody else.

use std::{fmt, str::FromStr};

use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};

use super::key::KeyError;

/// A token, read.
#[derive(Clone, Eq, PartialEq)]
pub struct Token {
    /// Its public part.
    pub id: String,
    /// Its secret part. Not in [`Debug`] output; kept nowhere but on the paper that a person holds.
    pub secret: String,
    /// SHA-256 of the authority's public key.
    pub authority_sha256: [u8; 32],
}

/// A text is no token. The text is not repeated: what was mistyped may be most of a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "that is no token: it looks like tw1.ID.SECRET.HASH and is printed by `tokwatt-collector token create`; copy all of it, in one piece"
)]
pub struct InvalidToken;

impl Token {
    /// A new one for a site.
    ///
    /// # Errors
    /// The kernel has no random bytes.
    pub fn generate(authority_sha256: [u8; 32]) -> Result<Self, KeyError> {
        Ok(Self {
            id: random_hex::<6>()?,
            secret: random_hex::<16>()?,
            authority_sha256,
        })
    }

    /// What is kept of the secret where the token was made: it is random, so one round is enough.
    #[must_use]
    pub fn secret_sha256(secret: &str) -> [u8; 32] {
        Sha256::digest(secret).into()
    }
}

/// A token as it was typed, to be read by [`read`](Self::read): what reads command lines would repeat what it does not understand, and
/// that may be most of a secret.
#[derive(Clone)]
pub struct TypedToken(String);

impl TypedToken {
    /// What it says.
    ///
    /// # Errors
    /// It is no token.
    pub fn read(&self) -> Result<Token, InvalidToken> {
        self.0.parse()
    }
}

impl FromStr for TypedToken {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for TypedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedToken").finish_non_exhaustive()
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let parts: Vec<&str> = text.trim().split('.').collect();
        let ["tw1", id, secret, authority] = parts[..] else {
            return Err(InvalidToken);
        };
        if [id, secret].iter().any(|part| !is_plain(part)) {
            return Err(InvalidToken);
        }
        let authority = tokwatt_domain::ids::Digest::parse(authority).map_err(|_| InvalidToken)?;
        Ok(Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
            authority_sha256: authority.0,
        })
    }
}

/// All of it: for the one time that it is shown.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = tokwatt_domain::ids::Digest(self.authority_sha256);
        write!(f, "tw1.{}.{}.{authority}", self.id, self.secret)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn random_hex<const N: usize>() -> Result<String, KeyError> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| KeyError::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn is_plain(part: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=64).contains(&part.len()) && part.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_being_typed() {
        let token = Token::generate([7; 32]).unwrap();
        assert_eq!(token.to_string().parse(), Ok(token.clone()));
        assert_eq!(format!(" {token}\n").parse(), Ok(token));
    }

    #[test]
    fn no_two_are_the_same() {
        let [one, two] = [(); 2].map(|()| Token::generate([7; 32]).unwrap());
        assert!(one.id != two.id && one.secret != two.secret);
    }

    #[test]
    fn its_secret_is_in_no_debug_output_and_no_error() {
        let token = Token::generate([7; 32]).unwrap();
        assert!(!format!("{token:?}").contains(&token.secret));
        let cut = token.to_string().replace("tw1", "tw2");
        let error = cut.parse::<Token>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&token.secret));
    }

    #[test]
    fn half_a_token_is_none() {
        let whole = Token::generate([7; 32]).unwrap().to_string();
        for length in 0..whole.len() {
            assert_eq!(whole[..length].parse::<Token>(), Err(InvalidToken));
        }
    }
}
