//! MCP servers in each agent's configuration, with exactly the given values.

use proptest::prelude::*;

use super::*;
use crate::Effect;
use crate::tests::{agent, launch, plain, vars};
use promptd_model::{PermissionMode, Stream};

fn given(text: &str) -> BTreeMap<String, McpServer> {
    serde_json::from_str(text).unwrap()
}

const BOTH: &str = r#"{
    "docs": {"url": "https://docs/mcp", "headers": {"Authorization": "Bearer s3cret", "X-Team": "$HOME ${HOME}"}},
    "lab": {"command": "lab server", "args": ["it's", "${HOME}"], "env": {"TOKEN": "s3cret"}}
}"#;

const SCRIPT_TEXT: &str = r#"# Starts an MCP server by its name.
case "$1" in
lab)
export TOKEN='s3cret'
exec 'lab server' 'it'\''s' '${HOME}'
;;
esac
"#;

#[test]
fn claude_gets_a_file() {
    let servers = given(BOTH);
    let (line, launch) = launch(
        "claude",
        &TurnRequest {
            mcp_servers: &servers,
            ..plain()
        },
    );
    assert!(
        line.contains("--mcp-config /s/mcp.json --dangerously-skip-permissions"),
        "{line}"
    );
    let expected = json!({"mcpServers": {
        "docs": {"type": "http", "url": "https://docs/mcp",
                 "headers": {"Authorization": "Bearer s3cret", "X-Team": "$HOME ${PROMPTD_NONE:-$}{PROMPTD_NONE:-$}{HOME}"}},
        "lab": {"type": "stdio", "command": "/bin/sh", "args": ["/s/mcp.sh", "lab"]},
    }});
    assert_eq!(
        launch.files,
        [("mcp.json", expected.to_string()), ("mcp.sh", SCRIPT_TEXT.to_owned())]
    );
}

#[test]
fn codex_gets_arguments_without_secrets_and_variables() {
    let servers = given(BOTH);
    let (line, launch) = launch(
        "codex",
        &TurnRequest {
            mcp_servers: &servers,
            ..plain()
        },
    );
    assert!(!line.contains("s3cret"), "{line}");
    assert!(
        line.ends_with(
            r#"-c mcp_servers.docs={url="https://docs/mcp",env_http_headers={"Authorization"="PROMPTD_MCP_0","X-Team"="PROMPTD_MCP_1"}} -c mcp_servers.lab={command="/bin/sh",args=["/s/mcp.sh","lab"]} -"#
        ),
        "{line}"
    );
    let env = [("PROMPTD_MCP_0", "Bearer s3cret"), ("PROMPTD_MCP_1", "$HOME ${HOME}")];
    assert_eq!(launch.env, vars(env));
    assert_eq!(launch.files, [("mcp.sh", SCRIPT_TEXT.to_owned())]);
}

#[test]
fn gemini_gets_them_in_the_lowest_layer_of_settings() {
    let servers = given(BOTH);
    let (line, launch) = launch(
        "gemini",
        &TurnRequest {
            mcp_servers: &servers,
            ..plain()
        },
    );
    assert!(!line.contains("mcp"), "{line}");
    let settings: Value = serde_json::from_str(&launch.files[0].1).unwrap();
    assert_eq!(
        settings["mcpServers"],
        json!({
            "docs": {"httpUrl": "https://docs/mcp", "headers": {"Authorization": "Bearer s3cret",
                "X-Team": r"\${PROMPTD_NONE:-$}HOME \${PROMPTD_NONE:-$}{HOME}"}},
            "lab": {"command": "/bin/sh", "args": ["/s/mcp.sh", "lab"]},
        })
    );
    assert_eq!(launch.files[1], ("mcp.sh", SCRIPT_TEXT.to_owned()));
}

#[test]
fn qwen_copilot_and_opencode_get_a_file() {
    let servers = given(BOTH);
    let request = TurnRequest {
        mcp_servers: &servers,
        ..plain()
    };
    let script = ("mcp.sh", SCRIPT_TEXT.to_owned());
    let program = json!(["/s/mcp.sh", "lab"]);

    let (line, qwen) = launch("qwen", &request);
    assert!(line.ends_with("--mcp-config /s/mcp.json"), "{line}");
    let expected = json!({"mcpServers": {
        "docs": {"httpUrl": "https://docs/mcp", "headers": {"Authorization": "Bearer s3cret", "X-Team": "$HOME ${HOME}"}},
        "lab": {"command": "/bin/sh", "args": program},
    }});
    assert_eq!(qwen.files[1..], [("mcp.json", expected.to_string()), script.clone()]);

    let (line, copilot) = launch("copilot", &request);
    assert!(line.ends_with("--additional-mcp-config @/s/mcp.json"), "{line}");
    let expected = json!({"mcpServers": {
        "docs": {"type": "http", "url": "https://docs/mcp", "headers": {"Authorization": "Bearer s3cret",
                 "X-Team": "${PROMPTD_NONE:-$}HOME ${PROMPTD_NONE:-$}{HOME}"}, "tools": ["*"]},
        "lab": {"type": "local", "command": "/bin/sh", "args": program, "tools": ["*"]},
    }});
    assert_eq!(copilot.files, [("mcp.json", expected.to_string()), script.clone()]);

    let (line, opencode) = launch("opencode", &request);
    assert!(!line.contains("mcp"), "{line}");
    let expected = json!({"mcp": {
        "docs": {"type": "remote", "url": "https://docs/mcp",
                 "headers": {"Authorization": "Bearer s3cret", "X-Team": "$HOME ${HOME}"},
                 "oauth": false, "enabled": true, "timeout": 30_000},
        "lab": {"type": "local", "command": ["/bin/sh", "/s/mcp.sh", "lab"], "enabled": true, "timeout": 30_000},
    }});
    assert_eq!(opencode.files, [("opencode.json", expected.to_string()), script]);
}

#[test]
fn acp_agents_get_servers_by_the_launch_only() {
    let servers = given(BOTH);
    let request = TurnRequest {
        permission: PermissionMode::Ask,
        mcp_servers: &servers,
        ..plain()
    };
    for name in ["gemini", "qwen", "opencode", "copilot"] {
        let (_, launch) = launch(name, &request);
        let script = ("mcp.sh", SCRIPT_TEXT.to_owned());
        assert!(launch.files.contains(&script), "{name}");
        let names_both = |text: &str| text.contains("/s/mcp.sh") && text.contains("https://docs/mcp");
        assert!(launch.files.iter().any(|(_, text)| names_both(text)), "{name}");
        let mut driver = agent(name).driver(&request).unwrap();
        driver.take_effects();
        let able = br#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":1,"agentCapabilities":{}}}"#;
        driver.observe_line(Stream::Stdout, able);
        let [Effect::Write(line)] = &driver.take_effects()[..] else {
            panic!("{name} gets no request for a session");
        };
        let request: Value = serde_json::from_slice(line).unwrap();
        assert_eq!(request["params"]["mcpServers"], json!([]), "{name}");
    }
}

#[test]
fn codex_refuses_sse_and_credentials_in_urls() {
    for (server, says) in [
        (r#"{"type":"sse","url":"https://docs/sse"}"#, "use \"http\""),
        (r#"{"url":"https://user:s3cret@docs/"}"#, "use `headers`"),
    ] {
        let servers = given(&format!(r#"{{"docs":{server}}}"#));
        let request = TurnRequest {
            mcp_servers: &servers,
            ..plain()
        };
        let refused = agent("codex").launch(&request).unwrap_err();
        assert_eq!(refused.field, "mcp_servers");
        assert!(
            refused.hint.contains(says) && !refused.hint.contains("s3cret"),
            "{refused}"
        );
        assert!(agent("claude").launch(&request).is_ok() && agent("gemini").launch(&request).is_ok());
    }
}

#[test]
fn shell_refuses_mcp_servers() {
    let servers = given(BOTH);
    let refused = agent("shell").launch(&TurnRequest {
        mcp_servers: &servers,
        ..plain()
    });
    assert_eq!(refused.unwrap_err().field, "mcp_servers");
}

#[test]
fn servers_with_a_url_need_no_script() {
    assert_eq!(script(&given(r#"{"docs":{"url":"https://docs/"}}"#)), None);
}

/// How the agents expand variables in a text of their configuration.
fn expand(text: &str, pattern: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(pattern) {
        result.push_str(before);
        let name = "${PROMPTD_NONE:-$}".strip_prefix(pattern).unwrap();
        if let Some(after) = after.strip_prefix(name) {
            result.push('$');
            rest = after;
        } else {
            result.push_str("<a variable>");
            rest = after;
        }
    }
    result + rest
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_becomes_a_variable(text in r"[a-z${}\\: ]{0,20}") {
        prop_assert_eq!(expand(&literal(&text, McpSyntax::Claude), "${"), text.clone());
        prop_assert_eq!(expand(&literal(&text, McpSyntax::Gemini), "$"), text.clone());
        prop_assert_eq!(expand(&literal_header(&text, McpSyntax::Copilot), "$"), text.clone());
    }

    #[test]
    fn no_text_in_opencodes_file_is_replaced(text in r#"(\{env:|\{file:|\{|\}|[a-z:\" ]){0,8}"#) {
        let config = json!({ "a": text.clone(), "b": { "env": text } });
        let written = opencode_text(&config);
        prop_assert!(!written.contains("{env:") && !written.contains("{file:"), "{}", written);
        prop_assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), config);
    }

    #[test]
    fn the_script_passes_words_and_values_unchanged(word in "[^\0]{0,40}", value in "[^\0]{0,40}") {
        let mut servers = given(r#"{"a":{"command":"false"},"x-1":{"command":"sh","args":["-c","printf '%s|%s.' \"$1\" \"$V\"","x"]}}"#);
        let server = servers.get_mut("x-1").unwrap();
        server.args.push(word.clone());
        server.env.insert("V".to_owned(), value.clone());
        let (_, text) = script(&servers).unwrap();
        let output = std::process::Command::new("/bin/sh").args(["-c", &text, "sh", "x-1"]).output().unwrap();
        prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{word}|{value}."));
    }
}
