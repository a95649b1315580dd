//! A disk that runs full freezes agents; when there is room they go on, and not a byte is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::{Server, assert_no_holes, folder, joined, procs, wait_until};

/// A file system of its own, gone when this is dropped.
struct Mount(PathBuf);

impl Mount {
    /// Needs root.
    fn new(megabytes: u32) -> Self {
        let path = folder("small-disk");
        let options = format!("size={megabytes}m,mode=700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "promptd-test"])
            .arg(&path)
            .output()
            .unwrap();
        let why = String::from_utf8_lossy(&mounted.stderr);
        assert!(
            mounted.status.success(),
            "a file system cannot be mounted, which needs root: {why}"
        );
        Self(path)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _status = Command::new("umount").arg("-l").arg(&self.0).status();
        let _gone = std::fs::remove_dir(&self.0);
    }
}

/// The letter of `/proc/<pid>/stat`.
fn state(pid: i32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit(')').next().unwrap_or_default();
    rest.split_whitespace().next().unwrap_or_default().to_owned()
}

fn ballast(path: &Path, megabytes: usize) {
    std::fs::write(path, vec![1_u8; megabytes << 20]).unwrap();
}

#[tokio::test]
async fn agents_freeze_until_there_is_room_and_lose_nothing() {
    let disk = Mount::new(64);
    let server = Server::with()
        .home(&disk.0.join("home"))
        .config("[limits]\nmin_free_bytes = 16000000\n")
        .start()
        .await;
    let stone = disk.0.join("ballast");
    // The room between the limit and this is less than the journal will take; the agent's own file shrinks as it is
    // read, so it does not count.
    ballast(&stone, 44);
    // Slow enough that a look per second comes in time, and more than there is room for; the copy lies elsewhere.
    let script = "for i in $(seq 70); do head -c 75000 /dev/urandom | base64 -w 100 | tee -a copy; sleep 0.03; done";
    let ids = [server.shell(script).await, {
        let other = json!({ "prompt": "while ! test -e go; do echo tick; sleep 0.05; done" });
        server.create(other).await
    }];
    for id in &ids {
        let frozen = server.record(id, "frozen").await;
        assert!(
            frozen["reason"].as_str().unwrap().contains("min_free_bytes"),
            "{frozen}"
        );
    }
    let home = server.home();
    wait_until("all agents' standstill", || {
        let agents = procs::marked(&home);
        agents.len() >= 2 && agents.iter().all(|pid| state(*pid) == "T")
    })
    .await;
    let refused = server.ask("POST", "/v1/sessions", &json!({ "prompt": "true" })).await;
    assert_eq!(
        (refused.status, refused.code()),
        (507, "disk_full"),
        "{}",
        refused.text()
    );
    assert!(refused.detail().contains("min_free_bytes"), "{}", refused.body);
    let prompts = format!("/v1/sessions/{}/prompts", ids[0]);
    let refused = server.ask("POST", &prompts, &json!({ "prompt": "true" })).await;
    assert_eq!((refused.status, refused.code()), (507, "disk_full"));
    let ready = server.ask("GET", "/readyz", &Value::Null).await;
    assert_eq!((ready.status, &ready.body["ready"]), (503, &json!(false)));
    assert_eq!(server.ask("GET", "/healthz", &Value::Null).await.status, 200);
    for id in &ids {
        assert_eq!(server.session(id).await["status"], "running");
        assert!(
            !server.output(id, "stdout").await.is_empty(),
            "what is there can be read"
        );
    }

    std::fs::remove_file(&stone).unwrap();
    for id in &ids {
        server.record(id, "thawed").await;
    }
    server.touch("go");
    for id in &ids {
        assert_eq!(server.settled(id).await["status"], "completed");
        let records = server.follow(id).await;
        assert_no_holes(&records, 1);
        assert!(!records.iter().any(|record| record["type"] == "gap"));
    }
    let copy = std::fs::read(server.workspace().join("copy")).unwrap();
    assert!(copy.len() > 70 * 100_000);
    assert!(
        server.output(&ids[0], "stdout").await == copy,
        "the output is what was written"
    );
    assert!(
        joined(&server.records(&ids[0]).await, "stdout") == copy,
        "and so are the records"
    );
    let fresh = server.shell("echo room").await;
    assert_eq!(server.settled(&fresh).await["status"], "completed");
}

#[tokio::test]
async fn journal_without_room_catches_up_from_agent_files() {
    let disk = Mount::new(24);
    let server = Server::with()
        .home(&disk.0.join("home"))
        .config("[limits]\nmin_free_bytes = 0\n")
        .start()
        .await;
    let id = server
        .shell("until test -e go; do sleep 0.02; done; for i in $(seq 50); do head -c 60000 /dev/zero | tr '\\0' x; echo $i; done; echo over >&2")
        .await;
    server.record(&id, "started").await;
    // The keeper stands still while the agent writes, and when it looks there is no room for a journal.
    let keeper = procs::keepers(&server.home())[0];
    procs::signal(keeper, "STOP");
    server.touch("go");
    let errors = server.session_folder(&id).join("turn-1.stderr");
    wait_until("the agent's last word", || {
        std::fs::read(&errors).is_ok_and(|text| text.ends_with(b"over\n"))
    })
    .await;
    let stone = disk.0.join("ballast");
    let mut file = std::fs::File::create(&stone).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    // While the keeper looks for room, it gives back what it had reserved, and a small session would fit in.
    let refused = server.ask("POST", "/v1/sessions", &json!({ "prompt": "true" })).await;
    procs::signal(keeper, "CONT");
    assert_eq!(
        (refused.status, refused.code()),
        (507, "disk_full"),
        "{}",
        refused.text()
    );
    assert_eq!(
        server.get("/v1/sessions").await["sessions"].as_array().unwrap().len(),
        1
    );
    assert_eq!(server.session(&id).await["status"], "running");
    drop(file);
    std::fs::remove_file(&stone).unwrap();
    assert_eq!(server.settled(&id).await["status"], "completed");
    let wanted: String = (1..=50).map(|line| format!("{}{line}\n", "x".repeat(60_000))).collect();
    assert!(server.output(&id, "stdout").await == wanted.as_bytes());
    assert_eq!(server.output(&id, "stderr").await, b"over\n");
    assert_no_holes(&server.records(&id).await, 1);
}
