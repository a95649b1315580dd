//! Types of values, read the same from arguments, environment variables and the file.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::runtime::settings::Listen;
use promptd_agents::Format;

/// Ten years; a longer duration is a typing error.
const MAX_SECONDS: f64 = 10.0 * 365.0 * 86_400.0;

const SECONDS: &str = "seconds as a number, such as 10 or 0.5";

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("unix:") {
            let socket = Path::new(path).file_name().map(|_| Self::Unix(path.into()));
            return socket.ok_or_else(|| "write unix: and the path of a socket".to_owned());
        }
        let localhost = text
            .strip_prefix("localhost:")
            .and_then(|port| port.parse::<u16>().ok());
        if let Some(port) = localhost {
            return Ok(Self::Tcp((Ipv4Addr::LOCALHOST, port).into()));
        }
        text.parse::<SocketAddr>()
            .map(Self::Tcp)
            .map_err(|_| match text.trim_start_matches(':').parse::<u16>() {
                Ok(port) => format!("write 127.0.0.1:{port} for this machine only, or 0.0.0.0:{port} for all"),
                Err(_) => "write an IP address and port such as 127.0.0.1:8080 or [::]:8080, or unix:/path/to/socket"
                    .to_owned(),
            })
    }
}

/// A duration in seconds, as an argument.
pub(super) fn seconds_from_text(text: &str) -> Result<Duration, String> {
    let seconds = text.trim().parse().ok().and_then(duration);
    seconds.ok_or_else(|| format!("write {SECONDS}"))
}

fn duration(seconds: f64) -> Option<Duration> {
    let is_valid = (0.0..=MAX_SECONDS).contains(&seconds);
    is_valid.then(|| Duration::from_secs_f64(seconds))
}

/// A duration in seconds, in the file.
pub(super) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    struct Seconds;

    impl Visitor<'_> for Seconds {
        type Value = f64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(SECONDS)
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<f64, E> {
            // No duration that is allowed has more digits.
            i32::try_from(number).map(f64::from).map_err(|_| wrong_seconds())
        }

        fn visit_f64<E: Error>(self, number: f64) -> Result<f64, E> {
            Ok(number)
        }
    }

    let number = deserializer.deserialize_f64(Seconds)?;
    duration(number).map(Some).ok_or_else(wrong_seconds)
}

fn wrong_seconds<E: Error>() -> E {
    E::custom(format_args!("expected {SECONDS}"))
}

/// A path in the file. A relative one would depend on where the server is started.
pub(super) fn absolute_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    if path.is_absolute() || path.starts_with("~") {
        Ok(Some(path))
    } else {
        Err(D::Error::custom(
            "expected an absolute path, or one that begins with ~/",
        ))
    }
}

/// The format of an agent's output, by its name.
pub(super) fn format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'static Format, D::Error> {
    let name = String::deserialize(deserializer)?;
    Format::by_name(&name).ok_or_else(|| {
        let names: Vec<_> = Format::names().map(|name| format!("`{name}`")).collect();
        D::Error::custom(format_args!(
            "unknown variant `{name}`, expected one of {}",
            names.join(", ")
        ))
    })
}

/// A program and its arguments: a string, or a list of them.
pub(super) fn command<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let words = one_or_many(deserializer)?;
    if words.first().is_some_and(|program: &String| !program.is_empty()) {
        Ok(words)
    } else {
        Err(D::Error::custom(
            "expected the program and its arguments, such as [\"my-agent\", \"--yes\"]",
        ))
    }
}

/// One value as a string, or a list of them.
pub(super) fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    struct OneOrMany<T>(PhantomData<T>);

    impl<'de, T: FromStr<Err: Display>> Visitor<'de> for OneOrMany<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string, or a list of them")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
            text.parse().map(|value| vec![value]).map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut values = Vec::new();
            while let Some(Text(value)) = list.next_element()? {
                values.push(value);
            }
            Ok(values)
        }
    }

    deserializer.deserialize_any(OneOrMany(PhantomData))
}

/// A string that is parsed where it stands, so that an error has its place.
struct Text<T>(T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}
