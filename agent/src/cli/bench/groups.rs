//! The models of a bench: one group for each precision, loaded one after the other.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use anyhow::{Context, bail};

use super::{BackendKind, BenchArgs, server};
use crate::{
    backend::{
        Backend, ModelCard,
        embedded::{CONTEXT_DEFAULT, EmbeddedBackend, EmbeddedSettings, Weights},
        ollama::{OllamaBackend, OllamaSettings},
        openai::{OpenAiBackend, OpenAiSettings, Patience},
    },
    clock::Clock,
    runner::Group,
    settings::Settings,
    simulate::{Model, NoModel, Simulated},
    workload::plan::Plan,
};

/// What `--backend`, `--model` and `--precision` ask for; nothing is loaded yet.
///
/// # Errors
/// The server is not named, or cannot be spoken to as it is.
pub(super) fn groups(
    args: &BenchArgs,
    settings: &Settings,
    plan: &Plan,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Vec<Group>> {
    match args.backend {
        BackendKind::Embedded => Ok(embedded(args, settings, clock)),
        BackendKind::Openai => Ok(vec![openai(args, settings, plan, clock)?]),
        BackendKind::Ollama => Ok(vec![ollama(args, settings, plan, clock)?]),
    }
}

/// A server that is there already.
fn openai(
    args: &BenchArgs,
    settings: &Settings,
    plan: &Plan,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Group> {
    let model = args.model.as_ref();
    let model = model.map(|name| name.to_string_lossy().into_owned());
    let precision = args.precision.first().cloned();
    let asked = OpenAiSettings {
        endpoint: server::endpoint(args, settings)?,
        model: model.clone(),
        precision: precision.clone(),
        has_pictures: plan.has_pictures(),
        is_streaming: !args.no_stream,
        patience: Patience::SOMEBODY_ELSES,
    };
    let backend = OpenAiBackend::new(asked, clock.clone()).context("--url")?;
    Ok(group(
        args.backend,
        unnamed(
            args.backend,
            model.unwrap_or_else(|| "unknown".to_owned()),
            precision,
        ),
        Arc::new(backend),
    ))
}

/// A model that Ollama has.
fn ollama(
    args: &BenchArgs,
    settings: &Settings,
    plan: &Plan,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Group> {
    let Some(model) = &args.model else {
        bail!("--backend ollama: which model? Name it with --model, as `ollama list` does");
    };
    let model = model.to_string_lossy().into_owned();
    let precision = args.precision.first().cloned();
    let loads = args.load.loads(&plan.concurrency);
    // Of an open loop nobody knows beforehand; requests may overlap.
    let in_flight = loads.iter().map(|load| load.concurrency().unwrap_or(2));
    let asked = OllamaSettings {
        endpoint: server::endpoint(args, settings)?,
        model: model.clone(),
        precision: precision.clone(),
        context: CONTEXT_DEFAULT,
        has_pictures: plan.has_pictures(),
        has_fixed_length: plan.cells.iter().any(|cell| cell.is_fixed_length),
        concurrency: in_flight.max().unwrap_or(1),
    };
    let backend = OllamaBackend::new(asked, clock.clone()).context("--url")?;
    let expected = unnamed(args.backend, model, precision);
    Ok(group(args.backend, expected, Arc::new(backend)))
}

fn group(kind: BackendKind, expected: ModelCard, backend: Arc<dyn Backend>) -> Group {
    Group {
        backend_name: kind.name().to_owned(),
        expected,
        power_mode: None,
        backend,
    }
}

fn embedded(args: &BenchArgs, settings: &Settings, clock: &Arc<dyn Clock>) -> Vec<Group> {
    weights(args)
        .into_iter()
        .map(|weights| {
            let expected = expected(&weights);
            let engine = EmbeddedSettings {
                worker: settings.engine_worker.value.clone(),
                weights,
                data: settings.data.value.clone(),
                threads: args.threads,
                context: CONTEXT_DEFAULT,
                gpu_layers: gpu_layers(),
            };
            let backend = EmbeddedBackend::new(engine, clock.clone());
            group(args.backend, expected, Arc::new(backend))
        })
        .collect()
}

/// `--model` and `--precision` on a machine that does not exist.
///
/// # Errors
/// Such a model cannot be made up.
pub(super) fn simulated(
    args: &BenchArgs,
    simulated: &Simulated,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<Group>, NoModel> {
    let name = args.model.as_deref().unwrap_or(Path::new("made-up-2b"));
    let precisions = match &*args.precision {
        [] => vec!["f16".to_owned()],
        some => some.to_vec(),
    };
    let group = |precision: String| {
        let model = Model::parse(&name.to_string_lossy(), &precision)?;
        Ok(Group {
            backend_name: "simulated".to_owned(),
            expected: model.card(),
            power_mode: None,
            backend: Arc::new(simulated.engine(model, clock.clone())),
        })
    };
    precisions.into_iter().map(group).collect()
}

fn weights(args: &BenchArgs) -> Vec<Weights> {
    match (&args.model, &args.mmproj) {
        (Some(model), Some(mmproj)) if args.precision.is_empty() => {
            vec![Weights::files(model, mmproj, None)]
        }
        (Some(model), Some(mmproj)) => args
            .precision
            .iter()
            .map(|precision| Weights::files(model, mmproj, Some(precision)))
            .collect(),
        _ => shipped(&args.precision),
    }
}

/// The reference model; as it was trained unless something else is asked for.
fn shipped(precisions: &[String]) -> Vec<Weights> {
    let asked: Vec<String> = match precisions {
        [] => vec!["f32".to_owned()],
        some => some.to_vec(),
    };
    asked
        .into_iter()
        .map(|precision| Weights::Shipped { precision })
        .collect()
}

/// What a run is called whose engine never said what it is.
fn expected(weights: &Weights) -> ModelCard {
    let (model, precision) = match weights {
        Weights::Shipped { precision } => ("tiny-vlm".to_owned(), Some(precision.clone())),
        Weights::Files {
            model, precision, ..
        } => {
            let stem = model.file_stem().unwrap_or_default();
            (stem.to_string_lossy().into_owned(), precision.clone())
        }
    };
    unnamed(BackendKind::Embedded, model, precision)
}

fn unnamed(kind: BackendKind, model: String, precision: Option<String>) -> ModelCard {
    ModelCard {
        engine: kind.name().to_owned(),
        engine_flags: BTreeMap::new(),
        model,
        precision: precision.unwrap_or_else(|| "unknown".to_owned()),
        facts: BTreeMap::new(),
        digest: None,
        mmproj_digest: None,
        mmproj_precision: None,
        load_time: None,
    }
}

/// All of them where the engine was built for a GPU.
fn gpu_layers() -> u32 {
    if cfg!(feature = "cuda") { 999 } else { 0 }
}
