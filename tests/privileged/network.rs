//! The whole of a pause: stopped processes, a network that was cut, a stepped clock, another sandbox id.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use support::delivery::PATH;
use support::hostile::{Act, Backend, Reply};
use support::network::Network;
use support::pause::{AWAY, BUSY, Clock, SOON, epoch, freeze, said, talk, thaw};
use support::platform::Platform;
use support::{Server, assert_no_holes, joined, let_pass, of_type};

/// A reader that takes nothing is cut off after 30 seconds; twice that is too long.
const DEAD: Duration = Duration::from_secs(60);

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
async fn paused_sandbox_resumes_in_another_network() {
    const LINES: u32 = 60;
    let network = Network::lay();
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
    support::wait_until("the arrival of the request", || network.has_all_arrived()).await;

    let frozen = freeze(&server);
    let readers = network.left_inside();
    assert!(readers >= 3, "{readers}");
    network.cut_off().await;
    platform.metadata_says(Some("iafter"));
    clock.step(AWAY);
    let_pass(Duration::from_secs(8), "a timeout that counted it would end the turn").await;
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
    support::wait_until_within(DEAD, "the end of dead connections", || network.left_inside() == 0).await;
    assert!(thawed.elapsed() < DEAD, "{:?}", thawed.elapsed());
    drop((websocket, silent, sse));
}
