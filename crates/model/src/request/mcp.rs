//! MCP servers (Model Context Protocol) that a caller configures for an agent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::path::CallerPath;

/// Maximum length of a server's name. Agents build tool names from it, and models accept 64 characters for those.
const MAX_NAME: usize = 64;

/// An MCP server for the agent (Model Context Protocol), with the fields that agents' `mcp.json` files have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct McpServer {
    /// `stdio` (when absent, with `command`), `http` (when absent, with `url`) or `sse`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub transport: Option<McpTransport>,
    /// The program of a `stdio` server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Its environment; values are secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The URL of an `http` or `sse` server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// HTTP headers for it; values are secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// The transport of an MCP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum McpTransport {
    /// Over a child process's standard streams.
    Stdio,
    /// Streamable HTTP.
    Http,
    /// HTTP with server-sent events, the older transport.
    Sse,
}

/// An MCP server that no agent can use. Contains no value that may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the MCP server {name:?} cannot be used: {hint}")]
pub struct InvalidMcpServer {
    /// The server's name, truncated if it is too long.
    pub name: String,
    /// How to correct it.
    pub hint: String,
}

impl McpServer {
    /// The transport: as given, or from the other fields.
    #[must_use]
    pub fn transport(&self) -> McpTransport {
        match (self.transport, &self.url) {
            (Some(transport), _) => transport,
            (None, Some(_)) => McpTransport::Http,
            (None, None) => McpTransport::Stdio,
        }
    }

    /// Checks all servers.
    ///
    /// # Errors
    /// Returns the first server that no agent can use.
    pub fn check_all(servers: &BTreeMap<String, Self>) -> Result<(), InvalidMcpServer> {
        let invalid = servers
            .iter()
            .find_map(|(name, server)| Some((name, name_problem(name).or_else(|| server.problem())?)));
        invalid.map_or(Ok(()), |(name, hint)| {
            let name = name.chars().take(MAX_NAME).collect();
            Err(InvalidMcpServer { name, hint })
        })
    }

    fn problem(&self) -> Option<String> {
        let hint = match (&self.command, &self.url, self.transport()) {
            (Some(_), Some(_), _) => "it has `command` and `url`; give one of them",
            (None, None, McpTransport::Stdio) => "give `command` for a program, or `url` for a server elsewhere",
            (None, _, McpTransport::Stdio) => "`type` is \"stdio\", which needs `command` and no `url`",
            (_, None, McpTransport::Http | McpTransport::Sse) => {
                "a `type` of \"http\" or \"sse\" needs `url`, not `command`"
            }
            (Some(command), None, McpTransport::Stdio) if command.is_empty() => "`command` is empty; name a program",
            (Some(_), None, McpTransport::Stdio) if !self.headers.is_empty() => "`headers` are for a `url`; use `env`",
            (None, Some(_), _) if !self.args.is_empty() => "`args` are for a `command`",
            (None, Some(_), _) if !self.env.is_empty() => "`env` is for a `command`; use `headers`",
            (None, Some(url), _) if !is_http_url(url) => "`url` has to begin with http:// or https:// and a host",
            _ => return self.text_problem(),
        };
        Some(hint.to_owned())
    }

    /// Finds text that cannot be passed to a process or in an HTTP request.
    fn text_problem(&self) -> Option<String> {
        if let Some(hint) = self.command.as_deref().and_then(|path| CallerPath::parse(path).err()) {
            return Some(format!("`command`: {hint}"));
        }
        let mut words = self.command.iter().chain(&self.args).chain(self.env.values());
        if words.any(|word| word.contains('\0')) {
            return Some("a NUL is in `command`, `args` or `env`, which no program can be started with".to_owned());
        }
        if let Some(name) = self.env.keys().find(|name| !is_variable(name)) {
            return Some(format!(
                "the variable {name:?} in `env` needs a name of letters, digits and _ that does not begin with a digit \
                 or with PROMPTD_"
            ));
        }
        let name = |(name, value): &(&String, &String)| !is_header(name) || value.chars().any(char::is_control);
        let (name, _) = self.headers.iter().find(name)?;
        Some(format!(
            "the header {name:?} has a name or a value that HTTP does not take; it is one line of text"
        ))
    }
}

fn name_problem(name: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let valid = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed);
    (!valid).then(|| format!("a name has 1 to {MAX_NAME} of A-Z, a-z, 0-9, _ and -"))
}

fn is_http_url(url: &str) -> bool {
    let rest = url.split_once("://").filter(|(scheme, _)| {
        let scheme = scheme.to_ascii_lowercase();
        scheme == "http" || scheme == "https"
    });
    rest.is_some_and(|(_, rest)| !rest.is_empty() && !rest.starts_with(['/', '?', '#']))
        && !url.contains(|letter: char| letter.is_whitespace() || letter.is_control())
}

/// Whether a shell can export the name.
fn is_variable(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(letter)
        && name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
        && !name.starts_with("PROMPTD_")
}

/// Whether the name is a token as defined by RFC 9110, section 5.6.2.
fn is_header(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(name: &str, server: &str) -> Option<String> {
        let server: McpServer = serde_json::from_str(server).unwrap();
        let servers = BTreeMap::from([(name.to_owned(), server)]);
        McpServer::check_all(&servers).err().map(|invalid| invalid.hint)
    }

    #[test]
    fn command_or_url_is_enough() {
        for right in [
            r#"{"command":"npx","args":["-y","x"],"env":{"TOKEN":"a\nb"}}"#,
            r#"{"type":"stdio","command":"./server"}"#,
            r#"{"url":"https://host/mcp?a=b","headers":{"Authorization":"Bearer x"}}"#,
            r#"{"type":"sse","url":"HTTP://[::1]:80/"}"#,
        ] {
            assert_eq!(hint("docs-2_x", right), None, "{right}");
        }
    }

    #[test]
    fn invalid_server_is_refused_with_a_hint() {
        for (wrong, says) in [
            (r#"{"command":"a","url":"http://b"}"#, "one of them"),
            (r"{}", "`command`"),
            (r#"{"command":""}"#, "empty"),
            (r#"{"type":"stdio","url":"http://b"}"#, "needs `command`"),
            (r#"{"type":"http","command":"a"}"#, "needs `url`"),
            (r#"{"command":"a","headers":{"A":"b"}}"#, "use `env`"),
            (r#"{"url":"http://b","env":{"A":"b"}}"#, "use `headers`"),
            (r#"{"url":"http://b","args":["a"]}"#, "`args`"),
            (r#"{"url":"ftp://b"}"#, "http://"),
            (r#"{"url":"https:///path"}"#, "host"),
            (r#"{"command":"a","args":["\u0000"]}"#, "NUL"),
            (r#"{"command":"a","env":{"a-b":"c"}}"#, "\"a-b\""),
            (r#"{"command":"a","env":{"PROMPTD_SESSION":"c"}}"#, "PROMPTD_"),
            (r#"{"url":"http://b","headers":{"A b":"c"}}"#, "\"A b\""),
            (r#"{"url":"http://b","headers":{"A":"s3cret\r\nB: c"}}"#, "one line"),
        ] {
            let hint = hint("docs", wrong).unwrap_or_default();
            assert!(hint.contains(says) && !hint.contains("s3cret"), "{wrong}: {hint}");
        }
        for name in ["", "a b", "a.b", "ä", &"x".repeat(65)] {
            assert!(hint(name, r#"{"command":"a"}"#).is_some(), "{name}");
        }
    }
}
