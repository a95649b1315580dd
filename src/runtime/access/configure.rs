//! What is told to a running server: its tokens, and the environment of agents.
//!
//! Only over the control socket (`api` sees to that), so that nobody from outside can be the first.

use std::sync::{Arc, PoisonError};

use crate::runtime::access::environment::{self, Names, Variables};
use crate::runtime::access::tokens::{self, Token, lines};
use crate::runtime::{Runtime, RuntimeError, Settings, on_a_thread};
use promptd_sys as sys;

/// The longest token: it has to fit into a header.
const LONGEST_TOKEN: usize = 4096;

/// What shall be in force from now on; `None` leaves things as they are.
#[derive(Clone, Default)]
pub struct Configuration {
    /// The tokens that open the API: each itself, or `sha256:` and its digest.
    pub tokens: Option<Vec<String>>,
    /// The environment that agents get.
    pub environment: Option<Names>,
    /// Tokens and variables that there are stay, but for those of the same name.
    pub keep_old: bool,
}

/// What is in force; never a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// How many tokens open the API.
    pub tokens: usize,
    /// The names that agents get beyond the server's own environment.
    pub environment: Vec<String>,
}

/// What a home has, whether or not a server runs in it.
pub fn configured(settings: &Settings) -> Configured {
    let tokens = tokens::Tokens::default().current(settings);
    let variables = environment::Environment::default().current(&settings.home);
    Configured::of(&tokens, &variables)
}

impl Configured {
    fn of(tokens: &[Token], variables: &Variables) -> Self {
        Self {
            tokens: tokens.len(),
            environment: variables.names().into_iter().map(str::to_owned).collect(),
        }
    }
}

impl Runtime {
    /// Puts a configuration into force, and keeps it for the servers to come.
    pub async fn configure(self: &Arc<Self>, configuration: Configuration) -> Result<Configured, RuntimeError> {
        let runtime = Arc::clone(self);
        on_a_thread(move || {
            // What is added is added to what there is: one after the other, or one of two would be lost.
            let _configuring = runtime.configuring.lock().unwrap_or_else(PoisonError::into_inner);
            let Configuration {
                tokens,
                environment,
                keep_old,
            } = configuration;
            let tokens = tokens.map(|tokens| read_tokens(&tokens)).transpose()?;
            if let Some((name, hint)) = environment.as_ref().and_then(environment::wrong) {
                return Err(invalid("environment", format!("{name:?}"), hint));
            }
            if let Some(tokens) = tokens {
                runtime.set_tokens(&tokens, keep_old)?;
            }
            if let Some(environment) = environment {
                runtime.change_environment(|variables| {
                    if !keep_old {
                        variables.configured.clear();
                    }
                    variables.configured.extend(environment);
                })?;
            }
            let configured = runtime.configured();
            tracing::info!(tokens = configured.tokens, environment = ?configured.environment, "configured");
            Ok(configured)
        })
        .await
    }

    /// What is in force.
    pub fn configured(&self) -> Configured {
        Configured::of(&self.tokens(), &self.variables())
    }

    /// A variable as agents see it.
    pub fn variable(&self, name: &str) -> Option<String> {
        let told = self.variables().get(name).map(str::to_owned);
        told.or_else(|| std::env::var(name).ok())
    }

    pub(crate) fn variables(&self) -> Arc<Variables> {
        self.environment.current(&self.settings().home)
    }

    /// The platform has told the sandbox's environment.
    pub(crate) async fn platform_tells(self: &Arc<Self>, mut told: Names) -> Result<(), RuntimeError> {
        // Whoever created the sandbox was free in the choice of names; what agents cannot have they do not get.
        while let Some((name, _)) = environment::wrong(&told) {
            let name = name.to_owned();
            told.remove(&name);
        }
        let runtime = Arc::clone(self);
        on_a_thread(move || {
            let _configuring = runtime.configuring.lock().unwrap_or_else(PoisonError::into_inner);
            runtime.change_environment(|variables| variables.platform_tells(told))
        })
        .await
    }

    fn change_environment(&self, change: impl FnOnce(&mut Variables)) -> Result<(), RuntimeError> {
        let home = &self.settings().home;
        let changed = self.environment.change(home, change);
        changed.map_err(|source| RuntimeError::Io {
            path: environment::path(home),
            source,
        })?;
        // From now on the log hides the values, too.
        drop(self.server_masker());
        Ok(())
    }

    fn set_tokens(&self, new: &[Token], keep_old: bool) -> Result<(), RuntimeError> {
        let settings = self.settings();
        if !settings.env_tokens.is_empty() {
            let valid = self.tokens();
            let known = new.iter().all(|token| valid.iter().any(|valid| valid.is_same(token)));
            return if known {
                Ok(())
            } else {
                Err(RuntimeError::TokenOfEnvironment)
            };
        }
        let path = tokens::path(&settings);
        let failed = |source| RuntimeError::Io {
            path: path.clone(),
            source,
        };
        let old = match std::fs::read_to_string(&path) {
            Ok(text) if keep_old => text,
            Err(error) if keep_old && error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(_) | Err(_) => String::new(),
        };
        let is_old = |token: &Token| lines(&old).any(|line| Token::of_line(line).is_ok_and(|old| old.is_same(token)));
        let mut text: String = lines(&old).map(|line| format!("{line}\n")).collect();
        for token in new.iter().filter(|token| !is_old(token)) {
            text.push_str(&token.line());
            text.push('\n');
        }
        self.tokens.tell(new);
        sys::replace_file(&path, text.as_bytes()).map_err(failed)?;
        drop(self.server_masker());
        Ok(())
    }
}

fn read_tokens(tokens: &[String]) -> Result<Vec<Token>, RuntimeError> {
    let read = |token: &String| {
        let length = token.len();
        let visible = token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        if !visible || !(1..=LONGEST_TOKEN).contains(&length) {
            let hint = "use 1 to 4096 visible ASCII characters without a comma, such as `openssl rand -hex 32` prints";
            return Err(invalid("tokens", format!("one of {length} bytes"), hint));
        }
        Token::of_line(token).map_err(|error| invalid("tokens", "a digest".to_owned(), &error))
    };
    let read: Vec<Token> = tokens.iter().map(read).collect::<Result<_, _>>()?;
    if read.is_empty() {
        let hint = "give one at least; a server without any serves nobody";
        return Err(invalid("tokens", "an empty list".to_owned(), hint));
    }
    Ok(read)
}

fn invalid(field: &'static str, value: String, hint: &str) -> RuntimeError {
    let hint = hint.to_owned();
    RuntimeError::InvalidField { field, value, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_to_fit_into_a_header_and_a_refusal_does_not_show_it() {
        let read = |tokens: &[&str]| read_tokens(&tokens.iter().map(|&token| token.to_owned()).collect::<Vec<_>>());
        assert_eq!(read(&["one", "two"]).unwrap().len(), 2);
        let long = "s3cret".repeat(1000);
        for wrong in [
            &["s3 cret"][..],
            &["s3cret,"],
            &["s3cret\n"],
            &["ſ3cret"],
            &[""],
            &[&long],
            &["sha256:s3cret"],
            &[],
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.starts_with("tokens") && !error.contains("3cret"), "{error}");
        }
    }
}
