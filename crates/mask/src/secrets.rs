//! Known secret values.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::names::is_secret;

/// Shorter values would hide ordinary words.
const MIN_LEN: usize = 6;

/// Numbers with fewer digits are ports, limits and process ids.
const MIN_DIGITS: usize = 10;

/// Words of lower-case letters that are longer than this may be passwords.
const MAX_WORD: usize = 8;

/// Maximum length of an environment variable on Linux.
const MAX_LEN: usize = 128 << 10;

/// A user name in a URL with this length is a token (`https://ghp_…@github.com`).
const MIN_TOKEN: usize = 20;

/// Headers that are not secret, besides `Accept…` and `Content-…`.
const PLAIN_HEADERS: [&str; 5] = ["connection", "host", "mcp-protocol-version", "origin", "user-agent"];

/// A set of secret values; serialized as a list.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets(BTreeSet<String>);

impl Secrets {
    /// Adds a secret value. Of several lines each is a secret, because output is recorded in lines.
    pub fn add(&mut self, value: &str) {
        if value.len() > MAX_LEN {
            return;
        }
        let several = value.trim().contains('\n');
        for line in value.lines().map(str::trim).filter(|line| is_long_enough(line)) {
            // `-----BEGIN PRIVATE KEY-----` is in every key, and not secret.
            if !(several && line.starts_with("-----")) {
                self.0.insert(line.to_owned());
            }
        }
    }

    /// Adds the value of an environment variable if its name says that it is secret. Of a URL the password is added,
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

    /// Adds a value of a map for secrets, whatever its name, unless it is an ordinary word or a path.
    pub fn add_value(&mut self, value: &str) {
        let value = value.trim();
        if !is_word(value) && !is_path(value) {
            self.add(value);
        }
        self.add_url(value);
    }

    /// Adds the value of a header, unless the header is never secret. Of `Authorization` the part after the scheme is also
    /// added, because it may be shown without the scheme.
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

    /// Adds all values of another set.
    pub fn extend(&mut self, others: &Self) {
        self.0.extend(others.0.iter().cloned());
    }

    /// The total length of all values.
    pub fn size(&self) -> usize {
        self.0.iter().map(String::len).sum()
    }

    /// Whether there are no secrets.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Debug for Secrets {
    /// Shows the number of secrets, and no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

/// The secrets in the value of an `Authorization` header: the part after the scheme, and the password of `Basic`. Empty
/// for other headers.
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

fn is_long_enough(value: &str) -> bool {
    let number = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let min = if number { MIN_DIGITS } else { MIN_LEN };
    value.len() >= min
}

/// Whether it is an ordinary word, such as `postgres`, `password` or `changeme`.
fn is_word(value: &str) -> bool {
    value.len() <= MAX_WORD && value.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// Whether it is a path such as `/run/secrets/key`. Base64 also has slashes, but mixes digits and capital letters.
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

/// The password in `scheme://user:password@host`, and the user name if it is a token. The value need not be a
/// valid URL: passwords often have characters that a parser refuses.
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
    user.filter(|user| user.len() >= MIN_TOKEN).into_iter().chain(password)
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
    fn ordinary_values_are_not_secrets() {
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
    fn password_in_a_url_is_a_secret() {
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
    fn each_line_of_a_key_is_a_secret() {
        let key =
            "-----BEGIN PRIVATE KEY-----\r\nMIIEvQIBADAN\r\nBgkq\r\nhkiG9w0BAQEF\r\n-----END PRIVATE KEY-----\r\n";
        assert_eq!(of("TLS_KEY", key), ["MIIEvQIBADAN", "hkiG9w0BAQEF"]);
    }

    #[test]
    fn header_value_and_credentials_are_secrets() {
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
    fn debug_output_has_no_secret() {
        let mut secrets = Secrets::default();
        secrets.add("s3cret-value");
        assert_eq!(format!("{secrets:?}"), "Secrets(1)");
    }
}
