//! Tests of [`super`].

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::kinds::support_tests::{Journal, ended, json as body, keys_differ, refused, sink};
use promptd_model::Stream;
use promptd_model::{Cause, Status, TurnEnded};

fn studio() -> Box<dyn Kind> {
    sink(json!({"kind":"studio","apiUrl":"https://backend.example/base/","apiKey":"secret-key"})).unwrap()
}

fn routes(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.url.path()).collect()
}

#[test]
fn output_is_appended_one_request_per_stream() {
    let mut journal = Journal::default();
    journal
        .begin(1)
        .stdout(b"one", true)
        .stderr(b"hm", true)
        .stdout(b"tw\xC3", false)
        .stdout(b"\xB6", false);
    let messages = journal.send_all(&*studio());
    assert!(keys_differ(&messages));
    assert_eq!(
        body(&messages[0]),
        json!({
            "agentId": "writer/1",
            "sessionId": "s.1",
            "key": "agent:writer/1:session:s.1:output",
            "chunk": "one\ntwö",
            "timestamp": "2026-11-21T02:40:06.000000Z",
            "firstSeq": 3,
            "lastSeq": 6,
        })
    );
    assert_eq!(body(&messages[1])["key"], "agent:writer/1:session:s.1:stderr");
    assert_eq!(body(&messages[1])["chunk"], "hm\n");
    assert_eq!((messages[0].bounds, messages[1].bounds), ((3, 6), (4, 4)));
    assert_eq!(
        messages[0].url.as_str(),
        "https://backend.example/base/api/internal/logs/append"
    );
    assert_eq!(messages[0].headers["authorization"], "Bearer secret-key");
    assert_eq!(
        body(&messages[2]),
        json!({"agentId": "writer/1", "sessionId": "s.1", "status": "started"})
    );
}

#[test]
fn status_follows_the_output() {
    let mut journal = Journal::default();
    journal.stdout(b"x", true).end(1, ended(Status::Completed));
    let messages = journal.send_all(&*studio());
    assert_eq!(
        routes(&messages),
        [
            "/base/api/internal/logs/append",
            "/base/api/internal/logs",
            "/base/api/internal/sessions/status"
        ]
    );
    let expected = json!({
        "agentId": "writer/1",
        "sessionId": "s.1",
        "key": "agent:writer/1:session:s.1:status",
        "value": "completed",
    });
    assert_eq!(body(&messages[1]), expected);
    assert_eq!(body(&messages[2])["status"], "completed");
    assert_eq!(
        messages
            .iter()
            .map(|message| message.may_be_missing)
            .collect::<Vec<_>>(),
        [false, false, true]
    );
    assert!(keys_differ(&messages));
}

#[test]
fn failure_has_an_error_message() {
    for (status, cause, error, wire_status, message) in [
        (Status::Failed, Some(Cause::AgentError), Some("boom"), "failed", "boom"),
        (Status::Failed, Some(Cause::SpawnFailed), None, "error", "spawn_failed"),
        (
            Status::Lost,
            Some(Cause::HostRestart),
            Some(""),
            "error",
            "host_restart",
        ),
        (Status::Lost, None, None, "failed", "lost"),
        (Status::Cancelled, Some(Cause::Stopped), None, "failed", "stopped"),
        (
            Status::TimedOut,
            Some(Cause::Timeout),
            Some("too long"),
            "failed",
            "too long",
        ),
    ] {
        let mut journal = Journal::default();
        let error = error.map(str::to_owned);
        journal.end(
            1,
            TurnEnded {
                cause,
                error,
                ..ended(status)
            },
        );
        let messages = journal.send_all(&*studio());
        assert_eq!(messages.len(), 3);
        assert_eq!(body(&messages[0])["value"], "failed");
        assert_eq!(body(&messages[1])["key"], "agent:writer/1:session:s.1:error");
        assert_eq!(body(&messages[1])["value"], message);
        assert_eq!(body(&messages[2])["status"], wire_status);
        assert_eq!(body(&messages[2])["error"], message);
        assert!(keys_differ(&messages));
    }
}

#[test]
fn retry_is_not_a_second_start() {
    let mut journal = Journal::default();
    journal.raw(
        1,
        "started",
        ",\"pid\":7,\"program\":\"p\",\"attempt\":2,\"start_ticks\":1,\"boot_id\":\"b\"",
    );
    assert_eq!(journal.send_all(&*studio()), []);
}

#[test]
fn configured_agent_id_has_precedence() {
    let request = json!({"kind":"studio","api_url":"http://h","api_key":"k","agentId":"mine"});
    let mut journal = Journal::default();
    journal.stdout(b"x", true);
    let messages = journal.send_all(&*sink(request).unwrap());
    assert_eq!(body(&messages[0])["key"], "agent:mine:session:s.1:output");
}

#[test]
fn errors_name_the_field_and_hide_secrets() {
    assert_eq!(
        refused(json!({"kind":"studio","apiUrl":"https://h"})),
        "api_key of the studio sink is missing"
    );
    assert_eq!(
        refused(json!({"kind":"studio","apiUrl":"backend","apiKey":"k"})),
        "api_url of the studio sink is no URL (relative URL without a base); \
         write one such as https://backend.example/logs"
    );
    assert_eq!(
        refused(json!({"kind":"studio","apiUrl":"https://h","apiKey":"k","url":"https://h"})),
        "url of the studio sink means nothing to it; besides kind and name it takes api_url, api_key, agent_id"
    );
    let bad_key = refused(json!({"kind":"studio","apiUrl":"https://h","apiKey":"hidden\nkey"}));
    assert_eq!(
        bad_key,
        "api_key of the studio sink has characters that no header can have"
    );
    assert_eq!(studio().endpoint().secrets, ["secret-key"]);
    assert_eq!(format!("{:?}", studio()), "Kind");
}

/// The values that a backend stores.
fn kept(messages: &[Message]) -> std::collections::BTreeMap<String, String> {
    let mut kept = std::collections::BTreeMap::new();
    for message in messages.iter().map(body) {
        let Some(key) = message["key"].as_str() else { continue };
        let value: &mut String = kept.entry(key.to_owned()).or_default();
        match &message["chunk"] {
            Value::String(chunk) => value.push_str(chunk),
            _ => message["value"].as_str().unwrap().clone_into(value),
        }
    }
    kept
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn stored_text_does_not_depend_on_splits(
        pieces in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..9), any::<bool>()), 0..20),
        cut in 0_usize..20,
    ) {
        let mut journal = Journal::default();
        journal.begin(1);
        for (stderr, bytes, eol) in &pieces {
            let stream = if *stderr { Stream::Stderr } else { Stream::Stdout };
            journal.output(1, stream, bytes, *eol, false);
        }
        journal.end(1, ended(Status::Completed));
        let kind = studio();
        let whole = kept(&journal.send_all(&*kind));
        let cut = kind.ready(&journal.lines[..cut.min(journal.lines.len())]);
        let mut messages = journal.send(&*kind, 0, cut);
        messages.extend(journal.send(&*kind, cut, journal.lines.len()));
        prop_assert!(keys_differ(&messages));
        prop_assert_eq!(kept(&messages), whole);
    }

    #[test]
    fn garbage_does_not_panic(garbage in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut journal = Journal::default();
        journal.raw(1, "stdout", ",\"to\":1,\"base64\":\"%%%\"").raw(1, "turn_ended", ",\"status\":\"odd\"");
        journal.lines.push(Line { seq: 3, text: garbage.into() });
        let kind = studio();
        prop_assert!(kind.ready(&journal.lines) <= 3);
        for message in journal.send_all(&*kind) {
            prop_assert!(body(&message).is_object());
        }
    }
}
