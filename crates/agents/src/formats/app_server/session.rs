//! What the app server says about the session and its requests, besides the conversation.

use serde_json::Value;

use crate::output::session::{self, Retry};
use crate::output::tools::tool::{checked_str_at, str_at};
use crate::output::update::Update;

/// The thread has begun, or is resumed.
pub(super) fn begin(thread: &Value, model: &mut String) -> Option<Vec<Update>> {
    let name = thread
        .get("thread")
        .map(|thread| str_at(thread, "name"))
        .unwrap_or_default();
    let new = checked_str_at(thread, "model")?;
    new.clone_into(model);
    Some(session::model(new).into_iter().chain(session::title(name)).collect())
}

/// The updates of a notification; `None` if it has none.
pub(super) fn notification(method: &str, params: &Value, model: &mut String) -> Option<Vec<Update>> {
    let text = |key: &str| str_at(params, key);
    let update = match method {
        "thread/name/updated" => session::title(
            [text("threadName"), text("name")]
                .into_iter()
                .find(|name| !name.is_empty())?,
        ),
        "model/rerouted" => {
            let new = [text("toModel"), text("model")]
                .into_iter()
                .find(|model| !model.is_empty())?;
            new.clone_into(model);
            session::model(new)
        }
        "deprecationNotice" | "configWarning" => {
            let both = format!("{}\n{}", text("summary"), text("details"));
            session::warning(&both)
        }
        "warning" | "guardianWarning" => session::warning(text("message")),
        _ => return None,
    };
    Some(vec![update?])
}

/// A request that codex makes again.
pub(super) fn retry(error: &Value) -> Update {
    let message = str_at(error, "message");
    let info = error.get("codexErrorInfo").and_then(Value::as_object);
    let status = info.into_iter().flat_map(|kinds| kinds.values());
    let status = status.into_iter().find_map(|kind| kind.get("httpStatusCode")?.as_u64());
    let numbers = message.rsplit(' ').find_map(|word| word.split_once('/'));
    let number = |text: &str| text.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok();
    let details = str_at(error, "additionalDetails");
    Retry {
        attempt: numbers.and_then(|(attempt, _)| number(attempt)),
        max_attempts: numbers.and_then(|(_, max)| number(max)),
        status: status.and_then(|status| u16::try_from(status).ok()),
        error: if details.is_empty() { message } else { details },
        ..Retry::default()
    }
    .update()
}
