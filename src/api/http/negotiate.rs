//! What a caller wants back: one JSON document, or an event stream.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use crate::api::stream::framer::Wire;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Stream(Wire),
}

/// The form that `Accept` asks for by name; the best by `q`, then the first. `None` when it names none of ours.
pub(crate) fn form(headers: &HeaderMap) -> Option<Form> {
    let lists = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let named = lists.flat_map(|list| list.split(',')).filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let form = match parts.next()?.to_ascii_lowercase().as_str() {
            "application/json" => Form::Json,
            "text/event-stream" => Form::Stream(Wire::Sse),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Form::Stream(Wire::Ndjson),
            _ => return None,
        };
        let quality = parts
            .find_map(|part| part.strip_prefix("q=")?.trim().parse::<f32>().ok())
            .unwrap_or(1.0);
        (quality > 0.0).then_some((form, quality))
    });
    let best = named.reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map(|(form, _)| form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(accept: &str) -> Option<Form> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        form(&headers)
    }

    #[test]
    fn the_best_named_form_wins() {
        assert_eq!(ask("text/event-stream"), Some(Form::Stream(Wire::Sse)));
        assert_eq!(
            ask("application/json;q=0.5, application/x-ndjson"),
            Some(Form::Stream(Wire::Ndjson))
        );
        assert_eq!(ask("application/json, text/event-stream"), Some(Form::Json));
        assert_eq!(ask("text/event-stream;q=0, application/json"), Some(Form::Json));
        assert_eq!(ask("*/*"), None);
        assert_eq!(form(&HeaderMap::new()), None);
    }
}
