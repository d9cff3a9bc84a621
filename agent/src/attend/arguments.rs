//! From what a campaign asks for to the command line of a bench: names that were checked and numbers in their ranges, nothing else.

use std::{ffi::OsString, fmt::Display, ops::RangeInclusive};

use tokwatt_domain::campaign::{JobRef, Work};

use crate::settings::BUILT_IN_MODEL;

/// `bench` and everything behind it. What it asks for beyond the campaign is the device's own settings.
///
/// # Errors
/// A number that `bench` would not take.
pub(super) fn arguments(job: JobRef, work: &Work) -> Result<Vec<OsString>, String> {
    within("repetitions", work.repetitions, REPETITIONS)?;
    for n in &work.concurrency {
        within("concurrency", *n, CONCURRENCY)?;
    }
    if let Some(limit) = work.limit {
        within("limit", limit, 1..=u32::MAX)?;
    }
    let models = match work.models.is_empty() && work.servers.is_empty() {
        true => BUILT_IN_MODEL.to_owned(),
        false => list(&work.models),
    };
    let mut arguments: Vec<String> = ["bench", "--events", "--resume", "--job"]
        .map(str::to_owned)
        .into();
    arguments.push(job.to_string());
    let options = [
        ("--suite", work.suite.to_string()),
        ("--models", models),
        ("--servers", list(&work.servers)),
        ("--precision", list(&work.precisions)),
        ("--repeat", work.repetitions.to_string()),
        ("--concurrency", list(&work.concurrency)),
        (
            "--limit",
            list(&work.limit.map_or_else(Vec::new, |limit| vec![limit])),
        ),
    ];
    for (flag, value) in options {
        if !value.is_empty() {
            arguments.extend([flag.to_owned(), value]);
        }
    }
    arguments.extend(work.quick.then(|| "--quick".to_owned()));
    Ok(arguments.into_iter().map(OsString::from).collect())
}

fn within(what: &str, number: u32, range: RangeInclusive<u32>) -> Result<(), String> {
    match range.contains(&number) {
        true => Ok(()),
        false => Err(format!(
            "`{what}` is {number}, and can be {} to {} on this device",
            range.start(),
            range.end()
        )),
    }
}

/// No name has a comma.
fn list<T: Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    items.join(",")
}

/// As of `bench`.
const REPETITIONS: RangeInclusive<u32> = 1..=1000;
const CONCURRENCY: RangeInclusive<u32> = 1..=1024;

#[cfg(test)]
mod tests {
    use tokwatt_domain::ids::{JobId, Name};

    use super::*;

    fn work() -> Work {
        let asked = serde_json::json!({"suite": "edge-vision"});
        serde_json::from_value(asked).unwrap()
    }

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[track_caller]
    fn check(work: &Work, want: &str) {
        let job = JobRef {
            job: JobId([1; 16]),
            attempt: 2,
        };
        let arguments = arguments(job, work).unwrap();
        let words: Vec<&str> = arguments
            .iter()
            .map(|word| word.to_str().unwrap())
            .collect();
        let head = "bench --events --resume --job 01010101010101010101010101010101:2";
        assert_eq!(words.join(" "), format!("{head} {want}"));
    }

    #[test]
    fn names_and_numbers_become_flags_and_what_is_not_said_none() {
        check(&work(), "--suite edge-vision --models tiny-vlm --repeat 3");
        check(
            &Work {
                models: vec![name("smolvlm2"), name("gemma")],
                servers: vec![name("vllm")],
                precisions: vec![name("q8_0"), name("f16")],
                repetitions: 5,
                concurrency: vec![1, 8],
                limit: Some(2),
                quick: true,
                ..work()
            },
            "--suite edge-vision --models smolvlm2,gemma --servers vllm --precision q8_0,f16 --repeat 5 --concurrency 1,8 --limit 2 --quick",
        );
        check(
            &Work {
                servers: vec![name("vllm")],
                ..work()
            },
            "--suite edge-vision --servers vllm --repeat 3",
        );
    }

    #[test]
    fn a_number_out_of_its_range_is_named() {
        let check = |work: Work, want: &str| {
            let job = JobRef {
                job: JobId([1; 16]),
                attempt: 1,
            };
            let refused = arguments(job, &work).unwrap_err();
            assert!(refused.contains(want), "{refused}");
        };
        check(
            Work {
                repetitions: 0,
                ..work()
            },
            "`repetitions` is 0",
        );
        check(
            Work {
                limit: Some(0),
                ..work()
            },
            "`limit` is 0",
        );
        let concurrency = vec![1, 1025];
        check(
            Work {
                concurrency,
                ..work()
            },
            "`concurrency` is 1025",
        );
    }
}
