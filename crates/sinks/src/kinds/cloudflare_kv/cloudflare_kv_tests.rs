//! Tests of [`super`].

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kinds::support_tests::{Journal, ended, keys_differ, refused, sink};
use promptd_model::{Cause, Status, TurnEnded};

fn request() -> serde_json::Value {
    json!({"kind":"cloudflare-kv","accountId":"acc","namespaceId":"ns","apiToken":"secret-token"})
}

fn kv() -> Box<dyn Kind> {
    sink(request()).unwrap()
}

fn texts(messages: &[Message]) -> Vec<(&'static str, String)> {
    let text = |message: &Message| String::from_utf8(message.body.to_vec()).unwrap();
    messages
        .iter()
        .map(|message| (message.part.unwrap(), text(message)))
        .collect()
}

#[test]
fn each_batch_writes_the_whole_changed_texts() {
    let mut journal = Journal::default();
    journal
        .begin(1)
        .stdout(b"one", true)
        .stderr(b"hm", true)
        .stdout(b"t\xC3", false)
        .stdout(b"\xB6", true);
    let kind = kv();
    assert_eq!(
        texts(&journal.send(&*kind, 0, 4)),
        [("output", "one\n".into()), ("stderr", "hm\n".into())]
    );
    assert_eq!(texts(&journal.send(&*kind, 4, 6)), [("output", "one\ntö\n".into())]);
    assert_eq!(journal.send(&*kind, 0, 2), []);
    let message = &journal.send(&*kind, 4, 6)[0];
    assert_eq!(
        message.url.as_str(),
        "https://api.cloudflare.com/client/v4/accounts/acc/storage/kv/namespaces/ns/values/\
         agent%3Awriter%2F1%3Asession%3As.1%3Aoutput"
    );
    assert_eq!(message.method, Method::PUT);
    assert_eq!(message.headers["authorization"], "Bearer secret-token");
    assert_eq!(kind.shape().interval, Duration::from_secs(1));
}

#[test]
fn turn_end_writes_status_and_error() {
    let mut journal = Journal::default();
    journal.stdout(b"x", true).end(1, ended(Status::Completed));
    assert_eq!(texts(&journal.send(&*kv(), 1, 2)), [("status", "completed".into())]);
    let cause = Some(Cause::Overloaded);
    journal.end(
        2,
        TurnEnded {
            cause,
            ..ended(Status::Failed)
        },
    );
    let messages = journal.send_all(&*kv());
    assert_eq!(
        texts(&messages),
        [
            ("output", "x\n".into()),
            ("status", "failed".into()),
            ("error", "overloaded".into())
        ]
    );
    assert!(keys_differ(&messages));
}

#[test]
fn too_large_text_keeps_its_end() {
    let mut journal = Journal::default();
    for _ in 0..40 {
        journal.stdout("äöü".repeat(20).as_bytes(), true);
    }
    let line = format!("{}\n", "äöü".repeat(20));
    let request: promptd_model::SinkRequest = serde_json::from_value(request()).unwrap();
    let kind = CloudflareKv {
        max_value: 1000,
        ..CloudflareKv::of(&Fields::of(&request)).unwrap()
    };
    for lines in 1..=40 {
        let whole = line.repeat(lines);
        let (_, value) = texts(&journal.send(&kind, lines - 1, lines)).remove(0);
        assert!(value.len() <= 1000);
        if whole.len() <= 1000 {
            assert_eq!(value, whole);
            continue;
        }
        let (notice, rest) = value.split_once('\n').unwrap();
        let left_out = whole.len() - rest.len();
        assert_eq!(
            notice,
            format!("[promptd: {left_out} bytes before this are left out: a value holds 1000 bytes at most]")
        );
        assert!(whole.ends_with(rest));
        assert!(rest.len() > 500);
    }
}

#[test]
fn errors_name_the_field_and_hide_secrets() {
    for field in ["accountId", "namespaceId", "apiToken"] {
        let mut request = request();
        request.as_object_mut().unwrap().remove(field);
        let name = field.replace("Id", "_id").replace("Token", "_token");
        assert_eq!(refused(request), format!("{name} of the cloudflare-kv sink is missing"));
    }
    let mut request = request();
    request["apiBase"] = json!("api.cloudflare.com");
    assert!(refused(request).starts_with("api_base of the cloudflare-kv sink is no URL"));
    assert_eq!(kv().endpoint().secrets, ["secret-token"]);
    assert_eq!(format!("{:?}", kv()), "Kind");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn last_value_does_not_depend_on_batches(
        pieces in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..9), any::<bool>()), 1..20),
        cut in 0_usize..20,
    ) {
        let mut journal = Journal::default();
        for (bytes, eol) in &pieces {
            journal.stdout(bytes, *eol);
        }
        let (all, kind) = (journal.lines.len(), kv());
        let cut = cut.min(all - 1);
        prop_assert_eq!(texts(&journal.send(&*kind, cut, all)), texts(&journal.send(&*kind, 0, all)));
    }

    #[test]
    fn garbage_does_not_panic(garbage in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut journal = Journal::default();
        journal.raw(1, "stdout", ",\"to\":1,\"base64\":\"%%%\"").raw(1, "turn_ended", ",\"status\":\"odd\"");
        journal.lines.push(Line { seq: 3, text: garbage.into() });
        // A status that this version does not know is an end like any other: output, status and error.
        prop_assert!(journal.send_all(&*kv()).len() <= 3);
    }
}
