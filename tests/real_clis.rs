//! The real `claude`, `codex` and `gemini`, from npm, take prompts over HTTP against a scripted model on loopback.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by failing")]
#![expect(
    clippy::indexing_slicing,
    reason = "a field that is missing is `null`, and fails the comparison"
)]

use crate::support;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::model::{self, Model};
use support::{Server, eventually, node};

/// One agent with a server, a home and a model of its own.
struct Lab {
    agent: &'static str,
    server: Server,
    model: Model,
    args: Vec<String>,
    env: Vec<(String, String)>,
    home: PathBuf,
}

impl Lab {
    async fn new(agent: &'static str) -> Option<Self> {
        if !tokio::task::spawn_blocking(node::installed).await.unwrap() {
            return None;
        }
        let model = Model::start().await;
        let home = support::folder(agent);
        for folder in [".codex", ".gemini"] {
            std::fs::create_dir(home.join(folder)).unwrap();
        }
        std::fs::write(home.join(".gemini/settings.json"), model::GEMINI_SETTINGS).unwrap();
        let (args, env) = match agent {
            "claude" => (Vec::new(), model.claude_env()),
            "codex" => (model.codex_args(), model.codex_env(&home.join(".codex"))),
            _ => (Vec::new(), model.gemini_env()),
        };
        let path = format!("{}:{}", node::programs().display(), std::env::var("PATH").unwrap());
        let server = Server::with()
            .env("PATH", path)
            .env("HOME", home.display().to_string())
            .start()
            .await;
        Some(Self {
            agent,
            server,
            model,
            args,
            env,
            home,
        })
    }

    /// A new session; answers its id and how its first turn ended.
    async fn begin(&self, prompt: &str) -> (String, Value) {
        let id = self.create(prompt).await;
        let turn = self.ended(&id).await;
        (id, turn)
    }

    async fn create(&self, prompt: &str) -> String {
        let env: serde_json::Map<_, _> = self
            .env
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        self.server
            .create(json!({ "agent": self.agent, "prompt": prompt, "args": self.args, "env": env }))
            .await
    }

    /// The next turn of a session; answers how it ended.
    async fn prompt(&self, id: &str, prompt: &str) -> Value {
        let path = format!("/v1/sessions/{id}/prompts");
        self.server.post(&path, json!({ "prompt": prompt })).await;
        self.ended(id).await
    }

    /// Waits for the session's last turn.
    async fn ended(&self, id: &str) -> Value {
        let session = self.server.settled(id).await;
        session["turns"].as_array().unwrap().last().unwrap().clone()
    }

    /// Interrupts a turn as soon as the model was asked; answers how it ended.
    async fn interrupt(&self, id: &str, asked_before: usize) -> Value {
        eventually("a request to the model", || self.model.turns().len() > asked_before).await;
        self.server
            .post(&format!("/v1/sessions/{id}/interrupt"), Value::Null)
            .await;
        self.ended(id).await
    }

    /// An answer: its stream reaches the caller live and afterwards, and the turn says what it was.
    async fn answers(&self) -> String {
        let id = self.create("hello").await;
        let mut events = self.server.sse(&format!("/v1/sessions/{id}/events"), None).await;
        let (mut live, mut names) = (Vec::new(), Vec::new());
        while let Some(event) = events.next().await {
            if event.event == "stdout" {
                live.push(serde_json::from_str(&event.data).unwrap());
            }
            names.push(event.event);
        }
        assert_eq!(names.last().map(String::as_str), Some("end"));
        let turn = self.ended(&id).await;
        completed(&turn, "Answer 1.");
        assert_eq!(turn["usage"]["input_tokens"], json!(model::INPUT_TOKENS), "{turn}");
        assert_eq!(turn["usage"]["output_tokens"], json!(model::OUTPUT_TOKENS), "{turn}");
        let output = self.server.output(&id, "stdout").await;
        assert_eq!(support::joined(&live, "stdout"), output);
        let text = String::from_utf8(output).unwrap();
        // The stream of gemini holds the answer in pieces.
        assert!(text.contains("Answer "), "{text}");
        let session = self.server.session(&id).await;
        let agents_own = session["agent_session_id"].as_str().unwrap();
        assert!(text.contains(agents_own), "{agents_own} is not in {text}");
        id
    }

    /// A follow-up in the agent's own session, and a tool that writes a file.
    async fn goes_on(&self, id: &str) {
        let first = self.server.session(id).await["agent_session_id"].clone();
        completed(&self.prompt(id, "and now?").await, "Answer 2.");
        let turn = self.prompt(id, "please\nmodel: run printf made > made.txt").await;
        completed(&turn, "Answer 3.");
        let made = std::fs::read_to_string(self.server.workspace().join("made.txt")).unwrap();
        assert_eq!(made, "made");
        assert_eq!(self.server.session(id).await["agent_session_id"], first);
    }

    /// An interrupt ends the turn and nothing else, in a session that has an answer, and in one that has none.
    async fn is_interrupted(&self, id: &str) {
        let asked = self.model.turns().len();
        self.server
            .post(
                &format!("/v1/sessions/{id}/prompts"),
                json!({ "prompt": "model: hang" }),
            )
            .await;
        cancelled(&self.interrupt(id, asked).await);
        completed(&self.prompt(id, "go on").await, "Answer 4.");

        let asked = self.model.turns().len();
        let new = self.create("model: hang").await;
        cancelled(&self.interrupt(&new, asked).await);
        completed(&self.prompt(&new, "go on").await, "Answer 1.");
    }

    /// What the model refuses is a failed turn with its cause.
    async fn fails(&self) {
        let (_, turn) = self.begin("model: status 400").await;
        failed(&turn, "agent_error");
        let (id, turn) = self.begin("model: status 401").await;
        failed(&turn, "auth");
        completed(&self.prompt(&id, "again").await, "Answer 1.");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A failed test leaves it for whoever looks into it.
        if !std::thread::panicking() {
            let _gone = std::fs::remove_dir_all(&self.home);
        }
    }
}

fn completed(turn: &Value, result: &str) {
    assert_eq!(turn["status"], "completed", "{turn}");
    assert_eq!(turn["result"], result, "{turn}");
    assert_eq!(turn["exit_code"], 0, "{turn}");
}

fn cancelled(turn: &Value) {
    assert_eq!(turn["status"], "cancelled", "{turn}");
    assert_eq!(turn["cause"], "interrupted", "{turn}");
}

fn failed(turn: &Value, cause: &str) {
    assert_eq!(turn["status"], "failed", "{turn}");
    assert_eq!(turn["cause"], cause, "{turn}");
}

async fn everything(agent: &'static str) {
    let Some(lab) = Lab::new(agent).await else { return };
    let id = lab.answers().await;
    lab.goes_on(&id).await;
    lab.is_interrupted(&id).await;
    lab.fails().await;
}

#[tokio::test]
async fn claude_works_over_http() {
    everything("claude").await;
}

#[tokio::test]
async fn codex_works_over_http() {
    everything("codex").await;
}

#[tokio::test]
async fn gemini_works_over_http() {
    everything("gemini").await;
}

#[tokio::test]
async fn a_program_that_is_missing_is_named_with_the_command_that_installs_it() {
    let server = Server::with()
        .env("PATH", "/nowhere")
        .env("HOME", "/nowhere")
        .start()
        .await;
    for (agent, install) in [
        ("claude", "claude-code"),
        ("codex", "@openai/codex"),
        ("gemini", "gemini-cli"),
    ] {
        let request = json!({ "agent": agent, "prompt": "hello" });
        let (status, problem) = server.send("POST", "/v1/sessions", request).await;
        assert_eq!((status, &problem["code"]), (422, &json!("agent_not_installed")));
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(install) && detail.contains("shell"), "{detail}");
    }
}
