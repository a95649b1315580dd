//! What ran before goes on after: time, keepers, streams, sinks.

use crate::support;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::delivery::PATH;
use support::hostile::{Act, Backend, Reply};
use support::network::Network;
use support::platform::Platform;
use support::{PATIENCE, Server, assert_no_holes, joined, of_type, procs};

use super::{AWAY, BUSY, Clock, SOON, epoch, freeze, processes, said, talk, thaw};

#[tokio::test]
async fn timeouts_count_the_time_that_the_agents_had() {
    let server = Server::start().await;
    // Each needs less running time than it has, and is away for longer than all of it.
    let ask = |script: String, limit: &str, seconds: f64| {
        let mut request = json!({ "agent": "shell", "prompt": script });
        request[limit] = json!(seconds);
        request
    };
    let talks = server.create(ask(talk(25), "timeout", 6.0)).await;
    let silent = server
        .create(ask("sleep 2.5; echo line 1".to_owned(), "idle_timeout", 4.0))
        .await;
    let endless = server
        .create(ask("echo line 1; sleep 1000".to_owned(), "timeout", 3.0))
        .await;
    for id in [&talks, &endless] {
        server.record(id, "stdout").await;
    }
    server.record(&silent, "started").await;
    let frozen = freeze(&server);
    // The pause itself is what is tested.
    tokio::time::sleep(Duration::from_secs(7)).await;
    thaw(&frozen);
    for (id, lines) in [(&talks, 25), (&silent, 1)] {
        let session = server.settled(id).await;
        assert_eq!(session["status"], "completed", "{session}");
        let records = server.records(id).await;
        assert_eq!(joined(&records, "stdout"), said(lines).as_bytes());
        assert_no_holes(&records, 1);
    }
    let session = server.settled(&endless).await;
    assert_eq!(
        (&session["status"], &session["turns"][0]["cause"]),
        (&json!("timed_out"), &json!("timeout"))
    );
    let ran = session["turns"][0]["duration"].as_f64().unwrap();
    assert!((3.0..7.0).contains(&ran), "it had 3 s, and was counted {ran}");
}

#[tokio::test]
async fn a_keeper_that_comes_after_a_pause_does_not_count_it_either() {
    let server = Server::start().await;
    let script = format!("echo begun; until [ -e go ]; do sleep 0.05; done; {}", talk(15));
    let id = server
        .create(json!({ "agent": "shell", "prompt": script, "timeout": 8.0 }))
        .await;
    server.record(&id, "stdout").await;
    let frozen = freeze(&server);
    // The pause itself is what is tested.
    tokio::time::sleep(Duration::from_secs(9)).await;
    thaw(&frozen);
    let told = server.session_folder(&id).join("turn-1.paused");
    support::eventually("the keeper's note", || told.exists()).await;
    let first = procs::keepers(&server.home())[0];
    procs::signal(first, "KILL");
    let next = || procs::keepers(&server.home()).iter().any(|pid| *pid != first);
    support::eventually("the next keeper", next).await;
    server.touch("go");
    let session = server.settled(&id).await;
    let turn = &session["turns"][0];
    // The exit code went with the first keeper, and nothing else did.
    assert_eq!(turn["cause"], "keeper_lost", "{session}");
    let ran = turn["duration"].as_f64().unwrap();
    assert!(ran < 8.0, "it was counted {ran}");
    let expected = format!("begun\n{}", said(15));
    assert_eq!(server.output(&id, "stdout").await, expected.as_bytes());
    support::eventually("the end of the turn's files", || !told.exists()).await;
}

#[tokio::test]
async fn a_cold_boot_ends_what_ran_and_says_why() {
    let mut server = Server::start().await;
    let id = server.shell("echo line 1; sleep 1000").await;
    let next = server
        .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "echo next" }))
        .await;
    assert_eq!(next["turn"], 2);
    server.record(&id, "stdout").await;
    let first = epoch(&server).await;
    let all = processes(&server);
    server.kill();
    for pid in all {
        procs::signal(pid, "KILL");
    }
    procs::kill_marked(&server.home());
    // Another boot: what the disk remembers is of the one before.
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let other = boot_id.trim().replace(|digit: char| digit.is_ascii_digit(), "a");
    for file in [
        server.session_folder(&id).join("journal.ndjson"),
        server.home().join("epoch.json"),
    ] {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(boot_id.trim()), "{}", file.display());
        std::fs::write(&file, text.replace(boot_id.trim(), &other)).unwrap();
    }
    server.start_again().await;
    let session = server.settled(&id).await;
    let turns = &session["turns"];
    assert_eq!(
        (&turns[0]["status"], &turns[0]["cause"]),
        (&json!("lost"), &json!("host_restart"))
    );
    assert_eq!(turns[1]["status"], "completed", "what waited goes on: {session}");
    assert_ne!(epoch(&server).await, first);
    assert_no_holes(&server.records(&id).await, 1);
}

/// Fails unless all that was taken over came under the first epoch, and from some batch on under the second.
fn assert_epochs(backend: &Backend, first: &str, second: &str) {
    let committed = backend.committed();
    let epochs: Vec<_> = committed
        .iter()
        .map(|seen| seen.request.header("promptd-epoch"))
        .collect();
    let changes = epochs.iter().position(|epoch| *epoch == second);
    let (before, after) = epochs.split_at(changes.expect("a batch of the new epoch"));
    assert!(
        !before.is_empty() && before.iter().all(|epoch| *epoch == first),
        "{epochs:?}"
    );
    assert!(after.iter().all(|epoch| *epoch == second), "{epochs:?}");
}

/// A WebSocket that says nothing and is never read.
async fn silent_websocket(server: &Server, id: &str) -> reqwest::Response {
    let request = server
        .request("GET", &format!("/v1/sessions/{id}/ws"))
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 101);
    answer
}

/// The whole of it, as it is when a sandbox is paused and comes back somewhere else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_sandbox_that_comes_back_elsewhere_goes_on_as_if_nothing_had_been() {
    const LINES: u32 = 60;
    let Some(network) = Network::lay() else { return };
    let (platform, backend) = (Platform::start(), Backend::start());
    platform.metadata_says(Some("ibefore"));
    let records = network.reach(backend.port()).await;
    let metadata = network.reach(platform.metadata.port()).await;
    let clock = Clock::new();
    let mut server = clock
        .of(Server::with())
        .platform(&platform)
        .env("PROMPTD_E2B_METADATA", format!("http://{metadata}"))
        .runner(&network.runner())
        .at(&network.inside())
        .arg("--auth=none")
        .arg("--insecure-public")
        .start()
        .await;
    let sinks = json!([{ "kind": "http", "name": "backend", "url": format!("http://{records}{PATH}") }]);
    let request = json!({ "agent": "shell", "prompt": talk(LINES), "sinks": sinks, "timeout": 12.0 });
    let id = server.create(request).await;
    assert_eq!(server.get("/v1/info").await["sandbox"]["id"], "ibefore");
    let first = epoch(&server).await;

    // Readers of every kind, and a delivery that is under way.
    let path = format!("/v1/sessions/{id}/events");
    let mut sse = server.sse(&path, None).await;
    let mut websocket = server.websocket(&format!("/v1/sessions/{id}/ws")).await;
    let idle = server.create(json!({ "agent": "shell" })).await;
    let silent = silent_websocket(&server, &idle).await;
    let mut seen = Vec::new();
    while seen.len() < 10 {
        let event = sse.next().await.unwrap();
        seen.push(serde_json::from_str::<Value>(&event.data).unwrap());
    }
    websocket.next().await.unwrap().unwrap();
    backend.wait_for_record(PATH, &id, 5).await;
    backend.always(Act::Hang);
    backend
        .wait_until("a delivery under way", |log| log.running() > 0)
        .await;

    // Nothing is to be sent again: only the machine's own word can tell that the answer will not come.
    support::eventually("the arrival of the request", || network.has_all_arrived()).await;

    let frozen = freeze(&server);
    let readers = network.left_inside();
    assert!(readers >= 3, "{readers}");
    network.cut_off().await;
    platform.metadata_says(Some("iafter"));
    clock.step(AWAY);
    // Long enough that a timeout that counted it would end the turn.
    tokio::time::sleep(Duration::from_secs(8)).await;
    network.come_back_elsewhere(metadata).await;
    backend.always(Act::Answer(Reply::ok()));
    let before = backend.requests().len();
    thaw(&frozen);
    let thawed = Instant::now();

    // The first answer is of the new epoch.
    server.client = reqwest::Client::builder().no_proxy().build().unwrap();
    let second = epoch(&server).await;
    assert_ne!(second, first);
    let sandbox = json!({ "id": "iafter", "source": "mmds" });
    assert_eq!(server.get("/v1/info").await["sandbox"], sandbox);

    // The delivery did not wait for an answer that cannot come.
    backend
        .wait_until("another delivery", |log| {
            log.requests.len() > before && log.running() == 0
        })
        .await;
    assert!(thawed.elapsed() < SOON + BUSY, "{:?}", thawed.elapsed());

    // A reader comes back with its cursor, and has everything once.
    let last = seen.last().unwrap()["seq"].as_u64().unwrap();
    let mut again = server.sse(&path, Some(last)).await;
    while let Some(event) = again.next().await.filter(|event| event.event != "end") {
        seen.push(serde_json::from_str(&event.data).unwrap());
    }
    let session = server.session(&id).await;
    assert_eq!(session["status"], "completed", "{session}");
    assert_no_holes(&seen, 1);
    assert_eq!(joined(&seen, "stdout"), said(LINES).as_bytes());
    let resumed = of_type(&seen, "resumed");
    assert_eq!(resumed.len(), 1, "{resumed:?}");
    assert_eq!(
        (&resumed[0]["epoch"], &resumed[0]["sandbox"]),
        (&json!(second), &json!("iafter"))
    );
    assert!(
        (resumed[0]["away"].as_f64().unwrap() - AWAY).abs() < 20.0,
        "{resumed:?}"
    );

    // The backend has everything, what was cut before under the old epoch and the rest under the new one.
    server.all_arrived(&backend, PATH, &id).await;
    assert_epochs(&backend, &first, &second);

    // Connections from before are found to lead nowhere.
    support::eventually("the end of dead connections", || network.left_inside() == 0).await;
    assert!(thawed.elapsed() < PATIENCE, "{:?}", thawed.elapsed());
    drop((websocket, silent, sse));
}
