//! A server of the release binary, with a home of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{agent, client};

/// The binary.
pub(crate) const PROMPTD: &str = env!("CARGO_BIN_EXE_promptd");

/// A running server; dropping it ends it and what it started.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    pub(crate) root: PathBuf,
}

impl Server {
    pub(crate) fn start() -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}", std::process::id()));
        let _old = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("home")).unwrap();
        let agent = std::env::current_exe().unwrap();
        let config = format!(
            "[limits]\nrunning = 200\n[agents.bench]\ncommand = [{:?}, {:?}]\nprompt = \"argument\"\n",
            agent.display().to_string(),
            agent::MARK
        );
        std::fs::write(root.join("home/config.toml"), config).unwrap();
        let address = free_address();
        let child = spawn(&root, &address);
        client::wait_healthy(&address, "/healthz");
        Self { child, address, root }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the server, and nothing else.
    pub(crate) fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts another with the same home; does not wait for it.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.root, &self.address);
    }

    /// Creates a session; answers its id.
    pub(crate) fn create(&self, prompt: &str) -> String {
        self.create_with(&request(prompt))
    }

    /// The same with a body of the caller's own.
    pub(crate) fn create_with(&self, body: &str) -> String {
        let answer = client::exchange(&self.address, "POST", "/v1/sessions", body);
        let session: serde_json::Value = serde_json::from_str(&answer).unwrap();
        session["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn delete(&self, session: &str) {
        client::exchange(&self.address, "DELETE", &format!("/v1/sessions/{session}"), "");
    }

    /// The exact bytes that a session's agent wrote.
    pub(crate) fn output(&self, session: &str) -> String {
        let path = format!("/v1/sessions/{session}/output?stream=stdout");
        client::exchange(&self.address, "GET", &path, "")
    }

    pub(crate) fn folder(&self, session: &str) -> PathBuf {
        self.root.join("home/sessions").join(session)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        let _gone = std::fs::remove_dir_all(&self.root);
    }
}

/// The body of a request for a session of the bench's agent.
pub(crate) fn request(prompt: &str) -> String {
    serde_json::json!({ "agent": "bench", "prompt": prompt }).to_string()
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn spawn(root: &Path, address: &str) -> Child {
    let mut command = Command::new(PROMPTD);
    command
        .args(["serve", "--listen", address])
        .arg("--home")
        .arg(root.join("home"));
    command.arg("--workspace").arg(root.join("workspace"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PROMPTD_")) {
        command.env_remove(name);
    }
    // Its memory is measured.
    command.env("PROMPTD_DUMPABLE", "1");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
