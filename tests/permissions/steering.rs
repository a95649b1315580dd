//! A message reaches the agent that works.

use serde_json::{Value, json};
use support::{Builder, Server, of_type};

/// A server that takes a script for claude: it waits for a file, then reads a message, and says both messages.
fn with_claude(name: &str) -> Builder {
    let script = r#"#!/bin/sh
echo "$*" >> arguments
read -r prompt
echo "$prompt" >> heard
printf '{"type":"system","subtype":"init","session_id":"c-1"}\n'
while ! [ -e go ]; do sleep 0.02; done
case "$prompt" in
  *ask*)
    printf '{"type":"control_request","request_id":"r-1","request":{"subtype":"can_use_tool","tool_name":"Write","tool_use_id":"t-1","input":{"file_path":"a"}}}\n'
    read -r answer; echo "$answer" >> answers ;;
  *steered*) read -r message; echo "$message" >> heard ;;
esac
printf '{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"c-1","num_turns":1}\n'
while ! [ -e leave ]; do sleep 0.02; done
"#;
    with_program(name, "claude", script)
}

fn with_program(name: &str, program: &str, script: &str) -> Builder {
    let programs = support::folder(name);
    std::fs::write(programs.join(program), script).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(programs.join(program), executable).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    Server::with().scripted().env("PATH", path)
}

fn heard(server: &Server) -> Vec<Value> {
    let text = std::fs::read_to_string(server.workspace().join("heard")).unwrap_or_default();
    let texts = text.lines().map(|line| {
        let message: Value = serde_json::from_str(line).unwrap();
        message["message"]["content"][0]["text"].clone()
    });
    texts.collect()
}

async fn running(server: &Server, more: Value) -> String {
    let mut request = json!({ "agent": "claude", "prompt": "to be steered" });
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    let id = server.create(request).await;
    server.record(&id, "started").await;
    id
}

/// Sends a message with a key; answers status and body.
async fn send(server: &Server, id: &str, key: &str, body: Value) -> (u16, Value) {
    let request = server.request("POST", &format!("/v1/sessions/{id}/prompts"));
    let answer = request.header("idempotency-key", key).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn message_reaches_the_running_turn_once() {
    for more in [json!({ "permission": "ask" }), json!({ "steerable": true })] {
        let mut server = with_claude("steer-claude").start().await;
        server.touch("leave");
        let id = running(&server, more).await;
        let message = json!({ "prompt": "only the tests", "when": "now" });
        let (status, answer) = send(&server, &id, "k", message.clone()).await;
        assert_eq!((status, &answer), (202, &json!({ "turn": 1 })), "{answer}");
        // Killed before anything else, it has to be in the journal, and the next one delivers it.
        server.kill();
        server.start_again().await;
        assert_eq!(send(&server, &id, "k", message).await, (200, json!({ "turn": 1 })));
        let other = json!({ "prompt": "only the tests" });
        assert_eq!(send(&server, &id, "k", other).await.0, 409);
        server.touch("go");
        let session = server.settled(&id).await;
        assert_eq!(session["turns"].as_array().unwrap().len(), 1, "{session}");
        assert_eq!(session["status"], "completed", "{session}");
        assert_eq!(heard(&server), ["to be steered", "only the tests"]);
        let records = server.records(&id).await;
        let steers = of_type(&records, "steer");
        assert_eq!((steers.len(), &steers[0]["text"]), (1, &json!("only the tests")));
        let updates = server.updates(&id).await;
        let said = updates
            .iter()
            .filter(|event| event["update"]["sessionUpdate"] == "user_message_chunk");
        assert_eq!(said.count(), 2);
    }
}

/// What is larger than one read of the journal was passed over, and the turn waited for ever or ended without it.
#[tokio::test]
async fn large_message_and_answer_reach_the_agent() {
    let server = with_claude("steer-large").start().await;
    server.touch("go");
    server.touch("leave");
    let large = "x".repeat(300 << 10);
    let id = running(&server, json!({ "steerable": true, "timeout": 60 })).await;
    let message = json!({ "prompt": large, "when": "now" });
    assert_eq!(send(&server, &id, "k", message).await.0, 202);
    let session = server.settled(&id).await;
    assert_eq!(session["status"], "completed", "{}", session["turns"][0]["cause"]);
    assert!(heard(&server) == ["to be steered", &large]);
    let id = running(&server, json!({ "prompt": "ask", "permission": "ask", "timeout": 60 })).await;
    let question = server.question(&id).await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/sessions/{id}/permissions/{question}");
    let answer = json!({ "option": "allow", "updated_input": { "file_path": "a", "content": large } });
    assert_eq!(server.send("POST", &path, answer).await.0, 200);
    let session = server.settled(&id).await;
    assert_eq!(session["status"], "completed", "{}", session["turns"][0]["cause"]);
    let answers = std::fs::read_to_string(server.workspace().join("answers")).unwrap();
    assert!(answers.contains(&large));
}

#[tokio::test]
async fn message_that_comes_after_the_result_is_the_next_turn() {
    let server = with_claude("steer-late").start().await;
    server.touch("go");
    let is_result = |record: &Value| {
        let line = record["data"].as_str().filter(|_| record["type"] == "stdout");
        line.is_some_and(|line| line.contains(r#""type":"result""#))
    };
    let body = json!({ "agent": "claude", "prompt": "no message", "steerable": true, "timeout": 60 });
    // On a busy machine a turn can be over before the message comes.
    for _ in 0..20 {
        let id = server.create(body.clone()).await;
        let mut records = server.ws(&format!("/v1/sessions/{id}/ws")).await;
        records.until(is_result).await;
        let (status, answer) = send(&server, &id, "k", json!({ "prompt": "no hurry", "when": "now" })).await;
        if status == 202 && answer["turn"] == 1 {
            server.touch("leave");
            let both = |session: &Value| session["turns"][1]["status"] == "completed";
            server.session_when(&id, both).await;
            assert!(heard(&server).ends_with(&[json!("no message"), json!("no hurry")]));
            return;
        }
        assert_eq!((status, &answer["code"]), (409, &json!("not_running")));
    }
    panic!("no message came between a result and its turn's end");
}

/// Codex refuses a message when its turn is just over, or takes none, such as a review.
#[tokio::test]
async fn message_that_codex_refuses_is_the_next_turn() {
    let script = r#"#!/bin/sh
completed() { printf '{"method":"turn/completed","params":{"threadId":"th","turn":{"id":"tu","status":"completed"}}}\n'; }
while read -r line; do
  id=${line#*\"id\":}; id=${id%%,*}
  case "$line" in
    *'"initialize"'*) printf '{"id":%s,"result":{}}\n' "$id" ;;
    *'"thread/'*) printf '{"id":%s,"result":{"thread":{"id":"th"}}}\n' "$id" ;;
    *'"turn/start"'*)
      echo "$line" >> heard
      printf '{"id":%s,"result":{"turn":{"id":"tu"}}}\n' "$id"
      case "$line" in *"and this"*) completed ;; esac ;;
    *'"turn/steer"'*)
      printf '{"id":%s,"error":{"code":-32600,"message":"no active turn to steer"}}\n' "$id"
      completed ;;
  esac
done
"#;
    let server = with_program("steer-codex", "codex", script).start().await;
    let body = json!({ "agent": "codex", "prompt": "do that", "steerable": true, "timeout": 60 });
    let id = server.create(body).await;
    server.record(&id, "started").await;
    let message = json!({ "prompt": "and this", "when": "now" });
    assert_eq!(send(&server, &id, "k", message).await.0, 202);
    let both = |session: &Value| session["turns"][1]["status"] == "completed";
    let session = server.session_when(&id, both).await;
    assert_eq!(session["turns"][0]["status"], "completed", "{session}");
    let heard = std::fs::read_to_string(server.workspace().join("heard")).unwrap();
    let asked = ["do that", "and this"].map(|text| heard.lines().filter(|line| line.contains(text)).count());
    assert_eq!(asked, [1, 1], "{heard}");
}

#[tokio::test]
async fn message_is_refused_where_it_cannot_be_taken() {
    let server = with_claude("steer-refused").start().await;
    server.touch("leave");
    let message = json!({ "prompt": "x", "when": "now" });
    // Agents that cannot.
    for agent in ["shell", "scripted"] {
        let id = server.create(json!({ "agent": agent })).await;
        let (status, refusal) = send(&server, &id, "k", message.clone()).await;
        assert_eq!((status, &refusal["field"]), (422, &json!("when")), "{refusal}");
        assert_eq!(refusal["agents"], json!(["claude", "codex"]));
    }
    let (status, refusal) = server
        .send(
            "POST",
            "/v1/sessions",
            json!({ "agent": "shell", "prompt": "true", "steerable": true }),
        )
        .await;
    assert_eq!((status, &refusal["field"]), (422, &json!("steerable")), "{refusal}");
    // A session without a dialog.
    let id = server.create(json!({ "agent": "claude", "prompt": "alone" })).await;
    let (status, refusal) = send(&server, &id, "k", message.clone()).await;
    if status == 409 {
        assert_eq!(refusal["code"], "not_running");
    } else {
        assert_eq!((status, &refusal["field"]), (422, &json!("when")), "{refusal}");
        assert!(refusal["detail"].as_str().unwrap().contains("steerable"), "{refusal}");
    }
    server.touch("go");
    server.settled(&id).await;
    // No turn that runs.
    let id = server.create(json!({ "agent": "claude", "steerable": true })).await;
    let (status, refusal) = send(&server, &id, "k", message).await;
    assert_eq!((status, &refusal["code"]), (409, &json!("not_running")), "{refusal}");
    let fresh = json!({ "prompt": "x", "when": "now", "fresh": true });
    assert_eq!(send(&server, &id, "l", fresh).await.1["field"], "fresh");
    let wrong = json!({ "prompt": "x", "when": "later" });
    let (status, refusal) = send(&server, &id, "m", wrong).await;
    assert_eq!((status, &refusal["field"]), (400, &json!("when")), "{refusal}");
    assert_eq!(server.session(&id).await["turns"], json!([]));
}
