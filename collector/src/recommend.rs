//! Use cases to the best configuration for each. Pure.
//!
//! A use case is a file: which limits must be kept, what decides among those that keep them, what may be chosen. A candidate is a
//! configuration with the cells of all its tasks. Whoever breaks a limit, lacks a figure or is flagged is excluded with the reason;
//! the others are placed as on a board: who cannot be told from the best shares its place.

mod candidate;
mod document;
mod limit;
mod measure;
mod place;
mod shipped;
mod use_case;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::{
    metrics::front::{Place, front},
    power::{Provenance, Scope},
};

use crate::rank::{Key, RankError, RankedCell};

use self::{
    candidate::{Candidate, Fate, candidates},
    measure::{Figures, Measure},
    place::{Ranked, placed},
};

pub use self::{
    document::{
        Against, Axis, Excluded, FigureShown, LimitShown, Reason, ReasonKind, Recommendation,
        Recommended, TermShown, UseCaseShown,
    },
    shipped::{SHIPPED, Shipped, shipped},
    use_case::{UseCase, UseCaseError},
};

/// Why there is no recommendation.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RecommendError {
    /// The use case cannot be read.
    #[error(transparent)]
    UseCase(#[from] UseCaseError),
    /// A condition, provenance, metric or scope that there is none of.
    #[error(transparent)]
    Rank(#[from] RankError),
    /// Identity that must match and does not.
    #[error("these runs cannot be weighed against each other:{}", fixes(.0))]
    Several(Vec<(&'static str, Vec<String>)>),
    /// Energies of several scopes.
    #[error(
        "this use case is about energy, and the candidates have it for several power scopes, which cannot be compared: choose a scope, {}",
        scopes(.0)
    )]
    NeedsScope(BTreeMap<Scope, usize>),
    /// Token metrics across models.
    #[error(
        "`{0}` counts tokens, and models differ in what a token is: add --where model=…, or `across_models` to the objective of the use case"
    )]
    TokenizersDiffer(String),
    /// A limit in tokens across models.
    #[error(
        "the limit on `{0}` counts tokens, and models differ in what a token is: add --where model=…, or limit images_per_s or request_latency in the use case"
    )]
    TokensLimited(String),
}

/// Recommends. `cells` are those that meet the asker's conditions and the use case's, of one provenance.
///
/// # Errors
/// [`RecommendError`]: the cells cannot be weighed against each other, and what to add to the question.
pub fn recommend(
    cells: &[RankedCell],
    use_case: &UseCase,
    provenance: Provenance,
) -> Result<Recommendation, RecommendError> {
    let apart = apart(use_case);
    let tokenizers_differ = has_several_models(cells);
    let fixed = fixed(cells, &apart)?;
    let candidates = candidates(cells, &apart);
    let mut notes = Vec::new();
    let scope = scope(cells, use_case)?;
    let figures = Figures { scope };
    let use_case = &applicable(use_case, cells, &figures, &mut notes);
    let use_case = &match tokenizers_differ {
        true => across_models(use_case, &mut notes)?,
        false => use_case.clone(),
    };
    let terms = terms(tokenizers_differ, use_case, &mut notes)?;
    let terms = available(terms, cells, &figures, &mut notes);
    let judged = candidates
        .iter()
        .map(|candidate| (candidate, candidate.fate(use_case, &terms, &figures)));
    let (mut ranked, mut excluded) = (Vec::new(), Vec::new());
    for (candidate, fate) in judged {
        match fate {
            Fate::Ranked(value) => ranked.push(Ranked { candidate, value }),
            Fate::Excluded(reasons) => excluded.push((candidate, reasons)),
        }
    }
    let differing = differing(&candidates, &fixed);
    let on_front = on_front(&ranked, use_case, &figures);
    let is_single = terms.len() == 1;
    let is_lower_better = is_single && terms.iter().all(|term| term.is_lower_better);
    let places = placed(&ranked, is_lower_better);
    let normal = match is_single {
        true => 1.0,
        false => places
            .first()
            .map_or(1.0, |(best, _)| ranked[*best].value.mean),
    };
    let recommended = places.into_iter().map(|(number, place)| {
        let ranked = &ranked[number];
        ranked.recommended(place, normal, on_front[number], |candidate| Shown {
            key: candidate.named(&differing),
            figures: shown(candidate, use_case, &figures),
            limits: use_case.limits_of(candidate, &figures),
            terms: terms
                .iter()
                .map(|term| term.shown(candidate, &figures))
                .collect(),
        })
    });
    let recommended: Vec<Recommended> = recommended.collect();
    let excluded: Vec<Excluded> = excluded
        .into_iter()
        .map(|(candidate, reasons)| Excluded {
            key: candidate.named(&differing),
            n_runs: candidate.n_runs(),
            reasons,
        })
        .collect();
    notes.extend(caveats(&recommended, &candidates, is_single));
    let tasks: BTreeSet<&String> = candidates.iter().flat_map(|one| one.tasks()).collect();
    Ok(Recommendation {
        schema: RECOMMEND_SCHEMA.to_owned(),
        use_case: use_case.shown(&terms, &figures),
        provenance,
        scope,
        aggregate: aggregate(&tasks),
        fixed: fixed
            .into_iter()
            .map(|(key, value)| (key.as_str().to_owned(), value))
            .collect(),
        recommended,
        excluded,
        notes,
    })
}

/// What is shown of a candidate beside its place.
struct Shown {
    key: BTreeMap<String, String>,
    figures: BTreeMap<String, FigureShown>,
    limits: Vec<LimitShown>,
    terms: Vec<TermShown>,
}

/// Keys that make a candidate: what may be chosen, and configuration, which is never merged.
fn apart(use_case: &UseCase) -> BTreeSet<Key> {
    let may_differ = |key: &Key| *key == Key::Limits && !use_case.is_within_limits();
    let is_configuration = |key: &Key| !key.is_identity() || may_differ(key);
    let configuration = Key::ALL.into_iter().filter(is_configuration);
    configuration
        .chain(use_case.choose.iter().copied())
        .collect()
}

/// Identity that all cells share.
fn fixed(
    cells: &[RankedCell],
    apart: &BTreeSet<Key>,
) -> Result<BTreeMap<Key, String>, RecommendError> {
    let mut fixed = BTreeMap::new();
    let mut several = Vec::new();
    for key in Key::ALL.into_iter().filter(|key| !apart.contains(key)) {
        let mut values: BTreeSet<String> = cells.iter().map(|cell| cell.value(key)).collect();
        match values.len() {
            0 => {}
            1 => fixed.extend(values.pop_first().map(|value| (key, value))),
            _ if key == Key::Task => {
                let values: Vec<String> = values.into_iter().collect();
                fixed.insert(key, values.join(" + "));
            }
            _ => several.push((key.as_str(), values.into_iter().collect())),
        }
    }
    match several.is_empty() {
        true => Ok(fixed),
        false => Err(RecommendError::Several(several)),
    }
}

/// The scope of all energies: the one that was asked for, else the only one there is. Where nothing that decides is over energy, several
/// are no error; there is none then.
fn scope(cells: &[RankedCell], use_case: &UseCase) -> Result<Option<Scope>, RecommendError> {
    if use_case.scope.is_some() {
        return Ok(use_case.scope);
    }
    let mut scopes: BTreeMap<Scope, usize> = BTreeMap::new();
    for scope in cells.iter().flat_map(RankedCell::scopes) {
        *scopes.entry(scope).or_default() += 1;
    }
    match scopes.len() {
        0 | 1 => Ok(scopes.into_keys().next()),
        _ if use_case.is_over_energy() => Err(RecommendError::NeedsScope(scopes)),
        _ => Ok(None),
    }
}

/// The use case without what stands beside and cannot be shown: energies, where there are several scopes and none was chosen, and axes that
/// no candidate has.
fn applicable(
    use_case: &UseCase,
    cells: &[RankedCell],
    figures: &Figures,
    notes: &mut Vec<String>,
) -> UseCase {
    let has_several = figures.scope.is_none() && cells.iter().any(|cell| !cell.scopes().is_empty());
    let mut applicable = match has_several {
        true => use_case.without_energy(),
        false => use_case.clone(),
    };
    if has_several && applicable != *use_case {
        notes.push(
            "figures beside that are over energy are left out, since there are several power scopes: choose one to see them"
                .to_owned(),
        );
    }
    applicable.front.retain(|axis| {
        let is_there = cells.iter().any(|cell| figures.of(cell, axis).is_some());
        if !is_there {
            let id = axis.scoped_id(figures.scope);
            notes.push(format!(
                "nobody has `{id}`: it is no axis of the Pareto front"
            ));
        }
        is_there
    });
    // The front of a single axis is its best, which is no news.
    if applicable.front.len() < 2 {
        applicable.front.clear();
    }
    applicable
}

/// What decides, where no candidate has the figure that was to: what the use case says instead.
fn available(
    terms: Vec<use_case::Term>,
    cells: &[RankedCell],
    figures: &Figures,
    notes: &mut Vec<String>,
) -> Vec<use_case::Term> {
    let is_there = |measure: &Measure| cells.iter().any(|cell| figures.of(cell, measure).is_some());
    let n = terms.len();
    let mut available = Vec::new();
    for term in terms {
        let id = term.measure.scoped_id(figures.scope);
        if is_there(&term.measure) {
            available.push(term);
        } else if let Some((measure, is_lower_better)) = term.otherwise {
            notes.push(format!(
                "nobody has `{id}`: `{}` decides instead, which is not the same",
                measure.scoped_id(figures.scope)
            ));
            available.push(use_case::Term {
                measure,
                is_lower_better,
                ..term
            });
        } else if term.is_optional && n > 1 {
            notes.push(format!(
                "nobody has `{id}`: it is left out, and the rest decides"
            ));
        } else {
            available.push(term);
        }
    }
    let whole: f64 = available.iter().map(|term| term.weight).sum();
    for term in &mut available {
        term.weight /= whole;
    }
    available
}

fn has_several_models(cells: &[RankedCell]) -> bool {
    let models: BTreeSet<&str> = cells
        .iter()
        .map(|cell| cell.cell.identity.model.as_str())
        .collect();
    models.len() > 1
}

/// The use case without what stands beside and counts tokens, of which models differ in what they are.
///
/// # Errors
/// A limit counts them.
fn across_models(use_case: &UseCase, notes: &mut Vec<String>) -> Result<UseCase, RecommendError> {
    let mut limits = use_case.limits.iter();
    if let Some(limit) = limits.find(|limit| limit.measure.counts_tokens()) {
        return Err(RecommendError::TokensLimited(limit.measure.id()));
    }
    let mut across = use_case.clone();
    across.front.retain(|measure| !measure.counts_tokens());
    across.show.retain(|measure| !measure.counts_tokens());
    if across != *use_case {
        notes.push(
            "figures beside that count tokens are left out: models differ in what a token is"
                .to_owned(),
        );
    }
    if across.front.len() < 2 {
        across.front.clear();
    }
    Ok(across)
}

/// What decides; where models differ in what a token is, by figures that do not count them.
fn terms(
    tokenizers_differ: bool,
    use_case: &UseCase,
    notes: &mut Vec<String>,
) -> Result<Vec<use_case::Term>, RecommendError> {
    if !tokenizers_differ {
        return Ok(use_case.terms.clone());
    }
    let term = |term: &use_case::Term| match (&term.across_models, term.measure.counts_tokens()) {
        (_, false) => Ok(term.clone()),
        (None, true) => Err(RecommendError::TokenizersDiffer(term.measure.id())),
        (Some(instead), true) => {
            notes.push(format!(
                "several models, which differ in what a token is: `{}` decides instead of `{}`",
                instead.id(),
                term.measure.id()
            ));
            Ok(use_case::Term {
                measure: *instead,
                is_lower_better: instead.is_lower_better().unwrap_or(term.is_lower_better),
                ..term.clone()
            })
        }
    };
    use_case.terms.iter().map(term).collect()
}

/// Keys in which candidates differ.
fn differing(candidates: &[Candidate<'_>], fixed: &BTreeMap<Key, String>) -> BTreeSet<Key> {
    let differs = |key: &Key| {
        let values: BTreeSet<String> = candidates.iter().map(|one| one.value(*key)).collect();
        values.len() > 1
    };
    let own = Key::ALL.into_iter().filter(|key| !fixed.contains_key(key));
    own.filter(|key| differs(key) || *key == Key::Device)
        .collect()
}

/// Whether a candidate is on the Pareto front; absent where it lacks an axis.
fn on_front(ranked: &[Ranked<'_>], use_case: &UseCase, figures: &Figures) -> Vec<Option<bool>> {
    let axes = &use_case.front;
    let point = |ranked: &Ranked<'_>| -> Option<Vec<Place>> {
        let value = |axis: &Measure| {
            let value = figures.over_tasks(ranked.candidate, axis)?;
            Some(value.mean).filter(|value| value.is_finite())
        };
        let places = axes.iter().map(|axis| value(axis).map(Place::exact));
        places.collect()
    };
    let points: Vec<Option<Vec<Place>>> = ranked.iter().map(point).collect();
    let whole: Vec<Vec<Place>> = points.iter().flatten().cloned().collect();
    let lower: Vec<bool> = axes
        .iter()
        .map(|axis| axis.is_lower_better().unwrap_or(false))
        .collect();
    let mut on_front = front(&whole, &lower).into_iter();
    points
        .iter()
        .map(|point| {
            point
                .as_ref()
                .filter(|_| !axes.is_empty())?
                .first()
                .and_then(|_| on_front.next())
        })
        .collect()
}

/// Figures beside the one that decides: the axes of the front, and what the use case wants shown.
fn shown(
    candidate: &Candidate<'_>,
    use_case: &UseCase,
    figures: &Figures,
) -> BTreeMap<String, FigureShown> {
    let measures = use_case.front.iter().chain(&use_case.show);
    measures
        .filter_map(|measure| {
            let value = figures.over_tasks(candidate, measure)?;
            let shown = FigureShown {
                value: Some(value.mean).filter(|mean| mean.is_finite()),
                unit: measure.unit().to_owned(),
            };
            Some((measure.scoped_id(figures.scope), shown))
        })
        .collect()
}

fn aggregate(tasks: &BTreeSet<&String>) -> String {
    match tasks.len() {
        0 | 1 => "one task",
        _ => "geometric mean over tasks, arithmetic for shares; limits hold for every task",
    }
    .to_owned()
}

fn caveats(
    recommended: &[Recommended],
    candidates: &[Candidate<'_>],
    is_single: bool,
) -> Vec<String> {
    let n_first = recommended.iter().filter(|one| one.place == 1).count();
    let caveats = [
        (candidates.is_empty(), "no run meets the conditions"),
        (
            !candidates.is_empty() && recommended.is_empty(),
            "nobody is recommended: every candidate is excluded, and for each it is said why",
        ),
        (
            n_first > 1,
            "those who share the first place cannot be told apart yet: any of them may be the best",
        ),
        (
            recommended.len() > 1,
            "the 95 % hold for each pair, not for the whole",
        ),
        (
            !is_single && !recommended.is_empty(),
            "the score is a weighted geometric mean, each figure as a ratio to the best candidate's score: 1 is the best, and how two candidates stand to each other does not depend on a third",
        ),
        (
            recommended.iter().any(|one| one.on_front.is_some()),
            "the Pareto front is by values, without their intervals, among those that keep all limits",
        ),
    ];
    let applying = caveats.into_iter().filter(|(applies, _)| *applies);
    applying.map(|(_, caveat)| caveat.to_owned()).collect()
}

fn fixes(several: &[(&'static str, Vec<String>)]) -> String {
    let fix = |(key, values): &(&str, Vec<String>)| {
        let first = values.first().map(String::as_str).unwrap_or_default();
        format!(
            "\n  {key} has several values ({}): add --where '{key}={first}', or `{key}` to `choose` in the use case",
            values.join(", ")
        )
    };
    several.iter().map(fix).collect()
}

fn scopes(scopes: &BTreeMap<Scope, usize>) -> String {
    let names: Vec<String> = scopes
        .iter()
        .map(|(scope, n)| format!("{scope} ({n} cells)"))
        .collect();
    names.join(" or ")
}

/// Name of the document.
pub const RECOMMEND_SCHEMA: &str = "tokwatt.recommend/1";
