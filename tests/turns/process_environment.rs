//! The environment of an agent's process: its standard input, and nothing of the server's.

use serde_json::{Value, json};
use support::{Server, joined, procs, wait_for, wait_until};

/// `cat`, which shows what the process that reads it has; and once more with the prompt as its input.
const AGENTS: &str = r#"
[agents.show]
command = ["cat"]
prompt = "argument"
[agents.list]
command = ["ls", "-l"]
prompt = "argument"
[agents.read]
command = ["cat"]
prompt = "stdin"
"#;

async fn said(server: &Server, request: Value) -> String {
    let id = server.create(request).await;
    let session = server.settled(&id).await;
    assert_eq!(session["status"], "completed", "{session}");
    String::from_utf8(server.output(&id, "stdout").await).unwrap()
}

async fn show(server: &Server, path: &str) -> String {
    said(server, json!({ "agent": "show", "prompt": path })).await
}

async fn input(server: &Server, id: &str, query: &str, bytes: &'static str) -> u16 {
    let path = format!("/v1/sessions/{id}/input{query}");
    server.raw("POST", &path, "", bytes).await.status
}

#[tokio::test]
async fn stdin_is_empty_or_the_prompt_by_default() {
    let server = Server::with().config(AGENTS).start().await;
    let shell = said(&server, json!({ "prompt": "readlink /proc/$$/fd/0; cat; echo over" })).await;
    assert_eq!(shell, "/dev/null\nover\n");
    let prompt = "the prompt\nin two lines, \u{1f980}";
    assert_eq!(
        said(&server, json!({ "agent": "read", "prompt": prompt })).await,
        prompt
    );
    let large = "0123456789abcdef".repeat(20_000);
    assert_eq!(said(&server, json!({ "agent": "read", "prompt": large })).await, large);
    let argument = show(&server, "/dev/stdin").await;
    assert_eq!(
        argument, "",
        "an agent that has its prompt as an argument has nothing to read"
    );
}

#[tokio::test]
async fn open_stdin_takes_input_until_closed() {
    let server = Server::start().await;
    let id = server
        .create(json!({ "stdin": "open", "prompt": "cat; echo over" }))
        .await;
    server.record(&id, "started").await;
    assert_eq!(input(&server, &id, "", "one\n").await, 204);
    server.record(&id, "stdout").await;
    assert_eq!(server.session(&id).await["status"], "running", "it waits for more");
    assert_eq!(input(&server, &id, "", "tw").await, 204);
    assert_eq!(input(&server, &id, "?close=true", "o\n").await, 204);
    assert_eq!(server.settled(&id).await["status"], "completed");
    assert_eq!(server.output(&id, "stdout").await, b"one\ntwo\nover\n");
    assert_eq!(
        joined(&server.records(&id).await, "stdin"),
        b"one\ntwo\n",
        "the journal has it, too"
    );
    assert_eq!(input(&server, &id, "", "late").await, 409);
}

#[tokio::test]
async fn input_to_closed_stdin_is_a_conflict() {
    let server = Server::start().await;
    let wait = "until test -e go; do sleep 0.02; done";
    let never = server.shell(wait).await;
    let closed = server.create(json!({ "stdin": "open", "prompt": wait })).await;
    for id in [&never, &closed] {
        server.record(id, "started").await;
    }
    assert_eq!(input(&server, &closed, "?close=true", "").await, 204);
    for id in [&never, &closed] {
        let path = format!("/v1/sessions/{id}/input");
        let answer = server.raw("POST", &path, "", "x").await;
        assert_eq!(
            (answer.status, answer.code()),
            (409, "stdin_closed"),
            "{}",
            answer.text()
        );
    }
    server.touch("go");
    server.settled(&never).await;
    server.settled(&closed).await;
}

#[tokio::test]
async fn open_stdin_survives_keeper_and_server_kill() {
    let mut server = Server::start().await;
    let id = server
        .create(json!({ "stdin": "open", "prompt": "cat; echo over" }))
        .await;
    let agent = server.record(&id, "started").await["pid"].as_i64().unwrap();
    // So that the server holds it, too, which it does as soon as it has seen the start.
    server.session_when(&id, |session| session["status"] == "running").await;
    assert_eq!(input(&server, &id, "", "1\n").await, 204);
    let mut wanted = b"1\n".to_vec();
    for round in 2..=5 {
        let keeper = *procs::keepers(&server.home()).first().expect("a keeper");
        if round % 2 == 0 {
            procs::signal(keeper, "KILL");
            wait_until("another keeper", || {
                procs::keepers(&server.home()).iter().any(|pid| *pid != keeper)
            })
            .await;
        } else {
            server.kill();
            server.start_again().await;
        }
        let line: &'static str = ["2\n", "3\n", "4\n", "5\n"][round - 2];
        // A keeper that has just been started may not listen yet; then the answer is to try again.
        let status = wait_for("a keeper that takes input", async || {
            let status = input(&server, &id, "", line).await;
            if status == 503 { Err(status) } else { Ok(status) }
        })
        .await;
        assert_eq!(status, 204, "round {round}");
        wanted.extend_from_slice(line.as_bytes());
        assert!(procs::lives(i32::try_from(agent).unwrap()));
    }
    assert_eq!(input(&server, &id, "?close=true", "").await, 204);
    server.settled(&id).await;
    wanted.extend_from_slice(b"over\n");
    let records = server.records(&id).await;
    assert_eq!(String::from_utf8(joined(&records, "stdout")), String::from_utf8(wanted));
}

#[tokio::test]
async fn agent_inherits_three_descriptors_and_no_secrets() {
    let mut server = Server::with()
        .config(AGENTS)
        .env("PROMPTD_TOKEN", "s3cret")
        .env("VISIBLE", "yes")
        .start()
        .await;
    let token = ("authorization".parse().unwrap(), "Bearer s3cret".parse().unwrap());
    server.client = reqwest::Client::builder()
        .no_proxy()
        .default_headers([token].into_iter().collect())
        .build()
        .unwrap();
    let listed = said(&server, json!({ "agent": "list", "prompt": "/proc/self/fd" })).await;
    let mut open: Vec<_> = listed
        .lines()
        .filter_map(|line| line.split_once(" -> "))
        .map(|(left, target)| (left.rsplit(' ').next().unwrap(), target))
        .collect();
    let own = open.pop().unwrap();
    assert!(
        own.0 == "3" && own.1.starts_with("/proc/"),
        "ls itself looks through this: {own:?}"
    );
    let numbers: Vec<_> = open.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, ["0", "1", "2"], "{listed}");
    assert_eq!(open[0].1, "/dev/null");
    assert!(
        open[1].1.ends_with("/turn-1.stdout") && open[2].1.ends_with("/turn-1.stderr"),
        "{listed}"
    );

    let request = json!({ "agent": "show", "id": "mine", "prompt": "/proc/self/environ", "env": { "OWN": "mine" } });
    let environ = said(&server, request).await;
    let ours: Vec<_> = environ
        .split('\0')
        .filter(|entry| entry.starts_with("PROMPTD_"))
        .collect();
    let mut names: Vec<_> = ours.iter().map(|entry| entry.split('=').next().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["PROMPTD_SESSION", "PROMPTD_TURN"], "{ours:?}");
    assert!(ours.contains(&"PROMPTD_SESSION=mine"), "{ours:?}");
    assert!(!environ.contains("s3cret"));
    for entry in ["VISIBLE=yes", "OWN=mine"] {
        assert!(environ.split('\0').any(|given| given == entry), "{entry} in {environ}");
    }
}

#[tokio::test]
async fn agent_has_its_own_session_and_default_signals() {
    // Whatever the server was started with.
    let server = Server::with()
        .config(AGENTS)
        .runner(&["env", "--block-signal=USR1,TERM", "--ignore-signal=PIPE"])
        .start()
        .await;
    let status = show(&server, "/proc/self/status").await;
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
    };
    assert_eq!(mask("SigBlk"), 0, "no signal is blocked");
    assert_eq!(mask("SigIgn") & (1 << 12), 0, "SIGPIPE is not ignored");
    let stat = show(&server, "/proc/self/stat").await;
    let pid = stat.split(' ').next().unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    assert_eq!((fields[2], fields[3]), (pid, pid), "it leads its own group and session");
    assert_ne!(fields[1], server.pid().to_string(), "its parent is the keeper");
    assert_eq!(show(&server, "/proc/self/oom_score_adj").await.trim(), "500");
}
