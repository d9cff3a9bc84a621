//! Words that others chose, as text that is only text, and addresses made of them.

use maud::{Markup, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// A name: whatever its letters do, they do not turn around what stands beside it.
pub(super) fn name(text: &str) -> Markup {
    html! { bdi { (plain(text)) } }
}

/// On one line, with what is not seen or would turn the direction of reading spelt out.
pub(super) fn plain(text: &str) -> String {
    spelt_out(text, |_| false)
}

/// The same of a text that may have lines.
pub(super) fn lines(text: &str) -> String {
    spelt_out(text, |letter| letter == '\n' || letter == '\t')
}

/// `/runs/3f9a02`, whatever the parts are.
pub(super) fn path(parts: &[&str]) -> String {
    let parts = parts.iter().map(|part| format!("/{}", encoded(part)));
    parts.collect()
}

/// A path with a query.
pub(super) fn url<'a>(path: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = pairs.into_iter();
    let pairs: Vec<String> = pairs
        .map(|(key, value)| format!("{}={}", encoded(key), encoded(value)))
        .collect();
    match pairs.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", pairs.join("&")),
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

fn spelt_out(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match is_unseen(letter) && !is_kept(letter) {
            true => plain.extend(letter.escape_unicode()),
            false => plain.push(letter),
        }
    }
    plain
}

/// Controls, marks of direction, letters without width, tags.
fn is_unseen(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// All but what never has a meaning in an address.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_text_and_nothing_else() {
        check("orin-1", "<bdi>orin-1</bdi>");
        check(
            "<script>alert('x')</script>",
            "<bdi>&lt;script&gt;alert('x')&lt;/script&gt;</bdi>",
        );
        check(r#"" onclick="x"#, "<bdi>&quot; onclick=&quot;x</bdi>");
        check("a\nb\r\u{0}", "<bdi>a\\u{a}b\\u{d}\\u{0}</bdi>");
        check("a\u{202e}gpj.b", "<bdi>a\\u{202e}gpj.b</bdi>");
        check("größer 模型", "<bdi>größer 模型</bdi>");

        #[track_caller]
        fn check(text: &str, want: &str) {
            assert_eq!(name(text).into_string(), want);
        }
    }

    #[test]
    fn an_address_has_room_for_every_name() {
        assert_eq!(path(&["devices", "orin-1"]), "/devices/orin-1");
        assert_eq!(path(&["x", "../a b?c#d"]), "/x/..%2Fa%20b%3Fc%23d");
        let pairs = [("where", "model=a&b=c"), ("by", "ü")];
        assert_eq!(
            url("/boards", pairs),
            "/boards?where=model%3Da%26b%3Dc&by=%C3%BC"
        );
        assert_eq!(url("/boards", []), "/boards");
    }
}
