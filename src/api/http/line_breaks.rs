//! U+0085, U+2028 and U+2029 in JSON that leaves, as escapes. JSON takes them as they are, but many readers of lines split
//! there, Python's among them.
//!
//! Only texts within JSON strings can hold them, so their bytes can be replaced wherever they are.

use axum::body::{Body, HttpBody as _};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::Response;
use bytes::{Bytes, BytesMut};

use crate::api::http::problem::PROBLEM_JSON;

/// The content types of JSON texts.
const JSON: [&str; 2] = ["application/json", PROBLEM_JSON];

/// The characters in UTF-8, and what replaces them.
const BREAKS: [(&[u8], &[u8]); 3] = [
    (b"\xc2\x85", b"\\u0085"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
];

/// Escapes them in a whole text.
pub(crate) fn escape(text: Bytes) -> Bytes {
    let mut breaks = LineBreaks::default();
    let begin = breaks.escape(text);
    if breaks.held.is_empty() {
        return begin;
    }
    [begin, breaks.held].concat().into()
}

/// Escapes them in an answer that is one JSON text. Streams are escaped where they are read.
pub(crate) async fn escape_answer(response: Response) -> Response {
    let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_json = kind.is_some_and(|kind| JSON.iter().any(|json| kind.starts_with(json.as_bytes())));
    let size = response
        .body()
        .size_hint()
        .exact()
        .and_then(|size| usize::try_from(size).ok());
    let (true, Some(size)) = (is_json, size) else {
        return response;
    };
    let (mut parts, body) = response.into_parts();
    // It is in memory already.
    let text = axum::body::to_bytes(body, size).await.unwrap_or_default();
    let escaped = escape(text);
    if escaped.len() != size {
        parts.headers.remove(CONTENT_LENGTH);
    }
    Response::from_parts(parts, Body::from(escaped))
}

/// Escapes them in a text that comes in pieces, cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct LineBreaks {
    /// The end of the last piece, where it may be the beginning of such a character.
    held: Bytes,
}

impl LineBreaks {
    /// The next piece, without what may be the beginning of such a character.
    pub(crate) fn escape(&mut self, piece: Bytes) -> Bytes {
        let mut text = if self.held.is_empty() {
            piece
        } else {
            [std::mem::take(&mut self.held), piece].concat().into()
        };
        self.held = text.split_off(text.len().saturating_sub(open_end(&text)));
        // Most texts have neither byte, and every reader pays for looking.
        if !text.contains(&0xc2) && !text.contains(&0xe2) {
            return text;
        }
        let mut escaped = BytesMut::new();
        let mut copied = 0;
        for at in memchr::memchr2_iter(0xc2, 0xe2, &text) {
            let rest = text.get(at..).unwrap_or_default();
            if let Some((found, escape)) = BREAKS.iter().find(|(found, _)| rest.starts_with(found)) {
                escaped.extend_from_slice(text.get(copied..at).unwrap_or_default());
                escaped.extend_from_slice(escape);
                copied = at.saturating_add(found.len());
            }
        }
        if copied == 0 {
            return text;
        }
        escaped.extend_from_slice(text.get(copied..).unwrap_or_default());
        escaped.freeze()
    }
}

/// How many bytes at the end are the beginning of such a character.
fn open_end(text: &[u8]) -> usize {
    match text {
        [.., 0xe2, 0x80] => 2,
        [.., 0xc2 | 0xe2] => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_line_breaks_that_json_allows_are_escaped() {
        let text = Bytes::from_static("a\u{85}b\u{2028}\u{2029}c — “é” \u{a0} \u{2027}".as_bytes());
        let escaped = "a\\u0085b\\u2028\\u2029c — “é” \u{a0} \u{2027}";
        assert_eq!(escape(text), escaped.as_bytes());
    }

    #[test]
    fn text_without_them_is_not_copied() {
        let text = Bytes::from_static("— “é” \u{a0}".as_bytes());
        assert_eq!(escape(text.clone()).as_ptr(), text.as_ptr());
    }

    proptest! {
        #[test]
        fn every_cut_gives_the_same_text(text in "(\u{85}|\u{2028}|\u{2029}|—|Â|â|x){0,12}", cuts in proptest::collection::vec(1_usize..4, 1..5)) {
            let (mut breaks, mut pieces) = (LineBreaks::default(), Vec::new());
            let mut rest = Bytes::from(text.clone());
            for size in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                pieces.push(breaks.escape(rest.split_to((*size).min(rest.len()))));
            }
            pieces.push(breaks.held);
            let expected = text.replace('\u{85}', "\\u0085").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
            prop_assert_eq!(pieces.concat(), expected.as_bytes());
        }

        #[test]
        fn any_bytes_are_kept(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0xe2), Just(0x80)], 0..40)) {
            let kept = BREAKS.iter().all(|(found, _)| memchr::memmem::find(&bytes, found).is_none());
            if kept {
                prop_assert_eq!(escape(Bytes::from(bytes.clone())), bytes);
            }
        }
    }
}
