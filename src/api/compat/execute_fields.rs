//! The fields of `POST /execute` beyond its own: those of `POST /v1/sessions` are taken, all others are named in the answer.

use serde_json::{Map, Value};

use crate::api::http::json::parse;
use crate::api::http::problem::Problem;
use crate::runtime::Session;
use promptd_model::SessionRequest;

/// The fields that `execute` reads itself.
const OWN: [&str; 6] = ["agentId", "sessionId", "prompt", "env", "agent", "storage"];

/// Fields of a session for which `execute` has its own.
const NOT_TAKEN: [&str; 4] = ["id", "prompt", "env", "agent"];

/// The most names that an answer repeats, and the longest.
const MAX_NAMES: usize = 50;
const MAX_NAME: usize = 64;

/// All other fields of a request.
#[derive(Debug, Default)]
pub(super) struct OtherFields {
    /// What they ask of a new session; its `agent` and `env` are added by `execute`.
    pub(super) request: SessionRequest,
    /// What no session has.
    pub(super) unknown: Vec<String>,
    /// The names of the others, as the caller wrote them.
    taken: Vec<String>,
}

impl OtherFields {
    /// Finds them in the body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let fields: Map<String, Value> = parse(body)?;
        let (mut known, mut unknown, mut taken) = (Map::new(), Vec::new(), Vec::new());
        for (name, value) in fields {
            // Null is as good as absent.
            if value.is_null() || OWN.contains(&name.as_str()) {
                continue;
            }
            let field = in_snake_case(&name);
            if is_of_a_session(&field) {
                known.insert(field, value);
                taken.push(name);
            } else {
                unknown.push(name);
            }
        }
        let request =
            parse(Value::Object(known).to_string().as_bytes()).map_err(|problem| named_as(&taken, problem))?;
        let shorten = |names: Vec<String>| names.into_iter().take(MAX_NAMES).map(shorten).collect();
        Ok(Self {
            request,
            unknown: shorten(unknown),
            taken,
        })
    }

    /// Those that change nothing in a session which was created before: it has other values, or none.
    pub(super) fn without_effect_in(self, session: &Session, agent_id: &str) -> Vec<String> {
        let mut own = session.request().clone();
        let own_agent_id = own.metadata.remove("agentId");
        let sinks = session.own_sinks.get();
        let has_sinks = self.request.sinks.iter().all(|sink| sinks.contains(sink));
        let (own, asked) = (fields_of(&own), fields_of(&self.request));
        let differs = |name: &str| match in_snake_case(name).as_str() {
            "sinks" => !has_sinks,
            field => own.get(field) != asked.get(field),
        };
        let mut ignored: Vec<String> = self
            .taken
            .into_iter()
            .filter(|name| differs(name))
            .map(shorten)
            .collect();
        if self
            .request
            .agent
            .as_deref()
            .is_some_and(|agent| agent != session.agent())
        {
            ignored.push("agent".to_owned());
        }
        if !self.request.env.is_empty() && differs("env") {
            ignored.push("env".to_owned());
        }
        if own_agent_id.is_none_or(|own| own != agent_id) {
            ignored.push("agentId".to_owned());
        }
        ignored.extend(self.unknown);
        ignored
    }
}

/// The problem with the name that the caller wrote.
fn named_as(taken: &[String], problem: Problem) -> Problem {
    let field = problem.detail().split([':', '.', '[']).next().unwrap_or_default();
    let Some(name) = taken.iter().find(|name| in_snake_case(name) == field) else {
        return problem;
    };
    let detail = problem.detail().replacen(field, name, 1);
    Problem::bad_request(problem.code(), detail)
}

/// Whether a session can be asked for it.
fn is_of_a_session(field: &str) -> bool {
    let alone = Value::Object(Map::from_iter([(field.to_owned(), Value::Null)]));
    let parsed = parse::<SessionRequest>(alone.to_string().as_bytes());
    // Null is a wrong value for some, and an unknown name is another mistake.
    !NOT_TAKEN.contains(&field) && parsed.err().is_none_or(|problem| problem.code() != "unknown_field")
}

fn fields_of(request: &SessionRequest) -> Map<String, Value> {
    match serde_json::to_value(request) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    }
}

/// `idleTimeout` as sessions write it.
fn in_snake_case(name: &str) -> String {
    let mut field = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            field.push('_');
        }
        field.push(letter.to_ascii_lowercase());
    }
    field
}

fn shorten(name: String) -> String {
    name.chars().take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_session_are_taken_and_others_named() {
        let body = br#"{"agentId":"a","sessionId":"s","prompt":"p","env":{},"cwd":"sub","idleTimeout":5,"max_turns":3,
            "callback":"x","id":"other","model":null,"metadata":{"job":1}}"#;
        let fields = OtherFields::parse(body).unwrap();
        assert_eq!(fields.unknown, ["callback", "id"]);
        let request = fields.request;
        assert_eq!((request.cwd.as_deref(), request.idle_timeout), (Some("sub"), Some(5.0)));
        assert_eq!((request.max_turns, request.id), (Some(3), None));
        assert_eq!(request.metadata["job"], 1);
        let wrong = OtherFields::parse(br#"{"timeout":"soon"}"#).unwrap_err();
        assert!(wrong.detail().starts_with("timeout: "), "{}", wrong.detail());
        for (body, field) in [
            (r#"{"idleTimeout":"soon"}"#, "idleTimeout: "),
            (r#"{"idle_timeout":[]}"#, "idle_timeout: "),
            (r#"{"mcpServers":7}"#, "mcpServers: "),
            (r#"{"retry":{"max":"x"}}"#, "retry.max: "),
        ] {
            let wrong = OtherFields::parse(body.as_bytes()).unwrap_err();
            assert!(wrong.detail().starts_with(field), "{}", wrong.detail());
        }
    }
}
