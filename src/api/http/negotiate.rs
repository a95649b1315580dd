//! Content negotiation: one JSON document, or an event stream.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// The format of an event stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamFormat {
    /// `text/event-stream`.
    Sse,
    /// `application/x-ndjson`.
    Ndjson,
}

impl StreamFormat {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

/// The format of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseFormat {
    Json,
    Stream(StreamFormat),
}

/// The format that `Accept` names: the best by `q`, then the first. `None` when it names none of ours.
pub(crate) fn requested_format(headers: &HeaderMap) -> Option<ResponseFormat> {
    let lists = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let named = lists.flat_map(|list| list.split(',')).filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let format = match parts.next()?.to_ascii_lowercase().as_str() {
            "application/json" => ResponseFormat::Json,
            "text/event-stream" => ResponseFormat::Stream(StreamFormat::Sse),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
                ResponseFormat::Stream(StreamFormat::Ndjson)
            }
            _ => return None,
        };
        let quality = parts
            .find_map(|part| part.strip_prefix("q=")?.trim().parse::<f32>().ok())
            .unwrap_or(1.0);
        (quality > 0.0).then_some((format, quality))
    });
    let best = named.reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map(|(format, _)| format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_named_format_wins() {
        let ask = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            requested_format(&headers)
        };
        let (json, sse) = (ResponseFormat::Json, ResponseFormat::Stream(StreamFormat::Sse));
        let ndjson = ResponseFormat::Stream(StreamFormat::Ndjson);
        assert_eq!(ask("text/event-stream"), Some(sse));
        assert_eq!(ask("application/json;q=0.5, application/x-ndjson"), Some(ndjson));
        assert_eq!(ask("application/json, text/event-stream"), Some(json));
        assert_eq!(ask("text/event-stream;q=0, application/json"), Some(json));
        assert_eq!(ask("*/*"), None);
        assert_eq!(requested_format(&HeaderMap::new()), None);
    }
}
