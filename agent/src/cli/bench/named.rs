//! `--models` and `--servers`: what stands in the configuration under these names, one after the other in one bench.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use tokwatt_domain::{ids::Name, spelling::advice};

use super::{
    BenchArgs, groups,
    server::{self as endpoints},
};
use crate::{
    backend::{
        embedded::Weights,
        ollama,
        openai::{OpenAiSettings, Patience},
    },
    cli::servers,
    clock::Clock,
    runner::Group,
    settings::{BUILT_IN_MODEL, ModelSource, NamedModel, Settings},
    workload::plan::Plan,
};

/// One group for each model in each precision, then one for each server.
///
/// # Errors
/// A name stands for nothing, or what it stands for is not there.
pub(super) fn groups(
    args: &BenchArgs,
    settings: &Settings,
    plan: &Plan,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Vec<Group>> {
    ensure!(
        !args.models.is_empty() || args.precision.is_empty(),
        "--precision: a server of the configuration has the precision that it is started with"
    );
    let mut groups = Vec::new();
    for name in &args.models {
        let of_model = model(name, args, settings, plan, clock);
        groups.extend(of_model.context("--models")?);
    }
    for name in &args.servers {
        let of_server = server(name, args, settings, plan, clock);
        groups.push(of_server.context("--servers")?);
    }
    Ok(groups)
}

fn model(
    name: &Name,
    args: &BenchArgs,
    settings: &Settings,
    plan: &Plan,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Vec<Group>> {
    if name.as_str() == BUILT_IN_MODEL {
        let weights = groups::shipped(&args.precision).into_iter();
        return Ok(weights
            .map(|weights| groups::embedded(weights, args.threads, settings, clock))
            .collect());
    }
    let models = &settings.models.value;
    let Some(model) = models.iter().find(|model| model.name == *name) else {
        let known = models.iter().map(|model| model.name.as_str());
        let known: Vec<&str> = known.chain([BUILT_IN_MODEL]).collect();
        let advice = advice(name.as_str(), &known);
        bail!("no model is called `{name}` in agent.toml; {advice}");
    };
    match &model.source {
        ModelSource::Files { mmproj, .. } => {
            let weights = files(model, &args.precision)?.into_iter();
            let weights = weights.map(|(model, precision)| Weights::Files {
                model,
                mmproj: mmproj.clone(),
                precision,
            });
            Ok(weights
                .map(|weights| groups::embedded(weights, args.threads, settings, clock))
                .collect())
        }
        ModelSource::Ollama { model: called, url } => {
            check_one_precision(model, &args.precision)?;
            let url = url.as_deref().unwrap_or(ollama::URL_DEFAULT);
            let endpoint = endpoints::started(url.parse()?, settings)?;
            let group = groups::ollama(args, plan, endpoint, called, clock)?;
            Ok(vec![group])
        }
    }
}

/// The files of a model: of the precisions that are asked for, or of all that are there.
fn files(
    model: &NamedModel,
    asked: &[String],
) -> anyhow::Result<Vec<(std::path::PathBuf, Option<String>)>> {
    let ModelSource::Files { file, .. } = &model.source else {
        return Ok(Vec::new());
    };
    if !model.has_precisions() {
        check_one_precision(model, asked)?;
        return Ok(vec![(file.clone(), None)]);
    }
    let there = model.precisions();
    ensure!(
        !there.is_empty(),
        "model `{}`: no file is there that fits `{}`",
        model.name,
        file.display()
    );
    if asked.is_empty() {
        let all = there.into_iter();
        return Ok(all
            .map(|(precision, file)| (file, Some(precision.to_string())))
            .collect());
    }
    let known: Vec<&str> = there.keys().map(Name::as_str).collect();
    let find = |precision: &String| {
        let found = there.iter().find(|(name, _)| name.as_str() == precision);
        let (_, file) = found.with_context(|| {
            let advice = advice(precision, &known);
            format!(
                "model `{}` has no precision `{precision}`; {advice}",
                model.name
            )
        })?;
        Ok((file.clone(), Some(precision.clone())))
    };
    asked.iter().map(find).collect()
}

fn check_one_precision(model: &NamedModel, asked: &[String]) -> anyhow::Result<()> {
    ensure!(
        asked.is_empty(),
        "model `{}` has one precision: leave --precision out",
        model.name
    );
    Ok(())
}

fn server(
    name: &Name,
    args: &BenchArgs,
    settings: &Settings,
    plan: &Plan,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Group> {
    let within = args.server_ready_within;
    let chosen = servers::choose(name.as_str(), None, within, settings)?;
    let asked = OpenAiSettings {
        endpoint: endpoints::started(chosen.url, settings)?,
        model: chosen.model,
        precision: None,
        has_pictures: plan.has_pictures(),
        is_streaming: !args.no_stream,
        patience: Patience::SOMEBODY_ELSES,
    };
    Ok(groups::started(chosen.server, asked, clock))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::settings::Given;

    #[test]
    fn a_models_files_are_those_of_the_precisions_that_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for file in ["m-q8_0.gguf", "m-F16.gguf", "p.gguf"] {
            fs::write(at(file), "").unwrap();
        }
        let here = folder.path().display();
        let text = format!(
            "[[model]]\nname = \"m\"\nfile = \"{here}/m-{{precision}}.gguf\"\nmmproj = \"{here}/p.gguf\"\n\
             [[model]]\nname = \"one\"\nfile = \"{here}/m-q8_0.gguf\"\nmmproj = \"{here}/p.gguf\"\n"
        );
        fs::write(at("agent.toml"), text).unwrap();
        let settings = Settings::resolve(Some(&at("agent.toml")), Given::default()).unwrap();
        let [several, one] = &*settings.models.value else {
            panic!("two models");
        };
        let f16 = (at("m-F16.gguf"), Some("f16".to_owned()));
        let q8 = (at("m-q8_0.gguf"), Some("q8_0".to_owned()));
        assert_eq!(files(several, &[]).unwrap(), [f16.clone(), q8.clone()]);
        let asked = ["q8_0".to_owned(), "f16".to_owned()];
        assert_eq!(files(several, &asked).unwrap(), [q8, f16]);
        let refused = files(several, &["q8".to_owned()]).unwrap_err().to_string();
        assert!(refused.contains("did you mean `q8_0`?"), "{refused}");
        assert_eq!(files(one, &[]).unwrap(), [(at("m-q8_0.gguf"), None)]);
        assert!(files(one, &asked).is_err());
    }
}
