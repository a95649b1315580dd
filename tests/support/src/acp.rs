//! What tests of `/v1/acp` say, and an agent that speaks the protocol itself.

use serde_json::{Value, json};

use super::{Builder, Server, folder, repository};

/// A server that takes the scripted agent for gemini.
pub fn scripted(name: &str) -> Builder {
    let programs = folder(name);
    let agent = repository().join("tests/support/programs/acp_agent.sh");
    std::os::unix::fs::symlink(agent, programs.join("gemini")).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    Server::with().env("PATH", path)
}

/// A request.
pub fn call(id: u32, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// The parameters of `session/prompt`.
pub fn prompt(session: &Value, text: &str) -> Value {
    json!({ "sessionId": session, "prompt": [{ "type": "text", "text": text }] })
}
