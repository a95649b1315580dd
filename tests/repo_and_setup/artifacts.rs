//! Artifacts: what the turns changed, as a list, as a patch that applies, and as an archive.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use serde_json::{Value, json};
use support::git::{GitServer, git};
use support::http::Answer;
use support::{Server, folder, wait_until};

pub(crate) const TOKEN: &str = "t0ken-that-nobody-may-see";

/// Status and path of every listed file.
pub(crate) fn listed(artifacts: &Value) -> Vec<(String, String)> {
    let files = artifacts["files"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    files.map(|file| (text(&file["status"]), text(&file["path"]))).collect()
}

pub(crate) fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(status, path)| ((*status).to_owned(), (*path).to_owned()))
        .collect()
}

pub(crate) async fn artifacts(server: &Server, id: &str) -> Value {
    server.get(&format!("/v1/sessions/{id}/artifacts")).await
}

/// Lets the clock of file times go on: its ticks are coarse, and what was done within one has the same time.
async fn tick() {
    let waited = std::time::Instant::now();
    wait_until("a tick", || waited.elapsed() > std::time::Duration::from_millis(30)).await;
}

pub(crate) async fn taken(server: &Server, id: &str, format: &str) -> Answer {
    server
        .ask(
            "GET",
            &format!("/v1/sessions/{id}/artifacts?format={format}"),
            &Value::Null,
        )
        .await
}

/// What an archive holds: content, or where a link points.
fn unpacked(packed: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if let Some(link) = entry.link_name_bytes() {
            content = [b"-> ", link.as_ref()].concat();
        }
        found.insert(entry.path_bytes().into_owned(), content);
    }
    found
}

/// Every file of a working directory but git's own.
fn content(folder: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(folder).unwrap().as_os_str().as_bytes().to_vec();
            if entry.file_name() == ".git" || name.starts_with(b"ignored") {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if let Ok(target) = std::fs::read_link(&path) {
                found.insert(name, [b"-> ", target.as_os_str().as_bytes()].concat());
            } else {
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// What a patch makes of a fresh clone.
fn applied(url: &str, patch: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let again = folder("again").join("again");
    git(Path::new("/"), &["clone", "--quiet", url, &again.display().to_string()]);
    let file = again.with_file_name("patch");
    std::fs::write(&file, patch).unwrap();
    git(&again, &["apply", &file.display().to_string()]);
    content(&again)
}

#[tokio::test]
async fn patch_reproduces_the_final_working_tree() {
    let git_server = GitServer::start(&folder("git"), None);
    let lines = "a\nb\nc\nd\ne\nf\ng\nh\n";
    let base = git_server.make(
        "job.git",
        &[
            ("keep", "same\n"),
            ("mod", "x\n"),
            ("gone", "y\n"),
            ("old", lines),
            (".gitignore", "ignored*\n"),
            ("a/b", "z\n"),
        ],
    );
    let server = Server::start().await;
    let script = r#"
        git config user.name A; git config user.email a@example.com
        git config diff.srcPrefix one/two/; git config diff.dstPrefix three/four/; git config diff.submodule log
        git config diff.context 0; git config diff.interHunkContext 9
        echo more >> mod; git commit -qam committed
        rm gone; mv old new; printf 'untracked' > untracked; echo x > ignored-file
        printf 'bin\0ary' > "$(printf 'od\nd "q" \303\274')"; printf 1 > "$(printf 'not-utf8-\377')"
        ln -s /etc/passwd link; chmod +x keep
        rm -r a; echo file > a
        git rm -q --cached mod; git init -q nested; echo n > nested/n
    "#;
    let id = server
        .create(json!({ "repo": { "url": git_server.url("job.git") }, "prompt": script }))
        .await;
    let session = server.settled(&id).await;
    assert_eq!(session["status"], "completed", "{session}");
    let work = server.workspace().join("job");
    let status = git(&work, &["status", "--porcelain"]);
    let found = artifacts(&server, &id).await;
    assert_eq!(found["base"], json!(base));
    assert_eq!(
        listed(&found),
        pairs(&[
            ("added", "a"),
            ("deleted", "a/b"),
            ("deleted", "gone"),
            ("modified", "keep"),
            ("added", "link"),
            ("modified", "mod"),
            ("renamed", "new"),
            ("added", "not-utf8-\u{fffd}"),
            ("added", "od\nd \"q\" ü"),
            ("added", "untracked"),
        ])
    );
    let file = |path: &str| {
        found["files"]
            .as_array()
            .unwrap()
            .iter()
            .find(|file| file["path"] == path)
            .unwrap()
            .clone()
    };
    assert_eq!(
        file("new"),
        json!({ "path": "new", "from": "old", "status": "renamed", "size": 16 })
    );
    assert_eq!(file("not-utf8-\u{fffd}")["path_base64"], "bm90LXV0Zjgt/w==");
    assert!(file("gone").get("size").is_none());
    let diff = found["diff"].as_str().unwrap();
    assert!(
        diff.contains("+more") && diff.contains("rename from old") && diff.contains("Binary files"),
        "{diff}"
    );
    assert!(!diff.contains("ignored") && !diff.contains("root:"), "{diff}");
    // Looking changes nothing.
    assert_eq!(git(&work, &["status", "--porcelain"]), status);
    let left = std::fs::read_dir(server.session_folder(&id)).unwrap().flatten();
    assert!(
        !left
            .into_iter()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("artifacts"))
    );

    let patch = taken(&server, &id, "patch").await;
    assert_eq!(
        (patch.status, patch.header("content-type")),
        (200, "text/x-diff; charset=utf-8")
    );
    let again = applied(&git_server.url("job.git"), &patch.bytes);
    let mut expected = content(&work);
    expected.remove(b"nested/n".as_slice());
    assert_eq!(again, expected);

    let archive = taken(&server, &id, "tar.gz").await;
    assert_eq!(
        (archive.status, archive.header("content-type")),
        (200, "application/gzip")
    );
    let unpacked = unpacked(&archive.bytes);
    assert_eq!(unpacked[b"link".as_slice()], b"-> /etc/passwd");
    expected.retain(|name, _| ![b".gitignore".as_slice()].contains(&name.as_slice()));
    assert_eq!(unpacked, expected);
}

#[tokio::test]
async fn subdirectory_of_a_repository_lists_its_own_changes() {
    let server = Server::start().await;
    let root = server.workspace();
    std::fs::create_dir_all(root.join("sub")).unwrap();
    git(&root, &["init", "--quiet"]);
    std::fs::write(root.join("sub/f"), "1\n").unwrap();
    std::fs::write(root.join("top"), "1\n").unwrap();
    git(&root, &["add", "--all"]);
    git(&root, &["commit", "--quiet", "--message", "x"]);
    let id = server
        .create(json!({ "cwd": "sub", "prompt": "echo 2 > f; echo 2 > ../top; echo 3 > g; echo 3 > ../h" }))
        .await;
    server.settled(&id).await;
    let found = artifacts(&server, &id).await;
    assert_eq!(listed(&found), pairs(&[("modified", "f"), ("added", "g")]));
    assert!(found["diff"].as_str().unwrap().contains("+++ b/g"), "{found}");
    // The first turn's beginning is what counts, however many come.
    server
        .post(
            &format!("/v1/sessions/{id}/prompts"),
            json!({ "prompt": "git add -A; git -c user.name=A -c user.email=a commit -qm y; rm f" }),
        )
        .await;
    server
        .session_when(&id, |session| session["turns"][1]["status"] == "completed")
        .await;
    assert_eq!(
        listed(&artifacts(&server, &id).await),
        pairs(&[("deleted", "f"), ("added", "g")])
    );
}

#[tokio::test]
async fn change_within_a_second_of_checkout_is_found() {
    let server = Server::start().await;
    let root = server.workspace();
    std::fs::create_dir_all(&root).unwrap();
    git(&root, &["init", "--quiet"]);
    std::fs::write(root.join("f"), "hello\n").unwrap();
    git(&root, &["add", "--all"]);
    git(&root, &["commit", "--quiet", "--message", "x"]);
    // A fast agent behind a fast clone, made slow: size and times of the file stay what the index has of it, and only
    // the index's own time says that this means nothing.
    let script = "git config core.checkStat minimal; git config core.trustCTime false
        touch -d @1700000000 f; git update-index --refresh; touch -d @1700000000 .git/index
        echo fixed > f; touch -d @1700000000 f; [ \"$LOOK\" = no ] || echo new > g";
    for (look, expected) in [
        ("no", &[("modified", "f")][..]),
        ("yes", &[("modified", "f"), ("added", "g")]),
    ] {
        let id = server
            .create(json!({ "env": { "LOOK": look }, "prompt": script }))
            .await;
        assert_eq!(server.settled(&id).await["status"], "completed");
        assert_eq!(listed(&artifacts(&server, &id).await), pairs(expected));
        let patch = taken(&server, &id, "patch").await;
        assert!(patch.text().contains("-hello\n+fixed\n"), "{}", patch.text());
    }
}

#[tokio::test]
async fn without_git_newer_files_are_listed() {
    let server = Server::start().await;
    let root = server.workspace();
    std::fs::create_dir_all(root.join("deep/er")).unwrap();
    for name in ["same", "changed", "touched", "deep/er/x"] {
        std::fs::write(root.join(name), "1\n").unwrap();
    }
    tick().await;
    let setup = json!(["echo setup > by-setup; sleep 0.03"]);
    let script =
        "echo 2 >> changed; touch -d 2001-01-01 touched; echo 2 > deep/er/new; ln -s / link; mkdir empty; mkfifo fifo";
    let id = server.create(json!({ "setup": setup, "prompt": script })).await;
    assert_eq!(artifacts(&server, &id).await["diff"], Value::Null);
    server.settled(&id).await;
    let found = artifacts(&server, &id).await;
    let expected = [
        ("modified", "changed"),
        ("added", "deep/er/new"),
        ("added", "link"),
        ("modified", "touched"),
    ];
    assert_eq!(listed(&found), pairs(&expected));
    assert_eq!((&found["base"], &found["diff"]), (&Value::Null, &Value::Null));
    let patch = taken(&server, &id, "patch").await;
    assert_eq!((patch.status, patch.code()), (409, "no_repository"));
    let archive = unpacked(&taken(&server, &id, "tar.gz").await.bytes);
    assert_eq!(
        archive
            .keys()
            .map(|name| String::from_utf8_lossy(name))
            .collect::<Vec<_>>(),
        ["changed", "deep/er/new", "link", "touched"]
    );
    assert_eq!(archive[b"changed".as_slice()], b"1\n2\n");
}

#[tokio::test]
async fn files_of_other_sessions_are_not_listed() {
    let server = Server::start().await;
    let run = async |request: Value| {
        let id = server.create(request).await;
        server.settled(&id).await;
        tick().await;
        id
    };
    let names = async |id: &str| {
        let found = artifacts(&server, id).await;
        let names: Vec<String> = listed(&found).into_iter().map(|(_, path)| path).collect();
        (names, found["shared"].as_bool().unwrap())
    };
    let first = run(json!({ "prompt": "echo 1 > by-first" })).await;
    let second = run(json!({ "prompt": "echo 2 > by-second" })).await;
    std::fs::write(server.workspace().join("by-nobody"), "").unwrap();
    let again = json!({ "prompt": "echo 3 > by-first-again" });
    let path = format!("/v1/sessions/{first}/prompts");
    assert_eq!(server.ask("POST", &path, &again).await.status, 202);
    server.settled(&first).await;
    assert_eq!(names(&second).await, (vec!["by-second".to_owned()], false));
    let both = ["by-first", "by-first-again"].map(str::to_owned).to_vec();
    assert_eq!(names(&first).await, (both, false));
    // At the same time, nobody knows who changed a file, and the answer says so.
    let (one, two) = (
        json!({ "prompt": "echo > x; until [ -e y ]; do sleep 0.01; done" }),
        json!({ "prompt": "echo > y; until [ -e x ]; do sleep 0.01; done" }),
    );
    let (one, two) = tokio::join!(run(one), run(two));
    assert!(names(&one).await.1);
    assert!(names(&two).await.1);
    assert!(!names(&second).await.1);
}

#[tokio::test]
async fn no_artifacts_before_start_and_bad_queries_refused() {
    let server = Server::start().await;
    let id = server.create(json!({})).await;
    let found = artifacts(&server, &id).await;
    assert_eq!(
        (&found["files"], &found["since"], &found["diff"]),
        (&json!([]), &Value::Null, &Value::Null)
    );
    assert_eq!(unpacked(&taken(&server, &id, "tar.gz").await.bytes).len(), 0);
    assert_eq!(taken(&server, &id, "patch").await.code(), "no_repository");
    assert_eq!(taken(&server, &id, "zip").await.code(), "invalid_parameter");
    let (status, problem) = server.send("GET", "/v1/sessions/none/artifacts", Value::Null).await;
    assert_eq!((status, &problem["code"]), (404, &json!("session_not_found")));
}

#[tokio::test]
async fn texts_mask_secrets_and_files_are_exact() {
    let server = Server::start().await;
    let root = server.workspace();
    std::fs::create_dir_all(&root).unwrap();
    git(&root, &["init", "--quiet"]);
    git(&root, &["commit", "--quiet", "--allow-empty", "--message", "x"]);
    let script = "echo \"key = $API_TOKEN\" > f; head -c 300000 /dev/zero | tr '\\0' x > long; echo \"$API_TOKEN\" >> long; touch \"$API_TOKEN\"";
    let id = server
        .create(json!({ "env": { "API_TOKEN": TOKEN }, "prompt": script }))
        .await;
    server.settled(&id).await;
    let json = taken(&server, &id, "json").await;
    assert!(!json.text().contains(TOKEN));
    assert!(
        json.body["diff"].as_str().unwrap().contains("+key = ***"),
        "{}",
        json.body
    );
    let patch = taken(&server, &id, "patch").await;
    assert!(!patch.text().contains(TOKEN) && patch.text().contains("key = ***"));
    assert_eq!(
        unpacked(&taken(&server, &id, "tar.gz").await.bytes)[b"f".as_slice()],
        format!("key = {TOKEN}\n").as_bytes()
    );
    assert!(!server.log().contains(TOKEN));
}

#[tokio::test]
async fn oversized_artifacts_are_truncated_and_marked() {
    let server = Server::start().await;
    let root = server.workspace();
    std::fs::create_dir_all(&root).unwrap();
    git(&root, &["init", "--quiet"]);
    git(&root, &["commit", "--quiet", "--allow-empty", "--message", "x"]);
    let script =
        "seq 400000 > large; mkdir many; cd many; seq 10001 | xargs touch; truncate -s 2G ../huge; rm ../huge; true";
    let id = server.create(json!({ "prompt": script })).await;
    server.settled(&id).await;
    let found = artifacts(&server, &id).await;
    assert_eq!(
        (&found["files_truncated"], &found["diff_truncated"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(found["files"].as_array().unwrap().len(), 10_000);
    let diff = found["diff"].as_str().unwrap();
    assert!(diff.len() <= 1 << 20 && diff.ends_with('\n'));
    for format in ["patch", "tar.gz"] {
        let refused = taken(&server, &id, format).await;
        assert_eq!((refused.status, refused.code()), (422, "artifacts_too_large"));
    }
    let clean = "rm -r many; truncate -s 2G huge";
    server
        .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": clean }))
        .await;
    server
        .session_when(&id, |session| session["turns"][1]["status"] == "completed")
        .await;
    let refused = taken(&server, &id, "tar.gz").await;
    assert_eq!(
        (refused.status, refused.code()),
        (422, "artifacts_too_large"),
        "{}",
        refused.body
    );
    assert!(refused.detail().contains("2150172"), "{}", refused.body);
}
