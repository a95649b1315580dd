//! Encodes records as JSON lines and decodes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::Deserialize as _;

use super::body::{Body, Output, Record, Stream};
use super::chunk::Chunk;

/// The length of `2026-11-21T02:40:00.123456Z`.
const TIME_LEN: usize = 27;

/// The kind of a record, from the head of its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind<'a> {
    /// Output: its stream, and the offset in the stream after this record.
    Output(Stream, u64),
    /// Any other record, by its `type`.
    Other(&'a str),
}

impl<'a> RecordKind<'a> {
    /// The record's `type`.
    pub fn name(self) -> &'a str {
        match self {
            Self::Output(stream, _) => stream.name(),
            Self::Other(name) => name,
        }
    }
}

/// The first fields of a line. Most readers need nothing else and skip parsing the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The record's number.
    pub seq: u64,
    /// The turn, or 0.
    pub turn: u32,
    /// The kind of record.
    pub kind: RecordKind<'a>,
}

/// Parses the head of a line, for which its first 256 bytes are enough; `None` if the line is not a record.
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
        Some(RecordKind::Output(stream, to))
    };
    let kind = match name {
        b"stdout" => output(Stream::Stdout)?,
        b"stderr" => output(Stream::Stderr)?,
        name => RecordKind::Other(std::str::from_utf8(name).ok()?),
    };
    Some(Head { seq, turn, kind })
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = bytes.split_at_checked(digits)?;
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, rest))
}

/// Decodes a line.
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

/// Appends exactly the bytes that the agent wrote to `bytes`; false if the base64 is invalid.
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

/// The fields of an output record for a chunk.
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

/// The time as text. Its length is fixed, so heads can be parsed by position.
pub fn time_text(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// Appends a record to `line`, with its newline.
pub fn encode(line: &mut Vec<u8>, seq: u64, time: &str, turn: u32, body: &Body) -> serde_json::Result<()> {
    match body {
        // Output records have a fixed field order, which `parse_head` needs.
        Body::Stdout(output) => encode_text_or_base64(line, seq, time, turn, Stream::Stdout, output),
        Body::Stderr(output) => encode_text_or_base64(line, seq, time, turn, Stream::Stderr, output),
        body => {
            push_head(line, seq, time, turn);
            let at = line.len();
            serde_json::to_writer(&mut *line, body)?;
            // The body is a complete JSON object: its opening brace becomes the comma after the head.
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
    reason = "the fields of one record; a struct would only be taken apart again"
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
    push_head(line, seq, time, turn);
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
        if let Some(target) = line.get_mut(at..) {
            // The buffer has exactly the right length, so this cannot fail.
            let _written = BASE64.encode_slice(chunk.bytes, target);
        }
        line.push(b'"');
    }
    line.extend_from_slice(b"}\n");
}

/// Appends the head up to the turn, without the comma after it.
fn push_head(line: &mut Vec<u8>, seq: u64, time: &str, turn: u32) {
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
    // Writing a number to a Vec cannot fail.
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
    fn records_survive_a_round_trip() {
        for body in [
            Body::Prompt(Prompt {
                text: "do\nit".into(),
                idempotency_key: Some("k".into()),
                fresh: true,
                blocks: vec![crate::ContentBlock::of_text("x".into())],
                options: crate::TurnOptions {
                    model: Some("m".into()),
                    max_turns: Some(3),
                    ..crate::TurnOptions::default()
                },
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
    fn output_record_has_the_documented_format() {
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
    fn records_of_a_newer_version_are_read_as_far_as_they_are_known() {
        let read = |rest: &str| {
            let line = format!("{{\"seq\":3,\"time\":\"{TIME}\",\"turn\":1,\"type\":{rest}}}");
            decode(line.as_bytes()).unwrap().body
        };
        assert_eq!(
            read(r#""steered","text":"go left","by":{"who":"caller"}"#),
            Body::Unknown
        );
        let ended = read(
            r#""turn_ended","status":"parked","cause":"weather","stop_reason":"tired","result":"r","cost":{"x":1}"#,
        );
        let Body::TurnEnded(ended) = ended else {
            panic!("{ended:?}")
        };
        assert_eq!(
            (ended.status, ended.cause),
            (crate::Status::Lost, Some(crate::Cause::AgentError))
        );
        assert_eq!((ended.stop_reason, ended.result.as_deref()), (None, Some("r")));
        let asked = read(
            r#""permission","id":"p","title":"t","options":[{"optionId":"a","name":"n","kind":"allow_once"},{"optionId":"b","name":"n","kind":"allow_for_a_day"}]"#,
        );
        let Body::Permission(asked) = asked else {
            panic!("{asked:?}")
        };
        assert_eq!(asked.options.len(), 1, "what it does not know, it does not offer");
        assert!(matches!(
            read(r#""retry","attempt":2,"delay":1.0,"cause":"weather""#),
            Body::Retry { attempt: 2, .. }
        ));
        let Body::Exited(exited) = read(
            r#""exited","duration":1.0,"cause":null,"resources":{"cpu_seconds":0.0,"max_rss_bytes":1},"leftover_processes":0"#,
        ) else {
            panic!()
        };
        assert_eq!(exited.cause, None);
    }

    #[test]
    fn time_without_fraction_has_full_length() {
        assert_eq!(time_text(Timestamp::UNIX_EPOCH).len(), TIME_LEN);
    }

    proptest! {
        #[test]
        fn output_bytes_survive_a_round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..300), eol: bool, late: bool) {
            let mut line = Vec::new();
            encode_output(&mut line, 9, TIME, 4, Stream::Stderr, &Chunk { bytes: &bytes, eol }, 77, late);
            line.pop();
            prop_assert_eq!(parse_head(&line), Some(Head { seq: 9, turn: 4, kind: RecordKind::Output(Stream::Stderr, 77) }));
            let Body::Stderr(output) = decode(&line).unwrap().body else { panic!("no stderr record") };
            let mut back = Vec::new();
            prop_assert!(decode_output(&output, &mut back));
            let mut expected = bytes;
            if eol { expected.push(b'\n'); }
            prop_assert_eq!(back, expected);
            prop_assert_eq!(output.late, late);
        }

        #[test]
        fn garbage_is_rejected_without_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&line).is_none());
        }

        #[test]
        fn damaged_record_does_not_panic(cut in 0_usize..120, byte: u8) {
            let mut line = Vec::new();
            encode(&mut line, 1, TIME, 1, &Body::Prompt(Prompt { text: "hello".into(), ..Prompt::default() })).unwrap();
            let at = cut % line.len();
            line[at] = byte;
            let _decoded = decode(&line);
            line.truncate(at);
            let _decoded = decode(&line);
        }
    }
}
