//! `mcp.json`: MCP servers in the form that agents' own tools share.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use serde::Deserialize;

use promptd_model::McpServer;
use promptd_sys as sys;

/// The largest file that is read, in bytes: agents may write to these.
const MAX_FILE: u64 = 1 << 20;

/// The text of a file; `None` where there is none, or we may not see it. Anything but a regular file counts as none, and
/// is not opened in a way that waits: a pipe would never end.
pub(crate) fn read_small(path: &Path) -> Option<io::Result<String>> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let text = sys::read_regular(path, MAX_FILE).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error.utf8_error()))
    });
    Some(text)
}

/// The file as claude, cursor and others share it.
#[derive(Deserialize)]
struct McpFile {
    #[serde(rename = "mcpServers")]
    servers: BTreeMap<String, FileServer>,
}

/// One of its servers; fields that only one tool knows are ignored.
#[derive(Deserialize)]
struct FileServer {
    #[serde(default)]
    disabled: bool,
    #[serde(rename = "type")]
    transport: Option<String>,
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// Reads the file. An error says where it is wrong, and quotes no value.
pub(crate) fn parse_servers(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, McpServer>, String> {
    let file: McpFile = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!(
            "line {line}, column {column}: write {{\"mcpServers\":{{\"NAME\":{{\"command\":\"…\",\"args\":[],\"env\":{{}}}}}}}}, \
             or \"url\" and \"headers\" for a server elsewhere"
        )
    })?;
    let fill = |text: String| fill(&text, variable);
    let fill_all =
        |texts: BTreeMap<String, String>| texts.into_iter().map(|(name, value)| (name, fill(value))).collect();
    let mut servers = BTreeMap::new();
    for (name, server) in file.servers.into_iter().filter(|(_, server)| !server.disabled) {
        let transport = match server.transport.as_deref() {
            // The specification's own name for it.
            Some("streamable-http" | "streamableHttp") => Some("http"),
            other => other,
        };
        let transport = transport.map(|word| serde_json::from_value(word.into())).transpose();
        let transport =
            transport.map_err(|_| format!("the MCP server {name:?} has an unknown type; use stdio, http or sse"))?;
        let server = McpServer {
            transport,
            command: server.command.map(fill),
            args: server.args.into_iter().map(fill).collect(),
            env: fill_all(server.env),
            url: server.url.map(fill),
            headers: fill_all(server.headers),
        };
        servers.insert(name, server);
    }
    McpServer::check_all(&servers).map_err(|wrong| wrong.to_string())?;
    Ok(servers)
}

/// Replaces variables: `${NAME}` and `${NAME:-default}`. An unknown one without a default stays as it is.
fn fill(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("${") {
        filled.push_str(before);
        let Some((inside, after)) = from.split_once('}') else {
            filled.push_str("${");
            rest = from;
            continue;
        };
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (inside, None),
        };
        let value = variable(name).or(default);
        filled.push_str(&value.unwrap_or_else(|| format!("${{{inside}}}")));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<String> {
        (name == "TOKEN").then(|| "s3cret ${TOKEN}".to_owned())
    }

    #[test]
    fn variables_are_replaced_once() {
        for (text, expected) in [
            ("a ${TOKEN} b", "a s3cret ${TOKEN} b"),
            ("${NONE:-x}${NONE}${TOKEN:-y}", "x${NONE}s3cret ${TOKEN}"),
            ("$TOKEN ${TOKEN", "$TOKEN ${TOKEN"),
            ("${${TOKEN}", "${${TOKEN}"),
        ] {
            assert_eq!(fill(text, &variable), expected, "{text}");
        }
    }

    #[test]
    fn fields_of_other_tools_are_ignored() {
        let text = r#"{"mcpServers": {
            "lab": {"command": "lab", "env": {"T": "${TOKEN}"}, "timeout": 3, "autoApprove": []},
            "docs": {"type": "streamable-http", "url": "https://docs/"},
            "off": {"disabled": true, "command": ""}
        }, "other": 1}"#;
        let servers = parse_servers(text, &variable).unwrap();
        let expected = serde_json::json!({
            "docs": {"type": "http", "url": "https://docs/"},
            "lab": {"command": "lab", "env": {"T": "s3cret ${TOKEN}"}},
        });
        assert_eq!(serde_json::to_value(servers).unwrap(), expected);
    }

    #[test]
    fn an_error_says_where_and_quotes_nothing() {
        for (text, says) in [
            ("{", "line 1, column 1"),
            (r#"{"servers":{}}"#, "mcpServers"),
            (r#"{"mcpServers":{"lab":{"env":{"T":["s3cret"]}}}}"#, "line 1"),
            (r#"{"mcpServers":{"lab":{"type":"s3cret","command":"x"}}}"#, "\"lab\""),
            (r#"{"mcpServers":{"lab":{}}}"#, "give `command`"),
        ] {
            let error = parse_servers(text, &variable).unwrap_err();
            assert!(error.contains(says) && !error.contains("s3cret"), "{error}");
        }
    }
}
