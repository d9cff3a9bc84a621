//! Which devices a campaign is for, and whether they can do it: pure, by what is known of the fleet.

use std::collections::BTreeMap;

use tokwatt_domain::{
    campaign::{Campaign, Offer, Selector, Work},
    ids::{DeviceId, Name},
    spelling::advice,
    time::WallTime,
};

use crate::store::FleetRow;

/// The devices that the campaign is for.
///
/// A device that never attended is taken at its word later: it may refuse its job.
///
/// # Errors
/// Everything that cannot be: a number out of range, a name that a device does not know, no device at all.
pub(super) fn select(
    campaign: &Campaign,
    fleet: &[FleetRow],
    now: WallTime,
) -> Result<Vec<DeviceId>, Vec<String>> {
    let mut problems = out_of_range(campaign, now);
    problems.extend(unknown_devices(&campaign.devices, fleet));
    let matching = fleet.iter().filter(|row| meets(row, &campaign.devices));
    let matching: Vec<&FleetRow> = matching.collect();
    if matching.is_empty() && problems.is_empty() {
        problems.push(
            "no device matches `devices`: `tokwatt-collector devices list` shows those there are"
                .to_owned(),
        );
    }
    for row in &matching {
        let refusals = row
            .offer
            .iter()
            .flat_map(|offer| refusals(&campaign.work, offer));
        problems.extend(refusals.map(|refusal| format!("device `{}`: {refusal}", row.device)));
    }
    if problems.is_empty() {
        Ok(matching.into_iter().map(|row| row.device.clone()).collect())
    } else {
        Err(problems)
    }
}

fn meets(row: &FleetRow, selector: &Selector) -> bool {
    let is_named = selector.names.is_empty() || selector.names.contains(&row.device);
    let is_of_kind =
        selector.kinds.is_empty() || row.kind.is_some_and(|kind| selector.kinds.contains(&kind));
    let mut labels = selector.labels.iter();
    is_named && is_of_kind && labels.all(|(label, value)| row.labels.get(label) == Some(value))
}

fn out_of_range(campaign: &Campaign, now: WallTime) -> Vec<String> {
    let work = &campaign.work;
    let mut problems = Vec::new();
    let mut check = |field: &str, value: u32, most: u32| {
        if !(1..=most).contains(&value) {
            problems.push(format!("`{field}` is {value}, it must be 1 to {most}"));
        }
    };
    check("attempts", campaign.attempts, ATTEMPTS_MAX);
    check("work.repetitions", work.repetitions, REPETITIONS_MAX);
    check("work.limit", work.limit.unwrap_or(1), u32::MAX);
    for load in &work.concurrency {
        check("work.concurrency", *load, CONCURRENCY_MAX);
    }
    if campaign.deadline.is_some_and(|deadline| deadline <= now) {
        problems.push("`deadline` has passed".to_owned());
    }
    problems
}

fn unknown_devices(selector: &Selector, fleet: &[FleetRow]) -> Vec<String> {
    let known: Vec<&str> = fleet.iter().map(|row| row.device.as_str()).collect();
    let names = selector.names.iter().map(DeviceId::as_str);
    let unknown = names.filter(|name| !known.contains(name));
    unknown
        .map(|name| {
            format!(
                "`devices.names`: no device `{name}`: {}",
                advice(name, &known)
            )
        })
        .collect()
}

/// What the device has said it cannot do.
fn refusals(work: &Work, offer: &Offer) -> Vec<String> {
    let models: Vec<Name> = offer.models.keys().cloned().collect();
    let mut refusals = missing("suite", [&work.suite], &offer.suites);
    refusals.extend(missing("models", &work.models, &models));
    refusals.extend(missing("servers", &work.servers, &offer.servers));
    refusals.extend(missing_precisions(work, &offer.models));
    refusals
}

/// A model without a list of precisions, such as one of a server, has the one that it has.
fn missing_precisions(work: &Work, offered: &BTreeMap<Name, Vec<Name>>) -> Vec<String> {
    let asked = work
        .models
        .iter()
        .filter_map(|model| offered.get_key_value(model));
    let listed = asked.filter(|(_, precisions)| !precisions.is_empty());
    let refused = listed.flat_map(|(model, precisions)| {
        let missing = missing("precisions", &work.precisions, precisions);
        missing
            .into_iter()
            .map(move |text| format!("{text} (model `{model}`)"))
    });
    refused.collect()
}

fn missing<'a>(
    field: &str,
    asked: impl IntoIterator<Item = &'a Name>,
    offered: &[Name],
) -> Vec<String> {
    let known: Vec<&str> = offered.iter().map(Name::as_str).collect();
    let unknown = asked.into_iter().filter(|name| !offered.contains(name));
    unknown
        .map(|name| {
            format!(
                "`work.{field}`: no `{name}` there: {}",
                advice(name.as_str(), &known)
            )
        })
        .collect()
}

/// A job that fails so often will fail again.
const ATTEMPTS_MAX: u32 = 100;

/// Beyond what any confidence interval asks for.
const REPETITIONS_MAX: u32 = 1000;

/// As on the agent's command line.
const CONCURRENCY_MAX: u32 = 1024;

#[cfg(test)]
mod tests {
    use tokwatt_domain::device::DeviceKind;

    use super::*;

    fn names<const N: usize>(names: [&str; N]) -> Vec<Name> {
        names.map(|name| Name::parse(name).unwrap()).to_vec()
    }

    fn fleet() -> Vec<FleetRow> {
        let offer = Offer {
            kind: None,
            suites: names(["edge-vision", "batch"]),
            models: BTreeMap::from([
                (Name::parse("smolvlm2").unwrap(), names(["f16", "q8_0"])),
                (Name::parse("llava").unwrap(), Vec::new()),
            ]),
            servers: names(["vllm"]),
        };
        let row = |device: &str, kind, rack: &str, offer| FleetRow {
            device: DeviceId::parse(device).unwrap(),
            kind,
            labels: BTreeMap::from([("rack".to_owned(), rack.to_owned())]),
            offer,
        };
        vec![
            row("orin-1", Some(DeviceKind::AgxOrin), "a", Some(offer)),
            row("orin-2", Some(DeviceKind::AgxOrin), "b", None),
            row("thor-1", Some(DeviceKind::Thor), "b", None),
            row("new-1", None, "b", None),
        ]
    }

    fn campaign(text: &str) -> Campaign {
        let text = format!("name = 'c'\n{text}");
        let mut table: toml::Table = toml::from_str(&text).unwrap();
        let suite = toml::Table::from_iter([("suite".to_owned(), "edge-vision".into())]);
        table.entry("work").or_insert(suite.into());
        table.try_into().unwrap()
    }

    #[test]
    fn a_selector_matches_what_meets_all_that_it_says() {
        check("", &["orin-1", "orin-2", "thor-1", "new-1"]);
        check(
            "devices.names = ['thor-1', 'orin-1']",
            &["orin-1", "thor-1"],
        );
        check("devices.kinds = ['agx_orin']", &["orin-1", "orin-2"]);
        check("devices.labels.rack = 'b'", &["orin-2", "thor-1", "new-1"]);
        check(
            "devices.labels.rack = 'b'\ndevices.kinds = ['agx_orin', 'thor']",
            &["orin-2", "thor-1"],
        );

        #[track_caller]
        fn check(selector: &str, want: &[&str]) {
            let selected = select(&campaign(selector), &fleet(), WallTime(0)).unwrap();
            let selected: Vec<&str> = selected.iter().map(DeviceId::as_str).collect();
            assert_eq!(selected, want);
        }
    }

    #[test]
    fn what_cannot_be_is_named_with_field_device_and_nearest_name() {
        check("attempts = 0", &["`attempts` is 0"]);
        check("deadline = 0", &["`deadline` has passed"]);
        check(
            "devices.names = ['orin-3']",
            &["no device `orin-3`", "did you mean `orin-1`?"],
        );
        check(
            "devices.labels.rack = 'z'",
            &["no device matches", "devices list"],
        );
        for (work, words) in [
            (
                "suite = 'egde-vision'",
                &[
                    "device `orin-1`",
                    "`work.suite`",
                    "did you mean `edge-vision`?",
                ][..],
            ),
            (
                "suite = 'batch'\nmodels = ['smolvlm3']",
                &["`work.models`", "did you mean `smolvlm2`?"],
            ),
            (
                "suite = 'batch'\nservers = ['vlm']",
                &["`work.servers`", "did you mean `vllm`?"],
            ),
            (
                "suite = 'batch'\nmodels = ['smolvlm2']\nprecisions = ['q4']",
                &["`work.precisions`", "no `q4`", "model `smolvlm2`"],
            ),
            (
                "suite = 'batch'\nconcurrency = [1, 0]\nrepetitions = 0",
                &["work.concurrency", "work.repetitions"],
            ),
            ("suite = 'batch'\nlimit = 0", &["work.limit"]),
        ] {
            check(&format!("[work]\n{work}"), words);
        }

        #[track_caller]
        fn check(text: &str, words: &[&str]) {
            let problems = select(&campaign(text), &fleet(), WallTime(0)).unwrap_err();
            let problems = problems.join("\n");
            for word in words {
                assert!(problems.contains(word), "`{word}` is not in: {problems}");
            }
        }
    }

    #[test]
    fn a_device_that_never_attended_is_asked_and_may_refuse_later() {
        let campaign = campaign("devices.names = ['orin-2']\n[work]\nsuite = 'unheard-of'");
        assert!(select(&campaign, &fleet(), WallTime(0)).is_ok());
    }

    #[test]
    fn a_model_without_precisions_has_the_one_that_it_has() {
        let text = "[work]\nsuite = 'batch'\nmodels = ['llava']\nprecisions = ['q4']";
        assert!(select(&campaign(text), &fleet(), WallTime(0)).is_ok());
    }
}
