//! A client with the types of the Claude Agent SDK talks with the real claude.

use serde_json::{Value, json};
use support::model::Model;
use support::{Server, node};

#[tokio::test]
async fn client_with_sdk_types_talks_with_claude() {
    node::install().await;
    let model = Model::start().await;
    let home = support::folder("sdk-claude");
    let path = format!("{}:{}", node::programs().display(), std::env::var("PATH").unwrap());
    let server = Server::with()
        .env("PATH", path)
        .env("HOME", home.display().to_string())
        .start()
        .await;
    let mut env: serde_json::Map<String, Value> = model.claude_env().into_iter().map(|(k, v)| (k, v.into())).collect();
    let key = env.remove("ANTHROPIC_API_KEY").unwrap();
    let config = json!({ "anthropicApiKey": key, "env": env, "includePartialMessages": true,
        "systemPrompt": { "type": "preset", "preset": "claude_code", "append": "be brief" } });
    let heard = node::client("sdk.ts", &[&server.address, &config.to_string()]).await;
    assert_eq!(heard["configured"]["success"], true, "{heard}");
    assert!(!heard["shown"].as_str().unwrap().contains(key.as_str().unwrap()));
    let of = |client: &str, kind: &str| -> Vec<Value> {
        let frames = heard[client].as_array().unwrap().iter();
        frames
            .map(|frame| frame["data"].clone())
            .filter(|data| data["type"] == kind)
            .collect()
    };
    assert_eq!(of("one", "result")[0]["result"], "Answer 1.", "{heard}");
    assert!(!of("one", "assistant").is_empty() && !of("one", "stream_event").is_empty());
    assert_eq!(of("other", "result")[0], of("one", "result")[0]);
    // Away while its turn was interrupted; the conversation goes on.
    let back = of("back", "result");
    assert_eq!(back.last().unwrap()["result"], "Answer 2.", "{heard}");
    assert_eq!(back.last().unwrap()["session_id"], of("one", "result")[0]["session_id"]);
    let asked = model.turns().last().unwrap().body.to_string();
    assert!(asked.contains("be brief"), "the system prompt reached the model");
    std::fs::remove_dir_all(home).unwrap();
}
