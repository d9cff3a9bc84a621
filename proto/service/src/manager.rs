//! Words to the service manager: systemd's notification protocol (`sd_notify(3)`), so that it knows when a service is ready and
//! that it lives.
//!
//! A word is a datagram with a line `KEY=value`, to the socket that the environment names. Whoever started the program
//! from a shell listens to nothing, and nothing is said.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use tokio::time::{Interval, MissedTickBehavior, interval};

/// Who started the program, if it listens.
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    pings: Option<Interval>,
}

impl ServiceManager {
    /// The one that the environment names. To be called inside the runtime: pings need its timer.
    pub fn from_environment() -> Self {
        let pings = ping_interval(
            std::env::var("WATCHDOG_USEC").ok().as_deref(),
            std::env::var("WATCHDOG_PID").ok().as_deref(),
            std::process::id(),
        );
        Self {
            socket: std::env::var_os("NOTIFY_SOCKET").and_then(listening),
            pings: pings.map(|every| {
                let mut pings = interval(every);
                // One late ping is one ping: a burst says nothing more.
                pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
                pings
            }),
        }
    }

    /// Falls due when the manager is to hear `alive`; never, if it does not wait for that.
    pub async fn ping_due(&mut self) {
        match &mut self.pings {
            Some(pings) => drop(pings.tick().await),
            None => std::future::pending().await,
        }
    }

    /// Whatever had to be opened is open.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// Only the main loop may say this: it is how the manager knows that it turns.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// For people who ask the manager.
    pub fn status(&self, text: &str) {
        // A line's end would begin another word.
        self.say(&format!("STATUS={}", text.replace(['\n', '\r'], " ")));
    }

    /// No new work from here.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// A manager that does not hear is no reason to stop; it will act on its own.
    fn say(&self, word: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(word.as_bytes())
        {
            tracing::warn!(%error, word, "the service manager does not hear");
        }
    }
}

fn listening(name: OsString) -> Option<UnixDatagram> {
    connect(&name)
        .inspect_err(|error| {
            tracing::warn!(%error, socket = ?name, "no service manager at NOTIFY_SOCKET");
        })
        .ok()
}

/// `@NAME` is a socket without a file, in the kernel's own name space.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    // A manager whose queue is full must not hold the main loop.
    socket.set_nonblocking(true)?;
    match name.as_bytes().strip_prefix(b"@") {
        Some(abstract_name) => {
            socket.connect_addr(&SocketAddr::from_abstract_name(abstract_name)?)?;
        }
        None => socket.connect(name)?,
    }
    Ok(socket)
}

/// Half of what the manager waits for, if it is this process that it waits for: a child inherits the variables.
fn ping_interval(patience_us: Option<&str>, whom: Option<&str>, own: u32) -> Option<Duration> {
    let is_other = |whom: &str| whom.parse() != Ok(own);
    if whom.is_some_and(is_other) {
        return None;
    }
    let half = Duration::from_micros(patience_us?.parse().ok()?) / 2;
    (!half.is_zero()).then_some(half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_come_twice_within_the_managers_patience_and_only_from_whom_it_watches() {
        let check = |patience, whom, want| {
            let got = ping_interval(patience, whom, 7).map(|every| every.as_micros());
            assert_eq!(got, want, "{patience:?} {whom:?}");
        };
        check(Some("30000000"), None, Some(15_000_000));
        check(Some("30000000"), Some("7"), Some(15_000_000));
        check(Some("30000000"), Some("8"), None);
        check(Some("30000000"), Some("seven"), None);
        check(Some("0"), None, None);
        check(Some("-1"), None, None);
        check(None, Some("7"), None);
    }

    #[test]
    fn a_status_stays_one_word() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let ear = UnixDatagram::bind(&path).unwrap();
        let manager = ServiceManager {
            socket: Some(connect(path.as_os_str()).unwrap()),
            pings: None,
        };
        manager.status("down\nREADY=1");
        let mut heard = [0; 64];
        let length = ear.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"STATUS=down READY=1");
    }
}
