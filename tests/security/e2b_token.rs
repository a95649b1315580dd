//! `auth = "e2b"`: the sandbox's own token.

use serde_json::json;
use support::envd::Envd;
use support::http::Answer;
use support::{Server, wait_for};

use crate::first_configuration::{KEY, TOKEN, configure, printed, status};

#[tokio::test]
async fn sandbox_token_is_accepted_and_brings_variables() {
    let envs = [
        ("BACKEND_KEY", KEY),
        ("SHARED", "platform"),
        ("PROMPTD_TOKEN", "never"),
        ("PATH", "/nowhere"),
    ];
    let envd = Envd::start(Some(TOKEN), &envs);
    let server = Server::with().envd(&envd).env("SHARED", "server").start().await;
    assert_eq!(envd.asked(), 0, "nobody is asked before somebody comes");
    let ask = async |name: &str, value: &str| Answer::of(server.request("GET", "/v1/info").header(name, value)).await;
    // On loopback, too: the platform makes its ports public.
    for (name, value) in [
        ("accept", "*/*"),
        ("x-access-token", "guess"),
        ("authorization", "Bearer guess"),
    ] {
        let answer = ask(name, value).await;
        assert_eq!((answer.status, answer.code()), (401, "unauthorized"), "{name}: {value}");
        assert!(answer.detail().contains("X-Access-Token") && !answer.text().contains("guess"));
    }
    let right = ("x-access-token", TOKEN);
    let info = ask(right.0, right.1).await;
    assert_eq!(info.status, 200);
    assert_eq!(info.body["configuration"]["auth"], "e2b");
    assert_eq!(
        info.body["configuration"]["environment"],
        json!(["BACKEND_KEY", "SHARED"])
    );
    let asked = envd.asked();
    let script = "echo $BACKEND_KEY $SHARED $PROMPTD_TOKEN";
    assert_eq!(
        printed(&server, right, script, json!({})).await,
        format!("{KEY} platform\n")
    );
    assert_eq!(envd.asked(), asked, "what was just answered is not asked again");
    assert_eq!(ask("authorization", &format!("Bearer {TOKEN}")).await.status, 200);
    // What is configured wins over the platform, and a session over both.
    configure(&server.home(), &[], &[("SHARED", "configured")]);
    assert_eq!(
        printed(&server, right, script, json!({})).await,
        format!("{KEY} configured\n")
    );
    let session = json!({ "SHARED": "session" });
    assert_eq!(
        printed(&server, right, script, session).await,
        format!("{KEY} session\n")
    );
    // A cold boot, after which the platform knows of no environment.
    envd.says(Some("another-token"), &[("E2B_SANDBOX_ID", "i")]);
    let after = ("x-access-token", "another-token");
    assert_eq!(
        printed(&server, after, script, json!({})).await,
        format!("{KEY} configured\n")
    );
    let kept = std::fs::read_to_string(server.home().join("environment.json")).unwrap();
    assert!(!kept.contains("never") && !kept.contains(TOKEN) && !server.log().contains(TOKEN));
}

#[tokio::test]
async fn open_or_silent_platform_lets_nobody_in() {
    let envd = Envd::start(None, &[("BACKEND_KEY", KEY)]);
    let server = Server::with().envd(&envd).host("0.0.0.0").start().await;
    let ask = async || Answer::of(server.request("GET", "/v1/info").header("x-access-token", TOKEN)).await;
    let answer = ask().await;
    assert_eq!((answer.status, answer.code()), (401, "not_configured"));
    assert!(answer.detail().contains("secure: true"), "{}", answer.body);
    envd.backend.go_down();
    let answer = ask().await;
    assert_eq!((answer.status, answer.code()), (503, "platform_unavailable"));
    assert!(!answer.header("retry-after").is_empty() && !answer.text().contains(TOKEN));
    envd.backend.come_up();
    envd.says(Some("another"), &[]);
    let answer = wait_for("a platform that is up", async || {
        let answer = ask().await;
        if answer.status == 503 {
            Err(answer.text())
        } else {
            Ok(answer)
        }
    })
    .await;
    assert_eq!((answer.status, answer.code()), (401, "unauthorized"));
    envd.says(Some(TOKEN), &[]);
    assert_eq!(ask().await.status, 200);
    // A token of our own does without the platform.
    envd.backend.go_down();
    configure(&server.home(), &[], &[("PROMPTD_TOKEN", "of-our-own")]);
    assert_eq!(status(&server, "of-our-own").await, 200);
}
