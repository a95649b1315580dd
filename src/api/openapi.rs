//! The `OpenAPI` document, from the handlers' own types. `openapi.json` in the repository is a copy of it.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use utoipa::OpenApi as _;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::Type;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ObjectBuilder, OpenApi, Ref, RefOr, Required, Response};

use crate::api::admin::{configuration, info, metrics};
use crate::api::compat::{acp, bare, execute, sdk};
use crate::api::http::problem::{PROBLEM_JSON, ProblemDetails};
use crate::api::sessions::{artifacts, permissions, resource, turns};
use crate::api::stream::{events, output, page, ws};
use promptd_model::Stream;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "promptd",
        description = "Runs coding agents inside a sandbox for a backend: a prompt goes in, a detached agent runs, every byte comes out. Every answer carries `Promptd-Version`, `Promptd-Epoch` and `Request-Id`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        resource::create, resource::list, resource::show, resource::delete,
        turns::prompt, turns::interrupt, turns::stop, turns::input, permissions::list, permissions::answer,
        events::events, ws::session, output::output, artifacts::artifacts,
        info::healthz, info::readyz, info::info, info::agents, configuration::configure, metrics::metrics, openapi,
        execute::execute, execute::health, bare::root, acp::route::acp,
        sdk::config::configure, sdk::config::show, sdk::ws::ws,
    ),
    components(schemas(ProblemDetails, Stream, page::UpdateEvent)),
    modifiers(&Security, &Problems, &SessionId),
    security(("token" = []), ("e2b" = []), ()),
    tags(
        (name = "sessions", description = "Agents at work"),
        (name = "server", description = "The server itself"),
        (name = "elsewhere", description = "Protocols of other systems, over the same sessions"),
    ),
)]
struct Document;

struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, document: &mut OpenApi) {
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

/// Problems: the content of all refusals, so that handlers name only status and codes.
struct Problems;

impl utoipa::Modify for Problems {
    fn modify(&self, document: &mut OpenApi) {
        let schema = RefOr::from(Ref::from_schema_name("Problem"));
        let content = ContentBuilder::new().schema(Some(schema)).build();
        for (path, operation) in operations(document) {
            let responses = &mut operation.responses.responses;
            if path.starts_with("/v1/") || ["/metrics", "/ws"].contains(&path) {
                responses.insert("default".to_owned(), Response::new("A problem").into());
            }
            for (status, response) in responses {
                let refuses = status.starts_with(['4', '5']) || status == "default";
                if let RefOr::T(response) = response
                    && refuses
                    && response.content.is_empty()
                {
                    response.content.insert(PROBLEM_JSON.to_owned(), content.clone().into());
                }
            }
        }
    }
}

/// The parameter of all paths below a session.
struct SessionId;

impl utoipa::Modify for SessionId {
    fn modify(&self, document: &mut OpenApi) {
        let string = ObjectBuilder::new().schema_type(Type::String);
        let id = ParameterBuilder::new()
            .name("id")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some("The session"))
            .schema(Some(string))
            .build();
        for (path, operation) in operations(document) {
            if path.contains("{id}") {
                operation
                    .parameters
                    .get_or_insert_default()
                    .insert(0, id.clone().into());
            }
        }
    }
}

fn operations(document: &mut OpenApi) -> impl Iterator<Item = (&str, &mut Operation)> {
    document.paths.paths.iter_mut().flat_map(|(path, item)| {
        let methods = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete];
        methods
            .into_iter()
            .flatten()
            .map(|operation| (path.as_str(), operation))
    })
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
pub(crate) async fn openapi() -> impl IntoResponse {
    (
        [(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        document(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// To renew the copy: `PROMPTD_RENEW=1 cargo test --lib openapi`.
    #[test]
    fn openapi_json_is_the_served_document() {
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
    fn every_reference_resolves() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    members.values().for_each(|value| references(value, found));
                }
                Value::Array(values) => values.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document: Value = serde_json::from_str(&document()).unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 50);
        found.retain(|reference| document.pointer(reference.trim_start_matches('#')).is_none());
        assert!(found.is_empty(), "dangling references: {found:?}");
    }
}
