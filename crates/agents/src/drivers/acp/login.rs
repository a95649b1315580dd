//! Logging in where no person is needed: with keys that are in the agent's environment already.
//!
//! Only an agent that demands it is asked to: others are logged in, and would change that.

use agent_client_protocol_schema::v1::RequestId;
use serde::Deserialize;
use serde_json::Value;

use crate::formats::acp::wire::{AUTH_REQUIRED, AUTHENTICATE, SESSION};
use crate::output::lines::json_rpc::{self, Message};
use crate::output::lines::lenient::default_on_error;
use crate::output::tools::tool::str_at;

/// Words for a key that a program reads, in a method's id, name or description.
const KEY_WORDS: [&str; 4] = ["api key", "api-key", "api_key", "apikey"];

/// The methods that an agent offers for logging in.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// The ids of those that need no person, and were not tried.
    untried: Vec<String>,
    /// The id of the one that is being tried.
    tried: String,
    /// The names of those that a person has to do.
    by_person: Vec<String>,
    /// Our request for the session, which is made again after a login.
    session_request: (&'static str, Value),
}

/// What comes next in a login.
#[derive(Debug, PartialEq)]
pub(super) enum LoginStep {
    /// Log in with the method of this id.
    Authenticate(String),
    /// The agent may begin a session now: request it again.
    RequestSession(&'static str, Value),
    /// It cannot be logged in.
    Fail(String),
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Offer {
    #[serde(deserialize_with = "default_on_error")]
    auth_methods: Vec<Value>,
}

impl Login {
    /// The methods in the response to `initialize`.
    pub(super) fn offered(result: &str) -> Self {
        let offer: Offer = serde_json::from_str(result).unwrap_or_default();
        let (alone, by_person): (Vec<_>, Vec<_>) =
            offer.auth_methods.iter().partition(|method| needs_no_person(method));
        let texts = |methods: Vec<&Value>, member| {
            let texts = methods.into_iter().map(|method| str_at(method, member).to_owned());
            texts.filter(|text| !text.is_empty()).collect()
        };
        Self {
            untried: texts(alone, "id"),
            by_person: texts(by_person, "name"),
            ..Self::default()
        }
    }

    pub(super) fn set_session_request(&mut self, method: &'static str, params: &Value) {
        self.session_request = (method, params.clone());
    }

    /// What to do about a line of the agent; `None` if it has nothing to do with a login.
    pub(super) fn step(&mut self, line: &[u8]) -> Option<LoginStep> {
        let refusal = match json_rpc::parse(line)? {
            Message::Error { id, error } if id == RequestId::Number(SESSION) && error.code == AUTH_REQUIRED => {
                format!("the agent refused to begin a session: {}", error.text())
            }
            Message::Error { id, error } if id == RequestId::Number(AUTHENTICATE) => {
                format!("the agent refused to log in with {:?}: {}", self.tried, error.text())
            }
            Message::Result { id, .. } if id == RequestId::Number(AUTHENTICATE) => {
                let (method, params) = self.session_request.clone();
                return Some(LoginStep::RequestSession(method, params));
            }
            _ => return None,
        };
        if self.untried.is_empty() && self.tried.is_empty() && self.by_person.is_empty() {
            // Nothing is offered: the observer reports the refusal.
            return None;
        }
        if self.untried.is_empty() {
            return Some(LoginStep::Fail(format!("{refusal}{}", self.hint())));
        }
        self.tried = self.untried.remove(0);
        Some(LoginStep::Authenticate(self.tried.clone()))
    }

    /// What a person can do, as the end of an error.
    fn hint(&self) -> String {
        if self.by_person.is_empty() {
            return String::new();
        }
        format!(
            "; log in with the agent's own command first, or put its key into `env` (it offers: {})",
            self.by_person.join(", ")
        )
    }
}

/// Whether a program can log in this way. The standard's default type says only that the agent does it; it may open a browser.
fn needs_no_person(method: &Value) -> bool {
    let meta = &method["_meta"];
    match str_at(method, "type") {
        "env_var" => true,
        "" | "agent" if str_at(meta, "type") != "terminal" && meta["terminal-auth"].is_null() => {
            let texts = ["id", "name", "description"].map(|member| str_at(method, member));
            texts.into_iter().any(names_a_key)
        }
        _ => false,
    }
}

fn names_a_key(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let is_variable = |word: &str| {
        let is_upper = word.bytes().all(|byte| !byte.is_ascii_lowercase());
        is_upper && (word.ends_with("_KEY") || word.ends_with("_TOKEN"))
    };
    KEY_WORDS.iter().any(|word| lower.contains(word)) || words.any(is_variable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn methods_with_keys_need_no_person() {
        for method in [
            json!({ "id": "a", "name": "A", "type": "env_var", "vars": [{ "name": "A_KEY" }] }),
            json!({ "id": "gemini-api-key", "name": "Use Gemini" }),
            json!({ "id": "openai", "name": "Use OpenAI API key", "type": "agent" }),
            json!({ "id": "a", "name": "A", "description": "Requires setting MISTRAL_API_KEY." }),
            json!({ "id": "a", "name": "A", "description": "with $GITHUB_TOKEN" }),
        ] {
            assert!(needs_no_person(&method), "{method}");
        }
        for method in [
            json!({ "id": "oauth-personal", "name": "Log in with Google" }),
            json!({ "id": "a", "name": "A", "type": "terminal", "description": "asks for your API key" }),
            json!({ "id": "a", "name": "Use OpenAI API key", "_meta": { "type": "terminal" } }),
            json!({ "id": "a", "name": "API key", "_meta": { "terminal-auth": { "command": "x" } } }),
            json!({ "id": "a", "name": "A", "type": "of_tomorrow", "description": "API key" }),
            json!({ "id": "a", "name": "TOKEN" }),
            json!("not an object"),
        ] {
            assert!(!needs_no_person(&method), "{method}");
        }
    }

    #[test]
    fn each_method_is_tried_once_and_the_session_requested_again() {
        let mut login = Login::offered(
            r#"{"authMethods":[{"id":"web","name":"Web"},{"id":"x-api-key","name":"X"},{"id":"y","type":"env_var","name":"Y"}]}"#,
        );
        login.set_session_request("session/new", &json!({ "cwd": "/" }));
        let refuses = |id: i64, code: i64| {
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": "no" } }).to_string()
        };
        let allows = json!({ "jsonrpc": "2.0", "id": AUTHENTICATE, "result": {} }).to_string();
        let mut step = |line: &str| login.step(line.as_bytes());
        assert_eq!(step(&refuses(SESSION, -32603)), None, "something else is wrong");
        let tries = |id: &str| Some(LoginStep::Authenticate(id.to_owned()));
        assert_eq!(step(&refuses(SESSION, AUTH_REQUIRED)), tries("x-api-key"));
        assert_eq!(step(&refuses(AUTHENTICATE, -1)), tries("y"));
        let again = LoginStep::RequestSession("session/new", json!({ "cwd": "/" }));
        assert_eq!(step(&allows), Some(again));
        let Some(LoginStep::Fail(error)) = step(&refuses(SESSION, AUTH_REQUIRED)) else {
            panic!("there is nothing more to try")
        };
        assert!(
            error.contains("begin a session: no") && error.contains("(it offers: Web)"),
            "{error}"
        );
        for nothing in ["{}", "[]", r#"{"authMethods":null}"#] {
            let mut login = Login::offered(nothing);
            assert_eq!(login.step(refuses(SESSION, AUTH_REQUIRED).as_bytes()), None);
        }
    }
}
