//! A disk whose power may be cut: what is on it for sure, what may be, and one of the ways in which it may be found.
//!
//! What was synced is there. Of what was not, each sector of 512 bytes is found as it was at some moment since, whatever became of its
//! neighbours: so writes are torn and out of order. The size is one that the file had since. A sector that the file was grown by and that was
//! never written holds zeros or what lay there before. A file that was cut short is found so, or as if it had not been, and then without
//! what was written beyond that later. A name made or deleted since its folder was synced may be there or not.
//!
//! What is not played: a disk that says it has synced and has not, and one that spoils a sector that nobody wrote.

use std::{collections::BTreeMap, fs, io, path::Path};

use tokwatt_harness::Random;

use crate::recording::{Event, FileNumber};

/// Everything that is or may be on it.
#[derive(Default)]
pub(crate) struct Disk {
    files: BTreeMap<FileNumber, Content>,
    /// What each name may stand for; the first for sure, the last as the programs see it.
    names: BTreeMap<String, Vec<Option<FileNumber>>>,
}

/// What a disk is found with: files by their names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found(BTreeMap<String, Vec<u8>>);

/// How much of what was not synced is found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Survival {
    Nothing,
    Everything,
    /// So many of a hundred.
    Some(u64),
}

#[derive(Default)]
struct Content {
    synced: Vec<u8>,
    since: Vec<Change>,
}

enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { size: usize },
}

/// What may have become of a file since it was synced.
struct History<'a> {
    /// What is there whatever else is.
    base: Vec<u8>,
    /// In order.
    sizes: Vec<usize>,
    /// What was put into each sector, in order.
    sectors: BTreeMap<usize, Vec<(usize, &'a [u8])>>,
}

impl Disk {
    /// One on which files are for sure, numbered from 0.
    pub(crate) fn holding(found: &Found) -> Self {
        let mut disk = Self::default();
        for (file, (name, bytes)) in found.0.iter().enumerate() {
            let content = Content {
                synced: bytes.clone(),
                since: Vec::new(),
            };
            disk.files.insert(file, content);
            disk.names.insert(name.clone(), vec![Some(file)]);
        }
        disk
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Created { file, name } => {
                self.files.insert(*file, Content::default());
                self.rename(name, Some(*file));
            }
            Event::Deleted { name } => self.rename(name, None),
            Event::Written {
                file,
                offset,
                bytes,
            } => self.change(
                *file,
                Change::Write {
                    offset: *offset,
                    bytes: bytes.clone(),
                },
            ),
            Event::Truncated { file, size } => {
                self.change(*file, Change::Truncate { size: *size });
            }
            Event::Synced { file } => self.content(*file).sync(),
            Event::FolderSynced => {
                for versions in self.names.values_mut() {
                    versions.drain(..versions.len() - 1);
                }
            }
            Event::Acknowledged { .. } => {}
        }
    }

    /// One of the ways in which it may be found after the power is cut now.
    pub(crate) fn cut(&self, survival: Survival, random: &mut Random) -> Found {
        let mut found = Found::default();
        for (name, versions) in &self.names {
            let Some(file) = versions[survival.version(versions.len() - 1, random)] else {
                continue;
            };
            let content = self.files[&file].found(survival, random);
            found.0.insert(name.clone(), content);
        }
        found
    }

    fn rename(&mut self, name: &str, file: Option<FileNumber>) {
        let versions = self.names.entry(name.to_owned());
        versions.or_insert_with(|| vec![None]).push(file);
    }

    fn change(&mut self, file: FileNumber, change: Change) {
        self.content(file).since.push(change);
    }

    fn content(&mut self, file: FileNumber) -> &mut Content {
        self.files.get_mut(&file).expect("it was created first")
    }
}

impl Found {
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Puts the files into an empty folder.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        self.0
            .iter()
            .try_for_each(|(name, bytes)| fs::write(folder.join(name), bytes))
    }
}

impl Survival {
    /// Any of them; the ends more often than their share.
    pub(crate) fn any(random: &mut Random) -> Self {
        match random.below(10) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2..=4 => Self::Some(10),
            5..=7 => Self::Some(50),
            _ => Self::Some(90),
        }
    }

    /// How many of `n` changes are found: the last ones may be missing.
    fn version(self, n: usize, random: &mut Random) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Everything => n,
            Self::Some(percent) if n == 0 || random.below(100) >= percent => 0,
            Self::Some(_) if random.below(4) > 0 => n,
            Self::Some(_) => 1 + random.index(n),
        }
    }
}

impl Content {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.since) {
            match change {
                Change::Write { offset, bytes } => put(&mut self.synced, offset, &bytes),
                Change::Truncate { size } => self.synced.resize(size, 0),
            }
        }
    }

    fn found(&self, survival: Survival, random: &mut Random) -> Vec<u8> {
        if self.since.is_empty() {
            return self.synced.clone();
        }
        let cuts = self.since.iter().filter(|change| change.is_cut()).count();
        let History {
            base,
            sizes,
            sectors,
        } = self.history(survival.version(cuts, random));
        let largest = *sizes.iter().max().expect("the first is there");
        let n_base = base.len();
        let mut found = base;
        // What lay on the disk before the file grew by it.
        let stale = *random.pick(&[0, 0, 0xa5]);
        found.resize(largest, stale);
        for (sector, pieces) in sectors {
            let n_found = survival.version(pieces.len(), random);
            let start = sector * SECTOR;
            if n_found > 0 && start + SECTOR > n_base {
                let end = (start + SECTOR).min(largest);
                found[start.max(n_base).min(end)..end].fill(0);
            }
            for (offset, bytes) in &pieces[..n_found] {
                put(&mut found, *offset, bytes);
            }
        }
        found.truncate(sizes[survival.version(sizes.len() - 1, random)]);
        found
    }

    /// What may have become of it if so many times of those that it was cut short are on the disk.
    fn history(&self, n_cuts: usize) -> History<'_> {
        let mut history = History {
            base: self.synced.clone(),
            sizes: vec![self.synced.len()],
            sectors: BTreeMap::new(),
        };
        let mut n_seen = 0;
        let mut end = usize::MAX;
        for change in &self.since {
            match change {
                Change::Write { offset, bytes } => {
                    let length = bytes.len().min(end.saturating_sub(*offset));
                    history.write(*offset, &bytes[..length]);
                }
                Change::Truncate { size } => {
                    n_seen += 1;
                    match n_seen <= n_cuts {
                        true => history.truncate(*size),
                        false => end = end.min(*size),
                    }
                }
            }
        }
        history
    }
}

impl Change {
    fn is_cut(&self) -> bool {
        matches!(self, Self::Truncate { .. })
    }
}

impl<'a> History<'a> {
    fn write(&mut self, offset: usize, bytes: &'a [u8]) {
        for (at, piece) in by_sector(offset, bytes) {
            self.sectors
                .entry(at / SECTOR)
                .or_default()
                .push((at, piece));
        }
        let size = self.sizes[self.sizes.len() - 1];
        self.sizes.push(size.max(offset + bytes.len()));
    }

    fn truncate(&mut self, size: usize) {
        self.base.truncate(size);
        self.sizes = vec![size];
        for pieces in self.sectors.values_mut() {
            pieces.retain(|(at, _)| *at < size);
            for (at, piece) in pieces {
                *piece = &piece[..piece.len().min(size - *at)];
            }
        }
    }
}

/// Bytes at a place, cut where sectors end.
fn by_sector(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = offset;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = (SECTOR - at % SECTOR).min(rest.len());
        let (piece, after) = rest.split_at(length);
        let found = (at, piece);
        at += length;
        rest = after;
        Some(found)
    })
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

#[test]
fn what_was_synced_is_found_and_what_was_not_in_any_mixture_of_sectors() {
    let mut disk = Disk::default();
    let name = "a".to_owned();
    disk.apply(&Event::Created { file: 0, name });
    let write = |offset, byte, length| Event::Written {
        file: 0,
        offset,
        bytes: vec![byte; length],
    };
    disk.apply(&write(0, 1, 1024));
    disk.apply(&Event::Synced { file: 0 });
    disk.apply(&Event::FolderSynced);
    // From the middle of the first sector to the middle of the third.
    disk.apply(&write(256, 2, 1024));
    let mut random = Random::new(1);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..2_000 {
        let found = disk.cut(Survival::any(&mut random), &mut random);
        let bytes = &found.0["a"];
        assert!(
            bytes[..256].iter().all(|byte| *byte == 1),
            "nobody wrote it"
        );
        let same = |range: std::ops::Range<usize>| {
            assert!(
                bytes[range.clone()]
                    .iter()
                    .all(|byte| *byte == bytes[range.start])
            );
            bytes[range.start]
        };
        let third = (bytes.len() > 1024).then(|| same(1024..1280));
        seen.insert((same(256..512), same(512..1024), third));
    }
    let thirds = [None, Some(0), Some(0xa5), Some(2)];
    assert_eq!(seen.len(), 2 * 2 * thirds.len(), "{seen:?}");
}

/// A log that was emptied is not found with holes in it.
#[test]
fn a_file_is_cut_short_as_a_whole_or_not_at_all() {
    let mut disk = Disk::default();
    let name = "a".to_owned();
    disk.apply(&Event::Created { file: 0, name });
    let write = |byte, length| Event::Written {
        file: 0,
        offset: 0,
        bytes: vec![byte; length],
    };
    disk.apply(&write(1, 2048));
    disk.apply(&Event::Synced { file: 0 });
    disk.apply(&Event::FolderSynced);
    disk.apply(&Event::Truncated { file: 0, size: 0 });
    disk.apply(&write(2, 512));
    let mut random = Random::new(1);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..500 {
        seen.insert(disk.cut(Survival::any(&mut random), &mut random).0["a"].clone());
    }
    let grown = [0, 0xa5, 2].map(|byte| vec![byte; 512]);
    let all = [vec![1; 2048], Vec::new()].into_iter().chain(grown);
    assert_eq!(seen, all.collect());
}

#[test]
fn a_name_is_there_for_sure_once_its_folder_was_synced() {
    let mut disk = Disk::default();
    let name = || "a".to_owned();
    let mut random = Random::new(1);
    let mut counts = |disk: &Disk| {
        let mut there = 0;
        for _ in 0..200 {
            there += disk.cut(Survival::Some(50), &mut random).0.len();
        }
        there
    };
    disk.apply(&Event::Created {
        file: 0,
        name: name(),
    });
    assert!((1..200).contains(&counts(&disk)));
    disk.apply(&Event::FolderSynced);
    assert_eq!(counts(&disk), 200);
    disk.apply(&Event::Deleted { name: name() });
    assert!((1..200).contains(&counts(&disk)));
}
