//! Values from text, the same for flags, environment and file.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Environment;
use super::error::{ConfigError, Origin};
use crate::runtime::settings::{AuthMode, Listen, PromptBy};
use promptd_agents::Format;
use promptd_model::{PermissionMode, nearest};

/// The longest duration that means anything: ten years. What is longer is a typing error.
const MAX_SECONDS: f64 = 10.0 * 365.0 * 86_400.0;

pub(super) fn wrong(origin: &Origin, value: impl Into<String>, expected: impl Into<String>) -> ConfigError {
    ConfigError::Value {
        origin: origin.clone(),
        value: value.into(),
        expected: expected.into(),
    }
}

fn wrong_text(origin: &Origin, text: &str, expected: impl Into<String>) -> ConfigError {
    wrong(origin, format!("{text:?}"), expected)
}

pub(super) fn listen(origin: &Origin, text: &str) -> Result<Listen, ConfigError> {
    if let Some(path) = text.strip_prefix("unix:") {
        let named = Path::new(path).file_name().is_some();
        return if named {
            Ok(Listen::Unix(path.into()))
        } else {
            Err(wrong_text(origin, text, "unix: is followed by the path of a socket"))
        };
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Listen::Tcp(address));
    }
    if let Some(port) = text
        .strip_prefix("localhost:")
        .and_then(|port| port.parse::<u16>().ok())
    {
        return Ok(Listen::Tcp((Ipv4Addr::LOCALHOST, port).into()));
    }
    let expected = match text.trim_start_matches(':').parse::<u16>() {
        Ok(port) => format!("write 127.0.0.1:{port} for this machine only, or 0.0.0.0:{port} for all"),
        Err(_) => {
            "write an IP address and port such as 127.0.0.1:8080 or [::]:8080, or unix:/path/to/socket".to_owned()
        }
    };
    Err(wrong_text(origin, text, expected))
}

pub(super) fn port(origin: &Origin, text: &str) -> Result<u16, ConfigError> {
    text.parse()
        .map_err(|_| wrong_text(origin, text, "a port is a number from 0 to 65535"))
}

pub(super) fn auth(origin: &Origin, text: &str) -> Result<AuthMode, ConfigError> {
    match text {
        "token" => Ok(AuthMode::Token),
        "none" => Ok(AuthMode::None),
        "e2b" => Ok(AuthMode::E2b),
        _ => Err(wrong_choice(origin, text, &["token", "none", "e2b"])),
    }
}

pub(super) fn prompt_by(origin: &Origin, text: &str) -> Result<PromptBy, ConfigError> {
    match text {
        "stdin" => Ok(PromptBy::Stdin),
        "argument" => Ok(PromptBy::Argument),
        "file" => Ok(PromptBy::File),
        _ => Err(wrong_choice(origin, text, &["stdin", "argument", "file"])),
    }
}

pub(super) fn permission(origin: &Origin, text: &str) -> Result<PermissionMode, ConfigError> {
    match text {
        "bypass" => Ok(PermissionMode::Bypass),
        "ask" => Ok(PermissionMode::Ask),
        _ => Err(wrong_choice(origin, text, &["bypass", "ask"])),
    }
}

pub(super) fn stream(origin: &Origin, text: &str) -> Result<&'static Format, ConfigError> {
    Format::by_name(text).ok_or_else(|| wrong_choice(origin, text, &Format::names().collect::<Vec<_>>()))
}

fn wrong_choice(origin: &Origin, text: &str, choices: &[&str]) -> ConfigError {
    let meant =
        nearest(text, choices.iter().copied()).map_or_else(String::new, |meant| format!(" (did you mean {meant}?)"));
    wrong_text(origin, text, format!("use {}{meant}", choices.join(" or ")))
}

pub(super) fn boolean(origin: &Origin, text: &str) -> Result<bool, ConfigError> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(wrong_text(origin, text, "use true or false")),
    }
}

pub(super) fn seconds_from_text(origin: &Origin, text: &str) -> Result<Duration, ConfigError> {
    text.parse()
        .ok()
        .and_then(duration)
        .ok_or_else(|| wrong_text(origin, text, SECONDS))
}

pub(super) fn seconds(origin: &Origin, number: f64, text: &str) -> Result<Duration, ConfigError> {
    duration(number).ok_or_else(|| wrong(origin, text, SECONDS))
}

const SECONDS: &str = "write seconds as a number, such as 10 or 0.5";

fn duration(seconds: f64) -> Option<Duration> {
    (0.0..=MAX_SECONDS)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

/// A path; `~/` is the user's home.
pub(super) fn path(origin: &Origin, text: &str, env: &Environment) -> Result<PathBuf, ConfigError> {
    let in_home = if text == "~" { Some("") } else { text.strip_prefix("~/") };
    let Some(rest) = in_home else { return Ok(text.into()) };
    let home =
        super::set(env, "HOME").ok_or_else(|| wrong_text(origin, text, "HOME is not set; write the whole path"))?;
    Ok(Path::new(home).join(rest))
}
