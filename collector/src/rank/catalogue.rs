//! Which cells there are, with the properties that decide what is compared with what: kept in memory, followed up from the index.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokwatt_domain::metrics::resized::takes_equally_many;

use super::{
    CellIndex, CellName, Columns, Key, RankError, RankedRun,
    index::{IndexedRun, Kind, damaged, runs},
};

/// All cells without their figures.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    words: Words,
    kinds: Vec<Arc<Kind>>,
    numbers_of_kinds: BTreeMap<Arc<Kind>, u32>,
    cells: BTreeMap<i64, Arc<IndexedCell>>,
}

/// A cell without its figures.
#[derive(Debug)]
pub(super) struct IndexedCell {
    /// Its place in the index.
    pub(super) number: i64,
    keys: [Word; Key::ALL.len()],
    pub(super) runs: Vec<IndexedRun>,
    /// Kinds of its runs, and how many are of each.
    pub(super) kinds: Vec<(u32, usize)>,
    /// Whether its model takes as many tokens for a picture of any size.
    pub(super) is_of_fixed_tokens: bool,
}

/// A value of a key, as a number.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Word(u32);

#[derive(Clone, Debug, Default)]
struct Words {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, Word>,
}

/// Words in the order of their texts.
pub(super) struct Order<'a> {
    texts: Vec<&'a str>,
    ranks: Vec<u32>,
}

impl Catalogue {
    /// Takes in a cell as it is now; one without a name is no more.
    ///
    /// # Errors
    /// [`RankError::Index`]: what is packed is damaged.
    pub fn put(&mut self, number: i64, name: Option<&str>, packed: &[u8]) -> Result<(), RankError> {
        let Some(name) = name else {
            self.cells.remove(&number);
            return Ok(());
        };
        let name: CellName =
            serde_json::from_str(name).map_err(|_| damaged("the name of a cell"))?;
        let (mut runs, kinds) = runs(packed)?;
        let numbers: Vec<u32> = kinds.into_iter().map(|kind| self.number_of(kind)).collect();
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        for run in &mut runs {
            let own = usize::try_from(run.kind).ok();
            run.kind = own
                .and_then(|own| numbers.get(own).copied())
                .ok_or_else(|| damaged("the kind of a run"))?;
            *counts.entry(run.kind).or_default() += 1;
        }
        let facts = &name.cell.configuration.model_facts;
        let cell = IndexedCell {
            number,
            keys: Key::ALL.map(|key| {
                let text = key.of_cell(&name.device, &name.cell, name.limits);
                self.words.number(text)
            }),
            runs,
            kinds: counts.into_iter().collect(),
            is_of_fixed_tokens: takes_equally_many(
                &name.cell.identity.model,
                facts.get("architecture").map(String::as_str),
            ),
        };
        self.cells.insert(number, Arc::new(cell));
        Ok(())
    }

    /// Whether there is no run.
    pub fn is_empty(&self) -> bool {
        self.cells().all(|cell| cell.runs.is_empty())
    }

    /// Cells in the order of their numbers.
    pub(super) fn cells(&self) -> impl Iterator<Item = &IndexedCell> {
        self.cells.values().map(AsRef::as_ref)
    }

    /// What a number of a run's kind stands for.
    pub(super) fn kind(&self, number: u32) -> &Kind {
        &self.kinds[Word(number).position()]
    }

    pub(super) fn word(&self, text: &str) -> Option<Word> {
        self.words.numbers.get(text).copied()
    }

    pub(super) fn text(&self, word: Word) -> &str {
        self.words.text(word)
    }

    pub(super) fn order(&self) -> Order<'_> {
        Order::of(&self.words)
    }

    fn number_of(&mut self, kind: Kind) -> u32 {
        if let Some(number) = self.numbers_of_kinds.get(&kind) {
            return *number;
        }
        let number = u32::try_from(self.kinds.len()).expect("there are fewer kinds than runs");
        let kind = Arc::new(kind);
        self.kinds.push(Arc::clone(&kind));
        self.numbers_of_kinds.insert(kind, number);
        number
    }
}

impl IndexedCell {
    pub(super) fn key(&self, key: Key) -> Word {
        self.keys[key.position()]
    }
}

impl Words {
    fn number(&mut self, text: String) -> Word {
        if let Some(word) = self.numbers.get(text.as_str()) {
            return *word;
        }
        let text: Arc<str> = text.into();
        let word = Word(u32::try_from(self.texts.len()).expect("memory ends before the numbers"));
        self.texts.push(Arc::clone(&text));
        self.numbers.insert(text, word);
        word
    }

    fn text(&self, word: Word) -> &str {
        &self.texts[word.position()]
    }
}

impl Word {
    fn position(self) -> usize {
        usize::try_from(self.0).expect("a position in a list in memory")
    }
}

impl<'a> Order<'a> {
    fn of(words: &'a Words) -> Self {
        let mut sorted: Vec<(&str, usize)> = words
            .texts
            .iter()
            .enumerate()
            .map(|(position, text)| (text.as_ref(), position))
            .collect();
        sorted.sort_unstable();
        let mut ranks = vec![0; sorted.len()];
        for (rank, (_, position)) in (0..).zip(&sorted) {
            ranks[*position] = rank;
        }
        Self {
            texts: sorted.into_iter().map(|(text, _)| text).collect(),
            ranks,
        }
    }

    /// Compares as the texts do.
    pub(super) fn rank(&self, word: Word) -> u32 {
        self.ranks[word.position()]
    }

    pub(super) fn text(&self, rank: u32) -> &'a str {
        self.texts[Word(rank).position()]
    }
}

/// An index in memory, made from reports: what the store keeps, for whoever has the reports at hand.
#[derive(Clone, Debug, Default)]
pub struct MemoryIndex {
    /// Which cells there are.
    pub catalogue: Catalogue,
    names: BTreeMap<i64, String>,
    cells: BTreeMap<i64, CellIndex>,
}

impl MemoryIndex {
    /// Of these runs.
    ///
    /// # Errors
    /// None that a report can cause.
    pub fn of(runs: &[RankedRun]) -> Result<Self, RankError> {
        let mut named: BTreeMap<String, Vec<RankedRun>> = BTreeMap::new();
        for run in runs {
            let name = serde_json::to_string(&CellName::of(&run.report));
            let name = name.map_err(|_| damaged("the name of a cell"))?;
            named.entry(name).or_default().push(run.clone());
        }
        let mut index = Self::default();
        for (number, (name, runs)) in (1..).zip(named) {
            let cell = CellIndex::of(&runs);
            index.catalogue.put(number, Some(&name), &cell.runs)?;
            index.names.insert(number, name);
            index.cells.insert(number, cell);
        }
        Ok(index)
    }
}

impl Columns for MemoryIndex {
    type Error = RankError;

    fn columns(
        &self,
        metric: &str,
        cells: &[i64],
        take: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<(), RankError> {
        for (position, number) in cells.iter().enumerate() {
            let cell = self.cells.get(number);
            if let Some(column) = cell.and_then(|cell| cell.columns.get(metric)) {
                take(position, column);
            }
        }
        Ok(())
    }

    fn names(&self, cells: &[i64]) -> Result<Vec<String>, RankError> {
        let name = |number| self.names.get(number).cloned();
        let names = cells.iter().map(name);
        names
            .map(|name| name.ok_or_else(|| damaged("a cell without a name")))
            .collect()
    }

    fn has(&self, metric: &str) -> Result<bool, RankError> {
        let mut cells = self.cells.values();
        Ok(cells.any(|cell| cell.columns.contains_key(metric)))
    }
}
