//! The environment of this process, without its token: children and whoever looks at processes must not find that.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use promptd_sys as sys;

/// Variables by name, as far as they are UTF-8.
pub type Environment = BTreeMap<String, String>;

const TOKEN_VARIABLE: &str = "PROMPTD_TOKEN";

/// Addresses with commas between them.
const LISTEN_VARIABLE: &str = "PROMPTD_LISTEN";

/// The value of `PROMPTD_TOKEN` after [`hide_token`].
static TOKEN: Mutex<Option<String>> = Mutex::new(None);

/// The environment of this process, with the token.
pub fn environment() -> Environment {
    let mut environment: Environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    if let Some(token) = &*token() {
        environment.insert(TOKEN_VARIABLE.to_owned(), token.clone());
    }
    environment
}

/// Moves the token out of the environment. Must be called before there is a second thread.
pub fn hide_token() {
    if let Some(taken) = sys::take_env_variable(c"PROMPTD_TOKEN") {
        // What is not UTF-8 is refused later, as a token that no request can carry. To drop it would open the server.
        *token() = Some(taken.to_string_lossy().into_owned());
    }
}

/// Trims the server's own variables, and removes those that are empty then: a value from a file of secrets often has a
/// line end, and an empty one means that nothing is set. Must be called before there is a second thread.
pub fn trim_variables() {
    for (name, value) in std::env::vars_os() {
        let (Some(key), Some(text)) = (name.to_str(), value.to_str()) else {
            continue;
        };
        if !key.starts_with("PROMPTD_") {
            continue;
        }
        let trimmed = if key == LISTEN_VARIABLE {
            let addresses = text.split(',').map(str::trim).filter(|address| !address.is_empty());
            addresses.collect::<Vec<_>>().join(",")
        } else {
            text.trim().to_owned()
        };
        if trimmed != text || text.is_empty() {
            let value = Some(trimmed.as_ref()).filter(|_| !trimmed.is_empty());
            sys::set_env_variable(&name, value);
        }
    }
}

/// Removes the token: it is meant for another server than one in this process.
pub fn forget_token() {
    *token() = None;
}

fn token() -> MutexGuard<'static, Option<String>> {
    TOKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tokens in the value of `PROMPTD_TOKEN`, separated by commas or line ends.
pub fn split_tokens(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', '\n']).map(str::trim).filter(|token| !token.is_empty())
}

/// The value of a variable; an empty one counts as unset.
pub(super) fn variable<'a>(env: &'a Environment, name: &str) -> Option<&'a str> {
    env.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
}
