//! The few files that pages need, from the program itself. Their addresses change with what is in them, so that a browser may keep
//! them.

use std::sync::LazyLock;

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use ring::digest::{SHA256, digest};

/// A file of the program.
#[derive(Debug)]
pub(super) struct Asset {
    path: &'static str,
    content_type: &'static str,
    content: &'static str,
    address: LazyLock<String>,
}

impl Asset {
    /// Where pages find it.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    fn answer(&self) -> Response {
        let headers = [
            (CONTENT_TYPE, self.content_type),
            (CACHE_CONTROL, "max-age=31536000, immutable"),
        ];
        (headers, self.content).into_response()
    }
}

/// Where they are answered, to anybody: there is nothing in them.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let all = [&STYLE, &SCRIPT, &ICON];
    all.into_iter().fold(Router::new(), |routes, asset| {
        routes.route(asset.path, get(async || asset.answer()))
    })
}

/// How pages look.
pub(super) static STYLE: Asset = Asset {
    path: "/style.css",
    content_type: "text/css; charset=utf-8",
    content: include_str!("assets/style.css"),
    address: LazyLock::new(|| address(&STYLE)),
};

/// What keeps live parts up to date.
pub(super) static SCRIPT: Asset = Asset {
    path: "/live.js",
    content_type: "text/javascript; charset=utf-8",
    content: include_str!("assets/live.js"),
    address: LazyLock::new(|| address(&SCRIPT)),
};

/// For the tab.
pub(super) static ICON: Asset = Asset {
    path: "/icon.svg",
    content_type: "image/svg+xml",
    content: include_str!("assets/icon.svg"),
    address: LazyLock::new(|| address(&ICON)),
};

fn address(asset: &Asset) -> String {
    let sha256 = digest(&SHA256, asset.content.as_bytes());
    let start: String = sha256.as_ref()[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{}?{start}", asset.path)
}
