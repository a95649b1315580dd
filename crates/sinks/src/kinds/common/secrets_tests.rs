//! Tests of [`super`].

use super::*;

fn secrets(name: &str, value: &str) -> Vec<String> {
    header_secrets(&[(name.to_owned(), value.to_owned())].into())
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
