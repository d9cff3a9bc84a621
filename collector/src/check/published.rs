//! Which of the studies' own statements survive their own figures: pure, and nothing is needed for it but what is shipped.
//!
//! A printed figure may be off by half of its last digit, and every figure here carries that along: a statement does not hold only if no
//! figures that round to the printed ones would bear it out.

mod known;
mod physics;
mod range;
mod statistics;
mod sums;

use std::fmt;

use serde::Serialize;

use self::{
    known::{Figures, Missing},
    range::Range,
};
use crate::published::{Answer, Memory, Published, Rule, Statement, Study};

/// `tokwatt.published_check/1`.
#[derive(Clone, Debug, Serialize)]
pub struct PublishedCheck {
    /// Name of the document.
    pub schema: &'static str,
    /// A row for each statement, in the order of the studies.
    pub statements: Vec<Judged>,
}

/// A statement and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// Id of the study.
    pub study: String,
    /// What the study is about.
    pub title: String,
    /// What it says, in our words.
    pub statement: String,
    /// Its figures behind that.
    pub figures: Vec<String>,
    /// What follows from them.
    pub follows: String,
    /// Whether the statement survives.
    pub verdict: Verdict,
    /// Why.
    pub why: String,
}

/// Whether a statement survives its figures.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Its figures bear it out.
    Holds,
    /// They contradict it.
    DoesNotHold,
    /// They say neither.
    CannotBeDecided,
}

/// What a rule finds.
#[derive(Clone, Debug, PartialEq)]
struct Finding {
    follows: String,
    verdict: Verdict,
    why: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "holds",
            Self::DoesNotHold => "does not hold",
            Self::CannotBeDecided => "cannot be decided",
        })
    }
}

impl Finding {
    fn new(follows: String, verdict: Verdict, why: impl Into<String>) -> Self {
        Self {
            follows,
            verdict,
            why: why.into(),
        }
    }

    /// Either it holds or not.
    fn whether(is_so: bool, follows: String, if_so: &str, if_not: &str) -> Self {
        match is_so {
            true => Self::new(follows, Verdict::Holds, if_so),
            false => Self::new(follows, Verdict::DoesNotHold, if_not),
        }
    }
}

/// Judges every statement that is shipped.
pub fn check_published(published: &Published) -> PublishedCheck {
    let statements = published.statements.iter();
    PublishedCheck {
        schema: "tokwatt.published_check/1",
        statements: statements
            .map(|statement| judge(published, statement))
            .collect(),
    }
}

fn judge(published: &Published, statement: &Statement) -> Judged {
    let mut figures = Figures::of(published, &statement.study);
    let finding = match find(&statement.rule, &mut figures) {
        Ok(finding) => weighed(finding, statement, &figures),
        Err(Missing(row)) => {
            let why = format!("no row `{row}` is shipped");
            Finding::new("nothing".to_owned(), Verdict::CannotBeDecided, why)
        }
    };
    let is_it = |study: &&Study| study.id == statement.study;
    let study = published.studies.iter().find(is_it);
    let because = statement.because.clone();
    let because = because.filter(|_| finding.verdict != Verdict::Holds);
    Judged {
        study: statement.study.clone(),
        title: study.map_or_else(String::new, |study| study.title.clone()),
        statement: statement.says.clone(),
        figures: figures.used().map(ToString::to_string).collect(),
        follows: finding.follows,
        verdict: finding.verdict,
        why: because.unwrap_or(finding.why),
    }
}

/// What nobody measured bears nothing out.
fn weighed(finding: Finding, statement: &Statement, figures: &Figures<'_>) -> Finding {
    let is_estimated = statement.is_estimate || figures.used().any(|known| known.is_estimated);
    if finding.verdict == Verdict::Holds && is_estimated {
        let why = "it agrees with estimates, which nobody measured";
        return Finding::new(finding.follows, Verdict::CannotBeDecided, why);
    }
    finding
}

fn find(rule: &Rule, known: &mut Figures<'_>) -> Result<Finding, Missing> {
    Ok(match rule {
        Rule::Reciprocal { rate, energy } => {
            physics::reciprocal(known.range(rate)?, known.range(energy)?)
        }
        Rule::Roofline { speed, memory } => {
            let speed = known.range(speed)?;
            physics::below_roofline(speed, roofline(memory, known)?)
        }
        Rule::AnswerRoofline { answer, memory } => {
            let speed = written(answer, known)?;
            physics::below_roofline(speed, roofline(memory, known)?)
        }
        Rule::AnswerBound { speed, answer } => {
            let speed = known.range(speed)?;
            physics::answer_bound(speed, written(answer, known)?)
        }
        Rule::LittlesLaw {
            in_flight,
            output,
            ntpot,
        } => {
            let found = known.range(output)?.times(known.range(ntpot)?);
            physics::littles_law(known.range(in_flight)?, found)
        }
        Rule::TokenBase {
            rate,
            window,
            prompt,
            completion,
        } => {
            let (rate, window) = (known.range(rate)?, known.range(window)?);
            let (prompt, completion) = (known.range(prompt)?, known.range(completion)?);
            physics::token_base(rate, window, prompt, completion)
        }
        Rule::RequestBase {
            rate,
            ntpot,
            prompt,
        } => {
            let (rate, ntpot) = (known.range(rate)?, known.range(ntpot)?);
            physics::request_base(rate, ntpot, known.range(prompt)?)
        }
        Rule::PerRequest {
            rate,
            window,
            requests,
            prompt,
            says,
        } => {
            let all = known.range(rate)?.times(known.range(window)?);
            let all = all.over(known.exact(*requests));
            let prompt = prompt.as_ref().map(|prompt| known.range(prompt));
            physics::per_request(all, prompt.transpose()?, known.span(says)?)
        }
        Rule::PerAnswer {
            output,
            per_minute,
            says,
        } => {
            let output = known.range(output)?.times(Range::exactly(60.0));
            let tokens = output.over(known.range(per_minute)?);
            sums::equal(tokens, known.range(says)?, " tokens")
        }
        Rule::Ratio { of, to, says, like } => {
            let ratio = known.range(of)?.over(known.range(to)?);
            let like = like.as_ref().map(|like| known.ratio(like));
            sums::stated(ratio, known.range(says)?, like.transpose()?, " times")
        }
        Rule::Less {
            of,
            to,
            says_percent,
            like,
        } => {
            let less = |ratio: Range| ratio.from(1.0).times(Range::exactly(100.0));
            let ratio = known.range(of)?.over(known.range(to)?);
            let like = like.as_ref().map(|like| known.ratio(like));
            let (found, like) = (less(ratio), like.transpose()?.map(less));
            sums::stated(found, known.range(says_percent)?, like, " % less")
        }
        Rule::Sum { parts, says } => {
            sums::equal(sums::sum(&known.ranges(parts)?), known.range(says)?, "")
        }
        Rule::Fits { parts, room } => {
            sums::fits(sums::sum(&known.ranges(parts)?), known.range(room)?)
        }
        Rule::Mean { parts, says } => {
            sums::equal(sums::mean(&known.ranges(parts)?), known.range(says)?, "")
        }
        Rule::Product {
            of,
            times,
            over,
            says,
        } => {
            let product = known.range(of)?.times(known.exact(*times));
            sums::equal(product.over(known.exact(*over)), known.range(says)?, "")
        }
        Rule::Difference {
            whole,
            part,
            part_is_off_by,
            says,
        } => {
            let off = part_is_off_by.unwrap_or_default();
            let left = known.range(whole)?.minus(known.range(part)?.wider(off));
            match says {
                Some(says) => sums::equal(left, known.range(says)?, ""),
                None => sums::something_left(left),
            }
        }
        Rule::Within { rows, span } => {
            let rows = known.ranges(rows)?;
            sums::within(&rows, known.span(span)?)
        }
        Rule::AnswerTime { tokens, rate, says } => {
            let time = known.exact(*tokens).over(known.span(rate)?);
            sums::inside(time, known.span(says)?)
        }
        Rule::ThreeRuns { row } => statistics::three_runs(&known.row(row)?),
        Rule::VariationOfThree { row, below_percent } => {
            let row = known.row(row)?;
            statistics::variation_of_three(&row, known.exact(*below_percent).middle() / 100.0)
        }
        Rule::MeanOfThree { row } => statistics::mean_of_three(&known.row(row)?),
        Rule::Separates { left, right } => {
            statistics::separates(&known.row(left)?, &known.row(right)?)
        }
        Rule::Lead { of, to } => statistics::lead(&known.row(of)?, &known.row(to)?),
        Rule::Undefined { row } => statistics::undefined(&known.row(row)?),
    })
}

/// Tokens a second that a memory allows.
fn roofline(memory: &Memory, known: &mut Figures<'_>) -> Result<Range, Missing> {
    let parameters = known.range(&memory.parameters)?;
    let bits = known.exact(memory.bits);
    Ok(physics::roofline(
        parameters,
        bits,
        known.range(&memory.bandwidth)?,
    ))
}

/// Tokens a second of an answer whose letters are known.
fn written(answer: &Answer, known: &mut Figures<'_>) -> Result<Range, Missing> {
    let tokens = known.range(&answer.chars)?;
    let tokens = tokens.over(known.exact(answer.chars_per_token));
    Ok(tokens.over(known.range(&answer.latency)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts() -> Vec<(String, Verdict)> {
        let check = check_published(Published::shipped());
        let statements = check.statements.into_iter();
        statements
            .map(|judged| (judged.statement, judged.verdict))
            .collect()
    }

    #[track_caller]
    fn check(beginning: &str, want: Verdict) {
        let verdicts = verdicts();
        let found = verdicts
            .iter()
            .find(|(says, _)| says.starts_with(beginning));
        assert_eq!(found.unwrap().1, want, "{beginning}");
    }

    #[test]
    fn every_row_that_a_statement_names_is_shipped() {
        for judged in check_published(Published::shipped()).statements {
            assert!(!judged.why.starts_with("no row"), "{judged:?}");
            assert!(!judged.title.is_empty() && !judged.figures.is_empty());
        }
    }

    #[test]
    fn the_studies_best_known_statements_come_to_what_is_known_of_them() {
        check("SmolVLM2 on Thor: 18.78", Verdict::DoesNotHold);
        check(
            "SmolVLM2 on GB10 generates 795.6 tok/s",
            Verdict::DoesNotHold,
        );
        check("LLaVA 7B on GB10", Verdict::Holds);
        check("Thor makes most tokens", Verdict::CannotBeDecided);
        check("Llama 1B writes 19,813", Verdict::DoesNotHold);
        check("Llama 1B is 7.9 times", Verdict::DoesNotHold);
        check("Qwen 4B is 39 %", Verdict::DoesNotHold);
        check("Gemma, text: 32", Verdict::DoesNotHold);
        check("About the photo, Molmo is 13.3", Verdict::Holds);
        check("Gemma reasons at", Verdict::CannotBeDecided);
        check("Gemma takes 3.7 GB", Verdict::DoesNotHold);
        check("Gemma writes 36 % slower", Verdict::CannotBeDecided);
    }
}
