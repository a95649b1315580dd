//! JSON bodies in: content type, size and every mistake in the text get an answer that says what would be right.

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::{Map, Value};

use crate::api::http::body;
use crate::api::http::body::json_text;
use crate::api::http::problem::Problem;
use crate::api::state::SharedState;
use promptd_agents::repair_json;
use promptd_model::nearest;

/// A JSON body.
pub(crate) struct Json<T>(pub(crate) T);

/// A JSON body that may be left out.
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<SharedState> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &SharedState) -> Result<Self, Problem> {
        let content_type = content_type(&request);
        let body = body::read(request, api.body_limit(), &api.body_memory).await?;
        check_content_type(content_type.as_deref())?;
        parse(&body).map(Self)
    }
}

impl<T: DeserializeOwned + Default> FromRequest<SharedState> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &SharedState) -> Result<Self, Problem> {
        let content_type = content_type(&request);
        let body = body::read(request, api.body_limit(), &api.body_memory).await?;
        if body.is_empty() {
            return Ok(Self(T::default()));
        }
        check_content_type(content_type.as_deref())?;
        parse(&body).map(Self)
    }
}

fn content_type(request: &Request) -> Option<String> {
    request
        .headers()
        .get(CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn check_content_type(given: Option<&str>) -> Result<(), Problem> {
    let essence = given
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    let given = given.map_or_else(|| "missing".to_owned(), |given| format!("{given:?}"));
    let detail = format!("the Content-Type is {given}; send application/json");
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "wrong_content_type",
        detail,
    ))
}

/// Parses a whole text: an object, as all that callers send is.
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    // The library takes a list for an object's values in their order, however they are named.
    if text.trim_ascii_start().starts_with(b"[") {
        let detail = "the body is a list; send an object with names and values";
        return Err(Problem::bad_request("invalid_field", detail));
    }
    // JavaScript cuts texts in the middle of a character.
    let repaired = std::str::from_utf8(text).ok().map(repair_json);
    let text = repaired.as_deref().map_or(text, str::as_bytes);
    json_text::check(text)?;
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        explain(&path, error.inner())
    })?;
    json.end().map_err(|error| explain(".", &error))?;
    Ok(value)
}

/// Parses a message: an object whose `type` says what the other members are. `T` is an enum without a tag of its own: what the
/// library does for tags loses which member is wrong.
pub(crate) fn parse_message<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    let mut members: Map<String, Value> = parse(text)?;
    let wrong = |detail| Problem::bad_request("invalid_field", detail).with("field", "type");
    let kind = match members.remove("type") {
        Some(Value::String(kind)) => kind,
        Some(_) => return Err(wrong("type is no text; name the kind of message")),
        None => return Err(wrong("type is missing; name the kind of message")),
    };
    let message = Value::Object(Map::from_iter([(kind.clone(), Value::Object(members))]));
    serde_path_to_error::deserialize(message).map_err(|error| {
        let path = error.path().to_string();
        let member = path.strip_prefix(&kind).unwrap_or_default().trim_start_matches('.');
        let is_kind = member.is_empty() && error.inner().to_string().starts_with("unknown variant");
        explain(if is_kind { "type" } else { member }, error.inner())
    })
}

fn explain(path: &str, error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    // serde_json repeats the position at the end of its text.
    let what = text
        .strip_suffix(&format!(" at line {line} column {column}"))
        .unwrap_or(&text);
    match error.classify() {
        Category::Data => wrong_data(path, what),
        Category::Syntax | Category::Eof | Category::Io => {
            let detail = format!("the body is not JSON: {what} at line {line}, column {column}");
            Problem::bad_request("malformed_json", detail)
                .with("line", line)
                .with("column", column)
        }
    }
}

/// How the path of a block's member begins.
const BLOCK: &str = "prompt[";

fn wrong_data(path: &str, what: &str) -> Problem {
    if let Some(rest) = what.strip_prefix("unknown field ") {
        let mut names = rest.split('`').skip(1).step_by(2);
        let field = names.next().unwrap_or_default();
        // Which of several blocks it is in, the name alone does not say.
        let place = if path.starts_with(BLOCK) { path } else { field };
        return unknown_field(field, place, &names.collect::<Vec<_>>());
    }
    let missing = what.strip_prefix("missing field `").filter(|_| path.starts_with(BLOCK));
    if let Some(member) = missing.and_then(|rest| rest.split('`').next()) {
        let field = format!("{path}.{member}");
        return Problem::bad_request("invalid_field", format!("{field} is missing")).with("field", field);
    }
    let field = path.trim_start_matches('.');
    if field.is_empty() || field == "?" {
        return Problem::bad_request("invalid_field", format!("the body is not what this call takes: {what}"));
    }
    // The library quotes what it found, and in there that can be a key.
    let what = if field == "env" || field.starts_with("env.") {
        "it must be an object of names and texts, such as {\"NAME\":\"value\"}"
    } else if field == "mcp_servers" || field.starts_with("mcp_servers.") {
        "a server is an object such as {\"command\":\"npx\",\"args\":[\"-y\",\"package\"],\"env\":{}} or \
         {\"type\":\"http\",\"url\":\"https://…\",\"headers\":{}}"
    } else if field == "repo" || field.starts_with("repo.") {
        "it must be an object of texts, such as {\"url\":\"https://github.com/owner/name\"}"
    } else if field == "anthropicApiKey" {
        "it must be a text"
    } else if field == "mcpServers" || field.starts_with("mcpServers.") {
        "it must be an object of servers, such as {\"name\":{\"type\":\"http\",\"url\":\"https://…\"}}"
    } else {
        what
    };
    Problem::bad_request("invalid_field", format!("{field}: {what}")).with("field", field)
}

fn unknown_field(field: &str, place: &str, known: &[&str]) -> Problem {
    let nearest = nearest(field, known.iter().copied());
    let hint = nearest.map_or_else(
        || format!("known fields: {}", known.join(", ")),
        |nearest| format!("did you mean {nearest:?}?"),
    );
    Problem::bad_request("unknown_field", format!("there is no field {field:?}; {hint}"))
        .with("field", place)
        .with("nearest", nearest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use promptd_model::SessionRequest;

    fn refusal(text: &str) -> (&'static str, String) {
        let problem = parse::<SessionRequest>(text.as_bytes()).unwrap_err();
        (problem.code(), problem.detail().to_owned())
    }

    #[test]
    fn a_list_is_no_object_whose_names_were_left_out() {
        for list in ["[]", r#" ["shell","touch made"]"#] {
            let (code, detail) = refusal(list);
            assert_eq!((code, detail.contains("an object")), ("invalid_field", true));
        }
    }

    #[test]
    fn half_a_character_is_a_sign_for_one_that_is_unknown() {
        let request: SessionRequest = parse(br#"{"prompt":"cut \ud83d here","env":{"A":"\ude00"}}"#).unwrap();
        assert_eq!(request.prompt.unwrap().text(), "cut \u{fffd} here");
        assert_eq!(request.env["A"], "\u{fffd}");
    }

    #[test]
    fn a_typo_is_answered_with_the_field_that_was_meant() {
        assert_eq!(
            refusal(r#"{"promt":"hi"}"#),
            (
                "unknown_field",
                r#"there is no field "promt"; did you mean "prompt"?"#.to_owned()
            )
        );
        let (code, detail) = refusal(r#"{"retry":{"max":1,"dealy":3}}"#);
        assert_eq!((code, detail.contains("\"delay\"")), ("unknown_field", true));
    }

    #[test]
    fn a_wrong_server_of_tools_names_its_field_and_repeats_no_value() {
        let (code, detail) = refusal(r#"{"mcp_servers":{"docs":{"comand":"x"}}}"#);
        assert_eq!((code, detail.contains("\"command\"")), ("unknown_field", true));
        let (code, detail) = refusal(r#"{"mcp_servers":{"docs":{"url":"http://x","headers":{"A":["s3cret"]}}}}"#);
        assert_eq!(code, "invalid_field");
        assert!(detail.starts_with("mcp_servers.docs.headers.A"), "{detail}");
        let (_, detail) = refusal(r#"{"mcp_servers":{"docs":{"command":"x","env":"s3cret"}}}"#);
        assert!(
            detail.starts_with("mcp_servers.docs.env") && !detail.contains("s3cret"),
            "{detail}"
        );
    }

    #[test]
    fn malformed_json_is_located() {
        let (code, detail) = refusal("{\"prompt\":\"hi\",\n  oops}");
        assert_eq!(code, "malformed_json");
        assert!(detail.ends_with("at line 2, column 3"), "{detail}");
        assert_eq!(refusal("{} {}").0, "malformed_json");
        assert_eq!(refusal("").0, "malformed_json");
    }

    #[test]
    fn a_wrong_value_names_its_field() {
        let (code, detail) = refusal(r#"{"timeout":"soon"}"#);
        assert_eq!(code, "invalid_field");
        assert!(detail.starts_with("timeout: invalid type"), "{detail}");
        assert!(refusal(r#"{"retry":{"max":-1}}"#).1.starts_with("retry.max: "));
        assert!(
            refusal(r#"{"id":"../x"}"#)
                .1
                .starts_with("id: \"../x\" is not a session id")
        );
        assert_eq!(refusal("[1]").0, "invalid_field");
    }

    #[test]
    fn a_wrong_environment_is_not_quoted() {
        for text in [
            r#"{"env":"s3cret"}"#,
            r#"{"env":["s3cret"]}"#,
            r#"{"env":{"KEY":4711}}"#,
            r#"{"repo":"https://s3cret@host/x"}"#,
            r#"{"repo":{"url":["https://s3cret@host/x"]}}"#,
        ] {
            let (code, detail) = refusal(text);
            assert_eq!(code, "invalid_field");
            assert!(
                (detail.starts_with("env") || detail.starts_with("repo"))
                    && !detail.contains("s3cret")
                    && !detail.contains("4711"),
                "{detail}"
            );
        }
    }

    #[test]
    fn wrong_member_of_a_message_is_named() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(rename_all = "snake_case", deny_unknown_fields)]
        enum Message {
            Stop { grace: Option<f64> },
            Go {},
        }
        let wrong = |text: &str| {
            let problem = parse_message::<Message>(text.as_bytes()).unwrap_err();
            (problem.code(), problem.detail().to_owned())
        };
        let stop = parse_message::<Message>(br#"{"grace":1,"type":"stop"}"#);
        assert!(matches!(stop, Ok(Message::Stop { grace: Some(_) })));
        assert!(matches!(parse_message(br#"{"type":"go"}"#), Ok(Message::Go {})));
        assert!(
            wrong(r#"{"type":"stop","grace":"x"}"#)
                .1
                .starts_with("grace: invalid type")
        );
        assert_eq!(wrong(r#"{"type":"stop","grac":1}"#).0, "unknown_field");
        assert_eq!(wrong(r#"{"type":"go","x":1}"#).0, "unknown_field");
        assert!(
            wrong(r#"{"type":"halt"}"#)
                .1
                .starts_with("type: unknown variant `halt`")
        );
        for text in ["{}", r#"{"type":7}"#] {
            assert!(wrong(text).1.starts_with("type is "), "{text}");
        }
        assert_eq!(wrong("{").0, "malformed_json");
    }

    #[test]
    fn only_json_is_taken_for_json() {
        assert!(check_content_type(Some("application/json; charset=utf-8")).is_ok());
        assert!(check_content_type(Some("application/vnd.x+json")).is_ok());
        for wrong in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
            assert_eq!(check_content_type(wrong).unwrap_err().status().as_u16(), 415);
        }
    }
}
