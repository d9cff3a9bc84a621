//! A bounded number of places, where the newest guest takes that of the oldest.
//!
//! Whoever comes and does nothing cannot keep others out that way: to take an honest guest's place within the blink that it needs it,
//! they would have to come faster than all places can be filled. Whoever loses a place goes at once, so that no more are there than there
//! are places.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tonic::Status;

use super::ending::Ending;

/// The places, and who may take whose.
pub(super) struct Seats<G> {
    max: usize,
    are_rivals: fn(&G, &G) -> bool,
    taken: Mutex<Taken<G>>,
}

struct Taken<G> {
    next: u64,
    // In the order of coming.
    guests: BTreeMap<u64, (G, Ending)>,
}

/// A place, free again when this is dropped.
pub(super) struct Seat<G> {
    seats: Arc<Seats<G>>,
    number: u64,
    ending: Ending,
}

impl<G: Clone> Seats<G> {
    /// So many for guests of a kind each.
    pub(super) fn new(max: usize, are_rivals: fn(&G, &G) -> bool) -> Arc<Self> {
        let taken = Taken {
            next: 0,
            guests: BTreeMap::new(),
        };
        Arc::new(Self {
            max,
            are_rivals,
            taken: Mutex::new(taken),
        })
    }

    /// Takes a place; the oldest rival leaves if there are too many of them.
    pub(super) fn take(self: &Arc<Self>, guest: G) -> Seat<G> {
        let mut taken = self.taken();
        let rivals = taken.guests.iter();
        let rivals = rivals.filter(|(_, (other, _))| (self.are_rivals)(&guest, other));
        let mut rivals = rivals.map(|(number, _)| *number);
        let oldest = rivals.next();
        if let Some(oldest) = oldest
            && rivals.count() + 1 >= self.max
            && let Some((_, ending)) = taken.guests.remove(&oldest)
        {
            ending.displace(Status::unavailable(format!(
                "{} newer connections took the place of this one",
                self.max
            )));
        }
        let number = taken.next;
        taken.next += 1;
        let ending = Ending::default();
        taken.guests.insert(number, (guest, ending.clone()));
        Seat {
            seats: Arc::clone(self),
            number,
            ending,
        }
    }

    /// Who is there.
    pub(super) fn guests(&self) -> Vec<(G, Ending)> {
        self.taken().guests.values().cloned().collect()
    }
}

impl<G> Seats<G> {
    fn taken(&self) -> MutexGuard<'_, Taken<G>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<G> Seat<G> {
    /// What ends the guest's stay.
    pub(super) fn ending(&self) -> &Ending {
        &self.ending
    }
}

impl<G> Drop for Seat<G> {
    fn drop(&mut self) {
        self.seats.taken().guests.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ended<G>(seat: &Seat<G>) -> bool {
        seat.ending().status().is_some()
    }

    #[test]
    fn the_newest_takes_the_place_of_the_oldest_of_its_kind() {
        let seats = Seats::new(2, |one: &&str, other| one == other);
        let other = seats.take("b");
        let [first, second] = [(); 2].map(|()| seats.take("a"));
        assert!(!is_ended(&first));
        let third = seats.take("a");
        assert!(is_ended(&first) && !is_ended(&second) && !is_ended(&third));
        assert!(!is_ended(&other));
    }

    #[test]
    fn a_place_that_was_left_is_free() {
        let seats = Seats::new(1, |(), ()| true);
        drop(seats.take(()));
        let second = seats.take(());
        assert!(!is_ended(&second) && seats.guests().len() == 1);
    }
}
