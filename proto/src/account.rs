//! Accounts of runs: how much of everything that is counted there was, is stored, and is declared missing.
//!
//! Unlike [`assemble`](crate::assemble()) this needs no run that makes sense: it counts, so that a run whose raw samples were given up
//! balances, too.

use std::collections::BTreeMap;

use tokwatt_domain::gap::Part;

use crate::record::Record;

/// Of one thing of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Account {
    /// Of which of the run's segments, from 0.
    pub segment: u32,
    /// Of what.
    pub part: Part,
    /// How many there were, as the segment's end says; absent without that.
    pub expected: Option<u64>,
    /// How many are in records.
    pub stored: u64,
    /// How many are declared missing.
    pub declared: u64,
}

impl Account {
    /// Whether nothing is missing in silence, and nothing is there that never was.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.expected == Some(self.stored + self.declared)
    }
}

/// The accounts of a run from its records, by segment and part.
#[must_use]
pub fn accounts<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<Account> {
    let mut books = Books::default();
    for record in records {
        books.enter(record);
    }
    books.0.into_values().collect()
}

#[derive(Default)]
struct Books(BTreeMap<(u32, Part), Account>);

impl Books {
    fn enter(&mut self, record: &Record) {
        match record {
            Record::Requests {
                segment, requests, ..
            } => self.of(*segment, Part::Requests).stored += requests.len() as u64,
            Record::Power {
                segment,
                sensor_index,
                trace,
                ..
            } => {
                let part = Part::Samples(*sensor_index);
                self.of(*segment, part).stored += trace.samples.len() as u64;
            }
            Record::Gap { segment, gap, .. } => {
                self.of(*segment, gap.part).declared += u64::from(gap.count);
            }
            Record::SegmentClosed {
                segment,
                n_requests,
                n_samples,
                ..
            } => {
                self.expect(*segment, Part::Requests, *n_requests);
                for (sensor, n_samples) in (0..).zip(n_samples) {
                    self.expect(*segment, Part::Samples(sensor), *n_samples);
                }
            }
            Record::Device(_)
            | Record::RunOpened(_)
            | Record::RunResumed { .. }
            | Record::RunFinished { .. } => {}
        }
    }

    fn expect(&mut self, segment: u32, part: Part, n: u32) {
        let expected = &mut self.of(segment, part).expected;
        *expected = Some(expected.unwrap_or_default() + u64::from(n));
    }

    fn of(&mut self, segment: u32, part: Part) -> &mut Account {
        self.0.entry((segment, part)).or_insert(Account {
            segment,
            part,
            expected: None,
            stored: 0,
            declared: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use tokwatt_domain::{
        gap::{Gap, GapCause},
        ids::RunId,
        time::{Stamp, Window},
    };

    use super::*;

    fn closed(n_requests: u32, n_samples: &[u32]) -> Record {
        Record::SegmentClosed {
            run: RunId([7; 16]),
            segment: 0,
            window: Window {
                from: Stamp(0),
                to: Stamp(1),
            },
            n_requests,
            n_samples: n_samples.to_vec(),
            memory: Vec::new(),
            gauges: Vec::new(),
        }
    }

    fn gap(part: Part, count: u32) -> Record {
        Record::Gap {
            run: RunId([7; 16]),
            segment: 0,
            gap: Gap {
                part,
                count,
                cause: GapCause::Crash,
                note: String::new(),
            },
        }
    }

    #[test]
    fn what_is_neither_stored_nor_declared_is_seen_in_its_account() {
        let records = [
            closed(3, &[5, 0]),
            gap(Part::Requests, 3),
            gap(Part::Samples(0), 2),
            gap(Part::Samples(0), 2),
        ];
        let accounts = accounts(&records);
        let balance = accounts.iter().map(|account| {
            (
                account.part,
                account.expected,
                account.declared,
                account.is_balanced(),
            )
        });
        assert_eq!(
            balance.collect::<Vec<_>>(),
            [
                (Part::Requests, Some(3), 3, true),
                (Part::Samples(0), Some(5), 4, false),
                (Part::Samples(1), Some(0), 0, true),
            ]
        );
    }

    #[test]
    fn what_is_of_a_segment_without_its_end_does_not_balance() {
        let [account] = accounts(&[gap(Part::Requests, 1)]).try_into().unwrap();
        assert!(!Account::is_balanced(&account));
    }
}
