//! From arguments, environment variables, `config.toml` and defaults, in this order, to [`Settings`].
//!
//! [`Flags`] is what clap reads from arguments and variables, [`file`] what serde reads from the file, [`Settings`] the
//! result. [`settings`] is pure and can be called again for a reload; [`load`] reads the file for it. Promises that a
//! wrong value names its place and what would be right, and that an unknown key never passes silently. May not keep state,
//! except the token that it takes out of the environment.

mod args;
mod environment;
mod error;
mod file;
mod paths;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

pub use self::args::{Flags, prepare_variables, variable_error};
use self::environment::variable;
pub use self::environment::{Environment, environment, forget_token, hide_token, split_tokens, trim_variables};
pub use self::error::ConfigError;
use self::file::ConfigFile;
use self::paths::{directory, in_user_home, programs_in_user_home};
use super::access::token::Token;
use super::settings::{AuthMode, Listen, Platform, Settings};
use promptd_sys as sys;

/// Where the server listens by default.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// How long a shutdown may take by default: enough to send readers what is left, well under what supervisors grant.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// The agent when neither a request nor the configuration names one.
const DEFAULT_AGENT: &str = "claude";

/// The largest configuration file.
const MAX_FILE: u64 = 16 << 20;

/// Reads the configuration file, if there is one, and computes the settings. Paths become absolute.
pub fn load(flags: Flags, env: &Environment) -> Result<Settings, ConfigError> {
    let path = config_file(&flags, env)?;
    let text = match read_text(&path) {
        Ok(text) => Some(text),
        // A file that is named explicitly has to be there.
        Err(error) if error.kind() == ErrorKind::NotFound && flags.config.is_none() => None,
        Err(source) => return Err(ConfigError::Read { path, source }),
    };
    let mut settings = settings(flags, env, text.as_deref())?;
    for path in [&mut settings.home, &mut settings.workspace, &mut settings.config_file] {
        make_absolute(path)?;
    }
    for listen in &mut settings.listen {
        if let Listen::Unix(path) = listen {
            make_absolute(path)?;
        }
    }
    Ok(settings)
}

/// Reads a text file that may be a link, such as a mounted one, and never waits for it.
fn read_text(path: &Path) -> std::io::Result<String> {
    let bytes = sys::read_regular(path, MAX_FILE)?;
    String::from_utf8(bytes).map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error.utf8_error()))
}

fn make_absolute(path: &mut PathBuf) -> Result<(), ConfigError> {
    *path = std::path::absolute(&*path).map_err(|source| ConfigError::Read {
        path: path.clone(),
        source,
    })?;
    Ok(())
}

/// Computes the settings from arguments, environment and the text of the configuration file.
pub fn settings(flags: Flags, env: &Environment, file: Option<&str>) -> Result<Settings, ConfigError> {
    let config_file = config_file(&flags, env)?;
    let file = file.map_or_else(|| Ok(ConfigFile::default()), |text| file::parse(&config_file, text))?;
    let settings = Settings {
        home: home(flags.home.clone(), env)?,
        listen: in_user_home(listen(flags.listen, env, file.listen)?, env)?,
        workspace: directory(flags.workspace.or(file.workspace), env, "workspace", "--workspace")?,
        auth: flags.auth.or(file.auth).unwrap_or(AuthMode::Token),
        insecure_public: flags.insecure_public.or(file.insecure_public).unwrap_or(false),
        env_tokens: tokens(env)?,
        config_file,
        default_agent: flags
            .default_agent
            .or(file.defaults.agent)
            .unwrap_or_else(|| DEFAULT_AGENT.to_owned()),
        default_timeout: file.defaults.timeout,
        default_idle_timeout: file.defaults.idle_timeout,
        default_permission: file.defaults.permission,
        grace: flags.grace.or(file.grace).unwrap_or(DEFAULT_GRACE),
        stop_agents: flags.stop_agents.or(file.stop_agents).unwrap_or(false),
        limits: file.limits,
        agents: programs_in_user_home(without_spans(file.agents), env)?,
        sinks: file.sinks.into_iter().map(Spanned::into_inner).collect(),
        mcp_servers: without_spans(file.mcp_servers),
        platform: platform(env),
    };
    refuse_public_without_auth(&settings)?;
    Ok(settings)
}

/// `PORT` is read only where nothing of ours says where to listen: other programs use that name, too.
fn listen(flags: Vec<Listen>, env: &Environment, file: Vec<Listen>) -> Result<Vec<Listen>, ConfigError> {
    let given = if flags.is_empty() { port(env)? } else { flags };
    let default = vec![Listen::Tcp(DEFAULT_LISTEN)];
    let lists = [given, file, default];
    Ok(lists.into_iter().find(|list| !list.is_empty()).unwrap_or_default())
}

fn without_spans<T, U: From<T>>(values: BTreeMap<String, Spanned<T>>) -> BTreeMap<String, U> {
    let value = |value: Spanned<T>| value.into_inner().into();
    values
        .into_iter()
        .map(|(name, spanned)| (name, value(spanned)))
        .collect()
}

/// `auth = none` on an address that others can reach has to be confirmed.
fn refuse_public_without_auth(settings: &Settings) -> Result<(), ConfigError> {
    if settings.auth != AuthMode::None || settings.insecure_public {
        return Ok(());
    }
    let public = settings.listen.iter().find_map(|listen| match listen {
        Listen::Tcp(address) if !address.ip().to_canonical().is_loopback() => Some(*address),
        Listen::Tcp(_) | Listen::Unix(_) => None,
    });
    public.map_or(Ok(()), |address| Err(ConfigError::PublicWithoutAuth { address }))
}

/// The home alone, absolute: all that a client of a running server has to know.
pub fn home_of(given: Option<PathBuf>, env: &Environment) -> Result<PathBuf, ConfigError> {
    let mut path = home(given, env)?;
    make_absolute(&mut path)?;
    Ok(path)
}

fn home(given: Option<PathBuf>, env: &Environment) -> Result<PathBuf, ConfigError> {
    directory(given, env, ".promptd", "--home")
}

fn config_file(flags: &Flags, env: &Environment) -> Result<PathBuf, ConfigError> {
    match &flags.config {
        Some(path) => directory(Some(path.clone()), env, "", "--config"),
        None => Ok(home(flags.home.clone(), env)?.join("config.toml")),
    }
}

/// `PORT`, with which platforms say "listen there, and for everybody".
fn port(env: &Environment) -> Result<Vec<Listen>, ConfigError> {
    let Some(text) = variable(env, "PORT") else {
        return Ok(Vec::new());
    };
    let port: u16 = text.parse().map_err(|_| ConfigError::Value {
        name: "PORT",
        problem: format!("is {text:?}: a port is a number from 0 to 65535"),
    })?;
    Ok(vec![Listen::Tcp((Ipv4Addr::UNSPECIFIED, port).into())])
}

fn tokens(env: &Environment) -> Result<Option<Vec<String>>, ConfigError> {
    let token = |token: &str| match Token::parse(token) {
        Ok(_) => Ok(token.to_owned()),
        // Without the value: it may be a token all the same.
        Err(expected) => Err(ConfigError::Value {
            name: "PROMPTD_TOKEN",
            problem: format!("cannot be used: {expected}"),
        }),
    };
    // Not like other variables: an empty one is not the same as none.
    let text = env.get("PROMPTD_TOKEN");
    text.map(|text| split_tokens(text).map(token).collect()).transpose()
}

/// Where E2B tells which sandbox this is, and who may use it; other places are for tests.
fn platform(env: &Environment) -> Platform {
    let place = |name, usual: &str| variable(env, name).unwrap_or(usual).trim_end_matches('/').to_owned();
    let elsewhere = ["PROMPTD_E2B_METADATA", "PROMPTD_E2B_EVENTS", "PROMPTD_E2B_FOLDER"];
    Platform {
        metadata: place("PROMPTD_E2B_METADATA", "http://169.254.169.254"),
        events: place("PROMPTD_E2B_EVENTS", "http://events.e2b.local"),
        envd: place("PROMPTD_E2B_ENVD", "http://127.0.0.1:49983"),
        folder: place("PROMPTD_E2B_FOLDER", "/run/e2b").into(),
        is_e2b: variable(env, "E2B_SANDBOX") == Some("true")
            || elsewhere.iter().any(|name| variable(env, name).is_some()),
    }
}
