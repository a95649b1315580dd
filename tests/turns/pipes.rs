//! Agents that refuse a file as their standard output get a pipe: nothing is lost, and nobody can hold them up.

use serde_json::{Value, json};
use support::{Server, assert_no_holes, assert_same_bytes, joined, of_type, procs, touch, wait_until};

/// What Python's asyncio says about a file.
const REFUSAL: &str = "ValueError: Pipe transport is only for pipes, sockets and character devices";

/// A shell with a pipe, and agents that speak ACP and look at their standard output first.
fn config() -> String {
    let program = support::scripted::program();
    let picky = format!("test -p /dev/stdout || {{ echo '{REFUSAL}' >&2; exit 1; }}; exec {program}");
    let never = format!("echo '{REFUSAL}' >&2; exit 1");
    format!(
        "[agents.piped]\ncommand = ['sh']\nprompt = 'file'\nstdout = 'pipe'\n\
         [agents.picky]\ncommand = ['sh', '-c', {picky:?}]\nstream = 'acp'\n\
         [agents.never]\ncommand = ['sh', '-c', {never:?}]\nstream = 'acp'\n"
    )
}

async fn server() -> Server {
    Server::with().config(&config()).start().await
}

async fn piped(server: &Server, script: &str) -> String {
    server.create(json!({ "agent": "piped", "prompt": script })).await
}

fn pumps(server: &Server) -> Vec<i32> {
    let home = server.home().display().to_string();
    let named = procs::named(&home).into_iter();
    let is_pump = |pid: &i32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).nth(1) == Some(b"pump")
    };
    named.filter(is_pump).collect()
}

async fn nothing_is_left(server: &Server, id: &str) {
    let folder = server.session_folder(id);
    wait_until("the end of all processes and files of the turn", || {
        let mut names: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        let left = (procs::marked(&server.home()), pumps(server), names);
        if left
            == (
                vec![],
                vec![],
                vec!["journal.ndjson".to_owned(), "session.json".to_owned()],
            )
        {
            Ok(())
        } else {
            Err(left)
        }
    })
    .await;
}

#[tokio::test]
async fn output_through_a_pipe_is_complete() {
    let server = server().await;
    let script = "test -p /dev/stdout && echo piped; head -c 3000000 /dev/urandom | base64 | tee all; echo end; exit 7";
    let id = piped(&server, script).await;
    let session = server.settled(&id).await;
    let turn = &session["turns"][0];
    assert_eq!(
        (&turn["exit_code"], &turn["leftover_processes"]),
        (&json!(7), &json!(0)),
        "{session}"
    );
    let all = std::fs::read_to_string(server.workspace().join("all")).unwrap();
    let expected = format!("piped\n{all}end\n");
    assert_same_bytes("/output", &server.output(&id, "stdout").await, expected.as_bytes());
    let records = server.records(&id).await;
    assert_no_holes(&records, 1);
    assert!(
        records.iter().all(|record| record["late"].is_null()),
        "all of it came before the end"
    );
    nothing_is_left(&server, &id).await;
}

/// The last bytes are still in the pipe when the agent exits.
#[tokio::test]
async fn last_words_before_an_exit_belong_to_the_turn() {
    let server = server().await;
    for _ in 0..20 {
        let id = piped(&server, "head -c 60000 /dev/zero | tr '\\0' x; printf last").await;
        let session = server.settled(&id).await;
        assert_eq!(session["status"], "completed", "{session}");
        let records = server.records(&id).await;
        let written = joined(&records, "stdout");
        assert_eq!((written.len(), &written[60_000..]), (60_004, &b"last"[..]));
        assert!(
            records.iter().all(|record| record["late"].is_null()),
            "{}",
            records.len()
        );
    }
}

#[tokio::test]
async fn words_during_the_grace_arrive_and_nothing_survives() {
    let server = server().await;
    let script = "trap 'echo tidied; exit 7' TERM; trap '' INT; echo up; while :; do sleep 0.05; done";
    let id = piped(&server, script).await;
    server.record(&id, "stdout").await;
    let stop = format!("/v1/sessions/{id}/stop");
    assert_eq!(
        server.post(&stop, json!({ "grace": 20 })).await,
        json!({ "survivors": 0 })
    );
    assert_eq!(server.output(&id, "stdout").await, b"up\ntidied\n");
    assert_eq!(server.session(&id).await["turns"][0]["exit_code"], 7);
    nothing_is_left(&server, &id).await;
    // One that is killed in the middle of its words, and one whose pump somebody has stopped.
    for stopped in [false, true] {
        let id = piped(&server, "trap '' TERM INT; while :; do echo words; sleep 0.001; done").await;
        server.record(&id, "stdout").await;
        for pump in pumps(&server).into_iter().filter(|_| stopped) {
            procs::signal(pump, "STOP");
        }
        let stop = format!("/v1/sessions/{id}/stop");
        assert_eq!(
            server.post(&stop, json!({ "grace": 0 })).await,
            json!({ "survivors": 0 })
        );
        assert_eq!(server.settled(&id).await["status"], "cancelled");
        nothing_is_left(&server, &id).await;
    }
}

#[tokio::test]
async fn process_that_keeps_the_pipe_does_not_keep_the_turn() {
    let server = server().await;
    // One is silent until it is told, the other one writes without pause when the agent exits.
    let script = "(until [ -e go ]; do sleep 0.01; done; echo tick; exec sleep 600) & \
                  (head -c 20000000 /dev/zero | tr '\\0' x; echo; exec sleep 600) & echo done";
    let id = piped(&server, script).await;
    let session = server.settled(&id).await;
    assert_eq!(session["status"], "completed", "{session}");
    assert!(
        session["turns"][0]["leftover_processes"].as_u64() >= Some(2),
        "{session}"
    );
    let before = server.records(&id).await;
    assert!(String::from_utf8(joined(&before, "stdout")).unwrap().contains("done\n"));
    touch(&server.workspace().join("go"));
    let late = |records: &[Value]| {
        let all = of_type(records, "stdout").into_iter();
        all.filter(|record| {
            record["data"].as_str().is_some_and(|data| data.ends_with("tick")) && record["late"] == true
        })
        .count()
    };
    support::wait_for("what came late", async || late(&server.records(&id).await) == 1).await;
    let stop = format!("/v1/sessions/{id}/stop");
    assert_eq!(
        server.post(&stop, json!({ "grace": 0.2 })).await,
        json!({ "survivors": 0 })
    );
    nothing_is_left(&server, &id).await;
}

#[tokio::test]
async fn kill_of_server_and_keeper_loses_no_line_of_a_pipe() {
    let mut server = server().await;
    let script = "n=0; until [ -e done ]; do n=$((n+1)); echo \"line $n\"; sleep 0.002; done; echo over";
    let id = piped(&server, script).await;
    let journal = server.session_folder(&id).join("journal.ndjson");
    for round in 0..4 {
        let before = std::fs::metadata(&journal).map_or(0, |metadata| metadata.len());
        wait_until("more lines", || {
            std::fs::metadata(&journal).unwrap().len() > before + 5_000
        })
        .await;
        for keeper in procs::keepers(&server.home()) {
            procs::signal(keeper, "KILL");
        }
        server.kill();
        if round == 3 {
            // It ends while nobody is there but its pump.
            touch(&server.workspace().join("done"));
            wait_until("the agent's end", || procs::marked(&server.home()).is_empty()).await;
        }
        server.start_again().await;
    }
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["cause"], "keeper_lost", "{session}");
    let written = String::from_utf8(server.output(&id, "stdout").await).unwrap();
    let lines: Vec<&str> = written.lines().collect();
    let expected: Vec<String> = (1..lines.len()).map(|n| format!("line {n}")).collect();
    assert_eq!(lines[..lines.len() - 1], expected);
    assert_eq!(lines.last(), Some(&"over"));
    nothing_is_left(&server, &id).await;
}

#[tokio::test]
async fn agent_that_refuses_a_file_is_started_again_with_a_pipe() {
    let server = server().await;
    let id = server.create(json!({ "agent": "picky", "prompt": "say Hello." })).await;
    let session = server.settled(&id).await;
    let turn = &session["turns"][0];
    assert_eq!(
        (&turn["status"], &turn["result"]),
        (&json!("completed"), &json!("Hello.")),
        "{session}"
    );
    let records = server.records(&id).await;
    let retries = of_type(&records, "retry");
    assert_eq!(retries.len(), 1, "{records:?}");
    assert_eq!(
        (&retries[0]["stdout"], &retries[0]["attempt"]),
        (&json!("pipe"), &json!(2))
    );
    // From now on the session knows.
    let prompts = format!("/v1/sessions/{id}/prompts");
    server.post(&prompts, json!({ "prompt": "say Again." })).await;
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][1]["result"], "Again.", "{session}");
    assert_eq!(of_type(&server.records(&id).await, "retry").len(), 1);
    nothing_is_left(&server, &id).await;
}

/// The start with a pipe is none of the retries that a request asks for, and there is only one.
#[tokio::test]
async fn agent_that_refuses_the_pipe_too_fails() {
    let server = server().await;
    let retry = json!({ "max": 1, "delay": 0.01 });
    let id = server
        .create(json!({ "agent": "never", "prompt": "say Hello.", "retry": retry }))
        .await;
    let session = server.settled(&id).await;
    let turn = &session["turns"][0];
    assert_eq!(
        (&turn["status"], &turn["attempt"]),
        (&json!("failed"), &json!(3)),
        "{session}"
    );
    let records = server.records(&id).await;
    let outputs: Vec<_> = of_type(&records, "retry")
        .iter()
        .map(|retry| retry["stdout"].clone())
        .collect();
    assert_eq!(outputs, [json!("pipe"), Value::Null]);
}

#[tokio::test]
async fn setup_before_an_agent_with_a_pipe_has_its_own_output() {
    let server = server().await;
    let request = json!({ "agent": "piped", "setup": ["echo setting up; test -p /dev/stdout || echo to a file"],
        "prompt": "test -p /dev/stdout && echo piped; seq 20000; exit 3" });
    let id = server.create(request).await;
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["exit_code"], 3, "{session}");
    let numbers: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    let expected = format!("setting up\nto a file\npiped\n{numbers}");
    assert_same_bytes("/output", &server.output(&id, "stdout").await, expected.as_bytes());
    let records = server.records(&id).await;
    let started = records.iter().position(|record| record["type"] == "started").unwrap();
    assert_eq!(joined(&records[..started], "stdout"), b"setting up\nto a file\n");
    nothing_is_left(&server, &id).await;
}
