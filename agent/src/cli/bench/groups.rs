//! The models of a bench: one group for each precision, loaded one after the other.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use anyhow::{Context, bail};

use super::{BackendKind, BenchArgs, named, server as endpoints};
use crate::{
    backend::{
        Backend, BackendError, ModelCard,
        embedded::{CONTEXT_DEFAULT, EmbeddedBackend, EmbeddedSettings, Weights},
        http::Endpoint,
        managed::{Inner, ManagedBackend, ServerSettings},
        ollama::{OllamaBackend, OllamaSettings},
        openai::{OpenAiBackend, OpenAiSettings, Patience},
    },
    cli::servers,
    clock::Clock,
    runner::Group,
    settings::{BUILT_IN_MODEL, Settings},
    simulate::{Model, NoModel, Sight, Simulated},
    workload::plan::Plan,
};

/// What `--backend`, `--server`, `--model` and `--precision`, or `--models` and `--servers`, ask for; nothing is loaded or started yet.
///
/// # Errors
/// The server is not named, or cannot be started or spoken to as it is.
pub(in crate::cli) fn groups(
    args: &BenchArgs,
    settings: &Settings,
    plan: &Plan,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Vec<Group>> {
    if args.is_named() {
        return named::groups(args, settings, plan, clock);
    }
    match args.backend {
        BackendKind::Embedded => Ok(weights(args)
            .into_iter()
            .map(|weights| embedded(weights, args.threads, settings, clock))
            .collect()),
        BackendKind::Openai => Ok(vec![openai(args, settings, plan, clock)?]),
        BackendKind::Ollama => {
            let Some(model) = &args.model else {
                bail!("--backend ollama: which model? Name it with --model, as `ollama list` does");
            };
            let endpoint = endpoints::endpoint(args.backend, settings)?;
            let model = model.to_string_lossy();
            Ok(vec![ollama(args, plan, endpoint, &model, clock)?])
        }
    }
}

/// A server that is there already, or one that we start.
fn openai(
    args: &BenchArgs,
    settings: &Settings,
    plan: &Plan,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Group> {
    let model = args.model.as_ref();
    let model = model.map(|name| name.to_string_lossy().into_owned());
    let asked = |endpoint, model| OpenAiSettings {
        endpoint,
        model,
        precision: args.precision.first().cloned(),
        has_pictures: plan.has_pictures(),
        is_streaming: !args.no_stream,
        patience: Patience::SOMEBODY_ELSES,
    };
    if let Some(chosen) = server(args, settings)? {
        let endpoint = endpoints::started(chosen.url, settings)?;
        let model = model.or_else(|| chosen.model.clone());
        return Ok(started(chosen.server, asked(endpoint, model), clock));
    }
    let asked = asked(endpoints::endpoint(args.backend, settings)?, model);
    let expected = expected_of(&asked);
    let backend = OpenAiBackend::new(asked, clock.clone()).context("--url")?;
    Ok(group(BackendKind::Openai, expected, Arc::new(backend)))
}

/// The server to start, if one is asked for.
///
/// # Errors
/// It is no command and no name, or nobody says where it will answer.
pub(in crate::cli) fn server(
    args: &BenchArgs,
    settings: &Settings,
) -> anyhow::Result<Option<servers::Chosen>> {
    let (url, within) = (args.url.as_deref(), args.server_ready_within);
    let choose = |text: &String| servers::choose(text, url, within, settings);
    args.server
        .as_ref()
        .map(choose)
        .transpose()
        .context("--server")
}

/// A server of the OpenAI interface that we start.
pub(in crate::cli) fn started(
    server: ServerSettings,
    asked: OpenAiSettings,
    clock: &Arc<dyn Clock>,
) -> Group {
    // Our own deadline is the one that holds.
    let patience = Patience {
        listening: server.ready_within,
        ready: server.ready_within,
        back: server.ready_within,
    };
    let asked = OpenAiSettings { patience, ..asked };
    let mut expected = expected_of(&asked);
    if asked.model.is_none() {
        expected.model.clone_from(&server.name);
    }
    let its_clock = clock.clone();
    let inner: Inner = Box::new(move || {
        let backend = OpenAiBackend::new(asked.clone(), its_clock.clone());
        let backend = backend.map_err(|error| BackendError::Setup {
            message: error.to_string(),
        })?;
        Ok(Arc::new(backend))
    });
    let backend = ManagedBackend::new(server, inner, clock.clone());
    group(BackendKind::Openai, expected, Arc::new(backend))
}

/// A model that Ollama has.
pub(super) fn ollama(
    args: &BenchArgs,
    plan: &Plan,
    endpoint: Endpoint,
    model: &str,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Group> {
    let loads = args.load.loads(&plan.concurrency);
    // Of an open loop nobody knows beforehand; requests may overlap.
    let in_flight = loads.iter().map(|load| load.concurrency().unwrap_or(2));
    let asked = OllamaSettings {
        endpoint,
        model: model.to_owned(),
        precision: args.precision.first().cloned(),
        context: CONTEXT_DEFAULT,
        has_pictures: plan.has_pictures(),
        has_fixed_length: plan.cells.iter().any(|cell| cell.is_fixed_length),
        concurrency: in_flight.max().unwrap_or(1),
    };
    of_ollama(asked, clock)
}

/// A model that Ollama loads and unloads.
///
/// # Errors
/// Ollama cannot be spoken to.
pub(in crate::cli) fn of_ollama(
    asked: OllamaSettings,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Group> {
    let (model, precision) = (asked.model.clone(), asked.precision.clone());
    let expected = unnamed(BackendKind::Ollama, model, precision);
    let backend = OllamaBackend::new(asked, clock.clone()).context("--url")?;
    Ok(group(BackendKind::Ollama, expected, Arc::new(backend)))
}

fn group(kind: BackendKind, expected: ModelCard, backend: Arc<dyn Backend>) -> Group {
    Group {
        backend_name: kind.name().to_owned(),
        expected,
        power_mode: None,
        backend,
    }
}

/// The embedded engine with these weights; nothing is loaded yet.
pub(in crate::cli) fn embedded(
    weights: Weights,
    threads: Option<u32>,
    settings: &Settings,
    clock: &Arc<dyn Clock>,
) -> Group {
    let expected = expected(&weights);
    let engine = EmbeddedSettings {
        worker: settings.engine_worker.value.clone(),
        weights,
        data: settings.data.value.clone(),
        threads,
        context: CONTEXT_DEFAULT,
        gpu_layers: gpu_layers(),
    };
    let backend = EmbeddedBackend::new(engine, clock.clone());
    group(BackendKind::Embedded, expected, Arc::new(backend))
}

/// `--model` and `--precision` on a machine that does not exist.
///
/// # Errors
/// Such a model cannot be made up.
pub(in crate::cli) fn simulated(
    args: &BenchArgs,
    simulated: &Simulated,
    plan: &Plan,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<Group>, NoModel> {
    let name = args.model.as_deref().unwrap_or(Path::new("made-up-2b"));
    let precisions = match &*args.precision {
        [] => vec!["f16".to_owned()],
        some => some.to_vec(),
    };
    let name = name.to_string_lossy();
    let group = |precision: &String| made_up(&name, precision, simulated, plan, clock);
    precisions.iter().map(group).collect()
}

/// A model on a machine that does not exist.
///
/// # Errors
/// Such a model cannot be made up.
pub(in crate::cli) fn made_up(
    name: &str,
    precision: &str,
    simulated: &Simulated,
    plan: &Plan,
    clock: &Arc<dyn Clock>,
) -> Result<Group, NoModel> {
    let model = Model::parse(name, precision)?;
    let sight = model.accuracy().map(|_| Arc::new(Sight::of(plan)));
    Ok(Group {
        backend_name: "simulated".to_owned(),
        expected: model.card(),
        power_mode: None,
        backend: Arc::new(simulated.engine(model, clock.clone(), sight)),
    })
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
pub(super) fn shipped(precisions: &[String]) -> Vec<Weights> {
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
        Weights::Shipped { precision } => (BUILT_IN_MODEL.to_owned(), Some(precision.clone())),
        Weights::Files {
            model, precision, ..
        } => {
            let stem = model.file_stem().unwrap_or_default();
            (stem.to_string_lossy().into_owned(), precision.clone())
        }
    };
    unnamed(BackendKind::Embedded, model, precision)
}

/// What a run is called whose server never said what it has.
fn expected_of(asked: &OpenAiSettings) -> ModelCard {
    let model = asked.model.clone();
    unnamed(
        BackendKind::Openai,
        model.unwrap_or_else(|| "unknown".to_owned()),
        asked.precision.clone(),
    )
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
