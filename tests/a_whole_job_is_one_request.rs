//! Clone, setup and agent are one request; nothing of the token is left anywhere; whoever dies, the job goes on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of tests fails like a test"
)]

use crate::support;

use std::path::Path;

use serde_json::{Value, json};
use support::git::{GitServer, git};
use support::{Server, eventually, folder, joined, of_type, procs};

const TOKEN: &str = "t0ken-that-nobody-may-see";

fn git_server(token: Option<&str>) -> GitServer {
    GitServer::start(&folder("git"), token)
}

/// The types of a session's records, output left out, with what each setup step does.
fn story(records: &[Value]) -> Vec<String> {
    let kinds = records
        .iter()
        .filter_map(|record| match record["type"].as_str().unwrap() {
            "stdout" | "stderr" => None,
            "setup" => Some(format!(
                "setup {}/{} {}",
                record["step"],
                record["of"],
                record["command"].as_str().unwrap()
            )),
            kind => Some(kind.to_owned()),
        });
    kinds.collect()
}

/// Whether any file below a folder holds a text.
fn holds(folder: &Path, text: &str) -> Option<std::path::PathBuf> {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            if let Some(found) = holds(&path, text) {
                return Some(found);
            }
        } else if memchr::memmem::find(&std::fs::read(&path).unwrap_or_default(), text.as_bytes()).is_some() {
            return Some(path);
        }
    }
    None
}

#[tokio::test]
async fn clone_setup_and_agent_are_one_request() {
    let git = git_server(None);
    let commit = git.make("job.git", &[("README", "hello\n"), ("src/a b", "x\n")]);
    let server = Server::start().await;
    let url = git.url("job.git");
    let request = json!({
        "repo": { "url": url }, "setup": ["echo one; printf unfinished", "cat README >&2; cd src; export X=1"],
        "prompt": "pwd; echo \"X=$X\"; cat 'src/a b'",
    });
    let id = server.create(request).await;
    let session = server.settled(&id).await;
    assert_eq!(session["status"], "completed", "{session}");
    let place = server.workspace().join("job").display().to_string();
    assert_eq!(session["cwd"], json!(place));
    let records = server.records(&id).await;
    assert_eq!(
        story(&records),
        [
            "prompt",
            &format!("setup 1/3 git clone {url}"),
            "setup 2/3 echo one; printf unfinished",
            "setup 3/3 cat README >&2; cd src; export X=1",
            "started",
            "exited",
            "turn_ended"
        ]
    );
    // Whose a byte is, the place in the journal tells.
    let at = |kind: &str, command: &str| {
        let is =
            |record: &Value| record["type"] == kind && record["command"].as_str().unwrap_or_default().contains(command);
        records.iter().position(is).unwrap()
    };
    let (second, third, agent) = (at("setup", "echo one"), at("setup", "cat README"), at("started", ""));
    assert_eq!(joined(&records[second..third], "stdout"), b"one\nunfinished");
    assert_eq!(joined(&records[third..agent], "stderr"), b"hello\n");
    assert_eq!(joined(&records[third..agent], "stdout"), b"");
    assert_eq!(
        joined(&records[agent..], "stdout"),
        format!("{place}\nX=\nx\n").as_bytes()
    );
    assert_eq!(records[agent]["commit"], json!(commit));
    assert_eq!(
        server.output(&id, "stdout").await,
        format!("one\nunfinished{place}\nX=\nx\n").as_bytes()
    );
}

#[tokio::test]
async fn a_second_turn_neither_clones_nor_sets_up_again() {
    let git = git_server(None);
    git.make("job.git", &[("README", "hello\n")]);
    let server = Server::start().await;
    let request = json!({
        "repo": { "url": git.url("job.git"), "dir": "some/where" }, "setup": ["echo x >> ../setups"],
        "prompt": "echo changed > README", "cwd": "here",
    });
    let id = server.create(request).await;
    server.settled(&id).await;
    let asked = git.seen().len();
    let path = format!("/v1/sessions/{id}/prompts");
    server
        .post(&path, json!({ "prompt": "pwd; cat README; cat ../setups" }))
        .await;
    let session = server
        .session_when(&id, |session| session["turns"][1]["status"] == "completed")
        .await;
    let place = server.workspace().join("here/some/where").display().to_string();
    assert_eq!(session["cwd"], json!(place));
    assert_eq!(
        server.output(&id, "stdout").await,
        format!("{place}\nchanged\nx\n").as_bytes()
    );
    assert_eq!(git.seen().len(), asked);
    assert_eq!(of_type(&server.records(&id).await, "setup").len(), 2);
}

#[tokio::test]
async fn every_kind_of_reference_is_checked_out() {
    let git_server = git_server(None);
    let first = git_server.make("job.git", &[("f", "first\n")]);
    git(&git_server.work("job.git"), &["tag", "v1"]);
    let branch = git_server.push("job.git", "feature/x", &[("f", "branch\n")]);
    let bare = git_server.folder.join("job.git");
    git(&bare, &["update-ref", "refs/pull/7/head", &branch]);
    let server = Server::start().await;
    for (name, reference, commit) in [
        ("branch", "feature/x", &branch),
        ("full", "refs/heads/feature/x", &branch),
        ("tag", "v1", &first),
        ("commit", first.as_str(), &first),
        ("short", branch.get(..10).unwrap(), &branch),
        ("pull", "refs/pull/7/head", &branch),
    ] {
        let request = json!({
            "repo": { "url": git_server.url("job.git"), "ref": reference, "dir": name }, "prompt": "git rev-parse HEAD",
        });
        let id = server.create(request).await;
        assert_eq!(server.settled(&id).await["status"], "completed", "{name}");
        assert_eq!(
            server.output(&id, "stdout").await,
            format!("{commit}\n").as_bytes(),
            "{name}"
        );
    }
    let on_branch = git(
        &server.workspace().join("branch"),
        &["rev-parse", "--abbrev-ref", "HEAD@{upstream}"],
    );
    assert_eq!(on_branch, "origin/feature/x");
    let request = json!({ "repo": { "url": git_server.url("job.git"), "ref": "no-such" }, "prompt": "true" });
    let id = server.create(request).await;
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["cause"], "setup_failed", "{session}");
    let ended = server.record(&id, "turn_ended").await;
    assert!(ended["error"].as_str().unwrap().contains("no-such"), "{ended}");
}

#[tokio::test]
async fn a_clone_that_is_there_is_brought_up_to_date_and_anything_else_is_left_alone() {
    let git_server = git_server(None);
    git_server.make("job.git", &[("f", "first\n")]);
    git_server.make("other.git", &[("g", "other\n")]);
    let server = Server::start().await;
    let create = |repo: Value| json!({ "repo": repo, "prompt": "cat f" });
    let first = server.create(create(json!({ "url": git_server.url("job.git") }))).await;
    server.settled(&first).await;
    git_server.push("job.git", "main", &[("f", "second\n")]);
    // Without a reference, what is there stays as it is.
    for (reference, content) in [(Value::Null, "first\n"), (json!("main"), "second\n")] {
        let id = server
            .create(create(json!({ "url": git_server.url("job.git"), "ref": reference })))
            .await;
        assert_eq!(server.settled(&id).await["status"], "completed");
        assert_eq!(server.output(&id, "stdout").await, content.as_bytes());
    }
    std::fs::create_dir_all(server.workspace().join("full")).unwrap();
    std::fs::write(server.workspace().join("full/f"), "mine\n").unwrap();
    std::os::unix::fs::symlink("/tmp", server.workspace().join("link")).unwrap();
    for (repo, word) in [
        (
            json!({ "url": git_server.url("other.git"), "dir": "job" }),
            "there is a clone of",
        ),
        (json!({ "url": git_server.url("job.git"), "dir": "full" }), "not empty"),
        (
            json!({ "url": git_server.url("job.git"), "dir": "link/job" }),
            "symbolic link",
        ),
    ] {
        let id = server.create(create(repo)).await;
        let session = server.settled(&id).await;
        assert_eq!(
            (&session["status"], &session["turns"][0]["cause"]),
            (&json!("failed"), &json!("setup_failed"))
        );
        let ended = server.record(&id, "turn_ended").await;
        assert!(ended["error"].as_str().unwrap().contains(word), "{ended}");
    }
    assert_eq!(
        std::fs::read_to_string(server.workspace().join("full/f")).unwrap(),
        "mine\n"
    );
    // Work of an earlier session is not overwritten, and git says so.
    std::fs::write(server.workspace().join("job/f"), "work\n").unwrap();
    git_server.push("job.git", "main", &[("f", "third\n")]);
    let id = server
        .create(create(json!({ "url": git_server.url("job.git"), "ref": "main" })))
        .await;
    assert_eq!(server.settled(&id).await["turns"][0]["cause"], "setup_failed");
    assert_eq!(
        std::fs::read_to_string(server.workspace().join("job/f")).unwrap(),
        "work\n"
    );
}

#[tokio::test]
async fn a_clone_waits_for_another_one_in_its_own_folder_only_and_says_so() {
    let (slow, quick) = (git_server(None), git_server(None));
    slow.make("job.git", &[("f", "slow\n")]);
    quick.make("job.git", &[("f", "quick\n")]);
    let server = Server::start().await;
    let create = |git: &GitServer, folder: &str| json!({ "repo": { "url": git.url("job.git"), "dir": folder }, "prompt": "cat f" });
    slow.hold(true);
    let first = server.create(create(&slow, "one")).await;
    eventually("the clone's first request", || !slow.seen().is_empty()).await;
    let beside = server.create(create(&quick, "other")).await;
    assert_eq!(server.settled(&beside).await["status"], "completed");
    let second = server.create(create(&slow, "one")).await;
    let said = server.record(&second, "stderr").await;
    let place = server.workspace().join("one").display().to_string();
    assert_eq!(said["data"], json!(format!("waiting for another clone into {place}")));
    slow.hold(false);
    for id in [&first, &second] {
        assert_eq!(server.settled(id).await["status"], "completed");
        assert!(server.output(id, "stdout").await.ends_with(b"slow\n"));
    }
}

#[tokio::test]
async fn a_folder_that_was_there_outlives_a_clone_that_failed() {
    let git = git_server(None);
    let server = Server::start().await;
    std::fs::create_dir_all(server.workspace().join("mine")).unwrap();
    for (folder, stays) in [("mine", true), ("made", false)] {
        let repo = json!({ "url": git.url("missing.git"), "dir": folder });
        let id = server.create(json!({ "repo": repo, "prompt": "true" })).await;
        assert_eq!(server.settled(&id).await["turns"][0]["cause"], "setup_failed");
        assert_eq!(server.workspace().join(folder).exists(), stays, "{folder}");
    }
}

#[tokio::test]
async fn a_private_repository_takes_the_token_and_nothing_keeps_it() {
    let git_server = git_server(Some(TOKEN));
    git_server.make("job.git", &[("f", "private\n")]);
    let server = Server::start().await;
    git_server.hold(true);
    let request = json!({
        "repo": { "url": git_server.url("job.git"), "token_env": "PLAIN_NAME" }, "env": { "PLAIN_NAME": TOKEN },
        "setup": ["git remote -v; git config --list --show-origin"], "prompt": "cat f",
    });
    let id = server.create(request).await;
    // The token has been taken, or the request would not have been let in.
    eventually("the clone's first request", || !git_server.seen().is_empty()).await;
    assert!(!procs::named("git-remote-http").is_empty());
    assert_eq!(procs::named(TOKEN), Vec::<i32>::new());
    git_server.hold(false);
    assert_eq!(server.settled(&id).await["status"], "completed");
    assert!(server.output(&id, "stdout").await.ends_with(b"private\n"));
    assert_eq!(holds(&server.workspace(), TOKEN), None);
    assert_eq!(
        holds(&server.session_folder(&id), TOKEN),
        Some(server.session_folder(&id).join("session.json"))
    );
    assert!(!server.log().contains(TOKEN));
}

#[tokio::test]
async fn a_wrong_token_or_none_fails_the_setup_with_git_s_own_words() {
    let git_server = git_server(Some(TOKEN));
    git_server.make("job.git", &[("f", "private\n")]);
    let server = Server::with().env("FROM_THE_SERVER", "wrong-token").start().await;
    for (token_env, word) in [
        (json!("FROM_THE_SERVER"), "Authentication failed"),
        (Value::Null, "could not read Username"),
    ] {
        let request = json!({ "repo": { "url": git_server.url("job.git"), "token_env": token_env }, "prompt": "true" });
        let id = server.create(request).await;
        let session = server.settled(&id).await;
        assert_eq!(
            (&session["status"], &session["turns"][0]["cause"]),
            (&json!("failed"), &json!("setup_failed"))
        );
        let error = server.record(&id, "turn_ended").await["error"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            error.contains("`git clone` exited with code 128") && error.contains(word),
            "{error}"
        );
        assert!(!server.workspace().join("job").exists());
        assert_eq!(of_type(&server.records(&id).await, "started").len(), 0);
    }
}

#[tokio::test]
async fn a_setup_command_that_fails_is_named_with_its_code_and_the_agent_does_not_start() {
    let server = Server::start().await;
    let setup = json!(["echo fine", "echo 'what was wrong' >&2; exit 7", "touch third"]);
    let id = server.create(json!({ "setup": setup, "prompt": "touch agent" })).await;
    let session = server.settled(&id).await;
    let turn = &session["turns"][0];
    assert_eq!(
        (&turn["status"], &turn["cause"], &turn["exit_code"]),
        (&json!("failed"), &json!("setup_failed"), &json!(7))
    );
    let error = server.record(&id, "turn_ended").await["error"]
        .as_str()
        .unwrap()
        .to_owned();
    let said = "the setup command `echo 'what was wrong' >&2; exit 7` (2 of 3) exited with code 7: what was wrong";
    assert_eq!(error, said);
    assert!(!server.workspace().join("third").exists() && !server.workspace().join("agent").exists());
    // The next turn tries again, since no agent has begun yet.
    server
        .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "true" }))
        .await;
    server
        .session_when(&id, |session| session["turns"][1]["cause"] == "setup_failed")
        .await;
}

#[tokio::test]
async fn a_retry_sets_up_again_only_where_the_setup_had_failed() {
    let server = Server::start().await;
    let request = json!({
        "setup": ["echo setup >> log; [ -e before ] || { touch before; exit 3; }"],
        "prompt": "echo agent >> log; [ -e failed ] || { touch failed; exit 4; }", "retry": { "max": 3, "delay": 0 },
    });
    let id = server.create(request).await;
    let session = server.settled(&id).await;
    assert_eq!(
        (&session["status"], &session["turns"][0]["attempt"]),
        (&json!("completed"), &json!(3))
    );
    let log = std::fs::read_to_string(server.workspace().join("log")).unwrap();
    assert_eq!(log, "setup\nsetup\nagent\nagent\n");
}

#[tokio::test]
async fn what_a_setup_prints_is_not_taken_for_the_agent_s_words() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = Server::start().await;
    let bin = server.root.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::write(bin.join("claude"), "#!/bin/sh\necho no event\n").unwrap();
    std::fs::set_permissions(bin.join("claude"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let fake =
        json!({ "type": "result", "subtype": "success", "is_error": false, "result": "well done", "session_id": "x" });
    let fake = format!("printf '%s' '{fake}'");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let run = async |setup: Value, prompt: &str| {
        let request = json!({ "agent": "claude", "env": { "PATH": path }, "setup": setup, "prompt": prompt });
        server.settled(&server.create(request).await).await
    };
    let session = run(json!([fake]), "x").await;
    let turn = &session["turns"][0];
    assert_eq!(
        (&turn["status"], &turn["cause"], &turn["result"]),
        (&json!("failed"), &json!("agent_error"), &Value::Null)
    );
    // The same words of the agent itself do count.
    std::fs::write(bin.join("claude"), format!("#!/bin/sh\n{fake}\n")).unwrap();
    let session = run(json!(["true"]), "x").await;
    assert_eq!(
        (&session["status"], &session["turns"][0]["result"]),
        (&json!("completed"), &json!("well done"))
    );
}

#[tokio::test]
async fn a_keeper_that_comes_late_still_knows_whose_each_byte_is() {
    let server = Server::start().await;
    let request = json!({
        "setup": ["echo begun; until [ -e go ]; do sleep 0.01; done; seq 60000; seq 9 >&2; printf end", "seq 5"],
        "prompt": "seq 40000; seq 7 >&2; touch agent-done",
    });
    let id = server.create(request).await;
    server.record(&id, "stdout").await;
    let keeper = procs::keepers(&server.home())[0];
    procs::signal(keeper, "STOP");
    server.touch("go");
    eventually("the agent's end", || server.workspace().join("agent-done").exists()).await;
    procs::signal(keeper, "CONT");
    assert_eq!(server.settled(&id).await["status"], "completed");
    let records = server.records(&id).await;
    let places: Vec<usize> = (0..records.len())
        .filter(|at| ["setup", "started"].contains(&records[*at]["type"].as_str().unwrap()))
        .collect();
    assert_eq!(places.len(), 3);
    let lines = |count: u32| (1..=count).map(|number| format!("{number}\n")).collect::<String>();
    for (part, stream, expected) in [
        (
            &records[places[0]..places[1]],
            "stdout",
            format!("begun\n{}end", lines(60_000)),
        ),
        (&records[places[0]..places[1]], "stderr", lines(9)),
        (&records[places[1]..places[2]], "stdout", lines(5)),
        (&records[places[1]..places[2]], "stderr", String::new()),
        (&records[places[2]..], "stdout", lines(40_000)),
        (&records[places[2]..], "stderr", lines(7)),
    ] {
        support::assert_same_bytes(stream, &joined(part, stream), expected.as_bytes());
    }
}

#[tokio::test]
async fn a_killed_server_and_a_killed_keeper_do_not_disturb_a_setup() {
    let git_server = git_server(None);
    git_server.make("job.git", &[("f", "there\n")]);
    let mut server = Server::start().await;
    git_server.hold(true);
    let request = json!({
        "repo": { "url": git_server.url("job.git") }, "setup": ["echo begun; until [ -e ../go ]; do sleep 0.01; done; echo done"],
        "prompt": "cat f; exit 0",
    });
    let id = server.create(request).await;
    eventually("the clone's first request", || !git_server.seen().is_empty()).await;
    server.kill();
    procs::signal(procs::keepers(&server.home())[0], "KILL");
    git_server.hold(false);
    server.start_again().await;
    server.record(&id, "stdout").await;
    server.kill();
    procs::signal(procs::keepers(&server.home())[0], "KILL");
    server.touch("go");
    server.start_again().await;
    let session = server.settled(&id).await;
    assert_eq!(server.output(&id, "stdout").await, b"begun\ndone\nthere\n");
    let steps = story(&server.records(&id).await);
    let steps: Vec<_> = steps
        .iter()
        .filter(|step| step.starts_with("setup") || *step == "started")
        .collect();
    assert_eq!(steps.len(), 3, "{steps:?}");
    // The exit code went with the first keeper, and nothing else did.
    assert_eq!(session["turns"][0]["cause"], "keeper_lost", "{session}");
}

#[tokio::test]
async fn a_server_killed_in_the_middle_finds_the_failure_of_the_setup() {
    let mut server = Server::start().await;
    let setup = json!(["echo begun; until [ -e go ]; do sleep 0.01; done; exit 9"]);
    let id = server.create(json!({ "setup": setup, "prompt": "true" })).await;
    server.record(&id, "stdout").await;
    server.kill();
    // The exit code goes with the keeper; what the setup told does not.
    procs::signal(procs::keepers(&server.home())[0], "KILL");
    server.touch("go");
    eventually("the setup's end", || procs::marked(&server.home()).is_empty()).await;
    server.start_again().await;
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["cause"], "setup_failed", "{session}");
    let ended = server.record(&id, "turn_ended").await;
    assert!(
        ended["error"].as_str().unwrap().contains("exited with code 9"),
        "{ended}"
    );
}

#[tokio::test]
async fn stop_and_interrupt_take_a_setup_down_with_its_tree() {
    let git_server = git_server(None);
    git_server.make("job.git", &[("f", "x\n")]);
    let server = Server::start().await;
    let deaf = "trap '' TERM INT; setsid sleep 1000 & echo begun; while :; do sleep 0.05; done";
    for (call, cause) in [("stop", "stopped"), ("interrupt", "interrupted")] {
        let request = json!({ "setup": [deaf], "prompt": "touch agent" });
        let id = server.create(request).await;
        server.record(&id, "stdout").await;
        let body = if call == "stop" {
            json!({ "grace": 0.2 })
        } else {
            Value::Null
        };
        server.post(&format!("/v1/sessions/{id}/{call}"), body).await;
        let session = server.settled(&id).await;
        assert_eq!(
            (&session["status"], &session["turns"][0]["cause"]),
            (&json!("cancelled"), &json!(cause))
        );
        eventually("an empty tree", || procs::marked(&server.home()).is_empty()).await;
    }
    git_server.hold(true);
    let request = json!({ "repo": { "url": git_server.url("job.git") }, "prompt": "cat f" });
    let id = server.create(request).await;
    eventually("the clone's first request", || !git_server.seen().is_empty()).await;
    let answer = server
        .post(&format!("/v1/sessions/{id}/stop"), json!({ "grace": 0 }))
        .await;
    assert_eq!(answer, json!({ "survivors": 0 }));
    assert_eq!(procs::marked(&server.home()), Vec::<i32>::new());
    assert!(!server.workspace().join("agent").exists());
    // What a killed clone has left is no obstacle for the next turn.
    git_server.hold(false);
    server
        .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "cat f" }))
        .await;
    let session = server
        .session_when(&id, |session| session["turns"][1]["ended_at"] != Value::Null)
        .await;
    assert_eq!(session["status"], "completed", "{session}");
    assert_eq!(server.output(&id, "stdout").await, b"x\n");
}

#[tokio::test]
async fn a_timeout_counts_the_setup_and_an_idle_timeout_does_not() {
    let server = Server::start().await;
    let id = server
        .create(json!({ "setup": ["sleep 1000"], "prompt": "true", "timeout": 0.3 }))
        .await;
    assert_eq!(server.settled(&id).await["status"], "timed_out");
    eventually("an empty tree", || procs::marked(&server.home()).is_empty()).await;
    let id = server
        .create(json!({ "setup": ["sleep 1"], "prompt": "true", "idle_timeout": 0.4 }))
        .await;
    assert_eq!(server.settled(&id).await["status"], "completed");
    let id = server
        .create(json!({ "setup": ["true"], "prompt": "sleep 1000", "idle_timeout": 0.4 }))
        .await;
    assert_eq!(server.settled(&id).await["turns"][0]["cause"], "idle_timeout");
}

#[tokio::test]
async fn what_cannot_be_set_up_is_refused_before_anything_begins() {
    let server = Server::start().await;
    for (request, field, word) in [
        (
            json!({ "repo": { "url": "https://s3cret@h/x" } }),
            "repo.url",
            "repo.token_env",
        ),
        (json!({ "repo": { "url": "ext::sh -c date" } }), "repo.url", "https"),
        (
            json!({ "repo": { "url": "https://h/x", "dir": "../x" } }),
            "repo.dir",
            "leaves",
        ),
        (
            json!({ "repo": { "url": "https://h/x", "ref": "--upload-pack=x" } }),
            "repo.ref",
            "branch",
        ),
        (
            json!({ "repo": { "url": "https://h/x", "token_env": "NO_SUCH" } }),
            "repo.token_env",
            "NO_SUCH",
        ),
        (
            json!({ "repo": { "url": "http://h/x", "token_env": "T" }, "env": { "T": "x" } }),
            "repo.token_env",
            "https",
        ),
        (
            json!({ "repo": { "url": "https://h/x", "token_env": "T" }, "env": { "T": "a\nb" } }),
            "repo.token_env",
            "line",
        ),
        (json!({ "setup": ["true", " "] }), "setup", "command 2"),
        (json!({ "setup": ["a\u{0}b"] }), "setup", "NUL"),
    ] {
        let (status, problem) = server.send("POST", "/v1/sessions", request).await;
        assert_eq!((status, &problem["code"]), (400, &json!("invalid_field")), "{problem}");
        assert_eq!(problem["field"], json!(field));
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(word) && !detail.contains("s3cret"), "{detail}");
    }
    let (_, problem) = server
        .send(
            "POST",
            "/v1/sessions",
            json!({ "repo": { "url": "https://h/x", "branch": "x" } }),
        )
        .await;
    assert_eq!(problem["code"], "unknown_field");
}
