//! Files that another version of promptd may have written.
//!
//! The version is compared before anything else. Fields that this version does not know are set aside, and come back when
//! the file is written again: a rollback loses nothing.

use std::io;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

/// Fields that this version does not know, and where they were.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct UnknownFields(Vec<(Vec<Step>, Value)>);

/// A step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
}

/// Checks the `version` of a file against the one that this program reads.
///
/// # Errors
/// `Unsupported` where a newer program has written it: it is no damage.
pub(crate) fn check_version(text: &[u8], ours: u32) -> io::Result<()> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_slice(text)?;
    if version == ours {
        return Ok(());
    }
    let message = format!("it has version {version}, and this program reads {ours}");
    let is_newer = version > ours;
    Err(if is_newer {
        io::Error::new(io::ErrorKind::Unsupported, message)
    } else {
        io::Error::other(message)
    })
}

/// Parses a file, and sets aside what this version does not know.
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<(T, UnknownFields)> {
    let mut value: Value = serde_json::from_slice(text)?;
    let mut unknown = UnknownFields::default();
    loop {
        let error = match serde_path_to_error::deserialize(&value) {
            Ok(parsed) => return Ok((parsed, unknown)),
            Err(error) => error,
        };
        let Some(name) = unknown_name(&error.inner().to_string()) else {
            return Err(error.into_inner());
        };
        let mut path: Vec<Step> = error.path().iter().filter_map(step).collect();
        if path.last() != Some(&Step::Name(name.clone())) {
            path.push(Step::Name(name));
        }
        let Some(field) = remove(&mut value, &path) else {
            return Err(error.into_inner());
        };
        unknown.0.push((path, field));
    }
}

/// A parser's error as that of the file: `Unsupported` for a word that only a newer version knows. Words may be added
/// without another `version`.
pub(crate) fn file_error(error: serde_json::Error) -> io::Error {
    // An unknown field is set aside, and no error.
    if error.to_string().starts_with("unknown ") {
        return io::Error::new(io::ErrorKind::Unsupported, error);
    }
    error.into()
}

impl UnknownFields {
    /// Those of a file that this version reads without refusing any: what is missing in what it would write.
    pub(crate) fn missing(read: &Value, written: &Value) -> Self {
        let mut unknown = Self::default();
        unknown.add_missing(read, written, &mut Vec::new());
        unknown
    }

    fn add_missing(&mut self, read: &Value, written: &Value, path: &mut Vec<Step>) {
        let members: Vec<(Step, &Value, Option<&Value>)> = match (read, written) {
            (Value::Object(read), Value::Object(written)) => read
                .iter()
                .map(|(name, value)| (Step::Name(name.clone()), value, written.get(name)))
                .collect(),
            (Value::Array(read), Value::Array(written)) if read.len() == written.len() => (0..)
                .zip(read.iter().zip(written))
                .map(|(index, (value, written))| (Step::Index(index), value, Some(written)))
                .collect(),
            _ => return,
        };
        for (step, value, written) in members {
            path.push(step);
            match written {
                Some(written) => self.add_missing(value, written, path),
                None => self.0.push((path.clone(), value.clone())),
            }
            path.pop();
        }
    }

    /// Those that are not below this member.
    #[must_use]
    pub(crate) fn outside_of(&self, member: &str) -> Self {
        let is_below = |path: &[Step]| matches!(path, [Step::Name(first), _, ..] if first == member);
        let outside = self.0.iter().filter(|(path, _)| !is_below(path));
        Self(outside.cloned().collect())
    }

    /// Puts them back where there is still a place for them.
    pub(crate) fn restore(&self, value: &mut Value) {
        for (path, field) in &self.0 {
            let Some((Step::Name(name), parents)) = path.split_last() else {
                continue;
            };
            if let Some(Value::Object(parent)) = find(value, parents) {
                parent.entry(name.clone()).or_insert_with(|| field.clone());
            }
        }
    }
}

/// The name in the library's error for a field that is not known.
fn unknown_name(error: &str) -> Option<String> {
    let rest = error.strip_prefix("unknown field `")?;
    Some(rest.split('`').next()?.to_owned())
}

fn step(segment: &Segment) -> Option<Step> {
    match segment {
        Segment::Map { key } => Some(Step::Name(key.clone())),
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

fn find<'a>(value: &'a mut Value, path: &[Step]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Name(name) => value.get_mut(name),
        Step::Index(index) => value.get_mut(index),
    })
}

fn remove(value: &mut Value, path: &[Step]) -> Option<Value> {
    let (Step::Name(name), parents) = path.split_last()? else {
        return None;
    };
    find(value, parents)?.as_object_mut()?.remove(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use promptd_model::SessionRequest;
    use serde_json::json;

    #[test]
    fn unknown_fields_at_any_depth_come_back() {
        let written = json!({
            "agent": "claude",
            "budget": { "cost_usd": 1.5 },
            "retry": { "max": 2, "delay": 1.0, "jitter": true },
            "mcp_servers": { "docs": { "command": "docs", "sandbox": ["strict"] } },
            "sinks": [{ "kind": "http", "url": "http://127.0.0.1:9/", "priority": 3 }],
        });
        let (request, unknown) = parse::<SessionRequest>(written.to_string().as_bytes()).unwrap();
        assert_eq!(request.agent.as_deref(), Some("claude"));
        assert_eq!(unknown.0.len(), 4, "{unknown:?}");
        let mut again = serde_json::to_value(&request).unwrap();
        unknown.restore(&mut again);
        for pointer in [
            "/budget/cost_usd",
            "/retry/jitter",
            "/mcp_servers/docs/sandbox/0",
            "/sinks/0/priority",
        ] {
            assert_eq!(again.pointer(pointer), written.pointer(pointer), "{pointer}");
        }
        // A sink that was replaced meanwhile takes its fields with it.
        let mut without = json!({ "sinks": [] });
        unknown.restore(&mut without);
        assert_eq!(without["sinks"], json!([]));
    }

    #[test]
    fn fields_that_are_passed_over_in_silence_come_back() {
        let read = json!({ "config": { "effort": 3, "list": [{ "a": 1, "new": 2 }], "null": null }, "more": [1] });
        let written = json!({ "config": { "list": [{ "a": 1 }], "null": null } });
        let unknown = UnknownFields::missing(&read, &written);
        let mut again = written.clone();
        unknown.restore(&mut again);
        assert_eq!(again, read);
        let mut other = json!({ "config": {} });
        unknown.outside_of("config").restore(&mut other);
        assert_eq!(other, json!({ "config": {}, "more": [1] }));
    }

    #[test]
    fn a_wrong_value_is_still_an_error() {
        assert!(parse::<SessionRequest>(br#"{"agent":7}"#).is_err());
        assert!(parse::<SessionRequest>(b"{").is_err());
    }

    #[test]
    fn the_version_is_compared_before_anything_else() {
        assert!(check_version(br#"{"version":1,"strange":{}}"#, 1).is_ok());
        let newer = check_version(br#"{"version":2,"id":["of","another","shape"]}"#, 1).unwrap_err();
        assert_eq!(newer.kind(), io::ErrorKind::Unsupported);
        for text in [r#"{"version":0}"#, "{}", "", r#"{"version":"2"}"#] {
            assert_ne!(
                check_version(text.as_bytes(), 1).unwrap_err().kind(),
                io::ErrorKind::Unsupported
            );
        }
    }
}
