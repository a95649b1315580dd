//! Converts output records to text: complete characters only, with a line for missing bytes.
//!
//! A character can be split over two records, so text is only cut where no character is open. Only a record with `base64`
//! can leave a character open. It stays open until the stream continues or ends.

use memchr::memmem;

use crate::kinds::kind::Line;
use promptd_model::{Body, Gap, Output, Stream};
use promptd_model::{Head, RecordKind, decode_output};

/// Part of an output record that is not UTF-8, and of no other: in text the quotes are escaped.
const BASE64_FIELD: &[u8] = b"\"base64\":";

/// Maximum bytes of records that wait for the rest of a character.
const MAX_HELD: usize = 128 << 10;

/// The start of a character at the end of a stream of a turn.
#[derive(Debug)]
struct OpenCharacter {
    turn: u32,
    stream: Stream,
    bytes: Vec<u8>,
}

/// The texts of a session's two streams.
#[derive(Debug, Default)]
pub(in crate::kinds) struct StreamTexts {
    open: Vec<OpenCharacter>,
}

impl StreamTexts {
    /// Calls `append` with the text that a record adds to a stream.
    pub(in crate::kinds) fn add(&mut self, line: &Line, append: &mut dyn FnMut(Stream, &str)) {
        let Some(record) = line.record() else {
            return;
        };
        match &record.body {
            Body::Stdout(output) => self.output(record.turn, Stream::Stdout, output, append),
            Body::Stderr(output) => self.output(record.turn, Stream::Stderr, output, append),
            Body::Exited(_) | Body::TurnEnded(_) => self.close(|open| open.turn == record.turn, append),
            Body::Gap(gap) => {
                let stream = stream_of(gap);
                self.close(
                    |open| open.stream == stream && (open.turn == record.turn || gap.stream != stream.name()),
                    append,
                );
                append(stream, &gap_notice(gap));
            }
            Body::Prompt(_)
            | Body::Steer(_)
            | Body::Setup(_)
            | Body::Started(_)
            | Body::Frozen { .. }
            | Body::Thawed { .. }
            | Body::Stdin(_)
            | Body::Permission(_)
            | Body::PermissionAnswer(_)
            | Body::Retry { .. }
            | Body::Alert { .. }
            | Body::Resumed { .. }
            | Body::Recovered { .. }
            | Body::Forgotten { .. }
            | Body::Unknown => {}
        }
    }

    /// Appends open characters, because no more records follow.
    pub(in crate::kinds) fn finish(&mut self, append: &mut dyn FnMut(Stream, &str)) {
        self.close(|_| true, append);
    }

    fn output(&mut self, turn: u32, stream: Stream, output: &Output, append: &mut dyn FnMut(Stream, &str)) {
        let mut bytes = self.take_open(turn, stream);
        decode_output(output, &mut bytes);
        // Late output may be the last record of the turn, so nothing may wait for more.
        let complete = if output.late { bytes.len() } else { complete_len(&bytes) };
        let rest = bytes.split_off(complete);
        if !bytes.is_empty() {
            append(stream, &String::from_utf8_lossy(&bytes));
        }
        if !rest.is_empty() {
            self.open.push(OpenCharacter {
                turn,
                stream,
                bytes: rest,
            });
        }
    }

    /// Takes the open character of a stream.
    fn take_open(&mut self, turn: u32, stream: Stream) -> Vec<u8> {
        let mut found = self
            .open
            .extract_if(.., |open| open.turn == turn && open.stream == stream);
        found.next().map(|open| open.bytes).unwrap_or_default()
    }

    fn close(&mut self, which: impl Fn(&OpenCharacter) -> bool, append: &mut dyn FnMut(Stream, &str)) {
        for open in self.open.extract_if(.., |open| which(open)) {
            append(open.stream, &String::from_utf8_lossy(&open.bytes));
        }
    }
}

/// The text that a record belongs to: that of its stream, or stdout for other gaps.
pub(in crate::kinds) fn text_of(line: &Line) -> Option<Stream> {
    match line.head()?.kind {
        RecordKind::Output(stream, _) => Some(stream),
        RecordKind::Other("gap") => match line.record()?.body {
            Body::Gap(gap) => Some(stream_of(&gap)),
            _ => None,
        },
        RecordKind::Other(_) => None,
    }
}

/// Whether a record can change a text.
pub(in crate::kinds) fn affects_text(head: Head<'_>) -> bool {
    matches!(
        head.kind,
        RecordKind::Output(..) | RecordKind::Other("gap" | "exited" | "turn_ended")
    )
}

/// How many lines can be sent without leaving a character open.
pub(in crate::kinds) fn ready(lines: &[Line]) -> usize {
    let mut texts = StreamTexts::default();
    let mut ready = 0;
    for (count, line) in (1..).zip(lines) {
        // Most lines need no parsing: no character is open, and they cannot open one.
        if !texts.open.is_empty() || memmem::find(&line.text, BASE64_FIELD).is_some() {
            texts.add(line, &mut |_, _| {});
        }
        if texts.open.is_empty() {
            ready = count;
        }
    }
    let held = || lines.iter().map(|line| line.text.len()).sum::<usize>();
    if ready == 0 && held() > MAX_HELD {
        lines.len()
    } else {
        ready
    }
}

fn stream_of(gap: &Gap) -> Stream {
    if gap.stream == Stream::Stderr.name() {
        Stream::Stderr
    } else {
        Stream::Stdout
    }
}

fn gap_notice(gap: &Gap) -> String {
    let Gap {
        stream, bytes, reason, ..
    } = gap;
    match bytes {
        0 => format!("[promptd: bytes of {stream} are missing, nobody knows how many: {reason}]\n"),
        1 => format!("[promptd: 1 byte of {stream} is missing: {reason}]\n"),
        bytes => format!("[promptd: {bytes} bytes of {stream} are missing: {reason}]\n"),
    }
}

/// The length without an incomplete character at the end.
fn complete_len(bytes: &[u8]) -> usize {
    let begins = |start: &usize| {
        let end = bytes.get(*start..).unwrap_or_default();
        std::str::from_utf8(end).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    let longest = bytes.len().saturating_sub(3);
    (longest..bytes.len()).find(begins).unwrap_or(bytes.len())
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
