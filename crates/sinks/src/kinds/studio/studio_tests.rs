//! What a backend of the shape of `POST /execute`'s callers is sent.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::support_tests::{Journal, ended, json as body, keys_differ, refused, sink};
use super::*;
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
    assert_eq!(messages[0].headers[AUTHORIZATION], "Bearer secret-key");
    assert_eq!(
        body(&messages[2]),
        json!({"agentId": "writer/1", "sessionId": "s.1", "status": "started"})
    );
}

#[test]
fn a_turn_that_completed_is_told_after_its_output() {
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
fn what_failed_says_why_and_who_never_ran_is_an_error() {
    for (status, cause, error, told, said) in [
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
        assert_eq!(body(&messages[1])["value"], said);
        assert_eq!(body(&messages[2])["status"], told);
        assert_eq!(body(&messages[2])["error"], said);
        assert!(keys_differ(&messages));
    }
}

#[test]
fn a_retry_is_no_second_start() {
    let mut journal = Journal::default();
    journal.raw(
        1,
        "started",
        ",\"pid\":7,\"program\":\"p\",\"attempt\":2,\"start_ticks\":1,\"boot_id\":\"b\"",
    );
    assert_eq!(journal.send_all(&*studio()), []);
}

#[test]
fn the_sinks_own_name_for_the_agent_wins() {
    let request = json!({"kind":"studio","api_url":"http://h","api_key":"k","agentId":"mine"});
    let mut journal = Journal::default();
    journal.stdout(b"x", true);
    let messages = journal.send_all(&*sink(request).unwrap());
    assert_eq!(body(&messages[0])["key"], "agent:mine:session:s.1:output");
}

#[test]
fn wrong_fields_are_named_and_secrets_are_not() {
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
    assert_eq!(studio().secrets(), ["secret-key"]);
    assert_eq!(format!("{:?}", studio()), "Studio { .. }");
}

/// What a backend that appends and replaces has under each key in the end.
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
    #[test]
    fn any_split_leaves_the_same_behind(
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
    fn garbage_is_no_message_and_no_panic(garbage in proptest::collection::vec(any::<u8>(), 0..60)) {
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
