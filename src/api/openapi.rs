//! The `OpenAPI` document, from the handlers' own types. `openapi.json` in the repository is a copy of it.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use utoipa::OpenApi as _;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};

use super::admin::{configuration, info, metrics};
use super::compat::{acp, bare, execute, sdk};
use super::sessions::{artifacts, lifecycle, permissions, turns};
use super::stream::{events, output, ws};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "promptd",
        description = "Runs coding agents inside a sandbox for a backend: a prompt goes in, a detached agent runs, every byte comes out. Every answer carries `Promptd-Version`, `Promptd-Epoch` and `Request-Id`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        lifecycle::create, lifecycle::list, lifecycle::show, lifecycle::delete,
        turns::prompt, turns::interrupt, turns::stop, turns::input, permissions::list, permissions::answer,
        events::events, ws::session, output::output, artifacts::artifacts,
        info::healthz, info::readyz, info::info, info::agents, configuration::configure, metrics::metrics, openapi,
        execute::execute, execute::health, bare::root, acp::acp,
        sdk::config::configure, sdk::config::show, sdk::connection::ws,
    ),
    components(schemas(ProblemDetails, EventPage, UpdateEvent)),
    modifiers(&Security),
    security(("token" = []), ("e2b" = []), ()),
    tags(
        (name = "sessions", description = "Agents at work"),
        (name = "server", description = "The server itself"),
        (name = "elsewhere", description = "Shapes of other systems, over the same sessions"),
    ),
)]
struct Document;

/// A refusal or failure, as RFC 9457 words it.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemDetails {
    /// `urn:promptd:problem:` and the code.
    r#type: String,
    /// The code in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What was wrong, with the value and what would be right.
    detail: String,
    /// Stable; what programs may branch on.
    code: String,
    /// The `Request-Id` of the answer.
    request_id: String,
}

/// What an agent says, in a line of `view=updates`. Every other record stands there as the journal has it.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub(crate) struct UpdateEvent {
    /// The record that it comes from; several lines can come from one.
    seq: u64,
    /// When that was written.
    time: String,
    /// The turn.
    turn: u32,
    /// Which of its record's updates it is, from 0; absent where there is only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    /// ACP's `SessionUpdate` (<https://agentclientprotocol.com/protocol/schema#sessionupdate>), told apart by
    /// `sessionUpdate`: `user_message_chunk`, `agent_message_chunk`, `agent_thought_chunk`, `tool_call`,
    /// `tool_call_update`, `plan`, `usage_update`; or `_raw`, what has no such word: `stream`, `line` or `base64`, and
    /// `eol`, false where the line goes on.
    #[schema(value_type = Object)]
    update: serde_json::Value,
}

/// A page of the journal.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub(crate) struct EventPage {
    /// Records, as the journal has them; with `view=updates` among them `UpdateEvent`s.
    #[schema(value_type = Vec<Object>)]
    events: Vec<serde_json::Value>,
    /// The `after` of the next page; what comes from one record is never parted.
    next: u64,
}

struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "`PROMPTD_TOKEN`, a line of `$PROMPTD_HOME/token`, or what `promptd configure` set",
            ))
            .build();
        let platform = ApiKeyValue::with_description(
            "X-Access-Token",
            "With `auth = \"e2b\"`: the sandbox's own token, which the platform's SDK has",
        );
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
        components.add_security_scheme("e2b", SecurityScheme::ApiKey(ApiKey::Header(platform)));
    }
}

/// The document as text, ending with a newline.
pub fn document() -> String {
    // The document holds nothing that JSON cannot say; if it did, the test below would fail.
    Document::openapi()
        .to_pretty_json()
        .map(|text| text + "\n")
        .unwrap_or_default()
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "server", responses((status = 200, description = "This document", body = Object)))]
pub(crate) async fn openapi() -> Response {
    (
        [(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        document(),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To renew the copy: `PROMPTD_RENEW=1 cargo test --lib openapi`.
    #[test]
    fn the_repositorys_copy_is_the_served_document() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        if std::env::var_os("PROMPTD_RENEW").is_some() {
            std::fs::write(path, document()).unwrap();
        }
        let copy = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            copy == document(),
            "openapi.json is not what the server serves; renew it with PROMPTD_RENEW=1 cargo test --lib openapi"
        );
    }

    #[test]
    fn every_route_is_described_and_every_description_has_a_route() {
        let document: serde_json::Value = serde_json::from_str(&document()).unwrap();
        let described = document["paths"].as_object().unwrap();
        let mut described: Vec<&str> = described.keys().map(String::as_str).collect();
        let mut routed: Vec<&str> = super::super::ROUTES.to_vec();
        described.sort_unstable();
        routed.sort_unstable();
        assert_eq!(described, routed);
    }
}
