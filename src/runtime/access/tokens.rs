//! The valid tokens: from the environment, else from `$PROMPTD_HOME/token`, read again when that file changes.
//!
//! A line is a token, or `sha256:` and the digest of one in hexadecimal digits: whoever reads such a file, an agent for
//! one, does not have the token. A file that is there and has no line closes the door: only without one is none needed.

use std::collections::VecDeque;
use std::fmt;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use subtle::{Choice, ConstantTimeEq as _};

use crate::runtime::Settings;
use crate::runtime::access::watched::Watched;

/// The token file's name in the home.
const FILE_NAME: &str = "token";

/// What a line begins with that does not hold the token itself.
const DIGEST_PREFIX: &str = "sha256:";

/// So many configured tokens are remembered: one that is replaced each hour, for days.
const MOST_TOLD: usize = 64;

pub(crate) type Digest = [u8; 32];

/// A token that opens the API.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    digest: Digest,
    /// The token itself, where it is known.
    plain: Option<String>,
}

impl Token {
    /// A token, itself.
    pub fn plain(token: &str) -> Self {
        Self {
            digest: digest(token),
            plain: Some(token.to_owned()),
        }
    }

    /// A token as a file or the environment has it; an error where a digest is none.
    pub(crate) fn of_line(line: &str) -> Result<Self, String> {
        let Some(hex) = line.strip_prefix(DIGEST_PREFIX) else {
            return Ok(Self::plain(line));
        };
        let digest = digest_of_hex(hex).ok_or_else(|| {
            format!("a line begins with {DIGEST_PREFIX}, which 64 hexadecimal digits have to follow; `printf %s TOKEN | sha256sum` prints them")
        })?;
        Ok(Self { digest, plain: None })
    }

    /// The line that means this token and does not hold it.
    pub(crate) fn line(&self) -> String {
        let mut line = DIGEST_PREFIX.to_owned();
        for byte in self.digest {
            // Writing to a String cannot fail.
            let _written = write!(line, "{byte:02x}");
        }
        line
    }

    /// The token itself, where it is known: what output must not show.
    pub(crate) fn secret(&self) -> Option<&str> {
        self.plain.as_deref()
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Whether one of the tokens was given. Digests are compared, and all of them: the time it takes tells nothing.
pub fn opens(given: &str, tokens: &[Token]) -> bool {
    let given = digest(given);
    let found = tokens
        .iter()
        .fold(Choice::from(0), |found, token| found | token.digest.ct_eq(&given));
    found.into()
}

pub(crate) fn digest(text: &str) -> Digest {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().try_into().unwrap_or_default()
}

fn digest_of_hex(hex: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != digest.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        let value = |letter: u8| {
            char::from(letter)
                .to_digit(16)
                .and_then(|value| u8::try_from(value).ok())
        };
        *byte = value(*high)?.checked_mul(16)?.checked_add(value(*low)?)?;
    }
    Some(digest)
}

/// The tokens, as last read.
#[derive(Debug)]
pub(crate) struct Tokens {
    file: Watched<[Token]>,
    /// Tokens that were configured since the server was started, the newest at the end: their file holds digests only.
    /// One that has been replaced opens nothing any more, and may still stand in a journal.
    told: Mutex<VecDeque<Token>>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            file: Watched::new(Arc::new([])),
            told: Mutex::default(),
        }
    }
}

/// The token file.
pub(crate) fn path(settings: &Settings) -> PathBuf {
    settings.home.join(FILE_NAME)
}

impl Tokens {
    /// The tokens that are valid now.
    pub(crate) fn current(&self, settings: &Settings) -> Arc<[Token]> {
        if settings.env_tokens.is_empty() {
            self.file(&path(settings))
        } else {
            // What the environment has was looked at when the server was started.
            settings
                .env_tokens
                .iter()
                .map(|token| Token::of_line(token).unwrap_or_else(|_| unknowable()))
                .collect()
        }
    }

    /// Remembers tokens of which the file gets the digests only.
    pub(crate) fn tell(&self, tokens: &[Token]) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for token in tokens.iter().filter(|token| token.plain.is_some()) {
            told.retain(|known| !known.is_same(token));
            told.push_back(token.clone());
        }
        let excess = told.len().saturating_sub(MOST_TOLD);
        told.drain(..excess);
    }

    /// All tokens whose text is known, those that are not valid any more among them: what output must not show.
    pub(crate) fn known(&self, settings: &Settings) -> Vec<Token> {
        let mut known = self.current(settings).to_vec();
        known.extend(self.told.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        known
    }

    fn file(&self, path: &Path) -> Arc<[Token]> {
        let parse = |text: Option<&str>| {
            let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let token = |line| {
                let token = Token::of_line(line)?;
                Ok(told.iter().find(|told| told.is_same(&token)).cloned().unwrap_or(token))
            };
            let tokens: Arc<[Token]> = lines(text.unwrap_or_default())
                .map(token)
                .collect::<Result<_, String>>()?;
            if text.is_some() && tokens.is_empty() {
                let hint = "nobody is let in; write a token into it, or remove it";
                tracing::error!(path = %path.display(), "the token file has no token: {hint}");
                return Ok([unknowable()].into());
            }
            Ok(tokens)
        };
        // There is a token, but not for us to read: closed, not open, until it can be read.
        let keep = |tokens: &Arc<[Token]>| {
            if tokens.is_empty() {
                Arc::new([unknowable()])
            } else {
                Arc::clone(tokens)
            }
        };
        self.file.get(path, parse, keep)
    }
}

/// A token that nobody has.
fn unknowable() -> Token {
    Token {
        // Without randomness nobody knows a text with this digest either.
        digest: promptd_sys::random_bytes().unwrap_or_default(),
        plain: None,
    }
}

pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn opened(tokens: &Tokens, path: &Path, given: &[&str]) -> Vec<bool> {
        let tokens = tokens.file(path);
        given.iter().map(|given| opens(given, &tokens)).collect()
    }

    #[test]
    fn the_file_is_read_again_when_it_changes() {
        let path = std::env::temp_dir().join(format!("promptd-tokens-{}", std::process::id()));
        let tokens = Tokens::default();
        assert!(tokens.file(&path).is_empty());
        promptd_sys::replace_file(&path, b"one\n\n two \n").unwrap();
        assert_eq!(
            opened(&tokens, &path, &["one", "two", "six", ""]),
            [true, true, false, false]
        );
        promptd_sys::replace_file(&path, b"six\n\n two \n").unwrap();
        assert_eq!(opened(&tokens, &path, &["one", "two", "six"]), [false, true, true]);
        std::fs::remove_file(&path).unwrap();
        assert!(tokens.file(&path).is_empty());
    }

    #[test]
    fn a_digest_lets_its_token_in_and_is_none_itself() {
        let token = Token::plain("opens-the-door");
        let read = [Token::of_line(&token.line()).unwrap()];
        assert!(opens("opens-the-door", &read) && read[0].secret().is_none());
        assert!(!opens(&token.line(), &read));
        assert_eq!(
            Token::plain("abc").line(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_or_understood_closes_the_door() {
        let path = std::env::temp_dir().join(format!("promptd-tokens-folder-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        assert_eq!(Tokens::default().file(&path).len(), 1);
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, "sha256:abc\n").unwrap();
        let tokens = Tokens::default();
        assert_eq!(
            opened(&tokens, &path, &["sha256:abc", "abc", ""]),
            [false, false, false]
        );
        assert_eq!(tokens.file(&path).len(), 1);
        std::fs::remove_file(&path).unwrap();
        assert!(
            tokens.file(&path).is_empty(),
            "it is gone, and so is what was wrong with it"
        );
    }

    #[test]
    fn an_empty_file_closes_the_door_and_takes_no_one_in() {
        let path = std::env::temp_dir().join(format!("promptd-tokens-empty-{}", std::process::id()));
        let tokens = Tokens::default();
        for empty in ["", "\n \n"] {
            promptd_sys::replace_file(&path, b"one\n").unwrap();
            assert_eq!(opened(&tokens, &path, &["one"]), [true]);
            promptd_sys::replace_file(&path, empty.as_bytes()).unwrap();
            assert_eq!(opened(&tokens, &path, &["one", ""]), [false, false]);
            assert_eq!(tokens.file(&path).len(), 1);
        }
        std::fs::remove_file(&path).unwrap();
        assert!(tokens.file(&path).is_empty());
    }

    #[test]
    fn a_token_that_was_configured_is_known_by_its_digest() {
        let path = std::env::temp_dir().join(format!("promptd-tokens-told-{}", std::process::id()));
        let (tokens, token) = (Tokens::default(), Token::plain("opens-the-door"));
        tokens.tell(std::slice::from_ref(&token));
        std::fs::write(&path, token.line()).unwrap();
        assert_eq!(tokens.file(&path)[0].secret(), Some("opens-the-door"));
        assert_eq!(format!("{token:?}"), "Token");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn tokens_that_were_replaced_stay_known_and_not_without_end() {
        let tokens = Tokens::default();
        for number in 0..=MOST_TOLD {
            tokens.tell(&[Token::plain(&format!("token-{number}"))]);
        }
        tokens.tell(&[Token::plain("token-1")]);
        let told = tokens.told.lock().unwrap();
        let known = |text: &str| told.iter().any(|token| token.secret() == Some(text));
        assert!(told.len() == MOST_TOLD && !known("token-0") && known("token-1") && known("token-2"));
    }

    proptest! {
        #[test]
        fn only_64_digits_are_a_digest(hex in "[0-9a-fA-Fg]{0,70}") {
            let right = hex.len() == 64 && !hex.contains('g');
            let token = Token::of_line(&format!("sha256:{hex}"));
            prop_assert_eq!(token.is_ok(), right);
            if let Ok(token) = token {
                prop_assert_eq!(token.line(), format!("sha256:{}", hex.to_ascii_lowercase()));
            }
        }
    }
}
