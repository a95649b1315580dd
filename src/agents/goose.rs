//! goose, by its documentation alone: `goose run`.
//!
//! Options: <https://block.github.io/goose/docs/guides/goose-cli-commands>, `-i -` reads standard input:
//! <https://block.github.io/goose/docs/guides/running-tasks>, variables:
//! <https://block.github.io/goose/docs/guides/environment-variables>. Provider, model and keys come from its own
//! configuration or from `GOOSE_PROVIDER`, `GOOSE_MODEL` and the provider's variable.

use super::formats::GOOSE_STREAM_JSON;
use super::known::{Capabilities, Evidence, Known, no_native};
use super::{Launch, Stdin, TurnRequest, vars, words};

pub(super) static GOOSE: Known = Known {
    name: "goose",
    programs: &["goose"],
    native: no_native,
    install: "curl -fsSL https://github.com/block/goose/releases/download/stable/download_cli.sh | CONFIGURE=false bash",
    prompt_limit: None,
    chooses_session_id: false,
    evidence: Evidence::Documented,
    required_env: &[],
    capabilities: Capabilities {
        // Its stream does not name the session, so nothing would tell a resumed one from a new one.
        resume: false,
        interrupt: true,
        permissions: false,
        mcp: false,
        model: true,
        // `--system` adds to its own.
        system_prompt: false,
        max_turns: true,
        allowed_tools: false,
    },
    format: &GOOSE_STREAM_JSON,
    launch,
    conversation: None,
};

fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut args = words(["run", "--no-session", "--output-format", "stream-json"]);
    if let Some(model) = request.model {
        args.extend(words(["--model", model]));
    }
    if let Some(turns) = request.max_turns {
        args.extend(words(["--max-turns", &turns.to_string()]));
    }
    args.extend_from_slice(request.args);
    args.extend(words(["-i", "-"]));
    Launch {
        args,
        // Nobody is there to approve.
        env: vars([("GOOSE_MODE", "auto")]),
        stdin: Stdin::Prompt,
        ..Launch::default()
    }
}
