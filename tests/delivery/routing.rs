//! Certificates, proxies and sinks of the configuration: how a batch finds the backend it is meant for, and no other.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use support::delivery::{PATH, to};
use support::hostile::{Act, Backend, Certificate, Log, Reply, authority, stranger};
use support::{Server, folder};

/// A file of authorities that a server trusts, and the server.
async fn trusting(authorities: &str) -> (PathBuf, Server) {
    let file = folder("trust").join("authorities.pem");
    std::fs::write(&file, authorities).unwrap();
    let server = Server::with()
        .env("SSL_CERT_FILE", file.display().to_string())
        .start()
        .await;
    (file, server)
}

#[tokio::test]
async fn unknown_certificate_authority_is_refused() {
    let backend = Backend::with_tls(Certificate::Here);
    let (file, server) = trusting(stranger()).await;
    let id = server.pushed("echo hello", to(&backend)).await;
    server.settled(&id).await;
    let sink = server
        .sink_when(&id, "backend", |sink| sink["failures"].as_u64().unwrap() >= 2)
        .await;
    let error = sink["last_error"].as_str().unwrap();
    assert!(
        error.contains("certificate") || error.contains("UnknownIssuer"),
        "{error}"
    );
    assert_eq!(sink["acked_seq"], 0, "{sink}");
    assert_ne!(sink["state"], "paused", "somebody may put it right: {sink}");
    assert_eq!(backend.look(|log| log.heads), 0, "nothing was said to a stranger");
    // As `update-ca-certificates` does it: a new file in the place of the old one.
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{}{}", stranger(), authority())).unwrap();
    std::fs::rename(new, &file).unwrap();
    server.all_arrived(&backend, PATH, &id).await;
}

#[tokio::test]
async fn certificate_for_another_host_is_refused() {
    let (elsewhere, here) = (
        Backend::with_tls(Certificate::Elsewhere),
        Backend::with_tls(Certificate::Here),
    );
    let (_file, server) = trusting(authority()).await;
    let id = server.pushed("echo hello", to(&elsewhere)).await;
    let sink = server
        .sink_when(&id, "backend", |sink| sink["failures"].as_u64().unwrap() >= 2)
        .await;
    let error = sink["last_error"].as_str().unwrap();
    assert!(error.contains("certificate") && error.contains("name"), "{error}");
    assert_eq!(elsewhere.look(|log| log.heads), 0, "nothing was said to a stranger");
    // The same server, the same authority, the right host.
    let id = server.pushed("echo hello", to(&here)).await;
    server.all_arrived(&here, PATH, &id).await;
}

#[tokio::test]
async fn plain_and_tls_only_backends_are_distinguished() {
    let (plain, encrypted) = (Backend::start(), Backend::with_tls(Certificate::Here));
    let (_file, server) = trusting(authority()).await;
    for (backend, wrong) in [
        (&plain, plain.url(PATH).replace("http:", "https:")),
        (&encrypted, encrypted.url(PATH).replace("https:", "http:")),
    ] {
        let id = server
            .pushed("echo hello", json!([{ "kind": "http", "url": wrong }]))
            .await;
        let sink = server
            .sink_when(&id, "http", |sink| !sink["last_error"].is_null())
            .await;
        assert_eq!(
            (&sink["acked_seq"], &sink["state"]),
            (&json!(0), &json!("retrying")),
            "{sink}"
        );
        assert_eq!(backend.look(Log::committed), 0);
    }
}

#[tokio::test]
async fn proxy_variables_and_no_proxy_are_respected() {
    let (proxy, direct) = (Backend::start(), Backend::start());
    let server = Server::with()
        .env("HTTP_PROXY", proxy.origin())
        .env("http_proxy", proxy.origin())
        .env("NO_PROXY", "127.0.0.1")
        .env("no_proxy", "127.0.0.1")
        .start()
        .await;
    let sinks = json!([
        { "kind": "http", "name": "far", "url": "http://backend.invalid:8123/records" },
        { "kind": "http", "name": "near", "url": direct.url(PATH) },
    ]);
    let id = server.pushed("echo hello", sinks).await;
    server
        .all_arrived(&proxy, "http://backend.invalid:8123/records", &id)
        .await;
    server.all_arrived(&direct, PATH, &id).await;
    assert!(
        proxy
            .requests()
            .iter()
            .all(|seen| seen.request.header("host") == "backend.invalid:8123")
    );
    assert!(direct.requests().iter().all(|seen| seen.request.path == PATH));
}

#[tokio::test]
async fn configured_sinks_get_old_sessions_too() {
    let (first, second) = (Backend::start(), Backend::start());
    let global = |name: &str, backend: &Backend| {
        let url = backend.url("/all");
        format!(
            "[[sinks]]\nkind = \"http\"\nname = \"{name}\"\nurl = \"{url}\"\nheaders = {{ Authorization = \"Bearer hidden-key\" }}\n"
        )
    };
    let server = Server::with().config(&global("one", &first)).start().await;
    let own = Backend::start();
    let mut ids = vec![
        server.shell("echo without").await,
        server.pushed("echo with", to(&own)).await,
    ];
    for id in &ids {
        server.all_arrived(&first, "/all", id).await;
    }
    server.all_arrived(&own, PATH, &ids[1]).await;
    let session = server.session(&ids[1]).await;
    let shown = |session: &Value| -> Vec<(String, String)> {
        let sinks = session["sinks"].as_array().unwrap().iter();
        let word = |sink: &Value, field: &str| sink[field].as_str().unwrap().to_owned();
        let mut sinks: Vec<_> = sinks.map(|sink| (word(sink, "name"), word(sink, "scope"))).collect();
        sinks.sort_unstable();
        sinks
    };
    let pair = |name: &str, scope: &str| (name.to_owned(), scope.to_owned());
    assert_eq!(shown(&session), [pair("backend", "session"), pair("one", "global")]);
    assert!(
        first
            .requests()
            .iter()
            .all(|seen| seen.request.header("authorization") == "Bearer hidden-key")
    );

    // Another is added while the server runs.
    server.configure(&format!("{}{}", global("one", &first), global("two", &second)));
    server.reload();
    ids.push(server.shell("echo later").await);
    for id in &ids {
        server.all_arrived(&second, "/all", id).await;
        server.all_arrived(&first, "/all", id).await;
    }
    assert_eq!(
        first.look(|log| log.tries.values().copied().max()),
        Some(1),
        "nothing was sent twice"
    );
    for path in ["/v1/info", "/v1/sessions"] {
        let (_, shown) = server.send("GET", path, Value::Null).await;
        assert!(!shown.to_string().contains("hidden-key"), "{path}: {shown}");
    }

    // And taken away: it gets nothing more, and is shown no more.
    server.configure(&global("two", &second));
    server.reload();
    server
        .session_when(&ids[0], |session| shown(session) == [pair("two", "global")])
        .await;
    let heads = first.look(|log| log.heads);
    let id = server.shell("echo last").await;
    server.all_arrived(&second, "/all", &id).await;
    assert_eq!(first.look(|log| log.heads), heads);
}

#[tokio::test]
async fn moved_sink_continues_at_its_cursor() {
    let (before, after) = (Backend::start(), Backend::start());
    let global = |backend: &Backend| {
        format!(
            "[[sinks]]\nkind = \"http\"\nname = \"one\"\nurl = \"{}\"\n",
            backend.url(PATH)
        )
    };
    let server = Server::with().config(&global(&before)).start().await;
    let id = server.shell("echo first").await;
    server.all_arrived(&before, PATH, &id).await;
    let last = before.look(|log| log.last_seq(PATH, &id));
    before.always(Act::Answer(Reply::status(410)));
    server
        .post(
            &format!("/v1/sessions/{id}/prompts"),
            json!({ "prompt": "echo second" }),
        )
        .await;
    server.settled(&id).await;
    server.sink_when(&id, "one", |sink| sink["state"] == "paused").await;
    // The new address is enough; nobody has to say that something has changed.
    server.configure(&global(&after));
    let all = u64::try_from(server.records(&id).await.len()).unwrap();
    after
        .wait_for("the rest at the new address", Duration::from_secs(40), |log| {
            log.last_seq(PATH, &id) == all
        })
        .await;
    let bodies: Vec<_> = after.committed().iter().map(|seen| seen.json()).collect();
    assert_eq!(
        bodies[0]["first_seq"],
        json!(last + 1),
        "what the old one has is not sent again"
    );
    // What the old one refused has its key still.
    let refused = before.requests().last().unwrap().request.key().to_owned();
    assert_eq!(after.committed()[0].request.key(), refused);
}
