//! The open loop: requests are sent when they are due, whatever is in flight.
//!
//! A request is encoded shortly before it is due and then waits for its time, so that encoding makes it no later. What goes out late
//! all the same keeps its scheduled time: latency counts from there, and how late it was shows in `client_lag`.
//!
//! Segments are drained here, too. So no more than a segment's 500 requests are ever in flight, and an engine that cannot keep up gets
//! rid of its queue once a segment: the latencies of an overload say how long it lasted rather than how long it might have grown.

use std::{future::pending, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};

use super::drive::{Drive, Questions, Stretch};
use crate::workload::arrivals::Schedule;

impl Drive<'_> {
    pub(super) async fn open_loop(
        &self,
        questions: &Questions<'_>,
        schedule: &Schedule,
    ) -> Stretch {
        let start = self.clock.now().after(AHEAD);
        let mut stretch = Stretch::default();
        let offsets = schedule.offsets(questions.first);
        let in_time = |nth: usize, offset: Duration| {
            nth < SEGMENT_REQUESTS_LEAST || offset < questions.longest
        };
        let mut waiting = (0..)
            .zip(questions.iter().zip(offsets))
            .take_while(|(nth, (_, offset))| in_time(*nth, *offset))
            .map(|(_, (asked, offset))| (asked, start.after(offset)))
            .peekable();
        let mut in_flight = FuturesUnordered::new();
        loop {
            let next = waiting.peek().map(|(_, due)| due.before(AHEAD));
            let next = next.filter(|_| self.may_go_on(&stretch));
            let near = async {
                match next {
                    Some(at) => self.clock.until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                () = near, if next.is_some() => {
                    let due = waiting.next().map(|(asked, due)| self.ask(asked, Some(due)));
                    in_flight.extend(due);
                }
                Some(observed) = in_flight.next() => stretch.add(observed),
                () = self.stop.cancelled(), if next.is_some() => {}
                else => return stretch,
            }
        }
    }
}

/// How long before it is due a request is encoded: a picture of some megabytes takes a part of it.
const AHEAD: Duration = Duration::from_millis(20);

/// A segment has at least so many, however long that takes: W lacks the interval after a segment's last request, which is at most one
/// in twenty then.
const SEGMENT_REQUESTS_LEAST: usize = 20;
