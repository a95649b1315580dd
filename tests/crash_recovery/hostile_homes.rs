//! What agents do to the home as a whole: their own session's identity, the lock, the control socket. It costs their own
//! session, and keeps no server out.

use serde_json::Value;
use support::{Server, procs, require_program, wait_until};

use crate::hostile_agents::{is_given_up, lock_of, others_go_on};

/// The folder was taken for one that was never accepted, and removed with its journal; its processes lived on.
#[tokio::test]
async fn session_without_its_request_is_damaged_not_removed() {
    let mut server = Server::start().await;
    let folder = server.home().join("sessions/$PROMPTD_SESSION");
    let script = format!(
        "(setsid sleep 600 &) ; rm \"{}/session.json\"; echo removed; sleep 600",
        folder.display()
    );
    let id = server.shell(&script).await;
    server.record(&id, "stdout").await;
    server.kill();
    server.start_again().await;
    is_given_up(&server, &id, "no session.json").await;
    let journal = std::fs::read_to_string(server.session_folder(&id).join("journal.ndjson")).unwrap();
    assert!(journal.contains("removed"), "{journal}");
    others_go_on(&server).await;
    let deleted = server.ask("DELETE", &format!("/v1/sessions/{id}"), &Value::Null).await;
    assert_eq!(deleted.status, 204, "{}", deleted.text());
}

/// Else one session's journal would be shown, and deleted, as that of another.
#[tokio::test]
async fn session_takes_no_others_place() {
    let mut server = Server::start().await;
    let other = server.shell("echo mine").await;
    server.settled(&other).await;
    let sessions = server.home().join("sessions");
    let script = format!(
        "sed -i \"s/$PROMPTD_SESSION/{other}/\" \"{}/$PROMPTD_SESSION/session.json\"; echo changed; sleep 600",
        sessions.display()
    );
    let thief = server.shell(&script).await;
    server.record(&thief, "stdout").await;
    // The same for what is left of a session that was deleted for space.
    let forgotten = sessions.join(".forgotten-gone");
    std::fs::create_dir(&forgotten).unwrap();
    std::fs::copy(
        sessions.join(&other).join("session.json"),
        forgotten.join("session.json"),
    )
    .unwrap();
    server.kill();
    server.start_again().await;
    is_given_up(&server, &thief, "the id of another").await;
    assert_eq!(server.output(&other, "stdout").await, b"mine\n");
    assert!(!forgotten.exists());
    let deleted = server
        .ask("DELETE", &format!("/v1/sessions/{thief}"), &Value::Null)
        .await;
    assert_eq!(deleted.status, 204, "{}", deleted.text());
    assert_eq!(server.output(&other, "stdout").await, b"mine\n");
}

#[tokio::test]
async fn agents_that_hold_the_home_keep_no_server_out() {
    require_program("flock", "util-linux");
    require_program("perl", "perl-base");
    let mut server = Server::start().await;
    let lock = server.home().join("lock");
    let listen = "unlink 'control.sock'; IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => 'control.sock', Listen => 1) or die; \
                  $| = 1; print \"listens\\n\"; sleep 600";
    let script = format!(
        "(env -i flock -x \"{0}\" sleep 600 &); flock -x \"{0}\" sleep 600 & cd \"{1}\"; exec perl -MIO::Socket::UNIX -e \"{2}\"",
        lock.display(),
        server.home().display(),
        listen.replace('$', "\\$").replace('"', "\\\""),
    );
    let id = server.shell(&script).await;
    server.record(&id, "stdout").await;
    server.kill();
    wait_until("the lock", || lock_of(&lock).is_none()).await;
    server.start_again().await;
    others_go_on(&server).await;
    let connected = std::os::unix::net::UnixStream::connect(server.home().join("control.sock"));
    assert!(connected.is_ok(), "the server's own socket is there again");
    server.ask("DELETE", &format!("/v1/sessions/{id}"), &Value::Null).await;
    assert!(procs::marked(&server.session_folder(&id)).is_empty());
}

/// A link that leads nowhere is in the way of a rename, too.
#[tokio::test]
async fn link_in_the_way_of_deleted_folders_keeps_no_session() {
    let server = Server::start().await;
    let deleted = server.home().join("sessions/.deleted-");
    let id = server
        .shell(&format!("ln -s nowhere \"{}$PROMPTD_SESSION\"", deleted.display()))
        .await;
    assert_eq!(server.settled(&id).await["status"], "completed");
    for wanted in [204, 404] {
        let answer = server.ask("DELETE", &format!("/v1/sessions/{id}"), &Value::Null).await;
        assert_eq!(answer.status, wanted, "{}", answer.text());
    }
}
