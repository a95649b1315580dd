//! Which values are secret: those of the server, and those of a session's request.

use crate::runtime::access::token::Token;
use crate::runtime::access::variables::Variables;
use crate::runtime::config;
use crate::runtime::delivery::sinks;
use crate::runtime::settings::Settings;
use promptd_mask::Secrets;
use promptd_model::{McpServer, SessionRequest, SinkRequest};
use promptd_sinks::Sink;

/// Adds the secrets of a session's request, and of its sinks.
pub(crate) fn add_request(
    request: &SessionRequest,
    own_sinks: &[SinkRequest],
    variables: &Variables,
    secrets: &mut Secrets,
) {
    for (name, value) in &request.env {
        secrets.add_env(name, value);
    }
    add_mcp_servers(request.mcp_servers.values(), secrets);
    if let Some(token) = variables.repository_token(request) {
        secrets.add(&token);
    }
    if let Some(variable) = request.repo.as_ref().and_then(|repo| repo.token_env.as_ref()) {
        variables.add_secret(variable, secrets);
    }
    add_sinks(own_sinks, secrets);
}

/// Adds the keys of a session's own sinks.
pub(crate) fn add_sinks(own_sinks: &[SinkRequest], secrets: &mut Secrets) {
    for sink in sinks::requested(own_sinks).unwrap_or_default() {
        add_sink(&sink, secrets);
    }
}

/// Adds what MCP servers get: whatever its name, a variable or header for one server is there to authenticate us.
pub(crate) fn add_mcp_servers<'a>(servers: impl IntoIterator<Item = &'a McpServer>, secrets: &mut Secrets) {
    for server in servers {
        for value in server.env.values() {
            secrets.add_value(value);
        }
        for (name, value) in &server.headers {
            secrets.add_header(name, value);
        }
        secrets.add_arguments(&server.args);
        if let Some(url) = &server.url {
            secrets.add_server_url(url);
        }
    }
}

fn add_sink(sink: &Sink, secrets: &mut Secrets) {
    for secret in sink.secrets() {
        secrets.add(secret);
    }
}

/// The server's own secrets. Every agent inherits its environment.
pub(crate) fn of_server<'a>(
    settings: &Settings,
    tokens: impl IntoIterator<Item = &'a Token>,
    variables: &Variables,
) -> Secrets {
    let mut secrets = Secrets::default();
    for (name, value) in config::environment() {
        secrets.add_env(&name, &value);
    }
    add_configuration(settings, &mut secrets);
    variables.add_secrets(&mut secrets);
    for token in tokens.into_iter().filter_map(Token::secret) {
        secrets.add(token);
    }
    secrets
}

/// Adds the secrets of `config.toml`.
pub(crate) fn add_configuration(settings: &Settings, secrets: &mut Secrets) {
    for (name, value) in settings.agents.values().flat_map(|agent| &agent.env) {
        secrets.add_env(name, value);
    }
    add_mcp_servers(settings.mcp_servers.values(), secrets);
    for sink in sinks::global(settings) {
        add_sink(&sink, secrets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use promptd_mask::Masker;

    #[test]
    fn what_an_mcp_server_gets_is_secret() {
        let words = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
        let server = McpServer {
            env: words("ANYTHING", "in-the-env-1"),
            headers: words("X-Any", "in-a-header-2"),
            url: Some("https://user:in-the-url-3@host/mcp?any=in-the-query-4".to_owned()),
            args: vec!["--token".to_owned(), "in-an-argument-5".to_owned()],
            ..McpServer::default()
        };
        let request = SessionRequest {
            mcp_servers: [("lab".to_owned(), server)].into(),
            ..SessionRequest::default()
        };
        let mut secrets = Secrets::default();
        add_request(&request, &[], &Variables::default(), &mut secrets);
        let masker = Masker::new(&secrets).unwrap();
        assert_eq!(
            masker.text("in-the-env-1 in-a-header-2 in-the-url-3 in-the-query-4 in-an-argument-5 host"),
            "*** *** *** *** *** host"
        );
    }
}
