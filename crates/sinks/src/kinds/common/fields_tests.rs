//! Tests of [`super`].

use super::*;

fn secrets(name: &str, value: &str) -> Vec<String> {
    let request = SinkRequest {
        headers: [(name.to_owned(), value.to_owned())].into(),
        ..SinkRequest::default()
    };
    Fields::of(&request).header_secrets()
}

#[test]
fn header_is_secret_by_name_or_random_value() {
    assert_eq!(secrets("Authorization", "Bearer abcdefgh"), ["abcdefgh"]);
    assert_eq!(
        secrets("authorization", "Basic dXNlcjpzd29yZGZpc2g="),
        ["dXNlcjpzd29yZGZpc2g=", "swordfish"]
    );
    assert_eq!(secrets("X-Api-Key", "two words"), ["two words"]);
    assert_eq!(secrets("X-Tenant", "f00dcafef00dcafe"), ["f00dcafef00dcafe"]);
    assert_eq!(secrets("X-Environment", "production"), [""; 0]);
}

#[test]
fn url_secrets_are_user_and_random_parts() {
    let of = |url: &str| url_secrets(&Url::parse(url).unwrap());
    assert_eq!(of("https://backend.example/api/internal/v2/sink/logs"), [""; 0]);
    assert_eq!(of("https://user:swordfish@h/logs?a=1"), ["user", "swordfish"]);
    assert_eq!(
        of("https://hooks.slack.com/services/T0/B0/Xk3jd92jkd92jd0aK2"),
        ["/services/T0/B0/Xk3jd92jkd92jd0aK2", "Xk3jd92jkd92jd0aK2"]
    );
    assert_eq!(
        of("https://hooks.zapier.com/hooks/catch/123/b1c2d3/"),
        ["/hooks/catch/123/b1c2d3"]
    );
    assert_eq!(of("https://h/?token=sw%20rdfish"), ["token=sw%20rdfish", "sw rdfish"]);
}

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
