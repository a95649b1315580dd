//! A permission question survives the server and its keeper.

use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Server, assert_no_holes, let_pass, procs};

use crate::answers::{QUESTIONS, heard};

#[tokio::test]
async fn question_and_its_deadline_survive_a_restart() {
    let mut server = Server::with().scripted().start().await;
    let id = server.act("ask\nsay Bye.", json!({})).await;
    let question = server.question(&id).await;
    let agent = server.record(&id, "started").await["pid"]
        .as_i64()
        .unwrap()
        .try_into()
        .unwrap();
    server.kill();
    server.start_again().await;
    assert_eq!(server.question(&id).await, question);
    assert!(procs::lives(agent), "the agent died with the server");
    assert_eq!(server.reply(&id, &question, "allow_once").await.0, 200);
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["result"], "told allow-once. Bye.", "{session}");
    assert_eq!(server.heard_in_short(""), heard(["allow-once", "EOF"]));
    // Away for longer than the limit: the default is given as soon as somebody is there again.
    let id = server
        .act("ask", json!({ "cwd": "late", "permission_timeout": 600.0 }))
        .await;
    server.question(&id).await;
    server.kill();
    expire(&server, &id);
    server.start_again().await;
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["result"], "told reject-once. ", "{session}");
}

/// Makes the time to answer look as if it had been over last year.
fn expire(server: &Server, id: &str) {
    const NAME: &str = "\"expires_at\":\"";
    let path = server.session_folder(id).join("journal.ndjson");
    let text = std::fs::read_to_string(&path).unwrap();
    let at = text.find(NAME).unwrap() + NAME.len();
    // In place, as its keeper lives and appends.
    let journal = std::fs::File::options().write(true).open(path).unwrap();
    journal.write_all_at(b"2025", u64::try_from(at).unwrap()).unwrap();
}

#[tokio::test]
async fn broken_mcp_file_does_not_disturb_a_running_agent() {
    let mut server = Server::with().scripted().start().await;
    let id = server.act("ask\nsay Bye.", json!({})).await;
    let question = server.question(&id).await;
    server.kill();
    std::fs::write(server.workspace().join("mcp.json"), "{").unwrap();
    server.start_again().await;
    assert_eq!(server.reply(&id, &question, "allow_once").await.0, 200);
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["result"], "told allow-once. Bye.", "{session}");
}

#[tokio::test]
async fn pause_does_not_count_as_time_to_answer() {
    let paused = async || {
        let server = Server::with().scripted().start().await;
        let id = server.act("ask", json!({ "permission_timeout": 4.0 })).await;
        server.question(&id).await;
        procs::signal(server.pid(), "STOP");
        let_pass(Duration::from_secs(6), "the pause itself").await;
        procs::signal(server.pid(), "CONT");
        assert_eq!(server.session(&id).await["status"], "waiting");
        let session = server.settled(&id).await;
        assert_eq!(session["turns"][0]["result"], "told reject-once. ", "{session}");
    };
    // The pause may hit a server at any moment from when its question can be seen, so several are tried.
    futures_util::future::join_all([(); 6].map(|()| paused())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_killed_at_any_moment_answers_once() {
    let mut server = Server::with().scripted().start().await;
    let id = server.act(&"ask\n".repeat(QUESTIONS), json!({})).await;
    for round in 0..QUESTIONS {
        let asked = move |session: &Value| {
            session["pending_permissions"][0]["id"].as_str() == Some(&*format!("1.1.{}", round + 1))
        };
        let session = server.session_when(&id, asked).await;
        let (status, _) = server
            .reply(&id, &session["pending_permissions"][0], "allow_once")
            .await;
        assert_eq!(status, 200);
        let moment = Duration::from_micros(u64::try_from(round).unwrap() * 400);
        let_pass(moment, "from before anything was done about it to after all of it").await;
        server.kill();
        server.start_again().await;
    }
    let session = server.settled(&id).await;
    assert_eq!(session["status"], "completed", "{session}");
    let mut expected: Vec<String> = heard([]);
    expected.extend(std::iter::repeat_n("allow-once".to_owned(), QUESTIONS));
    expected.push("EOF".to_owned());
    assert_eq!(server.heard_in_short(""), expected);
    assert_no_holes(&server.records(&id).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_during_handshake_does_not_start_it_twice() {
    let mut server = Server::with().scripted().start().await;
    for round in 0..10_u64 {
        let cwd = format!("round-{round}");
        let id = server.act("say Done.", json!({ "cwd": cwd })).await;
        let_pass(
            Duration::from_millis(round * 12),
            "the server is hit at different moments",
        )
        .await;
        server.kill();
        server.start_again().await;
        let session = server.settled(&id).await;
        assert_eq!(session["turns"][0]["result"], "Done.", "{session}");
        assert_eq!(server.heard_in_short(&cwd), heard(["EOF"]));
    }
}

#[tokio::test]
async fn question_survives_a_keeper_kill() {
    let server = Server::with().scripted().start().await;
    let id = server.act("ask\nask", json!({})).await;
    let first = server.question(&id).await;
    let home = server.home();
    let killed = procs::keepers(&home);
    for keeper in &killed {
        procs::signal(*keeper, "KILL");
    }
    // While there is no keeper, too.
    assert_eq!(server.reply(&id, &first, "allow_once").await.0, 200);
    let second = move |session: &Value| session["pending_permissions"][0]["id"] == "1.1.2";
    let session = server.session_when(&id, second).await;
    assert!(procs::keepers(&home).iter().all(|keeper| !killed.contains(keeper)));
    server
        .reply(&id, &session["pending_permissions"][0], "reject_once")
        .await;
    let session = server.settled(&id).await;
    // Its exit code is lost; its final word is not.
    assert_eq!(session["status"], "completed", "{session}");
    assert_eq!(session["turns"][0]["result"], "told allow-once. told reject-once. ");
    assert_eq!(server.heard_in_short(""), heard(["allow-once", "reject-once", "EOF"]));
}
