//! Which token comes next: the likeliest, or one drawn from a seed.

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampling {
    /// The likeliest; of equals, the first.
    Greedy,
    /// Drawn from the whole distribution.
    Seeded {
        /// Above 0; 1 is the model's own distribution.
        temperature: f64,
        /// The same seed draws the same answer on the same engine.
        seed: u32,
    },
}

/// Chooses one token after the other for one answer.
pub(crate) struct Sampler<'a> {
    way: Way,
    /// Tokens that are never chosen.
    never: &'a [usize],
    /// The others' logits, kept between tokens to save the allocation.
    allowed: Vec<f32>,
}

enum Way {
    Greedy,
    Seeded {
        inverse_temperature: f64,
        state: u64,
        /// Running totals of the weights, kept between tokens to save the allocation.
        totals: Vec<f64>,
    },
}

impl<'a> Sampler<'a> {
    pub(crate) fn new(sampling: Sampling, never: &'a [usize]) -> Self {
        let way = match sampling {
            // At zero the likeliest has all the weight.
            Sampling::Seeded { temperature, seed } if temperature > 0.0 => Way::Seeded {
                inverse_temperature: temperature.recip(),
                state: u64::from(seed),
                totals: Vec::new(),
            },
            _ => Way::Greedy,
        };
        Self {
            way,
            never,
            allowed: Vec::new(),
        }
    }

    /// The index of the next token.
    pub(crate) fn choose(&mut self, logits: &[f32]) -> usize {
        if self.never.is_empty() {
            return self.way.choose(logits);
        }
        self.allowed.clear();
        self.allowed.extend_from_slice(logits);
        for index in self.never {
            self.allowed[*index] = f32::NEG_INFINITY;
        }
        self.way.choose(&self.allowed)
    }
}

impl Way {
    fn choose(&mut self, logits: &[f32]) -> usize {
        match self {
            Self::Greedy => likeliest(logits),
            Self::Seeded {
                inverse_temperature,
                state,
                totals,
            } => {
                let top = f64::from(logits[likeliest(logits)]);
                totals.clear();
                totals.extend(logits.iter().scan(0.0, |total, logit| {
                    *total += ((f64::from(*logit) - top) * *inverse_temperature).exp();
                    Some(*total)
                }));
                let drawn = next_unit(state) * totals.last().copied().unwrap_or(0.0);
                totals
                    .partition_point(|total| *total <= drawn)
                    .min(logits.len() - 1)
            }
        }
    }
}

fn likeliest(logits: &[f32]) -> usize {
    let first = (0, f32::NEG_INFINITY);
    let best = logits
        .iter()
        .enumerate()
        .fold(first, |best, (index, logit)| {
            if *logit > best.1 {
                (index, *logit)
            } else {
                best
            }
        });
    best.0
}

/// SplitMix64 (Steele, Lea, Flood 2014), as a number from 0 to just below 1.
fn next_unit(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let high = u32::try_from(mixed >> 32).expect("32 bits are left");
    f64::from(high) / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(temperature: f64, seed: u32, logits: &[f32], n: usize) -> Vec<usize> {
        let mut sampler = Sampler::new(Sampling::Seeded { temperature, seed }, &[]);
        (0..n).map(|_| sampler.choose(logits)).collect()
    }

    #[test]
    fn greedy_takes_the_likeliest_and_of_equals_the_first() {
        let mut sampler = Sampler::new(Sampling::Greedy, &[]);
        assert_eq!(sampler.choose(&[0.0, 3.0, -1.0, 3.0]), 1);
        assert_eq!(sampler.choose(&[f32::NAN, f32::NAN]), 0);
    }

    #[test]
    fn the_same_seed_draws_the_same_tokens() {
        let logits = [0.1, 0.2, 0.3, 0.4];
        assert_eq!(draw(1.0, 7, &logits, 50), draw(1.0, 7, &logits, 50));
        assert_ne!(draw(1.0, 7, &logits, 50), draw(1.0, 8, &logits, 50));
    }

    #[test]
    fn draws_follow_the_weights() {
        // Weights 1 and 3.
        let ones = draw(1.0, 1, &[0.0, 3.0_f32.ln()], 20_000);
        let share = ones.iter().sum::<usize>() * 100 / ones.len();
        assert!((74..=76).contains(&share), "{share} %");
    }

    #[test]
    fn a_cold_draw_is_the_likeliest() {
        assert!(
            draw(0.001, 3, &[0.0, 1.0, 0.5], 100)
                .iter()
                .all(|token| *token == 1)
        );
        assert_eq!(draw(0.0, 3, &[0.0, 1.0, 0.5], 1), [1]);
    }

    #[test]
    fn what_is_never_to_be_chosen_is_not() {
        let logits = [0.0, 9.0, 1.0];
        assert_eq!(Sampler::new(Sampling::Greedy, &[1]).choose(&logits), 2);
        let sampling = Sampling::Seeded {
            temperature: 1.0,
            seed: 5,
        };
        let mut sampler = Sampler::new(sampling, &[1]);
        let drawn: Vec<usize> = (0..200).map(|_| sampler.choose(&logits)).collect();
        assert!(!drawn.contains(&1) && drawn.contains(&0));
    }
}
