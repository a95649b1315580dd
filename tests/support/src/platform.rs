//! What a sandbox platform tells its sandboxes: a metadata service, an events host and files.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::Builder;
use super::folder;
use super::hostile::{Act, Backend, Reply};

/// A fake of the platform; what it says can be changed at any time.
pub struct Platform {
    pub metadata: Backend,
    pub events: Backend,
    pub folder: PathBuf,
    said: Arc<Mutex<Said>>,
}

#[derive(Default)]
struct Said {
    metadata: Option<String>,
    events: Option<String>,
    /// So many requests to the metadata service get no answer.
    unanswered: usize,
}

impl Platform {
    /// One that knows nothing yet.
    pub fn start() -> Self {
        let said = Arc::new(Mutex::new(Said::default()));
        let (metadata, events) = (Backend::start(), Backend::start());
        let told = Arc::clone(&said);
        metadata.script(move |arrival| {
            let request = arrival.request;
            let mut told = told.lock().unwrap();
            if told.unanswered > 0 {
                told.unanswered -= 1;
                return Act::Hang;
            }
            let id = told.metadata.clone();
            Act::Answer(match (request.method.as_str(), request.path.as_str(), id) {
                ("PUT", "/latest/api/token", _) if request.header("x-metadata-token-ttl-seconds") == "60" => {
                    Reply::ok().body("a-token")
                }
                ("GET", "/", Some(id))
                    if request.header("x-metadata-token") == "a-token"
                        && request.header("accept") == "application/json" =>
                {
                    let known =
                        json!({ "instanceID": id, "envID": "a-template", "address": "", "accessTokenHash": "" });
                    Reply::ok().body(known.to_string())
                }
                _ => Reply::status(404),
            })
        });
        let told = Arc::clone(&said);
        events.script(move |arrival| {
            let id = told.lock().unwrap().events.clone();
            Act::Answer(match (arrival.request.path.as_str(), id) {
                ("/me", Some(id)) => Reply::ok().body(json!({ "sandboxID": id }).to_string()),
                _ => Reply::status(404),
            })
        });
        Self {
            metadata,
            events,
            folder: folder("platform"),
            said,
        }
    }

    /// The metadata service knows the sandbox by this id; `None`: it does not know it.
    pub fn metadata_says(&self, id: Option<&str>) {
        self.said.lock().unwrap().metadata = id.map(str::to_owned);
    }

    /// The metadata service answers nothing to the next request.
    pub fn metadata_misses_one(&self) {
        self.said.lock().unwrap().unanswered = 1;
    }

    pub fn events_say(&self, id: Option<&str>) {
        self.said.lock().unwrap().events = id.map(str::to_owned);
    }

    /// How often anybody has asked anything.
    pub fn asked(&self) -> usize {
        self.metadata.look(|log| log.heads) + self.events.look(|log| log.heads)
    }
}

impl Builder {
    /// Tells the server where the platform is.
    pub fn platform(self, platform: &Platform) -> Self {
        let (metadata, events) = (platform.metadata.origin(), platform.events.origin());
        self.env("E2B_SANDBOX", "true")
            .env("PROMPTD_E2B_METADATA", metadata)
            .env("PROMPTD_E2B_EVENTS", events)
            .env("PROMPTD_E2B_FOLDER", platform.folder.display().to_string())
    }
}
