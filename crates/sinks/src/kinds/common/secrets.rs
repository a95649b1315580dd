//! Which parts of the URL and the headers of a sink are secret.

use std::collections::BTreeMap;

use reqwest::Url;

use promptd_mask::credentials;

/// Words in the names of headers that contain a secret.
const SECRET_WORDS: &str = "auth cookie credential dsn key license password secret signature token";

/// A shorter value in a query is a setting and not a secret.
const MIN_SECRET: usize = 8;

/// A segment of a URL with this length and with letters and digits is random, and so a secret.
const MIN_RANDOM: usize = 16;

/// A segment with this length and with letters and digits is an id and not a version; then the whole path is secret.
const MIN_ID: usize = 6;

/// The secret values of `headers`, by the name of the header or because the value looks random. Of `Authorization`
/// the part after the scheme, because it may be shown without the scheme.
pub(super) fn header_secrets(headers: &BTreeMap<String, String>) -> Vec<String> {
    let mut secrets = Vec::new();
    for (name, value) in headers {
        let (lowercase, value) = (name.to_ascii_lowercase(), value.trim());
        if SECRET_WORDS.split(' ').any(|word| lowercase.contains(word)) || is_random(value, MIN_RANDOM) {
            match credentials(name, value) {
                none if none.is_empty() => secrets.push(value.to_owned()),
                credentials => secrets.extend(credentials),
            }
        }
    }
    secrets
}

/// The secrets in a URL: user name, password, and secret parts of its path and query, as in URLs of Slack and Zapier.
pub(super) fn url_secrets(url: &Url) -> Vec<String> {
    let user = [Some(url.username()), url.password()];
    let user = user.into_iter().flatten().filter(|text| !text.is_empty());
    let mut secrets: Vec<String> = user.map(str::to_owned).collect();
    let path = url.path().trim_end_matches('/');
    if path.split('/').any(|part| is_random(part, MIN_ID)) && path.len() >= MIN_RANDOM {
        secrets.push(path.to_owned());
    }
    secrets.extend(
        path.split('/')
            .filter(|part| is_random(part, MIN_RANDOM))
            .map(str::to_owned),
    );
    if let Some(query) = url.query() {
        secrets.extend(Some(query.to_owned()).filter(|query| query.len() >= MIN_SECRET));
        let values = url.query_pairs().map(|(_, value)| value.into_owned());
        secrets.extend(values.filter(|value| value.len() >= MIN_SECRET));
    }
    secrets
}

/// Whether a text has at least this length, and both letters and digits.
fn is_random(text: &str, min: usize) -> bool {
    text.len() >= min
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
