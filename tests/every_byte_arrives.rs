//! What an agent writes reaches every reader, whole and in order.

mod support;

use serde_json::json;
use support::{Server, assert_no_holes, joined};

#[tokio::test]
async fn a_line_arrives_as_it_was_written() {
    let server = Server::start().await;
    let id = server.shell("echo hello; echo oops >&2; printf 'no newline'").await;
    let records = server.follow(&id).await;
    assert_no_holes(&records, 1);
    assert_eq!(joined(&records, "stdout"), b"hello\nno newline");
    assert_eq!(joined(&records, "stderr"), b"oops\n");
    assert_eq!(server.output(&id, "stdout").await, b"hello\nno newline");
    assert_eq!(server.settled(&id).await["status"], json!("completed"));
}
