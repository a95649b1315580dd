//! Answers of `application/problem+json`, and what every answer has.

use serde_json::{Value, json};

use super::Server;
use super::http::Answer;

/// What an answer to every request carries, refused or not.
pub fn assert_dressed(answer: &Answer) {
    for header in ["promptd-version", "promptd-epoch", "request-id"] {
        assert!(!answer.header(header).is_empty(), "{header} is missing in {answer:?}");
    }
}

/// RFC 9457, with our code and the request's id.
pub fn assert_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_dressed(answer);
    assert_eq!(answer.body["status"], json!(status));
    assert_eq!(answer.body["type"], json!(format!("urn:promptd:problem:{code}")));
    assert!(!answer.body["title"].as_str().unwrap().is_empty());
    assert!(answer.detail().len() > 20, "a detail says something: {}", answer.body);
    assert_eq!(answer.body["request_id"], answer.header("request-id"));
}

pub async fn refused(server: &Server, method: &str, path: &str, body: Value, (status, code): (u16, &str)) -> Answer {
    let answer = server.ask(method, path, &body).await;
    assert_problem(&answer, status, code);
    answer
}
