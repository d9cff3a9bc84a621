//! The closed loop: so many requests in flight, the next one sent when one ends.

use futures::{StreamExt, stream::FuturesUnordered};

use super::drive::{Drive, Questions, Stretch};

impl Drive<'_> {
    pub(super) async fn closed_loop(&self, questions: &Questions<'_>, concurrency: u32) -> Stretch {
        let started = self.clock.now();
        let mut stretch = Stretch::default();
        let mut waiting = questions.iter();
        let mut in_flight = FuturesUnordered::new();
        loop {
            while in_flight.len() < concurrency as usize && self.may_go_on(&stretch) {
                let lasted = self.clock.now().since(started);
                let Some(asked) = waiting.next().filter(|_| lasted < questions.longest) else {
                    break;
                };
                in_flight.push(self.ask(asked, None));
            }
            match in_flight.next().await {
                Some(observed) => stretch.add(observed),
                None => return stretch,
            }
        }
    }
}
