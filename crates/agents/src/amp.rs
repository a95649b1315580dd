//! Amp, by its documentation: `amp --execute --stream-json`. It needs a server of its own and cannot be run by the tests.
//!
//! From <https://ampcode.com/news/streaming-json> and <https://ampcode.com/manual/appendix>: the stream is compatible
//! with Claude Code's, with whole messages and the prompt's echo; the prompt may come by standard input; and
//! `amp threads continue ID` goes on with a thread, whose id is the stream's `session_id`. Its models are chosen by its
//! own modes, in `args`.

use super::formats::CLAUDE_STREAM_JSON;
use super::known::{Capabilities, Evidence, Known, no_native};
use super::{Launch, TurnRequest, words};

pub(super) static AMP: Known = Known {
    name: "amp",
    programs: &["amp"],
    // The installed program is the native binary itself.
    native: no_native,
    install: "npm install -g @sourcegraph/amp",
    prompt_limit: None,
    chooses_session_id: false,
    evidence: Evidence::Documented,
    // Seen with 0.0.1790142911: without it, `amp -x` prints a login URL and waits for ever.
    required_env: &["AMP_API_KEY"],
    capabilities: Capabilities {
        resume: true,
        interrupt: true,
        permissions: false,
        mcp: false,
        model: false,
        system_prompt: false,
        max_turns: false,
        allowed_tools: false,
    },
    format: &CLAUDE_STREAM_JSON,
    launch,
    conversation: None,
};

fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut args = Vec::new();
    if let (false, Some(thread)) = (request.first_turn, request.agent_session_id) {
        args.extend(words(["threads", "continue", thread]));
    }
    args.extend(words(["--execute", "--stream-json", "--dangerously-allow-all"]));
    request.prompted(args)
}

#[cfg(test)]
mod tests {
    use super::super::Stdin;
    use super::super::tests::{final_event, launch, observe, plain};
    use super::*;

    /// From <https://ampcode.com/news/streaming-json>.
    const STREAM: &str = include_str!("../../../tests/agents/documented/amp-plain.ndjson");

    #[test]
    fn a_first_turn_reads_the_prompt_and_a_follow_up_goes_on_with_the_thread() {
        let (line, first) = launch("amp", &plain());
        assert_eq!(line, "--execute --stream-json --dangerously-allow-all");
        assert_eq!(first.stdin, Stdin::Prompt);
        let args = ["--mode".to_owned(), "rush".to_owned()];
        let request = TurnRequest {
            first_turn: false,
            agent_session_id: Some("T-1"),
            args: &args,
            ..plain()
        };
        let (line, _) = launch("amp", &request);
        assert_eq!(
            line,
            "threads continue T-1 --execute --stream-json --dangerously-allow-all --mode rush"
        );
    }

    #[test]
    fn its_stream_is_read_as_claudes() {
        let seen = observe("amp", STREAM);
        assert_eq!(
            seen.agent_session_id.as_deref(),
            Some("T-2775dc92-90ed-4f85-8b73-8f9766029e83")
        );
        let event = final_event("amp", STREAM);
        assert_eq!(
            (event.outcome, event.result.as_deref()),
            (Ok(()), Some("2 + 2 equals 4."))
        );
    }
}
