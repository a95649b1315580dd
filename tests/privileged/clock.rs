//! The kernel's own notice that the clock was set.

use std::time::Instant;

use support::pause::{BUSY, SOON, epoch};
use support::platform::Platform;
use support::{Server, wait_for};

/// Requests that a platform gets that knows nothing: a token, the metadata, and the same at the events host.
const HEADS: usize = 3;

/// The kernel's word that the clock was set, for real, to a server for which nothing else is under way.
#[tokio::test]
async fn setting_the_clock_makes_an_idle_server_check_identity() {
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
    let set = clock_settime(ClockId::CLOCK_REALTIME, now);
    assert!(
        set.is_ok(),
        "the clock cannot be set, which needs root with CAP_SYS_TIME: {set:?}"
    );
    // It is asked at once, and when it knew nothing, again a second later.
    support::wait_until("another question", || platform.asked() >= asked + 3 * HEADS).await;
    platform.metadata_says(Some("ifork"));
    let begun = Instant::now();
    wait_for("a server that doubts its epoch", async || known().await != first).await;
    let (took, asked) = (begun.elapsed(), platform.asked() - asked);
    assert!(took < SOON + BUSY, "{took:?}, asked {asked} times");
    assert_eq!(known().await, "dormant", "nobody has needed another one yet");
    assert_ne!(epoch(&server).await, first);
    assert_eq!(server.get("/v1/info").await["sandbox"]["id"], "ifork");
}
