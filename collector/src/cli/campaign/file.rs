//! A campaign as an operator writes it: TOML, with a deadline that people can write.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow};
use serde::Deserialize;
use tokwatt_domain::{
    campaign::{ATTEMPTS, Campaign, Selector, Work},
    ids::Name,
    time::WallTime,
};

/// Its keys; those of `work` and `devices` are the domain's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Name,
    deadline: Option<Deadline>,
    attempts: Option<u32>,
    work: Work,
    #[serde(default)]
    devices: Selector,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Deadline {
    Text(String),
    Time(toml::value::Datetime),
}

/// Reads the file at `path`; durations count from `now`.
pub(super) fn read(path: &Path, now: WallTime) -> anyhow::Result<Campaign> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the campaign file `{}`", path.display()))?;
    parse(&text, now).with_context(|| format!("campaign file `{}`", path.display()))
}

fn parse(text: &str, now: WallTime) -> anyhow::Result<Campaign> {
    let file: File =
        toml::from_str(text).map_err(|error| anyhow!("{}", error.to_string().trim_end()))?;
    let deadline = file.deadline.map(|deadline| match deadline {
        Deadline::Text(text) => moment(&text, now),
        Deadline::Time(time) => moment(&time.to_string(), now),
    });
    Ok(Campaign {
        name: file.name,
        work: file.work,
        devices: file.devices,
        deadline: deadline.transpose()?,
        attempts: file.attempts.unwrap_or(ATTEMPTS),
    })
}

fn moment(text: &str, now: WallTime) -> anyhow::Result<WallTime> {
    if let Ok(wait) = humantime::parse_duration(text) {
        return Ok(WallTime(now.0.saturating_add(micros(wait))));
    }
    let time: SystemTime = humantime::parse_rfc3339(text).map_err(|_| {
        anyhow!("`deadline`: `{text}` is neither a duration such as \"12h\" nor a time such as 2026-12-24T18:00:00Z")
    })?;
    Ok(WallTime(micros(
        time.duration_since(UNIX_EPOCH).unwrap_or_default(),
    )))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime(1_000_000);

    #[test]
    fn the_shipped_campaign_is_complete_and_says_the_defaults() {
        let text = include_str!("../../../../configs/campaigns/edge-vision.toml");
        let shipped = parse(text, NOW).unwrap();
        let least = parse("name = 'edge-vision'\n[work]\nsuite = 'edge-vision'", NOW).unwrap();
        let a_day = WallTime(NOW.0 + 24 * 3_600_000_000);
        assert_eq!(
            shipped,
            Campaign {
                deadline: Some(a_day),
                ..least
            }
        );
        // Every key is there, if only as a comment.
        let json = serde_json::to_value(&shipped).unwrap();
        let keys = [&json, &json["work"], &json["devices"]].map(|part| part.as_object().unwrap());
        for key in keys.into_iter().flat_map(|part| part.keys()) {
            assert!(
                text.contains(&format!("{key} = ")) || text.contains(&format!("[{key}]")),
                "{key}"
            );
        }
    }

    #[test]
    fn a_deadline_is_a_time_or_how_long_from_now() {
        check("'12h'", NOW.0 + 12 * 3_600_000_000);
        check("'1h 30m'", NOW.0 + 90 * 60_000_000);
        check("2026-12-24T18:00:00Z", 1_798_135_200_000_000);
        check("'2026-12-24T18:00:00Z'", 1_798_135_200_000_000);

        #[track_caller]
        fn check(deadline: &str, want: i64) {
            let text = format!("name = 'c'\ndeadline = {deadline}\n[work]\nsuite = 's'");
            assert_eq!(parse(&text, NOW).unwrap().deadline, Some(WallTime(want)));
        }
    }

    #[test]
    fn what_a_campaign_cannot_say_is_named() {
        check(
            "name = 'c'\n[work]\nsuite = 's'\nsuites = 's'",
            &["unknown field `suites`"],
        );
        check("nam = 'c'", &["unknown field `nam`"]);
        check("name = 'c'", &["work"]);
        check(
            "name = 'c'\ndeadline = 'soon'\n[work]\nsuite = 's'",
            &["`deadline`", "`soon`", "12h"],
        );
        check(
            "name = 'c'\n[work]\nsuite = 's'\n[devices]\nkinds = ['orin']",
            &["`orin`", "agx_orin"],
        );
        for value in [
            "/models/a.gguf",
            "../a",
            "http://host/a",
            "vllm serve a",
            "a;b",
            "$(id)",
            "",
        ] {
            check(
                &format!("name = 'c'\n[work]\nsuite = '{value}'"),
                &["suite", &format!("`{value}`")],
            );
            for list in ["models", "servers", "precisions"] {
                let text = format!("name = 'c'\n[work]\nsuite = 's'\n{list} = ['{value}']");
                check(&text, &[list, &format!("`{value}`"), "no name"]);
            }
        }

        #[track_caller]
        fn check(text: &str, words: &[&str]) {
            let error = format!("{:#}", parse(text, NOW).unwrap_err());
            for word in words {
                assert!(error.contains(word), "`{word}` is not in: {error}");
            }
        }
    }
}
