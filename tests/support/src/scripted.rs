//! An agent with a dialog that does what its prompt says; see `programs/scripted_agent.rs` for the steps.

use serde_json::{Value, json};

use super::{Builder, Server, wait_until};

/// The agent under different names, with its arguments.
const AGENTS: [(&str, &[&str]); 8] = [
    ("scripted", &[]),
    ("forgetful", &["forgets"]),
    ("lost", &["lost"]),
    ("noisy", &["noisy"]),
    ("locked", &["login"]),
    ("text-only", &["text-only"]),
    ("silent-at-start", &["initialize"]),
    ("silent-at-session", &["session/new"]),
];

/// The path of its program.
pub fn program() -> &'static str {
    env!("SCRIPTED_AGENT")
}

/// The configuration of servers that have the agent.
fn config(more: &str) -> String {
    let program = program();
    let agents = AGENTS.map(|(name, arguments)| {
        let command = [&[program], arguments].concat();
        format!("[agents.{name}]\ncommand = {command:?}\nstream = \"acp\"\n")
    });
    format!("{more}\n{}", agents.concat())
}

impl Builder {
    /// With the scripted agent.
    pub fn scripted(self) -> Self {
        self.scripted_and("")
    }

    /// With the scripted agent, and more configuration.
    pub fn scripted_and(self, more: &str) -> Self {
        self.config(&config(more))
    }
}

impl Server {
    /// Has the scripted agent do something, and ask its caller; with more fields of the request.
    pub async fn act(&self, steps: &str, more: Value) -> String {
        let mut request = json!({ "agent": "scripted", "permission": "ask", "prompt": steps });
        for (name, value) in more.as_object().into_iter().flatten() {
            request[name] = value.clone();
        }
        self.create(request).await
    }

    /// Waits until the agent asks; answers the question.
    pub async fn question(&self, id: &str) -> Value {
        let waits = |session: &Value| session["status"] == "waiting";
        let session = self.session_when(id, waits).await;
        session["pending_permissions"][0].clone()
    }

    /// Answers a question.
    pub async fn reply(&self, id: &str, question: &Value, option: &str) -> (u16, Value) {
        let question = question["id"].as_str().unwrap();
        let path = format!("/v1/sessions/{id}/permissions/{question}");
        self.send("POST", &path, json!({ "option": option })).await
    }

    /// All that scripted agents were told, a line each, where they worked in this folder.
    pub fn heard(&self, cwd: &str) -> Vec<String> {
        let path = self.workspace().join(cwd).join("heard");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The same, in short: methods of requests, chosen options of answers.
    pub fn heard_in_short(&self, cwd: &str) -> Vec<String> {
        let short = |line: String| {
            let Ok(message) = serde_json::from_str::<Value>(&line) else {
                return line;
            };
            let outcome = &message["result"]["outcome"];
            let told = [&message["method"], &outcome["optionId"], &outcome["outcome"]];
            let told = told.into_iter().find_map(Value::as_str);
            told.map_or(line, str::to_owned)
        };
        self.heard(cwd).into_iter().map(short).collect()
    }

    /// Waits until the agent has heard something.
    pub async fn hears(&self, cwd: &str, what: &str) {
        wait_until(&format!("{what:?} in what the agent received"), || {
            let received = self.heard_in_short(cwd);
            if received.iter().any(|line| line == what) {
                Ok(())
            } else {
                Err(received)
            }
        })
        .await;
    }
}
