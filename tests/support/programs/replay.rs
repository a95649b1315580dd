//! An agent that does what a real one once did: it writes the lines of a recording, byte for byte.
//!
//! `REPLAY` names the recording, in `tests/agents/recorded`. A line is what the agent wrote, or in a recording of a dialog
//!
//! | line | what happens |
//! |---|---|
//! | `{"out":…}` | it is written |
//! | `{"in":…}` | the next line of standard input is read, and goes to the file `REPLAY_HEARD` |
//! | `{"answer":…}` | nothing: it says which answer the next `in` holds |
//!
//! It needs nothing but the standard library: `build.rs` compiles it by itself.

use std::fs::File;
use std::io::{BufRead as _, Read as _, Write as _};

fn main() {
    let path = std::env::var("REPLAY").unwrap();
    let recording = std::fs::read_to_string(&path).unwrap();
    let mut out = std::io::stdout().lock();
    if !recording.starts_with("{\"in\":") {
        // The prompt may come by standard input, which ends.
        let mut prompt = Vec::new();
        std::io::stdin().read_to_end(&mut prompt).unwrap();
        return out.write_all(recording.as_bytes()).unwrap();
    }
    let mut heard = File::create(std::env::var("REPLAY_HEARD").unwrap()).unwrap();
    let mut lines = std::io::stdin().lock();
    for line in recording.lines() {
        if let Some(written) = inside(line, "out") {
            out.write_all(format!("{written}\n").as_bytes()).unwrap();
            out.flush().unwrap();
        } else if inside(line, "in").is_some() {
            let mut message = String::new();
            if lines.read_line(&mut message).unwrap() == 0 {
                return;
            }
            heard.write_all(message.as_bytes()).unwrap();
        }
    }
    // As the real ones do, it stays until nobody can say anything any more.
    lines.read_to_end(&mut Vec::new()).unwrap();
}

/// What is inside of `{"name":…}`.
fn inside<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(&format!("{{\"{name}\":"))?;
    rest.strip_suffix('}')
}
