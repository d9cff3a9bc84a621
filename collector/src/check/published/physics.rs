//! What no figure gets around: a joule is a joule, memory has a bandwidth, and who is in flight has to be somewhere.

use super::{
    Finding, Verdict,
    range::{Range, short},
};

/// tok/s/W · J/token = 1.
pub(super) fn reciprocal(rate: Range, energy: Range) -> Finding {
    let product = rate.times(energy);
    let reciprocal = short(1.0 / rate.middle());
    Finding::whether(
        product.overlaps(Range::exactly(1.0)),
        format!("their product is {product}; the reciprocal is {reciprocal}"),
        "their product is 1 within rounding",
        "their product is not 1, whatever their rounding",
    )
}

/// The most passes over the weights that a memory delivers in a second: bandwidth / (parameters · bits / 8).
pub(super) fn roofline(parameters: Range, bits: Range, bandwidth: Range) -> Range {
    // Bits are a whole number, and exactly that.
    let bytes = parameters.times(Range::exactly(bits.middle() / 8.0));
    bandwidth.over(bytes)
}

/// One pass for each generated token of a single request.
pub(super) fn below_roofline(speed: Range, limit: Range) -> Finding {
    Finding::whether(
        speed.low <= limit.high,
        format!("{speed} tok/s against {limit} that the memory allows"),
        "it is below what the memory's bandwidth allows",
        "faster than the weights can be read for each token: it counts something else than generated tokens of one request",
    )
}

/// No request writes more than the longest answer in the shortest time.
pub(super) fn answer_bound(speed: Range, most: Range) -> Finding {
    Finding::whether(
        speed.low <= most.high,
        format!("{speed} tok/s against at most {most} written"),
        "an answer of that length in that time is as fast",
        "no answer that is reported has so many tokens in such a time",
    )
}

/// In flight are requests a second times seconds a request.
pub(super) fn littles_law(stated: Range, found: Range) -> Finding {
    let allowed = stated.wider(stated.middle() * LITTLES_LAW_SHARE);
    Finding::whether(
        found.overlaps(allowed),
        format!("{found} in flight, of {stated}"),
        "within 15 % of it are in flight",
        "more than 15 % are missing: the client was not always at its load, or latency leaves out a queue",
    )
}

/// Written tokens of a batch a second, against written and read ones.
pub(super) fn token_base(rate: Range, window: Range, prompt: Range, completion: Range) -> Finding {
    let written = completion.over(window);
    let all = completion.plus(prompt).over(window);
    let follows = format!("{written} tok/s written, {all} with the prompts");
    match (rate.overlaps(written), rate.overlaps(all)) {
        (true, _) => Finding::new(follows, Verdict::Holds, "it counts what was written"),
        (false, true) => Finding::new(follows, Verdict::DoesNotHold, "it counts the prompts, too"),
        (false, false) => Finding::new(follows, Verdict::DoesNotHold, "it is neither of them"),
    }
}

/// The same of one request: written tokens a second are 1 / ntpot, and with a prompt of P they are N/L + P/L.
pub(super) fn request_base(rate: Range, ntpot: Range, prompt: Range) -> Finding {
    let written = Range::exactly(1.0).over(ntpot);
    if rate.overlaps(written) {
        let follows = format!("{written} tok/s written");
        return Finding::new(follows, Verdict::Holds, "it counts what was written");
    }
    // rate = (P + N) / (N · ntpot), solved for N.
    let answer = prompt.middle() / (rate.middle() * ntpot.middle() - 1.0);
    Finding::new(
        format!(
            "{written} tok/s written; with {prompt} prompt tokens it fits {answer:.0} written ones"
        ),
        Verdict::DoesNotHold,
        "it counts the prompt, too",
    )
}

/// Tokens for each request of a batch, those of its prompt apart where the statement is about written ones.
pub(super) fn per_request(all: Range, prompt: Option<Range>, says: Range) -> Finding {
    let (written, follows) = match prompt {
        None => (all, format!("{all} tokens a request")),
        Some(prompt) => {
            let written = all.minus(prompt);
            (
                written,
                format!("{all} tokens a request, {written} of them written"),
            )
        }
    };
    Finding::whether(
        written.overlaps(says),
        follows,
        "rate, time and count come to that",
        "rate, time and count come to another number",
    )
}

/// As of the flag of the same name.
const LITTLES_LAW_SHARE: f64 = 0.15;

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> Range {
        Range::printed(text.parse().unwrap(), text)
    }

    #[test]
    fn a_reciprocal_is_one_within_rounding_and_not_beyond() {
        let verdict = |rate, energy| reciprocal(printed(rate), printed(energy)).verdict;
        assert_eq!(verdict("18.78", "0.0532"), Verdict::Holds);
        assert_eq!(verdict("18.78", "0.053"), Verdict::Holds);
        assert_eq!(verdict("18.78", "0.051"), Verdict::DoesNotHold);
    }

    /// 4.4 GB over 273 GB/s: 62 times a second.
    #[test]
    fn nothing_is_read_faster_than_the_memory() {
        let limit = roofline(printed("2.2e9"), printed("16"), printed("273e9"));
        assert!((limit.middle() - 62.045).abs() < 1e-3, "{limit:?}");
        assert_eq!(below_roofline(printed("62"), limit).verdict, Verdict::Holds);
        assert_eq!(
            below_roofline(printed("63"), limit).verdict,
            Verdict::DoesNotHold
        );
    }

    /// 5.5 requests a second of 4.63 s.
    #[test]
    fn in_flight_are_rate_times_latency() {
        let verdict = |found| littles_law(printed("32"), Range::exactly(found)).verdict;
        assert_eq!(verdict(25.4), Verdict::DoesNotHold);
        assert_eq!(verdict(27.3), Verdict::Holds);
        assert_eq!(verdict(38.0), Verdict::DoesNotHold);
    }

    /// 10 requests of 100 + 50 tokens in 10 s.
    #[test]
    fn a_rate_is_of_what_was_written_or_of_everything() {
        let verdict =
            |rate| token_base(rate, printed("10.0"), printed("1000"), printed("500")).verdict;
        assert_eq!(verdict(printed("50")), Verdict::Holds);
        assert_eq!(verdict(printed("150")), Verdict::DoesNotHold);
        let one = |rate| request_base(printed(rate), printed("0.022"), printed("500"));
        assert_eq!(one("45.5").verdict, Verdict::Holds);
        assert!(
            one("202.25").follows.contains("145 written"),
            "{:?}",
            one("202.25")
        );
    }

    #[test]
    fn tokens_of_a_request_are_those_read_and_those_written() {
        let all = printed("100").times(printed("10")).over(printed("5"));
        assert_eq!(
            per_request(all, None, printed("200")).verdict,
            Verdict::Holds
        );
        let written = per_request(all, Some(printed("50")), printed("200"));
        assert_eq!(written.verdict, Verdict::DoesNotHold);
    }

    #[test]
    fn the_longest_answer_in_the_shortest_time_is_the_most() {
        let most = printed("435").over(printed("4")).over(printed("0.894"));
        assert_eq!(answer_bound(printed("120"), most).verdict, Verdict::Holds);
        assert_eq!(
            answer_bound(printed("795.6"), most).verdict,
            Verdict::DoesNotHold
        );
    }
}
