//! A use case, as its file says it. The form of the file is described in `configs/rankings/README.md`.

use serde::Deserialize;
use tokwatt_domain::power::Scope;

use super::{
    Axis, LimitShown, TermShown, UseCaseShown,
    candidate::Candidate,
    limit::{Bound, Limit},
    measure::{Figures, Measure},
};
use crate::rank::{Condition, Key, RankError};

/// What is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct UseCase {
    /// Its name.
    pub name: String,
    version: u32,
    /// What it is for, as a question.
    pub question: String,
    pub(super) choose: Vec<Key>,
    /// Conditions on the runs that take part.
    pub conditions: Vec<Condition>,
    pub(super) scope: Option<Scope>,
    pub(super) limits: Vec<Limit>,
    pub(super) terms: Vec<Term>,
    pub(super) front: Vec<Measure>,
    pub(super) show: Vec<Measure>,
}

/// Part of what decides.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Term {
    pub(super) measure: Measure,
    /// What decides where models differ in what a token is.
    pub(super) across_models: Option<Measure>,
    /// What decides where no candidate has it, and whether less of that is better.
    pub(super) otherwise: Option<(Measure, bool)>,
    /// Whether the others decide alone where no candidate has it.
    pub(super) is_optional: bool,
    pub(super) is_lower_better: bool,
    /// All add up to 1.
    pub(super) weight: f64,
}

/// Why a use case cannot be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum UseCaseError {
    /// It is no TOML, or has keys that there are none of.
    #[error("the use case cannot be read: {0}")]
    Form(String),
    /// It is of another version of tokwatt.
    #[error("the use case is of form {0}, this version reads form {FORM}")]
    OtherForm(u32),
    /// A key of it.
    #[error("`{key}` of the use case: {problem}")]
    Key {
        /// Which one.
        key: String,
        /// What is wrong.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    form: u32,
    name: String,
    version: u32,
    question: String,
    choose: Vec<String>,
    #[serde(default)]
    r#where: Vec<String>,
    scope: Option<String>,
    #[serde(default)]
    front: Vec<String>,
    #[serde(default)]
    show: Vec<String>,
    #[serde(default)]
    limit: Vec<LimitFile>,
    objective: Vec<TermFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitFile {
    metric: String,
    at_most: Option<f64>,
    at_least: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TermFile {
    metric: String,
    across_models: Option<String>,
    otherwise: Option<String>,
    #[serde(default)]
    optional: bool,
    better: Option<BetterFile>,
    weight: Option<f64>,
}

#[derive(Clone, Copy, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
enum BetterFile {
    Lower,
    Higher,
}

impl UseCase {
    /// Reads a use case from the text of its file.
    ///
    /// # Errors
    /// Which key is wrong, and what there is instead.
    pub fn parse(text: &str) -> Result<Self, UseCaseError> {
        let file: File =
            toml::from_str(text).map_err(|error| UseCaseError::Form(error.to_string()))?;
        if file.form != FORM {
            return Err(UseCaseError::OtherForm(file.form));
        }
        Ok(Self {
            choose: each("choose", &file.choose, Key::parse)?,
            conditions: each("where", &file.r#where, Condition::parse)?,
            scope: file.scope.as_deref().map(scope).transpose()?,
            limits: file.limit.iter().map(limit).collect::<Result<_, _>>()?,
            terms: terms(&file.objective)?,
            front: axes(&file.front)?,
            show: each("show", &file.show, Measure::parse)?,
            name: file.name,
            version: file.version,
            question: file.question,
        })
    }

    /// The same with what the asker adds: conditions, the power scope, and limits that take the place of those over the same metric.
    /// Each limit is `ID=VALUE`, ID as in the file.
    ///
    /// # Errors
    /// Which of them is wrong.
    pub fn with(
        mut self,
        conditions: &[String],
        scope: &str,
        at_most: &[String],
        at_least: &[String],
    ) -> Result<Self, UseCaseError> {
        let added = each("where", conditions, Condition::parse)?;
        // What the asker says holds instead.
        self.conditions
            .retain(|own| !added.iter().any(|other| other.key == own.key));
        self.conditions.extend(added);
        if !scope.is_empty() {
            self.scope = Some(self::scope(scope)?);
        }
        for text in at_most {
            self.limit(text, "at_most", Bound::AtMost)?;
        }
        for text in at_least {
            self.limit(text, "at_least", Bound::AtLeast)?;
        }
        Ok(self)
    }

    fn limit(
        &mut self,
        text: &str,
        key: &str,
        bound: fn(f64) -> Bound,
    ) -> Result<(), UseCaseError> {
        let problem = |problem: String| wrong(key, problem);
        let (id, value) = text
            .split_once('=')
            .ok_or_else(|| problem(format!("`{text}` has no value: write ID=VALUE")))?;
        let measure = Measure::parse(id).map_err(|error| problem(error.to_string()))?;
        let value: f64 = value
            .trim()
            .parse()
            .ok()
            .filter(|value: &f64| value.is_finite())
            .ok_or_else(|| problem(format!("`{value}` is no number, in `{text}`")))?;
        let limit = Limit {
            measure,
            bound: bound(value),
        };
        let is_same_side = |other: &Limit| {
            std::mem::discriminant(&other.bound) == std::mem::discriminant(&limit.bound)
        };
        self.limits
            .retain(|other| other.measure != limit.measure || !is_same_side(other));
        self.limits.push(limit);
        Ok(())
    }

    /// Whether what decides or limits needs a power scope to be chosen.
    pub(super) fn is_over_energy(&self) -> bool {
        let limits = self.limits.iter().map(|limit| limit.measure);
        let terms = self
            .terms
            .iter()
            .flat_map(|term| [Some(term.measure), term.across_models]);
        let mut measures = limits.chain(terms.flatten());
        measures.any(|measure| measure.needs_scope())
    }

    /// Whether requests that keep limits are counted in what decides, is limited or is an axis: the limits must be the same then.
    pub(super) fn is_within_limits(&self) -> bool {
        let limits = self.limits.iter().map(|limit| limit.measure);
        let terms = self.terms.iter();
        let terms = terms.flat_map(|term| [Some(term.measure), term.across_models]);
        let mut measures = limits
            .chain(terms.flatten())
            .chain(self.front.iter().copied());
        measures.any(|measure| measure.id() == "goodput")
    }

    /// The same without axes and figures beside that are over energy: where several scopes are there and none was chosen.
    pub(super) fn without_energy(&self) -> Self {
        let mut case = self.clone();
        case.front.retain(|measure| !measure.needs_scope());
        case.show.retain(|measure| !measure.needs_scope());
        case
    }

    pub(super) fn limits_of(
        &self,
        candidate: &Candidate<'_>,
        figures: &Figures,
    ) -> Vec<LimitShown> {
        let limits = self.limits.iter();
        limits
            .filter_map(|limit| limit.kept(candidate, figures))
            .collect()
    }

    /// As it is applied: `terms` decide.
    pub(super) fn shown(&self, terms: &[Term], figures: &Figures) -> UseCaseShown {
        UseCaseShown {
            name: self.name.clone(),
            version: self.version,
            question: self.question.clone(),
            choose: self
                .choose
                .iter()
                .map(|key| key.as_str().to_owned())
                .collect(),
            limits: self
                .limits
                .iter()
                .map(|limit| limit.shown(figures))
                .collect(),
            objective: terms.iter().map(|term| term.plain(figures)).collect(),
            front: self
                .front
                .iter()
                .map(|axis| Axis {
                    metric: axis.scoped_id(figures.scope),
                    unit: axis.unit().to_owned(),
                    lower_is_better: axis.is_lower_better().unwrap_or(false),
                })
                .collect(),
        }
    }
}

impl Term {
    pub(super) fn shown(&self, candidate: &Candidate<'_>, figures: &Figures) -> TermShown {
        let value = figures.over_tasks(candidate, &self.measure);
        TermShown {
            value: value
                .map(|value| value.mean)
                .filter(|mean| mean.is_finite()),
            ..self.plain(figures)
        }
    }

    fn plain(&self, figures: &Figures) -> TermShown {
        TermShown {
            metric: self.measure.scoped_id(figures.scope),
            unit: self.measure.unit().to_owned(),
            lower_is_better: self.is_lower_better,
            weight: self.weight,
            value: None,
        }
    }
}

fn limit(file: &LimitFile) -> Result<Limit, UseCaseError> {
    let key = format!("limit on {}", file.metric);
    let bound = match (file.at_most, file.at_least) {
        (Some(most), None) => Bound::AtMost(most),
        (None, Some(least)) => Bound::AtLeast(least),
        _ => {
            return Err(wrong(
                &key,
                "takes one of `at_most` and `at_least`".to_owned(),
            ));
        }
    };
    let measure = Measure::parse(&file.metric).map_err(|error| wrong(&key, error.to_string()))?;
    Ok(Limit { measure, bound })
}

fn terms(files: &[TermFile]) -> Result<Vec<Term>, UseCaseError> {
    let mut terms: Vec<Term> = files.iter().map(term).collect::<Result<_, _>>()?;
    let whole: f64 = terms.iter().map(|term| term.weight).sum();
    if terms.is_empty() || whole <= 0.0 {
        return Err(wrong("objective", "nothing decides".to_owned()));
    }
    for term in &mut terms {
        term.weight /= whole;
    }
    Ok(terms)
}

fn term(file: &TermFile) -> Result<Term, UseCaseError> {
    let key = format!("objective {}", file.metric);
    let parse = |text: &str| Measure::parse(text).map_err(|error| wrong(&key, error.to_string()));
    let measure = parse(&file.metric)?;
    let stated = file.better.map(|better| better == BetterFile::Lower);
    let direction = |measure: &Measure| match (measure.is_lower_better(), stated) {
        (Some(own), Some(stated)) if own != stated => {
            Err(wrong(&key, "it is better the other way round".to_owned()))
        }
        (Some(own), _) => Ok(own),
        (None, Some(stated)) => Ok(stated),
        (None, None) => Err(wrong(
            &key,
            format!(
                "neither more nor less of `{}` is better by itself: say `better = \"higher\"` or `\"lower\"`",
                measure.id()
            ),
        )),
    };
    let is_lower_better = direction(&measure)?;
    let otherwise = file.otherwise.as_deref().map(parse).transpose()?;
    let otherwise = match otherwise {
        None => None,
        Some(other) => Some((other, direction(&other)?)),
    };
    let weight = file.weight.unwrap_or(1.0);
    if !(weight.is_finite() && weight > 0.0) {
        return Err(wrong(&key, format!("weight {weight} is not above 0")));
    }
    Ok(Term {
        measure,
        across_models: file.across_models.as_deref().map(parse).transpose()?,
        otherwise,
        is_optional: file.optional,
        is_lower_better,
        weight,
    })
}

fn axes(texts: &[String]) -> Result<Vec<Measure>, UseCaseError> {
    let axes = each("front", texts, Measure::parse)?;
    match axes.iter().find(|axis| axis.is_lower_better().is_none()) {
        None => Ok(axes),
        Some(axis) => Err(wrong(
            "front",
            format!("of `{}` neither more nor less is better", axis.id()),
        )),
    }
}

fn scope(text: &str) -> Result<Scope, UseCaseError> {
    text.parse()
        .map_err(|error: tokwatt_domain::power::UnknownScope| wrong("scope", error.to_string()))
}

fn each<T>(
    key: &str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, RankError>,
) -> Result<Vec<T>, UseCaseError> {
    let parse = |text: &String| parse(text).map_err(|error| wrong(key, error.to_string()));
    texts.iter().map(parse).collect()
}

fn wrong(key: &str, problem: String) -> UseCaseError {
    UseCaseError::Key {
        key: key.to_owned(),
        problem,
    }
}

/// Form of the files that this version reads.
const FORM: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = r#"
        form = 1
        name = "plain"
        version = 1
        question = "Which?"
        choose = ["device"]
        [[limit]]
        metric = "request_latency.p90"
        at_most = 1.0
        [[objective]]
        metric = "j_per_image"
    "#;

    #[track_caller]
    fn check_refused(from: &str, to: &str, words: &[&str]) {
        let text = PLAIN.replace(from, to);
        assert_ne!(text, PLAIN);
        let error = UseCase::parse(&text).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_was_probably_meant() {
        assert!(UseCase::parse(PLAIN).is_ok());
        check_refused("form = 1", "form = 2", &["form 2", "form 1"]);
        check_refused(
            "\"j_per_image\"",
            "\"j_per_img\"",
            &["objective j_per_img", "did you mean `j_per_image`?"],
        );
        check_refused("[\"device\"]", "[\"devise\"]", &["`choose`", "`device`?"]);
        check_refused("at_most", "at_best", &["at_best", "at_least"]);
        check_refused(
            "at_most = 1.0",
            "",
            &["limit on request_latency.p90", "at_most", "at_least"],
        );
        check_refused("\"j_per_image\"", "\"output_chars\"", &["better ="]);
        check_refused(
            "\"j_per_image\"",
            "\"j_per_image\"\nbetter = \"higher\"",
            &["other way"],
        );
        check_refused(
            "\"j_per_image\"",
            "\"j_per_image\"\nweight = 0.0",
            &["weight 0"],
        );
    }

    #[test]
    fn the_asker_has_the_last_word() {
        let texts = |texts: &[&str]| {
            texts
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>()
        };
        let case = UseCase::parse(PLAIN).unwrap();
        let limits = texts(&["request_latency.p90=0.5", "avg_power=30"]);
        let case = case
            .with(&texts(&["device=a"]), "module", &limits, &[])
            .unwrap();
        let bounds: Vec<Bound> = case.limits.iter().map(|limit| limit.bound).collect();
        assert_eq!(bounds, [Bound::AtMost(0.5), Bound::AtMost(30.0)]);
        assert_eq!(case.scope, Some(Scope::Module));
        let refused = |limit: &str| {
            let case = UseCase::parse(PLAIN).unwrap();
            let error = case.with(&[], "", &texts(&[limit]), &[]).unwrap_err();
            error.to_string()
        };
        assert!(refused("avg_power").contains("ID=VALUE"));
        assert!(refused("avg_power=much").contains("`much` is no number"));
        assert!(refused("avg_powr=3").contains("did you mean `avg_power`?"));
    }

    #[test]
    fn weights_add_up_to_one() {
        let more = "[[objective]]\nmetric = \"quality\"\nweight = 3.0\n";
        let case = UseCase::parse(&format!("{PLAIN}\n{more}")).unwrap();
        let weights: Vec<f64> = case.terms.iter().map(|term| term.weight).collect();
        assert_eq!(weights, [0.25, 0.75]);
    }
}
