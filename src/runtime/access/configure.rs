//! Tokens and agents' variables that a running server is given.
//!
//! Only over the control socket (`api` sees to that), so that nobody from outside can be the first.

use std::sync::{Arc, Mutex, PoisonError};

use crate::runtime::access::token::Token;
use crate::runtime::access::token_store::TokenStore;
use crate::runtime::access::variables::{self, Names, Variables};
use crate::runtime::cached_file::JsonFile;
use crate::runtime::error::RuntimeError;
use crate::runtime::settings::Settings;

/// The longest token: it has to fit into a header.
const MAX_TOKEN: usize = 4096;

/// What is to be in force from now on; `None` leaves things as they are.
#[derive(Clone, Default)]
pub struct Configuration {
    /// The tokens that open the API: each itself, or `sha256:` and its digest.
    pub tokens: Option<Vec<String>>,
    /// The environment that agents get.
    pub environment: Option<Names>,
    /// Existing tokens and variables stay, but for those of the same name.
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
    Access::new(settings).configured()
}

/// Why nobody can have a valid token for a server with these settings, though one is needed.
pub fn unusable_reason(settings: &Settings) -> Option<&'static str> {
    Access::new(settings).unusable_reason()
}

/// The tokens of the API and the variables of agents.
#[derive(Debug)]
pub(crate) struct Access {
    tokens: TokenStore,
    variables: JsonFile<Variables>,
    /// Configurations are made one after the other: of two at a time, one would be lost where both add.
    configuring: Mutex<()>,
}

impl Access {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            tokens: TokenStore::new(&settings.home, settings.env_tokens.as_deref()),
            variables: JsonFile::new(variables::path(&settings.home), variables::parse),
            configuring: Mutex::default(),
        }
    }

    /// The tokens that open the API now.
    pub(crate) fn tokens(&self) -> Arc<[Token]> {
        self.tokens.valid()
    }

    /// Why nobody can have a valid token, though one is needed.
    pub(crate) fn unusable_reason(&self) -> Option<&'static str> {
        self.tokens.unusable_reason()
    }

    /// Tokens that no output may show, beside the valid ones.
    pub(crate) fn former_tokens(&self) -> Arc<[Token]> {
        self.tokens.configured()
    }

    pub(crate) fn variables(&self) -> Arc<Variables> {
        self.variables.get()
    }

    /// A variable as agents see it, where their session does not set it.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.variables().get_or_inherited(name)
    }

    /// What is in force.
    pub(crate) fn configured(&self) -> Configured {
        Configured {
            tokens: self
                .tokens()
                .iter()
                .filter(|token| token.unusable_reason().is_none())
                .count(),
            environment: self.variables().names().into_iter().map(str::to_owned).collect(),
        }
    }

    /// Puts a configuration into force, and keeps it for later servers. May block.
    pub(crate) fn configure(&self, configuration: Configuration) -> Result<Configured, RuntimeError> {
        let _configuring = self.configuring.lock().unwrap_or_else(PoisonError::into_inner);
        let Configuration {
            tokens,
            environment,
            keep_old,
        } = configuration;
        let tokens = tokens.map(|tokens| parse_tokens(&tokens)).transpose()?;
        if let Some((name, hint)) = environment.as_ref().and_then(variables::find_invalid) {
            return Err(invalid("environment", format!("{name:?}"), hint));
        }
        if let Some(tokens) = tokens {
            self.tokens.set(&tokens, keep_old)?;
        }
        if let Some(environment) = environment {
            self.change_variables(|variables| {
                if !keep_old {
                    variables.configured.clear();
                }
                variables.configured.extend(environment);
            })?;
        }
        let configured = self.configured();
        tracing::info!(tokens = configured.tokens, environment = ?configured.environment, "configured");
        Ok(configured)
    }

    /// Takes the variables that the platform gives the sandbox. May block.
    pub(crate) fn set_platform_variables(&self, mut new: Names) -> Result<(), RuntimeError> {
        // The creator of the sandbox could choose any names; agents get those that a process can have.
        while let Some((name, _)) = variables::find_invalid(&new) {
            let name = name.to_owned();
            new.remove(&name);
        }
        self.change_variables(|variables| variables.set_platform(new))
    }

    fn change_variables(&self, change: impl FnOnce(&mut Variables)) -> Result<(), RuntimeError> {
        let changed = self.variables.update(|variables| {
            let old = variables.clone();
            change(variables);
            variables.keep_replaced(&old);
        });
        changed.map(drop)
    }
}

fn parse_tokens(tokens: &[String]) -> Result<Vec<Token>, RuntimeError> {
    let parse = |token: &String| {
        let length = token.len();
        let visible = token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        if !visible || !(1..=MAX_TOKEN).contains(&length) {
            let hint = "use 1 to 4096 visible ASCII characters without a comma, such as `openssl rand -hex 32` prints";
            return Err(invalid("tokens", format!("one of {length} bytes"), hint));
        }
        Token::parse(token).map_err(|error| invalid("tokens", "a digest".to_owned(), &error))
    };
    let parsed: Vec<Token> = tokens.iter().map(parse).collect::<Result<_, _>>()?;
    if parsed.is_empty() {
        let hint = "give one at least; a server without any serves nobody";
        return Err(invalid("tokens", "an empty list".to_owned(), hint));
    }
    Ok(parsed)
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
        let parse = |tokens: &[&str]| parse_tokens(&tokens.iter().map(|&token| token.to_owned()).collect::<Vec<_>>());
        assert_eq!(parse(&["one", "two"]).unwrap().len(), 2);
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
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.starts_with("tokens") && !error.contains("3cret"), "{error}");
        }
    }
}
