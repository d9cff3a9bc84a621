//! Parts of pages that keep up with what happens: the same piece of HTML as in the page, sent anew whenever it has changed.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Extension,
    extract::{Path, State},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::{Stream, StreamExt, future, stream};
use maud::{Markup, html};
use tokio::{sync::watch, time::sleep};
use tokwatt_domain::campaign::CampaignView;

use super::{
    admittance::Visitor, campaigns, fleet, patience::Patience, problem::Problem, site::Site,
};

/// A part of a page that is kept up to date from `source`; complete without.
pub(super) fn live(source: &str, content: Markup) -> Markup {
    html! {
        p.live-state data-state-of=(source) { "As of now; load the page again for the latest." }
        div data-live=(source) { (content) }
    }
}

/// The fleet, whenever a run is measured or a device tells something.
pub(super) async fn fleet(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    patience: Option<Extension<Patience>>,
) -> Result<Response, Problem> {
    let following = Following {
        site: Arc::clone(&site),
        measured: site.query.settled(),
        told: site.dispatch.changes(),
        shown: None,
    };
    let pieces = stream::unfold(following, Following::next);
    follow(&site, &visitor, patience, pieces)
}

/// A campaign, as `campaign watch` follows it.
pub(super) async fn campaign(
    State(site): State<Arc<Site>>,
    Path(name): Path<String>,
    Extension(visitor): Extension<Visitor>,
    patience: Option<Extension<Patience>>,
) -> Result<Response, Problem> {
    let documents = site.dispatch.follow(&name).await?;
    let pieces = documents.filter_map(|document| {
        let view = document.ok();
        let view: Option<CampaignView> =
            view.and_then(|document| serde_json::from_slice(&document.json).ok());
        future::ready(view.map(|view| Piece {
            html: campaigns::standing(&view).into_string(),
            is_last: view.is_over,
        }))
    });
    follow(&site, &visitor, patience, pieces)
}

/// Seats for whoever follows live parts: so many for each visitor, and so many for all.
#[derive(Clone, Debug, Default)]
pub struct Followers(Arc<Mutex<BTreeMap<String, usize>>>);

/// Taken until it is dropped.
#[derive(Debug)]
struct Seat {
    followers: Followers,
    visitor: String,
}

/// What stands in the live part now.
struct Piece {
    html: String,
    /// Nothing will change any more.
    is_last: bool,
}

/// Waits for changes of the fleet.
struct Following {
    site: Arc<Site>,
    measured: watch::Receiver<u64>,
    told: watch::Receiver<()>,
    shown: Option<String>,
}

impl Followers {
    /// One more for a visitor, if there is one.
    fn seat(&self, visitor: &str) -> Option<Seat> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(visitor).copied().unwrap_or_default();
        if own >= OWN_MAX || taken.values().sum::<usize>() >= FOLLOWERS_MAX {
            return None;
        }
        taken.insert(visitor.to_owned(), own + 1);
        Some(Seat {
            followers: self.clone(),
            visitor: visitor.to_owned(),
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let taken = self.followers.0.lock();
        let mut taken = taken.unwrap_or_else(PoisonError::into_inner);
        let left = taken.get(&self.visitor).copied().unwrap_or_default();
        match left {
            0 | 1 => taken.remove(&self.visitor),
            more => taken.insert(self.visitor.clone(), more - 1),
        };
    }
}

impl Following {
    async fn next(mut self) -> Option<(Piece, Self)> {
        loop {
            if self.shown.is_some() {
                tokio::select! {
                    changed = self.measured.changed() => changed.ok()?,
                    changed = self.told.changed() => changed.ok()?,
                }
                sleep(PAUSE).await;
            }
            self.measured.mark_unchanged();
            self.told.mark_unchanged();
            let html = fleet::standing(&self.site).await.ok()?.into_string();
            if self.shown.as_ref() != Some(&html) {
                self.shown = Some(html.clone());
                let is_last = false;
                return Some((Piece { html, is_last }, self));
            }
        }
    }
}

/// Sends pieces until there are no more, the collector stops, or it is time to look again whether the session is still good: the browser
/// asks again by itself then.
fn follow(
    site: &Site,
    visitor: &Visitor,
    patience: Option<Extension<Patience>>,
    pieces: impl Stream<Item = Piece> + Send + 'static,
) -> Result<Response, Problem> {
    let seat = site.followers.seat(&visitor.peer.to_string());
    let seat = seat.ok_or_else(|| {
        Problem::busy(
            "Too many pages follow live parts: close some, or load this one again by hand",
        )
    })?;
    if let Some(Extension(patience)) = patience {
        patience.extend(LIVE + KEEP_ALIVE);
    }
    let stopping = site.stopping.clone();
    let end = async move {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = sleep(LIVE) => {}
        }
    };
    let events = pieces.flat_map(|piece| stream::iter(events(&piece)));
    let events = events.take_until(end).map(move |event| {
        // Taken until the stream is dropped.
        let _seat = &seat;
        Ok::<_, Infallible>(event)
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

fn events(piece: &Piece) -> Vec<Event> {
    let mut events = vec![Event::default().event("piece").data(&piece.html)];
    if piece.is_last {
        events.push(Event::default().event("over").data("over"));
    }
    events
}

/// Each has a connection for as long as a page is open.
const FOLLOWERS_MAX: usize = 24;

/// Of one visitor, so that nobody takes all.
const OWN_MAX: usize = 8;

/// Least time between two pieces of the fleet.
const PAUSE: Duration = Duration::from_millis(500);

/// A session that has ended, or a certificate that was revoked, is followed for so long at most.
const LIVE: Duration = Duration::from_mins(10);

/// So that a connection whose other end vanished is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_seats_and_a_seat_is_given_back() {
        let followers = Followers::default();
        let take =
            |visitor| -> Vec<Seat> { std::iter::from_fn(|| followers.seat(visitor)).collect() };
        let first = take("a");
        assert_eq!(first.len(), OWN_MAX);
        let others = [take("b"), take("c"), take("d")];
        assert_eq!(
            others.iter().map(Vec::len).sum::<usize>(),
            FOLLOWERS_MAX - OWN_MAX
        );
        drop(first);
        assert_eq!(take("d").len(), OWN_MAX);
    }
}
