//! A server of the OpenAI interface without a model: it answers on an exact schedule and writes down when it did.
//!
//! `null_server LOG [FIRST_MS [NEXT_MS [TOKENS]]]` listens on a free port of this machine, prints it, and ends with its standard
//! input. An answer's first token leaves FIRST_MS after the request's last byte came, each further one NEXT_MS later, and there are
//! as many as the request's limit says, else TOKENS. LOG gets a JSON line for each streamed answer: `{"late_ns": […]}`, how much
//! later than its schedule each token was handed to the kernel. One thread a connection, each sleeping to an absolute time.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, usual: u64| {
        let given = arguments.get(index).map(|text| text.parse());
        given.unwrap_or(Ok(usual)).map_err(io::Error::other)
    };
    let log = arguments.first().ok_or(io::Error::other("name a LOG"))?;
    let schedule = Schedule {
        first: Duration::from_millis(number(1, 50)?),
        next: Duration::from_millis(number(2, 10)?),
        tokens: number(3, 64)?,
        log: Mutex::new(File::create(log)?),
    };
    // Threads made from here on wake up when they asked to, not some 50 µs later.
    std::fs::write("/proc/self/timerslack_ns", "1")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(io::stdout(), "{}", listener.local_addr()?.port())?;
    let schedule = Arc::new(schedule);
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let schedule = schedule.clone();
            // A client that goes away is no matter.
            thread::spawn(move || serve(&connection, &schedule).ok());
        }
    });
    io::copy(&mut io::stdin(), &mut io::sink()).map(|_| ())
}

/// When tokens leave.
struct Schedule {
    first: Duration,
    next: Duration,
    tokens: u64,
    log: Mutex<File>,
}

/// What came, and when its last byte did.
struct Request {
    line: String,
    body: Vec<u8>,
    received: Instant,
}

fn serve(connection: &TcpStream, schedule: &Schedule) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(1 << 20, connection);
    while let Some(request) = read(&mut reader, connection)? {
        let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match request.line.as_str() {
            line if line.starts_with("GET /health ") => whole(connection, 200, &json!({})),
            line if line.starts_with("GET /v1/models ") => {
                let models =
                    json!({"object": "list", "data": [{"id": "metronome", "object": "model"}]});
                whole(connection, 200, &models)
            }
            line if line.starts_with("POST /v1/chat/completions ") => {
                answer(connection, schedule, &request, &asked)
            }
            _ => whole(connection, 404, &json!({"error": {"message": "not here"}})),
        }?;
    }
    Ok(())
}

fn read(
    reader: &mut BufReader<&TcpStream>,
    mut connection: &TcpStream,
) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if header == "expect: 100-continue" {
            connection.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let received = now();
    Ok(Some(Request {
        line,
        body,
        received,
    }))
}

fn answer(
    mut connection: &TcpStream,
    schedule: &Schedule,
    request: &Request,
    asked: &Value,
) -> io::Result<()> {
    let limit = ["max_completion_tokens", "max_tokens"].map(|key| asked[key].as_u64());
    let tokens = limit.into_iter().flatten().next();
    let tokens = tokens.unwrap_or(schedule.tokens);
    let usage =
        json!({"prompt_tokens": 32, "completion_tokens": tokens, "total_tokens": 32 + tokens});
    let due = |number: u64| {
        let after = schedule.next * u32::try_from(number).unwrap_or(u32::MAX);
        request.received + schedule.first + after
    };
    if asked["stream"] != json!(true) {
        sleep_until(due(tokens.saturating_sub(1)));
        let message = json!({"role": "assistant", "content": " red".repeat(64)});
        let choice = json!({"index": 0, "message": message, "finish_reason": "length"});
        return whole(
            connection,
            200,
            &json!({"id": "null", "object": "chat.completion", "model": "metronome", "choices": [choice], "usage": usage}),
        );
    }
    connection.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    )?;
    let mut late = Vec::new();
    for number in 0..tokens {
        let text = event(
            &json!({"delta": {"content": " red"}, "finish_reason": null}),
            None,
        );
        let chunk = chunked(&text);
        sleep_until(due(number));
        let at = now();
        connection.write_all(&chunk)?;
        late.push(at.saturating_duration_since(due(number)).as_nanos());
    }
    let mut rest = event(&json!({"delta": {}, "finish_reason": "length"}), None);
    if asked["stream_options"]["include_usage"] == json!(true) {
        rest += &event(&Value::Null, Some(usage));
    }
    let mut rest = chunked(&(rest + "data: [DONE]\n\n"));
    rest.extend(b"0\r\n\r\n");
    connection.write_all(&rest)?;
    let line = json!({ "late_ns": late.iter().map(|ns| u64::try_from(*ns).unwrap_or(u64::MAX)).collect::<Vec<_>>() });
    let mut log = schedule.log.lock().expect("no holder panics");
    writeln!(log, "{line}")
}

fn event(choice: &Value, usage: Option<Value>) -> String {
    let mut choice = choice.clone();
    let choices = match choice.as_object_mut() {
        Some(choice) => {
            choice.insert("index".to_owned(), json!(0));
            json!([choice])
        }
        None => json!([]),
    };
    let chunk = json!({
        "id": "null", "object": "chat.completion.chunk", "created": 0, "model": "metronome", "choices": choices, "usage": usage,
    });
    format!("data: {chunk}\n\n")
}

fn chunked(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

fn whole(mut connection: &TcpStream, status: u16, body: &Value) -> io::Result<()> {
    let body = body.to_string();
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    connection.write_all(text.as_bytes())
}

fn sleep_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(now()));
}

#[expect(
    clippy::disallowed_methods,
    reason = "a program of its own, without the agent's clock"
)]
fn now() -> Instant {
    Instant::now()
}
