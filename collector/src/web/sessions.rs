//! How a browser on this machine comes in: by a link that is good once, which becomes a session. Both are kept in memory, by their
//! digests, bounded in time and number; a collector that is started anew knows none.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ring::{digest, hmac};
use tokio::time::Instant;

use crate::peer::Peer;

/// Links that were made and not used, and sessions.
pub struct Sessions {
    kept: Mutex<Kept>,
    forms: hmac::Key,
}

#[derive(Default)]
struct Kept {
    links: VecDeque<Pass>,
    sessions: VecDeque<Pass>,
}

/// Lets in whoever has the secret, as whoever it was made for.
#[derive(Clone)]
struct Pass {
    secret_sha256: [u8; 32],
    peer: Peer,
    until: Instant,
}

impl Sessions {
    /// Nobody yet.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        Ok(Self {
            kept: Mutex::default(),
            forms: hmac::Key::new(hmac::HMAC_SHA256, &secret),
        })
    }

    /// The secret of a link for `peer`.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub(super) fn link(&self, peer: Peer) -> Result<String, getrandom::Error> {
        let (secret, pass) = Pass::new(peer, LINK_LIFE)?;
        put(&mut self.kept().links, pass, LINKS_MAX);
        Ok(secret)
    }

    /// Uses a link up; the secret of the session that it becomes.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub(super) fn enter(&self, link: &str) -> Result<Option<String>, getrandom::Error> {
        let link_sha256 = sha256(link);
        let mut kept = self.kept();
        let found = position(&kept.links, &link_sha256);
        let Some(link) = found.and_then(|at| kept.links.remove(at)) else {
            return Ok(None);
        };
        let (secret, pass) = Pass::new(link.peer, SESSION_LIFE)?;
        put(&mut kept.sessions, pass, SESSIONS_MAX);
        Ok(Some(secret))
    }

    /// Whose session it is, if it is one.
    pub(super) fn peer(&self, session: &str) -> Option<Peer> {
        let kept = self.kept();
        let at = position(&kept.sessions, &sha256(session))?;
        Some(kept.sessions[at].peer.clone())
    }

    /// What a form of a session, or of a certificate, must bring back.
    pub(super) fn form_token(&self, of: &[u8]) -> String {
        hexadecimal(hmac::sign(&self.forms, of).as_ref())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    fn new(peer: Peer, life: Duration) -> Result<(String, Self), getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let secret = hexadecimal(&bytes);
        let pass = Self {
            secret_sha256: sha256(&secret),
            peer,
            until: Instant::now() + life,
        };
        Ok((secret, pass))
    }
}

/// The oldest makes room.
fn put(passes: &mut VecDeque<Pass>, pass: Pass, most: usize) {
    let now = Instant::now();
    passes.retain(|pass| pass.until > now);
    if passes.len() >= most {
        passes.pop_front();
    }
    passes.push_back(pass);
}

/// By its digest, so that the time that it takes says nothing about a secret.
fn position(passes: &VecDeque<Pass>, secret_sha256: &[u8; 32]) -> Option<usize> {
    let now = Instant::now();
    passes
        .iter()
        .position(|pass| pass.secret_sha256 == *secret_sha256 && pass.until > now)
}

fn sha256(text: &str) -> [u8; 32] {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    sha256
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// From a terminal into a browser beside it.
pub(super) const LINK_LIFE: Duration = Duration::from_mins(2);

/// A working day.
pub(super) const SESSION_LIFE: Duration = Duration::from_hours(12);

/// More than a person asks for in two minutes, and than people work on one server.
const LINKS_MAX: usize = 16;
const SESSIONS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: Peer = Peer::Local { uid: 7 };

    fn enter(sessions: &Sessions) -> String {
        let link = sessions.link(LOCAL).unwrap();
        sessions.enter(&link).unwrap().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_is_used_once_and_not_late() {
        let sessions = Sessions::new().unwrap();
        let link = sessions.link(LOCAL).unwrap();
        let session = sessions.enter(&link).unwrap().unwrap();
        assert_eq!(sessions.peer(&session), Some(LOCAL));
        assert_eq!(sessions.enter(&link), Ok(None));
        let late = sessions.link(LOCAL).unwrap();
        tokio::time::advance(LINK_LIFE).await;
        assert_eq!(sessions.enter(&late), Ok(None));
        assert_eq!(sessions.enter("guess"), Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_with_its_time() {
        let sessions = Sessions::new().unwrap();
        let session = enter(&sessions);
        tokio::time::advance(SESSION_LIFE - Duration::from_secs(1)).await;
        assert!(sessions.peer(&session).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(sessions.peer(&session).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_so_many_sessions_and_the_oldest_goes() {
        let sessions = Sessions::new().unwrap();
        let all: Vec<String> = (0..=SESSIONS_MAX).map(|_| enter(&sessions)).collect();
        let are_there = |session: &String| sessions.peer(session).is_some();
        assert!(!are_there(&all[0]) && all[1..].iter().all(are_there));
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_is_no_session_and_each_session_has_forms_of_its_own() {
        let sessions = Sessions::new().unwrap();
        let link = sessions.link(LOCAL).unwrap();
        assert_eq!(sessions.peer(&link), None);
        let [one, other] = [b"one", b"two"].map(|of| sessions.form_token(of));
        assert_ne!(one, other);
        assert_ne!(one, Sessions::new().unwrap().form_token(b"one"));
    }
}
