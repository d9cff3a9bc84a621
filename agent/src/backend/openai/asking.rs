//! One question on its way: encoded, sent, heard out.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use hyper::header::CONTENT_TYPE;
use tokio::{task::yield_now, time::timeout};
use tokwatt_domain::{run::FailureClass, time::Stamp};

use super::{
    Shared,
    answer::{Answer, Piece},
    events::Events,
    refusal,
};
use crate::{
    backend::{
        Arrival, BackendError, Event, Question,
        http::{Exchange, Head, Moment},
    },
    blocking::off_thread,
};

/// One question on its way.
pub(super) struct Asking {
    shared: Arc<Shared>,
    step: Step,
    /// What has come and was not fetched yet.
    arrivals: VecDeque<Arrival>,
}

enum Step {
    /// Not encoded yet.
    Asked(Question),
    /// Sent, or about to be.
    Waiting {
        exchange: Exchange,
        is_streaming: bool,
    },
    /// The answer comes in pieces.
    Streaming(Box<Stream>),
    /// It comes as a whole.
    Whole {
        exchange: Exchange,
        body: Vec<u8>,
        at: Stamp,
    },
    /// Everything was said; the connection may be of use to the next question.
    Draining(Exchange),
    /// Nothing comes any more.
    Over,
}

struct Stream {
    exchange: Exchange,
    events: Events,
    answer: Answer,
    /// When the latest piece came.
    at: Stamp,
    /// So many bytes came.
    n_bytes: usize,
    /// How it began, to say what it was if it is no stream.
    beginning: Vec<u8>,
}

impl Asking {
    pub(super) fn new(shared: Arc<Shared>, question: Question) -> Self {
        Self {
            shared,
            step: Step::Asked(question),
            arrivals: VecDeque::new(),
        }
    }

    /// The next arrival; nothing after the last.
    pub(super) async fn next(&mut self) -> Option<Result<Arrival, BackendError>> {
        loop {
            if let Some(arrival) = self.arrivals.pop_front() {
                return Some(Ok(arrival));
            }
            match self.advance().await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.step = Step::Over;
                    return Some(Err(self.shared.redacted(error)));
                }
            }
        }
    }

    /// One step on; whether anything may still come.
    async fn advance(&mut self) -> Result<bool, BackendError> {
        self.step = match std::mem::replace(&mut self.step, Step::Over) {
            Step::Asked(question) => self.encode(question).await?,
            Step::Waiting {
                exchange,
                is_streaming,
            } => self.wait(exchange, is_streaming).await?,
            Step::Streaming(stream) => self.listen(stream).await?,
            Step::Whole { exchange, body, at } => self.collect(exchange, body, at).await?,
            Step::Draining(exchange) => drain(exchange).await,
            Step::Over => return Ok(false),
        };
        Ok(true)
    }

    /// Off the thread that reads the other answers' bytes where there is a picture, which takes its time.
    async fn encode(&mut self, question: Question) -> Result<Step, BackendError> {
        let dialect = self.shared.dialect()?;
        let is_streaming = question.is_streaming;
        let body = match &question.picture {
            None => dialect.body(&question),
            Some(_) => off_thread(move || dialect.body(&question)).await,
        };
        Ok(Step::Waiting {
            exchange: self.shared.client.post(COMPLETIONS, body),
            is_streaming,
        })
    }

    async fn wait(
        &mut self,
        mut exchange: Exchange,
        is_streaming: bool,
    ) -> Result<Step, BackendError> {
        match exchange.next().await {
            None => Err(protocol("no answer at all".to_owned())),
            Some(Ok(Moment::Head(head))) => self.begin(exchange, head, is_streaming).await,
            Some(Ok(Moment::Sent(at))) => {
                self.arrive(at, Event::Sent);
                Ok(Step::Waiting {
                    exchange,
                    is_streaming,
                })
            }
            Some(Ok(Moment::Piece(..))) => Err(protocol("a body without a head".to_owned())),
            Some(Err(error)) => Err(error.into()),
        }
    }

    async fn begin(
        &mut self,
        exchange: Exchange,
        head: Head,
        is_streaming: bool,
    ) -> Result<Step, BackendError> {
        if !head.status.is_success() {
            let words = exchange.refusal().await;
            let endpoint = self.shared.client.endpoint();
            let model = &self.shared.dialect()?.model;
            return Err(refusal::by_status(&head, &words, endpoint, model));
        }
        let at = Stamp::default();
        if !is_streaming {
            let body = Vec::new();
            return Ok(Step::Whole { exchange, body, at });
        }
        let kind = head.headers.get(CONTENT_TYPE);
        let kind = String::from_utf8_lossy(kind.map(|kind| kind.as_bytes()).unwrap_or_default());
        if kind.starts_with("application/json") {
            return Err(unstreamed(&exchange.refusal().await));
        }
        Ok(Step::Streaming(Box::new(Stream {
            exchange,
            events: Events::default(),
            answer: Answer::new(),
            at,
            n_bytes: 0,
            beginning: Vec::new(),
        })))
    }

    async fn listen(&mut self, mut stream: Box<Stream>) -> Result<Step, BackendError> {
        let shared = self.shared.clone();
        let _turn;
        let mut found = Vec::new();
        let is_at_end = match stream.exchange.next().await {
            Some(Ok(Moment::Piece(at, bytes))) => {
                stream.at = at;
                stream.n_bytes += bytes.len();
                if stream.n_bytes > STREAM_BYTES_MAX {
                    return Err(protocol(format!(
                        "an answer of more than {STREAM_BYTES_MAX} bytes"
                    )));
                }
                // Before each piece is looked at, what came meanwhile is taken off its socket and stamped.
                _turn = shared.turns.lock().await;
                yield_now().await;
                stream.note_beginning(&bytes);
                let read = stream.events.read(&bytes, &mut found);
                read.map_err(|flood| protocol(flood.to_string()))?;
                false
            }
            Some(Ok(_)) => return Err(protocol("a second head".to_owned())),
            Some(Err(error)) => return Err(error.into()),
            None => {
                found.extend(std::mem::take(&mut stream.events).end());
                true
            }
        };
        for event in found {
            for piece in stream.answer.read_event(&event)? {
                self.arrive(stream.at, chunk(piece));
            }
        }
        if !is_at_end && !stream.answer.is_over() {
            return Ok(Step::Streaming(stream));
        }
        let finish = stream
            .answer
            .finish()
            .map_err(|error| stream.explain(error))?;
        self.arrive(stream.at, Event::Done(finish));
        Ok(match is_at_end {
            true => Step::Over,
            false => Step::Draining(stream.exchange),
        })
    }

    async fn collect(
        &mut self,
        mut exchange: Exchange,
        mut body: Vec<u8>,
        at: Stamp,
    ) -> Result<Step, BackendError> {
        match exchange.next().await {
            Some(Ok(Moment::Piece(at, bytes))) => {
                body.extend_from_slice(&bytes);
                if body.len() > ANSWER_BYTES_MAX {
                    return Err(protocol(format!(
                        "an answer of more than {ANSWER_BYTES_MAX} bytes"
                    )));
                }
                Ok(Step::Whole { exchange, body, at })
            }
            Some(Ok(_)) => Err(protocol("a second head".to_owned())),
            Some(Err(error)) => Err(error.into()),
            None => {
                let mut answer = Answer::new();
                for piece in answer.read(&body)? {
                    self.arrive(at, chunk(piece));
                }
                self.arrive(at, Event::Done(answer.finish()?));
                Ok(Step::Over)
            }
        }
    }

    fn arrive(&mut self, at: Stamp, event: Event) {
        self.arrivals.push_back(Arrival { at, event });
    }
}

impl Stream {
    fn note_beginning(&mut self, bytes: &[u8]) {
        let room = BEGINNING_BYTES.saturating_sub(self.beginning.len());
        self.beginning.extend(bytes.iter().take(room));
    }

    /// A page of HTML ends without a finish reason, too.
    fn explain(&self, error: BackendError) -> BackendError {
        match error {
            BackendError::Request { class, message } => BackendError::Request {
                class,
                message: format!("{message}; it began: {}", refusal::excerpt(&self.beginning)),
            },
            other => other,
        }
    }
}

/// Most servers end their body within the same packet; one that does not gets a new connection for the next question.
async fn drain(mut exchange: Exchange) -> Step {
    let rest = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(Moment::Piece(_, bytes))) = exchange.next().await {
            left = left.saturating_sub(bytes.len());
            if left == 0 {
                break;
            }
        }
    };
    // In time or not, the answer is complete.
    let _in_time = timeout(DRAIN_TIME, rest).await;
    Step::Over
}

fn chunk(piece: Piece) -> Event {
    Event::Chunk {
        kind: piece.kind,
        bytes: piece.text.into_bytes(),
        tokens: piece.tokens,
    }
}

/// An error with a status that is none, or a server that does not stream.
pub(super) fn unstreamed(body: &str) -> BackendError {
    if body.contains("\"error\"") {
        return refusal::within(body.as_bytes());
    }
    protocol(format!(
        "the server answers in one piece although a stream was asked for; ask it with --no-stream; it says: {}",
        refusal::excerpt(body.as_bytes())
    ))
}

fn protocol(message: String) -> BackendError {
    let class = FailureClass::Protocol;
    BackendError::Request { class, message }
}

/// Where questions go.
pub(super) const COMPLETIONS: &str = "/v1/chat/completions";

/// An answer as a whole, its picture not being in it.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// In pieces it is longer: a token takes some hundred bytes.
const STREAM_BYTES_MAX: usize = 64 << 20;

/// More than an excerpt has, so that it shows where it was cut.
const BEGINNING_BYTES: usize = 2048;

/// What may come behind the end of an answer, and for how long.
const DRAIN_BYTES_MAX: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_millis(100);
