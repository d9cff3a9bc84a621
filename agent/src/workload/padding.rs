//! Words put before a prompt, so that it has a stated length, and so that no two prompts begin alike and no cache can help.
//!
//! Nobody here has a model's tokenizer: the length is fixed in words, and the engine's own count says how many tokens that is.
//! The words are short and among the most frequent of English, which vocabularies of 32,000 tokens and more have whole: a sentence is
//! a token a word and one for its full stop (440 words were 481 to 488 tokens with five common vocabularies).

use super::chance::{Chance, Purpose};

/// The prompt with other words before it, `words` in all; they are another seed's others.
pub(super) fn pad(prompt: &str, words: u32, seed: u64) -> String {
    let chance = &mut Chance::new(seed, Purpose::Padding);
    let mut left = words.saturating_sub(count_words(prompt));
    let mut padded = String::new();
    while left > 0 {
        let length = sentence_length(left, chance);
        left -= length;
        for at in 0..length {
            let word = chance.pick(&WORDS);
            match at {
                0 => padded.push_str(&word[..1].to_ascii_uppercase()),
                _ => padded.extend([" ", &word[..1]]),
            }
            padded.push_str(&word[1..]);
        }
        padded.push_str(if left > 0 { ". " } else { ".\n\n" });
    }
    padded + prompt
}

/// What stands between spaces.
pub(super) fn count_words(text: &str) -> u32 {
    u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX)
}

/// Raised whenever a seed may give other words; part of the digest of every suite that has such prompts.
pub(super) const PADDING_VERSION: u32 = 1;

/// Eight to fourteen words, and none left over that would be a sentence of one or two.
fn sentence_length(left: u32, chance: &mut Chance) -> u32 {
    let drawn = u32::try_from(chance.range(8, 14)).expect("not negative");
    if left < drawn + 4 { left } else { drawn }
}

#[rustfmt::skip]
const WORDS: [&str; 128] = [
    "the", "and", "of", "to", "in", "that", "was", "his", "with", "for", "had", "not", "but", "from", "they", "have",
    "this", "were", "all", "one", "which", "when", "there", "their", "been", "would", "who", "more", "will", "into", "has", "time",
    "some", "other", "could", "them", "then", "two", "these", "may", "first", "any", "now", "such", "like", "over", "man", "even",
    "most", "made", "after", "also", "did", "many", "before", "must", "back", "where", "much", "way", "well", "down", "new", "work",
    "life", "each", "day", "here", "year", "old", "both", "place", "world", "still", "house", "own", "long", "great", "little", "good",
    "water", "people", "hand", "high", "last", "never", "part", "school", "small", "night", "three", "home", "left", "number", "side", "far",
    "head", "light", "room", "found", "city", "end", "group", "set", "word", "under", "point", "second", "white", "river", "power", "form",
    "line", "door", "air", "young", "money", "table", "paper", "field", "early", "street", "north", "music", "order", "plan", "road", "town",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_prompt_stays_as_it_is() {
        assert_eq!(pad("What is it?", 3, 1), "What is it?");
        assert_eq!(pad("What is it?", 0, 1), "What is it?");
    }

    /// The words of a seed are part of what a suite's digest stands for.
    #[test]
    fn the_words_of_a_seed_never_change() {
        assert_eq!(
            pad("Why?", 13, 7),
            "Town and to house white end them work will work last has.\n\nWhy?"
        );
    }

    proptest! {
        #[test]
        fn a_prompt_has_as_many_words_as_were_asked_for(words in 2_u32..900, seed in any::<u64>()) {
            let padded = pad("What is it?", words.max(3), seed);
            prop_assert_eq!(count_words(&padded), words.max(3));
            prop_assert!(padded.ends_with("What is it?"));
        }

        #[test]
        fn no_two_prompts_begin_alike(seed in 0_u64..1 << 61) {
            let start = |seed| pad("What is it?", 60, seed)[..80].to_owned();
            prop_assert_ne!(start(seed), start(seed + 1));
        }
    }
}
