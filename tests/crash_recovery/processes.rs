//! Kill anything: no line is lost, none comes twice, and the agent does not notice.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use support::{
    Server, Sse, Wait, assert_no_holes, assert_same_bytes, joined, let_pass, of_type, procs, promptd, touch, wait_for,
    wait_until,
};

const KILLS: u64 = 20;
const READERS: usize = 3;

/// Writes numbered lines until it is told to end, and leaves a trace of having been started.
const AGENT: &str = "echo run >> runs; n=0; until [ -e done ]; do n=$((n+1)); echo \"line $n\"; sleep 0.002; done";

/// An agent at work, with readers that come back whenever they lose the server.
struct Scene {
    server: Server,
    id: String,
    agent: i32,
    readers: Vec<tokio::task::JoinHandle<Vec<Value>>>,
}

impl Scene {
    async fn begin() -> Self {
        let server = Server::start().await;
        let id = server.shell(AGENT).await;
        let agent = server.record(&id, "started").await["pid"].as_i64().unwrap();
        let url = format!("{}/v1/sessions/{id}/events", server.url);
        let readers = (0..READERS)
            .map(|_| tokio::spawn(read_persistently(url.clone())))
            .collect();
        let agent = agent.try_into().unwrap();
        Self {
            server,
            id,
            agent,
            readers,
        }
    }

    /// Lets the agent write some lines more, so that something is at stake, and then picks a moment.
    async fn moment(&self, round: u64) {
        let journal = self.server.session_folder(&self.id).join("journal.ndjson");
        let before = std::fs::metadata(&journal).unwrap().len();
        wait_until("another line", || std::fs::metadata(&journal).unwrap().len() > before).await;
        let moment = Duration::from_millis(50 + round * 97 % 250);
        let_pass(moment, "the victim is hit at different moments of its work").await;
    }

    /// Ends the agent, and fails unless every reader got every line once; answers the session.
    async fn end(self) -> Value {
        assert!(procs::lives(self.agent), "the agent has gone");
        // On a machine that is busy with others, it is not there yet.
        let journal = self.server.session_folder(&self.id).join("journal.ndjson");
        let records = || std::fs::read(&journal).unwrap().split(|byte| *byte == b'\n').count();
        wait_until("more than a hundred lines", || records() > 150).await;
        touch(&self.server.workspace().join("done"));
        let mut all = Vec::new();
        for reader in self.readers {
            all.push(reader.await.unwrap());
        }
        let session = self.server.settled(&self.id).await;
        let records = self.server.records(&self.id).await;
        assert_no_holes(&records, 1);
        for seen in all {
            assert!(
                seen == records,
                "a reader saw {} records of {}",
                seen.len(),
                records.len()
            );
        }
        let written = joined(&records, "stdout");
        let count = written.iter().filter(|byte| **byte == b'\n').count();
        assert!(count > 100, "only {count} lines were written");
        let expected: String = (1..=count).map(|n| format!("line {n}\n")).collect();
        assert_same_bytes("the lines", &written, expected.as_bytes());
        assert_same_bytes(
            "/output",
            &self.server.output(&self.id, "stdout").await,
            expected.as_bytes(),
        );
        let started = of_type(&records, "started");
        assert_eq!(started.len(), 1, "{started:?}");
        assert_eq!(started[0]["pid"], json!(self.agent));
        assert_eq!(of_type(&records, "gap"), Vec::<&Value>::new());
        let runs = std::fs::read_to_string(self.server.workspace().join("runs")).unwrap();
        assert_eq!(runs, "run\n", "the agent was started more than once");
        session
    }
}

/// Reads to the end as a browser does: whenever the server is lost, again from the last event on.
async fn read_persistently(url: String) -> Vec<Value> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut records: Vec<Value> = Vec::new();
    loop {
        let last = u64::try_from(records.len()).unwrap();
        let mut wait = Wait::new("a server that answers the reader");
        let mut sse = loop {
            let connected = Sse::connect(&client, &url, (last > 0).then_some(last)).await;
            if let Some(sse) = wait.look(connected) {
                break sse;
            }
            wait.pause().await;
        };
        while let Some(event) = sse.next().await {
            if event.event == "end" {
                return records;
            }
            let expected = u64::try_from(records.len()).unwrap() + 1;
            assert_eq!(event.id, Some(expected), "a hole or a double");
            records.push(serde_json::from_str(&event.data).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_killed_twenty_times_loses_no_line() {
    let mut scene = Scene::begin().await;
    for round in 0..KILLS {
        scene.moment(round).await;
        scene.server.kill();
        scene.server.start_again().await;
        assert!(procs::lives(scene.agent), "the agent died with the server");
    }
    let session = scene.end().await;
    assert_eq!(session["status"], json!("completed"), "{session}");
    assert_eq!(session["turns"][0]["exit_code"], json!(0), "{session}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeper_killed_twenty_times_loses_no_line() {
    let scene = Scene::begin().await;
    let home = scene.server.home();
    let mut killed = Vec::new();
    for round in 0..KILLS {
        scene.moment(round).await;
        wait_until("a keeper", || {
            procs::keepers(&home).iter().any(|keeper| !killed.contains(keeper))
        })
        .await;
        for keeper in procs::keepers(&home) {
            procs::signal(keeper, "KILL");
            killed.push(keeper);
        }
        assert!(procs::lives(scene.agent), "the agent died with its keeper");
    }
    assert!(killed.len() >= usize::try_from(KILLS).unwrap());
    let session = scene.end().await;
    // Whose exit code it was is not known any more; that is said, and nothing made up.
    assert_eq!(session["status"], json!("lost"), "{session}");
    assert_eq!(session["turns"][0]["cause"], json!("keeper_lost"), "{session}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_and_keeper_killed_together_lose_no_line() {
    let mut scene = Scene::begin().await;
    let home = scene.server.home();
    for round in 0..5 {
        scene.moment(round).await;
        for keeper in procs::keepers(&home) {
            procs::signal(keeper, "KILL");
        }
        scene.server.kill();
        assert!(procs::lives(scene.agent), "the agent died with everybody else");
        scene.server.start_again().await;
    }
    let session = scene.end().await;
    assert_eq!(session["turns"][0]["cause"], json!("keeper_lost"), "{session}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_binary_takes_over_and_loses_no_line() {
    let mut scene = Scene::begin().await;
    for round in 0..4_u64 {
        let new = scene.server.root.join(format!("promptd-{round}"));
        std::fs::copy(promptd(), &new).unwrap();
        scene.moment(round).await;
        assert_eq!(scene.server.terminate().await, Some(0), "{}", scene.server.log());
        assert!(procs::lives(scene.agent), "the agent died with the server");
        scene.server.start_again_as(&new).await;
        let runs = std::fs::read_link(format!("/proc/{}/exe", scene.server.pid())).unwrap();
        assert_eq!(runs, new);
        if round > 0 {
            // An upgrade that removes the old file: nobody needs it any more.
            std::fs::remove_file(scene.server.root.join(format!("promptd-{}", round - 1))).unwrap();
        }
    }
    let session = scene.end().await;
    assert_eq!(session["status"], json!("completed"), "{session}");
    assert_eq!(session["turns"][0]["exit_code"], json!(0), "{session}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turn_accepted_before_a_kill_starts_exactly_once() {
    let mut server = Server::start().await;
    let mut sessions = Vec::new();
    for round in 0..KILLS {
        let trace = server.root.join(format!("trace-{round}"));
        let id = server.shell(&format!("echo x >> {}", trace.display())).await;
        // From before anything was done to after all of it.
        let_pass(
            Duration::from_micros(round / 2 * 700),
            "the server is hit at different moments",
        )
        .await;
        server.kill();
        server.start_again().await;
        sessions.push((id, trace));
    }
    for (id, trace) in sessions {
        assert_ran_once(&server, &id, &trace).await;
    }
}

async fn assert_ran_once(server: &Server, id: &str, trace: &Path) {
    let session = server.settled(id).await;
    let records = server.records(id).await;
    assert_no_holes(&records, 1);
    let kinds: Vec<_> = records.iter().map(|record| record["type"].as_str().unwrap()).collect();
    assert_eq!(of_type(&records, "started").len(), 1, "{kinds:?}");
    assert_eq!(of_type(&records, "exited").len(), 1, "{kinds:?}");
    assert_eq!(of_type(&records, "turn_ended").len(), 1, "{kinds:?}");
    assert_eq!(session["status"], json!("completed"), "{session} {records:?}");
    assert_eq!(std::fs::read_to_string(trace).unwrap(), "x\n", "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeper_killed_at_start_never_starts_the_agent_twice() {
    let server = Server::start().await;
    let home = server.home();
    for round in 0..KILLS {
        let trace = server.root.join(format!("trace-{round}"));
        let id = server.shell(&format!("echo x >> {}; echo done", trace.display())).await;
        wait_for("a keeper", async || {
            !procs::keepers(&home).is_empty() || server.session(&id).await["status"] == json!("completed")
        })
        .await;
        let_pass(
            Duration::from_micros(round * 500),
            "the keeper is hit at different moments",
        )
        .await;
        for keeper in procs::keepers(&home) {
            procs::signal(keeper, "KILL");
        }
        let session = server.settled(&id).await;
        let records = server.records(&id).await;
        assert_no_holes(&records, 1);
        assert!(of_type(&records, "started").len() <= 1, "{records:?}");
        let runs = std::fs::read_to_string(&trace).unwrap_or_default();
        assert!(runs.is_empty() || runs == "x\n", "it ran more than once: {runs:?}");
        if session["status"] == json!("completed") {
            assert_eq!(joined(&records, "stdout"), b"done\n", "{records:?}");
        } else {
            assert_eq!(session["turns"][0]["cause"], json!("keeper_lost"), "{session}");
        }
    }
}

/// As `pkill -u user` does it: everybody of the user is asked to end, and only the agent itself is not impressed.
#[tokio::test]
async fn agent_that_signals_all_processes_ends_only_the_server() {
    let mut server = Server::start().await;
    let script = format!(
        "trap '' TERM; kill -TERM {} $PPID; until [ -e go ]; do sleep 0.02; done; echo still; exit 3",
        server.pid()
    );
    let id = server.shell(&script).await;
    wait_until("the server's end", || server.log().contains("shutting down")).await;
    server.kill();
    server.touch("go");
    server.start_again().await;
    let session = server.settled(&id).await;
    // Only the first keeper knows it.
    assert_eq!(session["turns"][0]["exit_code"], 3, "{session}");
    assert_eq!(server.output(&id, "stdout").await, b"still\n");
}
