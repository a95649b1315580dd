//! The machine is paused, cloned, suspended or rebooted: what was promised before holds after.
//!
//! A pause is made of its parts: every process of the sandbox is stopped (SIGSTOP), its network is cut and comes back
//! with other neighbours, the wall clock is stepped, and the platform says another id. Nothing of the machine that the
//! tests run on is disturbed: the step is in a file that a server with debug assertions adds to its clock.

use std::sync::Arc;

use serde_json::{Value, json};
use support::delivery::PATH;
use support::envd::Envd;
use support::hostile::{Act, Backend, Reply};
use support::pause::{AWAY, Clock, epoch};
use support::platform::Platform;
use support::{Server, assert_no_holes, of_type, wait_for};

/// So many records of a type, which have to come by themselves: found on the disk, since whoever asks the server wakes it.
async fn in_journal(server: &Server, id: &str, kind: &str, count: usize) -> Vec<Value> {
    let path = server.session_folder(id).join("journal.ndjson");
    let what = format!("{count} records of type {kind} in the journal");
    wait_for(&what, async || {
        let text = std::fs::read_to_string(&path).unwrap();
        let records = text.split_inclusive('\n');
        let records = records.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let found: Vec<_> = records.filter(|record| record["type"] == kind).collect();
        if found.len() >= count { Ok(found) } else { Err(text) }
    })
    .await
}

#[tokio::test]
async fn clock_step_is_noticed_and_a_correction_is_not() {
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
async fn clock_step_off_platform_only_renews_connections() {
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
    // Long before the 30 s are over after which a request is given up.
    backend
        .wait_until("another delivery", |log| log.requests.len() > before)
        .await;
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
async fn tokens_are_checked_again_after_a_resume() {
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
async fn restart_keeps_the_epoch_unless_the_clock_stepped() {
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
async fn clone_with_the_same_clocks_gets_a_new_epoch() {
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
async fn clone_is_noticed_without_an_earlier_identity() {
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
async fn lost_identity_request_is_repeated_after_a_resume() {
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
