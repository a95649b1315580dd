//! Masks a line that is larger than a block, in parts: a prompt of many megabytes needs no more memory than a part of it.
//!
//! A long string is masked like a line that comes in chunks. What a part shows depends on the line up to that part only, and
//! parts are cut at fixed places: every reader gets the same bytes.

use bytes::{Bytes, BytesMut};

use super::line_masker::FORMAT_KEYS;
use promptd_mask::{End, MaskedChunk, Masker};
use promptd_model::{JSON_ESCAPE, json_string_length, json_string_part};

/// A string longer than this is masked in parts of this size.
const PART: usize = if cfg!(test) { 1 << 10 } else { 64 << 10 };

/// A line that has begun and not ended.
#[derive(Debug, Default)]
pub(super) struct LongLine {
    /// What has not been masked yet.
    pending: BytesMut,
    /// The long string that `pending` continues.
    string: Option<LongString>,
    /// Something of the line was returned.
    pub(super) begun: bool,
}

/// What was read of a long string.
#[derive(Debug, Default)]
struct LongString {
    /// Its last bytes.
    before: Vec<u8>,
    /// The last one was hidden.
    hidden: bool,
}

impl LongLine {
    /// How many bytes of the journal wait.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Masks the next bytes of the line; `ends` says that they are the last.
    pub(super) fn push(&mut self, masker: &Masker, bytes: &[u8], ends: bool) -> Bytes {
        self.pending.extend_from_slice(bytes);
        let mut shown = Vec::with_capacity(bytes.len());
        loop {
            let progressed = match self.string.take() {
                Some(string) => self.mask_part(masker, string, &mut shown),
                None => self.mask_tokens(masker, &mut shown),
            };
            if !progressed {
                break;
            }
        }
        if ends {
            self.string = None;
            shown.extend_from_slice(&masker.json(&self.pending.split(), &FORMAT_KEYS));
        }
        self.begun |= !shown.is_empty();
        shown.into()
    }

    /// Masks what lies before a long string, or enough short ones; false if more has to come first.
    fn mask_tokens(&mut self, masker: &Masker, shown: &mut Vec<u8>) -> bool {
        let mut at = 0;
        while let Some(quote) = self.pending.get(at..).and_then(|rest| memchr::memchr(b'"', rest)) {
            let begin = at.saturating_add(quote).saturating_add(1);
            let inside = self.pending.get(begin..).unwrap_or_default();
            match json_string_length(inside) {
                Some(length) if length <= PART => at = begin.saturating_add(length).saturating_add(1),
                None if inside.len() <= PART => break,
                Some(_) | None => {
                    // With its quote, so that all strings in it are complete.
                    let before = self.pending.split_to(begin);
                    let (structure, quote) = before.split_at_checked(begin.saturating_sub(1)).unwrap_or_default();
                    shown.extend_from_slice(&masker.json(structure, &FORMAT_KEYS));
                    shown.extend_from_slice(quote);
                    self.string = Some(LongString::default());
                    return true;
                }
            }
        }
        // A key is masked with the colon behind it, which says that it is one.
        let next = self.pending.get(at..).unwrap_or_default().trim_ascii_start().first();
        if at <= PART || !matches!(next, Some(b',' | b'}' | b']')) {
            return false;
        }
        shown.extend_from_slice(&masker.json(&self.pending.split_to(at), &FORMAT_KEYS));
        true
    }

    /// Masks the next part of a long string; false if more has to come first.
    fn mask_part(&mut self, masker: &Masker, mut string: LongString, shown: &mut Vec<u8>) -> bool {
        let end = json_string_length(&self.pending);
        let is_last = end.is_some_and(|end| end <= PART);
        if end.is_none() && self.pending.len() < PART.saturating_add(JSON_ESCAPE) {
            self.string = Some(string);
            return false;
        }
        let length = end
            .filter(|_| is_last)
            .unwrap_or_else(|| json_string_part(&self.pending, PART));
        let part = self.pending.split_to(length);
        let end = if is_last { End::Closed } else { End::Open };
        let MaskedChunk { bytes, ends_hidden } = masker.string_chunk(&string.before, string.hidden, &part, end);
        shown.extend_from_slice(&bytes);
        if is_last {
            shown.extend_from_slice(&self.pending.split_to(1));
            return true;
        }
        string.hidden = ends_hidden;
        string.before.extend_from_slice(&part);
        let surplus = string.before.len().saturating_sub(masker.reach());
        string.before.drain(..surplus);
        self.string = Some(string);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use promptd_mask::Secrets;
    use proptest::prelude::*;

    const SECRET: &str = "s3cret\"väl€ue-1";

    fn masker() -> Masker {
        let mut secrets = Secrets::default();
        secrets.add(SECRET);
        Masker::new(&secrets).unwrap()
    }

    /// Masks a line that comes in pieces of these sizes; answers it, and the most that waited.
    fn masked(line: &[u8], sizes: &[usize]) -> (Vec<u8>, usize) {
        let (mut long, mut shown, mut most) = (LongLine::default(), Vec::new(), 0);
        let mut rest = line;
        for size in sizes.iter().cycle() {
            let (piece, behind) = rest.split_at((*size).min(rest.len()));
            rest = behind;
            shown.extend_from_slice(&long.push(&masker(), piece, rest.is_empty()));
            most = most.max(long.pending());
            if rest.is_empty() {
                return (shown, most);
            }
        }
        unreachable!()
    }

    fn line(text: &str) -> Vec<u8> {
        let record = serde_json::json!({ "type": "prompt", "text": text, "idempotency_key": SECRET });
        format!("{record}\n").into_bytes()
    }

    #[test]
    fn a_secret_is_hidden_wherever_it_lies_and_little_waits() {
        let (before, after) = ("x".repeat(PART - 400), "y".repeat(9 * PART));
        for shift in 0..420 {
            let text = format!("{before}{}{SECRET}{after}", "z".repeat(shift));
            let (shown, most) = masked(&line(&text), &[4 * PART]);
            let value: serde_json::Value = serde_json::from_slice(&shown).unwrap();
            let shown = value["text"].as_str().unwrap();
            assert!(
                !shown.contains("3cret") && !shown.contains("ue-1"),
                "{shift}: {shown:.20}"
            );
            assert!(shown.ends_with(&after) && shown.starts_with(&before), "{shift}");
            assert_eq!(value["idempotency_key"], "***");
            assert!(most < 6 * PART, "{most} bytes waited");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_cut_gives_the_same_bytes(words in proptest::collection::vec("s3cret\"väl€ue-1|s3cr|\\PC{0,40}|[\\x00-\\x1f\"\\\\]{1,9}|x{900}", 0..40), sizes in proptest::collection::vec(1_usize..5_000, 1..6)) {
            let line = line(&words.concat());
            let (whole, _) = masked(&line, &[usize::MAX]);
            prop_assert_eq!(&masked(&line, &sizes).0, &whole);
            let value: serde_json::Value = serde_json::from_slice(&whole).unwrap();
            prop_assert!(!value["text"].as_str().unwrap().contains(SECRET));
        }

        #[test]
        fn garbage_is_masked_without_panic(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), Just(b':')], 0..6_000), sizes in proptest::collection::vec(1_usize..3_000, 1..4)) {
            let whole = masked(&bytes, &[usize::MAX]).0;
            prop_assert_eq!(masked(&bytes, &sizes).0.is_empty(), whole.is_empty());
        }
    }
}
