//! Where the outside world is: whoever does a job, and what is said between it and the connection.

use std::time::Duration;

use tokio::sync::mpsc;
use tokwatt_domain::campaign::JobProgress;

use super::hand::{Ended, InHand, Reached};

/// Does jobs, one at a time: a child process on a device, something made up in a simulation.
pub trait JobRunner: Send + Sync {
    /// Begins a job, or goes on with one that has begun. Returns at once.
    fn start(&self, job: &InHand) -> Running;

    /// No job is in hand: whatever one has left behind is let go of. Returns at once.
    fn tidy(&self);
}

/// A job that is being done. Who drops it has it interrupted.
pub struct Running {
    /// What it tells. It ends after [`JobEvent::Ended`] has been answered, or when it was interrupted.
    pub events: mpsc::Receiver<JobEvent>,
    /// What it is told.
    pub words: mpsc::Sender<Word>,
}

/// What a job that is being done tells.
#[derive(Clone, Debug, PartialEq)]
pub enum JobEvent {
    /// Nothing else is measured here. It starts when told to go.
    Ready(Reached),
    /// From here on it can be gone on with.
    Begun,
    /// The start before was none: something came first, or there is no room for results.
    NotStarted,
    /// Where it stands.
    Progress(JobProgress),
    /// It measures when told to go, and tells nothing for at most so long.
    Window(Duration),
    /// It is over. What it would have needed to go on is let go of when told to go.
    Ended(Ended),
}

/// What a job that is being done is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Word {
    /// Go on.
    Go,
    /// End, with what was measured kept.
    Cancel,
    /// Leave off, to be gone on with later.
    Interrupt,
}

impl Running {
    /// Its end is noted.
    pub(super) fn let_go(self) {
        // Fails where nobody waits for it any more.
        self.words.try_send(Word::Go).ok();
    }
}

/// The two ends of a job that is being done, for who does it.
pub fn channels() -> (Running, mpsc::Sender<JobEvent>, mpsc::Receiver<Word>) {
    let (tell, events) = mpsc::channel(EVENTS_MOST);
    let (words, told) = mpsc::channel(WORDS_MOST);
    (Running { events, words }, tell, told)
}

/// Events are taken as they come; a few may wait while a word to the collector is on its way.
const EVENTS_MOST: usize = 16;

/// A go for each window, one cancellation, one interruption: never many at once.
const WORDS_MOST: usize = 16;
