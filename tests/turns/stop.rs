//! `stop` ends the whole process tree, whatever the agent did to escape; checked with `/proc`.

use serde_json::{Value, json};
use support::{Server, of_type, procs, touch, wait_until};

/// How many processes [`escapees`] leaves, the script's own not counted.
const ESCAPEES: usize = 7;

/// A word for command lines that no other process on the machine has.
fn tag(name: &str) -> String {
    format!("escapee-{name}-{}", std::process::id())
}

/// A script that ignores polite signals and starts processes in every way that gets them away from it.
fn escapees(tag: &str) -> String {
    let deaf = format!("bash -c 'trap \"\" TERM INT HUP; while :; do sleep 1; done' {tag}");
    [
        "trap '' TERM INT HUP",
        &format!("{deaf} &"),
        // Forks twice: its parent is gone.
        &format!("( ( {deaf} & ) & )"),
        // A session of its own.
        &format!("setsid {deaf} &"),
        // Both.
        &format!("( setsid {deaf} & )"),
        // Without any environment.
        &format!("env -i {deaf} &"),
        // All of it at once: with its keeper dead, only what it writes to tells whose it is.
        &format!("( env -i setsid {deaf} & )"),
        // A session of its own, and no environment, below one that carries it.
        &format!("setsid bash -c \"trap '' TERM; env -i sleep 1000 & wait\" {tag} &"),
        "echo up",
        "while :; do sleep 1; done",
    ]
    .join("\n")
}

/// Starts a session with everything that flees, and waits until all of it is there.
async fn start_escapees(server: &Server, tag: &str, more: &str) -> String {
    let id = server.shell(&format!("{more}\n{}", escapees(tag))).await;
    let script = format!("/{id}/turn-1.prompt");
    wait_until("all who flee", || {
        procs::named(tag)
            .into_iter()
            .filter(|pid| !procs::named(&script).contains(pid))
            .count()
            >= ESCAPEES
    })
    .await;
    id
}

/// Stops a session and looks for itself.
async fn stop_and_look(server: &Server, id: &str, tag: &str, grace: f64) {
    let answer = server
        .post(&format!("/v1/sessions/{id}/stop"), json!({ "grace": grace }))
        .await;
    assert_eq!(answer, json!({ "survivors": 0 }));
    assert_eq!(procs::named(tag), Vec::<i32>::new(), "by name");
    assert_eq!(procs::marked(&server.home()), Vec::<i32>::new(), "by marker");
    let session = server.session(id).await;
    assert_eq!(session["status"], json!("cancelled"), "{session}");
    assert_eq!(session["turns"][0]["cause"], json!("stopped"), "{session}");
    wait_until("the keeper's end", || procs::keepers(&server.home()).is_empty()).await;
}

#[tokio::test]
async fn stop_kills_a_tree_that_forks_and_ignores_signals() {
    let server = Server::start().await;
    let tag = tag("plain");
    // The one that only its parenthood gives away: no environment, a session of its own, its parent gone.
    let more = format!("( env -i setsid bash -c 'while :; do sleep 1; done' {tag} & )");
    let id = start_escapees(&server, &tag, &more).await;
    stop_and_look(&server, &id, &tag, 0.4).await;
}

#[tokio::test]
async fn stop_works_after_a_server_restart() {
    let mut server = Server::start().await;
    let tag = tag("restart");
    let more = format!("( env -i setsid bash -c 'while :; do sleep 1; done' {tag} & )");
    let id = start_escapees(&server, &tag, &more).await;
    server.kill();
    server.start_again().await;
    stop_and_look(&server, &id, &tag, 0.4).await;
}

#[tokio::test]
async fn stop_works_after_a_keeper_kill() {
    let server = Server::start().await;
    let tag = tag("keeper");
    let id = start_escapees(&server, &tag, "").await;
    let first = procs::keepers(&server.home());
    assert_eq!(first.len(), 1);
    procs::signal(first[0], "KILL");
    stop_and_look(&server, &id, &tag, 0.4).await;
}

#[tokio::test]
async fn stop_works_while_the_keeper_is_frozen() {
    let server = Server::start().await;
    let tag = tag("frozen");
    let id = start_escapees(&server, &tag, "").await;
    procs::signal(procs::keepers(&server.home())[0], "STOP");
    stop_and_look(&server, &id, &tag, 0.0).await;
}

#[tokio::test]
async fn agent_may_clean_up_during_grace() {
    let server = Server::start().await;
    let script = "trap 'echo tidied; exit 7' TERM; trap '' INT; echo up; while :; do sleep 0.05; done";
    let id = server.shell(script).await;
    server.record(&id, "stdout").await;
    let answer = server
        .post(&format!("/v1/sessions/{id}/stop"), json!({ "grace": 20 }))
        .await;
    assert_eq!(answer, json!({ "survivors": 0 }));
    assert_eq!(server.output(&id, "stdout").await, b"up\ntidied\n");
    let session = server.session(&id).await;
    assert_eq!(session["turns"][0]["exit_code"], json!(7), "{session}");
    assert_eq!(session["status"], json!("cancelled"), "{session}");
}

#[tokio::test]
async fn stop_without_grace_kills_at_once() {
    let server = Server::start().await;
    let script = "trap 'echo heard' TERM INT HUP; echo up; while :; do sleep 0.05; done";
    let id = server.shell(script).await;
    server.record(&id, "stdout").await;
    let answer = server
        .post(&format!("/v1/sessions/{id}/stop"), json!({ "grace": 0 }))
        .await;
    assert_eq!(answer, json!({ "survivors": 0 }));
    assert_eq!(server.output(&id, "stdout").await, b"up\n");
    assert_eq!(server.session(&id).await["turns"][0]["signal"], json!("SIGKILL"));
}

#[tokio::test]
async fn stopped_queued_turn_never_runs() {
    let server = Server::with().config("[limits]\nrunning = 1\n").start().await;
    let first = server.shell("until [ -e go ]; do sleep 0.01; done; echo first").await;
    server.record(&first, "started").await;
    let second = server.shell("touch second-ran").await;
    let third = server.shell("touch third-ran").await;
    assert_eq!(server.session(&second).await["status"], json!("queued"));
    let answer = server.post(&format!("/v1/sessions/{second}/stop"), Value::Null).await;
    assert_eq!(answer, json!({ "survivors": 0 }));
    let session = server.session(&second).await;
    assert_eq!(session["status"], json!("cancelled"), "{session}");
    assert_eq!(session["turns"][0]["cause"], json!("stopped"), "{session}");
    assert_eq!(server.session(&first).await["status"], json!("running"));
    touch(&server.workspace().join("go"));
    // Those around it do not mind.
    assert_eq!(server.settled(&first).await["status"], json!("completed"));
    assert_eq!(server.settled(&third).await["status"], json!("completed"));
    assert!(server.workspace().join("third-ran").exists());
    assert!(!server.workspace().join("second-ran").exists());
    assert_eq!(of_type(&server.records(&second).await, "started"), Vec::<&Value>::new());
}

#[tokio::test]
async fn delete_leaves_no_process_and_no_folder() {
    let server = Server::start().await;
    let tag = tag("delete");
    let id = start_escapees(&server, &tag, "").await;
    let (status, _) = server.send("DELETE", &format!("/v1/sessions/{id}"), Value::Null).await;
    assert_eq!(status, 204);
    assert_eq!(procs::named(&tag), Vec::<i32>::new());
    assert_eq!(procs::marked(&server.home()), Vec::<i32>::new());
    assert_eq!(procs::keepers(&server.home()), Vec::<i32>::new());
    assert!(!server.session_folder(&id).exists());
    let (status, _) = server.send("GET", &format!("/v1/sessions/{id}"), Value::Null).await;
    assert_eq!(status, 404);
}
