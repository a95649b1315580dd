//! Known secrets are masked in every output, however an agent encodes them; the journal stays exact.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Value, json};
use support::http::Answer;
use support::{Server, of_type, wait_for};

/// With everything that encoders treat differently.
const SECRET: &str = r#"sk/47 "11"+zyx98~wvu"#;

/// Prints the secret in all forms, once in two halves between which it waits, and in its last words.
const SCRIPT: &str = r#"
printf '%s\n' "plain <$API_KEY>"
printf '%s\n' "$API_KEY" | sed 's/"/\\"/g; s/.*/{"key":"&"}/'
printf '%s' "$API_KEY" | base64
printf '%s' "x$API_KEY" | base64
printf '%s' "xy$API_KEY" | base64
printf '%s\n' "$API_KEY" | sed 's/ /%20/g; s/"/%22/g; s,/,%2F,g; s/+/%2B/g'
printf '\377%s\n' "$API_KEY"
printf '%s\n' "error <$API_KEY>" >&2
printf 'halves <%.9s' "$API_KEY"
until test -e go; do sleep 0.02; done
printf '%s>\n' "${API_KEY#?????????}"
"#;

/// How the secret may stand in an answer, and a part of it that is long enough to mean it.
fn forms() -> Vec<String> {
    let json = |text: &str| {
        let quoted = serde_json::to_string(text).unwrap();
        quoted.trim_matches('"').to_owned()
    };
    let aligned = |skipped: usize| {
        let bytes = &SECRET.as_bytes()[skipped..];
        STANDARD_NO_PAD.encode(&bytes[..bytes.len() / 3 * 3])
    };
    let percent = "sk%2F47%20%2211%22%2Bzyx98~wvu";
    let mut forms = vec![
        SECRET.to_owned(),
        json(SECRET),
        json(&json(SECRET)),
        percent.to_owned(),
        aligned(0),
        aligned(1),
        aligned(2),
        // The halves.
        "sk/47 ".to_owned(),
        "zyx98".to_owned(),
    ];
    let raw = [b"\xff", SECRET.as_bytes()].concat();
    forms.push(STANDARD_NO_PAD.encode(&raw[..raw.len() / 3 * 3]));
    forms
}

fn assert_hidden(what: &str, text: &str) {
    for form in forms() {
        assert!(!text.contains(&form), "{what} shows {form:?}:\n{text}");
    }
}

async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = headers
        .iter()
        .fold(server.request("GET", path), |request, (name, value)| {
            request.header(*name, *value)
        });
    Answer::of(request).await
}

/// Everything that can be had of a session, with what it is.
async fn all_answers(server: &Server, id: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let events = format!("/v1/sessions/{id}/events?follow=false");
    for accept in ["text/event-stream", "application/x-ndjson", "application/json"] {
        let answer = get(server, &events, &[("accept", accept)]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        all.push((accept.to_owned(), String::from_utf8(answer.bytes.to_vec()).unwrap()));
    }
    let mut socket = server.ws(&format!("/v1/sessions/{id}/ws?follow=false")).await;
    let messages: Vec<String> = socket.rest().await.iter().map(Value::to_string).collect();
    all.push(("WebSocket".to_owned(), messages.join("\n")));
    for path in [
        format!("/v1/sessions/{id}"),
        "/v1/sessions".to_owned(),
        format!("/v1/sessions/{id}/output"),
        format!("/v1/sessions/{id}/output?stream=stderr"),
    ] {
        all.push((path.clone(), get(server, &path, &[]).await.text()));
    }
    all
}

#[tokio::test]
async fn environment_secret_leaves_in_no_form() {
    let server = Server::start().await;
    let request = json!({
        "agent": "shell", "prompt": format!("# {SECRET}\n{SCRIPT}"), "env": { "API_KEY": SECRET },
        "metadata": { "note": format!("the key is {SECRET}"), "deep": [{ "x": SECRET }] },
    });
    let id = server.create(request).await;
    // The first half leaves before anybody can know whether the second one follows.
    let mut live = server.sse(&format!("/v1/sessions/{id}/events"), None).await;
    let first_half = loop {
        let event = live.next().await.unwrap();
        assert_hidden("the live stream", &event.data);
        let record: Value = serde_json::from_str(&event.data).unwrap();
        if record["eol"] == json!(false) {
            break record;
        }
    };
    assert_eq!(first_half["data"], "halves <***");
    server.touch("go");
    while let Some(event) = live.next().await {
        assert_hidden("the live stream", &event.data);
    }
    server.settled(&id).await;
    for (what, text) in all_answers(&server, &id).await {
        assert_hidden(&what, &text);
        assert!(text.contains("***"), "{what}: {text}");
    }
    let output = server.output(&id, "stdout").await;
    let expected = "plain <***>\n{\"key\":\"***\"}\n";
    assert!(
        output.starts_with(expected.as_bytes()),
        "{}",
        String::from_utf8_lossy(&output)
    );
    assert!(
        output.ends_with(b"\n***\n\xff***\nhalves <***>\n"),
        "{}",
        String::from_utf8_lossy(&output)
    );
    assert_eq!(server.output(&id, "stderr").await, b"error <***>\n");
    assert_eq!(server.session(&id).await["metadata"]["deep"][0]["x"], "***");

    let journal = server.session_folder(&id).join("journal.ndjson");
    let exact = std::fs::read_to_string(&journal).unwrap();
    assert!(
        exact.contains(&forms()[1]) && !exact.contains("***"),
        "the file stays exact"
    );
    assert_eq!(std::fs::metadata(&journal).unwrap().permissions().mode() & 0o777, 0o600);
    assert_hidden("the log", &server.log());
}

#[tokio::test]
async fn length_and_ranges_of_masked_output_agree() {
    let server = Server::start().await;
    let request = json!({
        "agent": "shell", "env": { "TOKEN": "abcdefghij" },
        "prompt": "for n in 1 2 3 4 5; do echo \"$n $TOKEN\"; done; printf abcde; echo \"no $TOKEN\" >&2",
    });
    let id = server.create(request).await;
    server.settled(&id).await;
    let path = format!("/v1/sessions/{id}/output");
    let whole = get(&server, &path, &[]).await;
    assert_eq!(whole.bytes, "1 ***\n2 ***\n3 ***\n4 ***\n5 ***\n***");
    assert_eq!(whole.header("content-length"), whole.bytes.len().to_string());
    for (range, from, to) in [
        ("0-0", 0, 1),
        ("4-13", 4, 14),
        ("30-", 30, 33),
        ("-5", 28, 33),
        ("3-999", 3, 33),
    ] {
        let part = get(&server, &path, &[("range", &format!("bytes={range}"))]).await;
        assert_eq!(
            (part.status, &part.bytes),
            (206, &whole.bytes.slice(from..to)),
            "{range}"
        );
        assert_eq!(part.header("content-range"), format!("bytes {from}-{}/33", to - 1));
    }
    let behind = get(&server, &path, &[("range", "bytes=33-")]).await;
    assert_eq!((behind.status, behind.header("content-range")), (416, "bytes */33"));
    let one_turn = get(&server, &format!("{path}?turn=1"), &[]).await;
    assert_eq!(one_turn.bytes, whole.bytes);
}

#[tokio::test]
async fn masked_output_is_the_same_from_every_cursor() {
    let server = Server::start().await;
    let prompt = "for part in 'say ' abc def 'ghij ' abcdef ghij '!'; do printf %s \"$part\"; touch at.$((n+=1)); until test -e on.$n; do sleep 0.02; done; done";
    let id = server
        .create(json!({ "agent": "shell", "env": { "TOKEN": "abcdefghij" }, "prompt": prompt }))
        .await;
    for n in 1..=7 {
        wait_for("the next part", async || {
            of_type(&server.records(&id).await, "stdout").len() == n
        })
        .await;
        server.touch(&format!("on.{n}"));
    }
    server.settled(&id).await;
    assert_eq!(server.output(&id, "stdout").await, b"say abc*** ***!");
    let all = get(
        &server,
        &format!("/v1/sessions/{id}/events?follow=false"),
        &[("accept", "application/x-ndjson")],
    )
    .await;
    let lines: Vec<&[u8]> = all.bytes.split_inclusive(|byte| *byte == b'\n').collect();
    for after in 0..lines.len() {
        let path = format!("/v1/sessions/{id}/events?follow=false&after={after}");
        let rest = get(&server, &path, &[("accept", "application/x-ndjson")]).await;
        assert_eq!(rest.bytes, lines[after..].concat(), "after {after}");
    }
}

#[tokio::test]
async fn mask_false_shows_the_exact_bytes() {
    let server = Server::start().await;
    let plain = json!({ "agent": "shell", "prompt": "printf half; echo ' whole'; printf '\\377\\n'", "env": { "HOME_KEY_ID": "visible-value" } });
    let unmasked = json!({
        "agent": "shell", "prompt": "echo \"$API_KEY\"", "env": { "API_KEY": SECRET }, "mask": false,
        "metadata": { "key": SECRET },
    });
    for (request, shows) in [(plain, false), (unmasked, true)] {
        let id = server.create(request).await;
        server.settled(&id).await;
        let path = format!("/v1/sessions/{id}/events?follow=false");
        let events = get(&server, &path, &[("accept", "application/x-ndjson")]).await;
        assert_eq!(
            events.bytes,
            std::fs::read(server.session_folder(&id).join("journal.ndjson")).unwrap()
        );
        if shows {
            assert_eq!(server.output(&id, "stdout").await, format!("{SECRET}\n").as_bytes());
            assert_eq!(server.session(&id).await["metadata"]["key"], SECRET);
        }
    }
}

/// A `claude` whose answer is in the form that the real one has.
fn fake_claude(folder: &Path) {
    let path = folder.join("claude");
    let script = "#!/bin/sh\nprintf '{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"the key is %s\",\"session_id\":\"s\"}\\n' \"$API_KEY\"\n";
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn result_and_execute_show_no_secret() {
    let server = Server::start().await;
    let programs = support::folder("programs");
    fake_claude(&programs);
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let body = json!({
        "agentId": "agent-value-4711x", "sessionId": "s-1", "prompt": "hi", "agent": "claude",
        "env": { "API_KEY": "value-4711x", "PATH": path },
    });
    let answer = server.ask("POST", "/execute", &body).await;
    assert_eq!(
        (answer.status, &answer.body["agentId"]),
        (200, &json!("agent-***")),
        "{}",
        answer.text()
    );
    let session = server.settled("s-1").await;
    assert_eq!(session["turns"][0]["result"], "the key is ***", "{session}");
    assert_eq!(session["metadata"]["agentId"], "agent-***");
    let ended = server.record("s-1", "turn_ended").await;
    assert_eq!(ended["result"], "the key is ***");
    // A refusal quotes what it refuses.
    let refused = json!({ "agent": "value-4711x", "env": { "API_KEY": "value-4711x" } });
    let answer = server.ask("POST", "/v1/sessions", &refused).await;
    assert_eq!(answer.code(), "agent_not_found");
    assert!(
        !answer.text().contains("4711") && answer.text().contains("***"),
        "{}",
        answer.text()
    );
    std::fs::remove_dir_all(programs).unwrap();
}

#[tokio::test]
async fn server_secrets_are_masked_too() {
    const TOKEN: &str = "token-4711-abc";
    const CONFIGURED: &str = "configured-4712-def";
    const INHERITED: &str = "inherited-4713-ghi";
    let mut server = Server::with()
        .env("PROMPTD_TOKEN", TOKEN)
        .env("DEPLOY_TOKEN", INHERITED)
        .env("RUST_LOG", "trace")
        .config(&format!(
            "[agents.mine]\ncommand = [\"cat\"]\nenv = {{ MY_KEY = \"{CONFIGURED}\" }}\n"
        ))
        .start()
        .await;
    let header = format!("Bearer {TOKEN}");
    server.client = reqwest::Client::builder()
        .no_proxy()
        .default_headers(
            [("authorization".parse().unwrap(), header.parse().unwrap())]
                .into_iter()
                .collect(),
        )
        .build()
        .unwrap();
    let prompt = format!("echo {TOKEN} {CONFIGURED} $DEPLOY_TOKEN");
    let id = server.create(json!({ "agent": "shell", "prompt": prompt })).await;
    server.settled(&id).await;
    assert_eq!(server.output(&id, "stdout").await, b"*** *** ***\n");
    let mut said = Vec::new();
    for path in [
        format!("/v1/sessions/{id}/events?follow=false"),
        format!("/v1/sessions/{id}"),
        "/v1/info".to_owned(),
        format!("/v1/nothing/{TOKEN}"),
        format!("/v1/sessions/{INHERITED}"),
        format!("/v1/sessions?cursor={CONFIGURED}"),
    ] {
        said.push(get(&server, &path, &[]).await.text());
    }
    let mut socket = server
        .try_ws(&format!("/v1/sessions/{id}/ws"), &[("authorization", &header)])
        .await
        .unwrap();
    socket.command(json!({ "type": TOKEN })).await;
    said.extend(
        socket
            .until(|message| message["type"] == "error")
            .await
            .iter()
            .map(Value::to_string),
    );
    socket.close().await;
    // Rotated tokens are known as soon as they open the door.
    let log = server.log();
    assert!(log.contains("/v1/nothing/***"), "the log tells of requests: {log}");
    said.push(log);
    for text in said {
        for secret in [TOKEN, CONFIGURED, INHERITED] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
}

#[tokio::test]
async fn changed_token_file_is_masked_at_once() {
    let server = Server::start().await;
    let id = server.shell("echo first-token-1 second-token-2").await;
    server.settled(&id).await;
    let ask = async |token: &str| {
        let request = server
            .request("GET", &format!("/v1/sessions/{id}/output"))
            .bearer_auth(token);
        Answer::of(request).await.bytes
    };
    std::fs::write(server.home().join("token"), "first-token-1\n").unwrap();
    assert_eq!(ask("first-token-1").await, "*** second-token-2\n");
    std::fs::write(server.home().join("token"), "second-token-2\nthird-token-3\n").unwrap();
    assert_eq!(ask("second-token-2").await, "first-token-1 ***\n");
}

/// Keys that were replaced: an old journal shows them.
#[tokio::test]
async fn replaced_keys_stay_masked_in_old_journals() {
    let root = support::folder("replaced-keys");
    let home = root.join("home");
    std::fs::create_dir_all(&home).unwrap();
    let configure = |word: &str| {
        let config = format!(
            r#"
            [agents.mine]
            command = ["sh", "-c", "echo $MY_KEY {word}-mcp-key {word}-sink-key"]
            env = {{ MY_KEY = "{word}-agent-key" }}
            [mcp_servers.docs]
            command = "docs"
            env = {{ ANY = "{word}-mcp-key" }}
            [[sinks]]
            kind = "http"
            url = "http://127.0.0.1:9/"
            headers = {{ x-api-key = "{word}-sink-key" }}
            "#
        );
        std::fs::write(home.join("config.toml"), config).unwrap();
    };
    configure("first");
    let mut server = Server::with().home(&home).start().await;
    let id = server.create(json!({ "agent": "mine", "prompt": "x" })).await;
    server.settled(&id).await;
    server
        .post("/config", json!({ "anthropicApiKey": "first-sdk-key" }))
        .await;
    let other = server.shell("echo first-sdk-key second-sdk-key").await;
    server.settled(&other).await;
    server
        .post("/config", json!({ "anthropicApiKey": "second-sdk-key" }))
        .await;
    assert_eq!(server.output(&other, "stdout").await, b"*** ***\n");
    // While no server sees it, as with any editor.
    server.terminate().await;
    configure("second");
    server.start_again().await;
    assert_eq!(server.output(&id, "stdout").await, b"*** *** ***\n");
    assert_eq!(server.output(&other, "stdout").await, b"*** ***\n");
    let records = Value::from(server.records(&id).await).to_string();
    assert!(!records.contains("first-"), "{records}");
    let config = server.get("/config").await.to_string();
    assert!(!config.contains("sdk-key"), "{config}");
    for file in [
        home.join("sdk.json"),
        server.session_folder(&id).join("file-secrets.json"),
    ] {
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
