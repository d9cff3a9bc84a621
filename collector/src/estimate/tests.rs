//! Made-up cells and machines of which it is known what a plan comes to.

use std::collections::BTreeMap;

use tokwatt_domain::{
    metrics::{MetricValue, RunReport, swap::BreakEven},
    power::{Provenance, Scope},
};

use super::*;
use crate::rank::{
    RankedRun, cells,
    made_up::{check_schema, powered, three, with},
};

fn of(runs: &[RankedRun]) -> Vec<RankedCell> {
    cells(runs, &[], Provenance::Measured)
}

fn module(watts: f64) -> impl Fn(&mut RunReport) {
    move |report| powered(report, Scope::Module, watts)
}

fn number(id: &str, value: f64) -> impl Fn(&mut RunReport) {
    let id = id.to_owned();
    move |report| {
        report
            .metrics
            .insert(id.clone(), Some(MetricValue::Number(value)));
    }
}

const FIT: &str = r#"{"fit": {"model": "tiny", "precision": "f32", "weights_bytes": 4000000000, "encoder_bytes": 800000000,
    "layers": 28, "kv_heads": 8, "head_size": 128, "context": 8192, "slots": 1}}"#;

fn fit_plan(json: &str) -> FitPlan {
    match Plan::parse(json).unwrap() {
        Plan::Fit(plan) => plan,
        other => panic!("{other:?}"),
    }
}

fn machine(device: &str, total: Option<u64>, baseline: Option<u64>) -> Machine {
    Machine {
        device: device.to_owned(),
        memory: "system",
        total_bytes: total,
        baseline_bytes: baseline,
    }
}

#[test]
fn a_model_is_tested_fits_does_not_fit_or_has_failed() {
    let machines = [
        machine("large", Some(64_000_000_000), Some(4_000_000_000)),
        machine("small", Some(8_000_000_000), Some(3_000_000_000)),
        machine("bare", Some(8_000_000_000), None),
        machine("tried", Some(8_000_000_000), Some(1_000_000_000)),
        machine("died", Some(8_000_000_000), Some(1_000_000_000)),
        machine("unknown", None, None),
    ];
    let tried = |failures: &[(&str, u32)], peak_bytes| Tried {
        attempts: vec![Attempt {
            n_runs: 3,
            peak_bytes,
            context: Some(8192),
            slots: Some(1),
            failures: failures
                .iter()
                .map(|(kind, n)| ((*kind).to_owned(), *n))
                .collect(),
        }],
    };
    let tried = BTreeMap::from([
        ("tried".to_owned(), tried(&[], Some(6.5e9))),
        (
            "died".to_owned(),
            tried(&[("out_of_memory", 2)], Some(7.9e9)),
        ),
    ]);
    let rows = fit(&fit_plan(FIT), &machines, &tried).unwrap();
    let outcomes: Vec<Outcome> = rows.iter().map(|row| row.outcome).collect();
    use Outcome::{Estimated, Failed, Tested, Unknown, WillNotFit};
    assert_eq!(
        outcomes,
        [Estimated, WillNotFit, Estimated, Tested, Failed, Unknown]
    );
    // 4.0 + 0.8 GB and 896 MiB beside 4 GB of 64 GB.
    assert_eq!(
        rows[0].needed_bytes,
        4_800_000_000 + (896 << 20) + 4_000_000_000
    );
    assert_eq!(rows[0].headroom_bytes, Some(55_200_000_000 - (896 << 20)));
    assert!(rows[1].headroom_bytes.unwrap() < 0);
    assert!(
        rows[2]
            .text
            .contains("never measured there, and is not counted"),
        "{}",
        rows[2].text
    );
    assert!(
        rows[4].text.contains("out_of_memory 2 times"),
        "{}",
        rows[4].text
    );
}

fn attempt(context: Option<u64>, slots: Option<u64>, n_failures: u32) -> Attempt {
    let failures = (n_failures > 0).then(|| ("out_of_memory".to_owned(), n_failures));
    Attempt {
        n_runs: 3,
        peak_bytes: Some(3e9),
        context,
        slots,
        failures: failures.into_iter().collect(),
    }
}

#[test]
fn one_configuration_shows_what_it_had_and_not_what_two_had_apart() {
    let outcome = |attempts: &[Attempt]| {
        let machines = [machine("a", Some(64_000_000_000), Some(0))];
        let tried = Tried {
            attempts: attempts.to_vec(),
        };
        let tried = BTreeMap::from([("a".to_owned(), tried)]);
        let plan = FitPlan {
            slots: 4,
            ..fit_plan(FIT)
        };
        fit(&plan, &machines, &tried).unwrap()[0].outcome
    };
    let much_context = attempt(Some(8192), Some(1), 0);
    let many_slots = attempt(Some(2048), Some(4), 0);
    let both = attempt(Some(8192), Some(4), 0);
    let apart = [much_context, many_slots.clone()];
    assert_eq!(outcome(&apart), Outcome::Estimated);
    assert_eq!(outcome(std::slice::from_ref(&both)), Outcome::Tested);
    // More than the plan asks for may fail, and the plan works all the same.
    let larger = attempt(Some(32768), Some(4), 2);
    assert_eq!(outcome(&[both, larger.clone()]), Outcome::Tested);
    assert_eq!(outcome(&[larger]), Outcome::Estimated);
    assert_eq!(
        outcome(&[many_slots, attempt(Some(8192), Some(2), 1)]),
        Outcome::Failed
    );
}

#[test]
fn runs_with_less_context_show_nothing_about_more() {
    let tried = |context, slots| {
        let attempts = vec![attempt(context, slots, 0)];
        BTreeMap::from([("a".to_owned(), Tried { attempts })])
    };
    let outcome = |total, context, slots| {
        let machines = [machine("a", Some(total), Some(0))];
        let rows = fit(&fit_plan(FIT), &machines, &tried(context, slots)).unwrap();
        rows[0].outcome
    };
    let (much, little) = (64_000_000_000, 4_000_000_000);
    assert_eq!(outcome(little, Some(8192), Some(1)), Outcome::Tested);
    assert_eq!(outcome(little, Some(2048), Some(1)), Outcome::WillNotFit);
    assert_eq!(outcome(much, Some(2048), Some(1)), Outcome::Estimated);
    assert_eq!(outcome(much, None, None), Outcome::Tested);
    assert_eq!(outcome(little, None, None), Outcome::WillNotFit);
}

#[test]
fn what_the_plan_leaves_out_is_looked_up_in_the_weights_file() {
    let facts = |report: &mut RunReport| {
        let facts = [
            ("general.architecture", "llama"),
            ("llama.block_count", "24"),
            ("llama.attention.head_count", "32"),
            ("llama.attention.head_count_kv", "4"),
            ("llama.embedding_length", "2048"),
        ];
        report.cell.configuration.model_facts = facts
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
    };
    let short = r#"{"fit": {"model": "tiny", "weights_bytes": 1, "context": 2048, "slots": 1}}"#;
    let plan = facts_of(&fit_plan(short), &of(&with(three(1, "a", 10.0), facts)));
    assert_eq!(
        (plan.layers, plan.kv_heads, plan.head_size),
        (Some(24), Some(4), Some(64))
    );
    let unknown = facts_of(&fit_plan(short), &of(&three(1, "a", 10.0)));
    let error = fit(&unknown, &[], &BTreeMap::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("--layers is missing"), "{error}");
}

fn batch_plan(pictures: &[u64], price: Option<f64>) -> BatchPlan {
    BatchPlan {
        pictures: pictures.to_vec(),
        scope: None,
        price: price.map(|per_kwh| Price {
            per_kwh,
            currency: "EUR".to_owned(),
        }),
    }
}

#[test]
fn a_batch_beyond_what_was_measured_is_an_extrapolation_with_an_interval() {
    // A picture a second, and 36 W: 36 J a picture.
    let spread = |report: &mut RunReport| {
        let factor = 1.0 + 0.01 * (f64::from(report.repetition) - 2.0);
        report.totals.insert("images".to_owned(), 100.0 * factor);
    };
    let cells = of(&with(with(three(1, "a", 10.0), spread), module(36.0)));
    let rows = batch(&batch_plan(&[100, 50_000], Some(0.3)), &cells).unwrap();
    let [within, beyond] = &rows[0].projected[..] else {
        panic!("{rows:?}");
    };
    assert_eq!(
        (within.mark, beyond.mark),
        (Mark::Measured, Mark::Extrapolated)
    );
    assert_eq!(beyond.times_measured, 500.0);
    assert!((beyond.seconds.value / 50_000.0 - 1.0).abs() < 1e-3);
    let (low, high) = beyond.seconds.ci95.unwrap();
    assert!(low < beyond.seconds.value && beyond.seconds.value < high);
    // 50,000 · 36 J are half a kWh.
    let energy = &beyond.energy[0];
    assert!((energy.kwh.value - 0.5).abs() < 1e-3, "{energy:?}");
    assert!((energy.cost.unwrap().value - 0.15).abs() < 1e-3);
    // Repetitions and the bound of 1 %.
    let (low, high) = energy.kwh.ci95.unwrap();
    assert!(low < 0.5 * 0.99 && high > 0.5 / 0.99, "{low} {high}");
}

#[test]
fn two_repetitions_predict_without_an_interval() {
    let mut runs = three(1, "a", 10.0);
    runs.pop();
    let rows = batch(&batch_plan(&[5000], None), &of(&runs)).unwrap();
    assert_eq!(
        (rows[0].n_runs, rows[0].projected[0].seconds.ci95),
        (2, None)
    );
    assert_eq!(rows[0].projected[0].energy, []);
}

#[test]
fn nothing_is_estimated_from_nothing() {
    let error = batch(&batch_plan(&[5000], None), &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("images_per_s"), "{error}");
    let plan = CostPlan {
        scope: Some(Scope::Wall),
        price: None,
    };
    let error = cost(&plan, &of(&with(three(1, "a", 10.0), module(10.0))))
        .unwrap_err()
        .to_string();
    assert!(error.contains("energy at scope wall"), "{error}");
}

#[test]
fn a_million_tokens_cost_what_their_energy_does() {
    // 10 W at 10 tok/s: 1 J a token, 10 J a picture.
    let cells = of(&with(three(1, "a", 10.0), module(10.0)));
    let plan = CostPlan {
        scope: None,
        price: Some(Price {
            per_kwh: 0.36,
            currency: "EUR".to_owned(),
        }),
    };
    let rows = cost(&plan, &cells).unwrap();
    assert_eq!((rows.len(), rows[0].scope), (1, Scope::Module));
    assert!((rows[0].kwh_per_million_tokens.unwrap().value - 1e6 / 3.6e6).abs() < 1e-6);
    assert!((rows[0].cost_per_million_tokens.unwrap().value - 0.1).abs() < 1e-6);
    assert!((rows[0].cost_per_1000_images.unwrap().value - 0.001).abs() < 1e-9);
}

#[test]
fn a_swap_pays_when_what_it_saves_is_what_it_cost() {
    let model = |name: &str, successes: f64| {
        let name = name.to_owned();
        move |report: &mut RunReport| {
            report.cell.identity.model.clone_from(&name);
            report.totals.insert("successes".to_owned(), successes);
        }
    };
    // 100 s for 20 requests and for 50: 5 s and 2 s, and 29 s of loading: 10 requests.
    let small = with(three(4, "a", 10.0), model("small", 50.0));
    let runs = [
        with(
            with(three(1, "a", 10.0), model("large", 20.0)),
            number("memory_peak.process_tree", 5e9),
        ),
        with(
            with(small.clone(), number("load_time.swap", 29.0)),
            number("memory_peak.process_tree", 2e9),
        ),
    ]
    .concat();
    let plan = SwapPlan {
        from: vec!["model=large".to_owned()],
        to: vec!["model=small".to_owned()],
    };
    let machines = [machine("a", Some(8_000_000_000), Some(1_500_000_000))];
    let rows = swap(&plan, &of(&runs), &machines).unwrap();
    let row = &rows[0];
    assert_eq!(
        (row.requests, row.mark),
        (Some(BreakEven::After(10)), Mark::Measured)
    );
    assert_eq!(row.together.map(|together| together.fits), Some(false));
    assert!(row.reasons.contains_key("energy"), "{row:?}");
    let [best, worst] = row.requests_range.unwrap();
    assert_eq!((best, worst), (BreakEven::After(10), BreakEven::After(10)));
    let cold = [
        with(three(1, "a", 10.0), model("large", 20.0)),
        with(small, number("load_time.cold", 30.0)),
    ]
    .concat();
    let rows = swap(&plan, &of(&cold), &[]).unwrap();
    assert_eq!(
        (rows[0].mark, rows[0].load_kind.as_deref()),
        (Mark::Estimated, Some("cold"))
    );
    assert_eq!(rows[0].together, None);
    let backwards = SwapPlan {
        from: plan.to.clone(),
        to: plan.from.clone(),
    };
    let rows = swap(&backwards, &of(&runs), &[]).unwrap();
    assert_eq!((rows[0].requests, rows[0].load_s), (None, None));
    assert!(
        rows[0].reasons["load_s"].contains("no load"),
        "{:?}",
        rows[0].reasons
    );
}

#[test]
fn a_plan_that_makes_no_sense_is_refused() {
    let refused = |json: &str, word: &str| {
        let error = Plan::parse(json).unwrap_err().to_string();
        assert!(error.contains(word), "`{word}` is not in: {error}");
    };
    refused("{}", "cannot be read");
    refused(r#"{"guess": {}}"#, "guess");
    refused(r#"{"batch": {"pictures": []}}"#, "how many");
    refused(r#"{"batch": {"pictures": [0]}}"#, "above 0");
    refused(
        r#"{"cost": {"price": {"per_kwh": -1.0, "currency": "EUR"}}}"#,
        "-1 per kWh",
    );
    refused(&FIT.replace("4000000000", "0"), "--weights is 0");
    refused(
        r#"{"swap": {"from": [], "to": ["model=a"]}}"#,
        "both models",
    );
}

#[test]
fn estimates_are_as_their_schema_says() {
    let check = |plan: Plan, answer: Answer| {
        let estimate = Estimate {
            schema: ESTIMATE_SCHEMA.to_owned(),
            provenance: Provenance::Measured,
            notes: notes(&answer),
            plan,
            answer,
        };
        let open = ["/key", "/failures", "/reasons", "/plan", "/answer"];
        check_schema(tokwatt_proto::documents::ESTIMATE_SCHEMA, &estimate, &open);
    };
    let plan = fit_plan(FIT);
    let machines = [machine("a", Some(8_000_000_000), Some(1))];
    let rows = fit(&plan, &machines, &BTreeMap::new()).unwrap();
    check(Plan::Fit(plan), Answer::Fit(rows));
    let cells = of(&with(three(1, "a", 10.0), module(10.0)));
    let plan = batch_plan(&[5000], Some(0.3));
    let rows = batch(&plan, &cells).unwrap();
    check(Plan::Batch(plan), Answer::Batch(rows));
    let plan = CostPlan {
        scope: None,
        price: None,
    };
    let rows = cost(&plan, &cells).unwrap();
    check(Plan::Cost(plan), Answer::Cost(rows));
    let small = |report: &mut RunReport| {
        report.cell.identity.model = "small".to_owned();
        report.totals.insert("successes".to_owned(), 200.0);
    };
    let loaded = with(
        with(three(4, "a", 10.0), small),
        number("load_time.warm", 30.0),
    );
    let plan = SwapPlan {
        from: vec!["model=tiny".to_owned()],
        to: vec!["model=small".to_owned()],
    };
    let rows = swap(&plan, &of(&[three(1, "a", 10.0), loaded].concat()), &[]).unwrap();
    check(Plan::Swap(plan), Answer::Swap(rows));
}
