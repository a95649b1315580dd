//! `[mcp_servers.NAME]`: servers of tools for all sessions, in the words of a request.

use std::collections::BTreeMap;

use super::error::ConfigError;
use super::file::{Section, environment};
use super::sinks::{one_of, secret};
use promptd_model::{McpServer, McpTransport};

/// Reads all of them, and checks each as a request's is checked.
pub(super) fn read(section: Section<'_>) -> Result<BTreeMap<String, McpServer>, ConfigError> {
    section.sections().map(|named| named.and_then(server)).collect()
}

fn server((name, mut section): (String, Section<'_>)) -> Result<(String, McpServer), ConfigError> {
    let server = McpServer {
        transport: section.get("type", one_of::<McpTransport>)?,
        command: section.get("command", secret)?,
        args: section
            .get("args", |item| item.one_or_many()?.iter().map(secret).collect())?
            .unwrap_or_default(),
        env: section.get("env", environment)?.unwrap_or_default(),
        url: section.get("url", secret)?,
        headers: section.get("headers", environment)?.unwrap_or_default(),
    };
    section.finish()?;
    let server = BTreeMap::from([(name, server)]);
    McpServer::check_all(&server).map_err(|wrong| section.not_usable(&wrong.hint))?;
    server
        .into_iter()
        .next()
        .ok_or_else(|| section.not_usable("give it a name"))
}
