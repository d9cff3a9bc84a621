//! Whether a text names a fact: words without case and umlauts, phrases with `*` at the ends of words, programs in fenced blocks.
//!
//! A fact is named wherever its words stand: nothing here understands a sentence, so a fact that an answer denies counts as named.

use crate::workload::KeyFact;

/// The words of a text: letters and digits, in small letters, `ä` as `ae` and so on.
pub(super) fn words(text: &str) -> Vec<String> {
    let is_of_word = |letter: char| letter.is_alphanumeric() || letter == DIAERESIS;
    text.split(|letter| !is_of_word(letter))
        .map(fold)
        .filter(|word| !word.is_empty())
        .collect()
}

/// What stands in a text's fenced blocks, together; `None` without one. A block that is not closed ends with the text.
pub(super) fn fenced(text: &str) -> Option<String> {
    let mut code: Option<String> = None;
    let mut is_inside = false;
    for line in text.lines() {
        let mut rest = line;
        if let Some(behind) = line.trim_start().strip_prefix(FENCE) {
            is_inside = !is_inside;
            code.get_or_insert_default();
            let is_of_name = |c: char| c.is_alphanumeric() || "+#-_".contains(c);
            rest = behind.trim_start_matches(is_of_name);
            if !is_inside || rest.trim().is_empty() {
                continue;
            }
        }
        if let Some(code) = code.as_mut().filter(|_| is_inside) {
            let closed = rest.trim_end().strip_suffix(FENCE);
            code.push_str(closed.unwrap_or(rest));
            code.push('\n');
            is_inside = closed.is_none();
        }
    }
    code.filter(|code| !code.trim().is_empty())
}

/// The ways to name one fact.
#[derive(Clone, Debug)]
pub(super) struct Names(Vec<Phrase>);

impl Names {
    pub(super) fn of(fact: &KeyFact) -> Self {
        Self(fact.0.iter().map(|phrase| Phrase::parse(phrase)).collect())
    }

    /// Whether the words name it.
    pub(super) fn are_in(&self, words: &[String]) -> bool {
        self.0.iter().any(|phrase| phrase.is_in(words))
    }
}

/// Words that stand one after the other.
#[derive(Clone, Debug)]
struct Phrase(Vec<Pattern>);

#[derive(Clone, Debug)]
struct Pattern {
    word: String,
    /// Other letters may stand before it.
    may_begin_otherwise: bool,
    /// Other letters may stand after it.
    may_go_on: bool,
}

impl Phrase {
    fn parse(text: &str) -> Self {
        Self(text.split_whitespace().flat_map(patterns).collect())
    }

    fn is_in(&self, words: &[String]) -> bool {
        let here = |words: &[String]| {
            let pairs = self.0.iter().zip(words);
            pairs.into_iter().all(|(pattern, word)| pattern.fits(word))
        };
        !self.0.is_empty() && words.windows(self.0.len()).any(here)
    }
}

impl Pattern {
    fn fits(&self, word: &str) -> bool {
        match (self.may_begin_otherwise, self.may_go_on) {
            (false, false) => word == self.word,
            (false, true) => word.starts_with(&self.word),
            (true, false) => word.ends_with(&self.word),
            (true, true) => word.contains(&self.word),
        }
    }
}

/// `is_prime` is two words that follow each other; only the outer ends of what stands together may be open.
fn patterns(text: &str) -> Vec<Pattern> {
    let words = words(text);
    let last = words.len().saturating_sub(1);
    let patterns = words.into_iter().enumerate();
    patterns
        .map(|(index, word)| Pattern {
            word,
            may_begin_otherwise: index == 0 && text.starts_with(ANY),
            may_go_on: index == last && text.ends_with(ANY),
        })
        .collect()
}

fn fold(word: &str) -> String {
    let mut folded = String::with_capacity(word.len());
    for letter in word.chars().flat_map(char::to_lowercase) {
        match letter {
            'ä' => folded.push_str("ae"),
            'ö' => folded.push_str("oe"),
            'ü' => folded.push_str("ue"),
            'ß' => folded.push_str("ss"),
            // Of a letter that is written in two parts.
            DIAERESIS => folded.push('e'),
            letter => folded.push(letter),
        }
    }
    folded
}

const ANY: char = '*';

const DIAERESIS: char = '\u{308}';

const FENCE: &str = "```";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(phrase: &str, text: &str, want: bool) {
        let names = Names::of(&KeyFact(vec![phrase.to_owned()]));
        assert_eq!(names.are_in(&words(text)), want, "`{phrase}` in `{text}`");
    }

    #[test]
    fn case_and_umlauts_do_not_matter() {
        check("Zähler", "der ZAEHLER", true);
        check("zaehler", "Der Zähler.", true);
        check("Zähler", "Za\u{308}hler", true);
        check("Größe", "GROESSE", true);
        check("Zähler", "Zahler", false);
    }

    #[test]
    fn a_name_is_whole_words_unless_an_end_is_open() {
        check("ton", "TON und TOF", true);
        check("ton", "tonne", false);
        check("verzögerung*", "Verzögerungszeit", true);
        check("*verzögerung", "Einschaltverzögerung", true);
        check("*verzögerung", "Einschaltverzögerungen", false);
        check("*verzögerung*", "Einschaltverzögerungen", true);
        check("structured text", "In Structured Text (ST)", true);
        check("structured text", "Text, structured", false);
        check("organisations* OB", "OrganisationsBaustein OB", true);
    }

    #[test]
    fn what_is_not_letters_separates() {
        check("4 20 mA", "4–20mA", false);
        check("4 20 mA", "4-20 mA", true);
        check("is_prime", "def is_prime(n):", true);
        check("is_prime", "prime is", false);
        check("OB40", "(OB40)", true);
        check("+", "+", false);
        check("", "anything", false);
    }

    #[test]
    fn programs_stand_in_fenced_blocks() {
        let answer = "Here:\n```python\ndef f():\n    pass\n```\nand\n  ```\nf()\n```";
        assert_eq!(fenced(answer).unwrap(), "def f():\n    pass\nf()\n");
        assert_eq!(fenced("def f(): pass"), None);
        assert_eq!(fenced("```\n```"), None);
        assert_eq!(fenced("```\ncut off").unwrap(), "cut off\n");
        assert_eq!(fenced("```json {\"a\": 1}```").unwrap(), " {\"a\": 1}\n");
        assert_eq!(
            fenced("```json\n{\"a\": 1}```\nDone.").unwrap(),
            "{\"a\": 1}\n"
        );
    }
}
