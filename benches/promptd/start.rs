//! What starting costs, in time and memory.

use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::agent;
use super::client::{self, connect, create_and_follow, wait_for, wait_healthy};
use super::server::{Server, request};
use super::table::{Figure, Table, percentile};

const TURNS: u64 = 40;
const SESSIONS: usize = 1000;

/// From the request to the agent's first instruction, and to the caller's first word of it.
pub(crate) fn to_exec(table: &mut Table) {
    let server = Server::start();
    let (mut bare, mut ours, mut heard) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..100 {
        let begun = agent::now();
        let mut child = agent::bare("now").spawn().unwrap();
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        child.wait().unwrap();
        bare.push(since(begun, &text));

        let mut stream = connect(&server.address);
        let begun = agent::now();
        create_and_follow(&mut stream, &request("now"));
        wait_for(&mut stream, b"event: started");
        heard.push(Duration::from_nanos(agent::now() - begun));
        client::drain(&mut stream);
        let session = newest(&server);
        ours.push(since(begun, &server.output(&session)));
        server.delete(&session);
    }
    let spawn = ("posix_spawn", Figure::Time(percentile(&mut bare, 50)));
    table.row("HTTP to exec, p50", Figure::Time(percentile(&mut ours, 50)), spawn, "");
    table.row(
        "HTTP to `started` at the caller, p50",
        Figure::Time(percentile(&mut heard, 50)),
        spawn,
        "",
    );
}

fn since(begun: u64, text: &str) -> Duration {
    Duration::from_nanos(text.trim().parse::<u64>().unwrap() - begun)
}

fn newest(server: &Server) -> String {
    let list = client::exchange(&server.address, "GET", "/v1/sessions?limit=1", "");
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    list["sessions"][0]["id"].as_str().unwrap().to_owned()
}

/// From the server's start to its first answer.
pub(crate) fn to_healthy(table: &mut Table) {
    let mut bare: Vec<Duration> = (0..30)
        .map(|_| {
            let begun = Instant::now();
            Command::new("true").status().unwrap();
            begun.elapsed()
        })
        .collect();
    let mut server = Server::start();
    let mut ours: Vec<Duration> = (0..30).map(|_| restarted(&mut server)).collect();
    let bare = ("run `true`", Figure::Time(percentile(&mut bare, 50)));
    table.row(
        "start to healthy, p50",
        Figure::Time(percentile(&mut ours, 50)),
        bare,
        "< 5 ms",
    );
}

fn restarted(server: &mut Server) -> Duration {
    server.end();
    let begun = Instant::now();
    server.start_again();
    wait_healthy(&server.address, "/healthz");
    begun.elapsed()
}

/// Memory of an idle server, and what each running turn adds.
pub(crate) fn memory(table: &mut Table) {
    let server = Server::start();
    std::thread::sleep(Duration::from_millis(200));
    table.alone("idle, resident", Figure::Bytes(rollup(server.pid(), "Rss:")), "< 8 MB");
    let idle = private(server.pid());
    table.alone("idle, private", Figure::Bytes(idle), "");
    let sessions: Vec<String> = (0..TURNS).map(|_| server.create("sleep")).collect();
    for session in &sessions {
        let mut stream = client::events(&server.address, session);
        wait_for(&mut stream, b"event: started");
    }
    std::thread::sleep(Duration::from_millis(200));
    let keepers: u64 = keepers(&server.root).into_iter().map(private).sum();
    let grown = private(server.pid()).saturating_sub(idle);
    table.alone("running turn, its keeper, private", Figure::Bytes(keepers / TURNS), "");
    table.alone(
        "running turn, in all, private",
        Figure::Bytes((keepers + grown) / TURNS),
        "< 1 MB",
    );
    for session in &sessions {
        server.delete(session);
    }
}

/// From a restart to the first answer, with a thousand sessions in the home.
pub(crate) fn restart(table: &mut Table) {
    let mut server = Server::start();
    let session = server.create("now");
    client::drain(&mut client::events(&server.address, &session));
    let folder = server.folder(&session);
    let [file, journal] = ["session.json", "journal.ndjson"].map(|name| std::fs::read_to_string(folder.join(name)));
    let (file, journal) = (file.unwrap(), journal.unwrap());
    for number in 1..SESSIONS {
        let id = format!("session-{number}");
        let folder = server.folder(&id);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("session.json"), file.replace(&session, &id)).unwrap();
        std::fs::write(folder.join("journal.ndjson"), &journal).unwrap();
    }
    let mut times: Vec<Duration> = (0..10).map(|_| restarted(&mut server)).collect();
    let list = client::exchange(&server.address, "GET", "/v1/sessions/session-999", "");
    assert!(list.contains("completed"), "{list}");
    let time = Figure::Time(percentile(&mut times, 50));
    table.alone("restart with 1,000 sessions to healthy, p50", time, "< 100 ms");
}

fn private(pid: u32) -> u64 {
    rollup(pid, "Private_Clean:") + rollup(pid, "Private_Dirty:")
}

fn rollup(pid: u32, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Keepers of sessions below a folder.
fn keepers(root: &Path) -> Vec<u32> {
    let root = root.display().to_string();
    let is_keeper = |pid: &u32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = words.split(|byte| *byte == 0).skip(1).map(String::from_utf8_lossy);
        words.next().is_some_and(|word| word == "keeper")
            && words.next().is_some_and(|folder| folder.starts_with(&root))
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(is_keeper)
        .collect()
}
