//! A laboratory for one real agent: a server, a home and a scripted model of its own, and what each agent needs to find
//! the model. What follows for a new agent stands in one table, [`AGENTS`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::model::{self, Model};
use super::{Server, node, outside, wait_until};

/// Real agents begin slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How one agent is pointed to the scripted model, and told not to try again for minutes.
pub struct Setup {
    pub agent: &'static str,
    /// Its package in `tests/agents/package.json`.
    pub package: &'static str,
    pub env: fn(&Model, &Path) -> Vec<(String, String)>,
    pub args: fn(&Model) -> Vec<String>,
    /// Files in its home, by their paths.
    pub files: fn(&Model) -> Vec<(&'static str, Value)>,
    /// Seconds after which a turn that gets 429 is ended; short where the agent cannot be told to give up itself.
    pub patience: u32,
}

/// All agents whose real programs are run.
pub const AGENTS: [Setup; 8] = [
    Setup {
        agent: "claude",
        package: "@anthropic-ai/claude-code",
        env: |model, _| {
            let mut env = model.claude_env();
            // Else it shows tools of servers only after a search, which the scripted model does not do.
            env.push(("ENABLE_TOOL_SEARCH".to_owned(), "false".to_owned()));
            env
        },
        ..NOTHING
    },
    Setup {
        agent: "codex",
        package: "@openai/codex",
        env: |model, home| model.codex_env(&home.join(".codex")),
        args: Model::codex_args,
        files: |_| vec![(".codex/version.json", json!({}))],
        ..NOTHING
    },
    Setup {
        agent: "gemini",
        package: "@google/gemini-cli",
        env: |model, _| model.gemini_env(),
        files: |_| {
            let mut settings = json_of(model::GEMINI_SETTINGS);
            settings["general"] = json!({"maxAttempts": 1});
            vec![(".gemini/settings.json", settings)]
        },
        ..NOTHING
    },
    Setup {
        agent: "qwen",
        package: "@qwen-code/qwen-code",
        env: |model, _| {
            owned([
                ("OPENAI_API_KEY", "test-key"),
                ("OPENAI_BASE_URL", &format!("{}/v1", model.url())),
                ("OPENAI_MODEL", "scripted"),
            ])
        },
        files: |_| {
            vec![(
                ".qwen/settings.json",
                // As claude's search for tools.
                json!({"model": {"generationConfig": {"maxRetries": 0}}, "tools": {"toolSearch": {"enabled": false}}}),
            )]
        },
        ..NOTHING
    },
    Setup {
        agent: "opencode",
        package: "opencode-linux-x64",
        env: |model, home| {
            let provider = json!({"npm": "@ai-sdk/openai-compatible", "models": {"scripted": {}},
                                  "options": {"baseURL": format!("{}/v1", model.url()), "apiKey": "test-key"}});
            let config = json!({"provider": {"lab": provider}, "model": "lab/scripted", "small_model": "lab/scripted"});
            owned([
                ("OPENCODE_CONFIG_CONTENT", &config.to_string()),
                // Else it reads of all models that there are, at every start, for a third of its time.
                ("OPENCODE_MODELS_PATH", &home.join("models.json").display().to_string()),
            ])
        },
        files: |_| vec![("models.json", json!({}))],
        ..NOTHING
    },
    Setup {
        agent: "copilot",
        package: "@github/copilot-linux-x64",
        env: |model, _| {
            owned([
                ("COPILOT_PROVIDER_BASE_URL", &format!("{}/v1", model.url())),
                ("COPILOT_PROVIDER_TYPE", "openai"),
                // It blacks the key out of all of its output, so it must not be a word.
                ("COPILOT_PROVIDER_API_KEY", "a-scripted-test-key"),
                ("COPILOT_MODEL", "scripted"),
                ("COPILOT_OFFLINE", "true"),
            ])
        },
        ..NOTHING
    },
    Setup {
        agent: "droid",
        package: "@factory/cli-linux-x64",
        // The model answers 404 to what is Factory's own: then droid goes on with the session that it has itself.
        // In a dialog it wants a key also for a model of one's own.
        env: |model, _| {
            owned([
                ("FACTORY_API_BASE_URL", model.url().as_str()),
                ("FACTORY_API_KEY", "fk-test"),
            ])
        },
        args: |_| ["-m", "custom:scripted"].map(str::to_owned).to_vec(),
        files: |model| {
            let lab = json!({"model": "scripted", "baseUrl": format!("{}/v1", model.url()), "apiKey": "test-key",
                             "provider": "generic-chat-completion-api"});
            // A dialog takes no option for the model.
            let defaults = json!({"model": "custom:scripted-0"});
            vec![(
                ".factory/settings.json",
                json!({"customModels": [lab], "sessionDefaultSettings": defaults}),
            )]
        },
        // It tries again without a word, and nothing tells it not to.
        patience: 8,
    },
    Setup {
        agent: "pi",
        package: "@earendil-works/pi-coding-agent",
        args: |_| ["--provider", "lab", "--model", "scripted"].map(str::to_owned).to_vec(),
        files: |model| {
            let lab = json!({"baseUrl": format!("{}/v1", model.url()), "api": "openai-completions", "apiKey": "test-key",
                             "models": [{"id": "scripted"}]});
            vec![
                (".pi/agent/models.json", json!({"providers": {"lab": lab}})),
                (".pi/agent/settings.json", json!({"retry": {"enabled": false}})),
            ]
        },
        ..NOTHING
    },
];

const NOTHING: Setup = Setup {
    agent: "",
    package: "",
    env: |_, _| Vec::new(),
    args: |_| Vec::new(),
    files: |_| Vec::new(),
    patience: 60,
};

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn owned<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec()
}

/// One agent with a server, a home and a model of its own.
pub struct Lab {
    pub setup: &'static Setup,
    pub server: Server,
    pub model: Model,
    pub home: PathBuf,
    args: Vec<String>,
    env: serde_json::Map<String, Value>,
}

impl Lab {
    pub async fn new(agent: &str) -> Self {
        node::install().await;
        let setup = AGENTS.iter().find(|setup| setup.agent == agent).unwrap();
        let model = Model::start().await;
        let home = outside(agent);
        for (path, content) in (setup.files)(&model) {
            let path = home.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content.to_string()).unwrap();
        }
        let path = format!("{}:{}", node::programs().display(), std::env::var("PATH").unwrap());
        let mut server = Server::with()
            .env("PATH", path)
            .env("HOME", home.display().to_string())
            // What node compiled of an agent at one start serves the next.
            .env("NODE_COMPILE_CACHE", node::compile_cache().display().to_string())
            .start()
            .await;
        server.patience = PATIENCE;
        let env = (setup.env)(&model, &home).into_iter();
        Self {
            args: (setup.args)(&model),
            env: env.map(|(name, value)| (name, json!(value))).collect(),
            setup,
            server,
            model,
            home,
        }
    }

    /// What every request for a session has: the agent, and what leads it to the model.
    pub fn base(&self) -> Value {
        json!({ "agent": self.setup.agent, "args": self.args, "env": self.env })
    }

    /// A new session with a first turn; `more` is laid over the request. Answers its id, or why there is none.
    pub async fn accepted(&self, prompt: &str, more: Value) -> Result<String, Value> {
        let mut request = self.base();
        request["prompt"] = prompt.into();
        for (name, value) in more.as_object().into_iter().flatten() {
            request[name] = value.clone();
        }
        let (status, answer) = self.server.send("POST", "/v1/sessions", request).await;
        let id = answer["id"].as_str().filter(|_| status == 201).map(str::to_owned);
        id.ok_or(answer)
    }

    /// The same where it is accepted.
    pub async fn create(&self, prompt: &str, more: Value) -> String {
        self.accepted(prompt, more).await.expect("the session is accepted")
    }

    /// A new session; answers its id and how its first turn ended.
    pub async fn begin(&self, prompt: &str, more: Value) -> (String, Value) {
        let id = self.create(prompt, more).await;
        let turn = self.ended(&id).await;
        (id, turn)
    }

    /// The next turn of a session; answers how it ended.
    pub async fn prompt(&self, id: &str, prompt: &str) -> Value {
        let path = format!("/v1/sessions/{id}/prompts");
        self.server.post(&path, json!({ "prompt": prompt })).await;
        self.ended(id).await
    }

    /// Waits for the session's last turn.
    pub async fn ended(&self, id: &str) -> Value {
        let session = self.server.settled(id).await;
        session["turns"].as_array().unwrap().last().unwrap().clone()
    }

    /// Waits until the agent asks for a permission; nothing when the turn ends before.
    pub async fn question(&self, id: &str) -> Option<Value> {
        let works = |session: &Value| matches!(session["status"].as_str(), Some("queued" | "running"));
        let session = self.server.session_when(id, |session| !works(session)).await;
        session["pending_permissions"].get(0).cloned()
    }

    /// How many seconds of processor time all turns took that have ended.
    pub async fn cpu_seconds(&self) -> f64 {
        let sessions = self.server.get("/v1/sessions?limit=100").await;
        let sessions = sessions["sessions"].as_array().unwrap().iter();
        let turns = sessions.flat_map(|session| session["turns"].as_array().unwrap());
        turns.filter_map(|turn| turn["resources"]["cpu_seconds"].as_f64()).sum()
    }

    /// Interrupts a turn as soon as the model was asked once more than before; answers how it ended.
    pub async fn interrupt(&self, id: &str, asked_before: usize) -> Value {
        let asked = || self.model.turns().len();
        wait_until("a request to the model", || asked() > asked_before).await;
        let path = format!("/v1/sessions/{id}/interrupt");
        self.server.post(&path, Value::Null).await;
        self.ended(id).await
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
