//! What this device can be asked for, by the names that are built in or stand in its `agent.toml`; and what of a job it cannot do.

use std::collections::BTreeMap;

use tokwatt_domain::{
    campaign::{Offer, Work},
    device::DeviceKind,
    ids::Name,
    spelling::advice,
};

use crate::{
    backend::embedded::SHIPPED,
    settings::{BUILT_IN_MODEL, Settings},
    workload::suite::Suite,
};

/// What the settings allow to ask for now: models whose files are there, and suites that are sound.
pub fn offer(settings: &Settings, kind: DeviceKind) -> Offer {
    let own = settings.suites.value.as_deref();
    let built_in = Suite::built_in().filter_map(name);
    let models = settings.models.value.iter();
    let models = models.filter(|model| model.is_there()).map(|model| {
        let precisions = model.precisions().into_keys().collect();
        (model.name.clone(), precisions)
    });
    let servers = settings.servers.value.iter();
    Offer {
        kind: Some(kind),
        suites: built_in
            .chain(own.map_or_else(Vec::new, Suite::own))
            .collect(),
        models: models.chain(shipped(settings)).collect(),
        servers: servers.map(|server| server.name.clone()).collect(),
    }
}

/// Whether all that a job names is offered here.
///
/// # Errors
/// What is not, and the name that was probably meant.
pub fn check(offer: &Offer, work: &Work) -> Result<(), String> {
    let models: Vec<&Name> = offer.models.keys().collect();
    known("suite", &work.suite, offer.suites.iter())?;
    for model in &work.models {
        known("model", model, models.iter().copied())?;
    }
    for server in &work.servers {
        known("server", server, offer.servers.iter())?;
    }
    if work.models.is_empty() && !work.servers.is_empty() && !work.precisions.is_empty() {
        return Err(
            "servers have the precision that they are started with: leave `precisions` out"
                .to_owned(),
        );
    }
    let built_in = name(BUILT_IN_MODEL);
    let asked = match work.models.is_empty() && work.servers.is_empty() {
        true => built_in.iter().collect(),
        false => work.models.iter().collect::<Vec<_>>(),
    };
    asked
        .into_iter()
        .try_for_each(|model| check_precisions(offer, model, &work.precisions))
}

fn check_precisions(offer: &Offer, model: &Name, asked: &[Name]) -> Result<(), String> {
    let Some(there) = offer.models.get(model) else {
        return Err(format!("this agent has no model `{model}` built in"));
    };
    match (&**there, asked) {
        ([], [_, ..]) => Err(format!(
            "model `{model}` has one precision here: leave `precisions` out"
        )),
        (there, asked) => asked.iter().try_for_each(|precision| {
            known(
                &format!("precision of model `{model}`"),
                precision,
                there.iter(),
            )
        }),
    }
}

fn known<'a>(what: &str, name: &Name, there: impl Iterator<Item = &'a Name>) -> Result<(), String> {
    let there: Vec<&str> = there.map(Name::as_str).collect();
    match there.contains(&name.as_str()) {
        true => Ok(()),
        false => Err(format!(
            "this device has no {what} `{name}`; {}",
            advice(name.as_str(), &there)
        )),
    }
}

/// The built-in model, if this agent or the program that it has for it brings one.
fn shipped(settings: &Settings) -> BTreeMap<Name, Vec<Name>> {
    let is_there = cfg!(feature = "tiny-model") || settings.engine_worker.value.is_some();
    let precisions = || SHIPPED.into_iter().filter_map(name).collect();
    let model = name(BUILT_IN_MODEL).filter(|_| is_there);
    model
        .into_iter()
        .map(|model| (model, precisions()))
        .collect()
}

fn name(text: &str) -> Option<Name> {
    Name::parse(text).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::settings::Given;

    fn names(names: &[&str]) -> Vec<Name> {
        names
            .iter()
            .map(|name| Name::parse(name).unwrap())
            .collect()
    }

    fn work(suite: &str, models: &[&str], servers: &[&str], precisions: &[&str]) -> Work {
        Work {
            suite: Name::parse(suite).unwrap(),
            models: names(models),
            servers: names(servers),
            precisions: names(precisions),
            repetitions: 1,
            concurrency: Vec::new(),
            limit: None,
            quick: false,
        }
    }

    #[test]
    fn what_is_offered_is_built_in_or_stands_in_the_file_and_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for file in ["m-q8_0.gguf", "m-F16.gguf", "p.gguf"] {
            fs::write(at(file), "").unwrap();
        }
        let built_in = include_str!("../../../configs/suites/edge-vision.toml");
        let own = built_in.replacen("name = \"edge-vision\"", "name = \"mine\"", 1);
        fs::write(at("mine.toml"), own).unwrap();
        let here = folder.path().display();
        let text = format!(
            "suites = \"{here}\"\n\
             [[model]]\nname = \"m\"\nfile = \"{here}/m-{{precision}}.gguf\"\nmmproj = \"{here}/p.gguf\"\n\
             [[model]]\nname = \"gone\"\nfile = \"{here}/gone.gguf\"\nmmproj = \"{here}/p.gguf\"\n\
             [[model]]\nname = \"o\"\nbackend = \"ollama\"\nmodel = \"gemma3:4b\"\n\
             [[server]]\nname = \"s\"\ncommand = \"vllm serve x --port 8000\"\n"
        );
        fs::write(at("agent.toml"), text).unwrap();
        let settings = Settings::resolve(Some(&at("agent.toml")), Given::default()).unwrap();
        let offer = offer(&settings, DeviceKind::Generic);
        assert_eq!(offer.kind, Some(DeviceKind::Generic));
        assert!(offer.suites.contains(&Name::parse("edge-vision").unwrap()));
        assert_eq!(offer.suites.last(), Name::parse("mine").ok().as_ref());
        assert_eq!(offer.servers, names(&["s"]));
        let mut models = BTreeMap::new();
        models.insert(Name::parse("m").unwrap(), names(&["f16", "q8_0"]));
        models.insert(Name::parse("o").unwrap(), names(&[]));
        if cfg!(feature = "tiny-model") {
            models.insert(Name::parse("tiny-vlm").unwrap(), names(&SHIPPED));
        }
        assert_eq!(offer.models, models);
    }

    #[test]
    fn what_is_not_offered_is_refused_with_the_name_that_was_meant() {
        let offer = Offer {
            kind: None,
            suites: names(&["edge-vision", "batch"]),
            models: [
                (Name::parse("smolvlm2").unwrap(), names(&["f16", "q8_0"])),
                (Name::parse("gemma").unwrap(), Vec::new()),
                (Name::parse("tiny-vlm").unwrap(), names(&["f32", "q8_0"])),
            ]
            .into(),
            servers: names(&["vllm"]),
        };
        let good = |work: Work| assert_eq!(check(&offer, &work), Ok(()));
        good(work("batch", &[], &[], &["f32"]));
        good(work(
            "batch",
            &["smolvlm2", "tiny-vlm"],
            &["vllm"],
            &["q8_0"],
        ));
        good(work("batch", &["gemma"], &[], &[]));
        let bad = |work: Work, want: &str| {
            let refused = check(&offer, &work).unwrap_err();
            assert!(refused.contains(want), "{refused}");
        };
        bad(
            work("egde-vision", &[], &[], &[]),
            "did you mean `edge-vision`?",
        );
        bad(
            work("batch", &["smolvlm"], &[], &[]),
            "no model `smolvlm`; did you mean `smolvlm2`?",
        );
        bad(
            work("batch", &[], &["vlm"], &[]),
            "no server `vlm`; did you mean `vllm`?",
        );
        bad(
            work("batch", &["smolvlm2"], &[], &["q4_0"]),
            "no precision of model `smolvlm2` `q4_0`; did you mean `q8_0`?",
        );
        bad(
            work("batch", &[], &[], &["f16"]),
            "no precision of model `tiny-vlm` `f16`",
        );
        bad(work("batch", &["gemma"], &[], &["q8_0"]), "one precision");
        bad(
            work("batch", &[], &["vllm"], &["q8_0"]),
            "leave `precisions` out",
        );
    }
}
