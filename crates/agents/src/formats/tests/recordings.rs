//! What the observers read in the recorded turns of all agents.

use super::{agents_folder, updates};
use crate::find;
use crate::tests::{final_event, observe};
use promptd_model::{Cause, StopReason, Usage};

const AGENTS: [&str; 8] = [
    "claude", "codex", "gemini", "qwen", "opencode", "copilot", "droid", "pi",
];

fn recording(agent: &str, name: &str) -> String {
    let path = agents_folder().join("recorded").join(format!("{agent}-{name}.ndjson"));
    std::fs::read_to_string(path).expect("a recording")
}

/// The usage of so many answers of the model.
fn usage(agent: &str, answers: u64) -> Usage {
    if agent == "copilot" {
        return Usage::default();
    }
    Usage {
        input_tokens: Some(110 * answers),
        output_tokens: Some(7 * answers),
        cached_tokens: Some(30 * answers),
        cost_usd: (agent == "claude").then_some(0.000_466),
    }
}

#[test]
fn a_plain_turn_has_answer_usage_and_session() {
    for agent in AGENTS {
        let seen = observe(agent, &recording(agent, "plain"));
        assert!(seen.agent_session_id.is_some(), "{agent}");
        let event = seen.final_event.unwrap();
        assert_eq!(event.outcome, Ok(()), "{agent}");
        assert_eq!(event.stop_reason, Some(StopReason::EndTurn), "{agent}");
        assert_eq!(event.result.as_deref(), Some("Answer 1."), "{agent}");
        assert_eq!(event.usage, usage(agent, 1), "{agent}");
    }
}

#[test]
fn a_follow_up_turn_has_the_same_session() {
    for agent in ["codex", "qwen", "opencode", "copilot", "droid", "pi"] {
        let (first, next) = (recording(agent, "plain"), recording(agent, "follow-up"));
        let (first, next) = (observe(agent, &first), observe(agent, &next));
        assert_eq!(next.agent_session_id, first.agent_session_id, "{agent}");
    }
}

#[test]
fn cumulative_usage_is_marked() {
    for agent in ["codex", "qwen", "droid"] {
        let (format, first) = (find(agent).unwrap().format, recording(agent, "plain"));
        assert!(format.usage_is_cumulative, "{agent}");
        let next = final_event(agent, &recording(agent, "follow-up")).usage;
        assert_eq!(next.since(usage(agent, 1)), usage(agent, 1), "{agent}");
        // What the turns before have used is subtracted where it is known: in the view.
        let updates = updates(format, &first);
        let update = updates.iter().find(|update| update["sessionUpdate"] == "usage_update");
        assert_eq!(
            update.unwrap()["_meta"]["usage"],
            serde_json::to_value(usage(agent, 1)).unwrap()
        );
    }
}

#[test]
fn the_answer_is_the_text_after_the_last_tool() {
    for (agent, answer, answers) in [
        ("codex", "Answer 3.", 4),
        ("gemini", "Answer 3.", 2),
        ("opencode", "Answer 1.", 2),
        ("copilot", "Answer 1.", 2),
        ("droid", "Answer 1.", 2),
        ("pi", "Answer 1.", 2),
    ] {
        let event = final_event(agent, &recording(agent, "tool"));
        assert_eq!(event.result.as_deref(), Some(answer), "{agent}");
        assert_eq!(
            event.usage.output_tokens,
            usage(agent, answers).output_tokens,
            "{agent}"
        );
    }
}

#[test]
fn a_refused_request_has_a_cause() {
    for (agent, name, cause, error) in [
        ("claude", "529", Cause::Overloaded, ""),
        ("claude", "no-key", Cause::Auth, ""),
        ("codex", "400", Cause::AgentError, "scripted failure"),
        ("codex", "401", Cause::Auth, ""),
        ("gemini", "401", Cause::Auth, ""),
        ("qwen", "400", Cause::AgentError, "scripted failure"),
        ("qwen", "401", Cause::Auth, "scripted failure"),
        ("qwen", "429", Cause::Quota, "scripted failure"),
        ("opencode", "400", Cause::AgentError, "scripted failure"),
        ("opencode", "401", Cause::Auth, "scripted failure"),
        ("opencode", "429", Cause::Quota, "scripted failure"),
        ("copilot", "400", Cause::AgentError, "400 scripted failure"),
        ("copilot", "401", Cause::Auth, "Authentication failed with provider"),
        (
            "copilot",
            "429",
            Cause::Quota,
            "Failed to get response from the AI model",
        ),
        ("droid", "400", Cause::AgentError, "400 scripted failure"),
        ("droid", "401", Cause::Auth, "401 scripted failure"),
        ("pi", "400", Cause::AgentError, "400 scripted failure"),
        ("pi", "401", Cause::Auth, "401 scripted failure"),
        ("pi", "429", Cause::Quota, "429 scripted failure"),
    ] {
        let event = final_event(agent, &recording(agent, name));
        assert_eq!(event.outcome, Err(cause), "{agent} {name}");
        assert!(event.error.unwrap().contains(error), "{agent} {name}");
    }
}

/// Claude ends an interrupted turn with a `result` of its own.
#[test]
fn an_interrupted_turn_has_no_final_event() {
    // Copilot names its session in its last line, pi's can be resumed after its first answer only.
    for (agent, is_resumable) in [
        ("codex", true),
        ("gemini", true),
        ("qwen", true),
        ("opencode", true),
        ("copilot", false),
        ("droid", true),
        ("pi", false),
    ] {
        let seen = observe(agent, &recording(agent, "interrupt"));
        assert_eq!(seen.final_event, None, "{agent}");
        assert_eq!(seen.agent_session_id.is_some(), is_resumable, "{agent}");
    }
}
