//! As the first process of a container, the server gets the orphans of others.

use support::{Server, procs, require_program, wait_until};

/// The children of a process.
fn children(parent: i32) -> Vec<i32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = std::fs::read_to_string(path).unwrap();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

#[tokio::test]
async fn first_process_of_a_container_reaps_orphans() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can make a namespace everywhere. A unit test of `sys` does the same with a subreaper.
        return;
    }
    require_program("unshare", "util-linux");
    let container = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let server = Server::with().runner(&container).start().await;
    let first = children(server.pid())[0];
    let id = server
        .shell(
            "until test -e go; do sleep 0.02; done
             for i in 1 2 3 4 5 6 7 8 9 10; do (setsid sleep 0.1 &) ; done; sleep 0.3; echo done",
        )
        .await;
    server.record(&id, "started").await;
    let keeper = procs::keepers(&server.home())[0];
    procs::signal(keeper, "KILL");
    wait_until("the next keeper", || {
        let keepers = procs::keepers(&server.home());
        !keepers.is_empty() && keepers[0] != keeper
    })
    .await;
    // The agent and what it starts from now on belong to the first process.
    server.touch("go");
    server.settled(&id).await;
    wait_until("the end of all zombies", || {
        let zombies = procs::zombies(first);
        if zombies == 0 { Ok(()) } else { Err(zombies) }
    })
    .await;
    // Own children keep their exit status.
    let next = server.shell("echo fine").await;
    assert_eq!(server.settled(&next).await["status"], "completed");
    let lost = server.log().matches("the turn's keeper has gone").count();
    assert_eq!(lost, 1, "only the one that was killed: {}", server.log());
}
