//! Records to bytes and back; pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::Deserialize as _;

use super::lines::Chunk;
use crate::{Body, Output, Record, Stream};

/// The bytes of `2026-11-21T02:40:00.123456Z`.
const TIME_LEN: usize = 27;

/// What a line is, as far as its head tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// Output, and the offset in its stream after it.
    Output(Stream, u64),
    /// Anything else, by its `type`.
    Other(&'a str),
}

impl<'a> Kind<'a> {
    /// The record's `type`.
    pub fn name(self) -> &'a str {
        match self {
            Self::Output(stream, _) => stream.name(),
            Self::Other(name) => name,
        }
    }
}

/// The head of a line: what most readers need, without parsing the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// Place in the journal.
    pub seq: u64,
    /// Turn, or 0.
    pub turn: u32,
    /// What it is.
    pub kind: Kind<'a>,
}

/// Reads the head of a line (or of its first 256 bytes); `None` when the line is not one of ours.
pub fn parse_head(line: &[u8]) -> Option<Head<'_>> {
    let rest = line.strip_prefix(b"{\"seq\":")?;
    let (seq, rest) = number(rest)?;
    let rest = rest
        .strip_prefix(b",\"time\":\"")?
        .get(TIME_LEN..)?
        .strip_prefix(b"\",")?;
    let (turn, rest) = match rest.strip_prefix(b"\"turn\":") {
        Some(rest) => {
            let (turn, rest) = number(rest)?;
            (u32::try_from(turn).ok()?, rest.strip_prefix(b",")?)
        }
        None => (0, rest),
    };
    let rest = rest.strip_prefix(b"\"type\":\"")?;
    let end = memchr::memchr(b'"', rest)?;
    let (name, rest) = rest.split_at_checked(end)?;
    let output = |stream| {
        let (to, _) = number(rest.strip_prefix(b"\",\"to\":")?)?;
        Some(Kind::Output(stream, to))
    };
    let kind = match name {
        b"stdout" => output(Stream::Stdout)?,
        b"stderr" => output(Stream::Stderr)?,
        name => Kind::Other(std::str::from_utf8(name).ok()?),
    };
    Some(Head { seq, turn, kind })
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = bytes.split_at_checked(digits)?;
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, rest))
}

/// Reads a whole line.
pub fn decode(line: &[u8]) -> Option<Record> {
    #[derive(serde::Deserialize)]
    struct Time {
        time: Timestamp,
    }
    let head = parse_head(line)?;
    let Time { time } = serde_json::from_slice(line).ok()?;
    let body = Body::deserialize(&mut serde_json::Deserializer::from_slice(line)).ok()?;
    Some(Record {
        seq: head.seq,
        time,
        turn: head.turn,
        body,
    })
}

/// Gives back exactly the bytes that the agent wrote, appended to `bytes`.
pub fn decode_output(output: &Output, bytes: &mut Vec<u8>) -> bool {
    let decoded = match (&output.data, &output.base64) {
        (Some(text), _) => {
            bytes.extend_from_slice(text.as_bytes());
            true
        }
        (None, Some(text)) => BASE64.decode_vec(text, bytes).is_ok(),
        (None, None) => true,
    };
    if output.eol {
        bytes.push(b'\n');
    }
    decoded
}

/// A chunk as a record's fields.
pub fn output_of(chunk: &Chunk<'_>, to: u64) -> Output {
    let output = Output {
        to,
        eol: chunk.eol,
        ..Output::default()
    };
    match std::str::from_utf8(chunk.bytes) {
        Ok(text) => Output {
            data: Some(text.to_owned()),
            ..output
        },
        Err(_) => Output {
            base64: Some(BASE64.encode(chunk.bytes)),
            ..output
        },
    }
}

/// The time as every line carries it: always the same length, so that heads can be read by position.
pub fn time_text(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// Appends a record to `line`, with its newline.
pub fn encode(line: &mut Vec<u8>, seq: u64, time: &str, turn: u32, body: &Body) -> serde_json::Result<()> {
    match body {
        // These have an order of their own, which `parse_head` relies on.
        Body::Stdout(output) => encode_text_or_base64(line, seq, time, turn, Stream::Stdout, output),
        Body::Stderr(output) => encode_text_or_base64(line, seq, time, turn, Stream::Stderr, output),
        body => {
            begin(line, seq, time, turn);
            let at = line.len();
            serde_json::to_writer(&mut *line, body)?;
            // The body is an object of its own; its opening brace becomes the comma after our head.
            if let Some(brace) = line.get_mut(at) {
                *brace = b',';
            }
            line.push(b'\n');
        }
    }
    Ok(())
}

fn encode_text_or_base64(line: &mut Vec<u8>, seq: u64, time: &str, turn: u32, stream: Stream, output: &Output) {
    let mut bytes = Vec::new();
    let plain = Output {
        eol: false,
        ..output.clone()
    };
    decode_output(&plain, &mut bytes);
    encode_output(
        line,
        seq,
        time,
        turn,
        stream,
        &Chunk {
            bytes: &bytes,
            eol: output.eol,
        },
        output.to,
        output.late,
    );
}

/// Appends an output record to `line`, with its newline.
#[expect(
    clippy::too_many_arguments,
    reason = "the fields of one record, on the path where a struct of them would only be taken apart again"
)]
pub fn encode_output(
    line: &mut Vec<u8>,
    seq: u64,
    time: &str,
    turn: u32,
    stream: Stream,
    chunk: &Chunk<'_>,
    to: u64,
    late: bool,
) {
    begin(line, seq, time, turn);
    line.extend_from_slice(b",\"type\":\"");
    line.extend_from_slice(stream.name().as_bytes());
    line.extend_from_slice(b"\",\"to\":");
    push_number(line, to);
    if late {
        line.extend_from_slice(b",\"late\":true");
    }
    if !chunk.eol {
        line.extend_from_slice(b",\"eol\":false");
    }
    if let Ok(text) = std::str::from_utf8(chunk.bytes) {
        line.extend_from_slice(b",\"data\":");
        push_string(line, text);
    } else {
        line.extend_from_slice(b",\"base64\":\"");
        let at = line.len();
        let length = base64::encoded_len(chunk.bytes.len(), true).unwrap_or(0);
        line.resize(at.saturating_add(length), 0);
        if let Some(room) = line.get_mut(at..) {
            // The room was made to measure, so this cannot fail.
            let _written = BASE64.encode_slice(chunk.bytes, room);
        }
        line.push(b'"');
    }
    line.extend_from_slice(b"}\n");
}

/// Everything up to the turn, without the comma that follows.
fn begin(line: &mut Vec<u8>, seq: u64, time: &str, turn: u32) {
    line.extend_from_slice(b"{\"seq\":");
    push_number(line, seq);
    line.extend_from_slice(b",\"time\":\"");
    line.extend_from_slice(time.as_bytes());
    line.push(b'"');
    if turn > 0 {
        line.extend_from_slice(b",\"turn\":");
        push_number(line, turn.into());
    }
}

fn push_number(line: &mut Vec<u8>, number: u64) {
    // Writing to a Vec cannot fail, nor can a number be no JSON.
    let _written = serde_json::to_writer(line, &number);
}

fn push_string(line: &mut Vec<u8>, text: &str) {
    let _written = serde_json::to_writer(line, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Exited, Prompt};
    use proptest::prelude::*;

    const TIME: &str = "2026-11-21T02:40:00.123456Z";

    fn round_trip(turn: u32, body: &Body) -> Record {
        let mut line = Vec::new();
        encode(&mut line, 17, TIME, turn, body).unwrap();
        assert_eq!(line.pop(), Some(b'\n'));
        assert!(!line.contains(&b'\n'), "one record is one line");
        decode(&line).unwrap()
    }

    #[test]
    fn every_kind_of_record_comes_back_as_it_was() {
        for body in [
            Body::Prompt(Prompt {
                text: "do\nit".into(),
                idempotency_key: Some("k".into()),
            }),
            Body::Exited(Exited {
                code: Some(3),
                duration: 0.5,
                ..Exited::default()
            }),
            Body::Resumed {
                epoch: "e".into(),
                previous: Some("d".into()),
                away: 1.5,
                sandbox: None,
            },
            Body::Stdin(Output {
                to: 2,
                eol: true,
                data: Some("a".into()),
                ..Output::default()
            }),
        ] {
            assert_eq!(round_trip(3, &body).body, body);
            assert_eq!(round_trip(0, &body).turn, 0);
        }
    }

    #[test]
    fn the_wire_looks_as_the_contract_words_it() {
        let mut line = Vec::new();
        encode_output(
            &mut line,
            2,
            TIME,
            1,
            Stream::Stdout,
            &Chunk {
                bytes: b"a\"b",
                eol: true,
            },
            4,
            false,
        );
        let expected =
            r#"{"seq":2,"time":"2026-11-21T02:40:00.123456Z","turn":1,"type":"stdout","to":4,"data":"a\"b"}"#;
        assert_eq!(line, format!("{expected}\n").into_bytes());
    }

    #[test]
    fn a_time_without_fraction_keeps_its_length() {
        assert_eq!(time_text(Timestamp::UNIX_EPOCH).len(), TIME_LEN);
    }

    proptest! {
        #[test]
        fn the_agents_bytes_come_back_exactly(bytes in proptest::collection::vec(any::<u8>(), 0..300), eol: bool, late: bool) {
            let mut line = Vec::new();
            encode_output(&mut line, 9, TIME, 4, Stream::Stderr, &Chunk { bytes: &bytes, eol }, 77, late);
            line.pop();
            prop_assert_eq!(parse_head(&line), Some(Head { seq: 9, turn: 4, kind: Kind::Output(Stream::Stderr, 77) }));
            let Body::Stderr(output) = decode(&line).unwrap().body else { panic!("no stderr record") };
            let mut back = Vec::new();
            prop_assert!(decode_output(&output, &mut back));
            let mut expected = bytes;
            if eol { expected.push(b'\n'); }
            prop_assert_eq!(back, expected);
            prop_assert_eq!(output.late, late);
        }

        #[test]
        fn garbage_is_no_record_and_no_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&line).is_none());
        }

        #[test]
        fn a_damaged_record_never_panics(cut in 0_usize..120, byte: u8) {
            let mut line = Vec::new();
            encode(&mut line, 1, TIME, 1, &Body::Prompt(Prompt { text: "hello".into(), idempotency_key: None })).unwrap();
            let at = cut % line.len();
            line[at] = byte;
            let _decoded = decode(&line);
            line.truncate(at);
            let _decoded = decode(&line);
        }
    }
}
