//! A double of Ollama, built from its documented behaviour: Ollama itself is not to be had here.
//!
//! One model in memory at a time, loaded by an empty prompt or by a question, again when another context is asked for, unloaded by
//! `keep_alive: 0`. One slot: questions wait for each other. What is answered to a question stands in the question.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::TaskTracker;

/// An Ollama that is not one.
pub(crate) struct Fake {
    pub(crate) url: String,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Name and context of the model in memory.
    loaded: Mutex<Option<(String, Value)>>,
    n_loads: AtomicUsize,
    /// Path and body of every request.
    asked: Mutex<Vec<(String, Value)>>,
    slot: tokio::sync::Mutex<()>,
}

/// What comes back.
enum Reply {
    Json(&'static str, Value),
    /// Each a line of a stream; the connection ends with it or is cut.
    Lines(Vec<Vec<u8>>, Ending),
}

#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Proper,
    Cut,
    /// Letters without a line's end, until nobody listens.
    Endless,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::<Inner>::default();
        let shared = inner.clone();
        // They end with the test's runtime.
        let tasks = TaskTracker::new();
        let connections = tasks.clone();
        tasks.spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                let shared = shared.clone();
                connections.spawn(async move { shared.serve(connection).await });
            }
        });
        Self { url, inner }
    }

    pub(crate) fn n_loads(&self) -> usize {
        self.inner.n_loads.load(Ordering::Relaxed)
    }

    pub(crate) fn loaded(&self) -> Option<String> {
        let loaded = self.inner.loaded.lock().unwrap();
        loaded.as_ref().map(|(name, _)| name.clone())
    }

    /// Bodies of the requests to a path, in order.
    pub(crate) fn asked(&self, path: &str) -> Vec<Value> {
        let asked = self.inner.asked.lock().unwrap();
        let asked = asked.iter().filter(|(own, _)| own == path);
        asked.map(|(_, body)| body.clone()).collect()
    }
}

impl Inner {
    async fn serve(&self, connection: TcpStream) {
        let mut connection = BufReader::new(connection);
        while let Some((path, body)) = read(&mut connection).await {
            self.asked
                .lock()
                .unwrap()
                .push((path.clone(), body.clone()));
            let reply = self.reply(&path, &body).await;
            if write(connection.get_mut(), reply).await.is_none() {
                return;
            }
        }
    }

    async fn reply(&self, path: &str, body: &Value) -> Reply {
        let name = body["model"].as_str().unwrap_or_default();
        match path {
            "/api/version" => Reply::Json("200 OK", json!({"version": "0.12.3"})),
            "/api/ps" => Reply::Json("200 OK", json!({"models": self.resident()})),
            _ if name.starts_with("absent") => {
                let error = format!("model '{name}' not found");
                Reply::Json("404 Not Found", json!({"error": error}))
            }
            "/api/show" => Reply::Json("200 OK", shown(name)),
            "/api/generate" => self.generate(name, body),
            "/api/chat" => self.chat(name, body).await,
            _ => Reply::Json("404 Not Found", json!({"error": "no such path"})),
        }
    }

    fn resident(&self) -> Vec<Value> {
        let loaded = self.loaded.lock().unwrap();
        let model = loaded.iter().map(|(name, context)| {
            json!({"name": format!("{name}:latest"), "size": 6_000_000, "size_vram": 4_500_000,
                "digest": "c".repeat(64), "expires_at": "2025-10-30T10:00:00Z", "context_length": context,
                "details": {"family": "llama", "parameter_size": "7B", "quantization_level": "Q4_K_M"}})
        });
        model.collect()
    }

    /// An empty prompt: nothing but loading, or its opposite.
    fn generate(&self, name: &str, body: &Value) -> Reply {
        if name.starts_with("huge") {
            let error = "model requires more system memory (64.0 GiB) than is available (8.0 GiB)";
            return Reply::Json("500 Internal Server Error", json!({"error": error}));
        }
        let reason = match &body["keep_alive"] {
            Value::Number(seconds) if seconds.as_i64() == Some(0) => {
                *self.loaded.lock().unwrap() = None;
                "unload"
            }
            _ => {
                self.load(name, &body["options"]["num_ctx"]);
                "load"
            }
        };
        Reply::Json(
            "200 OK",
            json!({"model": name, "created_at": "2025-10-30T09:00:00Z", "response": "", "done": true, "done_reason": reason}),
        )
    }

    /// Whether it had to be loaded.
    fn load(&self, name: &str, context: &Value) -> bool {
        let wanted = Some((name.to_owned(), context.clone()));
        let mut loaded = self.loaded.lock().unwrap();
        let is_new = *loaded != wanted;
        *loaded = wanted;
        self.n_loads
            .fetch_add(usize::from(is_new), Ordering::Relaxed);
        is_new
    }

    async fn chat(&self, name: &str, body: &Value) -> Reply {
        let messages = body["messages"].as_array().unwrap();
        let last = messages.last().unwrap();
        let prompt = last["content"].as_str().unwrap();
        if prompt.contains("no room") {
            let error = "server busy, please try again.  maximum pending requests exceeded";
            return Reply::Json("503 Service Unavailable", json!({"error": error}));
        }
        let _slot = self.slot.lock().await;
        let is_new = self.load(name, &body["options"]["num_ctx"]);
        let line = |message: Value| {
            let line = json!({"model": name, "created_at": "2025-10-30T09:00:00Z", "message": message, "done": false});
            format!("{line}\n").into_bytes()
        };
        let said = |text: &str| line(json!({"role": "assistant", "content": text}));
        let mut lines = Vec::new();
        if prompt.contains("think") {
            lines.push(line(
                json!({"role": "assistant", "content": "", "thinking": "Hm"}),
            ));
        }
        let limit = body["options"]["num_predict"].as_u64().unwrap();
        let words: Vec<&str> = ["a ", "red ", "ball"].into_iter().collect();
        let words = &words[..words.len().min(usize::try_from(limit).unwrap())];
        lines.extend(words.iter().map(|word| said(word)));
        let error = |text: &str| format!("{}\n", json!({"error": text})).into_bytes();
        let ending = match prompt {
            _ if prompt.contains("die") => Ending::Cut,
            _ if prompt.contains("endless") => Ending::Endless,
            _ if prompt.contains("crash") => {
                *self.loaded.lock().unwrap() = None;
                lines.push(error(
                    "an error was encountered while running the model: unexpected EOF",
                ));
                return Reply::Lines(lines, Ending::Proper);
            }
            _ if prompt.contains("refuse") => {
                lines.push(error("this model is missing data required for image input"));
                return Reply::Lines(lines, Ending::Proper);
            }
            _ if prompt.contains("garbage") => {
                lines.push(b"<html>\n".to_vec());
                return Reply::Lines(lines, Ending::Proper);
            }
            _ => Ending::Proper,
        };
        let pictures: usize = messages
            .iter()
            .map(|message| message["images"].as_array().map_or(0, Vec::len))
            .sum();
        let mut done = json!({"model": name, "created_at": "2025-10-30T09:00:01Z",
            "message": {"role": "assistant", "content": ""}, "done": true,
            "done_reason": if words.len() < 3 { "length" } else { "stop" },
            "total_duration": 90_000_000, "load_duration": if is_new { 2_000_000_000_u64 } else { 1_000_000 },
            "prompt_eval_count": 20 + 576 * pictures, "prompt_eval_duration": 40_000_000,
            "eval_count": words.len() + 1, "eval_duration": 30_000_000});
        if prompt.contains("cached") {
            done.as_object_mut().unwrap().remove("prompt_eval_count");
        }
        if ending == Ending::Proper {
            lines.push(format!("{done}\n").into_bytes());
        }
        match body["stream"].as_bool().unwrap() {
            true => Reply::Lines(lines, ending),
            false => {
                done["message"]["content"] = json!(words.concat());
                Reply::Json("200 OK", done)
            }
        }
    }
}

fn shown(name: &str) -> Value {
    let sees = !name.starts_with("blind");
    let digest = |digit: &str| {
        format!(
            "FROM /usr/share/ollama/.ollama/models/blobs/sha256-{}\n",
            digit.repeat(64)
        )
    };
    json!({
        "modelfile": format!("# Modelfile generated by \"ollama show\"\n{}{}TEMPLATE x", digest("a"), digest("b")),
        "details": {"format": "gguf", "family": "llama", "parameter_size": "7B", "quantization_level": "Q4_K_M"},
        "model_info": {"general.architecture": "llama", "general.parameter_count": 7_241_732_096_u64},
        "capabilities": if sees { json!(["completion", "vision"]) } else { json!(["completion", "tools"]) },
    })
}

/// Path and body of the next request; nothing when the other side has gone.
async fn read(connection: &mut BufReader<TcpStream>) -> Option<(String, Value)> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_ascii_lowercase());
    }
    let length = head
        .iter()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length = length.map_or(0, |length| length.trim().parse().unwrap());
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.ok()?;
    let path = head[0].split(' ').nth(1)?.to_owned();
    Some((path, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

/// Nothing if the connection is of no use any more.
async fn write(connection: &mut TcpStream, reply: Reply) -> Option<()> {
    let (lines, ending) = match reply {
        Reply::Json(status, body) => {
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            return connection
                .write_all(format!("{head}{body}").as_bytes())
                .await
                .ok();
        }
        Reply::Lines(lines, ending) => (lines, ending),
    };
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";
    connection.write_all(head.as_bytes()).await.ok()?;
    for line in lines {
        write_chunk(connection, &line).await?;
    }
    match ending {
        Ending::Proper => connection.write_all(b"0\r\n\r\n").await.ok(),
        Ending::Cut => None,
        Ending::Endless => loop {
            write_chunk(connection, &[b'x'; 4096]).await?;
        },
    }
}

async fn write_chunk(connection: &mut TcpStream, bytes: &[u8]) -> Option<()> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend(b"\r\n");
    connection.write_all(&chunk).await.ok()
}
