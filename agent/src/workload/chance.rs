//! Chance that is the same on every machine and with every version of every crate.
//!
//! ChaCha8 gives the bits; how they become a number in a range is written here, because a crate may change its mind about
//! that and with it every picture and every suite digest.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// A stream of chance.
pub(super) struct Chance(ChaCha8Rng);

/// What a stream is for. Streams of one seed know nothing of each other, so that a longer one does not shift the next.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// Which objects stand where.
    Layout = 1,
    /// Sky, ground and weather.
    Backdrop = 2,
    /// The ground's grain.
    Grain = 3,
    /// The exact shade of each object.
    Shade = 4,
    /// What a chart shows, and how.
    Chart = 5,
    /// What is asked about a chart.
    Asked = 6,
    /// Words that make a prompt longer.
    Padding = 7,
}

impl Chance {
    /// The key is the seed, then the purpose, both little endian, then zeros.
    pub(super) fn new(seed: u64, purpose: Purpose) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8] = purpose as u8;
        Self(ChaCha8Rng::from_seed(key))
    }

    /// 32 bits.
    pub(super) fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A number of `low..=high`, by multiply and shift.
    pub(super) fn range(&mut self, low: i32, high: i32) -> i32 {
        let choices = i64::from(high) - i64::from(low) + 1;
        let chosen = (i64::from(self.bits()) * choices) >> 32;
        low + i32::try_from(chosen).expect("below the number of choices")
    }

    /// One of these.
    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let last = i32::try_from(choices.len() - 1).expect("short lists only");
        choices[usize::try_from(self.range(0, last)).expect("not negative")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words are those of a second, independent ChaCha8 with this key.
    #[test]
    fn the_stream_of_a_seed_never_changes() {
        let mut chance = Chance::new(7, Purpose::Layout);
        assert_eq!(
            [chance.bits(), chance.bits(), chance.bits()],
            [0x0a34_0db5, 0xdeae_fd96, 0x0f63_359d]
        );
        let mut chance = Chance::new(8, Purpose::Layout);
        let drawn: Vec<i32> = (0..6).map(|_| chance.range(0, 99)).collect();
        assert_eq!(drawn, [53, 30, 38, 32, 36, 13]);
    }

    #[test]
    fn every_choice_comes_up_and_no_other() {
        let mut chance = Chance::new(1, Purpose::Layout);
        let mut seen = [0_u32; 5];
        for _ in 0..5000 {
            seen[usize::try_from(chance.range(3, 7) - 3).unwrap()] += 1;
        }
        assert!(
            seen.iter().all(|count| (900..1100).contains(count)),
            "{seen:?}"
        );
    }

    #[test]
    fn purposes_do_not_share_a_stream() {
        let first = |purpose| Chance::new(1, purpose).bits();
        assert_ne!(first(Purpose::Layout), first(Purpose::Grain));
    }
}
