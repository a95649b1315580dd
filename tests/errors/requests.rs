//! Requests that can be parsed and cannot be carried out: they are refused before they are accepted.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};
use support::problems::{assert_problem, refused};
use support::{PATIENCE, Server, folder};

/// What one argument or variable can have, with the name of the variable and without its final zero.
const MAX_ARGUMENT: usize = 131_071;

#[tokio::test]
async fn tilde_in_cwd_is_the_agents_home_and_variables_are_refused() {
    let home = folder("user-home");
    let other = folder("other-home");
    for folder in [home.join("proj"), other.join("proj"), other.join("bin")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let server = Server::with().env("HOME", home.display().to_string()).start().await;
    let pwd = async |body: Value| {
        let mut request = json!({"agent":"shell","prompt":"pwd"});
        request
            .as_object_mut()
            .unwrap()
            .extend(body.as_object().unwrap().clone());
        let id = server.create(request).await;
        assert_eq!(server.settled(&id).await["status"], "completed");
        String::from_utf8(server.output(&id, "stdout").await).unwrap()
    };
    assert_eq!(pwd(json!({"cwd":"~/proj"})).await, format!("{}/proj\n", home.display()));
    assert_eq!(pwd(json!({"cwd":"~"})).await, format!("{}\n", home.display()));
    let env = json!({"HOME": other.display().to_string()});
    assert_eq!(
        pwd(json!({"cwd":"~/proj","env":env})).await,
        format!("{}/proj\n", other.display())
    );
    // Where a folder really has such a name.
    let literal = format!("{}/~\n", server.workspace().display());
    assert_eq!(pwd(json!({"cwd":"./~"})).await, literal);
    for (cwd, right) in [
        ("$HOME/proj", "\"~/proj\""),
        ("${HOME}/proj", "\"~/proj\""),
        ("$PWD", "./"),
        ("a/$USER/b", "./"),
        ("`pwd`", "./"),
        ("~root/x", "absolute"),
        ("~/missing", "make it"),
        ("file:///tmp", "path alone"),
        (&"x".repeat(300), "255"),
    ] {
        let answer = refused(
            &server,
            "POST",
            "/v1/sessions",
            json!({"agent":"shell","cwd":cwd}),
            (400, "invalid_field"),
        )
        .await;
        assert!(answer.detail().contains(right), "{cwd}: {}", answer.detail());
        assert_eq!(answer.body["field"], "cwd");
    }
    for dir in ["~/x", "$HOME/x", "~"] {
        let body = json!({"agent":"shell","repo":{"url":"https://host/x","dir":dir}});
        let answer = refused(&server, "POST", "/v1/sessions", body, (400, "invalid_field")).await;
        assert_eq!(answer.body["field"], "repo.dir");
    }
    let server_program = json!({"agent":"shell","mcp_servers":{"lab":{"command":"$HOME/bin/lab"}}});
    let answer = refused(&server, "POST", "/v1/sessions", server_program, (400, "invalid_field")).await;
    assert!(answer.detail().contains("\"~/bin/lab\""), "{}", answer.detail());
    let made: Vec<_> = std::fs::read_dir(server.workspace()).unwrap().collect();
    assert_eq!(made.len(), 1, "only the literal one: {made:?}");
    drop(server);
    std::fs::remove_dir_all(home).unwrap();
    std::fs::remove_dir_all(other).unwrap();
}

#[tokio::test]
async fn variable_that_linux_does_not_take_is_refused_by_its_name() {
    let server = Server::start().await;
    let create = |env: Value| json!({"agent":"shell","prompt":"printf %s \"${#KEY}\"","env":env});
    let largest = MAX_ARGUMENT - "KEY=".len();
    let id = server.create(create(json!({"KEY":"x".repeat(largest)}))).await;
    assert_eq!(server.settled(&id).await["status"], "completed");
    assert_eq!(server.output(&id, "stdout").await, largest.to_string().as_bytes());
    for size in [largest + 1, 200_000, 3_000_000] {
        let body = create(json!({"SMALL":"x","KEY":"x".repeat(size)}));
        let answer = refused(&server, "POST", "/v1/sessions", body, (422, "too_large_to_start")).await;
        assert_eq!(answer.body["field"], "env.KEY");
        assert!(answer.detail().starts_with("env.KEY has ") && answer.detail().len() < 500);
    }
    let many: serde_json::Map<String, Value> = (0..70)
        .map(|number| (format!("V{number}"), "x".repeat(100_000).into()))
        .collect();
    let answer = refused(
        &server,
        "POST",
        "/v1/sessions",
        create(many.into()),
        (422, "too_large_to_start"),
    )
    .await;
    assert_eq!(answer.body["field"], "env");
    let lab = json!({"lab":{"command":"x","env":{"KEY":"x".repeat(MAX_ARGUMENT)}}});
    let body = json!({"agent":"shell","mcp_servers":lab});
    let answer = server.ask("POST", "/v1/sessions", &body).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert_eq!(
        server.get("/v1/sessions").await["sessions"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn text_that_cannot_be_an_argument_is_refused_with_every_prompt() {
    let server = Server::with()
        .config("[agents.mine]\ncommand = [\"echo\", \"--prompt={prompt}\"]\nprompt = \"argument\"\n")
        .start()
        .await;
    let small = server.create(json!({"agent":"mine","prompt":"hi"})).await;
    server.settled(&small).await;
    let script = server.shell("true").await;
    server.settled(&script).await;
    let long = "x".repeat(MAX_ARGUMENT - 5);
    for (agent, session, prompt) in [
        ("mine", &small, "a\0b"),
        ("mine", &small, &long),
        ("shell", &script, "echo\0x"),
    ] {
        let create = json!({"agent":agent,"prompt":prompt});
        let answer = refused(&server, "POST", "/v1/sessions", create, (422, "unsupported")).await;
        assert_eq!(answer.body["field"], "prompt");
        let path = format!("/v1/sessions/{session}/prompts");
        refused(&server, "POST", &path, json!({"prompt":prompt}), (422, "unsupported")).await;
    }
    for session in [&small, &script] {
        assert_eq!(server.session(session).await["turns"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn metadata_comes_back_as_it_was_sent_also_after_a_restart() {
    let mut server = Server::start().await;
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let body = |value: &str| format!(r#"{{"agent":"shell","metadata":{{"value":{value}}}}}"#);
    let mut kept = Vec::new();
    for value in [
        "18446744073709551615",
        "-9223372036854775808",
        "1.5",
        "\"18446744073709551616\"",
        &nested(98),
    ] {
        let answer = server
            .raw("POST", "/v1/sessions", "application/json", body(value))
            .await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        kept.push((answer.body["id"].as_str().unwrap().to_owned(), value.to_owned()));
    }
    for (value, code) in [
        ("18446744073709551616".to_owned(), "number_too_large"),
        ("-9223372036854775809".to_owned(), "number_too_large"),
        (format!("{{\"deep\":[{}]}}", u128::MAX), "number_too_large"),
        (nested(99), "too_deep"),
        (nested(125), "too_deep"),
        (nested(100_000), "too_deep"),
    ] {
        let answer = server
            .raw("POST", "/v1/sessions", "application/json", body(&value))
            .await;
        assert_problem(&answer, 400, code);
    }
    server.kill();
    server.start_again().await;
    assert_eq!(
        server.get("/v1/sessions").await["sessions"].as_array().unwrap().len(),
        kept.len()
    );
    for (id, value) in kept {
        assert_eq!(server.session(&id).await["metadata"]["value"].to_string(), value);
    }
}

/// How much of a refused body is read.
const MOST_READ: usize = 256 << 20;

/// Sends a large body without looking for the answer meanwhile, as simple clients do; answers the status line.
fn send_then_read(address: &str, head: &str, bytes: usize) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection.set_write_timeout(Some(PATIENCE)).unwrap();
    write!(
        connection,
        "{head}\r\nHost: localhost\r\nContent-Length: {bytes}\r\n\r\n"
    )
    .unwrap();
    let block = vec![b' '; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let part = &block[..left.min(block.len())];
        // The connection takes the whole body, or as much as is read of one, …
        if let Err(error) = connection.write_all(part) {
            assert!(bytes > MOST_READ, "{error} after {} bytes", bytes - left);
            break;
        }
        left -= part.len();
    }
    let mut answer = [0; 64];
    // … and the answer is not lost in a reset.
    let read = connection.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..read])
        .lines()
        .next()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn refusal_reaches_a_caller_that_still_sends_its_body() {
    let server = Server::with()
        .env("PROMPTD_TOKEN", "right")
        .config("[limits]\nbody_bytes = 1000\n")
        .start()
        .await;
    let address = server.address.clone();
    let statuses = tokio::task::spawn_blocking(move || {
        [
            ("POST /v1/sessions HTTP/1.1", 40 << 20),
            (
                "POST /v1/sessions HTTP/1.1\r\nAuthorization: Bearer right\r\nContent-Type: application/json",
                40 << 20,
            ),
            ("PUT /v1/sessions HTTP/1.1\r\nAuthorization: Bearer right", 40 << 20),
            ("POST /nothing HTTP/1.1\r\nAuthorization: Bearer right", 40 << 20),
            (
                "POST /v1/sessions/none/prompts HTTP/1.1\r\nAuthorization: Bearer right\r\nContent-Type: application/json",
                40 << 20,
            ),
            // More than is read of a refused body: the answer was sent before the connection is closed.
            ("POST /v1/sessions HTTP/1.1", 400 << 20),
        ]
        .map(|(head, bytes)| send_then_read(&address, head, bytes))
    });
    let codes: Vec<String> = statuses
        .await
        .unwrap()
        .iter()
        .map(|line| line.split(' ').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(codes, ["401", "413", "405", "404", "404", "401"]);
}

#[tokio::test]
async fn a_caller_that_waits_to_be_asked_for_its_body_is_not_asked() {
    let server = Server::with().config("[limits]\nbody_bytes = 1000\n").start().await;
    let address = server.address.clone();
    let answer = tokio::task::spawn_blocking(move || {
        let mut connection = TcpStream::connect(address).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = "POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
        write!(
            connection,
            "{head}Expect: 100-continue\r\nContent-Length: 2000000\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        // Nothing of the body is sent, so the connection has to end.
        connection.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = answer.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}
