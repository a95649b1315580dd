//! What agents write is not always clean JSON, one object per line: no turn fails because of that.

use serde_json::{Value, json};
use support::{Server, assert_same_bytes};

/// What a terminal would get, and a prompt.
const NOISE: [&str; 4] = ["\u{feff}", "\x1b]0;title\x07", "\x1b[?2004h\x1b[0m", "proj main | "];

/// A turn in each format that a configuration may name, with this JSON string as its answer.
fn streams(answer: &str) -> [(&'static str, Vec<String>); 3] {
    [
        (
            "claude-stream-json",
            vec![
                r#"{"type":"system","subtype":"init","session_id":"s"}"#.to_owned(),
                format!(r#"{{"type":"result","subtype":"success","is_error":null,"result":{answer}}}"#),
            ],
        ),
        (
            "codex-json",
            vec![
                format!(r#"{{"type":"item.completed","item":{{"id":"1","type":"agent_message","text":{answer}}}}}"#),
                r#"{"type":"turn.completed","usage":{}}"#.to_owned(),
            ],
        ),
        (
            "gemini-stream-json",
            vec![
                format!(r#"{{"type":"message","role":"assistant","content":{answer},"delta":true}}"#),
                r#"{"type":"result","status":"success"}"#.to_owned(),
            ],
        ),
    ]
}

/// Has an agent write these bytes in a format, and returns its session.
async fn written(server: &Server, format: &str, bytes: &str, code: u8) -> (String, Value) {
    let name = format!("{format}-{}", server.workspace().read_dir().unwrap().count());
    std::fs::write(server.workspace().join(&name), bytes).unwrap();
    let env = json!({ "FILE": name, "CODE": code.to_string() });
    let id = server
        .create(json!({ "agent": format, "prompt": "x", "env": env }))
        .await;
    let session = server.settled(&id).await;
    assert_same_bytes(&name, &server.output(&id, "stdout").await, bytes.as_bytes());
    (id, session)
}

async fn server() -> Server {
    let agents = streams("").map(|(format, _)| {
        let script = r#"cat > /dev/null; cat "$FILE"; exit "$CODE""#;
        format!("[agents.{format}]\ncommand = ['sh', '-c', '{script}']\nstream = '{format}'\n")
    });
    let server = Server::with().config(&agents.concat()).start().await;
    std::fs::create_dir_all(server.workspace()).unwrap();
    server
}

/// The agent's answer in the updates.
async fn said(server: &Server, id: &str) -> String {
    let updates = server.updates(id).await;
    let chunks = updates.iter().map(|line| &line["update"]);
    let chunks = chunks.filter(|update| update["sessionUpdate"] == "agent_message_chunk");
    chunks.map(|chunk| chunk["content"]["text"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn half_a_character_does_not_fail_the_turn() {
    let server = server().await;
    for (format, lines) in streams(r#""cut \ud83d here""#) {
        let (id, session) = written(&server, format, &(lines.join("\n") + "\n"), 0).await;
        let turn = &session["turns"][0];
        let result = json!("cut \u{fffd} here");
        assert_eq!(
            (&turn["status"], &turn["result"]),
            (&json!("completed"), &result),
            "{session}"
        );
        assert_eq!(said(&server, &id).await, "cut \u{fffd} here", "{format}");
    }
}

#[tokio::test]
async fn text_around_the_json_does_not_fail_the_turn() {
    let server = server().await;
    for (format, lines) in streams(r#""It is {\"a\":1}.""#) {
        for noise in NOISE {
            let noisy: Vec<_> = lines.iter().map(|line| format!("{noise}{line} {noise}")).collect();
            // On lines of their own, and all on one line without a newline.
            for text in [noisy.join("\n"), noisy.concat(), lines.concat() + " done"] {
                let (id, session) = written(&server, format, &text, 0).await;
                let turn = &session["turns"][0];
                let result = json!("It is {\"a\":1}.");
                assert_eq!(
                    (&turn["status"], &turn["result"]),
                    (&json!("completed"), &result),
                    "{text:?} {session}"
                );
                assert_eq!(said(&server, &id).await, "It is {\"a\":1}.", "{text:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_counts_more_than_the_exit_code() {
    let server = server().await;
    for (format, lines) in streams(r#""Done.""#) {
        let (_, session) = written(&server, format, &lines.join("\n"), 1).await;
        let turn = &session["turns"][0];
        assert_eq!(
            (&turn["status"], &turn["result"]),
            (&json!("completed"), &json!("Done.")),
            "{session}"
        );
        assert_eq!(turn["exit_code"], 1);
    }
}

#[tokio::test]
async fn noise_around_a_dialog_changes_nothing() {
    let server = Server::with().scripted().start().await;
    let steps = "chunk \"cut \\ud83d\"\nchunk \"\\ude00 here\"\nask\nlate Late.";
    let id = server.act(steps, json!({ "agent": "noisy" })).await;
    let question = server.question(&id).await;
    server.reply(&id, &question, "allow_once").await;
    let session = server.settled(&id).await;
    let turn = &session["turns"][0];
    assert_eq!(turn["status"], "completed", "{session}");
    assert_eq!(turn["result"], "cut 😀 heretold allow-once. Late.", "{session}");
    assert_eq!(said(&server, &id).await, "cut 😀 heretold allow-once. Late.");
    // What can be seen around the messages is not lost.
    let updates = server.updates(&id).await;
    let around = updates
        .iter()
        .filter(|line| line["update"]["line"] == " ok\u{1b}[0m")
        .count();
    assert!(around > 3, "{updates:#?}");
}
