//! One question on its way: encoded, sent, heard out.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{task::yield_now, time::timeout};
use tokwatt_domain::time::Stamp;

use super::{
    Shared,
    answer::{Answer, Lines},
    protocol, request,
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
    Waiting(Exchange),
    /// The answer comes, in pieces or as a whole.
    Listening(Box<Listening>),
    /// Everything was said; the connection may be of use to the next question.
    Draining(Exchange),
    /// Nothing comes any more.
    Over,
}

struct Listening {
    exchange: Exchange,
    lines: Lines,
    answer: Answer,
    /// When the latest piece came.
    at: Stamp,
    /// So many bytes came.
    n_bytes: usize,
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
            Step::Asked(question) => Step::Waiting(self.encode(question).await),
            Step::Waiting(exchange) => self.wait(exchange).await?,
            Step::Listening(listening) => self.listen(listening).await?,
            Step::Draining(exchange) => drain(exchange).await,
            Step::Over => return Ok(false),
        };
        Ok(true)
    }

    /// Off the thread that reads the other answers' bytes where there is a picture, which takes its time.
    async fn encode(&mut self, question: Question) -> Exchange {
        let settings = &self.shared.settings;
        let (model, context) = (settings.model.clone(), settings.context);
        let body = match &question.picture {
            None => request::body(&model, context, &question),
            Some(_) => off_thread(move || request::body(&model, context, &question)).await,
        };
        self.shared.client.post(CHAT, body)
    }

    async fn wait(&mut self, mut exchange: Exchange) -> Result<Step, BackendError> {
        match exchange.next().await {
            None => Err(protocol("no answer at all".to_owned())),
            Some(Ok(Moment::Head(head))) => self.begin(exchange, head).await,
            Some(Ok(Moment::Sent(at))) => {
                self.arrive(at, Event::Sent);
                Ok(Step::Waiting(exchange))
            }
            Some(Ok(Moment::Piece(..))) => Err(protocol("a body without a head".to_owned())),
            Some(Err(error)) => Err(error.into()),
        }
    }

    async fn begin(&mut self, exchange: Exchange, head: Head) -> Result<Step, BackendError> {
        if !head.status.is_success() {
            let words = exchange.refusal().await;
            return Err(self.shared.refused(&head, &words));
        }
        Ok(Step::Listening(Box::new(Listening {
            exchange,
            lines: Lines::default(),
            answer: Answer::default(),
            at: Stamp::default(),
            n_bytes: 0,
        })))
    }

    async fn listen(&mut self, mut listening: Box<Listening>) -> Result<Step, BackendError> {
        let shared = self.shared.clone();
        let _turn;
        let (lines, is_at_end) = match listening.exchange.next().await {
            Some(Ok(Moment::Piece(at, bytes))) => {
                listening.at = at;
                listening.n_bytes += bytes.len();
                if listening.n_bytes > ANSWER_BYTES_MAX {
                    return Err(protocol(format!(
                        "its answer has more than {ANSWER_BYTES_MAX} bytes"
                    )));
                }
                // Before each piece is looked at, what came meanwhile is taken off its socket and stamped.
                _turn = shared.turns.lock().await;
                yield_now().await;
                (listening.lines.read(&bytes)?, false)
            }
            Some(Ok(_)) => return Err(protocol("a second head".to_owned())),
            Some(Err(error)) => return Err(error.into()),
            None => (vec![std::mem::take(&mut listening.lines).end()], true),
        };
        for line in lines {
            for event in listening.answer.read(&line)? {
                self.arrive(listening.at, event);
            }
        }
        if !is_at_end && !listening.answer.is_over() {
            return Ok(Step::Listening(listening));
        }
        let finish = listening.answer.finish()?;
        self.shared.note_load(listening.answer.load);
        self.arrive(listening.at, Event::Done(finish));
        Ok(match is_at_end {
            true => Step::Over,
            false => Step::Draining(listening.exchange),
        })
    }

    fn arrive(&mut self, at: Stamp, event: Event) {
        self.arrivals.push_back(Arrival { at, event });
    }
}

/// The body ends with its last line; one that does not gets a new connection for the next question.
async fn drain(mut exchange: Exchange) -> Step {
    let rest = async {
        for _ in 0..DRAIN_PIECES_MAX {
            if !matches!(exchange.next().await, Some(Ok(_))) {
                break;
            }
        }
    };
    // In time or not, the answer is complete.
    let _in_time = timeout(DRAIN_TIME, rest).await;
    Step::Over
}

/// Where questions go.
const CHAT: &str = "/api/chat";

/// In pieces or as a whole: a token takes some hundred bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What may come behind the end of an answer, and for how long.
const DRAIN_PIECES_MAX: u32 = 16;
const DRAIN_TIME: Duration = Duration::from_millis(100);
