//! What a complete text adds to the chunks that came before it.
//!
//! Both come masked. Where a chunk ends with the start of a secret, it is hidden before anybody knows what follows, and a
//! few characters stay visible: see the documentation of masking. So the text need not be the sum of its chunks there.

use super::update::Update;

/// What stands for hidden bytes.
const MASK: &str = "***";

/// So many first characters of a secret may be visible in a chunk.
const VISIBLE: usize = 3;

/// What a complete message adds to its chunks, and removes them. Some agents drop chunks of a long answer: if more than
/// the end is missing, the chunks are void, and the message comes as a whole.
pub(crate) fn complete(chunks: &mut String, text: &str, id: &str, update: fn(&str) -> Update) -> Vec<Update> {
    let had_chunks = !chunks.is_empty();
    let new = take_new(chunks, text);
    // The text itself, not a part of it.
    let is_whole = new.is_some_and(|new| new.len() == text.len());
    let void = (had_chunks && is_whole).then(|| Update::Superseded {
        message_id: id.to_owned(),
    });
    let added = new.map(|new| update(new).in_message(id));
    void.into_iter().chain(added).collect()
}

/// The part of a text that its chunks did not have. Removes the text from the chunks.
pub(crate) fn take_new<'a>(chunks: &mut String, text: &'a str) -> Option<&'a str> {
    if let Some(rest) = text.strip_prefix(chunks.as_str()) {
        chunks.clear();
        return Some(rest).filter(|rest| !rest.is_empty());
    }
    // Several blocks in one message: the chunks are of all of them.
    if chunks.starts_with(text) {
        chunks.drain(..text.len());
        return None;
    }
    let rest = after_masked(chunks, text).unwrap_or(text);
    chunks.clear();
    Some(rest).filter(|rest| !rest.is_empty())
}

/// What follows masked chunks in a text; `None` if it does not begin with them.
fn after_masked<'a>(chunks: &str, text: &'a str) -> Option<&'a str> {
    let (first, hidden) = chunks.split_once(MASK)?;
    let mut rest = text.strip_prefix(first).or_else(|| {
        let shorter =
            shorter(first).find(|shorter| text.strip_prefix(*shorter).is_some_and(|rest| rest.starts_with(MASK)));
        text.strip_prefix(shorter?)
    })?;
    let mut parts = hidden.split(MASK).peekable();
    while let Some(part) = parts.next() {
        rest = match parts.peek() {
            Some(_) => after(rest, part)?,
            None if part.is_empty() => rest.strip_prefix(MASK).unwrap_or_default(),
            None if rest.ends_with(part) => "",
            None => rest.split_once(part)?.1,
        };
    }
    Some(rest)
}

/// What follows a visible part, which may end with the start of a secret that is hidden behind it.
fn after<'a>(text: &'a str, part: &str) -> Option<&'a str> {
    let found = text.split_once(part).map(|(_, rest)| rest);
    found.or_else(|| {
        shorter(part).find_map(|shorter| {
            let masked = format!("{shorter}{MASK}");
            let begin = text.find(&masked)?;
            text.get(begin.saturating_add(shorter.len())..)
        })
    })
}

/// The text without its last characters.
fn shorter(text: &str) -> impl Iterator<Item = &str> {
    let ends = text.char_indices().rev().take(VISIBLE);
    ends.filter_map(|(end, _)| text.get(..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_text_adds_what_its_chunks_did_not_have() {
        for (chunks, text, new) in [
            ("", "all", Some("all")),
            ("a b", "a b", None),
            ("a ", "a b", Some("b")),
            ("other", "a b", Some("a b")),
            // The secret is `password1`: one chunk ended with `pass`, another with `pas`.
            ("the ***phrase is", "the passphrase is", None),
            ("the ***phrase is", "the passphrase is long", Some(" long")),
            ("the pas*** is", "the *** is", None),
            ("the pas*** is", "the *** is long", Some(" long")),
            ("the pas***", "the *** is long", Some(" is long")),
            ("the ***", "the pass", None),
            ("pas***, pas*** and ***", "***, *** and pass", None),
            ("a *** b *** c", "a *** b pass c", None),
            // Of another message.
            ("one ***", "two ***", Some("two ***")),
            ("one *** b", "one *** c", Some("one *** c")),
        ] {
            let mut chunks = chunks.to_owned();
            assert_eq!(take_new(&mut chunks, text), new, "{text}");
            assert_eq!(chunks, "");
        }
        let mut chunks = "first *** second".to_owned();
        assert_eq!(take_new(&mut chunks, "first ***"), None);
        assert_eq!(take_new(&mut chunks, " second"), None);
    }
}
