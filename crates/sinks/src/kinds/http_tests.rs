//! Tests of [`super`].

use std::io::Read as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::kinds::kind::Line;
use crate::kinds::support_tests::{Journal, json as body, refused, sink};

fn http() -> Box<dyn Kind> {
    let headers = json!({"Authorization": "Bearer swordfish-1", "X-Team": "blue"});
    sink(json!({"kind":"http","url":"https://h/logs","headers":headers})).unwrap()
}

#[test]
fn body_has_the_journal_lines_in_an_envelope() {
    let mut journal = Journal::default();
    journal.begin(1).stdout(b"a\"b", true);
    let messages = journal.send_all(&*http());
    let text = String::from_utf8(messages[0].body.to_vec()).unwrap();
    let lines: Vec<&str> = journal
        .lines
        .iter()
        .map(|line| std::str::from_utf8(&line.text).unwrap())
        .collect();
    let head = r#"{"session":"s.1","epoch":"e1","first_seq":1,"last_seq":3,"records":["#;
    assert_eq!(text, format!("{head}{}]}}", lines.join(",")));
    assert_eq!(messages[0].headers["x-team"], "blue");
    assert_eq!(messages[0].headers["content-type"], "application/json");
}

#[test]
fn gzip_always_gives_the_same_bytes() {
    let mut journal = Journal::default();
    journal.stdout(&[b'x'; 5000], true);
    let zipped = sink(json!({"kind":"http","url":"https://h/logs","gzip":true})).unwrap();
    let messages = journal.send_all(&*zipped);
    assert_eq!(messages, journal.send_all(&*zipped));
    assert_eq!(messages[0].headers["content-encoding"], "gzip");
    assert!(messages[0].body.len() < 500);
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&*messages[0].body)
        .read_to_end(&mut plain)
        .unwrap();
    assert_eq!(plain, journal.send_all(&*http())[0].body);
}

#[test]
fn errors_name_the_field_and_hide_secrets() {
    assert_eq!(refused(json!({"kind":"http"})), "url of the http sink is missing");
    assert_eq!(
        refused(json!({"kind":"http","url":"ftp://h"})),
        "url of the http sink is no http or https URL; write one such as https://backend.example/logs"
    );
    assert_eq!(
        refused(json!({"kind":"http","url":"https://h","apiKey":"k"})),
        "api_key of the http sink means nothing to it; besides kind and name it takes url, headers, view, gzip"
    );
    assert_eq!(
        refused(json!({"kind":"http","url":"https://h","headers":{"Idempotency-Key":"x"}})),
        "headers.Idempotency-Key of the http sink is set by promptd; leave it out"
    );
    assert_eq!(http().endpoint().secrets, ["swordfish-1"]);
    assert_eq!(format!("{:?}", http()), "Kind");
    let message = format!("{:?}", Journal::default().send_all(&*http()));
    assert_eq!(
        message,
        "[Message { method: POST, bounds: (0, 0), part: None, bytes: 70, .. }]"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bodies_are_json_for_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200), eol: bool) {
        let mut journal = Journal::default();
        journal.stdout(&bytes, eol);
        let body: Value = body(&journal.send_all(&*http())[0]);
        let line: Value = serde_json::from_slice(&journal.lines[0].text).unwrap();
        prop_assert_eq!(&body["records"], &json!([line]));
    }

    #[test]
    fn lines_are_sent_unchanged(garbage in "[a-z]{0,20}") {
        let mut journal = Journal::default();
        journal.lines.push(Line { seq: 1, text: format!("\"{garbage}\"").into() });
        prop_assert!(http().ready(&journal.lines) == 1);
    }
}
