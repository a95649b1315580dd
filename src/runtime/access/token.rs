//! A token that opens the API: the token itself, or only its digest.

use std::fmt::{self, Write as _};

use subtle::{Choice, ConstantTimeEq as _};

/// The prefix of a line that holds a digest, not the token.
const DIGEST_PREFIX: &str = "sha256:";

pub(crate) type Digest = [u8; 32];

/// A token that opens the API.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    digest: Digest,
    /// The token itself, where it is known.
    plain: Option<String>,
    /// Why nobody has this token.
    unusable: Option<&'static str>,
}

impl Token {
    /// A token, itself.
    pub fn plain(token: &str) -> Self {
        Self {
            digest: digest(token),
            plain: Some(token.to_owned()),
            unusable: None,
        }
    }

    /// A token that nobody has: with it, the API is locked. `why` says what to do.
    pub(crate) fn unusable(why: &'static str) -> Self {
        Self {
            // Without randomness nobody knows a text with this digest either.
            digest: promptd_sys::random_bytes().unwrap_or_default(),
            plain: None,
            unusable: Some(why),
        }
    }

    /// Why the API is locked, if this is no token.
    pub(crate) fn unusable_reason(&self) -> Option<&'static str> {
        self.unusable
    }

    /// Reads a line of the token file or the environment.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let Some(hex) = line.strip_prefix(DIGEST_PREFIX) else {
            let visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
            return if line.bytes().all(visible) {
                Ok(Self::plain(line))
            } else {
                Err("a token has a character that no request can carry; use visible ASCII characters".to_owned())
            };
        };
        let digest = digest_of_hex(hex).ok_or_else(|| {
            format!("a line begins with {DIGEST_PREFIX}, which 64 hexadecimal digits have to follow; `printf %s TOKEN | sha256sum` prints them")
        })?;
        Ok(Self {
            digest,
            plain: None,
            unusable: None,
        })
    }

    /// The line for the token file, which holds only the digest.
    pub(crate) fn line(&self) -> String {
        let mut line = DIGEST_PREFIX.to_owned();
        for byte in self.digest {
            // Writing to a String cannot fail.
            let _written = write!(line, "{byte:02x}");
        }
        line
    }

    /// The token itself, where it is known: no output may show it.
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
    for (byte, pair) in digest.iter_mut().zip(pairs) {
        let digits = pair
            .iter()
            .all(u8::is_ascii_hexdigit)
            .then(|| std::str::from_utf8(pair).ok())??;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_digest_opens_with_its_token_and_not_with_itself() {
        let token = Token::plain("opens-the-door");
        let read = [Token::parse(&token.line()).unwrap()];
        assert!(opens("opens-the-door", &read) && read[0].secret().is_none());
        assert!(!opens(&token.line(), &read));
        assert_eq!(
            Token::plain("abc").line(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(format!("{token:?}"), "Token");
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_refused() {
        for wrong in ["pass\u{f6}rd", "a\u{fffd}", "a\tb", "a\0"] {
            assert!(Token::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(Token::parse("two words!").is_ok());
    }

    proptest! {
        #[test]
        fn only_64_hexadecimal_digits_are_a_digest(hex in "[0-9a-fA-Fg]{0,70}") {
            let right = hex.len() == 64 && !hex.contains('g');
            let token = Token::parse(&format!("sha256:{hex}"));
            prop_assert_eq!(token.is_ok(), right);
            if let Ok(token) = token {
                prop_assert_eq!(token.line(), format!("sha256:{}", hex.to_ascii_lowercase()));
            }
        }
    }
}
