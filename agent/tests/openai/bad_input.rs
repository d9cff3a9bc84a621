//! Every way in which a server can fail: each has its class, an end in bounded time and memory, and words that help.

use std::net::TcpListener;

use futures::StreamExt;
use serde_json::json;
use tokwatt_agent::backend::{Backend, Event};
use tokwatt_domain::run::{CountSource, FailureClass};

use crate::{
    Failed, answer, answering, arrivals, eventually, failed, failure, question,
    scripted::{
        Act, DONE, Gate, Scripted, answered, chunk, counted, event, finished, piece, said,
        stream_end, stream_head, streamed, whole,
    },
    settings, with,
};

/// What a question comes to that is answered like this.
#[track_caller]
fn check(acts: Vec<Act>, want: Failed, words: &[&str]) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let (server, backend) = answering(acts).await;
        let (failed, message) = failure(&backend).await;
        assert_eq!(failed, want, "{caller}: {message}");
        for words in words {
            assert!(message.contains(words), "{caller}: {message}");
        }
        assert!(!message.contains('\n') && message.len() < 1000, "{message}");
        assert_eq!(
            server.questions().len(),
            1,
            "{caller}: nothing is asked twice"
        );
    }
}

fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn an_absent_server_is_named_with_the_question_whether_it_runs() {
    let url = nowhere();
    let (class, message) = failed(with(settings(&url)).load().await.unwrap_err());
    assert_eq!(class, Failed::Nobody);
    assert!(
        message.contains(&url) && message.contains("running"),
        "{message}"
    );
}

#[tokio::test]
async fn a_server_that_dies_of_a_question_has_to_be_looked_for_again() {
    let (server, backend) = answering(vec![Act::Die]).await;
    let (class, message) = failure(&backend).await;
    assert_eq!(class, Failed::Server(FailureClass::Crashed), "{message}");
    assert_eq!(server.questions().len(), 1);
    // And nothing is asked before somebody has looked.
    let (class, message) = failure(&backend).await;
    assert_eq!(class, Failed::Server(FailureClass::Crashed));
    assert!(message.contains("was not found ready"), "{message}");
}

#[tokio::test]
async fn a_server_that_closes_instead_of_answering_is_no_idle_connection_for_ever() {
    let (server, backend) = answering(vec![Act::Close]).await;
    let (class, message) = failure(&backend).await;
    assert_eq!(class, Failed::Server(FailureClass::Crashed), "{message}");
    assert_eq!(
        server.questions().len(),
        2,
        "once on a connection that may have been closed before, once on a new one"
    );
}

#[tokio::test]
async fn a_death_in_the_middle_is_a_crash() {
    for end in [Act::Reset, Act::Close, Act::HalfClose] {
        let hold = Gate::new();
        // The half that is left open stays so until the test has seen the end.
        let acts = vec![
            stream_head(),
            piece(&said("yes")),
            end,
            Act::Wait(hold.clone()),
        ];
        let (_server, backend) = answering(acts).await;
        let mut all = arrivals(&backend, question()).await;
        let (class, message) = failed(all.pop().unwrap().unwrap_err());
        assert_eq!(class, Failed::Server(FailureClass::Crashed), "{message}");
        assert!(
            message.contains("before its answer was complete"),
            "{message}"
        );
        assert_eq!(all.len(), 2, "what came before stands");
        hold.open();
    }
}

#[tokio::test]
async fn a_stream_that_only_stops_is_no_answer() {
    let without_finish = streamed(&[&said("yes"), DONE]);
    let what = Failed::Question(FailureClass::Protocol);
    check(without_finish, what, &["without a finish reason"]).await;
    check(streamed(&[]), what, &["without a word"]).await;
    let cut = streamed(&[&said("yes"), "data: {\"choices\": [{\"ind"]);
    check(cut, what, &["no chat completion"]).await;
}

#[tokio::test]
async fn garbage_is_called_so_with_its_beginning() {
    let what = Failed::Question(FailureClass::Protocol);
    let noise = vec![
        Act::Write(b"\x16\x03\x01 hello\r\n\r\n".repeat(10)),
        Act::Close,
    ];
    check(noise, what, &["something else than HTTP/1.1"]).await;
    let page = whole(
        "200 OK",
        "content-type: text/html\r\n",
        "<html>\n<b>Sign in</b>\n</html>",
    );
    check(page, what, &["<html> <b>Sign in</b>"]).await;
    let damaged = streamed(&[&said("yes"), "data: {\"choices\": 7}\n\n", DONE]);
    check(damaged, what, &["no chat completion", "{\"choices\": 7}"]).await;
    let zipped = whole("200 OK", "content-encoding: gzip\r\n", "\x1f");
    check(zipped, what, &["gzip", "not asked for"]).await;
    let unstreamed = answered("200 OK", &json!({"choices": []}));
    check(unstreamed, what, &["one piece", "--no-stream"]).await;
}

/// The server sees how much of it was wanted.
#[tokio::test]
async fn nothing_without_end_is_read_for_long() {
    let endless = [
        (
            vec![
                stream_head(),
                Act::WriteForEver(chunk(&": ping\n\n".repeat(512))),
            ],
            "nothing but comments",
        ),
        (
            vec![stream_head(), Act::WriteForEver(chunk(&"x".repeat(4096)))],
            "a line without end",
        ),
        (
            vec![
                Act::Write(b"HTTP/1.1 200 OK\r\n".to_vec()),
                Act::WriteForEver(b"x-more: and more\r\n".to_vec()),
            ],
            "something else than HTTP/1.1",
        ),
    ];
    for (acts, words) in endless {
        let (server, backend) = answering(acts).await;
        let (class, message) = failure(&backend).await;
        assert_eq!(class, Failed::Question(FailureClass::Protocol), "{message}");
        assert!(message.contains(words), "{message}");
        eventually("the end of the flood", || server.n_open() <= 1).await;
        // What we read, and what the kernel's buffers on both sides took.
        let bytes = server.bytes_written();
        assert!(bytes < 16 << 20, "{bytes} bytes were taken");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_heard_out() {
    let word = said(&"x".repeat(256 << 10));
    let acts = vec![stream_head(), Act::WriteForEver(chunk(&word))];
    let (server, backend) = answering(acts).await;
    let all = arrivals(&backend, question()).await;
    let (class, message) = failed(all.into_iter().find_map(Result::err).unwrap());
    assert_eq!(class, Failed::Question(FailureClass::Protocol), "{message}");
    assert!(message.contains("an answer of more than"), "{message}");
    eventually("the end of the flood", || server.n_open() <= 1).await;
    let bytes = server.bytes_written();
    assert!(bytes < 80 << 20, "{bytes} bytes were taken");
}

#[tokio::test]
async fn ten_megabytes_of_comments_are_no_answer_whatever_comes_behind() {
    let mut acts = vec![stream_head()];
    acts.extend((0..2560).map(|_| piece(&": ping\n\n".repeat(512))));
    acts.extend([piece(&said("yes")), piece(&finished("stop")), stream_end()]);
    let what = Failed::Question(FailureClass::Protocol);
    check(acts, what, &["nothing but comments"]).await;
}

#[tokio::test]
async fn comments_pings_and_empty_deltas_are_no_pieces() {
    let role =
        event(&json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}));
    let progress = event(&json!({"choices": [], "prompt_progress": {"total": 9, "processed": 3}}));
    let events = [
        ": ping\n\n",
        &role,
        &progress,
        &said("yes"),
        ":\n\n",
        &finished("stop"),
        DONE,
    ];
    let (_server, backend) = answering(streamed(&events)).await;
    let all = arrivals(&backend, question()).await;
    let events: Vec<_> = all
        .into_iter()
        .map(|arrival| arrival.unwrap().event)
        .collect();
    assert!(
        matches!(&events[..], [Event::Sent, Event::Chunk { bytes, .. }, Event::Done(_)] if bytes == b"yes"),
        "{events:?}"
    );
}

#[tokio::test]
async fn an_answer_without_counts_is_one_without_counts() {
    let zeros = counted(0, 0);
    for counts in ["", zeros.as_str(), counted(9, 0).as_str()] {
        let events = [&said("yes"), &finished("stop"), counts, DONE];
        let (_server, backend) = answering(streamed(&events)).await;
        let (text, finish) = answer(&backend).await;
        assert_eq!((text.as_str(), finish.tokens), ("yes", None));
    }
}

#[tokio::test]
async fn counts_beyond_belief_make_a_failure() {
    let what = Failed::Question(FailureClass::Protocol);
    for (prompt, completion) in [(-1, 3), (5, -3), (5, 4_000_000_000), (i64::MAX, 1)] {
        let events = [
            &said("yes"),
            &finished("stop"),
            &counted(prompt, completion),
            DONE,
        ];
        check(streamed(&events), what, &["cannot be believed"]).await;
    }
    let cached = json!({"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 6}});
    let counts = event(&json!({"choices": [], "usage": cached}));
    let events = [&said("yes"), &finished("stop"), &counts, DONE];
    check(streamed(&events), what, &["6 cached tokens of 5"]).await;
    let huge = "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 1e99, \"completion_tokens\": 1}}\n\n";
    let events = [&said("yes"), &finished("stop"), huge, DONE];
    check(streamed(&events), what, &["no chat completion"]).await;
}

#[tokio::test]
async fn a_redirect_is_told_and_not_followed() {
    let other = Scripted::start(|_| None);
    let there = format!("location: {}/v1/chat/completions\r\n", other.url());
    let acts = whole("307 Temporary Redirect", &there, "");
    let what = Failed::Question(FailureClass::Http);
    check(acts, what, &["307", &other.url(), "not followed"]).await;
    assert_eq!(other.n_connections(), 0);
}

#[tokio::test]
async fn a_refusal_is_classed_and_says_what_to_do() {
    let http = Failed::Question(FailureClass::Http);
    let error = |words: &str| json!({"error": {"message": words, "type": "x"}});
    let refuse = |status: &str, words: &str| answered(status, &error(words));
    check(
        refuse("401 Unauthorized", "no key"),
        Failed::Setup,
        &["401", "no key", "--api-key-file"],
    )
    .await;
    check(
        refuse("403 Forbidden", "no"),
        Failed::Setup,
        &["403", "TOKWATT_API_KEY"],
    )
    .await;
    check(
        refuse("404 Not Found", "no such model"),
        http,
        &["404", "no such model", "`m`"],
    )
    .await;
    check(
        refuse("400 Bad Request", "too long"),
        http,
        &["400", "too long"],
    )
    .await;
    let busy = whole("429 Too Many Requests", "retry-after: 17\r\n", "slow down");
    check(
        busy,
        http,
        &["429", "retry after `17`", "slow down", "lower the load"],
    )
    .await;
    let loading = refuse("503 Service Unavailable", "Loading model");
    check(
        loading,
        Failed::Server(FailureClass::Http),
        &["503", "Loading model"],
    )
    .await;
    check(
        refuse("503 Service Unavailable", "queue full"),
        http,
        &["503", "no room"],
    )
    .await;
    let memory = refuse(
        "500 Internal Server Error",
        "CUDA out of memory. Tried to allocate",
    );
    check(
        memory,
        Failed::Question(FailureClass::OutOfMemory),
        &["500", "CUDA"],
    )
    .await;
    let page = whole(
        "502 Bad Gateway",
        "content-type: text/html\r\n",
        &"<p>bad</p>\n".repeat(9000),
    );
    check(page, http, &["502", "<p>bad</p>"]).await;
    let silent = vec![
        Act::Write(b"HTTP/1.1 500 Internal Server Error\r\n\r\n".to_vec()),
        Act::Close,
    ];
    check(silent, http, &["500", "nothing more"]).await;
}

#[tokio::test]
async fn an_error_inside_a_success_is_a_failure() {
    let http = Failed::Question(FailureClass::Http);
    let error = json!({"error": {"message": "the engine is on fire", "code": 500}});
    let data = event(&error);
    check(streamed(&[&data, DONE]), http, &["on fire"]).await;
    check(streamed(&[&said("yes"), &data]), http, &["on fire"]).await;
    check(
        streamed(&["event: error\ndata: on fire\n\n"]),
        http,
        &["on fire"],
    )
    .await;
    check(answered("200 OK", &error), http, &["on fire"]).await;
    let memory = event(&json!({"error": "failed to allocate compute buffers"}));
    check(
        streamed(&[&memory]),
        Failed::Question(FailureClass::OutOfMemory),
        &["compute"],
    )
    .await;
}

#[tokio::test]
async fn why_an_answer_ended_decides_what_it_is() {
    let (_server, backend) = answering(streamed(&[&said("yes"), &finished("length"), DONE])).await;
    assert!(answer(&backend).await.1.is_truncated);
    let ended = |reason: &str| streamed(&[&said("yes"), &finished(reason), DONE]);
    let refused = Failed::Question(FailureClass::Refused);
    check(ended("content_filter"), refused, &["content filter"]).await;
    check(ended("abort"), refused, &["`abort`"]).await;
    let protocol = Failed::Question(FailureClass::Protocol);
    check(ended("tool_calls"), protocol, &["`tool_calls`"]).await;
}

#[tokio::test]
async fn an_answer_in_one_piece_comes_with_its_counts_or_its_error() {
    let server = Scripted::start(|_| None);
    let mut whole_answers = settings(&server.url());
    whole_answers.is_streaming = false;
    let backend = with(whole_answers);
    backend.load().await.unwrap();
    let mut asked = question();
    asked.is_streaming = false;
    let all: Vec<_> = backend.ask(asked).map(Result::unwrap).collect().await;
    let [sent, chunk, done] = &all[..] else {
        panic!("{all:?}")
    };
    assert!(sent.at < chunk.at && chunk.at == done.at);
    let Event::Done(finish) = done.event else {
        panic!("{done:?}")
    };
    let tokens = finish.tokens.unwrap();
    assert_eq!(
        (tokens.prompt, tokens.completion, tokens.source),
        (5, 3, CountSource::Usage)
    );
    let asked = &server.questions()[0].json();
    assert_eq!(
        (&asked["stream"], &asked["stream_options"]),
        (&json!(false), &json!(null))
    );
}

/// A question that is given up is no longer the server's business.
#[tokio::test]
async fn a_question_that_is_given_up_ends_its_connection() {
    let acts = vec![
        stream_head(),
        piece(&said("yes")),
        Act::WriteForEver(chunk(":")),
    ];
    let (server, backend) = answering(acts).await;
    let mut asking = backend.ask(question());
    for _ in 0..2 {
        asking.next().await.unwrap().unwrap();
    }
    drop(asking);
    eventually("the end of the connection", || server.n_open() == 0).await;
}
