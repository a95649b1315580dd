//! Every refusal that the API documents for requests and sessions.

use serde_json::{Value, json};
use support::Server;
use support::http::Answer;
use support::problems::{assert_dressed, assert_problem, refused};

const JSON: &str = "application/json";

#[tokio::test]
async fn every_answer_has_version_epoch_and_request_id() {
    let server = Server::start().await;
    for (path, status) in [
        ("/healthz", 200),
        ("/health", 200),
        ("/readyz", 200),
        ("/v1/info", 200),
        ("/v1/agents", 200),
        ("/v1/sessions", 200),
        ("/openapi.json", 200),
        ("/", 200),
        ("/v1/nothing", 404),
    ] {
        let answer = server.ask("GET", path, &Value::Null).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_dressed(&answer);
    }
    let own = Answer::of(server.request("GET", "/v1/info").header("request-id", "mine-1")).await;
    assert_eq!(own.header("request-id"), "mine-1");
    let strange = Answer::of(server.request("GET", "/v1/info").header("request-id", "<b>")).await;
    assert_ne!(strange.header("request-id"), "<b>");
    assert_eq!(own.header("promptd-epoch"), strange.header("promptd-epoch"));
}

#[tokio::test]
async fn unknown_field_is_refused_with_the_nearest_name() {
    let server = Server::start().await;
    let answer = refused(
        &server,
        "POST",
        "/v1/sessions",
        json!({"promt":"x"}),
        (400, "unknown_field"),
    )
    .await;
    assert!(answer.detail().contains("\"prompt\""), "{}", answer.body);
    assert_eq!(
        (&answer.body["field"], &answer.body["nearest"]),
        (&json!("promt"), &json!("prompt"))
    );
    let nested = json!({"prompt":"x","retry":{"max":1,"dealy":2}});
    let answer = refused(&server, "POST", "/v1/sessions", nested, (400, "unknown_field")).await;
    assert!(answer.detail().contains("\"delay\""), "{}", answer.body);
    let id = server.create(json!({})).await;
    for (call, field, nearest) in [("prompts", "prompts", "prompt"), ("stop", "grac", "grace")] {
        let path = format!("/v1/sessions/{id}/{call}");
        let answer = refused(&server, "POST", &path, json!({ field: 1 }), (400, "unknown_field")).await;
        assert_eq!(answer.body["nearest"], nearest);
    }
    let answer = refused(
        &server,
        "GET",
        "/v1/sessions?limits=1",
        Value::Null,
        (400, "unknown_parameter"),
    )
    .await;
    assert_eq!(answer.body["nearest"], "limit");
    assert_eq!(
        server.get("/v1/sessions").await["sessions"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn malformed_json_is_reported_with_line_and_column() {
    let server = Server::start().await;
    for (body, line, column) in [
        ("{\"prompt\":\"hi\",\n  oops}", 2, 3),
        ("{", 1, 1),
        ("", 1, 0),
        ("{} {}", 1, 4),
    ] {
        let answer = server.raw("POST", "/v1/sessions", JSON, body).await;
        assert_problem(&answer, 400, "malformed_json");
        assert_eq!(
            (&answer.body["line"], &answer.body["column"]),
            (&json!(line), &json!(column)),
            "{body:?}"
        );
        assert!(answer.detail().contains(&format!("line {line}, column {column}")));
    }
    let array = server.raw("POST", "/v1/sessions", JSON, "[1]").await;
    assert_problem(&array, 400, "invalid_field");
    let not_utf8 = server
        .raw("POST", "/v1/sessions", JSON, b"{\"prompt\":\"\xff\"}".to_vec())
        .await;
    assert_eq!(not_utf8.status, 400, "{}", not_utf8.text());
}

#[tokio::test]
async fn method_type_size_and_path_errors_are_distinct() {
    let server = Server::with().config("[limits]\nbody_bytes = 1000\n").start().await;
    let id = server.create(json!({})).await;
    for (method, path, allowed) in [
        ("PUT", "/v1/sessions", "GET,HEAD,POST"),
        ("POST", "/v1/info", "GET,HEAD"),
        ("GET", "/execute", "POST"),
        ("PATCH", &format!("/v1/sessions/{id}"), "GET,HEAD,DELETE"),
        ("DELETE", &format!("/v1/sessions/{id}/events"), "GET,HEAD"),
        ("GET", &format!("/v1/sessions/{id}/stop"), "POST"),
    ] {
        let answer = server.ask(method, path, &Value::Null).await;
        if path == "/execute" {
            assert_eq!(answer.status, 405, "{}", answer.text());
        } else {
            assert_problem(&answer, 405, "method_not_allowed");
        }
        let mut given: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
        given.sort_unstable();
        let mut wanted: Vec<_> = allowed.split(',').collect();
        wanted.sort_unstable();
        assert_eq!(given, wanted, "{method} {path}");
    }
    for kind in ["", "text/plain", "application/x-www-form-urlencoded"] {
        let answer = server.raw("POST", "/v1/sessions", kind, "{}").await;
        assert_problem(&answer, 415, "wrong_content_type");
    }
    let fits = server
        .raw("POST", "/v1/sessions", "application/json; charset=utf-8", "{}")
        .await;
    assert_eq!(fits.status, 201);
    let large = json!({ "prompt": "x".repeat(2_000) });
    let answer = refused(&server, "POST", "/v1/sessions", large, (413, "body_too_large")).await;
    assert_eq!(answer.body["limit"], 1_000);
    for path in ["/v1/nothing", "/v1/sessions/", "/v2/sessions", "/nothing"] {
        refused(&server, "GET", path, Value::Null, (404, "not_found")).await;
    }
    for (method, rest) in [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/events"),
        ("GET", "/output"),
        ("GET", "/ws"),
        ("POST", "/prompts"),
        ("POST", "/interrupt"),
        ("POST", "/stop"),
        ("POST", "/input"),
    ] {
        let path = format!("/v1/sessions/none{rest}");
        let answer = server.raw(method, &path, JSON, "{\"prompt\":\"x\"}").await;
        assert_problem(&answer, 404, "session_not_found");
    }
    for id in ["..%2f..%2fetc", "a%20b", "%ff", "x".repeat(200).as_str()] {
        refused(
            &server,
            "GET",
            &format!("/v1/sessions/{id}"),
            Value::Null,
            (404, "session_not_found"),
        )
        .await;
    }
    let plain = server.ask("GET", &format!("/v1/sessions/{id}/ws"), &Value::Null).await;
    assert_problem(&plain, 426, "upgrade_required");
}

#[tokio::test]
async fn invalid_values_are_named_with_a_hint() {
    let server = Server::start().await;
    let long = "x".repeat(129);
    for (request, field) in [
        (json!({"id":"../x"}), "id"),
        (json!({"id":""}), "id"),
        (json!({"id":".hidden"}), "id"),
        (json!({"id":"a b"}), "id"),
        (json!({"id":"ä"}), "id"),
        (json!({"id": long}), "id"),
        (json!({"id": 7}), "id"),
        (json!({"timeout":-1}), "timeout"),
        (json!({"timeout":0}), "timeout"),
        (json!({"timeout":"soon"}), "timeout"),
        (json!({"timeout":1e300}), "timeout"),
        (json!({"idle_timeout":-0.5}), "idle_timeout"),
        (json!({"retry":{"max":1,"delay":-1}}), "retry.delay"),
        (json!({"retry":{"max":-1}}), "retry.max"),
        (json!({"cwd":"../elsewhere"}), "cwd"),
        (json!({"cwd":"a/../../b"}), "cwd"),
        (json!({"cwd":"/no/such/folder"}), "cwd"),
        (json!({"cwd":"a\u{0}b"}), "cwd"),
        (json!({"env":{"A=B":"x"}}), "env"),
        (json!({"env":{"":"x"}}), "env"),
        (json!({"env":{"PROMPTD_TOKEN":"x"}}), "env"),
        (json!({"args":["a\u{0}"]}), "args"),
        (json!({"permission":"perhaps"}), "permission"),
        (json!({"stdin":"ajar"}), "stdin"),
        (json!({"prompt":7}), "prompt"),
        (json!({"metadata":[]}), "metadata"),
    ] {
        let answer = refused(&server, "POST", "/v1/sessions", request.clone(), (400, "invalid_field")).await;
        assert_eq!(answer.body["field"], field, "{request}: {}", answer.body);
        assert!(answer.detail().starts_with(field), "{}", answer.body);
    }
    for (path, parameter) in [
        ("/v1/sessions?limit=many", "limit"),
        ("/v1/sessions?limit=0", "limit"),
        ("/v1/sessions?status=done", "status"),
        ("/v1/sessions?cursor=nobody", "cursor"),
    ] {
        let answer = refused(&server, "GET", path, Value::Null, (400, "invalid_parameter")).await;
        assert_eq!(answer.body["parameter"], parameter);
    }
    let id = server.shell("true").await;
    server.settled(&id).await;
    for (call, parameter) in [
        ("events?after=-1", "after"),
        ("events?after=x", "after"),
        ("events?follow=perhaps", "follow"),
        ("events?view=pretty", "view"),
        ("output?stream=stdin", "stream"),
        ("output?turn=first", "turn"),
    ] {
        let path = format!("/v1/sessions/{id}/{call}");
        let answer = refused(&server, "GET", &path, Value::Null, (400, "invalid_parameter")).await;
        assert_eq!(answer.body["parameter"], parameter);
    }
    let header = server
        .request("GET", &format!("/v1/sessions/{id}/events"))
        .header("last-event-id", "x");
    assert_problem(&Answer::of(header).await, 400, "invalid_header");
    let stop = format!("/v1/sessions/{id}/stop");
    for grace in [json!(-1), json!(1e9)] {
        refused(
            &server,
            "POST",
            &stop,
            json!({ "grace": grace }),
            (400, "invalid_field"),
        )
        .await;
    }
    let turn = format!("/v1/sessions/{id}/output?turn=9");
    refused(&server, "GET", &turn, Value::Null, (404, "turn_not_found")).await;
    let range = server
        .request("GET", &format!("/v1/sessions/{id}/output"))
        .header("range", "bytes=5-");
    assert_problem(&Answer::of(range).await, 416, "range_not_satisfiable");
    assert_eq!(
        server.get("/v1/sessions").await["sessions"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn unsupported_agent_options_are_refused_by_name() {
    let server = Server::start().await;
    let tools = json!({ "tools": { "command": "true" } });
    for (field, value) in [
        ("model", json!("x")),
        ("system_prompt", json!("x")),
        ("permission", json!("ask")),
        ("mcp_servers", tools),
    ] {
        let request = json!({ "prompt": "true", field: value });
        let answer = refused(&server, "POST", "/v1/sessions", request, (422, "unsupported")).await;
        assert_eq!(answer.body["field"], field);
    }
}

#[tokio::test]
async fn no_answer_and_no_log_holds_a_secret() {
    const SECRET: &str = "sk-very-secret-4711";
    const TOKEN: &str = "token-very-secret-4712";
    let server = Server::with()
        .env("PROMPTD_TOKEN", TOKEN)
        .env("RUST_LOG", "trace")
        .config("[agents.mine]\ncommand = [\"cat\"]\nenv = { KEY = \"configured-very-secret-4713\" }\n")
        .start()
        .await;
    let env = json!({ "API_KEY": SECRET });
    let mut said = Vec::new();
    for body in [
        json!({"id":"good","prompt":"test \"$API_KEY\" && echo there","env":env}),
        json!({"id":"good","prompt":"another","env":env}),
        json!({"promt":"x","env":env}),
        json!({"timeout":-1,"env":env}),
        json!({"agent":"nobody","env":env}),
        json!({"cwd":"../..","env":env}),
        json!({"sinks":[],"env":env}),
        json!({"env":{"A=B":SECRET}}),
        json!({"env":{"PROMPTD_X":SECRET}}),
        json!({"env":{"NUL":format!("{SECRET}\u{0}")}}),
        json!({"env":{"LIST":[SECRET]}}),
        json!({"env":SECRET}),
        json!({"env":[SECRET]}),
        json!({"id":"bad-program","agent":"mine","cwd":"x","prompt":"x","env":{"PATH":format!("/{SECRET}")}}),
    ] {
        for path in ["/v1/sessions", "/execute"] {
            let mut body = body.clone();
            if path == "/execute" {
                body["agentId"] = "a".into();
                body["sessionId"] = body["id"].take();
            }
            let request = server.request("POST", path).bearer_auth(TOKEN).json(&body);
            said.push((body.to_string(), Answer::of(request).await));
        }
    }
    let broken = format!("{{\"env\":{{\"API_KEY\":\"{SECRET}\" oops");
    let request = server
        .request("POST", "/v1/sessions")
        .bearer_auth(TOKEN)
        .header("content-type", JSON)
        .body(broken.clone());
    said.push((broken, Answer::of(request).await));
    let events = server
        .request("GET", "/v1/sessions/good/events")
        .bearer_auth(TOKEN)
        .header("accept", "application/x-ndjson");
    let events = Answer::of(events).await;
    assert!(events.text().contains("there"), "the agent has it: {}", events.text());
    said.push(("events".to_owned(), events));
    for path in [
        "/v1/sessions",
        "/v1/sessions/good",
        "/v1/info",
        "/v1/agents",
        "/health",
        "/readyz",
        "/v1/sessions/none",
    ] {
        let request = server.request("GET", path).bearer_auth(TOKEN);
        said.push((path.to_owned(), Answer::of(request).await));
    }
    let log = server.log();
    for secret in [SECRET, TOKEN, "configured-very-secret-4713"] {
        for (asked, answer) in &said {
            assert!(
                !answer.text().contains(secret),
                "{asked} was answered with {}",
                answer.text()
            );
        }
        assert!(!log.contains(secret), "the log has it: {log}");
    }
}
