//! Values that are known to be secret.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::names::is_secret;

/// Shorter values would hide words of ordinary output.
const LEAST: usize = 6;

/// Plain numbers with fewer digits are ports, limits and process ids.
const LEAST_DIGITS: usize = 10;

/// Longer words of small letters only may be passwords.
const LONGEST_WORD: usize = 8;

/// The longest value of an environment variable that Linux hands to a program.
const MOST: usize = 128 << 10;

/// A user name in a URL that is this long is a token (`https://ghp_…@github.com`).
const LEAST_USER: usize = 20;

/// Headers besides `Accept…` and `Content-…` that say nothing secret.
const PLAIN_HEADERS: [&str; 5] = ["connection", "host", "mcp-protocol-version", "origin", "user-agent"];

/// Secret values, each once; written down as a list of texts.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets(BTreeSet<String>);

impl Secrets {
    /// Adds a value that is known to be secret; of several lines each is one, since output is recorded in lines.
    pub fn add(&mut self, value: &str) {
        if value.len() > MOST {
            return;
        }
        let several = value.trim().contains('\n');
        for line in value.lines().map(str::trim).filter(|line| is_worth_hiding(line)) {
            // `-----BEGIN PRIVATE KEY-----` stands in every key, and in texts about keys.
            if !(several && line.starts_with("-----")) {
                self.0.insert(line.to_owned());
            }
        }
    }

    /// Adds the value of an environment variable if its name says that it is secret; of a URL the password,
    /// whatever the name.
    pub fn add_env(&mut self, name: &str, value: &str) {
        let value = value.trim();
        if is_secret(name) && !is_word(value) && !is_path(value) {
            self.add(value);
        }
        for secret in secrets_of_url(value) {
            self.add(secret);
        }
    }

    /// Adds a value of a map that is meant for secrets, whatever its name; but no ordinary word and no path.
    pub fn add_value(&mut self, value: &str) {
        let value = value.trim();
        if !is_word(value) && !is_path(value) {
            self.add(value);
        }
        self.add_url(value);
    }

    /// Adds the value of a header, whatever its name, unless it says what every request says. Of an `Authorization`
    /// also what stands behind the scheme, since that may be repeated without.
    pub fn add_header(&mut self, name: &str, value: &str) {
        let name = name.to_ascii_lowercase();
        let (name, value) = (name.as_str(), value.trim());
        if name.starts_with("accept") || name.starts_with("content-") || PLAIN_HEADERS.contains(&name) {
            return;
        }
        self.add_value(value);
        for secret in credentials(name, value) {
            self.add(&secret);
        }
    }

    /// Adds the password of a value that is a URL.
    pub fn add_url(&mut self, url: &str) {
        for secret in secrets_of_url(url) {
            self.add(secret);
        }
    }

    /// Adds all that others are.
    pub fn extend(&mut self, others: &Self) {
        self.0.extend(others.0.iter().cloned());
    }

    /// How many bytes they have in all.
    pub fn size(&self) -> usize {
        self.0.iter().map(String::len).sum()
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Debug for Secrets {
    /// How many there are; never one of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

/// What of an `Authorization` header's value is secret; of `Basic` also the password in it. Of other headers nothing
/// more than all of it.
pub fn credentials(name: &str, value: &str) -> Vec<String> {
    let mut secrets = Vec::new();
    if let Some((scheme, credentials)) = value.split_once(' ')
        && name.to_ascii_lowercase().contains("authorization")
    {
        let credentials = credentials.trim();
        secrets.push(credentials.to_owned());
        if scheme.eq_ignore_ascii_case("basic") {
            let decoded = BASE64.decode(credentials).ok();
            let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
            let password = decoded.as_deref().and_then(|text| text.split_once(':'));
            secrets.extend(password.map(|(_, password)| password.to_owned()));
        }
    }
    secrets
}

fn is_worth_hiding(value: &str) -> bool {
    let number = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let least = if number { LEAST_DIGITS } else { LEAST };
    value.len() >= least
}

/// `postgres`, `password`, `changeme`: hiding them would hide ordinary words, and they are everybody's.
fn is_word(value: &str) -> bool {
    value.len() <= LONGEST_WORD && value.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// `/run/secrets/key`: where a secret stands. Short names only, since base64 has slashes, too.
fn is_path(value: &str) -> bool {
    let is_name = |name: &str| {
        let kinds: [fn(&u8) -> bool; 2] = [u8::is_ascii_digit, u8::is_ascii_uppercase];
        let mixed = kinds.iter().all(|kind| name.as_bytes().iter().any(kind));
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            && !mixed
    };
    let absolute = value.strip_prefix('/').or_else(|| value.strip_prefix("~/"));
    absolute.is_some_and(|path| path.split('/').all(is_name))
}

/// The password in `scheme://user:password@host`, and a user name that is a token.
fn secrets_of_url(value: &str) -> impl Iterator<Item = &str> {
    let user_info = value
        .trim()
        .split_once("://")
        .filter(|(scheme, _)| {
            !scheme.is_empty()
                && scheme
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        })
        .and_then(|(_, rest)| rest.split(['/', '?', '#']).next())
        .and_then(|authority| authority.rsplit_once('@'))
        .map(|(user_info, _)| user_info);
    let (user, password) = match user_info.map(|user_info| user_info.split_once(':')) {
        Some(Some((user, password))) => (Some(user), Some(password)),
        Some(None) => (user_info, None),
        None => (None, None),
    };
    user.filter(|user| user.len() >= LEAST_USER).into_iter().chain(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, value: &str) -> Vec<String> {
        let mut secrets = Secrets::default();
        secrets.add_env(name, value);
        secrets.values().map(str::to_owned).collect()
    }

    #[test]
    fn short_values_numbers_and_switches_stay_visible() {
        for value in [
            "",
            "true",
            "false",
            "12345",
            "8080",
            "123456789",
            "0.125",
            "abcde",
            "   a   ",
            "postgres",
            "/workspace",
            "/run/secrets/api-key.pem",
            "~/.ssh/id_ed25519",
        ] {
            assert!(of("API_KEY", value).is_empty(), "{value}");
        }
        assert_eq!(of("API_KEY", " s3cret \n"), ["s3cret"]);
        for value in ["1234567890", "/aB3dE5gH7jK9", "correcthorse", "hunter22"] {
            assert_eq!(of("API_KEY", value), [value]);
        }
    }

    #[test]
    fn of_a_url_the_password_is_secret_whatever_the_name() {
        assert_eq!(
            of("DATABASE_URL", "postgres://app:hunter22@db:5432/x?a=@b"),
            ["hunter22"]
        );
        assert_eq!(
            of("ORIGIN", "https://ghp_0123456789abcdefghij@github.com/a/b"),
            ["ghp_0123456789abcdefghij"]
        );
        assert_eq!(of("ORIGIN", "https://user@host/a:b@c"), [""; 0]);
        assert_eq!(of("ORIGIN", "no url: user:password@host"), [""; 0]);
    }

    #[test]
    fn a_key_of_several_lines_counts_line_by_line() {
        let key =
            "-----BEGIN PRIVATE KEY-----\r\nMIIEvQIBADAN\r\nBgkq\r\nhkiG9w0BAQEF\r\n-----END PRIVATE KEY-----\r\n";
        assert_eq!(of("TLS_KEY", key), ["MIIEvQIBADAN", "hkiG9w0BAQEF"]);
    }

    #[test]
    fn of_a_header_the_value_is_secret_and_what_stands_behind_its_scheme() {
        let of = |name: &str, value: &str| {
            let mut secrets = Secrets::default();
            secrets.add_header(name, value);
            secrets.values().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(of("X-Anything", "s3cret"), ["s3cret"]);
        assert_eq!(of("Authorization", "Bearer abc-123"), ["Bearer abc-123", "abc-123"]);
        // dXNlcjpodW50ZXIyMg== is user:hunter22.
        let basic = of("Proxy-Authorization", "Basic dXNlcjpodW50ZXIyMg==");
        assert_eq!(
            basic,
            ["Basic dXNlcjpodW50ZXIyMg==", "dXNlcjpodW50ZXIyMg==", "hunter22"]
        );
        for plain in ["Accept", "Accept-Language", "content-type", "User-Agent"] {
            assert_eq!(of(plain, "application/json"), [""; 0], "{plain}");
        }
    }

    #[test]
    fn a_secret_is_never_printed() {
        let mut secrets = Secrets::default();
        secrets.add("s3cret-value");
        assert_eq!(format!("{secrets:?}"), "Secrets(1)");
    }
}
