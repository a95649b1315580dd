//! A server that is reachable before it is configured: only its own user can configure it, on its own machine, and
//! nobody else sees the configuration.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use support::http::Answer;
use support::platform::Platform;
use support::{Server, procs, promptd, require_program, wait_until};

pub(crate) const TOKEN: &str = "a-token-that-is-long-enough";
pub(crate) const KEY: &str = "sk-a-key-of-the-backend";

/// Runs the command line beside a server, with an environment of its own.
fn beside(home: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(promptd());
    command.args(args).arg("--home").arg(home).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home);
    let output = command.envs(env.iter().copied()).stdin(Stdio::null()).output().unwrap();
    for secret in [TOKEN, KEY] {
        let said = [output.stdout.as_slice(), &output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains(secret), "{args:?} shows a secret: {said}");
    }
    output
}

pub(crate) fn configure(home: &Path, args: &[&str], env: &[(&str, &str)]) -> String {
    let output = beside(home, &[&["configure"], args].concat(), env);
    let (said, complaint) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    assert!(output.status.success(), "{}", complaint.unwrap());
    said.unwrap()
}

pub(crate) async fn status(server: &Server, token: &str) -> u16 {
    let request = server.request("GET", "/v1/sessions").bearer_auth(token);
    Answer::of(request).await.status
}

/// What a shell prints, asked for by the holder of a token.
pub(crate) async fn printed(server: &Server, header: (&str, &str), script: &str, env: Value) -> String {
    let request = server.request("POST", "/v1/sessions").header(header.0, header.1);
    let body = json!({ "agent": "shell", "prompt": script, "env": env, "mask": false });
    let answer = Answer::of(request.header("accept", "application/x-ndjson").json(&body)).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let lines = answer
        .bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let records: Vec<Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    String::from_utf8(support::joined(&records, "stdout")).unwrap()
}

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

#[tokio::test]
async fn unconfigured_server_refuses_everybody() {
    let server = Server::with().host("0.0.0.0").start().await;
    let wanted = json!({ "tokens": ["mine"] });
    for (method, path, body) in [
        ("PUT", "/v1/configuration", &wanted),
        ("POST", "/v1/sessions", &json!({ "prompt": "true" })),
        ("POST", "/execute", &json!({})),
        ("GET", "/", &Value::Null),
        ("GET", "/openapi.json", &Value::Null),
        ("GET", "/metrics", &Value::Null),
        ("GET", "/readyz", &Value::Null),
        ("GET", "/nothing", &Value::Null),
    ] {
        let answer = server.ask(method, path, body).await;
        assert_eq!(answer.status, 401, "{method} {path}: {}", answer.body);
        let says = answer.text();
        assert!(says.contains("promptd configure"), "{method} {path}: {says}");
    }
    for path in ["/healthz", "/health"] {
        assert_eq!(server.ask("GET", path, &Value::Null).await.status, 200);
    }
    configure(&server.home(), &[], &[("PROMPTD_TOKEN", TOKEN)]);
    assert_eq!(status(&server, TOKEN).await, 200);
    assert_eq!(status(&server, "mine").await, 401);
    // Not even the holder of the token: who has stolen it cannot lock others out.
    let request = server
        .request("PUT", "/v1/configuration")
        .bearer_auth(TOKEN)
        .json(&wanted);
    let answer = Answer::of(request).await;
    assert_eq!((answer.status, answer.code()), (403, "control_socket_only"));
    assert_eq!(status(&server, "mine").await, 401);
    let loopback = Server::start().await;
    let answer = loopback.ask("PUT", "/v1/configuration", &wanted).await;
    assert_eq!((answer.status, answer.code()), (403, "control_socket_only"));
    let mode = std::fs::metadata(server.home().join("control.sock"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// The platform leads whoever asks to every port of loopback, and hands on the `Host` that he has made up.
#[tokio::test]
async fn sandbox_refuses_loopback_callers_too() {
    let platform = Platform::start();
    let server = Server::with().platform(&platform).start().await;
    for host in ["localhost", "127.0.0.1:8080"] {
        let answer = Answer::of(server.request("GET", "/v1/info").header("host", host)).await;
        assert_eq!((answer.status, answer.code()), (401, "not_configured"), "{host}");
    }
    configure(&server.home(), &[], &[("PROMPTD_TOKEN", TOKEN)]);
    assert_eq!(
        (status(&server, TOKEN).await, status(&server, "guess").await),
        (200, 401)
    );
}

#[tokio::test]
async fn configuration_applies_at_once_and_shows_names_only() {
    let mut server = Server::with().env("FROM_THE_SERVER", "its").start().await;
    let home = server.home();
    let shell = [
        ("PROMPTD_TOKEN", TOKEN),
        ("BACKEND_KEY", KEY),
        ("FROM_THE_SERVER", "replaced"),
        ("SHLVL", "7"),
        ("PROMPTD_URL", ""),
    ];
    let said = configure(&home, &[], &shell);
    assert_eq!(
        said,
        "token:        set (1 valid)\nagents get:   BACKEND_KEY, FROM_THE_SERVER\n"
    );
    let script = "echo $BACKEND_KEY $FROM_THE_SERVER; env | grep -c PROMPTD_TOKEN";
    let (name, value) = bearer(TOKEN);
    let header = (name, value.as_str());
    assert_eq!(
        printed(&server, header, script, json!({})).await,
        format!("{KEY} replaced\n0\n")
    );
    let over = json!({ "BACKEND_KEY": "the session's" });
    assert_eq!(
        printed(&server, header, script, over).await,
        "the session's replaced\n0\n"
    );
    let info = Answer::of(server.request("GET", "/v1/info").header(header.0, header.1)).await;
    let names = json!(["BACKEND_KEY", "FROM_THE_SERVER"]);
    assert_eq!(info.body["configuration"]["environment"], names);
    assert_eq!(info.body["configuration"]["token_set"], json!(true));
    assert!(!info.text().contains(KEY) && !server.log().contains(KEY) && !server.log().contains(TOKEN));
    // The value is known to be secret, and so is the token, of which the home has no more than a digest.
    let body = json!({ "agent": "shell", "prompt": format!("echo $BACKEND_KEY {TOKEN}") });
    let request = server.request("POST", "/v1/sessions").header(header.0, header.1);
    let answer = Answer::of(request.header("accept", "application/x-ndjson").json(&body)).await;
    assert!(
        !answer.text().contains(KEY) && !answer.text().contains(TOKEN),
        "{}",
        answer.text()
    );
    for name in ["token", "environment.json"] {
        let path = home.join(name);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!std::fs::read_to_string(path).unwrap().contains(TOKEN));
    }
    server.kill();
    server.start_again().await;
    assert_eq!(status(&server, TOKEN).await, 200);
    assert_eq!(
        printed(&server, header, script, json!({})).await,
        format!("{KEY} replaced\n0\n")
    );
    // Another time replaces it all.
    configure(&home, &["--file", "/dev/stdin"], &[]);
    assert_eq!(printed(&server, header, script, json!({})).await, "its\n0\n");
}

#[tokio::test]
async fn token_change_leaves_no_moment_without_a_valid_one() {
    let server = Server::with().host("0.0.0.0").start().await;
    let home = server.home();
    let set = |token, args: &[&str]| configure(&home, args, &[("PROMPTD_TOKEN", token), ("A", "1")]);
    set(TOKEN, &[]);
    let said = set("the-next-one", &["--env", "PROMPTD_TOKEN", "--keep-old"]);
    assert_eq!(said, "token:        set (2 valid)\nagents get:   A\n");
    assert_eq!(
        (status(&server, TOKEN).await, status(&server, "the-next-one").await),
        (200, 200)
    );
    set("the-next-one", &["--env", "PROMPTD_TOKEN"]);
    assert_eq!(
        (status(&server, TOKEN).await, status(&server, "the-next-one").await),
        (401, 200)
    );
    let said = configure(&home, &["--env", "B", "--keep-old"], &[("B", "2")]);
    assert_eq!(said, "token:        as before (1 valid)\nagents get:   A, B\n");
    let digest = std::fs::read_to_string(home.join("token")).unwrap();
    assert_eq!(status(&server, digest.trim()).await, 401, "a digest opens nothing");
}

#[tokio::test]
async fn replaced_secrets_stay_masked_and_reach_no_agent() {
    let mut server = Server::start().await;
    let home = server.home();
    let set = |token, key, args: &[&str]| configure(&home, args, &[("PROMPTD_TOKEN", token), ("BACKEND_KEY", key)]);
    set(TOKEN, KEY, &[]);
    let body = json!({ "agent": "shell", "prompt": format!("echo $BACKEND_KEY {TOKEN}") });
    let create = server.request("POST", "/v1/sessions").bearer_auth(TOKEN).json(&body);
    let id = Answer::of(create).await.body["id"].as_str().unwrap().to_owned();
    let shown = async |server: &Server| {
        let events = server.request("GET", &format!("/v1/sessions/{id}/events"));
        let answer = Answer::of(
            events
                .header("accept", "application/x-ndjson")
                .bearer_auth("the-third-one"),
        )
        .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.text()
    };
    set("the-second-one", "sk-the-second-key", &["--keep-old"]);
    set("the-third-one", "sk-the-third-key", &["--keep-old"]);
    let hidden = shown(&server).await;
    assert!(
        !hidden.contains(KEY) && !hidden.contains(TOKEN) && hidden.contains("***"),
        "{hidden}"
    );
    let (name, value) = bearer("the-third-one");
    let header = (name, value.as_str());
    let env = printed(&server, header, "env", json!({})).await;
    assert!(env.contains("sk-the-third-key") && !env.contains(KEY), "{env}");
    // Also one that is gone altogether, and by a server that was not there.
    configure(&home, &["--file", "/dev/null"], &[]);
    server.kill();
    server.start_again().await;
    let hidden = shown(&server).await;
    assert!(!hidden.contains(KEY), "{hidden}");
    let path = home.join("environment.json");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(
        !std::fs::read_to_string(path).unwrap().contains("the-second-one"),
        "a token stands nowhere"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_additions_are_all_kept() {
    const MANY: usize = 8;
    let server = Server::start().await;
    let home = server.home();
    std::thread::scope(|scope| {
        for number in 0..MANY {
            let (home, token, name) = (&home, format!("token-number-{number}"), format!("NAME_{number}"));
            scope.spawn(move || {
                let args = ["--keep-old", "--env", "PROMPTD_TOKEN", "--env", &name];
                configure(home, &args, &[("PROMPTD_TOKEN", &*token), (&*name, "x")])
            });
        }
    });
    for number in 0..MANY {
        assert_eq!(
            status(&server, &format!("token-number-{number}")).await,
            200,
            "{number}"
        );
    }
    let said = configure(&home, &["--keep-old", "--env", "LAST"], &[("LAST", "x")]);
    assert!(
        (0..MANY).all(|number| said.contains(&format!("NAME_{number}"))),
        "{said}"
    );
}

#[tokio::test]
async fn broken_token_file_refuses_loopback_too() {
    let server = Server::start().await;
    assert_eq!(server.ask("GET", "/v1/sessions", &Value::Null).await.status, 200);
    let path = server.home().join("token");
    // A link to itself cannot be read by anybody, root included.
    std::os::unix::fs::symlink(&path, &path).unwrap();
    assert_eq!(server.ask("GET", "/v1/sessions", &Value::Null).await.status, 401);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    assert_eq!(server.ask("GET", "/v1/sessions", &Value::Null).await.status, 401);
    let doctor = beside(&server.home(), &["doctor"], &[]);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("has no token: nobody is let in"));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(server.ask("GET", "/v1/sessions", &Value::Null).await.status, 200);
}

#[tokio::test]
async fn invalid_configuration_is_refused_with_a_hint() {
    let server = Server::with()
        .env("PROMPTD_TOKEN", "from-the-environment")
        .start()
        .await;
    let home = server.home();
    let refused = |args: &[&str], env: &[(&str, &str)]| {
        let output = beside(&home, &[&["configure"], args].concat(), env);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&[], &[("PROMPTD_TOKEN", TOKEN)]).contains("its own environment"));
    assert!(refused(&["--env", "MISSING"], &[]).contains("MISSING is not set here"));
    assert!(refused(&["--url", "http://localhost:1"], &[]).contains("control socket"));
    let file = home.join("wrong.env");
    std::fs::write(&file, format!("A=1\n{KEY}\n")).unwrap();
    assert!(refused(&["--file", file.to_str().unwrap()], &[]).contains("line 2"));
    assert_eq!(status(&server, "from-the-environment").await, 200);
    // The same token is none that would be lost.
    let same = [("PROMPTD_TOKEN", "from-the-environment"), ("BACKEND_KEY", KEY)];
    assert!(configure(&home, &[], &same).contains("BACKEND_KEY"));
    // Without a server, it is there for the next one.
    let empty = support::folder("configured-first");
    configure(&empty, &[], &[("PROMPTD_TOKEN", TOKEN)]);
    let server = Server::with().home(&empty).host("0.0.0.0").start().await;
    assert_eq!((status(&server, TOKEN).await, status(&server, "x").await), (200, 401));
    let doctor = beside(&empty, &["doctor", "--json"], &[]);
    let checks: Vec<Value> = serde_json::from_slice(&doctor.stdout).unwrap();
    let auth = checks.iter().find(|check| check["name"] == "auth").unwrap();
    assert_eq!(auth["detail"], "1 token, from the home");
}

#[tokio::test]
async fn repository_token_can_be_configured() {
    require_program("git", "git");
    let server = Server::start().await;
    // Nobody listens there: the turn fails, and the session is there.
    let repo = json!({ "url": "https://127.0.0.1:1/owner/name", "token_env": "CLONES_WITH" });
    let body = json!({ "agent": "shell", "prompt": format!("echo {KEY}"), "repo": repo });
    assert_eq!(server.ask("POST", "/v1/sessions", &body).await.status, 400);
    configure(&server.home(), &[], &[("CLONES_WITH", KEY)]);
    let answer = server.ask("POST", "/v1/sessions", &body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let id = answer.body["id"].as_str().unwrap();
    assert_eq!(server.settled(id).await["turns"][0]["cause"], "setup_failed");
    let shown = Value::from(server.records(id).await).to_string();
    assert!(shown.contains("***") && !shown.contains(KEY), "{shown}");
}

/// A folder that a user without rights may use, with the binary in it.
pub(crate) fn for_anybody() -> (PathBuf, PathBuf, Vec<&'static str>) {
    let root = std::env::temp_dir().join(format!("promptd-anybody-{}", std::process::id()));
    let _old = std::fs::remove_dir_all(&root);
    let home = root.join("home");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::copy(promptd(), root.join("promptd")).unwrap();
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut runner = Vec::new();
    // Root sees everything; so be somebody else.
    if nix::unistd::geteuid().is_root() {
        chown(&home, Some(65_534), Some(65_534)).unwrap();
        runner = vec!["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    }
    (root, home, runner)
}

#[tokio::test]
async fn agent_cannot_inspect_server_or_keeper() {
    require_program("setpriv", "util-linux");
    let (root, home, runner) = for_anybody();
    let server = Server::with().binary(&root.join("promptd")).home(&home).runner(&runner);
    let server = server
        .env("PROMPTD_TOKEN", TOKEN)
        .env("PROMPTD_DUMPABLE", "")
        .start()
        .await;
    let script = format!(
        "for pid in {} $PPID; do for file in environ mem maps; do head -c1 /proc/$pid/$file 2>&1; done; ls /proc/$pid/fd 2>&1; done
         cat /proc/self/oom_score_adj; until test -e go; do sleep 0.02; done",
        server.pid()
    );
    let body = json!({ "agent": "shell", "prompt": script, "cwd": home });
    let create = server.request("POST", "/v1/sessions").bearer_auth(TOKEN).json(&body);
    let id = Answer::of(create).await.body["id"].as_str().unwrap().to_owned();
    // The other way: what a keeper and the server themselves need of /proc works for them.
    wait_until("the keeper", || procs::keepers(&home).len() == 1).await;
    let keeper = procs::keepers(&home)[0];
    for pid in [server.pid(), keeper] {
        let shown = ["environ", "cmdline"].map(|file| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default());
        assert!(!String::from_utf8_lossy(&shown.concat()).contains(TOKEN), "{pid}");
    }
    let beside = |args: &[&str]| {
        let program = root.join("promptd");
        let mut words: Vec<&str> = runner.clone();
        words.push(program.to_str().unwrap());
        words.extend(args);
        words.extend(["--home", home.to_str().unwrap()]);
        let mut command = Command::new(words[0]);
        let output = command
            .args(&words[1..])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &home);
        output.output().unwrap()
    };
    let ps = beside(&["ps", "--json"]);
    assert!(String::from_utf8_lossy(&ps.stdout).contains(&id), "{ps:?}");
    std::fs::write(home.join("go"), "").unwrap();
    let logs = beside(&["attach", &id]);
    let said = String::from_utf8(logs.stdout).unwrap();
    assert_eq!(said.matches("Permission denied").count(), 8, "{said}");
    assert_eq!(
        said.lines().last(),
        Some("500"),
        "an agent is the first to go when memory runs out"
    );
    drop(server);
    std::fs::remove_dir_all(root).unwrap();
}
