//! What a repository names is not run outside of a turn, and not waited for.

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::git::git;
use support::http::Answer;
use support::{Server, folder};

use crate::artifacts::{TOKEN, artifacts, listed, pairs, taken};

/// Every program that a repository's configuration can name leaves a file when it runs.
#[tokio::test]
async fn artifacts_run_no_program_that_a_repository_names() {
    let server = Server::start().await;
    let root = folder("named-programs");
    let repository = root.join("work");
    std::fs::create_dir_all(&repository).unwrap();
    std::fs::write(repository.join("kept.evil"), "one\n").unwrap();
    std::fs::write(repository.join("changed.evil"), "one\n").unwrap();
    for args in [
        &["init", "--quiet"][..],
        &["config", "user.name", "A"],
        &["config", "user.email", "a@example.com"],
        &["add", "."],
        &["commit", "--quiet", "-m", "one"],
    ] {
        git(&repository, args);
    }
    let ran = root.join("ran");
    std::fs::create_dir(&ran).unwrap();
    let script = format!(
        r#"
        program() {{ printf '#!/bin/sh\ntouch {0}/%s\nsetsid sleep 600 &\nexec cat\n' "$1" > {1}/$1; chmod +x {1}/$1; }}
        for name in clean smudge process textconv external monitor ssh helper pager included refs; do program $name; done
        mkdir -p {1}/hooks; for hook in post-index-change pre-commit post-checkout fsmonitor-watchman
        do program hook; cp {1}/hook {1}/hooks/$hook; cp {1}/hook .git/hooks/$hook; done
        printf '*.evil filter=evil diff=evil\n*.late filter=late\n' > .gitattributes
        printf '*.evil filter=evil diff=evil\n' > .git/info/attributes
        git config filter.evil.clean {1}/clean; git config filter.evil.smudge {1}/smudge
        git config filter.evil.process {1}/process; git config filter.evil.required true
        git config diff.evil.textconv {1}/textconv; git config diff.evil.command {1}/external
        git config diff.external {1}/external; git config core.hooksPath {1}/hooks
        git config core.fsmonitor {1}/monitor; git config core.sshCommand {1}/ssh; git config core.pager {1}/pager
        git config credential.helper {1}/helper; git config core.alternateRefsCommand {1}/refs
        git config remote.origin.url ssh://nowhere/x; git config remote.origin.promisor true
        printf '[filter "late"]\n clean = {1}/included\n required = true\n' > .git/more; git config include.path more
        printf 'two\n' > changed.evil; touch kept.evil; printf 'new\n' > new.evil; printf 'new\n' > new.late
        git config --get filter.late.clean
        "#,
        ran.display(),
        root.display()
    );
    let body = json!({ "prompt": script, "cwd": repository });
    let id = server.create(body).await;
    let session = server.settled(&id).await;
    assert_eq!(session["status"], "completed", "{session}");
    for entry in std::fs::read_dir(&ran).unwrap().flatten() {
        // What git ran in the turn itself.
        std::fs::remove_file(entry.path()).unwrap();
    }
    let expected = pairs(&[
        ("added", ".gitattributes"),
        ("modified", "changed.evil"),
        ("added", "new.evil"),
        ("added", "new.late"),
    ]);
    assert_eq!(listed(&artifacts(&server, &id).await), expected);
    let patch = taken(&server, &id, "patch").await;
    assert_eq!(patch.status, 200, "{}", patch.text());
    let text = String::from_utf8_lossy(&patch.bytes).into_owned();
    assert!(text.contains("-one\n+two\n"), "{text}");
    assert_eq!(taken(&server, &id, "tar.gz").await.status, 200);
    let started: Vec<_> = std::fs::read_dir(&ran)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(started.is_empty(), "{started:?} were run");
    std::fs::remove_dir_all(root).unwrap();
}

/// Git waits for a writer that never comes. It kept a place for two minutes, and then another comparison was answered.
#[tokio::test]
async fn fifo_where_git_reads_is_named_soon() {
    let server = Server::start().await;
    let root = folder("fifos-of-git");
    let mut ids = Vec::new();
    for (name, script) in [
        ("ignore", "mkfifo .gitignore; echo a > new"),
        ("include", "mkfifo fifo; git config include.path ../fifo"),
    ] {
        let repository = root.join(name);
        std::fs::create_dir_all(&repository).unwrap();
        let author = ["-c", "user.name=A", "-c", "user.email=a@example.com"];
        git(&repository, &["init", "--quiet"]);
        git(
            &repository,
            &[&author[..], &["commit", "--quiet", "--allow-empty", "-m", "x"]].concat(),
        );
        let id = server.create(json!({ "prompt": script, "cwd": repository })).await;
        assert_eq!(server.settled(&id).await["status"], "completed");
        ids.push(format!("/v1/sessions/{id}/artifacts"));
    }
    let answers = ids.iter().map(|path| server.ask("GET", path, &Value::Null));
    for answer in join_all(answers).await {
        assert_eq!((answer.status, answer.code()), (503, "git_slow"), "{}", answer.text());
        assert!(answer.detail().contains("find . -type p"), "{}", answer.detail());
    }
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn repository_configuration_runs_no_programs() {
    let server = Server::with()
        .env("PROMPTD_TOKEN", TOKEN)
        .env("OTHER_SECRET", TOKEN)
        .start()
        .await;
    let root = server.workspace();
    std::fs::create_dir_all(&root).unwrap();
    git(&root, &["init", "--quiet"]);
    std::fs::write(root.join("f"), "1\n").unwrap();
    git(&root, &["add", "--all"]);
    git(&root, &["commit", "--quiet", "--message", "x"]);
    let script = r#"
        for name in fsmonitor diff textconv hook; do
            printf '#!/bin/sh\nenv > "%s/ran-%s"\n' "$PWD" "$name" > ".git/$name"; chmod +x ".git/$name"
        done
        git config core.fsmonitor "$PWD/.git/fsmonitor"; git config diff.external "$PWD/.git/diff"
        git config diff.x.textconv "$PWD/.git/textconv"; git config diff.x.command "$PWD/.git/diff"
        echo '* diff=x' > .git/info/attributes
        mkdir -p .git/hooks; cp .git/hook .git/hooks/post-index-change
        echo 2 > f
    "#;
    let create = server
        .request("POST", "/v1/sessions")
        .bearer_auth(TOKEN)
        .json(&json!({ "id": "x", "prompt": script }));
    assert_eq!(create.send().await.unwrap().status(), 201);
    let get = async |path: &str| Answer::of(server.request("GET", path).bearer_auth(TOKEN)).await;
    support::wait_for("the end of the turn", async || {
        let session = get("/v1/sessions/x").await.body;
        if session["status"] == "completed" {
            Ok(())
        } else {
            Err(session)
        }
    })
    .await;
    let found = get("/v1/sessions/x/artifacts").await;
    assert!(found.body["diff"].as_str().unwrap().contains("+2"), "{}", found.body);
    let ran: Vec<_> = std::fs::read_dir(&root)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(
        !ran.iter().any(|name| name.to_string_lossy().starts_with("ran-")),
        "{ran:?}"
    );
}
