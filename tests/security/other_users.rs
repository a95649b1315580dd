//! Other users of the same machine: sockets, homes and tokens that would let them start agents as the server's user.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::problems::{assert_problem, refused};
use support::{Server, folder, outside, promptd};

use crate::first_configuration::for_anybody;

/// Runs the server with the umask under which everything is open.
const WITHOUT_UMASK: [&str; 4] = ["/bin/sh", "-c", "umask 0; exec \"$@\"", "sh"];

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn sockets_are_private_whatever_the_umask() {
    let root = outside("sockets");
    let socket = root.join("api.sock");
    let listen = format!("unix:{}", socket.display());
    let mut server = Server::with()
        .runner(&WITHOUT_UMASK)
        .arg("--listen")
        .arg(&listen)
        .start()
        .await;
    let control = server.home().join("control.sock");
    assert_eq!((mode(&socket), mode(&control)), (0o600, 0o600));
    assert_eq!(names(&root), ["api.sock"], "nothing else is left");
    let agents = server.shell("exec sleep 60").await;
    server.record(&agents, "started").await;
    let keeper = server.session_folder(&agents).join("turn-1.sock");
    assert_eq!(mode(&keeper), 0o600);
    server.kill();
    server.start_again().await;
    assert_eq!((mode(&socket), mode(&control)), (0o600, 0o600), "replaced");
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn another_user_gets_nothing_from_an_opened_socket() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can become somebody else. That peers are told apart is a unit test, too.
        return;
    }
    support::require_program("setpriv", "util-linux");
    support::require_program("curl", "curl");
    let (root, home, runner) = for_anybody();
    let socket = home.join("api.sock");
    let server = Server::with().binary(&root.join("promptd")).home(&home).runner(&runner);
    let server = server
        .arg("--listen")
        .arg(&format!("unix:{}", socket.display()))
        .start()
        .await;
    let ask = |user: &str, socket: &Path| {
        let asked = Command::new("setpriv")
            .args([
                &format!("--reuid={user}"),
                "--regid=65533",
                "--clear-groups",
                "curl",
                "-s",
                "--unix-socket",
            ])
            .arg(socket)
            .args(["http://localhost/v1/sessions", "-o", "/dev/null", "-w", "%{http_code}"])
            .output()
            .unwrap();
        String::from_utf8(asked.stdout).unwrap()
    };
    // Its own user opens everything.
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o755)).unwrap();
    let control = home.join("control.sock");
    for socket in [&socket, &control] {
        assert_eq!(ask("65533", socket), "000", "the socket's mode keeps others out");
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o777)).unwrap();
        let status = [ask("65533", socket), ask("65534", socket), ask("0", socket)];
        assert_eq!(status, ["403", "200", "200"], "another user, the same, root");
    }
    drop(server);
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn home_that_others_may_write_to_is_refused_with_the_remedy() {
    let home = folder("open-home");
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o777)).unwrap();
    let doctor = || {
        let mut doctor = Command::new(promptd());
        let doctor = doctor.args(["doctor", "--json", "--home"]).arg(&home).output().unwrap();
        let checks: Vec<Value> = serde_json::from_slice(&doctor.stdout).unwrap();
        checks.into_iter().find(|check| check["name"] == "private home")
    };
    let check = doctor().expect("doctor sees it, too");
    assert_eq!(check["state"], "fail", "{check}");
    let (code, log) = Server::with().home(&home).refused().await;
    assert_eq!(code, Some(1), "{log}");
    let remedy = log.split('`').nth(1).unwrap();
    assert_eq!(check["hint"], remedy);
    let run = Command::new("/bin/sh").args(["-c", remedy]).status().unwrap();
    assert!(run.success(), "{remedy}");
    assert_eq!(doctor(), None);
    Server::with().home(&home).start().await;
    std::fs::remove_dir_all(home).unwrap();
}

#[tokio::test]
async fn empty_token_variable_closes_loopback_and_says_so() {
    for empty in ["", " ", ",", " ,\n,"] {
        let server = Server::with().env("PROMPTD_TOKEN", empty).start().await;
        assert_eq!(server.ask("GET", "/healthz", &Value::Null).await.status, 200);
        let answer = refused(&server, "GET", "/v1/info", Value::Null, (401, "unauthorized")).await;
        assert!(
            answer.detail().contains("PROMPTD_TOKEN is set and has no token"),
            "{}",
            answer.body
        );
        assert!(
            server.log().contains("PROMPTD_TOKEN is set and has no token"),
            "{}",
            server.log()
        );
        std::fs::write(server.home().join("token"), "# the backend's\nsecret\n").unwrap();
        let right = server.request("GET", "/v1/info").bearer_auth("secret");
        assert_eq!(
            support::http::Answer::of(right).await.status,
            200,
            "the file's token counts"
        );
    }
}

#[tokio::test]
async fn token_file_without_a_usable_token_closes_loopback() {
    let server = Server::start().await;
    let path = server.home().join("token");
    let closed = async |what: &str| {
        let answer = refused(&server, "GET", "/v1/info", Value::Null, (401, "unauthorized")).await;
        assert!(answer.detail().contains("token file"), "{what}: {}", answer.body);
        let comment = server.request("GET", "/v1/info").bearer_auth("# comment");
        assert_problem(&support::http::Answer::of(comment).await, 401, "unauthorized");
    };
    std::fs::write(&path, "# comment\n  # another\n\n").unwrap();
    closed("comments").await;
    std::fs::remove_file(&path).unwrap();
    symlink("/nonexistent/secret", &path).unwrap();
    closed("a link to nothing").await;
    std::fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    closed("a FIFO").await;
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    closed("a folder").await;
    std::fs::remove_dir(&path).unwrap();
    let secret = server.root.join("mounted");
    std::fs::write(&secret, "# comment\nsecret\n").unwrap();
    symlink(&secret, &path).unwrap();
    let right = server.request("GET", "/v1/info").bearer_auth("secret");
    assert_eq!(support::http::Answer::of(right).await.status, 200, "a mounted secret");
}
