//! One request clones, sets up and runs the agent. The token is left nowhere, and the job survives killed processes.

use std::path::Path;

use serde_json::{Value, json};
use support::git::{GitServer, git};
use support::{Server, folder, joined, of_type, procs, wait_until};

const TOKEN: &str = "t0ken-that-nobody-may-see";

pub(crate) fn git_server(token: Option<&str>) -> GitServer {
    GitServer::start(&folder("git"), token)
}

/// The types of a session's records, output left out, with what each setup step does.
pub(crate) fn story(records: &[Value]) -> Vec<String> {
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
async fn second_turn_skips_clone_and_setup() {
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
async fn existing_clone_is_updated_and_other_folders_kept() {
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
async fn clone_waits_only_for_one_in_the_same_folder() {
    let (slow, quick) = (git_server(None), git_server(None));
    slow.make("job.git", &[("f", "slow\n")]);
    quick.make("job.git", &[("f", "quick\n")]);
    let server = Server::start().await;
    let create = |git: &GitServer, folder: &str| json!({ "repo": { "url": git.url("job.git"), "dir": folder }, "prompt": "cat f" });
    slow.hold(true);
    let first = server.create(create(&slow, "one")).await;
    wait_until("the clone's first request", || !slow.seen().is_empty()).await;
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
async fn existing_folder_survives_a_failed_clone() {
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
async fn private_repository_token_is_used_and_not_kept() {
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
    wait_until("the clone's first request", || !git_server.seen().is_empty()).await;
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
async fn wrong_token_fails_setup_with_the_error_of_git() {
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
async fn invalid_repository_is_refused_before_start() {
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
