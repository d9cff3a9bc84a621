//! `--simulated-fleet`: machines that do not exist, boards of them, and whether each board says what is true.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, bail};
use tokwatt_agent::simulate::Expected;
use tokwatt_domain::leaderboard::{Board, Row};
use tokwatt_harness::{CollectorProcess, SimulatedFleet, serve, tell};

use crate::{show, title};

/// Measures the fleet into a collector over `data`, asks, and judges the answers.
pub(super) fn fleet(data: &Path, agents: &Path, seed: u64) -> anyhow::Result<()> {
    let fleet = SimulatedFleet::of_seed(seed)?;
    let mut command = serve(data);
    // An agent that has delivered everything goes; that is no news here.
    command.env("TOKWATT_LOG", "error");
    let collector = CollectorProcess::start_as(command, data)?;
    title("measuring machines that do not exist, in virtual time; everything is marked simulated");
    fleet.deliver(collector.url(), agents, &tell)?;
    let mut n_wrong = 0;
    for (why, question) in QUESTIONS {
        title(why);
        let question = named(&fleet, &format!("{question} {EVERYWHERE}"));
        let question: Vec<&str> = question.split(' ').collect();
        show(&collector, &question)?;
        n_wrong += judge(&fleet, &board(&collector, &question)?)?;
    }
    title("devices");
    show(&collector, &["devices", "list"])?;
    collector.stop()?;
    match n_wrong {
        0 => Ok(()),
        n => bail!("{n} pairs of rows stand otherwise than they truly are"),
    }
}

/// What a person asks first, and what makes it a hard question.
const QUESTIONS: &[(&str, &str)] = &[
    (
        "which device writes fastest (Thor and GB10 have the same memory, and there are two Orins)",
        "rank --metric decode_tps --where model=made-up-robin-2b --where precision=f16",
    ),
    (
        "which device makes most of a joule at its input",
        "rank --metric tok_per_s_per_w@system_in --where model=made-up-robin-2b --where precision=q8_0",
    ),
    (
        "and which of a joule in its module",
        "rank --metric j_per_output_token@module --where model=made-up-robin-2b --where precision=q8_0",
    ),
    (
        "which device starts to answer first",
        "rank --metric ttft --where model=made-up-robin-2b --where precision=f16",
    ),
    (
        "which precision writes fastest (f16 and bf16 are as large as each other)",
        "rank --metric decode_tps --by precision --where model=made-up-heron-4b --where device={thor}",
    ),
    (
        "which precision takes least energy for an image",
        "rank --metric j_per_image@module --by precision --where model=made-up-stork-7b --where device={orin}",
    ),
    (
        "which model answers about most images (robin and finch are one model under two names)",
        "rank --metric images_per_s --by model --where precision=q4_k_m --where device={gb10}",
    ),
    (
        "which model takes least energy for an image",
        "rank --metric j_per_image@system_in --by model --where precision=q8_0 --where device={thor}",
    ),
    (
        "which model says most often how many of which things there are",
        "rank --metric counts_exact --by model --where precision=q8_0 --where device={thor}",
    ),
];

/// What all of them fix.
const EVERYWHERE: &str =
    "--provenance simulated --where suite=edge-vision --where image_px=96 --where load=closed(1)";

fn named(fleet: &SimulatedFleet, question: &str) -> String {
    let mut question = question.to_owned();
    for machine in ["orin", "thor", "gb10"] {
        let device = fleet.device(machine).unwrap_or(machine);
        question = question.replace(&format!("{{{machine}}}"), device);
    }
    question
}

fn board(collector: &CollectorProcess, question: &[&str]) -> anyhow::Result<Board> {
    let answer = collector.ask(&[question, &["--format", "json"]].concat())?;
    serde_json::from_slice(&answer.stdout).context("a board in JSON was asked for")
}

/// Says what is true, and whether the board does; how many pairs of its rows stand otherwise.
fn judge(fleet: &SimulatedFleet, board: &Board) -> anyhow::Result<usize> {
    let mut known = Vec::new();
    for row in &board.rows {
        let truth = truth(fleet, board, row);
        let truth =
            truth.with_context(|| format!("the truth about {} is not known", name(board, row)))?;
        known.push(Known {
            name: name(board, row),
            place: row.place,
            truth,
        });
    }
    let mut wrong = Vec::new();
    for (position, left) in known.iter().enumerate() {
        for right in &known[position + 1..] {
            wrong.extend(contradiction(left, right, board.lower_is_better));
        }
    }
    let truths = known.iter().map(Known::to_string);
    tell(&format!(
        "truth    {}",
        truths.collect::<Vec<_>>().join(", ")
    ));
    match wrong.is_empty() {
        true => {
            tell("verdict  right: nothing stands above what is better, and equals share a place")
        }
        false => wrong
            .iter()
            .for_each(|wrong| tell(&format!("verdict  WRONG: {wrong}"))),
    }
    Ok(wrong.len())
}

/// A row and what is true of it.
struct Known {
    name: String,
    place: Option<u32>,
    truth: f64,
}

impl std::fmt::Display for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:.4}", self.name, self.truth)
    }
}

/// What is wrong with the places of two rows: the worse one stands above, or equals are told apart. To tell too little apart is not wrong,
/// and neither is a row without a place, which says why.
fn contradiction(left: &Known, right: &Known, is_lower_better: bool) -> Option<String> {
    let (left_place, right_place) = (left.place?, right.place?);
    let is_tie = (left.truth / right.truth - 1.0).abs() < 1e-9;
    let is_better = (left.truth < right.truth) == is_lower_better;
    let is_right = match left_place.cmp(&right_place) {
        _ if is_tie => left_place == right_place,
        std::cmp::Ordering::Less => is_better,
        std::cmp::Ordering::Greater => !is_better,
        std::cmp::Ordering::Equal => true,
    };
    (!is_right).then(|| {
        format!(
            "{} has place {left_place} and {} place {right_place}",
            left.name, right.name
        )
    })
}

/// The keys that a row has, with those that all have.
fn keys<'a>(board: &'a Board, row: &'a Row) -> BTreeMap<&'a str, &'a str> {
    let all = board.fixed.iter().chain(&row.key);
    all.map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}

fn name(board: &Board, row: &Row) -> String {
    let keys = keys(board, row);
    let varying = ["device", "model", "precision"].iter();
    let varying = varying.filter(|key| row.key.contains_key(**key));
    let values = varying.filter_map(|key| keys.get(key).copied());
    values.collect::<Vec<_>>().join(" ")
}

/// What the row's figure would be, measured for ever.
fn truth(fleet: &SimulatedFleet, board: &Board, row: &Row) -> Option<f64> {
    let keys = keys(board, row);
    let get = |key: &str| keys.get(key).copied();
    let tasks: Vec<&str> = get("task")?.split(" + ").collect();
    let of_task = |task: &&str| {
        let work = fleet.work(task)?;
        fleet.expected(get("device")?, get("model")?, get("precision")?, &work)
    };
    let expected: Vec<Expected> = tasks.iter().map(of_task).collect::<Option<_>>()?;
    let n = tasks.len() as f64;
    let sum = |of: &dyn Fn(&Expected) -> f64| expected.iter().map(of).sum::<f64>();
    let seconds = sum(&|expected| expected.cycle().as_secs_f64());
    let tokens = sum(&Expected::tokens);
    let joules = || {
        let of = |expected: &Expected| Some(expected.energy(board.scope?)?.0);
        expected.iter().map(of).sum::<Option<f64>>()
    };
    let joules = joules();
    Some(match board.metric.as_str() {
        "decode_tps" => expected.first()?.decode_tps(),
        "images_per_s" => n / seconds,
        "ttft" => (sum(&|expected| expected.ttft().as_secs_f64().ln()) / n).exp(),
        "j_per_image" => joules? / n,
        "j_per_output_token" => joules? / tokens,
        "tok_per_s_per_w" => tokens / joules?,
        "counts_exact" => expected.first()?.accuracy()?,
        _ => return None,
    })
}
