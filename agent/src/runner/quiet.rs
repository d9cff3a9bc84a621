//! Keeps the rest of the agent still inside a measured window: in this process, and in all that share its data folder.
//!
//! The runner closes the gate for the length of a segment; whoever uploads or writes passes through it first, so that neither
//! network nor disk is touched meanwhile.
//!
//! Between processes the gate is two files that are locked with `flock`. Whoever comes takes `quiet.turn` first, then `quiet.lock` (a window
//! for itself, a passage together with others), and gives the turn back. So a window that waits for passages to end has the turn, and
//! no further passage gets in before it; and a passage that waits for a window to end has the turn, and no further window does.
//! The kernel lets go of what a process held, however that ended.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use futures::future::BoxFuture;
use rustix::{
    fs::{FlockOperation, flock},
    io::{Errno, retry_on_intr},
};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, oneshot};

/// Open but for measured windows.
#[derive(Clone, Default)]
pub struct QuietGate {
    reach: Reach,
    notice: Option<Arc<Notice>>,
}

/// Called before a window, with how long it lasts at most; the window waits for it.
pub type Notice = dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync;

/// The gate is closed while this lives.
pub struct Quiet(#[expect(dead_code, reason = "held, not read")] Held);

/// A short piece of other work goes on while this lives; the next window waits for its end.
pub struct Passage(#[expect(dead_code, reason = "held, not read")] Held);

/// For whom it is closed.
#[derive(Clone)]
enum Reach {
    /// This process alone: a machine that does not exist has no others.
    Process(Arc<RwLock<()>>),
    /// Every process with this data folder.
    Folder(Arc<Path>),
}

/// Lets go when dropped.
#[expect(dead_code, reason = "held, not read")]
enum Held {
    Alone(OwnedRwLockWriteGuard<()>),
    Together(OwnedRwLockReadGuard<()>),
    File(File),
    /// The files could not be opened, which was said.
    Nothing,
}

/// How `quiet.lock` is taken.
#[derive(Clone, Copy, Debug)]
enum Way {
    Alone,
    Together,
}

impl QuietGate {
    /// One for all processes that have this data folder.
    ///
    /// # Errors
    /// The folder or its two files cannot be made.
    pub fn in_folder(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        open(folder, TURN)?;
        open(folder, LOCK)?;
        Ok(Self {
            reach: Reach::Folder(folder.into()),
            notice: None,
        })
    }

    /// With somebody who is told before every window of this gate.
    #[must_use]
    pub fn with_notice(self, notice: Arc<Notice>) -> Self {
        Self {
            notice: Some(notice),
            ..self
        }
    }

    /// Waits for other work in hand to end, then keeps it out, for at most `longest`.
    pub async fn close(&self, longest: Duration) -> Quiet {
        if let Some(notice) = &self.notice {
            notice(longest).await;
        }
        Quiet(match &self.reach {
            Reach::Process(lock) => Held::Alone(lock.clone().write_owned().await),
            Reach::Folder(folder) => hold(folder, Way::Alone).await,
        })
    }

    /// Waits until no window is being measured.
    pub async fn pass(&self) -> Passage {
        Passage(match &self.reach {
            Reach::Process(lock) => Held::Together(lock.clone().read_owned().await),
            Reach::Folder(folder) => hold(folder, Way::Together).await,
        })
    }

    /// Whether somebody waits for it: if asked by who holds a passage, a window.
    pub fn is_waited_for(&self) -> bool {
        match &self.reach {
            Reach::Process(lock) => lock.try_read().is_err(),
            Reach::Folder(folder) => open(folder, TURN)
                .and_then(|turn| lock(&turn, Way::Alone, Patience::None))
                .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock),
        }
    }
}

impl Default for Reach {
    fn default() -> Self {
        Self::Process(Arc::default())
    }
}

/// At once where nobody is in the way. A wait has a thread of its own, not one of the runtime's: those are waited for when a program
/// ends, and a window may be long.
async fn hold(folder: &Arc<Path>, way: Way) -> Held {
    let waited = match take(folder, way, Patience::None) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(folder.clone(), way).await,
        done => done,
    };
    match waited {
        Ok(lock) => Held::File(lock),
        Err(error) => {
            tracing::warn!(%error, folder = %folder.display(), "the quiet gate cannot be used: other processes may disturb a measurement");
            Held::Nothing
        }
    }
}

/// What is taken for somebody who does not wait any more is let go of at once.
async fn wait(folder: Arc<Path>, way: Way) -> io::Result<File> {
    let (tell, told) = oneshot::channel();
    thread::Builder::new()
        .name("quiet".to_owned())
        .spawn(move || drop(tell.send(take(&folder, way, Patience::Endless))))?;
    told.await.map_err(io::Error::other)?
}

#[derive(Clone, Copy, Debug)]
enum Patience {
    None,
    Endless,
}

fn take(folder: &Path, way: Way, patience: Patience) -> io::Result<File> {
    let turn = open(folder, TURN)?;
    lock(&turn, Way::Alone, patience)?;
    let held = open(folder, LOCK)?;
    lock(&held, way, patience)?;
    Ok(held)
}

fn lock(file: &File, way: Way, patience: Patience) -> io::Result<()> {
    let operation = match (way, patience) {
        (Way::Alone, Patience::None) => FlockOperation::NonBlockingLockExclusive,
        (Way::Alone, Patience::Endless) => FlockOperation::LockExclusive,
        (Way::Together, Patience::None) => FlockOperation::NonBlockingLockShared,
        (Way::Together, Patience::Endless) => FlockOperation::LockShared,
    };
    retry_on_intr(|| flock(file, operation)).map_err(Errno::into)
}

/// Each time anew: a lock belongs to what was opened. Never cut short, which would write to the disk.
fn open(folder: &Path, name: &str) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.join(name))
}

const TURN: &str = "quiet.turn";
const LOCK: &str = "quiet.lock";

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        process::{Child, Command, Stdio},
    };

    use futures::FutureExt;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(60);

    /// As two processes would: nothing in memory is shared.
    fn two(folder: &Path) -> (QuietGate, QuietGate) {
        let gate = || QuietGate::in_folder(folder).unwrap();
        (gate(), gate())
    }

    /// Whoever waits has the turn before long: there is no other way to see that from outside.
    async fn until_the_turn_is_taken(folder: &Path) {
        let turn = open(folder, TURN).unwrap();
        while lock(&turn, Way::Alone, Patience::None).is_ok() {
            flock(&turn, FlockOperation::Unlock).unwrap();
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_window_keeps_every_passage_out_and_passages_do_not_keep_each_other_out() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = two(folder.path());
        let (one, two) = (ours.pass().await, theirs.pass().await);
        let mut window = pin!(theirs.close(LONGEST));
        assert!(window.as_mut().now_or_never().is_none());
        drop((one, two));
        let window = window.await;
        let mut passage = pin!(ours.pass());
        assert!(passage.as_mut().now_or_never().is_none());
        drop(window);
        passage.await;
    }

    #[tokio::test]
    async fn a_window_that_waits_comes_before_passages_that_come_later() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = two(folder.path());
        let first = ours.pass().await;
        let mut window = pin!(theirs.close(LONGEST));
        assert!(window.as_mut().now_or_never().is_none());
        until_the_turn_is_taken(folder.path()).await;
        let mut later = pin!(ours.pass());
        assert!(later.as_mut().now_or_never().is_none());
        drop(first);
        let window = window.await;
        assert!(later.as_mut().now_or_never().is_none());
        drop(window);
        later.await;
    }

    #[tokio::test]
    async fn who_is_in_a_windows_way_sees_that_it_waits() {
        let folder = tempfile::tempdir().unwrap();
        let gate = QuietGate::default();
        for (ours, theirs) in [two(folder.path()), (gate.clone(), gate)] {
            let passage = ours.pass().await;
            assert!(!ours.is_waited_for());
            let mut window = pin!(theirs.close(LONGEST));
            assert!(window.as_mut().now_or_never().is_none());
            while !ours.is_waited_for() {
                tokio::task::yield_now().await;
            }
            drop(passage);
            drop(window.await);
            assert!(!ours.is_waited_for());
        }
    }

    #[tokio::test]
    async fn a_passage_that_waits_comes_before_the_next_window() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = two(folder.path());
        let window = theirs.close(LONGEST).await;
        let mut passage = pin!(ours.pass());
        assert!(passage.as_mut().now_or_never().is_none());
        until_the_turn_is_taken(folder.path()).await;
        drop(window);
        let mut next = pin!(theirs.close(LONGEST));
        assert!(next.as_mut().now_or_never().is_none());
        let passage = passage.await;
        assert!(next.as_mut().now_or_never().is_none());
        drop(passage);
        next.await;
    }

    #[tokio::test]
    async fn who_gives_up_waiting_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = two(folder.path());
        let passage = ours.pass().await;
        assert!(theirs.close(LONGEST).now_or_never().is_none());
        drop(passage);
        ours.pass().await;
    }

    #[tokio::test]
    async fn a_window_is_announced_before_it_begins() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = two(folder.path());
        let (tell, mut told) = tokio::sync::mpsc::channel(1);
        let notice: Arc<Notice> = Arc::new(move |longest| {
            let tell = tell.clone();
            async move { tell.send(longest).await.unwrap() }.boxed()
        });
        let passage = theirs.pass().await;
        let ours = ours.with_notice(notice);
        let mut window = pin!(ours.close(LONGEST));
        assert!(window.as_mut().now_or_never().is_none());
        assert_eq!(told.recv().await, Some(LONGEST));
        drop(passage);
        window.await;
    }

    /// Closes the gate in the folder that the environment names, and holds it until it is killed; does nothing where it is one test of many.
    #[tokio::test]
    async fn holds_the_gate_for_another_test() {
        let Some(folder) = std::env::var_os(HELD_FOR) else {
            return;
        };
        let gate = QuietGate::in_folder(Path::new(&folder)).unwrap();
        let _quiet = gate.close(LONGEST).await;
        std::fs::write(Path::new(&folder).join("held"), "").unwrap();
        std::future::pending().await
    }

    const HELD_FOR: &str = "TOKWATT_TEST_GATE";

    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }

    #[tokio::test]
    async fn the_window_of_another_process_keeps_us_out_until_it_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let holder = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "runner::quiet::tests::holds_the_gate_for_another_test",
            ])
            .env(HELD_FOR, folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut holder = Killed(holder);
        while !folder.path().join("held").exists() {
            assert_eq!(holder.0.try_wait().unwrap(), None);
            tokio::task::yield_now().await;
        }
        let gate = QuietGate::in_folder(folder.path()).unwrap();
        let mut passage = pin!(gate.pass());
        assert!(passage.as_mut().now_or_never().is_none());
        until_the_turn_is_taken(folder.path()).await;
        assert!(passage.as_mut().now_or_never().is_none());
        drop(holder);
        passage.await;
    }
}
