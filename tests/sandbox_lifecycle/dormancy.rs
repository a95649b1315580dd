//! An unused server does nothing: its memory snapshot may become a thousand sandboxes.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use support::delivery::PATH;
use support::hostile::Backend;
use support::platform::Platform;
use support::{Server, folder, let_pass, wait_for};

/// How long it is watched.
const A_WHILE: Duration = Duration::from_secs(5);

/// Waking costs a context switch, and so does whatever the kernel itself wants of a thread now and then.
const FEW_SWITCHES: u64 = 5;

/// Name, size, inode and time of everything below a folder.
fn everything(folder: &Path) -> BTreeMap<String, (u64, u64, i64, i64)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let about = std::fs::symlink_metadata(&path).unwrap();
        found.insert(
            path.display().to_string(),
            (about.len(), about.ino(), about.mtime(), about.mtime_nsec()),
        );
        if about.is_dir() {
            found.extend(everything(&path));
        }
    }
    found
}

/// How often each thread of a process has been put on a processor, and how many bytes the process has written.
fn activity(pid: i32) -> (BTreeMap<String, u64>, u64) {
    let mut switches = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let path = task.unwrap().path();
        // A thread that was idle for long enough goes in between.
        let Ok(text) = std::fs::read_to_string(path.join("schedstat")) else {
            continue;
        };
        let times = text.split_whitespace().nth(2).unwrap().parse().unwrap();
        switches.insert(path.display().to_string(), times);
    }
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let written = io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap();
    (switches, written.parse().unwrap())
}

/// Waits until what requests have started is over; answers the activity by then.
async fn calm(pid: i32) -> (BTreeMap<String, u64>, u64) {
    let mut before = activity(pid);
    wait_for("a calm second", async || {
        let_pass(Duration::from_secs(1), "nothing may happen meanwhile").await;
        let now = activity(pid);
        let is_calm = now == before;
        let changed = std::mem::replace(&mut before, now.clone());
        if is_calm { Ok(now) } else { Err(changed) }
    })
    .await
}

/// How many TCP connections a process has that are open, and that it did not accept nor listen on: those it made.
fn connections(pid: i32, own_port: u16) -> usize {
    let mut inodes = BTreeSet::new();
    for descriptor in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let target = std::fs::read_link(descriptor.unwrap().path()).unwrap_or_default();
        let target = target.to_string_lossy().into_owned();
        inodes.extend(
            target
                .strip_prefix("socket:[")
                .map(|rest| rest.trim_end_matches(']').to_owned()),
        );
    }
    let own = format!(":{own_port:04X}");
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let made = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        !fields[1].ends_with(&own) && inodes.contains(fields[9])
    };
    table.lines().skip(1).filter(made).count()
}

#[tokio::test]
async fn unused_server_stays_dormant() {
    let (platform, backend) = (Platform::start(), Backend::start());
    platform.metadata_says(Some("ithebuildersown"));
    let config = format!(
        "[[sinks]]\nkind = \"http\"\nname = \"backend\"\nurl = \"{}\"\n",
        backend.url(PATH)
    );
    // As a template has it: for everybody, and without a token yet.
    let server = Server::with()
        .platform(&platform)
        .config(&config)
        .host("0.0.0.0")
        .start()
        .await;
    // What the builder's ready command, load balancers and scanners ask.
    for path in ["/healthz", "/health", "/readyz", "/v1/info", "/v1/sessions", "/nothing"] {
        let answer = server.request("GET", path).send().await.unwrap();
        assert_eq!(answer.headers()["promptd-epoch"], "dormant", "{path}");
    }
    let unused = everything(&server.home());
    assert!(!unused.keys().any(|name| name.contains("epoch")), "{unused:?}");
    let port = server.address.rsplit(':').next().unwrap().parse().unwrap();
    let before = calm(server.pid()).await;
    let_pass(A_WHILE, "nothing may happen meanwhile").await;
    let after = activity(server.pid());
    let woke = |(thread, times): (&String, &u64)| times - before.0.get(thread).unwrap_or(&0);
    let woke: u64 = after.0.iter().map(woke).sum();
    assert!(woke <= FEW_SWITCHES, "woke {woke} times");
    assert_eq!(after.1, before.1, "wrote something");
    assert_eq!(everything(&server.home()), unused);
    assert_eq!((platform.asked(), backend.look(|log| log.accepted)), (0, 0));
    assert_eq!(connections(server.pid(), port), 0);
}

#[tokio::test]
async fn first_use_wakes_the_server_and_the_epoch_stays() {
    let server = Server::with().env("PROMPTD_TOKEN", "t").start().await;
    let epoch = async |path: &str, token: &str| {
        let request = server
            .request("GET", path)
            .header("authorization", format!("Bearer {token}"));
        let answer = request.send().await.unwrap();
        answer.headers()["promptd-epoch"].to_str().unwrap().to_owned()
    };
    assert_eq!(epoch("/v1/info", "wrong").await, "dormant", "a stranger wakes nobody");
    let first = epoch("/v1/info", "t").await;
    assert_ne!(first, "dormant");
    for (path, token) in [("/healthz", ""), ("/v1/info", "wrong"), ("/v1/sessions", "t")] {
        assert_eq!(epoch(path, token).await, first, "{path}");
    }
}

/// What two servers made when they were used alike.
async fn use_it(server: &Server, copied: Option<&str>) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for _ in 0..3 {
        let request = server.request("GET", "/v1/sessions");
        let answer = request.send().await.unwrap();
        for name in ["promptd-epoch", "request-id"] {
            ids.insert(format!("{name} {}", answer.headers()[name].to_str().unwrap()));
        }
        let id = server.shell("echo hello").await;
        server.settled(&id).await;
        ids.insert(id);
    }
    if let Some(id) = copied {
        server
            .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "echo again" }))
            .await;
        server.settled(id).await;
    }
    for session in server.get("/v1/sessions").await["sessions"].as_array().unwrap() {
        let id = session["id"].as_str().unwrap();
        server.sink_when(id, "backend", |sink| sink["lag_records"] == 0).await;
    }
    ids
}

#[tokio::test]
async fn copies_of_one_home_share_no_identity() {
    let backends = [Backend::start(), Backend::start(), Backend::start()];
    // The sinks are configured; each clone has a backend of its own only so that the test can tell them apart.
    let config = |backend: &Backend| {
        format!(
            "[[sinks]]\nkind = \"http\"\nname = \"backend\"\nurl = \"{}\"\n",
            backend.url(PATH)
        )
    };
    let mut template = Server::with().config(&config(&backends[0])).start().await;
    let used = use_it(&template, None).await;
    let copied = used.iter().find(|id| !id.contains(' ')).unwrap().clone();
    template.terminate().await;
    let homes = [folder("clone"), folder("clone")];
    for home in &homes {
        let copy = std::process::Command::new("cp")
            .arg("-aT")
            .arg(template.home())
            .arg(home)
            .status();
        assert!(copy.unwrap().success());
    }
    let mut made = Vec::new();
    for (home, backend) in homes.iter().zip(&backends[1..]) {
        let clone = Server::with().home(home).config(&config(backend)).start().await;
        made.push(use_it(&clone, Some(&copied)).await);
    }
    let keys = |backend: &Backend| -> BTreeSet<String> {
        backend
            .requests()
            .iter()
            .map(|seen| seen.request.key().to_owned())
            .collect()
    };
    let keys: Vec<_> = backends.iter().map(keys).collect();
    for (one, other) in [
        (&keys[1], &keys[2]),
        (&made[0], &made[1]),
        (&used, &made[0]),
        (&keys[0], &keys[1]),
    ] {
        assert!(!one.is_empty() && !other.is_empty());
        let common: Vec<_> = one.intersection(other).collect();
        assert_eq!(common, Vec::<&String>::new());
    }
    for home in homes {
        std::fs::remove_dir_all(home).unwrap();
    }
}
