//! Retention: undelivered records are never deleted for their age, only for lack of disk space, and then the sink gets a gap.

use support::delivery::{PATH, to};
use support::hostile::{Act, Backend, Reply};
use support::{Server, wait_for, wait_until};

/// Makes a session of a server that is not running look as if it had ended last year.
fn make_old(server: &Server, id: &str) {
    let path = server.session_folder(id).join("journal.ndjson");
    let journal = std::fs::read_to_string(&path).unwrap();
    let old: String = journal
        .lines()
        .map(|line| {
            let (head, rest) = line.split_once("\"time\":\"").unwrap();
            format!(
                "{head}\"time\":\"2025-01-01T{}\n",
                rest.get("2026-01-01T".len()..).unwrap()
            )
        })
        .collect();
    std::fs::write(&path, old).unwrap();
}

/// A session that ends makes the server look at what it may forget.
async fn let_it_look(server: &Server) {
    let id = server.shell("true").await;
    server.settled(&id).await;
}

#[tokio::test]
async fn undelivered_records_are_kept_or_reported() {
    let backend = Backend::start();
    backend.always(Act::Answer(Reply::status(401)));
    let mut server = Server::with().config("[limits]\nkeep_days = 1\n").start().await;
    let had = server.shell("echo nobody waits for this").await;
    let not_had = server.pushed("seq 1 1000", to(&backend)).await;
    for id in [&had, &not_had] {
        server.settled(id).await;
    }
    server
        .sink_when(&not_had, "backend", |sink| sink["state"] == "paused")
        .await;
    server.terminate().await;
    make_old(&server, &had);
    make_old(&server, &not_had);

    server.start_again().await;
    let_it_look(&server).await;
    let (gone, kept) = (server.session_folder(&had), server.session_folder(&not_had));
    wait_until("the old session without sinks to go", || !gone.exists()).await;
    assert!(kept.exists(), "a sink has not had it");
    let last = server.session(&not_had).await["last_seq"].as_u64().unwrap();

    // Now there is no room for it.
    server.configure("[limits]\nkeep_days = 1\ntotal_bytes = 1000\n");
    wait_for("the changed limit", async || {
        server.get("/v1/info").await["limits"]["total_bytes"] == 1000
    })
    .await;
    let_it_look(&server).await;
    wait_until("the session to go for want of room", || !kept.exists()).await;
    let (status, _) = server
        .send("GET", &format!("/v1/sessions/{not_had}"), serde_json::Value::Null)
        .await;
    assert_eq!(status, 404);

    // A server that is killed meanwhile remembers what it owes.
    server.kill();
    backend.behave();
    server.start_again().await;
    backend.wait_for_record(PATH, &not_had, last + 1).await;
    let taken = backend.committed();
    assert_eq!(taken.len(), 1, "all that is left of it");
    let batch = taken[0].json();
    assert_eq!(batch["session"], not_had.as_str());
    let gap = &batch["records"][0];
    assert_eq!(
        (gap["type"].as_str(), gap["seq"].as_u64()),
        (Some("gap"), Some(last + 1))
    );
    assert!(
        gap["reason"].as_str().unwrap().contains(&format!("up to {last}")),
        "{gap}"
    );
    assert!(gap["bytes"].as_u64().unwrap() > 0, "{gap}");
    let_it_look(&server).await;
    let sessions = server.home().join("sessions");
    wait_until("what was told to go", || {
        let names = std::fs::read_dir(&sessions).unwrap();
        !names
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with(".forgotten"))
    })
    .await;
}

#[tokio::test]
async fn low_disk_space_frees_closed_sessions_while_agents_work() {
    let keep = "[limits]\nkeep_days = 100000\n";
    let mut server = Server::with().config(keep).start().await;
    let old = server.shell("echo old").await;
    server.settled(&old).await;
    server.terminate().await;
    make_old(&server, &old);
    server.start_again().await;
    // It never comes to rest, as an agent that is frozen for want of room.
    let running = server.shell("exec sleep 600").await;
    server.record(&running, "started").await;
    assert!(server.session_folder(&old).exists());
    server.configure(&format!("{keep}min_free_bytes = 1000000000000000\n"));
    let folder = server.session_folder(&old);
    wait_until("the closed session to go", || !folder.exists()).await;
    assert_eq!(server.session(&running).await["status"], "running");
}
