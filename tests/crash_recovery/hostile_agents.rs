//! Agents run as the server's user, and can put anything in the place of its files, lock them, or stop its processes. That
//! costs their own session, and no other.

use std::fs::File;
use std::path::Path;

use futures_util::future::join_all;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use support::http::Answer;
use support::{Server, procs, require_program, wait_for, wait_until};

/// No session but one may notice anything.
pub(crate) async fn others_go_on(server: &Server) {
    assert_eq!(server.ask("GET", "/healthz", &Value::Null).await.status, 200);
    let other = server.shell("echo fine").await;
    assert_eq!(server.settled(&other).await["status"], "completed");
    assert_eq!(server.output(&other, "stdout").await, b"fine\n");
}

/// Waits until a session is reported as damaged, and all its processes have ended.
pub(crate) async fn is_given_up(server: &Server, id: &str, what: &str) {
    wait_for(&format!("the end of a session with {what}"), async || {
        let answer = server.ask("GET", &format!("/v1/sessions/{id}"), &Value::Null).await;
        if answer.code() == "session_damaged" {
            Ok(())
        } else {
            Err(answer.text())
        }
    })
    .await;
    let folder = server.session_folder(id);
    wait_until("the end of its processes", || {
        let marker = format!("PROMPTD_TURN={}/", folder.display());
        let of_session = |pid: &i32| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            String::from_utf8_lossy(&environ).contains(&marker)
        };
        let agents: Vec<_> = procs::marked(&server.home()).into_iter().filter(of_session).collect();
        let keepers = procs::keepers(&folder);
        if agents.is_empty() && keepers.is_empty() {
            Ok(())
        } else {
            Err((agents, keepers))
        }
    })
    .await;
}

#[tokio::test]
async fn agent_that_destroys_its_journal_loses_its_session_only() {
    let server = Server::start().await;
    let destroy = [
        ("garbage", "echo garbage >> $J; echo more"),
        ("a truncated journal", ": > $J; echo more"),
        ("no journal", "rm $J"),
        ("a journal elsewhere", "mv $J $J.moved"),
        ("a FIFO", "rm $J; mkfifo $J"),
        ("a link to a device", "rm $J; ln -s /dev/zero $J"),
        ("a folder", "rm $J; mkdir $J"),
        ("no folder", "rm -rf ${J%/*}"),
    ];
    let folder = server.home().join("sessions/$PROMPTD_SESSION");
    let mut sessions = Vec::new();
    for (what, command) in destroy {
        let script = format!(
            "sleep 600 & (setsid sleep 600 &) ; J=\"{}/journal.ndjson\"; {command}; sleep 600",
            folder.display()
        );
        sessions.push((what, server.shell(&script).await));
    }
    for (what, id) in &sessions {
        is_given_up(&server, id, what).await;
    }
    others_go_on(&server).await;
    for (what, id) in &sessions {
        let stop = server
            .ask("POST", &format!("/v1/sessions/{id}/stop"), &Value::Null)
            .await;
        assert_eq!(
            (stop.status, &stop.body["survivors"]),
            (200, &json!(0)),
            "{what}: {}",
            stop.text()
        );
        for wanted in [204, 404] {
            let deleted = server.ask("DELETE", &format!("/v1/sessions/{id}"), &Value::Null).await;
            assert_eq!(deleted.status, wanted, "{what}: {}", deleted.text());
        }
        assert!(!server.session_folder(id).exists(), "{what}");
    }
    let failures = server.log().matches("trying again").count();
    assert!(failures < 30, "it is not tried for ever: {}", server.log());
}

/// The error said that a mended folder was enough, and the session stayed damaged.
#[tokio::test]
async fn mended_session_is_whole_after_a_restart() {
    let mut server = Server::start().await;
    let id = server.shell("echo first; until test -e go; do sleep 0.02; done").await;
    server.record(&id, "stdout").await;
    let journal = server.session_folder(&id).join("journal.ndjson");
    let away = journal.with_extension("away");
    std::fs::rename(&journal, &away).unwrap();
    is_given_up(&server, &id, "a journal elsewhere").await;
    std::fs::rename(&away, &journal).unwrap();
    let shown = server.ask("GET", &format!("/v1/sessions/{id}"), &Value::Null).await;
    let said = shown.detail();
    assert!(
        said.contains("mend its folder and restart promptd"),
        "it says what helps: {said}"
    );
    server.terminate().await;
    server.start_again().await;
    let session = server.settled(&id).await;
    // Its keeper may have seen and recorded how the agent was ended.
    let status = session["turns"][0]["status"].as_str().unwrap();
    assert!(
        ["lost", "failed"].contains(&status),
        "its processes were ended: {session}"
    );
    server
        .post(
            &format!("/v1/sessions/{id}/prompts"),
            json!({ "prompt": "echo second" }),
        )
        .await;
    assert_eq!(server.settled(&id).await["status"], "completed");
    assert_eq!(server.output(&id, "stdout").await, b"first\nsecond\n");
}

#[tokio::test]
async fn deleting_a_damaged_session_ends_its_processes() {
    let mut server = Server::start().await;
    let id = server.shell("(setsid sleep 600 &) ; sleep 600").await;
    server.record(&id, "started").await;
    server.kill();
    let request = server.session_folder(&id).join("session.json");
    std::fs::remove_file(&request).unwrap();
    mkfifo(&request, Mode::S_IRWXU).unwrap();
    server.start_again().await;
    let shown = server.ask("GET", &format!("/v1/sessions/{id}"), &Value::Null).await;
    assert_eq!(shown.code(), "session_damaged", "{}", shown.text());
    others_go_on(&server).await;
    let deleted = server.ask("DELETE", &format!("/v1/sessions/{id}"), &Value::Null).await;
    assert_eq!(deleted.status, 204, "{}", deleted.text());
    let home = server.home();
    wait_until("the end of its keeper and agent", || {
        procs::marked(&home).is_empty() && procs::keepers(&home).is_empty()
    })
    .await;
}

#[tokio::test]
async fn stopped_keeper_is_continued_and_timeouts_hold() {
    let server = Server::start().await;
    let body = json!({ "agent": "shell", "prompt": "sleep 600", "timeout": 3 });
    let id = server.create(body).await;
    server.record(&id, "started").await;
    let keeper = procs::keepers(&server.session_folder(&id))[0];
    procs::signal(keeper, "STOP");
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["status"], "timed_out", "{session}");
    assert_eq!(
        session["turns"][0]["cause"], "timeout",
        "the same keeper has seen it: {session}"
    );
}

#[tokio::test]
async fn stopped_keeper_is_found_by_the_next_server() {
    let mut server = Server::start().await;
    let id = server.shell("until test -e go; do sleep 0.02; done; exit 7").await;
    server.record(&id, "started").await;
    let keeper = procs::keepers(&server.session_folder(&id))[0];
    procs::signal(keeper, "STOP");
    server.kill();
    server.start_again().await;
    server.touch("go");
    let session = server.settled(&id).await;
    assert_eq!(
        session["turns"][0]["exit_code"], 7,
        "the same keeper has seen it: {session}"
    );
}

#[tokio::test]
async fn agent_without_its_keepers_socket_can_be_stopped() {
    let server = Server::start().await;
    let id = server.shell("(setsid sleep 600 &) ; sleep 600").await;
    server.record(&id, "started").await;
    std::fs::remove_file(server.session_folder(&id).join("turn-1.sock")).unwrap();
    let stop = server.request("POST", &format!("/v1/sessions/{id}/stop"));
    let stop = Answer::of(stop.json(&json!({ "grace": 0 }))).await;
    assert_eq!(
        (stop.status, &stop.body["survivors"]),
        (200, &json!(0)),
        "{}",
        stop.text()
    );
    assert_eq!(server.settled(&id).await["status"], "cancelled");
}

/// Locks a file in a session's folder, and keeps the lock.
fn locks(server: &Server, file: &str) -> String {
    let sessions = server.home().join("sessions");
    format!("flock -x \"{}/$PROMPTD_SESSION/{file}\"", sessions.display())
}

/// Locks a file, if nobody else has.
pub(crate) fn lock_of(path: &Path) -> Option<Flock<File>> {
    Flock::lock(File::open(path).unwrap(), FlockArg::LockExclusiveNonblock).ok()
}

#[tokio::test]
async fn child_that_keeps_the_journal_locked_does_not_keep_the_turn() {
    require_program("flock", "util-linux");
    let server = Server::start().await;
    let lock = locks(&server, "journal.ndjson");
    // Without its environment it has no marker.
    for begin in ["", "env -i "] {
        let script = format!("{begin}{lock} sleep 600 & sleep 0.3; echo done");
        let id = server.shell(&script).await;
        let session = server.settled(&id).await;
        assert_eq!(session["status"], "completed", "{session}");
        assert_eq!(server.output(&id, "stdout").await, b"done\n");
    }
    // The same between two turns.
    let id = server
        .shell(&format!("(sleep 0.5; exec {lock} sleep 600) >/dev/null 2>&1 &"))
        .await;
    server.settled(&id).await;
    let journal = server.session_folder(&id).join("journal.ndjson");
    wait_until("the lock", || lock_of(&journal).is_none()).await;
    let prompts = format!("/v1/sessions/{id}/prompts");
    server.post(&prompts, json!({ "prompt": "echo next" })).await;
    assert_eq!(server.settled(&id).await["status"], "completed");
}

#[tokio::test]
async fn many_prompts_to_a_locked_session_take_no_threads_from_others() {
    let server = Server::start().await;
    let id = server.shell("echo first").await;
    server.settled(&id).await;
    // Not a process of an agent, so it is left alone.
    let journal = server.session_folder(&id).join("journal.ndjson");
    // Who wrote the turn's end unlocks it a moment after that can be seen.
    let lock = wait_until("the lock", || lock_of(&journal)).await;
    let prompts = format!("/v1/sessions/{id}/prompts");
    let ask = || Answer::of(server.request("POST", &prompts).json(&json!({ "prompt": "true" })));
    let asked = join_all((0..300).map(|_| ask()));
    let meanwhile = async {
        others_go_on(&server).await;
        let threads = procs::threads(server.pid());
        // On a busy machine, threads that look at a request for a moment add up.
        assert!(threads < 250, "{threads} threads");
    };
    let (answers, ()) = tokio::join!(asked, meanwhile);
    for answer in &answers {
        assert!(matches!(answer.status, 429 | 503), "{}", answer.text());
    }
    assert!(
        answers.iter().any(|answer| answer.code() == "session_locked"),
        "a clear reason"
    );
    drop(lock);
    assert_eq!(ask().await.status, 202, "nothing is left of it");
    server.settled(&id).await;
}

#[tokio::test]
async fn fifos_in_place_of_files_block_nobody() {
    let mut server = Server::start().await;
    let home = server.home();
    let id = server.shell("echo first").await;
    server.settled(&id).await;
    let folder = server.session_folder(&id);
    let fifo = |path: &Path| {
        let _gone = std::fs::remove_file(path);
        mkfifo(path, Mode::S_IRWXU).unwrap();
    };
    // In the way of the next turn, and of what the server replaces.
    for name in [
        "turn-2.stdout",
        "turn-2.prompt",
        "session.json.new",
        "file-secrets.json",
    ] {
        fifo(&folder.join(name));
    }
    for name in [
        "config.toml",
        "environment.json.new",
        "environment.json",
        "sdk.json",
        "token.new",
    ] {
        fifo(&home.join(name));
    }
    // It reads its configuration again.
    procs::signal(server.pid(), "HUP");
    let prompts = format!("/v1/sessions/{id}/prompts");
    server.post(&prompts, json!({ "prompt": "echo second" })).await;
    let session = server.settled(&id).await;
    assert_ne!(session["status"], "completed", "its output has no place: {session}");
    others_go_on(&server).await;
    for name in ["epoch.json", "links.json"] {
        fifo(&home.join(name));
    }
    std::fs::remove_file(home.join("config.toml")).unwrap();
    server.kill();
    server.start_again().await;
    others_go_on(&server).await;
    server.kill();
    fifo(&home.join("config.toml"));
    let refused = Server::with().home(&home).refused().await;
    assert!(
        refused.0 != Some(0) && refused.1.contains("it is not a regular file"),
        "{}",
        refused.1
    );
}
