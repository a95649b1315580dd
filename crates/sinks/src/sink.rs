//! A sink: a request for one, checked and named.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::gate;
use super::kinds::{self, Kind, SinkError};
use promptd_mask::{Masker, Secrets};
use promptd_model::{SinkKind, SinkRequest};

/// The longest name.
const MAX_NAME: usize = 64;

/// Whose sink it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One session's.
    Session,
    /// Every session's, from the configuration.
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
    pub(super) name: String,
    pub(super) scope: Scope,
    pub(super) of: SinkKind,
    pub(super) kind: Arc<dyn Kind>,
    /// As it was asked for.
    pub(super) request: SinkRequest,
}

impl Sink {
    /// Checks requests; each sink gets a name that no other of them has. The error comes with the place of the
    /// request that it is about.
    pub fn all(requests: &[SinkRequest], scope: Scope) -> Result<Vec<Self>, (usize, SinkError)> {
        let given: BTreeSet<&str> = requests.iter().filter_map(|request| request.name.as_deref()).collect();
        let mut taken = BTreeSet::new();
        let mut sinks = Vec::new();
        for (place, request) in requests.iter().enumerate() {
            let first = requests
                .iter()
                .position(|other| other.kind == request.kind && other.name.is_none());
            if scope == Scope::Global && request.name.is_none() && first != Some(place) {
                // A number would be another sink's when one before it is taken out of the configuration.
                let problem = format!(
                    "is missing, and another {} sink has none; give each its own",
                    request.kind.name()
                );
                let field = "name".to_owned();
                return Err((place, SinkError { field, problem }));
            }
            let name = match &request.name {
                Some(name) => checked(name).map_err(|error| (place, error))?.to_owned(),
                None => free(request.kind.name(), |name| given.contains(name) || taken.contains(name)),
            };
            if !taken.insert(name.clone()) {
                let problem = format!("{name:?} is that of another sink; give each its own");
                let field = "name".to_owned();
                return Err((place, SinkError { field, problem }));
            }
            let kind = kinds::of(request).map_err(|error| (place, error))?.into();
            sinks.push(Self {
                name,
                scope,
                of: request.kind,
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
        self.of
    }

    /// Scheme, host and port of its backend.
    pub fn destination(&self) -> String {
        gate::origin(self.kind.url())
    }

    /// Values that must never be seen.
    pub fn secrets(&self) -> Vec<&str> {
        self.kind.secrets()
    }

    /// A text that comes from its backend, as it may be shown: also where a session's own masking is off.
    ///
    /// It may have been cut off in the middle of one.
    pub(super) fn without_secrets(&self, text: String, session: Option<&Masker>) -> String {
        let mut secrets = Secrets::default();
        for secret in self.secrets() {
            secrets.add(secret);
        }
        let own = Masker::new(&secrets);
        [own.as_ref(), session]
            .into_iter()
            .flatten()
            .fold(text, |text, masker| {
                let shown = masker.chunk(&[], false, text.as_bytes(), false).bytes;
                String::from_utf8_lossy(&shown).into_owned()
            })
    }

    /// The name of its cursor's file, which no other sink of a session has: a session's own names have no dot.
    pub(super) fn file(&self) -> String {
        match self.scope {
            Scope::Session => self.name.clone(),
            Scope::Global => format!("global.{}", self.name),
        }
    }
}

fn checked(name: &str) -> Result<&str, SinkError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(name);
    }
    let shown: String = name.chars().take(100).collect();
    Err(SinkError {
        field: "name".to_owned(),
        problem: format!("{shown:?} cannot be one: use 1 to {MAX_NAME} of A-Z a-z 0-9 _ -"),
    })
}

/// The kind's name, or with a number behind it.
fn free(kind: &str, taken: impl Fn(&str) -> bool) -> String {
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
    fn sinks_without_a_name_get_their_kinds_and_a_number() {
        let requests = [http(None), http(Some("http-2")), http(None)];
        let sinks = Sink::all(&requests, Scope::Session).unwrap();
        let names: Vec<&str> = sinks.iter().map(|sink| sink.name.as_str()).collect();
        assert_eq!(names, ["http", "http-2", "http-3"]);
    }

    #[test]
    fn of_the_configuration_only_one_of_a_kind_may_be_without_a_name() {
        let (place, error) = Sink::all(&[http(None), http(None)], Scope::Global).unwrap_err();
        assert_eq!((place, error.field.as_str()), (1, "name"));
        let sinks = Sink::all(&[http(None), http(Some("other"))], Scope::Global).unwrap();
        assert_eq!(sinks[0].file(), "global.http");
    }

    #[test]
    fn a_name_that_is_taken_or_no_file_name_is_refused() {
        let place = |requests: &[SinkRequest]| {
            Sink::all(requests, Scope::Session).map_err(|(place, error)| (place, error.field))
        };
        assert_eq!(
            place(&[http(Some("a")), http(Some("a"))]).unwrap_err(),
            (1, "name".to_owned())
        );
        for name in ["", "a.b", "../x", "a/b", &"x".repeat(65)] {
            assert_eq!(place(&[http(Some(name))]).unwrap_err(), (0, "name".to_owned()));
        }
    }
}
