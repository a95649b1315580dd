//! Checks of authentication, without a request.

use std::os::unix::fs::PermissionsExt as _;

use super::check::Check;
use crate::runtime::{AuthMode, Listen, RuntimeError, Settings, check_private, is_sandbox};

const AUTH: &str = "auth";

/// Who may use the API. `lock` says why nobody can have a valid token, though one is needed.
pub(super) fn auth(settings: &Settings, tokens: usize, lock: Option<&str>) -> Check {
    if let (AuthMode::Token, Some(lock)) = (settings.auth, lock) {
        let (problem, hint) = lock.split_once("; ").unwrap_or((lock, "give the server a token"));
        return Check::fail(AUTH, format!("{problem}: nobody is let in"), hint);
    }
    let source = match settings.env_tokens.as_deref() {
        None | Some([]) => "the home",
        Some(_) => "PROMPTD_TOKEN",
    };
    let tokens = match tokens {
        0 => None,
        1 => Some(format!("1 token, from {source}")),
        many => Some(format!("{many} tokens, from {source}")),
    };
    match (settings.auth, tokens) {
        (AuthMode::None, _) => Check::warn(
            AUTH,
            "none: everybody who reaches the server can run anything here",
            "use --auth token unless this is intended",
        ),
        (AuthMode::E2b, tokens) => {
            let besides = tokens.map_or_else(String::new, |tokens| format!("; besides {tokens}"));
            let address = &settings.platform.envd;
            Check::ok(AUTH, format!("e2b: X-Access-Token is checked at {address}{besides}"))
        }
        (AuthMode::Token, Some(tokens)) => Check::ok(AUTH, tokens),
        (AuthMode::Token, None) if settings.listen.iter().any(is_public) || is_sandbox(&settings.platform) => {
            Check::warn(
                AUTH,
                "no token: on a public address every request is refused (401 not_configured)",
                "run `PROMPTD_TOKEN=… promptd configure`",
            )
        }
        (AuthMode::Token, None) => Check::ok(AUTH, "no token: only this machine has access"),
    }
}

fn is_public(listen: &Listen) -> bool {
    matches!(listen, Listen::Tcp(address) if !address.ip().to_canonical().is_loopback())
}

/// Whether other users can read the token file.
pub(super) fn token_file(settings: &Settings) -> Option<Check> {
    const NAME: &str = "token file";
    let path = settings.home.join("token");
    let shown = path.display();
    let mode = std::fs::metadata(&path).ok()?.permissions().mode();
    (mode & 0o077 != 0).then(|| {
        let detail = format!("{shown} can be read by other users");
        Check::warn(NAME, detail, format!("chmod 600 {shown}"))
    })
}

/// Whether other users can write to the home: then no server starts.
pub(super) fn private_home(settings: &Settings) -> Option<Check> {
    match check_private(&settings.home) {
        Err(RuntimeError::HomeNotPrivate { path, problem, command }) => {
            let detail = format!("{} {problem}: no server starts", path.display());
            Some(Check::fail("private home", detail, command))
        }
        // Whether it can be used at all is another check.
        Ok(()) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;
    use crate::runtime::config::{self, Environment, Flags};

    fn asked(listen: &str, auth: AuthMode, tokens: usize) -> Check {
        asked_in(&Environment::new(), listen, auth, tokens)
    }

    fn asked_in(environment: &Environment, listen: &str, auth: AuthMode, tokens: usize) -> Check {
        let flags = Flags {
            listen: vec![listen.parse().unwrap()],
            home: Some("/nowhere".into()),
            workspace: Some("/nowhere".into()),
            auth: Some(auth),
            insecure_public: Some(true),
            ..Flags::default()
        };
        super::auth(&config::settings(flags, environment, None).unwrap(), tokens, None)
    }

    #[test]
    fn public_server_without_token_is_a_warning() {
        assert_eq!(asked("0.0.0.0:80", AuthMode::Token, 0).state, State::Warn);
        assert_eq!(asked("127.0.0.1:80", AuthMode::Token, 0).state, State::Ok);
        let sandbox = Environment::from([("E2B_SANDBOX".to_owned(), "true".to_owned())]);
        assert_eq!(
            asked_in(&sandbox, "127.0.0.1:80", AuthMode::Token, 0).state,
            State::Warn
        );
        assert_eq!(
            asked("0.0.0.0:80", AuthMode::Token, 2).detail,
            "2 tokens, from the home"
        );
        assert_eq!(asked("0.0.0.0:80", AuthMode::None, 0).state, State::Warn);
        let e2b = asked("0.0.0.0:80", AuthMode::E2b, 0);
        assert_eq!((e2b.state, e2b.detail.contains(":49983")), (State::Ok, true));
    }
}
