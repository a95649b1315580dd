//! An ACP agent from the configuration asks if it is to ask: in the mode in which it does, or the turn does not begin.

use serde_json::{Value, json};
use support::{Server, folder};

use crate::pretend::{heard, noted};

/// An agent that speaks ACP, with its name for itself and what it offers for a session as arguments. It announces an edit,
/// asks about it by the call's id alone, and ends.
const AGENT: &str = r#"#!/bin/sh
say() { printf '%s\n' "$1"; }
update() { say '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":'"$1"'}}'; }
while read -r line; do
  printf '%s\n' "$line" >> heard
  case "$line" in
    *'"method":"initialize"'*) say '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":1,"agentCapabilities":{"loadSession":true},"agentInfo":{"name":"'"$1"'","version":"1"}}}' ;;
    *'"method":"session/new"'* | *'"method":"session/load"'*) say '{"jsonrpc":"2.0","id":2,"result":{"sessionId":"s"'"$2"'}}' ;;
    *'"method":"session/set_'*'"stubborn"'*) say '{"jsonrpc":"2.0","id":6,"error":{"code":-32602,"message":"not now"}}' ;;
    *'"method":"session/set_'*) say '{"jsonrpc":"2.0","id":6,"result":{}}' ;;
    *'"method":"session/prompt"'*)
      update '{"sessionUpdate":"tool_call","toolCallId":"c","title":"Edit a.txt","kind":"edit","status":"pending","rawInput":{"path":"a.txt"}}'
      update '{"sessionUpdate":"tool_call_update","toolCallId":"c","content":[{"type":"diff","path":"/w/a.txt","oldText":"a","newText":"b"}]}'
      say '{"jsonrpc":"2.0","id":77,"method":"session/request_permission","params":{"sessionId":"s","toolCall":{"toolCallId":"c"},"options":[{"optionId":"yes","name":"Yes","kind":"allow_once"},{"optionId":"no","name":"No","kind":"reject_once"}]}}' ;;
    *'"id":77'*) say '{"jsonrpc":"2.0","id":3,"result":{"stopReason":"end_turn"}}' ;;
  esac
done
"#;

/// The section of an agent in the configuration.
fn agent(name: &str, own_name: &str, offer: &str, more: &str) -> String {
    let program = folder(&format!("modes-{name}")).join("agent");
    std::fs::write(&program, AGENT).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = program.display();
    format!("[agents.{name}]\ncommand = ['{program}', '{own_name}', '{offer}']\nstream = \"acp\"\n{more}\n")
}

const CLAUDE: &str = r#","configOptions":[{"id":"mode","category":"mode","type":"select","currentValue":"auto","options":[{"value":"default","name":"Manual"},{"value":"auto","name":"Auto"}]}],"modes":{"currentModeId":"auto","availableModes":[{"id":"default","name":"Manual"},{"id":"auto","name":"Auto"}]}"#;
const CODEX: &str = r#","modes":{"currentModeId":"agent","availableModes":[{"id":"agent","name":"Auto review","description":"Only ask for actions detected as potentially unsafe"},{"id":"read-only","name":"Read-only"},{"id":"workspace-write","name":"Workspace access"}]}"#;
const OTHER: &str = r#","modes":{"currentModeId":"yolo","availableModes":[{"id":"yolo","name":"YOLO","description":"Automatically approves all tools"},{"id":"careful","name":"Careful","description":"Requires approval for file edits"}]}"#;
const UNKNOWN: &str = r#","modes":{"currentModeId":"code","availableModes":[{"id":"code","name":"Code"},{"id":"ask","name":"Ask","description":"Answers questions"},{"id":"stubborn","name":"Stubborn"}]}"#;

fn of_method(server: &Server, method: &str) -> Vec<Value> {
    let calls = heard(server).into_iter().filter(|message| message["method"] == method);
    calls.map(|message| message["params"].clone()).collect()
}

/// It was passed over: the agent stayed in the mode in which it decides alone.
#[tokio::test]
async fn mode_that_asks_is_set() {
    let option = json!({ "sessionId": "s", "configId": "mode", "value": "default" });
    let mode = |mode: &str| json!({ "sessionId": "s", "modeId": mode });
    let (set_mode, set_option) = ("session/set_mode", "session/set_config_option");
    let asking = r#","modes":{"currentModeId":"default","availableModes":[{"id":"default","name":"Always Ask"}]}"#;
    let cases = [
        (
            "claude-acp",
            "@agentclientprotocol/claude-agent-acp",
            CLAUDE,
            "",
            Some((set_option, option)),
        ),
        (
            "codex-acp",
            "@agentclientprotocol/codex-acp",
            CODEX,
            "",
            Some((set_mode, mode("read-only"))),
        ),
        ("other", "other", OTHER, "", Some((set_mode, mode("careful")))),
        ("named", "unknown", UNKNOWN, "ask_mode = \"code\"", None),
        (
            "set",
            "unknown",
            UNKNOWN,
            "ask_mode = \"ask\"",
            Some((set_mode, mode("ask"))),
        ),
        (
            "untold",
            "unknown",
            "",
            "ask_mode = \"ask\"",
            Some((set_mode, mode("ask"))),
        ),
        ("asking", "other", asking, "", None),
        ("plain", "other", "", "", None),
    ];
    let config: String = cases
        .iter()
        .map(|(name, own, offer, more, _)| agent(name, own, offer, more))
        .collect();
    let server = Server::with().config(&config).start().await;
    for (name, _, _, _, expected) in cases {
        let id = server
            .create(json!({ "agent": name, "prompt": "edit", "permission": "ask" }))
            .await;
        let question = server.question(&id).await;
        let found = [set_mode, set_option].map(|method| of_method(&server, method));
        let wanted = [set_mode, set_option].map(|method| {
            let of_method = expected.iter().filter(|(wanted, _)| *wanted == method);
            of_method.map(|(_, params)| params.clone()).collect::<Vec<_>>()
        });
        assert_eq!(found, wanted, "{name}");
        // The agent had said the rest before.
        let call = &question["tool_call"];
        assert_eq!(
            (&question["title"], &call["title"]),
            (&json!("Edit a.txt"), &json!("Edit a.txt"))
        );
        assert_eq!(call["rawInput"]["path"], "a.txt", "{question}");
        let diff = json!([{ "type": "diff", "path": "/w/a.txt", "oldText": "a", "newText": "b" }]);
        assert_eq!(call["content"], diff, "{question}");
        server.reply(&id, &question, "allow_once").await;
        assert_eq!(server.settled(&id).await["status"], "completed");
        std::fs::remove_file(server.workspace().join("heard")).unwrap();
    }
    // A later turn is another process, in which the mode has to be set again.
    let id = server
        .create(json!({ "agent": "codex-acp", "prompt": "edit", "permission": "ask" }))
        .await;
    for turn in 1..=2 {
        if turn == 2 {
            let prompts = format!("/v1/sessions/{id}/prompts");
            server.post(&prompts, json!({ "prompt": "edit" })).await;
        }
        let question = server.question(&id).await;
        server.reply(&id, &question, "reject_once").await;
        server.settled(&id).await;
        assert_eq!(of_method(&server, set_mode).len(), turn);
    }
    // Where nobody is asked, the agent stays as it is.
    std::fs::remove_file(server.workspace().join("heard")).unwrap();
    let id = server
        .create(json!({ "agent": "claude-acp", "prompt": "edit", "permission": "bypass" }))
        .await;
    assert_eq!(server.settled(&id).await["status"], "completed");
    assert_eq!(of_method(&server, set_option), [json!(null); 0]);
}

#[tokio::test]
async fn turn_does_not_begin_where_no_mode_asks() {
    let config = [
        agent("unknown", "unknown", UNKNOWN, ""),
        agent("wrong", "unknown", UNKNOWN, "ask_mode = \"careful\""),
        agent("stubborn", "unknown", UNKNOWN, "ask_mode = \"stubborn\""),
    ];
    let server = Server::with().config(&config.concat()).start().await;
    for (name, says) in [
        ("unknown", ["\"code\", \"ask\", \"stubborn\"", "`ask_mode`"]),
        ("wrong", ["\"careful\"", "\"code\", \"ask\", \"stubborn\""]),
        ("stubborn", ["the mode in which it asks", "not now"]),
    ] {
        let id = server
            .create(json!({ "agent": name, "prompt": "edit", "permission": "ask" }))
            .await;
        let session = server.settled(&id).await;
        let turn = &session["turns"][0];
        assert_eq!(turn["status"], "failed", "{session}");
        let error = turn["error"].as_str().unwrap();
        assert!(says.iter().all(|text| error.contains(text)), "{error}");
        assert_eq!(of_method(&server, "session/prompt"), [json!(null); 0]);
    }
    assert!(!noted(&server, "heard").is_empty());
}

#[tokio::test]
async fn agent_that_only_its_settings_make_ask_is_refused() {
    let config = "[agents.kilo]\ncommand = ['/bin/sh', '/opt/kilo', 'acp']\nstream = \"acp\"\n\
                  [agents.npx]\ncommand = ['/bin/sh', '@kilocode/cli@7', 'acp']\nstream = \"acp\"\n\
                  [agents.set]\ncommand = ['/bin/sh', '/opt/kilo', 'acp']\nstream = \"acp\"\nask_mode = \"code\"\n";
    let server = Server::with().config(config).start().await;
    for name in ["kilo", "npx"] {
        let request = json!({ "agent": name, "prompt": "edit", "permission": "ask" });
        let (status, refusal) = server.send("POST", "/v1/sessions", request).await;
        assert_eq!((status, &refusal["field"]), (422, &json!("permission")), "{refusal}");
        assert!(refusal["detail"].as_str().unwrap().contains("ask_mode"), "{refusal}");
    }
    let agents = server.get("/v1/agents").await;
    let agents = agents["agents"].as_array().unwrap();
    let asks = |name: &str| {
        let agent = agents.iter().find(|agent| agent["name"] == name).unwrap();
        agent["capabilities"]["permissions"].clone()
    };
    assert_eq!(["kilo", "npx", "set"].map(asks), [false, false, true]);
}
