//! Limits of a request, and a lost session, as the real programs treat them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::lab::Lab;
use support::model::{self, Model};
use support::stand_ins::Home;
use support::{Server, node, of_type};

#[tokio::test]
async fn qwen_respects_max_turns() {
    let lab = Lab::new("qwen").await;
    let (_, turn) = lab
        .begin("model: run printf made > made.txt", json!({ "max_turns": 1 }))
        .await;
    assert_eq!(turn["status"], "failed", "{turn}");
    assert_eq!(turn["stop_reason"], "max_turn_requests", "{turn}");
    assert!(lab.server.workspace().join("made.txt").exists());
    let (_, turn) = lab.begin("model: run true", json!({ "max_turns": 2 })).await;
    assert_eq!(turn["status"], "completed", "{turn}");
}

#[tokio::test]
async fn opencode_respects_allowed_tools() {
    let lab = Lab::new("opencode").await;
    let file = lab.server.workspace().join("made.txt");
    for (tools, made) in [(json!(["read"]), false), (json!(["read", "bash"]), true)] {
        lab.begin("model: run printf made > made.txt", json!({ "allowed_tools": tools }))
            .await;
        assert_eq!(file.exists(), made, "{tools}");
    }
}

#[tokio::test]
async fn gemini_respects_allowed_tools_and_max_turns() {
    node::install().await;
    let (model, home) = (Model::start().await, Home::new("bounds"));
    home.write(".gemini/settings.json", model::GEMINI_SETTINGS);
    let path = format!("{}:{}", node::programs().display(), std::env::var("PATH").unwrap());
    let server = Server::with().env("PATH", path).env("HOME", home.text()).start().await;
    let env: BTreeMap<_, _> = model.gemini_env().into_iter().collect();
    let prompt = "model: run printf made > made.txt";
    for (tools, turns, status, made) in [
        (json!(["read_file", "run_shell_command(git)"]), 9, "completed", false),
        (json!(["run_shell_command"]), 1, "failed", true),
        (json!(["run_shell_command(printf)"]), 2, "completed", true),
    ] {
        let file = server.workspace().join("made.txt");
        let _old = std::fs::remove_file(&file);
        let request = json!({
            "agent": "gemini", "prompt": prompt, "env": env, "allowed_tools": tools, "max_turns": turns,
        });
        let id = server.create(request).await;
        let session = server.settled(&id).await;
        assert_eq!(session["status"], status, "{tools} {session}");
        let limited = session["turns"][0]["stop_reason"] == "max_turn_requests";
        assert_eq!(limited, turns == 1, "{session}");
        assert_eq!(file.exists(), made, "{tools} {session}");
    }
}

#[tokio::test]
async fn droid_that_loses_its_session_fails_the_turn() {
    let lab = Lab::new("droid").await;
    let (id, turn) = lab.begin("hello", Value::Null).await;
    assert_eq!(turn["status"], "completed", "{turn}");
    let kept = lab.home.join(".factory/sessions");
    let aside = lab.home.join("aside");
    std::fs::rename(&kept, &aside).unwrap();
    let asked = lab.model.turns().len();
    let turn = lab.prompt(&id, "and now?").await;
    assert_eq!(
        (&turn["status"], &turn["cause"], lab.model.turns().len()),
        (&json!("failed"), &json!("conversation_lost"), asked),
        "{turn}"
    );
    let records = lab.server.records(&id).await;
    let error = of_type(&records, "turn_ended")[1]["error"].as_str().unwrap();
    assert!(
        error.contains(&kept.display().to_string()) && error.contains("put the file back"),
        "{error}"
    );
    std::fs::rename(&aside, &kept).unwrap();
    let turn = lab.prompt(&id, "once more").await;
    assert_eq!(turn["result"], "Answer 2.", "{turn}");
}

#[tokio::test]
async fn droid_that_cannot_reach_its_server_says_so() {
    let mut lab = Lab::new("droid").await;
    let (id, turn) = lab.begin("hello", Value::Null).await;
    assert_eq!(turn["status"], "completed", "{turn}");
    // What answers for Factory's server is gone.
    lab.model = Model::start().await;
    let turn = lab.prompt(&id, "and now?").await;
    assert_eq!(
        (&turn["status"], &turn["cause"]),
        (&json!("failed"), &json!("network")),
        "{turn}"
    );
    assert!(turn["error"].as_str().unwrap().contains("Factory's server"), "{turn}");
}
