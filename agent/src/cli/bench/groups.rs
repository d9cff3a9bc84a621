//! The models of a bench: one group for each precision, loaded one after the other.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::BenchArgs;
use crate::{
    backend::{
        ModelCard,
        embedded::{CONTEXT_DEFAULT, EmbeddedBackend, EmbeddedSettings, Weights},
    },
    clock::Clock,
    runner::Group,
    settings::Settings,
    simulate::{Model, NoModel, Simulated},
};

/// What `--model` and `--precision` ask for; nothing is loaded yet.
pub(super) fn groups(args: &BenchArgs, settings: &Settings, clock: &Arc<dyn Clock>) -> Vec<Group> {
    weights(args)
        .into_iter()
        .map(|weights| Group {
            backend_name: "embedded".to_owned(),
            expected: expected(&weights),
            power_mode: None,
            backend: Arc::new(EmbeddedBackend::new(
                EmbeddedSettings {
                    worker: settings.engine_worker.value.clone(),
                    weights,
                    data: settings.data.value.clone(),
                    threads: args.threads,
                    context: CONTEXT_DEFAULT,
                    gpu_layers: gpu_layers(),
                },
                clock.clone(),
            )),
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
    ModelCard {
        engine: "embedded".to_owned(),
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
