//! Cursor's agent, by its documentation: `cursor-agent -p --output-format stream-json`. No registry has it.
//!
//! From <https://cursor.com/docs/cli/reference/parameters> and <https://cursor.com/docs/cli/reference/output-format>:
//! the prompt may come by standard input; `--force` allows what is not denied by its own configuration; `--trust` trusts
//! the folder without asking; `--resume` takes the stream's `session_id`. A failure is told on stderr alone, with an
//! exit code. Without `--stream-partial-output` each message is written once; with it, texts come in several forms that
//! repeat one another (<https://forum.cursor.com/t/156289>), so we leave it out.

use super::formats::CLAUDE_STREAM_JSON;
use super::known::{Capabilities, Evidence, Known, no_native};
use super::{Launch, TurnRequest, words};

pub(super) static CURSOR: Known = Known {
    name: "cursor",
    // Newer installers call it `agent`, which is too common a name to take on trust; the old one stays as an alias.
    programs: &["cursor-agent"],
    native: no_native,
    install: "curl https://cursor.com/install -fsS | bash",
    prompt_limit: None,
    chooses_session_id: false,
    evidence: Evidence::Documented,
    // Without a key or a login it says so and exits.
    required_env: &[],
    capabilities: Capabilities {
        resume: true,
        interrupt: true,
        permissions: false,
        mcp: false,
        model: true,
        system_prompt: false,
        max_turns: false,
        allowed_tools: false,
    },
    format: &CLAUDE_STREAM_JSON,
    launch,
    conversation: None,
};

fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut args = words(["-p", "--output-format", "stream-json", "--force", "--trust"]);
    if let (false, Some(id)) = (request.first_turn, request.agent_session_id) {
        args.extend(words(["--resume", id]));
    }
    if let Some(model) = request.model {
        args.extend(words(["--model", model]));
    }
    request.prompted(args)
}

#[cfg(test)]
mod tests {
    use super::super::Stdin;
    use super::super::tests::{launch, observe, plain};
    use super::*;
    use promptd_model::{Cause, Stream};

    /// After <https://cursor.com/docs/cli/reference/output-format>.
    const STREAM: &str = include_str!("../../../tests/agents/documented/cursor-tool.ndjson");

    #[test]
    fn a_follow_up_turn_resumes_with_the_model_and_the_callers_arguments_last() {
        let (line, first) = launch("cursor", &plain());
        assert_eq!(line, "-p --output-format stream-json --force --trust");
        assert_eq!(first.stdin, Stdin::Prompt);
        let args = ["--approve-mcps".to_owned()];
        let request = TurnRequest {
            first_turn: false,
            agent_session_id: Some("abc"),
            model: Some("auto"),
            args: &args,
            ..plain()
        };
        let (line, _) = launch("cursor", &request);
        assert_eq!(
            line,
            "-p --output-format stream-json --force --trust --resume abc --model auto --approve-mcps"
        );
    }

    #[test]
    fn its_stream_is_read_as_claudes_and_a_failure_by_its_words() {
        let seen = observe("cursor", STREAM);
        assert_eq!(
            seen.agent_session_id.as_deref(),
            Some("c6b62c6f-7ead-4fd6-9922-e952131177ff")
        );
        let event = seen.final_event.unwrap();
        assert_eq!(event.outcome, Ok(()));
        assert!(event.result.unwrap().starts_with("I'll read"));

        let mut observer = super::super::tests::agent("cursor")
            .observer(promptd_model::PermissionMode::Bypass)
            .unwrap();
        let line = b"Error: Authentication required. Please run 'agent login' first, or set CURSOR_API_KEY.";
        observer.line(Stream::Stderr, line);
        let failure = observer.observation().failure.clone();
        assert_eq!(failure.map(|(cause, _)| cause), Some(Cause::Auth));
    }
}
