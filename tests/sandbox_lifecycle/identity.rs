//! Which sandbox this is: sources are asked in order, once, and only on the platform.

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
async fn metadata_service_has_precedence_and_is_asked_once() {
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
async fn next_source_is_asked_when_one_does_not_know() {
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
async fn silent_source_does_not_delay_the_answer() {
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
async fn foreign_metadata_service_is_ignored() {
    let platform = Platform::start();
    platform.metadata_says(Some("not an id\r\nX-Evil: 1"));
    platform.events_say(Some(""));
    let server = Server::with().platform(&platform).arg("--auth=none").start().await;
    assert_eq!(sandbox(&server).await, Value::Null);
}

#[tokio::test]
async fn session_and_events_name_their_sandbox() {
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
