//! Files that the next version of promptd wrote, read by this one: a rollback loses nothing.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use support::delivery::{PATH, to};
use support::hostile::Backend;
use support::{Server, assert_no_holes, joined, of_type, promptd};

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Changes a JSON file as the next version would have written it.
fn change(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = read(path);
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

/// Appends records of the next version behind those that are there.
fn append(server: &Server, id: &str, after: usize, records: &[&str]) {
    let journal = server.session_folder(id).join("journal.ndjson");
    let mut file = std::fs::File::options().append(true).open(journal).unwrap();
    for (seq, record) in (after + 1..).zip(records) {
        writeln!(
            file,
            r#"{{"seq":{seq},"time":"2026-11-21T02:40:00.123456Z","turn":1,"type":{record}}}"#
        )
        .unwrap();
    }
}

const STEERED: &str = r#""steered","text":"go left","by":{"caller":"x"}"#;

#[tokio::test]
async fn unknown_records_and_fields_are_passed_over_and_kept() {
    let backend = Backend::start();
    let mut server = Server::start().await;
    let id = server.pushed("echo one", to(&backend)).await;
    server.all_arrived(&backend, PATH, &id).await;
    assert_eq!(server.terminate().await, Some(0));
    let (folder, before) = (server.session_folder(&id), backend.committed().len());
    let last = std::fs::read_to_string(folder.join("journal.ndjson"))
        .unwrap()
        .lines()
        .count();
    append(
        &server,
        &id,
        last,
        &[
            STEERED,
            r#""alert","resource":"cpu","value":91.5,"threshold":80,"host":"a""#,
        ],
    );
    let request = folder.join("session.json");
    change(&request, |file| {
        file["labels"] = json!(["next"]);
        file["request"]["budget"] = json!({ "cost_usd": 2.5 });
        file["request"]["sinks"][0]["priority"] = json!(3);
    });
    let cursor = std::fs::read_dir(folder.join("sinks"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    change(&cursor, |cursor| cursor["acked_at"] = json!("noon"));
    server.start_again().await;

    let session = server.session(&id).await;
    assert_eq!(
        (&session["status"], &session["turns"][0]["status"]),
        (&json!("completed"), &json!("completed"))
    );
    for records in [server.records(&id).await, server.updates(&id).await] {
        assert_eq!(
            of_type(&records, "steered")[0]["by"]["caller"],
            "x",
            "every reader gets it"
        );
    }
    let logs = std::process::Command::new(promptd())
        .args(["--home", &server.home().display().to_string(), "logs", &id])
        .output()
        .unwrap();
    assert!(
        logs.status.success() && String::from_utf8_lossy(&logs.stdout).contains("one"),
        "{logs:?}"
    );

    // It goes on, and its sink gets what is new, once.
    server
        .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "echo two" }))
        .await;
    assert_eq!(server.settled(&id).await["status"], "completed");
    let records = server.records(&id).await;
    assert_no_holes(&records, 1);
    assert_eq!(joined(&records, "stdout"), b"one\ntwo\n");
    server.all_arrived(&backend, PATH, &id).await;
    let first_again = backend.committed()[before..]
        .iter()
        .any(|batch| serde_json::from_slice::<Value>(&batch.request.body).is_ok_and(|batch| batch["first_seq"] == 1));
    assert!(!first_again, "nothing is delivered again");

    // What this version does not know is there for the next one, also in files that were written again.
    assert_eq!(server.terminate().await, Some(0));
    assert_eq!(read(&cursor)["acked_at"], "noon");
    assert_eq!(read(&request)["request"]["budget"]["cost_usd"], 2.5);
    server.start_again().await;
    let storage = json!({ "type": "postgresql", "apiUrl": backend.origin(), "apiKey": "k-1234567" });
    let execute = json!({ "agentId": "a", "sessionId": id, "prompt": "echo three", "storage": storage });
    server.post("/execute", execute).await;
    server.settled(&id).await;
    let file = read(&request);
    assert_eq!(
        file["request"]["sinks"].as_array().unwrap().len(),
        2,
        "it was written again: {file}"
    );
    assert_eq!(
        (&file["labels"], &file["request"]["budget"]["cost_usd"]),
        (&json!(["next"]), &json!(2.5))
    );
    assert_eq!(file["request"]["sinks"][0]["priority"], 3);
}

#[tokio::test]
async fn formats_of_a_newer_version_wait_for_it() {
    let backend = Backend::start();
    let mut server = Server::start().await;
    let id = server.pushed("echo one", to(&backend)).await;
    server.all_arrived(&backend, PATH, &id).await;
    let other = server.pushed("echo other", to(&backend)).await;
    server.all_arrived(&backend, PATH, &other).await;
    assert_eq!(server.terminate().await, Some(0));
    let before = backend.committed().len();
    let request = server.session_folder(&id).join("session.json");
    let cursors = server.session_folder(&other).join("sinks");
    let cursor = std::fs::read_dir(cursors).unwrap().next().unwrap().unwrap().path();
    let (request_before, cursor_before) = (std::fs::read(&request).unwrap(), std::fs::read(&cursor).unwrap());
    std::fs::write(&request, r#"{"version":2,"session":{"of":"another shape"}}"#).unwrap();
    std::fs::write(&cursor, r#"{"version":2,"position":{"seq":9}}"#).unwrap();
    server.start_again().await;

    let answer = server.ask("GET", &format!("/v1/sessions/{id}"), &Value::Null).await;
    assert_eq!(
        (answer.status, answer.code()),
        (409, "session_newer"),
        "{}",
        answer.text()
    );
    let sink = server
        .sink_when(&other, "backend", |sink| sink["state"] == "paused")
        .await;
    assert!(sink["last_error"].as_str().unwrap().contains("version 2"), "{sink}");
    server
        .post(
            &format!("/v1/sessions/{other}/prompts"),
            json!({ "prompt": "echo more" }),
        )
        .await;
    assert_eq!(
        server.settled(&other).await["status"],
        "completed",
        "a sink that waits keeps nobody"
    );
    assert_eq!(backend.committed().len(), before, "nothing is delivered from the start");
    assert_eq!(read(&request)["session"]["of"], "another shape", "it is left alone");

    // The next version is back.
    assert_eq!(server.terminate().await, Some(0));
    std::fs::write(&request, request_before).unwrap();
    std::fs::write(&cursor, cursor_before).unwrap();
    server.start_again().await;
    assert_eq!(server.session(&id).await["status"], "completed");
    server.all_arrived(&backend, PATH, &other).await;
}
