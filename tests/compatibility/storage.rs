//! `storage` of `POST /execute`: what other sandboxes' servers leave in their backend's store is left there by us, too:
//! exactly what the agent wrote, and how it ended.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use support::hostile::stores::{KEY, Logs, Values};
use support::hostile::{Act, Backend, Dice, Reply, Request};
use support::{Server, assert_same_bytes};

/// A request as a caller of those servers sends it.
fn request(session: &str, prompt: &str, storage: Value) -> Value {
    json!({ "agentId": "agent-7", "sessionId": session, "prompt": prompt, "storage": storage })
}

fn postgresql(backend: &Backend) -> Value {
    json!({ "type": "postgresql", "apiUrl": backend.origin(), "apiKey": KEY })
}

fn kv(backend: &Backend) -> Value {
    let base = format!("{}/client/v4", backend.origin());
    json!({ "type": "cloudflare-kv", "accountId": "acc", "namespaceId": "ns", "apiToken": KEY, "apiBase": base })
}

fn key(session: &str, what: &str) -> String {
    format!("agent:agent-7:session:{session}:{what}")
}

async fn execute(server: &Server, body: Value) {
    let answer = server.post("/execute", body).await;
    assert_eq!(
        (&answer["success"], &answer["status"]),
        (&json!(true), &json!("started")),
        "{answer}"
    );
}

/// Waits until the store has the status of a session's latest turn, and everything before it.
async fn stored(server: &Server, session: &str) -> Value {
    let turns = server.settled(session).await;
    let idle = |session: &Value| {
        let sinks = session["sinks"].as_array().unwrap();
        !sinks.is_empty()
            && sinks
                .iter()
                .all(|sink| sink["lag_records"] == 0 && sink["state"] == "idle")
    };
    server.session_when(session, idle).await;
    turns
}

/// Fails unless a store has exactly what the agent wrote.
async fn assert_output(server: &Server, session: &str, text: impl Fn(&str) -> String) {
    for (stream, what) in [("stdout", "output"), ("stderr", "stderr")] {
        let written = server.output(session, stream).await;
        assert_same_bytes(stream, text(&key(session, what)).as_bytes(), &written);
    }
}

/// Scripts whose output is awkward, and how they end.
const AWKWARD: [(&str, &str, &str); 8] = [
    ("plain", "echo out; echo err >&2; echo out again", "completed"),
    ("silent", "true", "completed"),
    ("fails", "echo before; echo why >&2; exit 3", "failed"),
    (
        "utf8",
        "printf 'grüße, 世界 🎉\\n\\r\\ttab \\\\ \"quoted\" \\001\\n'; printf 'ohne Ende: ß'",
        "completed",
    ),
    (
        "unended",
        "printf one; sleep 0.5; printf two; sleep 0.5; printf ' err' >&2; printf three",
        "completed",
    ),
    (
        "long",
        "head -c 300000 /dev/zero | tr '\\0' x; echo; head -c 200000 /dev/zero | tr '\\0' y",
        "completed",
    ),
    (
        "long-utf8",
        "for i in $(seq 20000); do printf 'ß世🎉'; done; echo; for i in $(seq 20000); do printf '🎉世ß' >&2; done",
        "completed",
    ),
    (
        "megabytes",
        "yes $(seq 200) | head -n 4000; seq 20000; seq 20000 >&2; echo; echo; echo the end",
        "completed",
    ),
];

#[tokio::test]
async fn log_store_has_exact_output_and_the_outcome() {
    let (backend, server) = (Backend::start(), Server::start().await);
    let logs = Logs::behind(&backend, true);
    for (session, script, _) in AWKWARD {
        execute(&server, request(session, script, postgresql(&backend))).await;
    }
    for (session, _, ends) in AWKWARD {
        stored(&server, session).await;
        assert_output(&server, session, |key| logs.lock().unwrap().text(key).to_owned()).await;
        let logs = logs.lock().unwrap();
        assert_eq!(logs.text(&key(session, "status")), ends, "{session}");
        let statuses = logs.statuses.iter().filter(|(_, of, _)| of == session);
        let statuses: Vec<_> = statuses
            .map(|(agent, _, status)| (agent.as_str(), status.as_str()))
            .collect();
        assert_eq!(statuses, [("agent-7", "started"), ("agent-7", ends)], "{session}");
        let error = logs.text(&key(session, "error"));
        assert_eq!(error.is_empty(), ends == "completed", "{session}: {error}");
        assert!(!logs.text(&key(session, "output")).contains(KEY));
    }
    let logs = logs.lock().unwrap();
    assert_eq!(logs.strange, Vec::<String>::new());
    let known = ["output", "stderr", "status", "error"];
    for key in logs.texts.keys() {
        assert!(known.iter().any(|known| key.ends_with(&format!(":{known}"))), "{key}");
    }
}

#[tokio::test]
async fn hostile_store_and_killed_server_change_nothing() {
    let (backend, mut server) = (Backend::start(), Server::start().await);
    let logs = Arc::new(Mutex::new(Logs::default()));
    let dice = Mutex::new(Dice::new(17));
    let shared = Arc::clone(&logs);
    backend.script(move |_| {
        let shared = Arc::clone(&shared);
        let take = move |request: &Request| shared.lock().unwrap().answer(request, true);
        match dice.lock().unwrap().roll(10) {
            0 => Act::Answer(Reply::status(503)),
            1 => Act::Answer(Reply::status(429)),
            2 => Act::ResetBeforeReading,
            3 => Act::Slowly(4096, Duration::from_millis(2), Box::new(Act::Ask(Arc::new(take)))),
            // Takes it over, and says something else.
            4 | 5 => Act::Ask(Arc::new(move |request| {
                let _taken = take(request);
                Reply::status(502)
            })),
            _ => Act::Ask(Arc::new(take)),
        }
    });
    let script = "for i in $(seq 400); do echo \"line $i\"; echo \"ß $i\" >&2; sleep 0.01; done; printf end";
    execute(&server, request("s", script, postgresql(&backend))).await;
    for _ in 0..8 {
        let seen = server.session("s").await["last_seq"].as_u64().unwrap();
        if server.session("s").await["status"] == "running" {
            server
                .session_when("s", |session| {
                    session["last_seq"].as_u64().unwrap() > seen + 20 || session["status"] != "running"
                })
                .await;
        }
        server.kill();
        server.start_again().await;
    }
    // After many failures a sink waits up to half a minute before it tries again.
    server.patience = Duration::from_secs(45);
    stored(&server, "s").await;
    assert_output(&server, "s", |key| logs.lock().unwrap().text(key).to_owned()).await;
    let logs = logs.lock().unwrap();
    assert_eq!(logs.text(&key("s", "status")), "completed");
    assert_eq!(logs.strange, Vec::<String>::new());
}

#[tokio::test]
async fn request_environment_configures_storage_unseen() {
    let (backend, server) = (Backend::start(), Server::start().await);
    let logs = Logs::behind(&backend, true);
    let mut body = request("s", "echo hello; echo \"$WHO\"", Value::Null);
    body["env"] = json!({ "BACKEND_API_URL": backend.origin(), "INTERNAL_API_KEY": KEY, "WHO": "me" });
    execute(&server, body).await;
    let session = stored(&server, "s").await;
    assert_eq!(logs.lock().unwrap().text(&key("s", "output")), "hello\nme\n");
    assert_eq!(logs.lock().unwrap().text(&key("s", "status")), "completed");
    assert!(!session.to_string().contains(KEY), "{session}");
    assert!(!server.log().contains(KEY), "{}", server.log());
}

#[tokio::test]
async fn server_environment_configures_storage() {
    let backend = Backend::start();
    let server = Server::with()
        .env("BACKEND_API_URL", backend.origin())
        .env("INTERNAL_API_KEY", KEY);
    let server = server.start().await;
    let logs = Logs::behind(&backend, true);
    assert_eq!(server.get("/health").await["storageConfigured"], true);
    execute(&server, request("s", "echo hello", Value::Null)).await;
    stored(&server, "s").await;
    assert_eq!(logs.lock().unwrap().text(&key("s", "output")), "hello\n");
}

#[tokio::test]
async fn executing_again_appends() {
    let (backend, server) = (Backend::start(), Server::start().await);
    let logs = Logs::behind(&backend, true);
    for turn in 1..=3 {
        let script = format!("echo turn {turn}; exit {}", turn % 2);
        execute(&server, request("s", &script, postgresql(&backend))).await;
        stored(&server, "s").await;
        let logs = logs.lock().unwrap();
        let ends = if turn % 2 == 0 { "completed" } else { "failed" };
        assert_eq!(logs.text(&key("s", "status")), ends, "turn {turn}");
    }
    assert_eq!(server.session("s").await["turns"].as_array().unwrap().len(), 3);
    let logs = logs.lock().unwrap();
    assert_eq!(logs.text(&key("s", "output")), "turn 1\nturn 2\nturn 3\n");
    let statuses: Vec<_> = logs.statuses.iter().map(|(_, _, status)| status.as_str()).collect();
    assert_eq!(
        statuses,
        ["started", "failed", "started", "completed", "started", "failed"]
    );
}

#[tokio::test]
async fn store_without_status_route_works() {
    let (backend, server) = (Backend::start(), Server::start().await);
    let logs = Logs::behind(&backend, false);
    execute(&server, request("s", "echo hello", postgresql(&backend))).await;
    stored(&server, "s").await;
    let logs = logs.lock().unwrap();
    assert_eq!(logs.text(&key("s", "output")), "hello\n");
    assert_eq!(logs.text(&key("s", "status")), "completed");
    assert!(logs.statuses.is_empty() && backend.look(|log| log.answered(404)) > 0);
}

#[tokio::test]
async fn wrong_key_pauses_the_sink_not_the_agent() {
    let (backend, server) = (Backend::start(), Server::start().await);
    let logs = Logs::behind(&backend, true);
    let storage = json!({ "type": "postgresql", "apiUrl": backend.origin(), "apiKey": "wrong-key-0815" });
    execute(&server, request("s", "echo hello", storage)).await;
    let session = server.settled("s").await;
    assert_eq!(session["status"], "completed");
    let session = server
        .session_when("s", |session| session["sinks"][0]["state"] == "paused")
        .await;
    let sink = &session["sinks"][0];
    assert!(sink["last_error"].as_str().unwrap().contains("401"), "{sink}");
    assert_eq!(sink["kind"], "studio", "{sink}");
    // The prompt is nothing for it: perhaps it has passed that.
    assert!(sink["acked_seq"].as_u64() <= Some(1), "{sink}");
    assert!(!session.to_string().contains("wrong-key-0815"), "{session}");
    assert!(logs.lock().unwrap().texts.is_empty());
    // The next call brings the right one, and with it goes what was held up; a restart does not forget it.
    let mut server = server;
    execute(&server, request("s", "echo again", postgresql(&backend))).await;
    stored(&server, "s").await;
    assert_eq!(logs.lock().unwrap().text(&key("s", "output")), "hello\nagain\n");
    server.kill();
    server.start_again().await;
    execute(&server, request("s", "echo third", json!(null))).await;
    stored(&server, "s").await;
    assert_eq!(logs.lock().unwrap().text(&key("s", "output")), "hello\nagain\nthird\n");
}

#[tokio::test]
async fn outdated_error_is_cleared() {
    let (backend, server) = (Backend::start(), Server::start().await);
    let logs = Logs::behind(&backend, true);
    execute(&server, request("s", "exit 3", postgresql(&backend))).await;
    stored(&server, "s").await;
    assert!(!logs.lock().unwrap().text(&key("s", "error")).is_empty());
    execute(&server, request("s", "true", postgresql(&backend))).await;
    stored(&server, "s").await;
    let logs = logs.lock().unwrap();
    assert_eq!(
        (logs.text(&key("s", "status")), logs.text(&key("s", "error"))),
        ("completed", "")
    );
}

#[tokio::test]
async fn key_value_store_is_written_once_a_second() {
    let (backend, server) = (Backend::start(), Server::start().await);
    let values = Values::behind(&backend);
    execute(
        &server,
        request("quick", "echo out; echo err >&2; printf 'grüße 🎉'", kv(&backend)),
    )
    .await;
    let script = "for i in $(seq 100); do echo $i; echo e$i >&2; sleep 0.04; done; exit 2";
    execute(&server, request("steady", script, kv(&backend))).await;
    for (session, ends) in [("quick", "completed"), ("steady", "failed")] {
        stored(&server, session).await;
        assert_output(&server, session, |key| values.lock().unwrap().text(key).to_owned()).await;
        assert_eq!(values.lock().unwrap().text(&key(session, "status")), ends);
    }
    assert_eq!(values.lock().unwrap().strange, Vec::<String>::new());
    // One more than the seconds that have passed: the first write does not wait.
    let requests = backend.committed();
    let mut keys: Vec<_> = requests.iter().map(|seen| seen.request.path.clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    for path in keys {
        let of: Vec<_> = requests.iter().filter(|seen| seen.request.path == path).collect();
        let seconds = (of[of.len() - 1].at - of[0].at).as_secs_f64();
        // What a write was late for counts as time between two, so half a second is forgiven.
        let most = seconds + 1.5;
        assert!(
            f64::from(u32::try_from(of.len()).unwrap()) <= most,
            "{} writes of {path} in {seconds} s",
            of.len()
        );
    }
}

#[tokio::test]
async fn health_reports_whether_storage_is_configured() {
    let server = Server::start().await;
    assert_eq!(server.get("/health").await["storageConfigured"], false);
    let backend = Backend::start();
    let config = format!(
        "[[sinks]]\nkind = \"studio\"\napi_url = \"{}\"\napi_key = \"{KEY}\"\n",
        backend.origin()
    );
    let server = Server::with().config(&config).start().await;
    assert_eq!(server.get("/health").await["storageConfigured"], true);
}

#[tokio::test]
async fn invalid_storage_is_refused_in_the_route_format() {
    let server = Server::start().await;
    for (storage, says) in [
        (json!({ "type": "postgresql", "apiUrl": "http://x.invalid" }), "apiKey"),
        (json!({ "type": "postgresql", "apiKey": "very-secret" }), "apiUrl"),
        (
            json!({ "type": "postgresql", "apiUrl": "ftp://x", "apiKey": "very-secret" }),
            "apiUrl",
        ),
        (
            json!({ "type": "cloudflare-kv", "accountId": "a", "apiToken": "very-secret" }),
            "namespaceId",
        ),
        (
            json!({ "type": "postgres", "apiUrl": "http://x.invalid", "apiKey": "very-secret" }),
            "postgresql",
        ),
        (json!("postgresql"), "storage"),
    ] {
        let answer = server
            .ask("POST", "/execute", &request("s", "true", storage.clone()))
            .await;
        assert!(matches!(answer.status, 400 | 422), "{storage}: {}", answer.text());
        let error = answer.body["error"].as_str().unwrap();
        // In the words of the sinks or of this route.
        let words = error.replace('_', "").to_lowercase();
        assert!(
            words.contains(&says.to_lowercase()) && !error.contains("very-secret"),
            "{storage}: {error}"
        );
    }
    assert_eq!(server.get("/v1/sessions").await["sessions"], json!([]));
}
