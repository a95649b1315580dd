//! The machine is paused, cloned, suspended or rebooted: what was promised before holds after.
//!
//! A pause is made of its parts: every process of the sandbox is stopped (SIGSTOP), its network is cut and comes back
//! with other neighbours, the wall clock is stepped, and the platform says another id. Nothing of the machine that the
//! tests run on is disturbed: the step is in a file that a server with debug assertions adds to its clock.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of tests fails like a test"
)]

mod goes_on;

use crate::support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::delivery::PATH;
use support::envd::Envd;
use support::hostile::{Act, Backend, Reply};
use support::platform::Platform;
use support::{Builder, Server, assert_no_holes, folder, of_type, procs};

/// By how much the clock is stepped, in seconds.
const AWAY: f64 = 3_600.0;

/// How soon a resume has to be noticed; and some time for a busy machine.
const SOON: Duration = Duration::from_secs(1);
const BUSY: Duration = Duration::from_secs(3);

/// Requests that a platform gets that knows nothing: a token, the metadata, and the same at the events host.
const HEADS: usize = 3;

/// The server's wall clock.
struct Clock(PathBuf);

impl Clock {
    fn new() -> Self {
        Self(folder("clock").join("step"))
    }

    fn of(&self, builder: Builder) -> Builder {
        builder.env("PROMPTD_TEST_CLOCK", self.0.display().to_string())
    }

    /// Sets it forward by so many seconds in all.
    fn step(&self, seconds: f64) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, seconds.to_string()).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }
}

/// Everything that runs in the sandbox.
fn processes(server: &Server) -> Vec<i32> {
    let home = server.home();
    let mut all = vec![server.pid()];
    all.extend(procs::keepers(&home));
    all.extend(procs::marked(&home));
    all
}

/// Stops everything; answers what was stopped.
fn freeze(server: &Server) -> Vec<i32> {
    let all = processes(server);
    for pid in &all {
        procs::signal(*pid, "STOP");
    }
    all
}

fn thaw(all: &[i32]) {
    // The agents first, as the kernel gives nobody the preference.
    for pid in all.iter().rev() {
        procs::signal(*pid, "CONT");
    }
}

/// A script that says a line each tenth of a second, `lines` times.
fn talk(lines: u32) -> String {
    format!("i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo line $i; sleep 0.1; done")
}

fn said(lines: u32) -> String {
    (1..=lines).map(|line| format!("line {line}\n")).collect()
}

async fn epoch(server: &Server) -> String {
    let answer = server.request("GET", "/v1/sessions").send().await.unwrap();
    answer.headers()["promptd-epoch"].to_str().unwrap().to_owned()
}

/// So many records of a type, which have to come soon: found on the disk, since whoever asks the server wakes it.
async fn in_journal(server: &Server, id: &str, kind: &str, count: usize) -> Vec<Value> {
    let path = server.session_folder(id).join("journal.ndjson");
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(&path).unwrap();
        let records = text
            .split_inclusive('\n')
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let found: Vec<_> = records.filter(|record| record["type"] == kind).collect();
        if found.len() >= count {
            return found;
        }
        assert!(
            begun.elapsed() < SOON + BUSY,
            "{} {kind} instead of {count}:\n{text}",
            found.len()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_step_of_the_clock_is_noticed_within_a_second_and_a_correction_is_none() {
    let (platform, clock) = (Platform::start(), Clock::new());
    let server = clock
        .of(Server::with())
        .platform(&platform)
        .arg("--auth=none")
        .start()
        .await;
    let id = server.shell("until [ -e go ]; do sleep 0.05; done").await;
    let waiting = server.create(json!({ "agent": "shell" })).await;
    let first = epoch(&server).await;
    server.record(&id, "started").await;
    // As NTP would, forward and back.
    for step in [1.5, 0.0, 1.0, 2.5] {
        clock.step(step);
        assert_eq!(epoch(&server).await, first, "after a step to {step}");
    }
    clock.step(AWAY);
    let resumed = in_journal(&server, &id, "resumed", 1).await;
    let resumed = &resumed[0];
    assert!((resumed["away"].as_f64().unwrap() - AWAY).abs() < 10.0, "{resumed}");
    assert_eq!(resumed["turn"], 1);
    let second = epoch(&server).await;
    assert_ne!(second, first);
    assert_eq!(
        (&resumed["epoch"], &resumed["previous"]),
        (&json!(second), &json!(first))
    );
    // Whoever asks first sees it, not only who asks later.
    clock.step(AWAY * 2.0);
    let third = epoch(&server).await;
    assert_ne!(third, second);
    let resumed = in_journal(&server, &id, "resumed", 2).await;
    let epochs: Vec<_> = resumed.iter().map(|record| record["epoch"].clone()).collect();
    assert_eq!(epochs, [json!(second), json!(third)]);
    assert_eq!(resumed[1]["previous"], json!(second));
    server.touch("go");
    server.settled(&id).await;
    assert_no_holes(&server.records(&id).await, 1);
    assert_eq!(
        server.records(&waiting).await,
        Vec::<Value>::new(),
        "nobody works there"
    );
}

/// NTP, a person, or a machine that comes out of sleep: nothing was cloned, and what was promised to readers holds.
#[tokio::test]
async fn off_the_platform_a_step_of_the_clock_renews_connections_and_nothing_else() {
    let (backend, clock) = (Backend::start(), Clock::new());
    let mut server = clock.of(Server::with()).start().await;
    let sinks = json!([{ "kind": "http", "name": "backend", "url": backend.url(PATH) }]);
    let id = server
        .pushed("echo begun; until [ -e go ]; do sleep 0.05; done", sinks)
        .await;
    let first = epoch(&server).await;
    backend.wait_for_record(PATH, &id, 1).await;
    server.record(&id, "stdout").await;
    backend.always(Act::Hang);
    server
        .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "true" }))
        .await;
    backend
        .wait_until("a delivery under way", |log| log.running() > 0)
        .await;
    let before = backend.requests().len();
    backend.always(Act::Answer(Reply::ok()));
    clock.step(AWAY);
    let stepped = Instant::now();
    backend
        .wait_until("another delivery", |log| log.requests.len() > before)
        .await;
    assert!(stepped.elapsed() < SOON + BUSY, "{:?}", stepped.elapsed());
    assert_eq!(epoch(&server).await, first);
    server.touch("go");
    server.settled(&id).await;
    assert_eq!(of_type(&server.records(&id).await, "resumed"), Vec::<&Value>::new());
    // Nor does one that comes while no server is there.
    server.kill();
    clock.step(AWAY * 2.0);
    server.start_again().await;
    assert_eq!(epoch(&server).await, first);
}

#[tokio::test]
async fn whom_the_platform_vouched_for_before_a_resume_is_asked_about_again() {
    let (platform, clock) = (Platform::start(), Arc::new(Clock::new()));
    let envd = Envd::start(Some("t"), &[]);
    let server = clock.of(Server::with()).platform(&platform).envd(&envd).start().await;
    let ask = async || {
        let request = server.request("GET", "/v1/info").header("x-access-token", "t");
        let (status, before) = (request.send().await.unwrap().status(), envd.asked());
        assert_eq!(status, 200);
        before
    };
    let asked = ask().await;
    assert_eq!(ask().await, asked, "what was just answered is not asked again");
    // The machine becomes another one while the daemon of the one before answers.
    let stepping = Arc::clone(&clock);
    clock.step(AWAY);
    envd.backend.script(move |arrival| {
        stepping.step(AWAY * 2.0);
        let right = arrival.request.header("x-access-token") == "t";
        Act::Answer(if right {
            Reply::ok().body("{}")
        } else {
            Reply::status(401)
        })
    });
    let during = ask().await;
    assert!(during > asked);
    assert!(ask().await > during, "that answer was not about this machine");
}

#[tokio::test]
async fn a_restart_keeps_the_epoch_and_a_step_while_nobody_was_there_does_not() {
    let (platform, clock) = (Platform::start(), Clock::new());
    let mut server = clock
        .of(Server::with())
        .platform(&platform)
        .arg("--auth=none")
        .start()
        .await;
    let first = epoch(&server).await;
    server.terminate().await;
    server.start_again().await;
    assert_eq!(epoch(&server).await, first);
    server.kill();
    clock.step(AWAY);
    server.start_again().await;
    assert_ne!(epoch(&server).await, first);
}

#[tokio::test]
async fn another_sandbox_with_the_same_clocks_is_another_epoch() {
    let platform = Platform::start();
    platform.metadata_says(Some("iparentiparent123456"));
    let server = Server::with()
        .platform(&platform)
        .env("PROMPTD_TOKEN", "t")
        .start()
        .await;
    let ask = async |host: &str| {
        let request = server.request("GET", "/v1/info").header("authorization", "Bearer t");
        let answer = request.header("host", host).send().await.unwrap();
        let epoch = answer.headers()["promptd-epoch"].to_str().unwrap().to_owned();
        let info: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(info["epoch"], epoch.as_str());
        (epoch, info["sandbox"]["id"].as_str().unwrap().to_owned())
    };
    let parent = ask("8080-iparentiparent123456.e2b.app").await;
    assert_eq!(parent.1, "iparentiparent123456");
    // Somebody calls by another name: the platform says whether that means anything.
    let alias = ask("8080-ialiasialias12345678.example.org").await;
    assert_eq!(alias, parent);
    platform.metadata_says(Some("iforkifork1234567890"));
    let fork = ask("8080-iforkifork1234567890.e2b.app").await;
    assert_eq!(fork.1, "iforkifork1234567890");
    assert_ne!(fork.0, parent.0, "the first answer already");
}

#[tokio::test]
async fn a_clone_is_noticed_also_where_the_platform_had_not_answered_before() {
    let platform = Platform::start();
    let server = Server::with()
        .platform(&platform)
        .env("PROMPTD_TOKEN", "t")
        .start()
        .await;
    let ask = async |host: &str| {
        let request = server.request("GET", "/v1/info").header("authorization", "Bearer t");
        let answer = request.header("host", host).send().await.unwrap();
        let epoch = answer.headers()["promptd-epoch"].to_str().unwrap().to_owned();
        let info: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        (epoch, info["sandbox"].clone())
    };
    let parent = ask("8080-iparentiparent123456.e2b.app").await;
    assert_eq!(parent.1["source"], "host", "nobody else has said anything");
    platform.metadata_says(Some("iforkifork1234567890"));
    let fork = ask("8080-iforkifork1234567890.e2b.app").await;
    assert_ne!(fork.0, parent.0);
    assert_eq!(fork.1, json!({ "id": "iforkifork1234567890", "source": "mmds" }));
}

#[tokio::test]
async fn a_platform_that_has_answered_before_is_asked_again_when_a_question_is_lost_after_a_resume() {
    let (platform, clock) = (Platform::start(), Clock::new());
    platform.metadata_says(Some("iparent"));
    let server = clock
        .of(Server::with())
        .platform(&platform)
        .arg("--auth=none")
        .start()
        .await;
    assert_eq!(server.get("/v1/info").await["sandbox"]["id"], "iparent");
    platform.metadata_misses_one();
    clock.step(AWAY);
    let sandbox = json!({ "id": "iparent", "source": "mmds" });
    assert_eq!(server.get("/v1/info").await["sandbox"], sandbox);
}

/// The kernel's word that the clock was set, for real, to a server for which nothing else is under way.
#[tokio::test]
async fn a_clock_that_is_set_has_an_idle_server_ask_who_it_is() {
    use nix::time::{ClockId, clock_gettime, clock_settime};
    let platform = Platform::start();
    platform.metadata_says(Some("iparent"));
    let server = Server::with().platform(&platform).arg("--auth=none").start().await;
    assert_eq!(server.get("/v1/info").await["sandbox"]["id"], "iparent");
    let first = epoch(&server).await;
    let known = async || {
        let answer = server.request("GET", "/healthz").send().await.unwrap();
        answer.headers()["promptd-epoch"].to_str().unwrap().to_owned()
    };
    // Right after a resume it may not answer yet.
    platform.metadata_says(None);
    let asked = platform.asked();
    // To what it is: nobody else notices.
    let now = clock_gettime(ClockId::CLOCK_REALTIME).unwrap();
    if let Err(error) = clock_settime(ClockId::CLOCK_REALTIME, now) {
        eprintln!("passed over: the clock cannot be set: {error}");
        return;
    }
    // It is asked at once, and when it knew nothing, again a second later.
    support::eventually("another question", || platform.asked() >= asked + 3 * HEADS).await;
    platform.metadata_says(Some("ifork"));
    let begun = Instant::now();
    while known().await == first {
        assert!(
            begun.elapsed() < SOON + BUSY,
            "asked {} times",
            platform.asked() - asked
        );
    }
    assert_eq!(known().await, "dormant", "nobody has needed another one yet");
    assert_ne!(epoch(&server).await, first);
    assert_eq!(server.get("/v1/info").await["sandbox"]["id"], "ifork");
}
