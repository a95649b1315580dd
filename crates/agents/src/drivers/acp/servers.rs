//! MCP servers in ACP's terms.

use agent_client_protocol_schema::v1::{
    EnvVariable, HttpHeader, McpCapabilities, McpServer as AcpServer, McpServerHttp, McpServerSse, McpServerStdio,
};

use promptd_model::{McpServer, McpTransport};

/// The first server whose transport the agent does not support: its name and the transport.
pub(super) fn missing_transport<'a>(
    servers: &'a [AcpServer],
    able: &McpCapabilities,
) -> Option<(&'a str, &'static str)> {
    servers.iter().find_map(|server| match server {
        AcpServer::Http(server) if !able.http => Some((server.name.as_str(), "http")),
        AcpServer::Sse(server) if !able.sse => Some((server.name.as_str(), "sse")),
        _ => None,
    })
}

/// An MCP server in ACP's terms.
pub(super) fn acp_server(name: &str, server: &McpServer) -> AcpServer {
    let url = server.url.clone().unwrap_or_default();
    let headers = server.headers.iter();
    let headers = headers.map(|(name, value)| HttpHeader::new(name.clone(), value.clone()));
    match (server.transport, &server.url) {
        (Some(McpTransport::Sse), _) => AcpServer::Sse(McpServerSse::new(name, url).headers(headers.collect())),
        (Some(McpTransport::Http), _) | (None, Some(_)) => {
            AcpServer::Http(McpServerHttp::new(name, url).headers(headers.collect()))
        }
        (Some(McpTransport::Stdio), _) | (None, None) => {
            let env = server.env.iter();
            let env = env.map(|(name, value)| EnvVariable::new(name.clone(), value.clone()));
            let command = server.command.clone().unwrap_or_default();
            AcpServer::Stdio(
                McpServerStdio::new(name, command)
                    .args(server.args.clone())
                    .env(env.collect()),
            )
        }
    }
}
