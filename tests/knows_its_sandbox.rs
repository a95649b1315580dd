//! Which sandbox this is: the witnesses are asked in their order, once, and only where there is a platform.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of tests fails like a test"
)]

use crate::support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::Server;
use support::delivery::PATH;
use support::hostile::{Act, Backend};
use support::platform::Platform;

/// A `Host` as the platform's proxies give it.
const HOST: &str = "8080-ihostihost1234567890.e2b.app";

async fn sandbox(server: &Server) -> Value {
    server.get("/v1/info").await["sandbox"].clone()
}

/// The same, asked by way of the platform's proxies.
async fn sandbox_by_way_of(server: &Server, host: &str) -> Value {
    let request = server.request("GET", "/v1/info").header("host", host);
    let request = request.header("authorization", "Bearer t");
    let info: Value = serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap();
    info["sandbox"].clone()
}

#[tokio::test]
async fn the_metadata_service_is_believed_first_and_asked_once() {
    let platform = Platform::start();
    platform.metadata_says(Some("ifrommetadata"));
    platform.events_say(Some("ifromevents"));
    let server = Server::with().platform(&platform).arg("--auth=none").start().await;
    assert_eq!(platform.asked(), 0, "before anybody needed it");
    let expected = json!({ "id": "ifrommetadata", "source": "mmds" });
    for _ in 0..5 {
        assert_eq!(sandbox(&server).await, expected);
    }
    // A token and an answer.
    assert_eq!(platform.asked(), 2);
}

#[tokio::test]
async fn where_one_does_not_know_the_next_is_asked() {
    let platform = Platform::start();
    platform.events_say(Some("ifromevents"));
    let server = Server::with().platform(&platform).arg("--auth=none").start().await;
    assert_eq!(
        sandbox(&server).await,
        json!({ "id": "ifromevents", "source": "events" })
    );

    platform.events_say(None);
    let server = Server::with()
        .platform(&platform)
        .env("PROMPTD_TOKEN", "t")
        .start()
        .await;
    std::fs::write(platform.folder.join(".E2B_SANDBOX_ID"), "ifromfile").unwrap();
    let expected = json!({ "id": "ifromfile", "source": "file" });
    assert_eq!(sandbox_by_way_of(&server, "localhost:8080").await, expected);
    // What comes in by way of the proxies is newer than the file.
    let expected = json!({ "id": "ihostihost1234567890", "source": "host" });
    assert_eq!(sandbox_by_way_of(&server, HOST).await, expected);
}

#[tokio::test]
async fn who_does_not_answer_is_not_waited_for() {
    let platform = Platform::start();
    platform.metadata.always(Act::Hang);
    platform.events.always(Act::Hang);
    std::fs::write(platform.folder.join(".E2B_SANDBOX_ID"), "ifromfile").unwrap();
    let server = Server::with().platform(&platform).arg("--auth=none").start().await;
    let begun = Instant::now();
    assert_eq!(sandbox(&server).await, json!({ "id": "ifromfile", "source": "file" }));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let asked = platform.asked();
    assert_eq!(sandbox(&server).await["source"], "file");
    assert_eq!(platform.asked(), asked, "once is enough");
}

#[tokio::test]
async fn somebody_elses_metadata_service_tells_us_nothing() {
    let platform = Platform::start();
    platform.metadata_says(Some("not an id\r\nX-Evil: 1"));
    platform.events_say(Some(""));
    let server = Server::with().platform(&platform).arg("--auth=none").start().await;
    assert_eq!(sandbox(&server).await, Value::Null);
}

#[tokio::test]
async fn a_session_and_its_events_say_in_which_sandbox_it_was_begun() {
    let platform = Platform::start();
    platform.metadata_says(Some("ibegunhere"));
    let backend = Backend::start();
    let server = Server::with().platform(&platform).arg("--auth=none").start().await;
    let sinks = json!([{ "kind": "webhook", "name": "hook", "url": backend.url(PATH) }]);
    let id = server.pushed("echo hello", sinks).await;
    server.settled(&id).await;
    backend
        .wait_until("the turn's end at the webhook", |log| log.committed() >= 3)
        .await;
    for request in backend.committed() {
        let event: Value = serde_json::from_slice(&request.request.body).unwrap();
        assert_eq!(event["data"]["sandbox"], "ibegunhere", "{event}");
    }
}
