//! What a sandbox platform's daemon answers to whoever asks for a sandbox's environment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::Builder;
use super::hostile::{Act, Backend, Reply};

/// A fake of the daemon.
pub struct Envd {
    pub backend: Backend,
    said: Arc<Mutex<Said>>,
}

#[derive(Default)]
struct Said {
    /// `None`: the sandbox was created with `secure: false`.
    token: Option<String>,
    envs: BTreeMap<String, String>,
}

impl Envd {
    /// That of a sandbox with an access token, or of one without.
    pub fn start(token: Option<&str>, envs: &[(&str, &str)]) -> Self {
        let backend = Backend::start();
        let said = Arc::new(Mutex::new(Said::default()));
        let told = Arc::clone(&said);
        backend.script(move |arrival| {
            let (request, said) = (arrival.request, told.lock().unwrap());
            let right = said
                .token
                .as_deref()
                .is_none_or(|token| request.header("x-access-token") == token);
            Act::Answer(match (request.method.as_str(), request.path.as_str(), right) {
                ("GET", "/envs", true) => Reply::ok()
                    .header("content-type", "application/json")
                    .body(json!(said.envs).to_string()),
                ("GET", "/envs", false) => Reply::status(401).body(
                    json!({ "code": 401, "message": "unauthorized access, please provide a valid access token" })
                        .to_string(),
                ),
                _ => Reply::status(404),
            })
        });
        let envd = Self { backend, said };
        envd.says(token, envs);
        envd
    }

    /// From now on another token and other variables.
    pub fn says(&self, token: Option<&str>, envs: &[(&str, &str)]) {
        let envs = envs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        *self.said.lock().unwrap() = Said {
            token: token.map(str::to_owned),
            envs: envs.collect(),
        };
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.backend.look(|log| log.heads)
    }
}

impl Builder {
    /// Lets those in whom this daemon knows.
    pub fn envd(self, envd: &Envd) -> Self {
        self.env("PROMPTD_AUTH", "e2b")
            .env("PROMPTD_E2B_ENVD", envd.backend.origin())
    }
}
