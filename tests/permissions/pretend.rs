//! Scripts that take the place of an agent's program.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use support::{Builder, Server, wait_until};

/// A server that takes a shell script for an agent's program.
pub(crate) fn with_program(name: &str, program: &str, script: &str) -> Builder {
    let programs = support::folder(name);
    let path = programs.join(program);
    std::fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    Server::with().scripted().env("PATH", path)
}

/// The lines of a file that the script wrote into its working directory.
pub(crate) fn noted(server: &Server, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(server.workspace().join(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The messages among them.
pub(crate) fn heard(server: &Server) -> Vec<Value> {
    let lines = noted(server, "heard");
    lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Waits until the script has been told this.
pub(crate) async fn hears(server: &Server, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let mut found = Value::Null;
    wait_until(what, || {
        let heard = heard(server);
        match heard.iter().find(|message| is_it(message)) {
            Some(message) => {
                found = message.clone();
                Ok(())
            }
            None => Err(heard),
        }
    })
    .await;
    found
}
