//! MCP servers (`mcp_servers`) in the syntax of each agent's own configuration.
//!
//! Values are literal and may be secret. Agents differ in what they take for a variable (`$X`, `${X}`, `{env:X}`), and
//! codex takes its servers as arguments, which everybody on the machine can read. So each server program is started by
//! one script of ours, which holds its variables and arguments. The agent's configuration names the script only.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::command::{Launch, Unsupported, file_path};
use super::request::TurnRequest;
use promptd_model::{McpServer, McpTransport};

/// How long opencode waits for a server's list of tools, in milliseconds. Its default of 5 s ends before npx has
/// downloaded a server.
const OPENCODE_TIMEOUT_MS: u32 = 30_000;

/// The script that starts a program by its server's name.
const SCRIPT: &str = "mcp.sh";

/// How an agent writes its MCP servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum McpSyntax {
    /// `type`, `command`, `args`, `url`, `headers`; `${X}` is a variable, `${X:-text}` one with a default;
    /// in headers twice.
    Claude,
    /// `command`, `args`, `headers` and `httpUrl` or `url`; `$X` and `${X:-text}` are variables, in headers twice.
    Gemini,
    /// The same as gemini, but no text is a variable.
    Qwen,
    /// `type`, `command` with its arguments, `url`, `headers`; `{env:X}` and `{file:X}` are replaced anywhere in the file:
    /// see [`opencode_text`].
    Opencode,
    /// The same as claude, with the `tools` to use; `$X`, `${X}` and `${X:-text}` are variables.
    Copilot,
}

/// Refuses what the agent has no syntax for.
///
/// # Errors
/// If this agent cannot reach a server, or cannot reach it without showing a secret.
pub(crate) fn check(agent: &str, servers: &BTreeMap<String, McpServer>) -> Result<(), Unsupported> {
    // Codex 0.169.0 knows streamable HTTP only, and takes an address as an argument.
    if agent != "codex" {
        return Ok(());
    }
    let hint = servers.iter().find_map(|(name, server)| {
        let url = server.url.as_deref().unwrap_or_default();
        let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
        if server.transport() == McpTransport::Sse {
            Some(format!("server {name:?} is of type \"sse\", which codex does not speak; use \"http\""))
        } else if authority.contains('@') {
            Some(format!(
                "the `url` of server {name:?} has a user name or password, which everybody on the machine could read in \
                 codex's arguments; use `headers`"
            ))
        } else {
            None
        }
    });
    hint.map_or(Ok(()), |hint| {
        Err(Unsupported {
            agent: agent.to_owned(),
            field: "mcp_servers",
            hint,
        })
    })
}

/// The script that [`servers`] and [`codex_args`] refer to.
pub(crate) fn script(servers: &BTreeMap<String, McpServer>) -> Option<(&'static str, String)> {
    let mut text = String::from("# Starts an MCP server by its name.\ncase \"$1\" in\n");
    let mut programs = 0_u32;
    for (name, server) in servers {
        let Some(command) = &server.command else { continue };
        programs = programs.saturating_add(1);
        let _infallible = writeln!(text, "{name})");
        for (name, value) in &server.env {
            let _infallible = writeln!(text, "export {name}={}", quoted(value));
        }
        let syntax = std::iter::once(command).chain(&server.args).map(|word| quoted(word));
        let _infallible = writeln!(text, "exec {}\n;;", syntax.collect::<Vec<_>>().join(" "));
    }
    text.push_str("esac\n");
    (programs > 0).then_some((SCRIPT, text))
}

/// One word for the shell, with any content.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// All servers as an object, for a file.
pub(crate) fn servers(request: &TurnRequest<'_>, syntax: McpSyntax) -> Value {
    let entries = request.mcp_servers.iter().map(|(name, server)| {
        let entry = match &server.url {
            Some(url) => remote(server, url, syntax),
            None => program(request, name, syntax),
        };
        (name.clone(), entry)
    });
    Value::Object(entries.collect())
}

fn program(request: &TurnRequest<'_>, name: &str, syntax: McpSyntax) -> Value {
    let args = json!([file_path(request, SCRIPT), name]);
    match syntax {
        McpSyntax::Claude => json!({"type": "stdio", "command": "/bin/sh", "args": args}),
        McpSyntax::Gemini | McpSyntax::Qwen => json!({"command": "/bin/sh", "args": args}),
        McpSyntax::Opencode => {
            let command = ["/bin/sh".to_owned(), file_path(request, SCRIPT), name.to_owned()];
            json!({"type": "local", "command": command, "enabled": true, "timeout": OPENCODE_TIMEOUT_MS})
        }
        McpSyntax::Copilot => json!({"type": "local", "command": "/bin/sh", "args": args, "tools": ["*"]}),
    }
}

fn remote(server: &McpServer, url: &str, syntax: McpSyntax) -> Value {
    let sse = server.transport() == McpTransport::Sse;
    let headers: Map<String, Value> = server
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), literal_header(value, syntax).into()))
        .collect();
    match syntax {
        McpSyntax::Claude => json!({
            "type": if sse { "sse" } else { "http" },
            "url": literal(url, syntax),
            "headers": headers,
        }),
        McpSyntax::Gemini | McpSyntax::Qwen => json!({
            (if sse { "url" } else { "httpUrl" }): literal(url, syntax),
            "headers": headers,
        }),
        // Opencode detects SSE by itself. Nobody could log in, so OAuth is off.
        McpSyntax::Opencode => json!({
            "type": "remote",
            "url": url,
            "headers": headers,
            "oauth": false,
            "enabled": true,
            "timeout": OPENCODE_TIMEOUT_MS,
        }),
        McpSyntax::Copilot => json!({
            "type": if sse { "sse" } else { "http" },
            "url": literal(url, syntax),
            "headers": headers,
            "tools": ["*"],
        }),
    }
}

/// opencode's file with every text literal: opencode replaces `{env:X}` and `{file:X}` before it parses the JSON.
pub(crate) fn opencode_text(config: &Value) -> String {
    let text = config.to_string();
    text.replace("{env:", r"\u007benv:").replace("{file:", r"\u007bfile:")
}

/// A text that is the same again after the agent has expanded variables: a dollar becomes the default value of a variable
/// that does not exist.
fn literal(text: &str, syntax: McpSyntax) -> Cow<'_, str> {
    const DOLLAR: &str = "${PROMPTD_NONE:-$}";
    match syntax {
        _ if !text.contains('$') => text.into(),
        McpSyntax::Claude => text.replace("${", &format!("{DOLLAR}{{")).into(),
        McpSyntax::Gemini | McpSyntax::Copilot => text.replace('$', DOLLAR).into(),
        McpSyntax::Qwen | McpSyntax::Opencode => text.into(),
    }
}

/// The same for a header, which claude and gemini expand a second time, gemini by dotenv's rules.
fn literal_header(text: &str, syntax: McpSyntax) -> Cow<'_, str> {
    match syntax {
        McpSyntax::Claude => literal(&literal(text, syntax), syntax).into_owned().into(),
        McpSyntax::Gemini => literal(&text.replace('$', r"\$"), syntax).into_owned().into(),
        McpSyntax::Qwen | McpSyntax::Opencode | McpSyntax::Copilot => literal(text, syntax),
    }
}

/// Adds the servers and their script as files, and returns the path of the servers' file, if there are servers.
pub(crate) fn add_servers_file(launch: &mut Launch, request: &TurnRequest<'_>, syntax: McpSyntax) -> Option<String> {
    if request.mcp_servers.is_empty() {
        return None;
    }
    let text = json!({ "mcpServers": servers(request, syntax) }).to_string();
    let path = launch.add_file(request, "mcp.json", text);
    launch.files.extend(script(request.mcp_servers));
    Some(path)
}

/// All servers as codex's arguments, and the variables that the arguments name.
pub(crate) fn codex_args(request: &TurnRequest<'_>) -> (Vec<String>, Vec<(String, String)>) {
    let (mut args, mut env) = (Vec::new(), Vec::new());
    for (name, server) in request.mcp_servers {
        let table = match &server.url {
            None => {
                let script = toml_string(&file_path(request, SCRIPT));
                format!("{{command=\"/bin/sh\",args=[{script},\"{name}\"]}}")
            }
            Some(url) => {
                let headers = server.headers.iter().map(|(header, value)| {
                    let variable = format!("PROMPTD_MCP_{}", env.len());
                    env.push((variable.clone(), value.clone()));
                    format!("{}=\"{variable}\"", toml_string(header))
                });
                let headers = headers.collect::<Vec<_>>().join(",");
                format!("{{url={},env_http_headers={{{headers}}}}}", toml_string(url))
            }
        };
        args.extend(["-c".to_owned(), format!("mcp_servers.{name}={table}")]);
    }
    (args, env)
}

/// TOML's basic strings take JSON's escapes.
fn toml_string(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
#[path = "mcp_tests.rs"]
mod tests;
