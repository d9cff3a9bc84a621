//! What was done to the files of a folder, in order, and when somebody was told that it is safe.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// One file, whatever it is called: a name that is deleted and made again stands for another one.
pub(crate) type FileNumber = usize;

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A name came to stand for a new, empty file.
    Created {
        file: FileNumber,
        name: String,
    },
    Written {
        file: FileNumber,
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncated {
        file: FileNumber,
        size: usize,
    },
    /// Everything written to it before is on the disk.
    Synced {
        file: FileNumber,
    },
    Deleted {
        name: String,
    },
    /// Every name made or deleted before is on the disk.
    FolderSynced,
    /// Whoever asked was told that so many steps are done.
    Acknowledged {
        n_steps: usize,
    },
}

/// Watches a folder while it lives.
pub(crate) struct Recording {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    events: Vec<Event>,
    names: HashMap<String, FileNumber>,
    n_files: usize,
}

impl Recording {
    /// Watches a folder in which these files are, and are on the disk, numbered from 0; no connection to them is open.
    pub(crate) fn start<'a>(folder: &Path, known: impl IntoIterator<Item = &'a str>) -> Arc<Self> {
        let mut state = State::default();
        for name in known {
            state.names.insert(name.to_owned(), state.n_files);
            state.n_files += 1;
        }
        let recording = Arc::new(Self {
            folder: folder.to_owned(),
            state: Mutex::new(state),
        });
        recordings().push(recording.clone());
        recording
    }

    /// Ends it and hands out what happened.
    pub(crate) fn finish(&self) -> Vec<Event> {
        recordings().retain(|other| other.folder != self.folder);
        std::mem::take(&mut self.state().events)
    }

    pub(crate) fn note(&self, event: Event) {
        self.state().events.push(event);
    }

    /// Which file a name stands for; one that it did not stand for before was made.
    pub(crate) fn opened(&self, name: &str) -> FileNumber {
        let mut state = self.state();
        if let Some(known) = state.names.get(name) {
            return *known;
        }
        let file = state.n_files;
        state.n_files += 1;
        let name = name.to_owned();
        state.names.insert(name.clone(), file);
        state.events.push(Event::Created { file, name });
        file
    }

    pub(crate) fn deleted(&self, name: &str) {
        let mut state = self.state();
        state.names.remove(name);
        let name = name.to_owned();
        state.events.push(Event::Deleted { name });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who watches the folder of this file, and what the file is called there.
pub(crate) fn of(path: &Path) -> Option<(Arc<Recording>, String)> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent()?;
    let recordings = recordings();
    let found = recordings.iter().find(|known| known.folder == folder)?;
    Some((found.clone(), name.to_owned()))
}

fn recordings() -> MutexGuard<'static, Vec<Arc<Recording>>> {
    static RECORDINGS: Mutex<Vec<Arc<Recording>>> = Mutex::new(Vec::new());
    RECORDINGS.lock().unwrap_or_else(PoisonError::into_inner)
}
