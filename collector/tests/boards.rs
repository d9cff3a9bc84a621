//! Boards as people ask for them: several scopes side by side, several models, several tasks.

use tempfile::TempDir;
use tokwatt_domain::{
    ids::{DeviceId, RunId},
    leaderboard::Boards,
    power::Scope,
    run::RunTrace,
};
use tokwatt_proto::Record;

use crate::{
    agent::{block_on, deliver, records, trace_with_power},
    command_line::{Server, refuses},
};

/// Three runs whose traces were changed.
fn spool(
    device: &str,
    first_run: u8,
    token_ms: u64,
    change: impl Fn(&mut RunTrace),
) -> Vec<Vec<u8>> {
    let mut spool = Vec::new();
    for repetition in 1..=3_u8 {
        let run = RunId([first_run + repetition; 16]);
        let mut trace = trace_with_power(device, run, u32::from(repetition), token_ms);
        change(&mut trace);
        spool.extend(records(&trace).iter().map(Record::encode));
    }
    spool
}

/// A second sensor over all of the machine, which draws three times as much.
fn with_an_input(trace: &mut RunTrace) {
    let mut input = trace.segments[0].power[0].clone();
    input.sensor.scope = Scope::SystemIn;
    for sample in &mut input.samples {
        sample.values.iter_mut().for_each(|value| *value *= 3);
    }
    trace.segments[0].power.push(input);
}

#[test]
fn scopes_are_answered_one_after_the_other_with_the_warning_first() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    block_on(async {
        deliver(
            server.addr(),
            "both",
            1,
            &spool("both", 0, 5, with_an_input),
        )
        .await;
        deliver(server.addr(), "module", 1, &spool("module", 10, 9, |_| ())).await;
    });
    let question = ["rank", "--metric", "j_per_request"];
    refuses(
        &[&question[..], &["--collector", &server.url]].concat(),
        &[
            "j_per_request@module or j_per_request@system_in",
            "--allow-mixed-scope",
        ],
    );
    let ask = |more: &[&str]| {
        let mixed = [&question[..], &["--allow-mixed-scope"], more].concat();
        server.ask(&mixed)
    };
    let boards: Boards = serde_json::from_str(&ask(&["--format", "json"])).unwrap();
    assert_eq!(boards.schema, "tokwatt.boards/1");
    let rows = boards
        .boards
        .iter()
        .map(|board| (board.scope, board.rows.len()));
    assert_eq!(
        rows.collect::<Vec<_>>(),
        [(Some(Scope::Module), 2), (Some(Scope::SystemIn), 1)]
    );
    let text = ask(&[]);
    let place = |words: &str| {
        text.find(words)
            .unwrap_or_else(|| panic!("{words}: {text}"))
    };
    assert_eq!(place("! these boards are of different power scopes"), 0);
    assert!(place("j_per_request@module") < place("j_per_request@system_in"));
    let named = server.ask(&["rank", "--metric", "j_per_request@module"]);
    assert!(text.contains(named.trim_end()), "{text}\n{named}");
}

#[test]
fn models_are_ranked_by_what_does_not_count_tokens_with_their_answers_beside() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let other = |trace: &mut RunTrace| {
        trace.header.cell.identity.model = "other".to_owned();
        for request in &mut trace.segments[0].requests {
            "a small red ball".clone_into(&mut request.answer);
        }
    };
    let mut both = spool("lab-1", 0, 5, |_| ());
    both.extend(spool("lab-1", 10, 9, other));
    block_on(deliver(server.addr(), "lab-1", 1, &both));
    let tokens = ["rank", "--metric", "output_tps", "--by", "model"];
    refuses(
        &[&tokens[..], &["--collector", &server.url]].concat(),
        &["images_per_s", "--across-tokenizers"],
    );
    let flagged = server.ask(&[&tokens[..], &["--across-tokenizers"]].concat());
    assert!(
        flagged.contains("tokenizer_differs (every row): models differ"),
        "{flagged}"
    );
    let latency = server.ask(&["rank", "--metric", "request_latency", "--by", "model"]);
    assert!(latency.contains("output_chars"), "{latency}");
    let row = |model: &str| {
        let mut lines = latency.lines().filter(|line| line.contains(model));
        lines.next().map(str::to_owned).unwrap_or_default()
    };
    assert!(
        row("tiny").contains("27") && row("other").contains("16.00"),
        "{latency}"
    );
    assert!(!latency.contains("tokenizer_differs"), "{latency}");
}

#[test]
fn an_aggregate_is_named_on_the_board_and_refused_where_there_is_none() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let device = DeviceId::parse("lab-1").unwrap();
    let scene = |trace: &mut RunTrace| {
        trace.header.device = device.clone();
        trace.header.cell.identity.task = "scene_context".to_owned();
    };
    let mut both = spool("lab-1", 0, 5, |_| ());
    both.extend(spool("lab-1", 10, 9, scene));
    block_on(deliver(server.addr(), "lab-1", 1, &both));
    let question = ["rank", "--metric", "output_tps"];
    for (more, want) in [
        (&[][..], "ratio of sums over tasks"),
        (&["--aggregate", "sums"], "ratio of sums over tasks"),
        (&["--aggregate", "macro"], "geometric mean over tasks"),
    ] {
        let board = server.ask(&[&question[..], more].concat());
        assert!(board.contains(want), "{board}");
    }
    let refuses = |question: &[&str], words: &[&str]| {
        refuses(&[question, &["--collector", &server.url]].concat(), words);
    };
    refuses(
        &["rank", "--metric", "output_tps", "--aggregate", "mean"],
        &["unknown aggregate `mean`"],
    );
    refuses(
        &["rank", "--metric", "ttft", "--aggregate", "sums"],
        &["`ttft` is not made of sums", "--aggregate macro"],
    );
}
