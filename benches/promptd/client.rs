//! A client that costs next to nothing: raw sockets, and a search for the bytes that matter.

use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use memchr::memmem;

use super::agent;

/// What stands before an agent's words in a record.
const WORDS: &[u8] = b"\"data\":\"";

const SSE: &str = "text/event-stream";

/// Sends a request; the answer is still to be read.
pub(crate) fn send(stream: &mut TcpStream, method: &str, path: &str, accept: &str, body: &str) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
}

/// Connects; answers as soon as the server listens.
pub(crate) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A small exchange; answers the body.
pub(crate) fn exchange(address: &str, method: &str, path: &str, body: &str) -> String {
    let mut stream = connect(address);
    send(&mut stream, method, path, "application/json", body);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 2"), "{method} {path}: {answer}");
    body.to_owned()
}

/// The event stream of a session, from its beginning.
pub(crate) fn events(address: &str, session: &str) -> TcpStream {
    let mut stream = connect(address);
    send(&mut stream, "GET", &format!("/v1/sessions/{session}/events"), SSE, "");
    stream
}

/// The event stream that answers the creation of a session.
pub(crate) fn create_and_follow(stream: &mut TcpStream, body: &str) {
    send(stream, "POST", "/v1/sessions", SSE, body);
}

/// How the numbers that an agent writes stand in what is read.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// One per line.
    Lines,
    /// One per record.
    Records,
}

/// Reads to the end; tells each line's number, and when its bytes had come. A line that came as several records
/// (the agent was kept waiting in the middle of it) is told once, without its number.
pub(crate) fn numbers(source: &mut impl Read, form: Form, mut tell: impl FnMut(Option<u64>, u64)) {
    let mut buffer = vec![0; 1 << 20];
    let (mut held, mut split) = (0, false);
    loop {
        let read = source.read(&mut buffer[held..]).unwrap();
        if read == 0 {
            return;
        }
        let came = agent::now();
        let text = &buffer[..held + read];
        let rest = match form {
            Form::Lines => lines(text, |number| tell(Some(number), came)),
            Form::Records => records(text, &mut split, |number| tell(number, came)),
        };
        buffer.copy_within(rest..held + read, 0);
        held = held + read - rest;
    }
}

/// Answers where the unfinished last line begins.
fn lines(text: &[u8], mut tell: impl FnMut(u64)) -> usize {
    let mut begin = 0;
    for end in memchr::memchr_iter(b'\n', text) {
        tell(number(&text[begin..end]));
        begin = end + 1;
    }
    begin
}

/// Answers where to begin again: no record behind it is whole.
fn records(text: &[u8], split: &mut bool, mut tell: impl FnMut(Option<u64>)) -> usize {
    let end = memchr::memrchr(b'\n', text).map_or(0, |newline| newline + 1);
    for at in memmem::find_iter(&text[..end], WORDS) {
        let unfinished = text[..at].ends_with(b"\"eol\":false,");
        if !unfinished {
            tell((!*split).then(|| number(&text[at + WORDS.len()..end])));
        }
        *split = unfinished;
    }
    end
}

fn number(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

/// Reads to the end; answers how many bytes came.
pub(crate) fn drain(source: &mut impl Read) -> u64 {
    let mut buffer = vec![0; 1 << 20];
    let mut all = 0;
    loop {
        match source.read(&mut buffer).unwrap() {
            0 => return all,
            read => all += read as u64,
        }
    }
}

/// Reads until these bytes have come.
pub(crate) fn wait_for(source: &mut impl Read, wanted: &[u8]) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while memmem::find(&seen, wanted).is_none() {
        let read = source.read(&mut buffer).unwrap();
        assert!(read > 0, "the answer ended: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..read]);
    }
}

/// Waits until an address answers `GET path` with 200.
pub(crate) fn wait_healthy(address: &str, path: &str) {
    let begun = Instant::now();
    loop {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{address} does not become healthy"
        );
        if let Ok(mut stream) = TcpStream::connect(address) {
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let mut answer = String::new();
            if stream.write_all(request.as_bytes()).is_ok()
                && stream.read_to_string(&mut answer).is_ok()
                && answer.starts_with("HTTP/1.1 200")
            {
                return;
            }
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}
