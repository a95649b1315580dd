//! Output records to text: whole characters, and a line in words where something is missing.
//!
//! A character can be split over two records, which is why text is only cut where none is open. Only a record with
//! `base64` can open one; it stays open until the stream goes on, or cannot any more.

use memchr::memmem;

use super::Line;
use promptd_model::{Body, Gap, Output, Stream};
use promptd_model::{Head, RecordKind, decode_output};

/// What stands in an output record that is not UTF-8, and in no other: in text the quotes would be escaped.
const BASE64: &[u8] = b"\"base64\":";

/// Whoever waits for the rest of a character keeps everything behind it waiting, but no more bytes of it than this: a
/// batch that is full cannot grow.
const HELD: usize = 128 << 10;

/// The beginning of a character, at the end of what one stream of one turn has said so far.
#[derive(Debug)]
struct Open {
    turn: u32,
    stream: Stream,
    bytes: Vec<u8>,
}

/// A session's two texts, as they grow.
#[derive(Debug, Default)]
pub(super) struct Texts {
    open: Vec<Open>,
}

impl Texts {
    /// Tells what a record adds to which text.
    pub(super) fn take(&mut self, line: &Line, tell: &mut dyn FnMut(Stream, &str)) {
        let Some(record) = line.record() else {
            return;
        };
        match &record.body {
            Body::Stdout(output) => self.output(record.turn, Stream::Stdout, output, tell),
            Body::Stderr(output) => self.output(record.turn, Stream::Stderr, output, tell),
            Body::Exited(_) | Body::TurnEnded(_) => self.close(|open| open.turn == record.turn, tell),
            Body::Gap(gap) => {
                let stream = stream_of(gap);
                self.close(
                    |open| open.stream == stream && (open.turn == record.turn || gap.stream != stream.name()),
                    tell,
                );
                tell(stream, &in_words(gap));
            }
            Body::Prompt(_)
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
            | Body::Recovered { .. } => {}
        }
    }

    /// Tells what is still open; nothing more comes.
    pub(super) fn finish(&mut self, tell: &mut dyn FnMut(Stream, &str)) {
        self.close(|_| true, tell);
    }

    fn output(&mut self, turn: u32, stream: Stream, output: &Output, tell: &mut dyn FnMut(Stream, &str)) {
        let mut bytes = self.forget(turn, stream);
        decode_output(output, &mut bytes);
        // What is late may be the last that is heard, so that nothing can wait for it.
        let whole = if output.late { bytes.len() } else { whole(&bytes) };
        let rest = bytes.split_off(whole);
        if !bytes.is_empty() {
            tell(stream, &String::from_utf8_lossy(&bytes));
        }
        if !rest.is_empty() {
            self.open.push(Open {
                turn,
                stream,
                bytes: rest,
            });
        }
    }

    fn forget(&mut self, turn: u32, stream: Stream) -> Vec<u8> {
        let mut found = self
            .open
            .extract_if(.., |open| open.turn == turn && open.stream == stream);
        found.next().map(|open| open.bytes).unwrap_or_default()
    }

    fn close(&mut self, which: impl Fn(&Open) -> bool, tell: &mut dyn FnMut(Stream, &str)) {
        for open in self.open.extract_if(.., |open| which(open)) {
            tell(open.stream, &String::from_utf8_lossy(&open.bytes));
        }
    }
}

/// Which text a record belongs to, if any: the one that its stream has, and for other losses that of the output.
pub(super) fn text_of(line: &Line) -> Option<Stream> {
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
pub(super) fn matters(head: Head<'_>) -> bool {
    matches!(
        head.kind,
        RecordKind::Output(..) | RecordKind::Other("gap" | "exited" | "turn_ended")
    )
}

/// How many lines can be told before a character is left open.
pub(super) fn ready(lines: &[Line]) -> usize {
    let mut texts = Texts::default();
    let mut ready = 0;
    for (count, line) in (1..).zip(lines) {
        // Most lines need no parsing: they open nothing, and nothing is open that they could close.
        if !texts.open.is_empty() || memmem::find(&line.text, BASE64).is_some() {
            texts.take(line, &mut |_, _| {});
        }
        if texts.open.is_empty() {
            ready = count;
        }
    }
    let held = || lines.iter().map(|line| line.text.len()).sum::<usize>();
    if ready == 0 && held() > HELD {
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

fn in_words(gap: &Gap) -> String {
    let Gap {
        stream, bytes, reason, ..
    } = gap;
    match bytes {
        0 => format!("[promptd: bytes of {stream} are missing, nobody knows how many: {reason}]\n"),
        1 => format!("[promptd: 1 byte of {stream} is missing: {reason}]\n"),
        bytes => format!("[promptd: {bytes} bytes of {stream} are missing: {reason}]\n"),
    }
}

/// The length without the beginning of a character at the end.
fn whole(bytes: &[u8]) -> usize {
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
