//! A sink: a checked request with a name.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::http::origin;
use crate::kinds::{self, Kind, SinkError};
use promptd_mask::{End, Masker, Secrets};
use promptd_model::{SinkKind, SinkRequest};

/// Maximum length of a name.
const MAX_NAME: usize = 64;

/// Whether a sink belongs to a session or to the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// A sink of one session.
    Session,
    /// A sink of all sessions, from the configuration.
    Global,
}

impl Scope {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Global => "global",
        }
    }
}

/// A sink.
#[derive(Clone, Debug)]
pub struct Sink {
    pub(crate) name: String,
    pub(crate) scope: Scope,
    pub(crate) kind: Arc<dyn Kind>,
    pub(crate) request: SinkRequest,
}

impl Sink {
    /// Checks requests, and gives each sink a unique name. An error has the index of its request.
    pub fn all(requests: &[SinkRequest], scope: Scope) -> Result<Vec<Self>, (usize, SinkError)> {
        let given: BTreeSet<&str> = requests.iter().filter_map(|request| request.name.as_deref()).collect();
        let mut taken = BTreeSet::new();
        let mut sinks = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            let name_error = |problem: String| {
                let field = "name".to_owned();
                (index, SinkError { field, problem })
            };
            let first = requests
                .iter()
                .position(|other| other.kind == request.kind && other.name.is_none());
            if scope == Scope::Global && request.name.is_none() && first != Some(index) {
                // A numbered name would change its sink when an earlier sink is removed from the configuration.
                let kind = request.kind.name();
                let problem = format!("is missing, and another {kind} sink has none; give each its own");
                return Err(name_error(problem));
            }
            let name = match &request.name {
                Some(name) => check_name(name).map_err(name_error)?,
                None => free_name(request.kind.name(), |name| given.contains(name) || taken.contains(name)),
            };
            if !taken.insert(name.clone()) {
                let problem = format!("{name:?} is that of another sink; give each its own");
                return Err(name_error(problem));
            }
            let kind = kinds::of(request).map_err(|error| (index, error))?.into();
            sinks.push(Self {
                name,
                scope,
                kind,
                request: request.clone(),
            });
        }
        Ok(sinks)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its kind.
    pub fn kind(&self) -> SinkKind {
        self.request.kind
    }

    /// Scheme, host and port of its backend.
    pub fn destination(&self) -> String {
        origin(&self.kind.endpoint().url)
    }

    /// Values that must never be shown.
    pub fn secrets(&self) -> Vec<&str> {
        self.kind.endpoint().secrets.iter().map(String::as_str).collect()
    }

    /// Masks a text from its backend, also if masking is off for the session. The text may end within a secret.
    pub(crate) fn mask(&self, text: String, session: Option<&Masker>) -> String {
        let mut secrets = Secrets::default();
        for secret in self.secrets() {
            secrets.add(secret);
        }
        let own = Masker::new(&secrets);
        [own.as_ref(), session]
            .into_iter()
            .flatten()
            .fold(text, |text, masker| {
                let shown = masker.chunk(&[], false, text.as_bytes(), End::Open).bytes;
                String::from_utf8_lossy(&shown).into_owned()
            })
    }

    /// The name of its cursor's file. It is unique, because names have no dot.
    pub(crate) fn file(&self) -> String {
        match self.scope {
            Scope::Session => self.name.clone(),
            Scope::Global => format!("global.{}", self.name),
        }
    }
}

fn check_name(name: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(name.to_owned());
    }
    let shown: String = name.chars().take(100).collect();
    Err(format!(
        "{shown:?} cannot be one: use 1 to {MAX_NAME} of A-Z a-z 0-9 _ -"
    ))
}

/// The kind's name, with a number if necessary.
fn free_name(kind: &str, taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2_u32..).map(|number| format!("{kind}-{number}"));
    let mut names = std::iter::once(kind.to_owned()).chain(numbered);
    names.find(|name| !taken(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(name: Option<&str>) -> SinkRequest {
        SinkRequest {
            name: name.map(str::to_owned),
            url: Some("http://127.0.0.1:1/".to_owned()),
            ..SinkRequest::default()
        }
    }

    #[test]
    fn unnamed_sinks_are_numbered() {
        let requests = [http(None), http(Some("http-2")), http(None)];
        let sinks = Sink::all(&requests, Scope::Session).unwrap();
        let names: Vec<&str> = sinks.iter().map(|sink| sink.name.as_str()).collect();
        assert_eq!(names, ["http", "http-2", "http-3"]);
    }

    #[test]
    fn configured_sinks_of_a_kind_need_names() {
        let (index, error) = Sink::all(&[http(None), http(None)], Scope::Global).unwrap_err();
        assert_eq!((index, error.field.as_str()), (1, "name"));
        let sinks = Sink::all(&[http(None), http(Some("other"))], Scope::Global).unwrap();
        assert_eq!(sinks[0].file(), "global.http");
    }

    #[test]
    fn invalid_and_duplicate_names_are_refused() {
        let refused = |requests: &[SinkRequest]| {
            Sink::all(requests, Scope::Session).map_err(|(index, error)| (index, error.field))
        };
        assert_eq!(
            refused(&[http(Some("a")), http(Some("a"))]).unwrap_err(),
            (1, "name".to_owned())
        );
        for name in ["", "a.b", "../x", "a/b", &"x".repeat(65)] {
            assert_eq!(refused(&[http(Some(name))]).unwrap_err(), (0, "name".to_owned()));
        }
    }
}
