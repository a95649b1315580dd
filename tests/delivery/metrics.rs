//! The state of delivery is visible in the session, in `/metrics`, in `/v1/info` and in `promptd ps`.

use std::collections::BTreeMap;

use serde_json::json;
use support::delivery::to;
use support::hostile::{Act, Backend, Reply};
use support::{Server, promptd, repository};

/// The samples of `/metrics`, by name and labels as they stand there; fails where the text is not what Prometheus reads.
async fn metrics(server: &Server) -> BTreeMap<String, f64> {
    let answer = server.request("GET", "/metrics").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = answer.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut described = Vec::new();
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().unwrap().to_owned();
            assert!(!described.contains(&name), "{name} is described twice");
            described.push(name);
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(
                described.iter().any(|described| name.starts_with(described.as_str())),
                "{line}"
            );
            assert!(
                samples.insert(name.to_owned(), value.parse().unwrap()).is_none(),
                "{name} stands there twice"
            );
        }
    }
    samples
}

#[tokio::test]
async fn metrics_count_delivered_pending_and_refused() {
    let (good, bad) = (Backend::start(), Backend::start());
    bad.always(Act::Answer(Reply::status(401)));
    let server = Server::start().await;
    let delivered = server.pushed("echo hello", to(&good)).await;
    let refused = server.pushed("echo hello", to(&bad)).await;
    server.settled(&delivered).await;
    server.settled(&refused).await;
    let arrived = server
        .sink_when(&delivered, "backend", |sink| sink["lag_records"] == 0)
        .await;
    let paused = server
        .sink_when(&refused, "backend", |sink| sink["state"] == "paused")
        .await;
    assert_eq!(arrived["acked_seq"], server.session(&delivered).await["last_seq"]);
    assert!(paused["last_error"].as_str().unwrap().contains("401"), "{paused}");
    let waiting = server.session(&refused).await["last_seq"].as_f64().unwrap();
    let seen = metrics(&server).await;
    let is = |name: &str, value: f64| assert_eq!(seen.get(name), Some(&value), "{name} in {seen:#?}");
    is("promptd_sinks{kind=\"http\",state=\"idle\"}", 1.0);
    is("promptd_sinks{kind=\"http\",state=\"paused\"}", 1.0);
    is(
        "promptd_sink_records_total{kind=\"http\"}",
        arrived["acked_seq"].as_f64().unwrap(),
    );
    is("promptd_sink_lag_records{kind=\"http\"}", waiting);
    is("promptd_sessions{status=\"completed\"}", 2.0);
    assert!(seen["promptd_sink_refusals_total{kind=\"http\"}"] >= 1.0);
    assert!(seen["promptd_sink_lag_seconds{kind=\"http\"}"] > 0.0);
    assert!(!format!("{seen:?}").contains(&delivered), "no session is a label");
}

#[tokio::test]
async fn metrics_count_tokens_and_cost_by_agent() {
    let recording = repository().join("tests/agents/recorded/claude-plain.ndjson");
    let config = format!(
        "[agents.mine]\ncommand = [\"cat\", {:?}]\nstream = \"claude-stream-json\"\n",
        recording.display().to_string()
    );
    let server = Server::with().config(&config).start().await;
    let id = server.create(json!({ "agent": "mine", "prompt": "hi" })).await;
    let usage = server.settled(&id).await["usage"].clone();
    let plain = server.shell("echo no tokens").await;
    server.settled(&plain).await;
    let used = async || {
        let seen = metrics(&server).await;
        let read = |name: &str| seen.get(name).copied();
        [
            read("promptd_tokens_total{agent=\"mine\",kind=\"input\"}"),
            read("promptd_tokens_total{agent=\"mine\",kind=\"output\"}"),
            read("promptd_cost_usd_total{agent=\"mine\"}"),
        ]
    };
    let expected = ["input_tokens", "output_tokens", "cost_usd"].map(|name| usage[name].as_f64());
    assert!(expected[0].unwrap() > 0.0 && expected[2].is_some(), "{usage}");
    assert_eq!(used().await, expected);
    // What was used stays used.
    assert_eq!(
        server
            .send("DELETE", &format!("/v1/sessions/{id}"), json!(null))
            .await
            .0,
        204
    );
    assert_eq!(used().await, expected);
    assert!(
        !format!("{:?}", metrics(&server).await).contains("agent=\\\"shell"),
        "it reports nothing"
    );
}

#[tokio::test]
async fn ps_and_info_show_delivery_progress() {
    let (good, bad) = (Backend::start(), Backend::start());
    bad.always(Act::Answer(Reply::status(403)));
    let config = format!(
        "[[sinks]]\nkind = \"http\"\nname = \"all\"\nurl = {:?}\nheaders = {{ Authorization = \"Bearer very-secret-key\" }}\n",
        good.url("/secret-path")
    );
    let server = Server::with().config(&config).start().await;
    let plain = server.shell("echo hello").await;
    let refused = server.pushed("echo hello", to(&bad)).await;
    server.settled(&refused).await;
    server.sink_when(&plain, "all", |sink| sink["lag_records"] == 0).await;
    server
        .sink_when(&refused, "backend", |sink| sink["state"] == "paused")
        .await;
    let ps = std::process::Command::new(promptd())
        .args(["ps", "--home"])
        .arg(server.home())
        .output()
        .unwrap();
    let table = String::from_utf8(ps.stdout).unwrap();
    let row = |id: &str| {
        table
            .lines()
            .find(|line| line.starts_with(id))
            .unwrap_or_else(|| panic!("no {id} in {table}"))
    };
    assert!(row(&plain).ends_with("all"), "{table}");
    assert!(
        row(&refused).contains("paused, ") && row(&refused).ends_with(" behind"),
        "{table}"
    );
    let info = server.get("/v1/info").await;
    let sink = json!({ "name": "all", "kind": "http", "destination": good.origin() });
    assert_eq!(info["configuration"]["sinks"], json!([sink]));
    assert!(!info.to_string().contains("secret"), "{info}");
}
