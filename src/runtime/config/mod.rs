//! From flags, environment, `config.toml` and defaults, in this order, to [`Settings`].
//!
//! [`settings`] is pure and can be called again for a reload; [`load`] reads the file for it. A value that
//! cannot be used is an error that says where it stands, what it is and what would be right, and an unknown
//! key in the file names the nearest known one: a typo never passes silently.

mod error;
mod file;
mod mcp;
mod sinks;
mod value;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use error::{ConfigError, Origin};

use self::file::FileLayer;
use super::settings::{AuthMode, Listen, Platform, Settings};
use super::tokens::Token;
use promptd_sys as sys;

/// Where the server listens when nobody says where.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// How long a shutdown may take: enough for a reader to take what is left, well under what supervisors grant.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// The agent when neither a request nor the configuration names one.
const DEFAULT_AGENT: &str = "claude";

/// `PROMPTD_TOKEN`, once it is hidden.
static TOKEN: Mutex<Option<String>> = Mutex::new(None);

/// The environment, as far as it is text.
pub type Environment = BTreeMap<String, String>;

/// The flags of `serve`, as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--listen`, each.
    pub listen: Vec<String>,
    /// `--home`.
    pub home: Option<PathBuf>,
    /// `--workspace`.
    pub workspace: Option<PathBuf>,
    /// `--auth`.
    pub auth: Option<String>,
    /// `--insecure-public`.
    pub insecure_public: bool,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--default-agent`.
    pub default_agent: Option<String>,
    /// `--grace`.
    pub grace: Option<String>,
    /// `--stop-agents`.
    pub stop_agents: bool,
}

/// What one source says; `None` where it is silent.
#[derive(Debug, Default)]
struct Layer {
    listen: Option<Vec<Listen>>,
    workspace: Option<PathBuf>,
    auth: Option<AuthMode>,
    insecure_public: Option<bool>,
    default_agent: Option<String>,
    grace: Option<Duration>,
    stop_agents: Option<bool>,
}

impl Layer {
    /// This layer where it speaks, `below` where it does not.
    fn over(self, below: Self) -> Self {
        Self {
            listen: self.listen.or(below.listen),
            workspace: self.workspace.or(below.workspace),
            auth: self.auth.or(below.auth),
            insecure_public: self.insecure_public.or(below.insecure_public),
            default_agent: self.default_agent.or(below.default_agent),
            grace: self.grace.or(below.grace),
            stop_agents: self.stop_agents.or(below.stop_agents),
        }
    }
}

/// Reads the configuration file, if there is one, and weighs it all. Paths become absolute.
pub fn load(flags: Flags, env: &Environment) -> Result<Settings, ConfigError> {
    let (path, required) = config_file(&flags, env)?;
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound && !required => None,
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

fn make_absolute(path: &mut PathBuf) -> Result<(), ConfigError> {
    *path = std::path::absolute(&*path).map_err(|source| ConfigError::Read {
        path: path.clone(),
        source,
    })?;
    Ok(())
}

/// The environment of this process, as [`settings`] takes it; with our token, wherever that is kept.
pub fn environment() -> Environment {
    let mut environment: Environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    if let Some(token) = &*token() {
        environment.insert("PROMPTD_TOKEN".to_owned(), token.clone());
    }
    environment
}

/// Takes our token out of the environment, where children and whoever looks at processes would find it. To be called
/// before there is a second thread.
pub fn hide_token() {
    let taken = sys::take_variable(c"PROMPTD_TOKEN").and_then(|token| token.into_string().ok());
    if taken.is_some() {
        *token() = taken;
    }
}

/// From now on our token is not in the environment: it is meant for another server than one in this process.
pub fn forget_token() {
    *token() = None;
}

fn token() -> MutexGuard<'static, Option<String>> {
    TOKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Weighs flags, environment and the text of the configuration file.
pub fn settings(flags: Flags, env: &Environment, file: Option<&str>) -> Result<Settings, ConfigError> {
    let home = home(&flags, env)?;
    let (config_file, _) = config_file(&flags, env)?;
    let file = file.map_or_else(|| Ok(FileLayer::default()), |text| file::parse(&config_file, text, env))?;
    let layer = from_flags(flags)?.over(from_environment(env)?).over(file.layer);
    let workspace = match layer.workspace {
        Some(path) => path,
        None => in_user_home(env, "workspace", "--workspace")?,
    };
    let settings = Settings {
        listen: layer.listen.unwrap_or_else(|| vec![Listen::Tcp(DEFAULT_LISTEN)]),
        home,
        workspace,
        auth: layer.auth.unwrap_or(AuthMode::Token),
        insecure_public: layer.insecure_public.unwrap_or(false),
        env_tokens: tokens(env)?,
        config_file,
        default_agent: layer.default_agent.unwrap_or_else(|| DEFAULT_AGENT.to_owned()),
        default_timeout: file.timeout,
        default_idle_timeout: file.idle_timeout,
        default_permission: file.permission.unwrap_or_default(),
        grace: layer.grace.unwrap_or(DEFAULT_GRACE),
        stop_agents: layer.stop_agents.unwrap_or(false),
        limits: file.limits,
        agents: file.agents,
        sinks: file.sinks,
        mcp_servers: file.mcp_servers,
        platform: platform(env),
    };
    refuse_open_door(&settings)?;
    Ok(settings)
}

/// `auth = none` on an address that others can reach has to be meant.
fn refuse_open_door(settings: &Settings) -> Result<(), ConfigError> {
    if settings.auth != AuthMode::None || settings.insecure_public {
        return Ok(());
    }
    let public = settings.listen.iter().find_map(|listen| match listen {
        Listen::Tcp(address) if !address.ip().to_canonical().is_loopback() => Some(*address),
        Listen::Tcp(_) | Listen::Unix(_) => None,
    });
    public.map_or(Ok(()), |address| Err(ConfigError::OpenDoor { address }))
}

/// The home alone, absolute: all that a client of a running server has to know.
pub fn home_of(flags: &Flags, env: &Environment) -> Result<PathBuf, ConfigError> {
    let mut path = home(flags, env)?;
    make_absolute(&mut path)?;
    Ok(path)
}

fn home(flags: &Flags, env: &Environment) -> Result<PathBuf, ConfigError> {
    if let Some(path) = &flags.home {
        return Ok(path.clone());
    }
    match set(env, "PROMPTD_HOME") {
        Some(text) => value::path(&Origin::Environment("PROMPTD_HOME"), text, env),
        None => in_user_home(env, ".promptd", "--home"),
    }
}

/// The file, and whether somebody asked for this very one.
fn config_file(flags: &Flags, env: &Environment) -> Result<(PathBuf, bool), ConfigError> {
    if let Some(path) = &flags.config {
        return Ok((path.clone(), true));
    }
    match set(env, "PROMPTD_CONFIG") {
        Some(text) => Ok((value::path(&Origin::Environment("PROMPTD_CONFIG"), text, env)?, true)),
        None => Ok((home(flags, env)?.join("config.toml"), false)),
    }
}

fn in_user_home(env: &Environment, name: &str, flag: &'static str) -> Result<PathBuf, ConfigError> {
    set(env, "HOME")
        .map(|home| Path::new(home).join(name))
        .ok_or(ConfigError::NoUserHome { flag })
}

fn from_flags(flags: Flags) -> Result<Layer, ConfigError> {
    let listen = flags
        .listen
        .iter()
        .map(|text| value::listen(&Origin::Flag("--listen"), text));
    let listen = listen.collect::<Result<Vec<_>, _>>()?;
    Ok(Layer {
        listen: (!listen.is_empty()).then_some(listen),
        workspace: flags.workspace,
        auth: flags
            .auth
            .map(|text| value::auth(&Origin::Flag("--auth"), &text))
            .transpose()?,
        insecure_public: flags.insecure_public.then_some(true),
        default_agent: flags.default_agent,
        grace: flags
            .grace
            .map(|text| value::seconds_from_text(&Origin::Flag("--grace"), &text))
            .transpose()?,
        stop_agents: flags.stop_agents.then_some(true),
    })
}

fn from_environment(env: &Environment) -> Result<Layer, ConfigError> {
    let read = |name: &'static str| set(env, name).map(|text| (Origin::Environment(name), text));
    let boolean = |name| {
        read(name)
            .map(|(origin, text)| value::boolean(&origin, text))
            .transpose()
    };
    Ok(Layer {
        listen: listen_from_environment(env)?,
        workspace: read("PROMPTD_WORKSPACE")
            .map(|(origin, text)| value::path(&origin, text, env))
            .transpose()?,
        auth: read("PROMPTD_AUTH")
            .map(|(origin, text)| value::auth(&origin, text))
            .transpose()?,
        insecure_public: boolean("PROMPTD_INSECURE_PUBLIC")?,
        default_agent: set(env, "PROMPTD_DEFAULT_AGENT").map(str::to_owned),
        grace: read("PROMPTD_GRACE")
            .map(|(origin, text)| value::seconds_from_text(&origin, text))
            .transpose()?,
        stop_agents: boolean("PROMPTD_STOP_AGENTS")?,
    })
}

/// `PROMPTD_LISTEN`, or `PORT`, with which platforms say "there, and for everybody".
fn listen_from_environment(env: &Environment) -> Result<Option<Vec<Listen>>, ConfigError> {
    if let Some(text) = set(env, "PROMPTD_LISTEN") {
        let origin = Origin::Environment("PROMPTD_LISTEN");
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        return parts
            .map(|part| value::listen(&origin, part))
            .collect::<Result<_, _>>()
            .map(Some);
    }
    let Some(text) = set(env, "PORT") else { return Ok(None) };
    let port = value::port(&Origin::Environment("PORT"), text)?;
    Ok(Some(vec![Listen::Tcp((Ipv4Addr::UNSPECIFIED, port).into())]))
}

fn tokens(env: &Environment) -> Result<Vec<String>, ConfigError> {
    let token = |token: &str| match Token::of_line(token) {
        Ok(_) => Ok(token.to_owned()),
        // Not the value: it may be a token all the same.
        Err(expected) => Err(value::wrong(
            &Origin::Environment("PROMPTD_TOKEN"),
            "no digest",
            expected,
        )),
    };
    split_tokens(set(env, "PROMPTD_TOKEN").unwrap_or_default())
        .map(token)
        .collect()
}

/// The tokens in the value of `PROMPTD_TOKEN`: several are divided by commas, or stand in lines of their own.
pub fn split_tokens(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', '\n']).map(str::trim).filter(|token| !token.is_empty())
}

/// Where E2B tells which sandbox this is, and who may use it; other places are for tests.
fn platform(env: &Environment) -> Platform {
    let place = |name, usual: &str| set(env, name).unwrap_or(usual).trim_end_matches('/').to_owned();
    let elsewhere = ["PROMPTD_E2B_METADATA", "PROMPTD_E2B_EVENTS", "PROMPTD_E2B_FOLDER"];
    Platform {
        metadata: place("PROMPTD_E2B_METADATA", "http://169.254.169.254"),
        events: place("PROMPTD_E2B_EVENTS", "http://events.e2b.local"),
        envd: place("PROMPTD_E2B_ENVD", "http://127.0.0.1:49983"),
        folder: place("PROMPTD_E2B_FOLDER", "/run/e2b").into(),
        told: set(env, "E2B_SANDBOX") == Some("true") || elsewhere.iter().any(|name| set(env, name).is_some()),
    }
}

/// A variable that is set to something; `NAME=` is how a shell says "not set".
fn set<'a>(env: &'a Environment, name: &str) -> Option<&'a str> {
    env.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
