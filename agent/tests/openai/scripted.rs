//! A server that writes given bytes at given moments: plain sockets and threads, so that it can do everything wrong.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

/// A request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// What the server does with a request, one after the other.
#[derive(Clone)]
pub(crate) enum Act {
    /// Writes.
    Write(Vec<u8>),
    /// Writes this over and over until the client is gone.
    WriteForEver(Vec<u8>),
    /// Waits until the test says so.
    Wait(Gate),
    /// Tells the test that it has come here.
    Open(Gate),
    /// Closes its side only.
    HalfClose,
    /// Ends the connection with a reset.
    Reset,
    /// Ends the connection.
    Close,
    /// Takes no more connections, and ends this one.
    Die,
}

/// Closed until the test opens it, once for each who waits.
#[derive(Clone)]
pub(crate) struct Gate {
    open: Sender<()>,
    wait: Arc<Mutex<Receiver<()>>>,
}

type Script = dyn Fn(&Request) -> Option<Vec<Act>> + Send + Sync;

/// The server, listening until the test ends.
pub(crate) struct Scripted {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    is_dead: AtomicBool,
    requests: Mutex<Vec<Request>>,
    n_connections: AtomicUsize,
    n_open: AtomicUsize,
    bytes_written: AtomicUsize,
}

/// A connection, under TLS or not.
trait Wire: Read + Write + Send {
    fn socket(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Wire for StreamOwned<ServerConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

impl Scripted {
    /// Does what the script says; for what it does not speak of, what a good server does.
    pub(crate) fn start(
        script: impl Fn(&Request) -> Option<Vec<Act>> + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(Box::new(script), None, None)
    }

    /// The same under TLS, the handshake only when the gate opens.
    pub(crate) fn start_tls(config: ServerConfig, gate: Option<Gate>) -> Self {
        Self::start_with(Box::new(|_| None), Some(Arc::new(config)), gate)
    }

    fn start_with(script: Box<Script>, tls: Option<Arc<ServerConfig>>, gate: Option<Gate>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Seen>::default();
        let (script, noted) = (Arc::<Script>::from(script), seen.clone());
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if noted.is_dead.load(Ordering::SeqCst) {
                    return;
                }
                let (script, seen) = (script.clone(), noted.clone());
                let (tls, gate) = (tls.clone(), gate.clone());
                thread::spawn(move || {
                    socket.set_nodelay(true).unwrap();
                    seen.n_connections.fetch_add(1, Ordering::SeqCst);
                    seen.n_open.fetch_add(1, Ordering::SeqCst);
                    if let Some(gate) = gate {
                        gate.pass();
                    }
                    let wire: Box<dyn Wire> = match tls {
                        None => Box::new(socket),
                        Some(tls) => {
                            let connection = ServerConnection::new(tls).unwrap();
                            Box::new(StreamOwned::new(connection, socket))
                        }
                    };
                    // However it ended, the test sees what came of it.
                    let _ended = serve(wire, &*script, &seen);
                    seen.n_open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Questions that came, without the one by which a client finds out whether the server is ready.
    pub(crate) fn questions(&self) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.is_question() && !request.is_first());
        requests
    }

    /// Everything that came.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub(crate) fn n_connections(&self) -> usize {
        self.seen.n_connections.load(Ordering::SeqCst)
    }

    pub(crate) fn n_open(&self) -> usize {
        self.seen.n_open.load(Ordering::SeqCst)
    }

    /// Bytes of answers that the kernel took.
    pub(crate) fn bytes_written(&self) -> usize {
        self.seen.bytes_written.load(Ordering::SeqCst)
    }
}

impl Request {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn is_question(&self) -> bool {
        self.path.ends_with("/v1/chat/completions")
    }

    /// Whether it only finds out whether the server is ready.
    pub(crate) fn is_first(&self) -> bool {
        self.json()["max_tokens"] == 1
    }
}

impl Gate {
    pub(crate) fn new() -> Self {
        let (open, wait) = channel();
        let wait = Arc::new(Mutex::new(wait));
        Self { open, wait }
    }

    pub(crate) fn open(&self) {
        self.open.send(()).unwrap();
    }

    pub(crate) fn pass(&self) {
        self.wait.lock().unwrap().recv().unwrap();
    }
}

/// Sent in one piece, with its length.
pub(crate) fn whole(status: &str, headers: &str, body: &str) -> Vec<Act> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
    vec![Act::Write(head.into_bytes())]
}

/// JSON with a status.
pub(crate) fn answered(status: &str, body: &Value) -> Vec<Act> {
    whole(
        status,
        "content-type: application/json\r\n",
        &body.to_string(),
    )
}

/// The head of a stream in chunks.
pub(crate) fn stream_head() -> Act {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    Act::Write(head.into())
}

/// A chunk of a stream.
pub(crate) fn piece(text: &str) -> Act {
    Act::Write(chunk(text))
}

pub(crate) fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

/// The end of a stream.
pub(crate) fn stream_end() -> Act {
    Act::Write(b"0\r\n\r\n".to_vec())
}

/// A stream of these texts, whole.
pub(crate) fn streamed(events: &[&str]) -> Vec<Act> {
    let mut acts = vec![stream_head()];
    acts.extend(events.iter().map(|text| piece(text)));
    acts.push(stream_end());
    acts
}

/// An event with a piece of the answer.
pub(crate) fn said(text: &str) -> String {
    event(&json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]}))
}

/// An event with the reason of the end.
pub(crate) fn finished(reason: &str) -> String {
    event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}))
}

/// An event with the counts.
pub(crate) fn counted(prompt: i64, completion: i64) -> String {
    event(
        &json!({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}),
    )
}

pub(crate) fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// What a good server answers.
pub(crate) fn good(request: &Request) -> Vec<Act> {
    if request.path.ends_with("/health") {
        return answered("200 OK", &json!({"status": "ok"}));
    }
    if request.path.ends_with("/v1/models") {
        let list = json!({"object": "list", "data": [{"id": "m", "owned_by": "somebody"}]});
        return answered("200 OK", &list);
    }
    if !request.is_question() {
        return answered("404 Not Found", &json!({"detail": "Not Found"}));
    }
    if request.json()["stream"] == false {
        let message = json!({"role": "assistant", "content": "yes it is"});
        let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
        let usage = json!({"prompt_tokens": 5, "completion_tokens": 3});
        return answered("200 OK", &json!({"choices": [choice], "usage": usage}));
    }
    streamed(&[
        &said("yes"),
        &said(" it is"),
        &finished("stop"),
        &counted(5, 3),
        DONE,
    ])
}

fn serve(wire: Box<dyn Wire>, script: &Script, seen: &Seen) -> io::Result<()> {
    let mut wire = BufReader::new(wire);
    loop {
        let request = read(&mut wire)?;
        seen.requests.lock().unwrap().push(request.clone());
        let acts = script(&request).unwrap_or_else(|| good(&request));
        for act in acts {
            if !perform(act, &mut **wire.get_mut(), seen)? {
                return Ok(());
            }
        }
    }
}

/// Whether the connection goes on.
fn perform(act: Act, wire: &mut dyn Wire, seen: &Seen) -> io::Result<bool> {
    let note = |bytes| seen.bytes_written.fetch_add(bytes, Ordering::SeqCst);
    match act {
        Act::Write(bytes) => {
            wire.write_all(&bytes)?;
            wire.flush()?;
            note(bytes.len());
        }
        Act::WriteForEver(bytes) => loop {
            wire.write_all(&bytes)?;
            note(bytes.len());
        },
        Act::Wait(gate) => gate.pass(),
        Act::Open(gate) => gate.open(),
        Act::HalfClose => wire.socket().shutdown(Shutdown::Write)?,
        Act::Reset => {
            TcpSocket::from_std_stream(wire.socket().try_clone()?).set_zero_linger()?;
            return Ok(false);
        }
        Act::Close => return Ok(false),
        Act::Die => {
            seen.is_dead.store(true, Ordering::SeqCst);
            let own = wire.socket().local_addr()?;
            while TcpStream::connect(own).is_ok() {}
            return Ok(false);
        }
    }
    Ok(true)
}

fn read(wire: &mut BufReader<Box<dyn Wire>>) -> io::Result<Request> {
    let mut line = String::new();
    if wire.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        wire.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    wire.read_exact(&mut body)?;
    Ok(Request {
        path,
        headers,
        body,
    })
}
