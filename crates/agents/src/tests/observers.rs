//! What all observers share: limits and the failure on stderr.

use crate::output::observer::{TEXT_LIMIT, keep_stderr, push_text};
use promptd_model::{Cause, Observation};

#[test]
fn a_long_answer_is_cut_between_characters() {
    let mut text = "x".to_owned();
    push_text(&mut text, &"é".repeat(TEXT_LIMIT));
    assert_eq!(text.len(), TEXT_LIMIT - 1);
    push_text(&mut text, "ab");
    assert!(text.ends_with("éa"));
    push_text(&mut text, "c");
    assert!(text.ends_with("éa"));
}

#[test]
fn a_line_on_stderr_with_a_known_cause_is_preferred() {
    let mut seen = Observation::default();
    keep_stderr(&mut seen, b"just chatting");
    assert_eq!(seen.failure, None);
    keep_stderr(&mut seen, b"Error: it broke");
    keep_stderr(&mut seen, b"Error: it broke further");
    assert_eq!(seen.failure, Some((Cause::AgentError, "Error: it broke".to_owned())));
    keep_stderr(&mut seen, b"status 429");
    assert_eq!(seen.failure, Some((Cause::Quota, "status 429".to_owned())));
}
