//! `PUT /v1/configuration`: tokens and the environment of agents, over the control socket and nowhere else.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};

use crate::api::http::problem::Problem;
use crate::api::http::{body, json};
use crate::api::operations::complete;
use crate::api::state::SharedState;
use crate::runtime;

/// What shall be in force from now on; what is left out stays as it is.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Configure)]
pub(crate) struct Configuration {
    /// The tokens that open the API: each itself, or `sha256:` and its digest in hexadecimal digits. The home keeps
    /// digests only.
    tokens: Option<Vec<String>>,
    /// What agents get in their environment, under what a session's `env` says.
    environment: Option<BTreeMap<String, String>>,
    /// Add to the tokens and variables that there are, instead of replacing them.
    #[serde(default)]
    keep_old: bool,
}

/// What is in force; never a value.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Configured {
    /// How many tokens open the API.
    tokens: usize,
    /// The variables that agents get beyond the server's own environment, by name.
    environment: Vec<String>,
}

/// Sets tokens and the environment of agents, at once and for good. Over the control socket only.
#[utoipa::path(put, path = "/v1/configuration", tag = "server", request_body = Configuration, responses(
    (status = 200, description = "What is in force now", body = Configured),
    (status = 403, description = "Anywhere but on the control socket"),
))]
pub(crate) async fn configure(
    State(api): State<SharedState>,
    request: Request,
) -> Result<axum::Json<Configured>, Problem> {
    let body = body::read(request, api.body_limit(), &api.body_memory).await?;
    let Configuration {
        tokens,
        environment,
        keep_old,
    } = json::parse(&body).map_err(without_values)?;
    let wanted = runtime::Configuration {
        tokens,
        environment,
        keep_old,
    };
    let runtime = std::sync::Arc::clone(&api.runtime);
    let configured = complete(async move { runtime.configure(wanted).await }).await?;
    Ok(axum::Json(Configured {
        tokens: configured.tokens,
        environment: configured.environment,
    }))
}

/// serde quotes the value that it found, and here any value may be a secret.
fn without_values(problem: Problem) -> Problem {
    if problem.code() != "invalid_field" {
        return problem;
    }
    let detail = "tokens is a list of texts, environment an object of names and texts, and keep_old is true or false";
    Problem::bad_request("invalid_field", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_body_is_not_quoted() {
        for body in [
            r#"{"tokens":"s3cret"}"#,
            r#"{"environment":{"KEY":["s3cret"]}}"#,
            r#"{"environment":"s3cret"}"#,
        ] {
            let problem = json::parse::<Configuration>(body.as_bytes())
                .map(|_| ())
                .map_err(without_values);
            let problem = problem.unwrap_err();
            assert_eq!(problem.code(), "invalid_field");
            assert!(!problem.detail().contains("s3cret"), "{}", problem.detail());
        }
    }
}
