//! A keeper that is frozen while its agent writes and exits.

use serde_json::{Value, json};

use super::{Server, of_type, procs, wait_until};

/// Runs a program as the `shell` agent whose keeper does not run meanwhile; answers with its standard output.
pub async fn output_behind_a_frozen_keeper(server: &Server, program: &str) -> Vec<u8> {
    let id = server
        .shell(&format!("until [ -e go ]; do sleep 0.01; done; {program}"))
        .await;
    let agent: i32 = server.record(&id, "started").await["pid"]
        .as_i64()
        .unwrap()
        .try_into()
        .unwrap();
    let keepers = procs::keepers(&server.home());
    assert_eq!(keepers.len(), 1);
    procs::signal(keepers[0], "STOP");
    server.touch("go");
    wait_until("the agent's exit while its keeper is frozen", || !procs::lives(agent)).await;
    let unread = server.records(&id).await;
    assert_eq!(
        of_type(&unread, "stdout"),
        Vec::<&Value>::new(),
        "the keeper was not frozen"
    );
    procs::signal(keepers[0], "CONT");
    let session = server.settled(&id).await;
    assert_eq!(session["status"], json!("completed"), "{session}");
    assert_eq!(session["turns"][0]["exit_code"], json!(0), "{session}");
    server.output(&id, "stdout").await
}
