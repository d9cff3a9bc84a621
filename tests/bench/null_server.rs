//! A server of the OpenAI interface without a model: it answers on an exact schedule and writes down when it did.
//!
//! `null_server LOG [FIRST_MS [NEXT_MS [TOKENS]]]` listens on a free port of this machine, prints it, and ends with its standard
//! input. An answer's first token leaves FIRST_MS after the request's last byte came, each further one NEXT_MS later, and there are
//! as many as the request's limit says, else TOKENS. LOG gets a JSON line for each streamed answer: `{"late_ns": […]}`, how much
//! later than its schedule each token was handed to the kernel.
//!
//! One thread for all: with one for each connection, thirty-two requests that come at once wait for each other's threads to be
//! scheduled, and no client is to blame for that.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, usual: u64| {
        let given = arguments.get(index).map(|text| text.parse());
        given.unwrap_or(Ok(usual)).map_err(io::Error::other)
    };
    let log = arguments.first().ok_or(io::Error::other("name a LOG"))?;
    let mut server = Server {
        first: Duration::from_millis(number(1, 50)?),
        next: Duration::from_millis(number(2, 10)?),
        tokens: number(3, 64)?,
        log: File::create(log)?,
        listener: TcpListener::bind("127.0.0.1:0")?,
        connections: Vec::new(),
    };
    // It wakes up when it asked to, not some 50 µs later.
    std::fs::write("/proc/self/timerslack_ns", "1")?;
    writeln!(io::stdout(), "{}", server.listener.local_addr()?.port())?;
    thread::spawn(move || server.run().expect("the listener stands"));
    io::copy(&mut io::stdin(), &mut io::sink()).map(|_| ())
}

struct Server {
    first: Duration,
    next: Duration,
    tokens: u64,
    log: File,
    listener: TcpListener,
    connections: Vec<Connection>,
}

struct Connection {
    socket: TcpStream,
    /// What came and is no whole request yet.
    came: Vec<u8>,
    answer: Option<Answer>,
}

/// An answer on its way.
struct Answer {
    /// When its next token leaves.
    due: Instant,
    /// Tokens that have not left yet.
    left: u64,
    /// What is sent behind the last one.
    end: Vec<u8>,
    late_ns: Vec<u64>,
}

impl Server {
    fn run(&mut self) -> io::Result<()> {
        loop {
            let due = self.connections.iter().filter_map(Connection::due).min();
            let patience = due.map(|due| due.saturating_duration_since(now()));
            let readable = self.wait(patience)?;
            let came = now();
            let (next, log) = (self.next, &mut self.log);
            for connection in &mut self.connections {
                // A client that goes away takes its answer with it.
                if connection.send_what_is_due(next, log).is_err() {
                    connection.answer = None;
                }
            }
            self.read(&readable, came);
        }
    }

    /// Waits until somebody says something or so much time has passed; who can be read, the listener first.
    fn wait(&self, patience: Option<Duration>) -> io::Result<Vec<bool>> {
        let mut doors = vec![PollFd::new(&self.listener, PollFlags::IN)];
        let sockets = self.connections.iter().map(|connection| &connection.socket);
        doors.extend(sockets.map(|socket| PollFd::new(socket, PollFlags::IN)));
        let patience = patience.map(|time| Timespec::try_from(time).expect("milliseconds"));
        poll(&mut doors, patience.as_ref())?;
        Ok(doors
            .iter()
            .map(|door| !door.revents().is_empty())
            .collect())
    }

    fn read(&mut self, readable: &[bool], came: Instant) {
        let (first, tokens) = (self.first, self.tokens);
        let mut readable = readable.iter();
        let is_called = readable.next().is_some_and(|is_called| *is_called);
        let mut is_open = readable.copied();
        self.connections.retain_mut(|connection| {
            let has_words = is_open.next().unwrap_or(false);
            !has_words || connection.read(came + first, tokens).is_ok()
        });
        let calls = is_called.then(|| self.listener.accept());
        if let Some(Ok((socket, _))) = calls {
            let is_quick = socket.set_nodelay(true);
            self.connections.extend(is_quick.map(|()| Connection {
                socket,
                came: Vec::new(),
                answer: None,
            }));
        }
    }
}

impl Connection {
    fn due(&self) -> Option<Instant> {
        self.answer.as_ref().map(|answer| answer.due)
    }

    fn send_what_is_due(&mut self, next: Duration, log: &mut File) -> io::Result<()> {
        while let Some(answer) = self.answer.as_mut().filter(|answer| answer.due <= now()) {
            if answer.left > 0 {
                let late = now().saturating_duration_since(answer.due);
                self.socket.write_all(TOKEN.as_bytes())?;
                answer
                    .late_ns
                    .push(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX));
                answer.left -= 1;
                answer.due += if answer.left > 0 {
                    next
                } else {
                    Duration::ZERO
                };
                continue;
            }
            self.socket.write_all(&answer.end)?;
            if !answer.late_ns.is_empty() {
                writeln!(log, "{}", json!({"late_ns": answer.late_ns}))?;
            }
            self.answer = None;
        }
        Ok(())
    }

    /// What came; a request that is whole now is answered, its first token at `due`.
    fn read(&mut self, due: Instant, tokens: u64) -> io::Result<()> {
        let mut bytes = [0; 1 << 16];
        match self.socket.read(&mut bytes)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => self.came.extend_from_slice(&bytes[..length]),
        }
        let Some(head) = self.came.windows(4).position(|end| end == b"\r\n\r\n") else {
            return Ok(());
        };
        let text = String::from_utf8_lossy(&self.came[..head]).to_ascii_lowercase();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length
            .map_or(Ok(0), |length| length.trim().parse())
            .map_err(io::Error::other)?;
        let body = head + 4;
        if self.came.len() < body + length {
            let is_asking = text.contains("expect: 100-continue") && self.came.len() == body;
            let go_on: &[u8] = if is_asking {
                b"HTTP/1.1 100 Continue\r\n\r\n"
            } else {
                b""
            };
            return self.socket.write_all(go_on);
        }
        let asked: Value =
            serde_json::from_slice(&self.came[body..body + length]).unwrap_or_default();
        self.came.drain(..body + length);
        match text.split_whitespace().nth(1) {
            Some("/health") => self.socket.write_all(&whole(200, &json!({}))),
            Some("/v1/models") => {
                let models =
                    json!({"object": "list", "data": [{"id": "metronome", "object": "model"}]});
                self.socket.write_all(&whole(200, &models))
            }
            Some("/v1/chat/completions") => self.answer(&asked, due, tokens),
            _ => self
                .socket
                .write_all(&whole(404, &json!({"error": {"message": "not here"}}))),
        }
    }

    fn answer(&mut self, asked: &Value, due: Instant, tokens: u64) -> io::Result<()> {
        let limit = ["max_completion_tokens", "max_tokens"].map(|key| asked[key].as_u64());
        let tokens = limit.into_iter().flatten().next().unwrap_or(tokens);
        let usage =
            json!({"prompt_tokens": 32, "completion_tokens": tokens, "total_tokens": 32 + tokens});
        let (left, end) = if asked["stream"] == json!(true) {
            self.socket.write_all(STREAM.as_bytes())?;
            let usage = (asked["stream_options"]["include_usage"] == json!(true)).then_some(usage);
            (tokens, end(usage))
        } else {
            let message = json!({"role": "assistant", "content": " red".repeat(64)});
            let choice = json!({"index": 0, "message": message, "finish_reason": "length"});
            let answer = json!({"id": "null", "object": "chat.completion", "model": "metronome", "choices": [choice], "usage": usage});
            (0, whole(200, &answer))
        };
        self.answer = Some(Answer {
            due,
            left,
            end,
            late_ns: Vec::new(),
        });
        Ok(())
    }
}

/// The finish reason, the counts if they were asked for, the end of the stream and of the body.
fn end(usage: Option<Value>) -> Vec<u8> {
    let event = |choices: Value, usage: &Value| {
        let event = json!({
            "id": "null", "object": "chat.completion.chunk", "created": 0, "model": "metronome", "choices": choices, "usage": usage,
        });
        format!("data: {event}\n\n")
    };
    let mut text = event(
        json!([{"index": 0, "delta": {}, "finish_reason": "length"}]),
        &Value::Null,
    );
    text.extend(usage.map(|usage| event(json!([]), &usage)));
    text += "data: [DONE]\n\n";
    format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len()).into_bytes()
}

fn whole(status: u16, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a program of its own, without the agent's clock"
)]
fn now() -> Instant {
    Instant::now()
}

const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// One token as a chunk of the body.
const TOKEN: &str = concat!(
    "9e\r\n",
    r#"data: {"id":"null","object":"chat.completion.chunk","created":0,"model":"metronome","#,
    r#""choices":[{"index":0,"delta":{"content":" red"},"finish_reason":null}]}"#,
    "\n\n\r\n"
);
