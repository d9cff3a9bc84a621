//! What a server's refusals mean: which kind of failure, in its words, and what to do about it.

use hyper::{StatusCode, header::RETRY_AFTER};
use serde_json::Value;
use tokwatt_domain::run::FailureClass;

use crate::backend::{
    BackendError,
    http::{Endpoint, Head},
};

/// A status that is no success.
pub(in crate::backend) fn by_status(
    head: &Head,
    words: &str,
    endpoint: &Endpoint,
    model: &str,
) -> BackendError {
    let (status, said) = (head.status, said(words.as_bytes()));
    let url = &endpoint.url;
    let what = format!("{url} answers {}", status.as_u16());
    let advice = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let key = match &endpoint.key {
                Some(key) => format!("it does not accept {key}"),
                None => "it wants an API key: --api-key-file FILE or TOKWATT_API_KEY".to_owned(),
            };
            let message = format!("{what}: {key}; it says: {said}");
            return BackendError::Setup { message };
        }
        StatusCode::NOT_FOUND => format!("does it serve the model `{model}`?"),
        StatusCode::PAYLOAD_TOO_LARGE => {
            "its limit on a request is too small for the picture".into()
        }
        StatusCode::TOO_MANY_REQUESTS => {
            let after = head.headers.get(RETRY_AFTER);
            let after = after.and_then(|after| after.to_str().ok());
            let after = after.map(|after| format!(", retry after `{}`", excerpt(after.as_bytes())));
            format!(
                "too many requests{}; nothing is asked again while it is measured: lower the load, or raise the server's limit",
                after.unwrap_or_default()
            )
        }
        StatusCode::SERVICE_UNAVAILABLE if is_loading(words) => {
            let message = format!("{what}: it is loading its model; it says: {said}");
            let class = FailureClass::Http;
            return BackendError::Engine { class, message };
        }
        StatusCode::SERVICE_UNAVAILABLE => "it has no room for the request".into(),
        _ if status.is_server_error() => "its log says why".into(),
        _ => "it does not take the request as it is".into(),
    };
    BackendError::Request {
        class: class(&said, FailureClass::Http),
        message: format!("{what}: {said} ({advice})"),
    }
}

/// An error inside an answer whose status was a success.
pub(in crate::backend) fn within(json: &[u8]) -> BackendError {
    let said = said(json);
    BackendError::Request {
        class: class(&said, FailureClass::Http),
        message: format!("the server answers with an error: {said}"),
    }
}

/// Whether it may be asked again in a moment.
pub(in crate::backend) fn is_loading(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    ["loading", "starting", "not ready", "warming"]
        .iter()
        .any(|word| words.contains(word))
}

/// A text of somebody else's, in one line and short enough for a table.
pub(in crate::backend) fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * EXCERPT_MAX)]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let mut rest = line.chars().filter(|character| !character.is_control());
    let short: String = rest.by_ref().take(EXCERPT_MAX).collect();
    match rest.next().is_some() || bytes.len() > 4 * EXCERPT_MAX {
        true => format!("{short}…"),
        false => short,
    }
}

/// The words of an error in any of the forms that servers have for it, else the text itself.
fn said(body: &[u8]) -> String {
    let found = serde_json::from_slice::<Value>(body).ok().and_then(|json| {
        let error = json.get("error").unwrap_or(&json);
        let words = [error.get("message"), json.get("detail"), Some(error)];
        let mut words = words.into_iter().flatten();
        words.find_map(|words| words.as_str().map(str::to_owned))
    });
    match found {
        Some(words) => excerpt(words.as_bytes()),
        None if body.trim_ascii().is_empty() => "nothing more".to_owned(),
        None => excerpt(body),
    }
}

fn class(said: &str, otherwise: FailureClass) -> FailureClass {
    let said = said.to_ascii_lowercase();
    let of_memory = ["out of memory", "outofmemory", "failed to allocate"];
    match of_memory.iter().any(|words| said.contains(words)) {
        true => FailureClass::OutOfMemory,
        false => otherwise,
    }
}

/// Characters of a server's words that are kept.
const EXCERPT_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, want: &str) {
        assert_eq!(said(body.as_bytes()), want, "{body}");
    }

    #[test]
    fn the_words_of_an_error_are_found_in_every_form() {
        check(
            r#"{"error": {"message": "too long", "code": 400}}"#,
            "too long",
        );
        check(r#"{"error": "too long"}"#, "too long");
        check(r#"{"object": "error", "message": "too long"}"#, "too long");
        check(r#"{"detail": "too long"}"#, "too long");
        check(
            r#"{"detail": [{"loc": ["body"]}]}"#,
            r#"{"detail": [{"loc": ["body"]}]}"#,
        );
        check("\"too long\"", "too long");
        check("  too\n long\u{7} ", "too long");
        check(" \n", "nothing more");
    }

    #[test]
    fn words_without_end_are_cut() {
        let long = excerpt(&b"ab ".repeat(1_000_000));
        assert_eq!(long.chars().count(), EXCERPT_MAX + 1);
        assert!(long.ends_with('…'));
        assert_eq!(
            excerpt("ä".repeat(EXCERPT_MAX).as_bytes()),
            "ä".repeat(EXCERPT_MAX)
        );
        assert!(excerpt(&[0xff; 10_000]).chars().count() <= EXCERPT_MAX + 1);
    }

    #[test]
    fn memory_is_a_class_of_its_own() {
        assert_eq!(
            class("CUDA out of memory", FailureClass::Http),
            FailureClass::OutOfMemory
        );
        assert_eq!(class("no room", FailureClass::Http), FailureClass::Http);
    }
}
