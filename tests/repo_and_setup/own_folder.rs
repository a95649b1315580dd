//! With `"cwd": "new"` a session has a working directory that no other one has.

use std::path::PathBuf;

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::acp::call;
use support::git::GitServer;
use support::http::Answer;
use support::{Server, folder, require_program};

use crate::artifacts::{artifacts, listed, pairs};

fn cwd(session: &Value) -> PathBuf {
    session["cwd"].as_str().unwrap().into()
}

/// What the session's agents said of where they were.
async fn places(server: &Server, id: &str) -> Vec<PathBuf> {
    let output = server.output(id, "stdout").await;
    let output = String::from_utf8(output).unwrap();
    output.lines().map(PathBuf::from).collect()
}

#[tokio::test]
async fn each_session_has_its_own_folder_for_all_turns() {
    let mut server = Server::start().await;
    let request = json!({ "cwd": "new", "prompt": "pwd; ls -A" });
    let first = server.post("/v1/sessions", request.clone()).await;
    let second = server.post("/v1/sessions", request).await;
    let id = first["id"].as_str().unwrap();
    for session in [&first, &second] {
        let own = server
            .workspace()
            .join(format!("session-{}", session["id"].as_str().unwrap()));
        assert_eq!(cwd(session), own);
        server.settled(session["id"].as_str().unwrap()).await;
    }
    assert_ne!(cwd(&first), cwd(&second));
    server.terminate().await;
    server.start_again().await;
    let path = format!("/v1/sessions/{id}/prompts");
    for prompt in [json!({ "prompt": "pwd" }), json!({ "prompt": "pwd", "fresh": true })] {
        server.post(&path, prompt).await;
    }
    assert_eq!(cwd(&server.settled(id).await), cwd(&first));
    assert_eq!(places(&server, id).await, vec![cwd(&first); 3], "and it was empty");
}

#[tokio::test]
async fn folder_called_new_is_reached_with_a_dot() {
    let server = Server::start().await;
    for name in ["./new", "new/", "new/sub"] {
        let session = server.post("/v1/sessions", json!({ "cwd": name })).await;
        assert!(cwd(&session).starts_with(server.workspace().join("new")), "{session}");
    }
}

#[tokio::test]
async fn same_request_again_has_the_same_folder() {
    let server = Server::start().await;
    for (id, key) in [(Some("mine"), None), (None, Some("key"))] {
        let body = json!({ "id": id, "cwd": "new", "prompt": "pwd" });
        let ask = || {
            let request = server.request("POST", "/v1/sessions").json(&body);
            Answer::of(match key {
                Some(key) => request.header("idempotency-key", key),
                None => request,
            })
        };
        let answers = join_all((0..10).map(|_| ask())).await;
        let own = cwd(&answers[0].body);
        assert!(answers.iter().all(|answer| cwd(&answer.body) == own));
        server.settled(answers[0].body["id"].as_str().unwrap()).await;
        assert_eq!(cwd(&ask().await.body), own);
    }
    let folders = std::fs::read_dir(server.workspace()).unwrap().count();
    assert_eq!(folders, 2, "nothing is left of the requests that came second");
}

#[tokio::test]
async fn folder_stays_after_delete_and_is_not_given_again() {
    let server = Server::start().await;
    let request = json!({ "id": "again", "cwd": "new", "prompt": "echo kept > result" });
    let first = cwd(&server.post("/v1/sessions", request.clone()).await);
    server.settled("again").await;
    server.send("DELETE", "/v1/sessions/again", Value::Null).await;
    let second = cwd(&server.post("/v1/sessions", request).await);
    assert_eq!(std::fs::read_to_string(first.join("result")).unwrap(), "kept\n");
    assert_ne!(second, first);
    // Two ids may ask for the same name.
    let ids = ["a:b", "a_b", "again-2"];
    let made = join_all(ids.map(|id| server.post("/v1/sessions", json!({ "id": id, "cwd": "new" })))).await;
    let mut folders: Vec<_> = made.iter().map(cwd).chain([first, second]).collect();
    folders.sort();
    folders.dedup();
    assert_eq!(folders.len(), 5, "{folders:?}");
}

#[tokio::test]
async fn refused_request_leaves_no_folder() {
    let server = Server::start().await;
    for wrong in [
        json!({ "cwd": "new", "agent": "no-such-agent", "prompt": "x" }),
        json!({ "cwd": "new", "timeout": -1, "prompt": "x" }),
        json!({ "cwd": "new", "repo": { "url": "ext::sh" }, "prompt": "x" }),
    ] {
        let (status, _) = server.send("POST", "/v1/sessions", wrong).await;
        assert!((400..500).contains(&status));
    }
    let made = std::fs::read_dir(server.workspace()).map_or(0, Iterator::count);
    assert_eq!(made, 0);
}

#[tokio::test]
async fn artifacts_of_an_own_folder_are_not_shared() {
    let server = Server::start().await;
    let wait = "until test -e ../go || test -e go; do sleep 0.02; done";
    let own = server
        .create(json!({ "cwd": "new", "prompt": format!("echo 1 > mine; {wait}") }))
        .await;
    let other = server
        .create(json!({ "cwd": "new", "prompt": format!("echo 2 > other; {wait}") }))
        .await;
    let above = server.shell(&format!("echo 3 > above; {wait}")).await;
    for id in [&own, &other, &above] {
        server.record(id, "started").await;
    }
    server.touch("go");
    for id in [&own, &other, &above] {
        server.settled(id).await;
    }
    let found = artifacts(&server, &own).await;
    assert_eq!(
        (&found["shared"], listed(&found)),
        (&json!(false), pairs(&[("added", "mine")]))
    );
    assert_eq!(artifacts(&server, &above).await["shared"], true);
}

#[tokio::test]
async fn named_own_folder_is_shared() {
    let server = Server::start().await;
    let own = server
        .post("/v1/sessions", json!({ "cwd": "new", "prompt": "sleep 600" }))
        .await;
    let id = own["id"].as_str().unwrap();
    server.record(id, "started").await;
    let guest = server.create(json!({ "cwd": own["cwd"], "prompt": "true" })).await;
    server.settled(&guest).await;
    assert_eq!(artifacts(&server, id).await["shared"], true);
}

#[tokio::test]
async fn repository_is_cloned_into_the_own_folder() {
    require_program("git", "git");
    let git = GitServer::start(&folder("git"), None);
    git.make("job.git", &[("README", "hello\n")]);
    let server = Server::start().await;
    let request = json!({
        "cwd": "new", "repo": { "url": git.url("job.git") }, "setup": ["echo set up > up"],
        "prompt": "pwd; cat README up",
    });
    let session = server.post("/v1/sessions", request).await;
    let id = session["id"].as_str().unwrap();
    let place = server.workspace().join(format!("session-{id}")).join("job");
    assert_eq!(cwd(&session), place);
    assert_eq!(server.settled(id).await["status"], "completed");
    let output = String::from_utf8(server.output(id, "stdout").await).unwrap();
    assert!(
        output.ends_with(&format!("{}\nhello\nset up\n", place.display())),
        "{output}"
    );
}

#[tokio::test]
async fn other_protocols_have_own_folders_too() {
    let server = Server::start().await;
    let execute = json!({ "agentId": "a", "sessionId": "s", "prompt": "pwd", "cwd": "new" });
    for _ in 0..2 {
        let answer = server.post("/execute", execute.clone()).await;
        assert!(!answer["message"].as_str().unwrap().contains("ignored"), "{answer}");
    }
    let session = server.settled("s").await;
    assert_eq!(places(&server, "s").await, vec![cwd(&session); 2]);
    let mut client = server.ws("/v1/acp?agent=shell").await;
    let new = json!({ "cwd": server.workspace(), "mcpServers": [], "_meta": { "promptd": { "cwd": "new" } } });
    client.command(call(1, "session/new", &new)).await;
    let made = client.next().await.unwrap()["result"].clone();
    let own = &made["_meta"]["promptd"]["cwd"];
    assert_eq!(*own, server.session(made["sessionId"].as_str().unwrap()).await["cwd"]);
    assert_ne!(*own, json!(server.workspace()));
    let load = json!({ "sessionId": made["sessionId"], "cwd": own, "mcpServers": [] });
    client.command(call(2, "session/load", &load)).await;
    let loaded = client.until(|message| message["id"] == 2).await;
    assert!(loaded.last().unwrap()["error"].is_null(), "{loaded:?}");
}
