//! Tests of [`super`].

use super::*;

#[test]
fn agent_id_has_a_maximum_length() {
    let agent_id = |id: &str| {
        let request = SinkRequest {
            agent_id: Some(id.to_owned()),
            ..SinkRequest::default()
        };
        Fields::of(&request).agent_id().map_err(|error| error.to_string())
    };
    assert_eq!(agent_id("a"), Ok(Some("a".to_owned())));
    assert!(
        agent_id("")
            .unwrap_err()
            .ends_with("is empty; leave it out or name the agent")
    );
    assert!(
        agent_id(&"a".repeat(257))
            .unwrap_err()
            .ends_with("has 257 bytes; it can have 256 at most")
    );
}
