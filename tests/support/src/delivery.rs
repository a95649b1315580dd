//! Sessions whose journals are pushed somewhere, and how that is going.

use serde_json::{Value, json};

use super::hostile::{Backend, Judged, judge};
use super::wait::wait_in;
use super::{Server, Wait};

/// The path that tests' `http` sinks push to, when they do not say otherwise.
pub const PATH: &str = "/records";

/// The request's `sinks` for one `http` sink named `backend`.
pub fn to(backend: &Backend) -> Value {
    json!([{ "kind": "http", "name": "backend", "url": backend.url(PATH) }])
}

impl Server {
    /// Creates a session of the `shell` agent with sinks; answers its id.
    pub async fn pushed(&self, script: &str, sinks: Value) -> String {
        self.create(json!({ "agent": "shell", "prompt": script, "sinks": sinks }))
            .await
    }

    /// How the delivery of a session's sink is going.
    pub async fn sink(&self, id: &str, name: &str) -> Value {
        let session = self.session(id).await;
        let sinks = session["sinks"]
            .as_array()
            .unwrap_or_else(|| panic!("no sinks[] in {session}"));
        let found = sinks.iter().find(|sink| sink["name"] == name);
        found.unwrap_or_else(|| panic!("no sink {name} in {session}")).clone()
    }

    /// Waits until it goes as it should.
    pub async fn sink_when(&self, id: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let wait = Wait::with_patience("a sink in another state", self.patience);
        wait_in(wait, async || {
            let sink = self.sink(id, name).await;
            if wanted(&sink) { Ok(sink) } else { Err(sink.to_string()) }
        })
        .await
    }

    /// Waits until all turns of a session are over and all its records are at the backend; fails where they did not
    /// come as promised.
    pub async fn all_arrived(&self, backend: &Backend, path: &str, id: &str) -> Judged {
        self.settled(id).await;
        let mut records = self.records(id).await;
        loop {
            let last = u64::try_from(records.len()).unwrap();
            backend.wait_for_record(path, id, last).await;
            let now = self.records(id).await;
            if now.len() == records.len() {
                break;
            }
            records = now;
        }
        let judged = judge(backend, path);
        judged.assert_all(id, &records);
        judged
    }

    /// Has the configuration read again.
    pub fn reload(&self) {
        super::procs::signal(self.pid(), "HUP");
    }

    /// Replaces `config.toml`, which the server notices by itself.
    pub fn configure(&self, text: &str) {
        let path = self.home().join("config.toml");
        let new = self.home().join("config.toml.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, path).unwrap();
    }
}
