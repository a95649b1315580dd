//! Paths of the configuration, in which `~` is the home of the server's user.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::environment::{Environment, variable};
use super::error::ConfigError;
use crate::runtime::settings::{ConfiguredAgent, Listen};
use promptd_model::CallerPath;

/// A path as given, where `~/` is the user's home; `default` in that home where none is given.
pub(super) fn directory(
    given: Option<PathBuf>,
    env: &Environment,
    default: &str,
    flag: &'static str,
) -> Result<PathBuf, ConfigError> {
    let user_home = || variable(env, "HOME").map(PathBuf::from);
    let path = match given.as_deref().map(Path::to_str) {
        None => user_home().map(|home| home.join(default)),
        // A path that is not text has been written by no caller of ours.
        Some(None) => given,
        Some(Some(text)) => CallerPath::parse(text)
            .map_err(|hint| ConfigError::Value {
                name: flag,
                problem: format!("is {text:?}: {hint}"),
            })?
            .resolve(user_home),
    };
    path.ok_or(ConfigError::NoUserHome { flag })
}

/// The same for the paths of sockets.
pub(super) fn in_user_home(listen: Vec<Listen>, env: &Environment) -> Result<Vec<Listen>, ConfigError> {
    let resolve = |listen| match listen {
        Listen::Unix(path) => directory(Some(path), env, "", "--listen").map(Listen::Unix),
        Listen::Tcp(address) => Ok(Listen::Tcp(address)),
    };
    listen.into_iter().map(resolve).collect()
}

/// The same for the programs of agents, where they are paths.
pub(super) fn programs_in_user_home(
    mut agents: BTreeMap<String, ConfiguredAgent>,
    env: &Environment,
) -> Result<BTreeMap<String, ConfiguredAgent>, ConfigError> {
    for program in agents.values_mut().filter_map(|agent| agent.command.first_mut()) {
        let path = directory(Some(program.as_str().into()), env, "", "the command of an agent")?;
        *program = path.to_string_lossy().into_owned();
    }
    Ok(agents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> Environment {
        Environment::from_iter([("HOME".to_owned(), "/home/user".to_owned())])
    }

    #[test]
    fn tilde_is_the_users_home_in_every_path() {
        let path = |given: &str| directory(Some(given.into()), &env(), "", "--home").unwrap();
        assert_eq!(path("~/h"), Path::new("/home/user/h"));
        assert_eq!(path("~"), Path::new("/home/user"));
        assert_eq!(path("h"), Path::new("h"));
        let listen = in_user_home(vec![Listen::Unix("~/p.sock".into())], &env()).unwrap();
        assert_eq!(listen, [Listen::Unix("/home/user/p.sock".into())]);
        let mine = ConfiguredAgent {
            command: vec!["~/bin/mine".to_owned(), "~/x".to_owned()],
            prompt: promptd_agents::PromptBy::default(),
            stream: promptd_agents::Format::lines(),
            stdout: promptd_model::Stdout::default(),
            ask_mode: None,
            env: BTreeMap::new(),
        };
        let agents = BTreeMap::from([("mine".to_owned(), mine)]);
        let agents = programs_in_user_home(agents, &env()).unwrap();
        assert_eq!(agents["mine"].command, ["/home/user/bin/mine", "~/x"]);
    }

    #[test]
    fn what_only_a_shell_expands_is_refused_by_its_flag() {
        for wrong in ["$HOME/w", "~root/w", "file:///w"] {
            let error = directory(Some(wrong.into()), &env(), "", "--workspace").unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("--workspace is {wrong:?}: ")),
                "{error}"
            );
        }
        let nowhere = directory(Some("~/x".into()), &Environment::new(), "", "--home").unwrap_err();
        assert!(matches!(nowhere, ConfigError::NoUserHome { .. }));
    }
}
