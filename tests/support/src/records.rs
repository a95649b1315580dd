//! What records say together, and files beside them.

use std::path::Path;

use serde_json::{Value, json};

/// The bytes that a stream's records hold together, without decoding by the server.
pub fn joined(records: &[Value], stream: &str) -> Vec<u8> {
    use base64::Engine as _;
    let mut bytes = Vec::new();
    for record in records.iter().filter(|record| record["type"] == stream) {
        match (record["data"].as_str(), record["base64"].as_str()) {
            (Some(text), _) => bytes.extend_from_slice(text.as_bytes()),
            (_, Some(text)) => bytes.extend(base64::engine::general_purpose::STANDARD.decode(text).unwrap()),
            _ => {}
        }
        if record["eol"] != json!(false) {
            bytes.push(b'\n');
        }
    }
    bytes
}

/// Makes an empty file, which a script waits for.
pub fn touch(path: &Path) {
    std::fs::write(path, "").unwrap();
}

/// Fails unless two contents are the same, and says where they part rather than printing megabytes.
pub fn assert_same_bytes(what: &str, found: &[u8], expected: &[u8]) {
    if found != expected {
        let at = found.iter().zip(expected).position(|(a, b)| a != b);
        panic!(
            "{what}: {} bytes instead of {}, first difference at {at:?}",
            found.len(),
            expected.len()
        );
    }
}

/// The records of one type.
pub fn of_type<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["type"] == kind).collect()
}

/// Fails where a program is missing that a test needs, and says what installs it.
pub fn require_program(name: &str, package: &str) {
    assert!(
        which::which(name).is_ok(),
        "{name} is not installed; on Debian: apt-get install {package}"
    );
}

/// Fails unless `seq` goes 1, 2, 3, … from `first`.
pub fn assert_no_holes(records: &[Value], first: u64) {
    for (record, expected) in records.iter().zip(first..) {
        assert_eq!(record["seq"], json!(expected), "a hole or a double in the sequence");
    }
}
