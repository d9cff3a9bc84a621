//! Cuts the power at many points of a history, opens what is found with our own code, and holds it against what had been acknowledged.

use std::{any::Any, collections::BTreeSet, path::Path};

use tempfile::TempDir;
use tokwatt_harness::Random;

use crate::{
    disk::{Disk, Found, Survival},
    recording::{Event, FileNumber, Recording},
    rows::Rows,
};

/// Whose files these are.
pub(crate) struct Subject {
    /// The database within the folder.
    pub(crate) file: &'static str,
    /// Opens it as the program does when it starts.
    pub(crate) open: fn(&Path) -> Result<Box<dyn Any>, String>,
}

/// What a workload did, and what was to be read after each of its steps.
pub(crate) struct History {
    pub(crate) events: Vec<Event>,
    /// The first is the opening.
    pub(crate) steps: Vec<Step>,
    /// What the other side does once the power is back, in a folder that was found, and whether all is well after it.
    pub(crate) go_on: GoOn,
}

pub(crate) type GoOn = Box<dyn Fn(&Path) -> Result<(), String>>;

/// A step that was acknowledged.
pub(crate) struct Step {
    /// What it was, for people.
    pub(crate) what: String,
    /// Whether several devices asked at once: each one's part is whole then, and not all of them need to be there.
    pub(crate) is_shared: bool,
    pub(crate) after: Rows,
}

/// What is wrong with what was found.
#[derive(Debug)]
pub(crate) enum Damage {
    /// It cannot be opened, or SQLite says that it is corrupt.
    Broken(#[expect(dead_code, reason = "shown when a test fails")] String),
    /// What was acknowledged is not there: it is as after an earlier step, or before the first.
    Lost {
        #[expect(dead_code, reason = "shown when a test fails")]
        acknowledged: usize,
    },
    /// What was read once is not what is read after the next cut.
    Changed,
    /// It is as after no step at all.
    Torn {
        #[expect(dead_code, reason = "shown when a test fails")]
        acknowledged: usize,
    },
}

/// How an examination went.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) n_points: usize,
    /// Points at which what was found was opened, and the power cut once more meanwhile or after.
    pub(crate) n_cut_again: usize,
    /// Points after which the other side went on.
    pub(crate) n_gone_on: usize,
    /// Steps that had been acknowledged before the points, in all.
    pub(crate) n_held: usize,
    pub(crate) damages: Vec<(Point, Damage)>,
}

/// Where the power was cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    /// Before this event of the history.
    #[expect(dead_code, reason = "shown when a test fails")]
    pub(crate) event: usize,
    #[expect(dead_code, reason = "shown when a test fails")]
    pub(crate) survival: Survival,
}

impl History {
    /// Whether the log was written back into the database before that was closed.
    pub(crate) fn has_emptied_its_log(&self, database: &str) -> bool {
        let database = files(&self.events, |name| name == database);
        let opened = |event: &Event| matches!(event, Event::Acknowledged { .. });
        let from = self.events.iter().position(opened);
        let to = self.events.iter().rposition(opened);
        let events = &self.events[from.unwrap_or_default()..to.unwrap_or_default()];
        { events.iter() }
            .any(|event| matches!(event, Event::Written { file, .. } if database.contains(file)))
    }

    /// As if the disk had only said that it syncs these files.
    pub(crate) fn without_syncs(mut self, of: impl Fn(&str) -> bool) -> Self {
        let files = files(&self.events, of);
        self.events
            .retain(|event| !matches!(event, Event::Synced { file } if files.contains(file)));
        self
    }
}

impl Subject {
    /// Cuts the power at `n_points` points of a history.
    pub(crate) fn examine(&self, history: &History, n_points: usize, random: &mut Random) -> Tally {
        let mut tally = Tally::default();
        let mut disk = Disk::default();
        let mut acknowledged = None;
        let mut points = points(&history.events, n_points, random)
            .into_iter()
            .peekable();
        for (index, event) in history.events.iter().map(Some).chain([None]).enumerate() {
            while points.next_if_eq(&index).is_some() {
                self.cut(&disk, index, acknowledged, history, random, &mut tally);
            }
            match event {
                Some(Event::Acknowledged { n_steps }) => acknowledged = Some(*n_steps),
                Some(event) => disk.apply(event),
                None => {}
            }
        }
        tally
    }

    /// At one point.
    fn cut(
        &self,
        disk: &Disk,
        event: usize,
        acknowledged: Option<usize>,
        history: &History,
        random: &mut Random,
        tally: &mut Tally,
    ) {
        let survival = Survival::any(random);
        let found = disk.cut(survival, random);
        tally.n_points += 1;
        tally.n_held += acknowledged.unwrap_or_default();
        let judged = self.read(&found).and_then(|rows| {
            self.judge(&rows, acknowledged, history)?;
            match random.below(MORE_ONE_IN) {
                0 => {
                    tally.n_cut_again += 1;
                    self.cut_again(&found, &rows, acknowledged, history, random)
                }
                1 => {
                    tally.n_gone_on += 1;
                    go_on(&found, history)
                }
                _ => Ok(()),
            }
        });
        let point = Point { event, survival };
        tally
            .damages
            .extend(judged.err().map(|damage| (point, damage)));
    }

    /// The power comes back, is cut while the files are opened or soon after, and comes back again: what was read once stays.
    fn cut_again(
        &self,
        found: &Found,
        rows: &Rows,
        acknowledged: Option<usize>,
        history: &History,
        random: &mut Random,
    ) -> Result<(), Damage> {
        let folder = scratch();
        found
            .write(folder.path())
            .expect("the scratch folder takes it");
        let recording = Recording::start(folder.path(), found.names());
        let handle = (self.open)(folder.path()).map_err(Damage::Broken)?;
        recording.note(Event::Acknowledged { n_steps: 1 });
        drop(handle);
        let events = recording.finish();
        let opened = events
            .iter()
            .position(|event| matches!(event, Event::Acknowledged { .. }))
            .expect("it was noted");
        for _ in 0..CUTS_AGAIN {
            let end = random.index(events.len() + 1);
            let mut disk = Disk::holding(found);
            events[..end].iter().for_each(|event| disk.apply(event));
            let second = self.read(&disk.cut(Survival::any(random), random))?;
            if end <= opened {
                self.judge(&second, acknowledged, history)?;
            } else if second != *rows {
                return Err(Damage::Changed);
            }
        }
        Ok(())
    }

    /// What is found is what was acknowledged, with or without the step that was under way. Before it was once opened, anything that
    /// can be opened will do.
    fn judge(
        &self,
        found: &Rows,
        acknowledged: Option<usize>,
        history: &History,
    ) -> Result<(), Damage> {
        let Some(acknowledged) = acknowledged else {
            return Ok(());
        };
        let before = &history.steps[acknowledged].after;
        let next = history.steps.get(acknowledged + 1);
        let is_fitting = found == before
            || next.is_some_and(|next| {
                *found == next.after || next.is_shared && found.is_mixture_of(before, &next.after)
            });
        if is_fitting {
            return Ok(());
        }
        let earlier = &history.steps[..acknowledged];
        let is_earlier = earlier.iter().any(|step| step.after == *found);
        if is_earlier || *found == self.read(&Found::default())? {
            return Err(Damage::Lost { acknowledged });
        }
        Err(Damage::Torn { acknowledged })
    }

    /// Opens what was found with our own code, and reads everything.
    fn read(&self, found: &Found) -> Result<Rows, Damage> {
        let folder = scratch();
        found
            .write(folder.path())
            .expect("the scratch folder takes it");
        let _handle = (self.open)(folder.path()).map_err(Damage::Broken)?;
        Rows::read_sound(&folder.path().join(self.file)).map_err(Damage::Broken)
    }
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.n_points += other.n_points;
        self.n_cut_again += other.n_cut_again;
        self.n_gone_on += other.n_gone_on;
        self.n_held += other.n_held;
        self.damages.extend(other.damages);
    }
}

fn go_on(found: &Found, history: &History) -> Result<(), Damage> {
    let folder = scratch();
    found
        .write(folder.path())
        .expect("the scratch folder takes it");
    (history.go_on)(folder.path()).map_err(Damage::Broken)
}

/// Positions in the log, sorted. A log is nearly all pages appended to write-ahead logs: a third of the points is kept for the rest.
fn points(events: &[Event], n_points: usize, random: &mut Random) -> Vec<usize> {
    let logs = files(events, |name| name.ends_with("-wal"));
    let is_rare = |event: &Event| match event {
        Event::Written { file, .. } => !logs.contains(file),
        Event::Acknowledged { .. } => false,
        _ => true,
    };
    let rare: Vec<usize> = (0..events.len()).filter(|i| is_rare(&events[*i])).collect();
    let mut points: Vec<usize> = (0..n_points)
        .map(|n| match n % 3 {
            0 => random.pick(&rare) + random.index(2),
            _ => random.index(events.len() + 1),
        })
        .collect();
    points.sort_unstable();
    points
}

/// Files that were made under such names.
fn files(events: &[Event], of: impl Fn(&str) -> bool) -> BTreeSet<FileNumber> {
    let created = events.iter().filter_map(|event| match event {
        Event::Created { file, name } => of(name).then_some(*file),
        _ => None,
    });
    created.collect()
}

/// A folder in memory, where there is such: what is played here survives no power cut, and need not.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    match TempDir::new_in(memory) {
        Ok(folder) => folder,
        Err(_) => TempDir::new().expect("there is a folder for temporary files"),
    }
}

const MORE_ONE_IN: u64 = 20;
const CUTS_AGAIN: usize = 4;
