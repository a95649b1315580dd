//! A large prompt, or message into a running turn, as it comes: ACP calls its updates chunks, and no reader needs all of it
//! at once.

use memchr::memmem;

use super::line::{Line, head_of, update_line};
use crate::output::update::Update;
use promptd_model::{JSON_ESCAPE, RecordKind, json_string_length, json_string_part, parse_head};

/// A longer text is several updates, each with so many bytes of the record.
const PART: usize = if cfg!(test) { 1 << 10 } else { 64 << 10 };

/// What the text of these records follows.
const TEXTS: [&[u8]; 2] = [b"\"type\":\"prompt\",\"text\":\"", b"\"type\":\"steer\",\"text\":\""];

/// In no text and in no block: there, the quotes are escaped.
const FRESH: &[u8] = b"\"fresh\":true";

/// A prompt that is being read.
#[derive(Clone)]
pub(super) struct LongPrompt {
    pub(super) seq: u64,
    pub(super) turn: u32,
    /// It begins a new conversation of the agent. Known when the record has ended.
    pub(super) is_fresh: bool,
    /// The record's `seq`, `time` and `turn`.
    begin: Vec<u8>,
    /// How many updates there were.
    index: usize,
    /// All of the text is in the updates. What follows, such as images, has none.
    text_ended: bool,
}

impl LongPrompt {
    /// Whether a line, or its beginning, is a large prompt; answers also where its text begins.
    pub(super) fn find(line: &[u8]) -> Option<(Self, usize)> {
        if line.len() <= PART {
            return None;
        }
        let head = parse_head(line).filter(|head| matches!(head.kind, RecordKind::Other("prompt" | "steer")))?;
        let begin = head_of(line);
        let body = line.get(begin.len()..)?;
        let before = TEXTS.into_iter().find(|text| body.starts_with(text))?;
        let prompt = Self {
            seq: head.seq,
            turn: head.turn,
            is_fresh: false,
            begin: begin.to_vec(),
            index: 0,
            text_ended: false,
        };
        Some((prompt, begin.len().saturating_add(before.len())))
    }

    /// Makes updates of what follows in the record, from its text on; answers how much of it was used. `ends` says that the
    /// rest of the record is there.
    pub(super) fn push(&mut self, rest: &[u8], ends: bool, lines: &mut Vec<Line>) -> usize {
        let mut done = 0;
        if !self.text_ended {
            let end = json_string_length(rest).or(ends.then_some(rest.len()));
            loop {
                let text = rest.get(done..).unwrap_or_default();
                let left = end.map(|end| end.saturating_sub(done));
                let is_more = left.map_or(text.len() >= PART.saturating_add(JSON_ESCAPE), |left| left > PART);
                if !is_more {
                    break;
                }
                let length = json_string_part(text, PART);
                self.put(text.get(..length).unwrap_or_default(), false, lines);
                done = done.saturating_add(length);
            }
            let Some(end) = end else { return done };
            self.put(rest.get(done..end).unwrap_or_default(), true, lines);
            self.text_ended = true;
            done = end;
        }
        self.is_fresh |= memmem::find(rest.get(done..).unwrap_or_default(), FRESH).is_some();
        if ends {
            return rest.len();
        }
        // It may continue in the next piece.
        rest.len().saturating_sub(FRESH.len()).max(done)
    }

    fn put(&mut self, part: &[u8], last: bool, lines: &mut Vec<Line>) {
        let quoted = [b"\"", part, b"\""].concat();
        let text: String =
            serde_json::from_slice(&quoted).unwrap_or_else(|_| String::from_utf8_lossy(part).into_owned());
        lines.push(Line {
            seq: self.seq,
            text: update_line(
                &self.begin,
                (self.index > 0 || !last).then_some(self.index),
                &Update::prompt(text).in_message(self.seq.to_string()),
            ),
            last,
            update_of: Some(self.turn),
        });
        self.index = self.index.saturating_add(1);
    }
}
