//! A long prompt as several updates: ACP calls them chunks, and no reader needs all of it at once.

use super::line::{Line, head_of, update_line};
use crate::output::update::Update;
use promptd_model::{JSON_ESCAPE, RecordKind, json_string_length, json_string_part, parse_head};

/// A longer prompt is several updates, each with so many bytes of the record.
const PART: usize = if cfg!(test) { 1 << 10 } else { 64 << 10 };

/// What a record's `text` follows.
const TEXT: &[u8] = b"\"type\":\"prompt\",\"text\":\"";

/// A prompt that is being read.
#[derive(Clone)]
pub(super) struct LongPrompt {
    pub(super) seq: u64,
    turn: u32,
    /// The record's `seq`, `time` and `turn`.
    begin: Vec<u8>,
    /// How many updates there were.
    index: usize,
}

impl LongPrompt {
    /// Whether a line, or its beginning, is a prompt that needs several updates; answers also where its text begins.
    pub(super) fn find(line: &[u8]) -> Option<(Self, usize)> {
        if line.len() <= PART {
            return None;
        }
        let head = parse_head(line).filter(|head| head.kind == RecordKind::Other("prompt"))?;
        let begin = head_of(line);
        let text = line.get(begin.len()..)?.strip_prefix(TEXT)?;
        let is_long = json_string_length(text).unwrap_or(text.len()) > PART.saturating_add(JSON_ESCAPE);
        let prompt = Self {
            seq: head.seq,
            turn: head.turn,
            begin: begin.to_vec(),
            index: 0,
        };
        is_long.then_some((prompt, begin.len().saturating_add(TEXT.len())))
    }

    /// Makes updates of `text`, the text as it is in the record; answers how much of it is in them. `ends` says that the rest
    /// of the record is there.
    pub(super) fn push(&mut self, text: &[u8], ends: bool, lines: &mut Vec<Line>) -> usize {
        let end = json_string_length(text).or(ends.then_some(text.len()));
        let mut done = 0;
        loop {
            let rest = text.get(done..).unwrap_or_default();
            let left = end.map(|end| end.saturating_sub(done));
            let is_more = left.map_or(rest.len() >= PART.saturating_add(JSON_ESCAPE), |left| left > PART);
            if !is_more {
                break;
            }
            let length = json_string_part(rest, PART);
            self.put(rest.get(..length).unwrap_or_default(), false, lines);
            done = done.saturating_add(length);
        }
        if ends {
            let last = text.get(done..end.unwrap_or(text.len())).unwrap_or_default();
            self.put(last, true, lines);
            return text.len();
        }
        done
    }

    fn put(&mut self, part: &[u8], last: bool, lines: &mut Vec<Line>) {
        let quoted = [b"\"", part, b"\""].concat();
        let text: String =
            serde_json::from_slice(&quoted).unwrap_or_else(|_| String::from_utf8_lossy(part).into_owned());
        lines.push(Line {
            seq: self.seq,
            text: update_line(
                &self.begin,
                Some(self.index),
                &Update::prompt(text).in_message(self.seq.to_string()),
            ),
            last,
            update_of: Some(self.turn),
        });
        self.index = self.index.saturating_add(1);
    }
}
