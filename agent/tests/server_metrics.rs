//! A server's own metrics as gauges, from pages served over a real socket.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use tokio::runtime::Handle;
use tokwatt_agent::{
    backend::{
        http::{ApiKey, Endpoint},
        server_metrics::{MetricsUrl, ServerMetrics},
    },
    clock::SystemClock,
    device::gauges::{Gauge, GaugeSource},
};
use tokwatt_domain::run::GaugeKind;

/// What is answered to the n-th request, from 0: raw bytes, after which the connection is closed.
type Answers = fn(usize) -> Vec<u8>;

/// Serves pages, and keeps the heads of the requests.
struct Pages {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Pages {
    fn serve(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let heads = asked.clone();
        thread::spawn(move || {
            for (n, connection) in listener.incoming().enumerate() {
                let mut connection = connection.unwrap();
                heads.lock().unwrap().push(head(&connection));
                // Who has heard enough hangs up.
                let _hung_up = connection.write_all(&answers(n));
                let _hung_up = connection.flush();
                if answers(n).is_empty() {
                    // Silent until the other side goes.
                    let _gone = connection.read(&mut [0; 1]);
                }
            }
        });
        Self { url, asked }
    }

    async fn look(&self, n_looks: usize) -> (Vec<Gauge>, ServerMetrics) {
        self.look_at("/metrics", n_looks).await
    }

    async fn look_at(&self, path: &str, n_looks: usize) -> (Vec<Gauge>, ServerMetrics) {
        let url: MetricsUrl = format!("{}{path}", self.url).parse().unwrap();
        let endpoint = Endpoint {
            url: url.server,
            key: Some(ApiKey::from_variable("KEY", "a-secret").unwrap()),
            ca_file: None,
        };
        let clock = Arc::new(SystemClock::start());
        let mut metrics = ServerMetrics::new(endpoint, url.path, clock, Handle::current()).unwrap();
        let looked = tokio::task::spawn_blocking(move || {
            let mut gauges = Vec::new();
            for _ in 0..n_looks {
                gauges = metrics.look(None);
            }
            (gauges, metrics)
        });
        looked.await.unwrap()
    }
}

fn head(connection: &TcpStream) -> String {
    let lines = BufReader::new(connection).lines();
    let lines = lines.map_while(Result::ok);
    lines
        .take_while(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_becomes_gauges_named_after_their_server() {
    let pages = Pages::serve(|_| {
        answer(
            "200 OK",
            "llamacpp:tokens_predicted_total 41\nllamacpp:requests_processing 2\n",
        )
    });
    let (gauges, metrics) = pages.look_at("/metrics?model=a", 1).await;
    let gauge = |kind, value| Gauge {
        kind,
        name: "llama.cpp".to_owned(),
        value,
    };
    assert_eq!(
        gauges,
        [
            gauge(GaugeKind::RequestsRunning, 2),
            gauge(GaugeKind::GeneratedTokens, 41)
        ]
    );
    assert_eq!(metrics.silence(), None);
    let asked = pages.asked.lock().unwrap();
    assert!(
        asked[0].starts_with("GET /metrics?model=a HTTP/1.1\n"),
        "{asked:?}"
    );
    assert!(
        asked[0]
            .to_lowercase()
            .contains("authorization: bearer a-secret"),
        "{asked:?}"
    );
    assert_eq!(asked.len(), 1);
}

#[track_caller]
fn check_silence(metrics: &ServerMetrics, want: &str) {
    let (key, reason) = metrics.silence().unwrap();
    assert_eq!(key, "server");
    assert!(reason.contains(want), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_tell_is_a_reason_with_what_to_do() {
    let refuses = Pages::serve(|_| answer("501 Not Implemented", "{\"error\":{}}"));
    let (gauges, metrics) = refuses.look(1).await;
    assert!(gauges.is_empty());
    check_silence(
        &metrics,
        "/metrics answers 501 Not Implemented: start llama.cpp's server with --metrics",
    );

    let has_none = Pages::serve(|_| answer("404 Not Found", ""));
    check_silence(
        &has_none.look(1).await.1,
        "start SGLang with --enable-metrics",
    );

    let in_json = Pages::serve(|_| answer("200 OK", "[{\"iter\":1}]"));
    check_silence(
        &in_json.look(1).await.1,
        "in 1 lines; TensorRT-LLM's are at /prometheus/metrics",
    );

    let locked = Pages::serve(|_| answer("401 Unauthorized", ""));
    check_silence(
        &locked.look(1).await.1,
        "a key is shown to the server of --url only",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_tells_again_is_silent_no_more() {
    let pages = Pages::serve(|n| match n {
        0 => answer("503 Service Unavailable", ""),
        _ => answer("200 OK", "sglang:num_queue_reqs 3\n"),
    });
    let (gauges, metrics) = pages.look(2).await;
    assert_eq!((gauges.len(), metrics.silence()), (1, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_an_end_and_one_that_never_comes_cost_a_look_and_no_more() {
    let endless = Pages::serve(|_| {
        let mut page = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        page.resize(5 << 20, b'x');
        page
    });
    check_silence(
        &endless.look(1).await.1,
        "answers with more than 4194304 bytes",
    );
    let silent = Pages::serve(|_| Vec::new());
    check_silence(&silent.look(1).await.1, "did not answer within 900ms");
}
