//! Session ids: which ids a caller may choose, and how the server makes its own.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most characters an id may have.
const MAX_LEN: usize = 128;

/// A session's id: `[A-Za-z0-9_:-][A-Za-z0-9._:-]{0,127}`.
///
/// It is also the name of the session's folder, so it may not begin with a dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(String);

/// The text is no session id.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0:?} is not a session id: use 1 to 128 of A-Z a-z 0-9 . _ : - and do not begin with a dot")]
pub struct InvalidSessionId(pub String);

impl SessionId {
    /// Makes an id (UUID version 7) from the time and from random bytes that the caller has just taken from the kernel.
    ///
    /// Not `Uuid::now_v7`: its counter lives in memory, and a sandbox's memory is cloned.
    pub fn from_time_and_random(unix_millis: u64, random: &[u8; 10]) -> Self {
        let uuid = uuid::Builder::from_unix_timestamp_millis(unix_millis, random).into_uuid();
        Self(uuid.to_string())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SessionId {
    type Error = InvalidSessionId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
        let valid = (1..=MAX_LEN).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(allowed);
        if valid {
            Ok(Self(text))
        } else {
            Err(InvalidSessionId(text.chars().take(200).collect()))
        }
    }
}

impl std::str::FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_id_cannot_be_a_path() {
        for bad in ["", ".", "..", ".hidden", "a/b", "a b", "ä", &"x".repeat(129)] {
            assert!(bad.parse::<SessionId>().is_err(), "{bad:?}");
        }
        for good in ["a", "a.b", "018f-1:2_3", &"x".repeat(128)] {
            assert!(good.parse::<SessionId>().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn generated_ids_are_uuid_v7_and_sort_by_time() {
        let first = SessionId::from_time_and_random(1_000, &[0xff; 10]);
        let second = SessionId::from_time_and_random(1_001, &[0; 10]);
        assert!(first < second);
        assert_eq!(first.as_str().as_bytes().get(14), Some(&b'7'));
    }
}
