//! The valid tokens: from the environment, else from `$PROMPTD_HOME/token`, read again when that file changes.
//!
//! A line of the file is a token, or `sha256:` and the hexadecimal digest of one: a reader of such a file, for
//! example an agent, does not have the token. Lines that begin with `#` are comments.
//!
//! Where a token was meant, the API is never open: an empty variable, and a file that has no token or cannot be read, lock
//! it. Only where there is neither is no token needed.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::runtime::access::token::Token;
use crate::runtime::cached_file::CachedFile;
use crate::runtime::error::RuntimeError;
use promptd_sys as sys;

/// The token file's name in the home.
const FILE_NAME: &str = "token";

/// The largest token file.
pub(crate) const MAX_FILE: u64 = 1 << 20;

const EMPTY_VARIABLE: &str =
    "PROMPTD_TOKEN is set and has no token; put a token into it, or start the server without it";
const EMPTY_FILE: &str = "the token file of the home has no token; write one into it, or remove it";
const UNUSABLE_FILE: &str =
    "the token file of the home cannot be used, and the server's log says why; mend or remove it";

/// So many configured tokens are remembered: one that is replaced each hour, for days.
const MAX_CONFIGURED: usize = 64;

/// The tokens, as last read.
#[derive(Debug)]
pub(crate) struct TokenStore {
    /// `PROMPTD_TOKEN`; where it has a token, nothing else counts.
    from_environment: Option<Arc<[Token]>>,
    /// In force where the file has no token either: `PROMPTD_TOKEN` is set and has none. One value for the store's life, as
    /// maskers are made anew whenever the tokens change.
    empty_variable: Option<Arc<[Token]>>,
    file: CachedFile<[Token]>,
    /// Tokens that were configured since the server was started, the newest at the end: the file holds only their
    /// digests. One that has been replaced is not valid any more, and may still stand in a journal.
    configured: Mutex<Arc<[Token]>>,
}

impl TokenStore {
    /// `from_environment` is `None` where the variable is not set.
    pub(crate) fn new(home: &Path, from_environment: Option<&[String]>) -> Self {
        // They were checked when the settings were read.
        let parse = |token: &String| Token::parse(token).unwrap_or_else(|_| Token::unusable(EMPTY_VARIABLE));
        let tokens: Option<Arc<[Token]>> = from_environment.map(|tokens| tokens.iter().map(parse).collect());
        let empty_variable = tokens.as_ref().filter(|tokens| tokens.is_empty());
        let empty_variable = empty_variable.map(|_| [Token::unusable(EMPTY_VARIABLE)].into());
        if empty_variable.is_some() {
            tracing::error!("{EMPTY_VARIABLE}; until then only a token of the token file opens the API");
        }
        Self {
            empty_variable,
            from_environment: tokens.filter(|tokens| !tokens.is_empty()),
            file: CachedFile::new(home.join(FILE_NAME), Arc::new([])),
            configured: Mutex::new(Arc::new([])),
        }
    }

    /// The tokens that are valid now.
    pub(crate) fn valid(&self) -> Arc<[Token]> {
        if let Some(tokens) = &self.from_environment {
            return Arc::clone(tokens);
        }
        let tokens = self.file();
        match &self.empty_variable {
            Some(lock) if tokens.is_empty() => Arc::clone(lock),
            Some(_) | None => tokens,
        }
    }

    /// Why nobody can have a valid token.
    pub(crate) fn unusable_reason(&self) -> Option<&'static str> {
        self.valid().iter().find_map(Token::unusable_reason)
    }

    /// The tokens that were configured, valid or not: no output may show them.
    pub(crate) fn configured(&self) -> Arc<[Token]> {
        Arc::clone(&self.configured.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes `new` the valid tokens; with `keep_old`, beside those of the file.
    pub(crate) fn set(&self, new: &[Token], keep_old: bool) -> Result<(), RuntimeError> {
        if let Some(valid) = &self.from_environment {
            let known = new.iter().all(|token| valid.iter().any(|valid| valid.is_same(token)));
            return if known {
                Ok(())
            } else {
                Err(RuntimeError::TokenOfEnvironment)
            };
        }
        let path = self.file.path();
        let failed = |source| RuntimeError::Io {
            path: path.to_owned(),
            source,
        };
        let old = match sys::read_own_or_linked(path, MAX_FILE) {
            Ok(text) if keep_old => String::from_utf8_lossy(&text).into_owned(),
            Err(error) if keep_old && error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(_) | Err(_) => String::new(),
        };
        let is_old = |token: &Token| lines(&old).any(|line| Token::parse(line).is_ok_and(|old| old.is_same(token)));
        let mut text: String = lines(&old).map(|line| format!("{line}\n")).collect();
        for token in new.iter().filter(|token| !is_old(token)) {
            text.push_str(&token.line());
            text.push('\n');
        }
        // Before the file: its readers find them by their digests.
        self.remember(new);
        sys::replace_file(path, text.as_bytes()).map_err(failed)
    }

    fn remember(&self, new: &[Token]) {
        let mut configured = self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tokens = configured.to_vec();
        for token in new.iter().filter(|token| token.secret().is_some()) {
            tokens.retain(|known| !known.is_same(token));
            tokens.push(token.clone());
        }
        tokens.drain(..tokens.len().saturating_sub(MAX_CONFIGURED));
        *configured = tokens.into();
    }

    fn file(&self) -> Arc<[Token]> {
        let configured = self.configured();
        let parse = |text: Option<&str>| {
            let token = |line| {
                let token = Token::parse(line)?;
                let known = configured.iter().find(|known| known.is_same(&token));
                Ok(known.cloned().unwrap_or(token))
            };
            let tokens: Arc<[Token]> = lines(text.unwrap_or_default())
                .map(token)
                .collect::<Result<_, String>>()?;
            if text.is_some() && tokens.is_empty() {
                tracing::error!(path = %self.file.path().display(), "the API is locked: {EMPTY_FILE}");
                return Ok([Token::unusable(EMPTY_FILE)].into());
            }
            Ok(tokens)
        };
        // There is a token, but we cannot read it: locked, not open, until it can be read.
        let fallback = |tokens: &Arc<[Token]>| {
            if tokens.is_empty() {
                Arc::new([Token::unusable(UNUSABLE_FILE)])
            } else {
                Arc::clone(tokens)
            }
        };
        self.file.get(parse, fallback)
    }
}

/// The lines with tokens.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::runtime::access::token::opens;

    fn home(name: &str) -> PathBuf {
        let home = std::env::temp_dir().join(format!("promptd-tokens-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        home
    }

    fn opened(tokens: &TokenStore, given: &[&str]) -> Vec<bool> {
        let tokens = tokens.valid();
        given.iter().map(|given| opens(given, &tokens)).collect()
    }

    #[test]
    fn the_file_is_read_again_when_it_changes() {
        let home = home("changes");
        let (path, tokens) = (home.join(FILE_NAME), TokenStore::new(&home, None));
        assert!(tokens.valid().is_empty());
        sys::replace_file(&path, b"one\n\n two \n").unwrap();
        assert_eq!(opened(&tokens, &["one", "two", "six", ""]), [true, true, false, false]);
        sys::replace_file(&path, b"six\n\n two \n").unwrap();
        assert_eq!(opened(&tokens, &["one", "two", "six"]), [false, true, true]);
        std::fs::remove_file(&path).unwrap();
        assert!(tokens.valid().is_empty());
        std::fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_used_locks_the_api() {
        let home = home("unusable");
        let (path, tokens) = (home.join(FILE_NAME), TokenStore::new(&home, None));
        std::fs::create_dir_all(&path).unwrap();
        assert_eq!(tokens.valid().len(), 1);
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, "sha256:abc\n").unwrap();
        let tokens = TokenStore::new(&home, None);
        assert_eq!(opened(&tokens, &["sha256:abc", "abc", ""]), [false, false, false]);
        assert_eq!(tokens.valid().len(), 1);
        for empty in ["", "\n \n", "# only a comment\n", "\u{feff}"] {
            sys::replace_file(&path, b"one\n").unwrap();
            assert_eq!(opened(&tokens, &["one"]), [true]);
            sys::replace_file(&path, empty.as_bytes()).unwrap();
            assert_eq!(opened(&tokens, &["one", ""]), [false, false]);
            assert_eq!(tokens.valid().len(), 1);
        }
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(home.join("nowhere"), &path).unwrap();
        for tokens in [&tokens, &TokenStore::new(&home, None)] {
            assert_eq!(opened(tokens, &["one", ""]), [false, false], "a link to nothing");
            assert_eq!(tokens.valid().len(), 1);
        }
        std::fs::remove_file(&path).unwrap();
        assert!(tokens.valid().is_empty(), "without the file no token is needed");
        std::fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn an_empty_variable_needs_a_token_in_the_file() {
        let home = home("empty-variable");
        let tokens = TokenStore::new(&home, Some(&[]));
        assert_eq!(opened(&tokens, &[""]), [false]);
        assert_eq!(tokens.unusable_reason(), Some(EMPTY_VARIABLE));
        assert!(
            Arc::ptr_eq(&tokens.valid(), &tokens.valid()),
            "the same as long as nothing changes"
        );
        std::fs::write(home.join(FILE_NAME), "# for the backend\nsecret\n").unwrap();
        assert_eq!(opened(&tokens, &["secret", "# for the backend"]), [true, false]);
        assert_eq!(tokens.unusable_reason(), None);
        std::fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn a_configured_token_is_known_though_its_file_holds_a_digest() {
        let home = home("configured");
        let (tokens, token) = (TokenStore::new(&home, None), Token::plain("opens-the-door"));
        tokens.set(&[token], false).unwrap();
        assert!(!std::fs::read_to_string(home.join(FILE_NAME)).unwrap().contains("door"));
        assert_eq!(tokens.valid()[0].secret(), Some("opens-the-door"));
        std::fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn replaced_tokens_stay_known_up_to_a_limit() {
        let tokens = TokenStore::new(Path::new("/nonexistent"), None);
        for number in 0..=MAX_CONFIGURED {
            tokens.remember(&[Token::plain(&format!("token-{number}"))]);
        }
        tokens.remember(&[Token::plain("token-1")]);
        let configured = tokens.configured();
        let known = |text: &str| configured.iter().any(|token| token.secret() == Some(text));
        assert!(configured.len() == MAX_CONFIGURED && !known("token-0") && known("token-1") && known("token-2"));
    }
}
