//! Agents on the protocol's own Python library, which refuses a file as standard output.

use serde_json::{Value, json};
use support::examples::install_python;
use support::{Server, of_type, repository};

#[tokio::test]
async fn agent_on_the_python_library_gets_a_pipe() {
    let folder = repository().join("tests/clients/python");
    let installed = folder.clone();
    tokio::task::spawn_blocking(move || install_python(&installed))
        .await
        .unwrap();
    let command = json!([folder.join(".venv/bin/python"), folder.join("echo_agent.py")]);
    let agent = |name: &str, more: &str| format!("[agents.{name}]\ncommand = {command}\nstream = 'acp'\n{more}\n");
    let config = agent("found-out", "") + &agent("configured", "stdout = 'pipe'");
    let server = Server::with().config(&config).start().await;
    for (name, outputs) in [("found-out", vec![json!("pipe")]), ("configured", Vec::new())] {
        let id = server.create(json!({ "agent": name, "prompt": "hello" })).await;
        let session = server.settled(&id).await;
        let turn = &session["turns"][0];
        assert_eq!(
            (&turn["status"], &turn["result"], &turn["exit_code"]),
            (&json!("completed"), &json!("You said: hello"), &json!(0)),
            "{session}"
        );
        let records = server.records(&id).await;
        let retries: Vec<Value> = of_type(&records, "retry")
            .iter()
            .map(|retry| retry["stdout"].clone())
            .collect();
        assert_eq!(retries, outputs, "{name}");
    }
}
