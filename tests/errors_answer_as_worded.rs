//! Every refusal of the contract's "Everywhere", asked of the real binary over a raw socket.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

struct Server {
    child: Child,
    address: String,
    home: std::path::PathBuf,
}

struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Server {
    fn start(name: &str, token: Option<&str>) -> Self {
        let home = std::env::temp_dir().join(format!("promptd-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_promptd"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--home"])
            .arg(&home)
            .arg("--workspace")
            .arg(home.join("work"));
        command
            .env_remove("PROMPTD_TOKEN")
            .env("RUST_LOG", "info")
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped());
        if let Some(token) = token {
            command.env("PROMPTD_TOKEN", token);
        }
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(
                log.read_line(&mut line).unwrap() > 0,
                "the server ended before it listened"
            );
            if let Some((_, rest)) = line.split_once("listening address=\"127.0.0.1:") {
                break format!("127.0.0.1:{}", rest.split('"').next().unwrap());
            }
        };
        // The server must never wait for us to read its log.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, address, home }
    }

    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let host = if headers.contains("Host:") {
            String::new()
        } else {
            format!("Host: {}\r\n", self.address)
        };
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\n{host}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer {
            status,
            head: head.to_ascii_lowercase(),
            body: serde_json::from_str(body).unwrap_or_default(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        drop(std::fs::remove_dir_all(&self.home));
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn every_mistake_has_its_status_and_code() {
    let server = Server::start("errors", None);
    for (method, path, headers, body, status, code) in [
        ("POST", "/v1/sessions", JSON, r#"{"promt":"x"}"#, 400, "unknown_field"),
        ("POST", "/v1/sessions", JSON, r#"{"sinks":[]}"#, 400, "unsupported"),
        (
            "POST",
            "/v1/sessions",
            JSON,
            r#"{"timeout":"soon"}"#,
            400,
            "invalid_field",
        ),
        ("POST", "/v1/sessions", JSON, "{\n oops", 400, "malformed_json"),
        (
            "POST",
            "/v1/sessions",
            "Content-Type: text/plain\r\n",
            "{}",
            415,
            "wrong_content_type",
        ),
        (
            "POST",
            "/v1/sessions",
            JSON,
            r#"{"agent":"shel"}"#,
            422,
            "agent_not_found",
        ),
        ("PUT", "/v1/sessions", "", "", 405, "method_not_allowed"),
        ("GET", "/v1/nothing", "", "", 404, "not_found"),
        ("GET", "/v1/sessions/none", "", "", 404, "session_not_found"),
        ("GET", "/v1/sessions?folow=1", "", "", 400, "unknown_parameter"),
        ("GET", "/v1/sessions?limit=many", "", "", 400, "invalid_parameter"),
        (
            "GET",
            "/v1/sessions",
            "Host: evil.example\r\n",
            "",
            403,
            "forbidden_host",
        ),
        (
            "GET",
            "/v1/sessions",
            "Origin: https://evil.example\r\n",
            "",
            403,
            "forbidden_origin",
        ),
    ] {
        let answer = server.ask(method, path, headers, body);
        assert_eq!(
            (answer.status, answer.body["code"].as_str()),
            (status, Some(code)),
            "{method} {path} {body}: {}",
            answer.body
        );
        assert!(answer.head.contains("application/problem+json"));
        for header in ["promptd-version: ", "promptd-epoch: ", "request-id: "] {
            assert!(answer.head.contains(header), "{header} is missing in {}", answer.head);
        }
        for member in ["type", "title", "status", "detail", "request_id"] {
            assert!(!answer.body[member].is_null(), "{member} is missing in {}", answer.body);
        }
    }
    assert!(
        server
            .ask("PUT", "/v1/sessions", "", "")
            .head
            .contains("allow: get,head,post")
    );
}

#[test]
fn with_a_token_everything_but_health_asks_for_it() {
    let server = Server::start("token", Some("s3cret"));
    for path in ["/healthz", "/health"] {
        assert_eq!(server.ask("GET", path, "", "").status, 200);
    }
    for path in ["/", "/v1/info", "/v1/sessions", "/readyz", "/openapi.json", "/nothing"] {
        assert_eq!(server.ask("GET", path, "", "").body["code"], "unauthorized", "{path}");
        assert_eq!(
            server.ask("GET", path, "Authorization: Bearer wrong\r\n", "").status,
            401,
            "{path}"
        );
    }
    let right = "Authorization: Bearer s3cret\r\nOrigin: https://elsewhere.example\r\n";
    assert_eq!(server.ask("GET", "/v1/info", right, "").status, 200);
    assert_eq!(
        server.ask("POST", "/execute", right, "{}").body["error"],
        "agentId, sessionId, and prompt are required"
    );
}
