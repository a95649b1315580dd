//! `mcp_servers` in the words of the agents' own configurations.
//!
//! Values are literal and may be secret. Agents differ in what they take for a variable (`$X`, `${X}`, `{env:X}`), and
//! codex takes its servers as arguments, which everybody on the machine can read. So a program is started through one
//! script of ours, which holds its variables and arguments, and the agent is told of nothing but the script.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{TurnRequest, Unsupported, file_path};
use promptd_model::{McpServer, McpTransport};

/// How long opencode waits for a server's list of tools, in milliseconds. Its own 5 s are over before npx has fetched one.
const OPENCODE_PATIENCE: u32 = 30_000;

/// The script that starts a program by its server's name.
const SCRIPT: &str = "mcp.sh";

/// How an agent writes its servers down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// `type`, `command`, `args`, `url`, `headers`; `${X}` is a variable, `${X:-text}` one with a default;
    /// in headers twice.
    Claude,
    /// `command`, `args`, `headers` and `httpUrl` or `url`; `$X` and `${X:-text}` are variables, in headers twice.
    Gemini,
    /// As gemini's, but no text is a variable.
    Qwen,
    /// `type`, `command` with its arguments, `url`, `headers`; `{env:X}` and `{file:X}` stand for texts, wherever they
    /// are in the file: see [`opencode_text`].
    Opencode,
    /// As claude's, with the `tools` that are wanted; `$X`, `${X}` and `${X:-text}` are variables.
    Copilot,
}

/// Refuses what the agent has no words for.
///
/// # Errors
/// Where a server cannot be reached by this agent, or not without showing a secret.
pub(super) fn check(agent: &str, servers: &BTreeMap<String, McpServer>) -> Result<(), Unsupported> {
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

/// The file behind what [`servers`] and [`codex`] say.
pub(super) fn script(servers: &BTreeMap<String, McpServer>) -> Option<(&'static str, String)> {
    let mut text = String::from("# Starts a server of tools by its name.\ncase \"$1\" in\n");
    let mut programs = 0_u32;
    for (name, server) in servers {
        let Some(command) = &server.command else { continue };
        programs = programs.saturating_add(1);
        let _infallible = writeln!(text, "{name})");
        for (name, value) in &server.env {
            let _infallible = writeln!(text, "export {name}={}", quoted(value));
        }
        let words = std::iter::once(command).chain(&server.args).map(|word| quoted(word));
        let _infallible = writeln!(text, "exec {}\n;;", words.collect::<Vec<_>>().join(" "));
    }
    text.push_str("esac\n");
    (programs > 0).then_some((SCRIPT, text))
}

/// A word of a shell, whatever it holds.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// All servers as an object, for a file.
pub(super) fn servers(request: &TurnRequest<'_>, words: Words) -> Value {
    let entries = request.mcp_servers.iter().map(|(name, server)| {
        let entry = match &server.url {
            Some(url) => remote(server, url, words),
            None => program(request, name, words),
        };
        (name.clone(), entry)
    });
    Value::Object(entries.collect())
}

fn program(request: &TurnRequest<'_>, name: &str, words: Words) -> Value {
    let args = json!([file_path(request, SCRIPT), name]);
    match words {
        Words::Claude => json!({"type": "stdio", "command": "/bin/sh", "args": args}),
        Words::Gemini | Words::Qwen => json!({"command": "/bin/sh", "args": args}),
        Words::Opencode => {
            let command = ["/bin/sh".to_owned(), file_path(request, SCRIPT), name.to_owned()];
            json!({"type": "local", "command": command, "enabled": true, "timeout": OPENCODE_PATIENCE})
        }
        Words::Copilot => json!({"type": "local", "command": "/bin/sh", "args": args, "tools": ["*"]}),
    }
}

fn remote(server: &McpServer, url: &str, words: Words) -> Value {
    let sse = server.transport() == McpTransport::Sse;
    let headers: Map<String, Value> = server
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), literal_header(value, words).into()))
        .collect();
    match words {
        Words::Claude => json!({
            "type": if sse { "sse" } else { "http" },
            "url": literal(url, words),
            "headers": headers,
        }),
        Words::Gemini | Words::Qwen => json!({
            (if sse { "url" } else { "httpUrl" }): literal(url, words),
            "headers": headers,
        }),
        // It finds out by itself whether it is SSE. Nobody could log in, so that it need not offer to.
        Words::Opencode => json!({
            "type": "remote",
            "url": url,
            "headers": headers,
            "oauth": false,
            "enabled": true,
            "timeout": OPENCODE_PATIENCE,
        }),
        Words::Copilot => json!({
            "type": if sse { "sse" } else { "http" },
            "url": literal(url, words),
            "headers": headers,
            "tools": ["*"],
        }),
    }
}

/// opencode's file, so that each text in it is still itself: what stands for another text is looked for before the file
/// is read as JSON.
pub(super) fn opencode_text(config: &Value) -> String {
    let text = config.to_string();
    text.replace("{env:", r"\u007benv:").replace("{file:", r"\u007bfile:")
}

/// A text that is still itself when the agent has put in its variables: a dollar is the default of one that there is
/// not.
fn literal(text: &str, words: Words) -> Cow<'_, str> {
    const DOLLAR: &str = "${PROMPTD_NONE:-$}";
    match words {
        _ if !text.contains('$') => text.into(),
        Words::Claude => text.replace("${", &format!("{DOLLAR}{{")).into(),
        Words::Gemini | Words::Copilot => text.replace('$', DOLLAR).into(),
        Words::Qwen | Words::Opencode => text.into(),
    }
}

/// The same for a header, which claude and gemini look through a second time, gemini with dotenv's rules.
fn literal_header(text: &str, words: Words) -> Cow<'_, str> {
    match words {
        Words::Claude => literal(&literal(text, words), words).into_owned().into(),
        Words::Gemini => literal(&text.replace('$', r"\$"), words).into_owned().into(),
        Words::Qwen | Words::Opencode | Words::Copilot => literal(text, words),
    }
}

/// All servers as codex's arguments, and the variables that they name.
pub(super) fn codex(request: &TurnRequest<'_>) -> (Vec<String>, Vec<(String, String)>) {
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
