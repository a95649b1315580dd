//! Known secret values.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names::{is_count, is_secret};
use super::values::{is_opaque, query_values, user_info};

/// Shorter values would hide ordinary words.
const MIN_LEN: usize = 6;

/// Shorter numbers with dots are versions and fractions.
const MIN_DOTTED: usize = 10;

/// A text with this length and with letters and digits is random.
const MIN_OPAQUE: usize = 16;

/// The same for an argument of a program, where there are few other texts.
const MIN_ARGUMENT: usize = 10;

/// Words of lower-case letters that are longer than this may be passwords.
const MAX_WORD: usize = 8;

/// Maximum length of an environment variable on Linux.
const MAX_LEN: usize = 128 << 10;

/// Headers that are not secret, besides `Accept…` and `Content-…`.
const PLAIN_HEADERS: [&str; 5] = ["connection", "host", "mcp-protocol-version", "origin", "user-agent"];

/// A set of secret values; serialized as a list.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets(BTreeSet<String>);

impl Secrets {
    /// Adds a secret value. Of several lines each is a secret, because output is recorded in lines. Of a JSON object or list
    /// each string is a secret, too, because the JSON may be written in another way.
    pub fn add(&mut self, value: &str) {
        if value.len() > MAX_LEN {
            return;
        }
        if value.trim_start().starts_with(['{', '['])
            && let Ok(json) = serde_json::from_str(value)
        {
            self.add_strings(&json);
        }
        let several = value.trim().contains('\n');
        for line in value.lines().map(str::trim).filter(|line| is_long_enough(line)) {
            // `-----BEGIN PRIVATE KEY-----` is in every key, and not secret.
            if !(several && line.starts_with("-----")) {
                self.0.insert(line.to_owned());
            }
        }
    }

    fn add_strings(&mut self, json: &Value) {
        match json {
            Value::String(text) => self.add_value(text),
            Value::Array(values) => values.iter().for_each(|value| self.add_strings(value)),
            Value::Object(values) => values.values().for_each(|value| self.add_strings(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Adds the value of an environment variable if its name says that it is secret. Of a URL the password is added,
    /// whatever the name.
    pub fn add_env(&mut self, name: &str, value: &str) {
        let value = value.trim();
        let is_limit = is_count(name) && value.bytes().all(|byte| byte.is_ascii_digit());
        if is_secret(name) && !is_word(value) && !is_path(value) && !is_limit {
            self.add(value);
        }
        self.add_url(value);
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

    /// Adds the password of a value that is a URL, and those values of its query that are secret by their names, or because
    /// nobody could remember them.
    pub fn add_url(&mut self, url: &str) {
        for secret in user_info(url) {
            self.add(secret);
        }
        for (name, value) in query_values(url) {
            let is_name = is_secret(name) && !is_count(name);
            if (is_name && !is_word(value)) || is_opaque(value, MIN_OPAQUE) {
                self.add(value);
            }
        }
    }

    /// Adds what is secret in the URL of a server that we authenticate to: also parts of its path that nobody could
    /// remember.
    pub fn add_server_url(&mut self, url: &str) {
        self.add_url(url);
        for (name, value) in query_values(url) {
            if !is_count(name) {
                self.add_value(value);
            }
        }
        let path = url.split_once("://").map_or("", |(_, rest)| rest);
        let path = path.split(['?', '#']).next().unwrap_or_default();
        for part in path.split('/').skip(1).filter(|part| is_opaque(part, MIN_OPAQUE)) {
            self.add(part);
        }
    }

    /// Adds what is secret in the arguments of a program: values of options, variables and headers that are secret by their
    /// names, secrets in URLs, and what nobody could remember.
    pub fn add_arguments(&mut self, arguments: &[String]) {
        let mut option = "";
        for argument in arguments {
            let argument = argument.trim();
            let is_option = argument.starts_with('-');
            if let Some((name, value)) = argument.split_once('=').filter(|(name, _)| is_name(name)) {
                self.add_env(name.trim_start_matches('-'), value);
                self.add_server_url(value);
                self.add_opaque(value, MIN_OPAQUE);
            } else if !is_option {
                self.add_env(option.trim_start_matches('-'), argument);
                self.add_server_url(argument);
                // What follows another option may be a model, a port or a name.
                let min = if option.is_empty() { MIN_ARGUMENT } else { MIN_OPAQUE };
                self.add_opaque(argument, min);
            }
            if let Some((name, value)) = argument.split_once(':')
                && !is_option
                && is_name(name)
                && !value.starts_with("//")
            {
                self.add_env(name, value);
                for secret in credentials(name, value.trim()) {
                    self.add(&secret);
                }
            }
            option = if is_option { argument } else { "" };
        }
    }

    fn add_opaque(&mut self, value: &str, min: usize) {
        if is_opaque(value, min) {
            self.add(value);
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
    let is_dotted = value.contains('.') && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    value.len() >= if is_dotted { MIN_DOTTED } else { MIN_LEN }
}

/// Whether a text may be the name of an option, a variable or a header.
fn is_name(name: &str) -> bool {
    let name = name.trim_start_matches('-');
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
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
        for value in ["471147", "1234567890", "/aB3dE5gH7jK9", "correcthorse", "hunter22"] {
            assert_eq!(of("API_KEY", value), [value]);
        }
    }

    #[test]
    fn number_of_a_limit_is_not_a_secret() {
        for name in [
            "MAX_OUTPUT_TOKENS",
            "MAX_THINKING_TOKENS",
            "TOKEN_BUDGET",
            "API_KEY_MAX_USES",
        ] {
            assert!(of(name, "128000").is_empty(), "{name}");
        }
        assert_eq!(of("ADMIN_PASSWORD", "128000"), ["128000"]);
    }

    #[test]
    fn secrets_in_arguments_are_known() {
        let mut secrets = Secrets::default();
        let arguments = [
            "-y",
            "@scope/server-github@1.2.3",
            "--api-key",
            "key-1-abc",
            "--token=token-2",
            "-e",
            "DB_PASSWORD=word-3",
            "--header",
            "Authorization: Bearer bearer-4",
            "--model",
            "gpt-5-mini",
            "/workspace/a1",
            "run",
            "https://host/mcp?access_token=query-5&region=eu-west-1&n=Zx81Zx81Zx81Zx81",
            "sk4711opaque4711six6",
            "X-Api-Key:header-7",
            "--port",
            "808080",
            "--password",
            "471147",
        ];
        secrets.add_arguments(&arguments.map(str::to_owned));
        let found: Vec<&str> = secrets.values().collect();
        let expected = [
            "471147",
            "Bearer bearer-4",
            "Zx81Zx81Zx81Zx81",
            "bearer-4",
            "eu-west-1",
            "header-7",
            "key-1-abc",
            "query-5",
            "sk4711opaque4711six6",
            "token-2",
            "word-3",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn secrets_in_a_query_are_known() {
        let url = "postgres://db/x?sslmode=require&password=p%40ss-1&application=shop&key=word#access_token=frag-2";
        assert_eq!(of("DATABASE_URL", url), ["frag-2", "p%40ss-1"]);
        let mut secrets = Secrets::default();
        secrets.add_server_url("https://host/s/aB3dE5gH7jK9lM1n/mcp?anything=in-the-query-3&limit=1000000");
        assert_eq!(
            secrets.values().collect::<Vec<_>>(),
            ["aB3dE5gH7jK9lM1n", "in-the-query-3"]
        );
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
    fn each_string_of_json_is_a_secret() {
        let json = r#"{"auths":{"ghcr.io":{"auth":"dXNlcjpodW50ZXIyMg==","n":1234567}},"kind":"postgres","list":["[\"in/ner-1\"]"]}"#;
        let pretty = serde_json::to_string_pretty(&serde_json::from_str::<Value>(json).unwrap()).unwrap();
        for value in [json, &pretty, &format!(" [{json}]\n")] {
            let found = of("DOCKER_AUTH_CONFIG", value);
            for expected in ["dXNlcjpodW50ZXIyMg==", "[\"in/ner-1\"]", "in/ner-1"] {
                assert!(found.iter().any(|secret| secret == expected), "{expected} of {value}");
            }
            assert!(found.iter().all(|secret| secret != "postgres"), "ordinary words stay");
        }
        // Lines of a key are recorded one by one.
        let key = of(
            "GOOGLE_CREDENTIALS",
            r#"{"private_key":"-----BEGIN KEY-----\nMIIEvQIBADAN\n-----END KEY-----\n"}"#,
        );
        assert!(key.iter().any(|secret| secret == "MIIEvQIBADAN"));
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
