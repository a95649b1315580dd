//! Tests of [`super`]; the reference library checks signatures.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::kinds::kind::{History, Line};
use crate::kinds::support_tests::{Journal, ended, json as body, refused, sink, start};
use crate::source::SessionInfo;
use promptd_model::{Cause, Exited, SessionState, Status, StopReason, TurnEnded, Usage};

/// Secrets of 24 and 32 bytes.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDC2FVsBQIhrs=";

fn webhook(more: Value) -> Box<dyn Kind> {
    sink(request(more)).unwrap()
}

fn request(more: Value) -> Value {
    let mut request = json!({"kind":"webhook","url":"https://hooks.example/in"});
    let Value::Object(more) = more else { panic!("fields") };
    request.as_object_mut().unwrap().extend(more);
    request
}

/// The message about the creation of a session.
fn creation(kind: &dyn Kind) -> Vec<Message> {
    Journal::default().send(kind, 0, 0)
}

fn a_turn(end: TurnEnded) -> Journal {
    let mut journal = Journal::default();
    journal.begin(1).stdout(b"x", true);
    let exited = Exited {
        code: Some(3),
        duration: 2.5,
        ..Exited::default()
    };
    journal.body(1, &promptd_model::Body::Exited(exited)).end(1, end);
    journal
}

#[test]
fn session_creation_is_an_event() {
    let kind = webhook(json!({}));
    let messages = creation(&*kind);
    assert_eq!(
        body(&messages[0]),
        json!({
            "type": "session.created",
            "timestamp": "2026-11-21T02:40:00.000000Z",
            "data": {
                "session": "s.1",
                "agent": "claude",
                "agent_id": "writer/1",
                "epoch": "e1",
                "model": "sonnet",
                "created_at": "2026-11-21T02:40:00.000000Z",
            },
        })
    );
    assert_eq!(messages[0].bounds, (0, 0));
    assert!(kind.shape().single && kind.shape().creation);
}

#[test]
fn turn_end_event_is_complete() {
    let journal = a_turn(TurnEnded {
        cause: Some(Cause::AgentError),
        stop_reason: Some(StopReason::MaxTokens),
        result: Some("half".into()),
        error: Some("boom".into()),
        usage: Some(Usage {
            input_tokens: Some(7),
            cost_usd: Some(0.5),
            ..Usage::default()
        }),
        agent_session_id: Some("a1".into()),
        ..ended(Status::Failed)
    });
    let messages = journal.send_all(&*webhook(json!({"events":["turn.ended"]})));
    assert_eq!(
        body(&messages[0]),
        json!({
            "type": "turn.ended",
            "timestamp": "2026-11-21T02:40:05.000000Z",
            "data": {
                "session": "s.1", "agent": "claude", "agent_id": "writer/1", "epoch": "e1", "turn": 1, "seq": 5,
                "status": "failed", "cause": "agent_error", "stop_reason": "max_tokens", "result": "half",
                "error": "boom", "usage": {"input_tokens": 7, "cost_usd": 0.5}, "agent_session_id": "a1",
                "attempt": 1, "started_at": "2026-11-21T02:40:02.000000Z", "duration": 2.5,
                "ended_at": "2026-11-21T02:40:05.000000Z", "exit_code": 3,
            },
        })
    );
    assert_eq!(messages[0].bounds, (5, 5));
}

#[test]
fn other_events_repeat_their_records() {
    let mut journal = Journal::default();
    journal.begin(1);
    journal.raw(
        1,
        "permission",
        ",\"id\":\"p1\",\"title\":\"rm -rf\",\"options\":[{\"id\":\"allow\"}],\"more\":1",
    );
    journal.raw(0, "alert", ",\"resource\":\"disk\",\"value\":0.95,\"threshold\":0.9");
    journal.raw(0, "resumed", ",\"epoch\":\"e2\",\"previous\":\"e1\",\"away\":12.5");
    journal.raw(
        1,
        "started",
        ",\"pid\":8,\"program\":\"p\",\"attempt\":2,\"start_ticks\":1,\"boot_id\":\"b\"",
    );
    let bodies: Vec<Value> = journal.send_all(&*webhook(json!({}))).iter().map(body).collect();
    let event_types: Vec<&str> = bodies.iter().map(|body| body["type"].as_str().unwrap()).collect();
    assert_eq!(
        event_types,
        [
            "turn.started",
            "permission.requested",
            "resource.alert",
            "sandbox.resumed"
        ]
    );
    assert_eq!(bodies[0]["data"]["program"], "/bin/claude");
    assert_eq!(bodies[1]["data"]["title"], "rm -rf");
    assert_eq!(bodies[1]["data"]["options"], json!([{"id": "allow"}]));
    assert_eq!(bodies[1]["timestamp"], "2026-11-21T02:40:03.000000Z");
    assert_eq!(bodies[2]["data"]["value"], 0.95);
    assert_eq!(bodies[3]["data"]["new_epoch"], "e2");
    assert_eq!(bodies[3]["data"]["previous_epoch"], "e1");
    assert_eq!(bodies[3]["data"]["away"], 12.5);
}

#[test]
fn only_wanted_events_are_sent() {
    let kind = webhook(json!({"events":["turn.ended"]}));
    assert_eq!(creation(&*kind), []);
    assert!(!kind.shape().creation);
    let journal = a_turn(ended(Status::Completed));
    let wanted: Vec<bool> = journal
        .lines
        .iter()
        .map(|line| kind.wants(line.head().unwrap()))
        .collect();
    assert_eq!(wanted, [false, false, false, false, true]);
}

#[test]
fn reference_library_accepts_signatures() {
    let kind = webhook(json!({"secret": format!("{SECRET} {OTHER}")}));
    let journal = a_turn(ended(Status::Completed));
    // The library rejects signatures that are older than five minutes.
    let now = Timestamp::now();
    let messages = journal.send_at(&*kind, 4, 5, now);
    let later = journal.send_at(&*kind, 4, 5, now + SignedDuration::from_secs(9));
    for secret in [SECRET, OTHER] {
        let library = standardwebhooks::Webhook::new(secret).unwrap();
        library.verify(&messages[0].body, &messages[0].headers).unwrap();
        library.verify(&later[0].body, &later[0].headers).unwrap();
        library.verify(b"{}", &messages[0].headers).unwrap_err();
    }
    let header = |message: &Message, name: &str| message.headers[name].to_str().unwrap().to_owned();
    assert_eq!(header(&messages[0], "webhook-id"), "s%2E1:e1:5");
    assert_eq!(header(&messages[0], "webhook-id"), header(&later[0], "webhook-id"));
    assert_eq!(header(&messages[0], "webhook-timestamp"), now.as_second().to_string());
    assert_ne!(
        header(&messages[0], "webhook-signature"),
        header(&later[0], "webhook-signature")
    );
    assert_eq!(messages[0].body, later[0].body);
}

#[test]
fn without_secret_there_is_no_signature() {
    let kind = webhook(json!({}));
    let journal = a_turn(ended(Status::Completed));
    let messages = journal.send(&*kind, 4, 5);
    assert!(messages[0].headers.get("webhook-signature").is_none());
    assert_eq!(messages[0].headers["webhook-id"], "s%2E1:e1:5");
    assert_eq!(
        messages,
        journal.send_at(&*kind, 4, 5, start() + SignedDuration::from_hours(1))
    );
}

#[test]
fn github_format_is_repository_dispatch() {
    let kind = webhook(json!({"format":"github","token":"ghp_token123"}));
    let created = &creation(&*kind)[0];
    assert_eq!(body(created)["event_type"], "sandbox_created");
    assert_eq!(created.headers[AUTHORIZATION], "Bearer ghp_token123");
    assert_eq!(created.headers[ACCEPT], "application/vnd.github+json");
    assert_eq!(created.headers["x-github-api-version"], "2022-11-28");
    assert!(created.headers.get("webhook-id").is_none());
    for (status, event_type) in [
        (Status::Completed, "execution_complete"),
        (Status::Failed, "execution_failed"),
        (Status::Cancelled, "execution_failed"),
    ] {
        let messages = a_turn(ended(status)).send_all(&*kind);
        assert_eq!(messages.len(), 1, "a start is no event of GitHub's");
        let body = body(&messages[0]);
        assert_eq!(body["event_type"], event_type);
        assert_eq!(body["client_payload"]["session"], "s.1");
        assert_eq!(body["client_payload"]["details"]["event"], "turn.ended");
        assert_eq!(body["client_payload"]["details"]["duration"], 2.5);
    }
}

/// A batch in a sandbox, or outside of one.
fn in_sandbox(sandbox: Option<&str>) -> Journal {
    let mut journal = a_turn(ended(Status::Completed));
    journal.sandbox = sandbox.map(str::to_owned);
    journal
}

#[test]
fn every_dispatch_names_sandbox_and_status() {
    let github = webhook(json!({"format":"github","token":"ghp_token123"}));
    let plain = webhook(json!({"format":"plain"}));
    for (sandbox, id) in [(Some("i123"), "i123"), (None, "")] {
        let journal = in_sandbox(sandbox);
        let dispatches = [journal.send(&*github, 0, 0), journal.send_all(&*github)].concat();
        let said: Vec<Value> = dispatches
            .iter()
            .map(|sent| body(sent)["client_payload"].clone())
            .collect();
        let said: Vec<_> = said.iter().map(|said| (&said["sandbox_id"], &said["status"])).collect();
        assert_eq!(
            said,
            [(&json!(id), &json!("created")), (&json!(id), &json!("completed"))]
        );
        for sent in journal.send_all(&*plain) {
            assert_eq!(body(&sent)["sandbox_id"], id);
        }
    }
}

#[test]
fn example_workflow_reads_only_what_a_dispatch_has() {
    let workflow = include_str!("../../../../../examples/github/promptd.yml");
    let error = Some("boom".into());
    let end = TurnEnded {
        error,
        result: Some("done".into()),
        ..ended(Status::Failed)
    };
    let dispatch = body(&a_turn(end).send_all(&*webhook(json!({"format":"github","token":"t"})))[0]);
    let mut paths: Vec<&str> = workflow.split("github.event.").skip(1).collect();
    assert!(paths.len() > 3);
    for path in &mut paths {
        let end = path.find(|letter: char| !(letter.is_ascii_alphanumeric() || "._".contains(letter)));
        *path = path.get(..end.unwrap_or(path.len())).unwrap();
        let pointer = format!("/{}", path.replace('.', "/"));
        assert!(path == &"action" || dispatch.pointer(&pointer).is_some(), "{path}");
    }
    for event in ["sandbox_created", "execution_complete", "execution_failed"] {
        assert!(workflow.contains(event));
    }
}

#[test]
fn plain_format_is_flat() {
    let usage = Some(Usage {
        input_tokens: Some(7),
        cost_usd: Some(0.5),
        ..Usage::default()
    });
    let journal = a_turn(TurnEnded {
        usage,
        ..ended(Status::Completed)
    });
    let flat = body(&journal.send(&*webhook(json!({"format":"plain","secret":SECRET})), 4, 5)[0]);
    assert_eq!(flat["event"], "turn.ended");
    assert_eq!(flat["usage_input_tokens"], 7);
    assert_eq!(flat["usage_cost_usd"], 0.5);
    let mut journal = Journal::default();
    journal.raw(1, "permission", ",\"id\":\"p1\",\"title\":\"t\",\"options\":[\"a\"]");
    assert_eq!(
        body(&journal.send_all(&*webhook(json!({"format":"plain"})))[0])["options"],
        "[\"a\"]"
    );
}

#[test]
fn errors_name_the_field_and_hide_secrets() {
    let refused = |more| refused(request(more));
    for secret in ["whsec_%%%", "swordfish", "whsec_c2hvcnQ=", "", &format!("{SECRET} x")] {
        let problem = refused(json!({ "secret": secret }));
        assert!(problem.starts_with("secret of the webhook sink "), "{problem}");
        assert!(
            problem.contains("24 to 64 bytes") || problem.contains("openssl rand"),
            "{problem}"
        );
        assert!(!problem.contains("swordfish"), "{problem}");
    }
    assert_eq!(
        refused(json!({"token":"t"})),
        "token of the webhook sink means nothing without format \"github\"; use headers"
    );
    assert_eq!(
        refused(json!({"format":"github"})),
        "token of the webhook sink is missing; format \"github\" needs one that may write the repository's contents"
    );
    assert!(refused(json!({"format":"github","token":"t","secret":SECRET})).contains("means nothing to GitHub"));
    assert!(refused(json!({"events":[]})).starts_with("events of the webhook sink is empty"));
    assert_eq!(
        refused(json!({"format":"github","token":"t","events":["turn.started"]})),
        "events of the webhook sink has turn.started, which its format does not send; \
         it sends session.created, turn.ended"
    );
    assert_eq!(
        refused(json!({"gzip":true})),
        "gzip of the webhook sink means nothing to it; besides kind and name it takes \
         url, headers, format, secret, token, events"
    );
    let kind = webhook(json!({"secret": SECRET, "url": "https://hooks.slack.com/services/T0/B0/Xk3jd92jkd92jd0aK2"}));
    let secrets = &kind.endpoint().secrets;
    for secret in [
        "Xk3jd92jkd92jd0aK2",
        "/services/T0/B0/Xk3jd92jkd92jd0aK2",
        SECRET,
        SECRET.trim_start_matches("whsec_"),
    ] {
        assert!(secrets.iter().any(|known| known == secret), "{secret}");
    }
    assert_eq!(format!("{kind:?}"), "Kind");
}

#[test]
fn late_exit_does_not_change_the_event() {
    let kind = webhook(json!({}));
    let mut journal = Journal::default();
    journal.begin(1).end(1, ended(Status::Lost));
    let first = journal.send(&*kind, 2, 3);
    let exited = Exited {
        code: Some(0),
        ..Exited::default()
    };
    journal.body(1, &promptd_model::Body::Exited(exited));
    assert_eq!(journal.send(&*kind, 2, 3), first);
}

/// The event of a line.
fn event_of(info: &SessionInfo, line: &Line) -> Option<Event> {
    let history: &History<'_> = &|_| Ok(());
    Event::of(
        &Batch {
            info,
            epoch: "e",
            first: 1,
            last: 1,
            lines: &[],
            state: &SessionState::default(),
            now: start(),
            history,
            updates: &|| Ok(Vec::new()),
        },
        line,
    )
}

fn only_scalars(flat: &Map<String, Value>) -> bool {
    flat.values()
        .all(|value| !value.is_array() && !value.is_object() && !value.is_null())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bodies_have_a_maximum_size(
        result in "[a-z\"\\\\\u{1}ä😀\n]{0,300}",
        repeat in 0_usize..200,
        long in any::<bool>(),
    ) {
        let text = result.repeat(repeat);
        let mut info = crate::kinds::support_tests::info();
        if long {
            info.agent_id = text.clone();
            info.agent = text.clone();
        }
        let end = TurnEnded {
            result: Some(text.clone()),
            error: Some(text.clone()),
            agent_session_id: Some(text.clone()),
            cause: Some(Cause::AgentError),
            ..ended(Status::Failed)
        };
        let mut journal = Journal::default();
        journal.end(1, end);
        let options = json!([text, {"a": text}, text]);
        journal.raw(1, "permission", &format!(",\"id\":{0},\"title\":{0},\"options\":{options}", json!(text)));
        for line in &journal.lines {
            let event = event_of(&info, line).unwrap();
            let standard = format::body(WebhookFormat::Standard, &event);
            prop_assert!(standard.len() < 20_000, "{}", standard.len());
            let standard: Value = serde_json::from_slice(&standard).unwrap();
            if event.status.is_some() {
                let kept = standard["data"]["result"].as_str().unwrap();
                prop_assert!(text.starts_with(kept));
                prop_assert_eq!(standard["data"]["result_truncated"] == true, kept.len() < text.len());
            }
            let github = format::body(WebhookFormat::Github, &event);
            prop_assert!(github.len() < 64_000);
            let github: Value = serde_json::from_slice(&github).unwrap();
            prop_assert!(github["client_payload"].as_object().unwrap().len() <= 10);
            prop_assert!(github["event_type"].as_str().unwrap().len() <= 100);
            let plain = format::body(WebhookFormat::Plain, &event);
            prop_assert!(plain.len() < 20_000, "{}", plain.len());
            let plain: Value = serde_json::from_slice(&plain).unwrap();
            prop_assert!(only_scalars(plain.as_object().unwrap()));
        }
    }

    #[test]
    fn garbage_does_not_panic(kind in "started|turn_ended|permission|alert|resumed", rest in "[ -~]{0,40}") {
        let mut journal = Journal::default();
        journal.raw(1, &kind, &rest);
        journal.lines.push(Line { seq: 2, text: rest.into_bytes().into() });
        for message in journal.send_all(&*webhook(json!({}))) {
            prop_assert!(body(&message).is_object());
        }
    }
}
