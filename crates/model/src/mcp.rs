//! Servers of tools (Model Context Protocol) that a caller gives to an agent; pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The longest name of a server. Agents build the names of tools from it, and models take 64 characters for those.
const MAX_NAME: usize = 64;

/// A server of tools for the agent (Model Context Protocol), in the words that agents' own `mcp.json` files share.
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
    /// Where an `http` or `sse` server is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Headers for it; values are secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// How an MCP server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum McpTransport {
    /// Over a child process's standard streams.
    Stdio,
    /// Streamable HTTP.
    Http,
    /// HTTP with server-sent events, the older way.
    Sse,
}

/// A server that no agent could use; never a value that may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the MCP server {name:?} cannot be used: {hint}")]
pub struct WrongMcp {
    /// The server's name, cut where it is too long.
    pub name: String,
    /// What would be right.
    pub hint: String,
}

impl McpServer {
    /// How it is spoken to, whether that was said or not.
    #[must_use]
    pub fn transport(&self) -> McpTransport {
        match (self.transport, &self.url) {
            (Some(transport), _) => transport,
            (None, Some(_)) => McpTransport::Http,
            (None, None) => McpTransport::Stdio,
        }
    }

    /// Whether all of these can be used by an agent that takes such servers.
    ///
    /// # Errors
    /// For the first that cannot.
    pub fn check_all(servers: &BTreeMap<String, Self>) -> Result<(), WrongMcp> {
        let wrong = servers
            .iter()
            .find_map(|(name, server)| Some((name, wrong_name(name).or_else(|| server.wrong())?)));
        wrong.map_or(Ok(()), |(name, hint)| {
            let name = name.chars().take(MAX_NAME).collect();
            Err(WrongMcp { name, hint })
        })
    }

    fn wrong(&self) -> Option<String> {
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
            (None, Some(url), _) if !is_web_address(url) => "`url` has to begin with http:// or https:// and a host",
            _ => return self.wrong_text(),
        };
        Some(hint.to_owned())
    }

    /// Texts that a process or an HTTP request cannot hold.
    fn wrong_text(&self) -> Option<String> {
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

fn wrong_name(name: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let right = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed);
    (!right).then(|| format!("a name has 1 to {MAX_NAME} of A-Z, a-z, 0-9, _ and -"))
}

fn is_web_address(url: &str) -> bool {
    let rest = url.split_once("://").filter(|(scheme, _)| {
        let scheme = scheme.to_ascii_lowercase();
        scheme == "http" || scheme == "https"
    });
    rest.is_some_and(|(_, rest)| !rest.is_empty() && !rest.starts_with(['/', '?', '#']))
        && !url.contains(|letter: char| letter.is_whitespace() || letter.is_control())
}

/// What a shell can export.
fn is_variable(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(letter)
        && name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
        && !name.starts_with("PROMPTD_")
}

/// A token, as RFC 9110 (5.6.2) has it.
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
        McpServer::check_all(&servers).err().map(|wrong| wrong.hint)
    }

    #[test]
    fn a_program_and_an_address_are_enough() {
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
    fn what_no_agent_could_use_is_refused_with_what_would_be_right() {
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
