//! goose, by its documentation alone: `goose run`, and `goose acp` to be talked with.
//!
//! Options: <https://block.github.io/goose/docs/guides/goose-cli-commands>, `-i -` reads standard input:
//! <https://block.github.io/goose/docs/guides/running-tasks>, variables:
//! <https://block.github.io/goose/docs/guides/environment-variables>, ACP:
//! <https://block.github.io/goose/docs/guides/acp-clients>. Provider, model and keys come from its own
//! configuration or from `GOOSE_PROVIDER`, `GOOSE_MODEL` and the provider's variable.

use super::formats::GOOSE_STREAM_JSON;
use super::known::{Capabilities, Evidence, Known, acp_conversation, no_native};
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
        // Its stream does not name the session, so nothing would tell a resumed one from a new one. Over ACP it resumes.
        resume: false,
        interrupt: true,
        permissions: true,
        mcp: false,
        model: true,
        // `--system` adds to its own.
        system_prompt: false,
        max_turns: true,
        allowed_tools: false,
    },
    format: &GOOSE_STREAM_JSON,
    launch,
    conversation: Some(acp_conversation(converse)),
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

/// The command has no options for model and turns, so that the documented variables say them. Mode "approve" asks before
/// every tool.
fn converse(request: &TurnRequest<'_>) -> Launch {
    let mut args = words(["acp"]);
    args.extend_from_slice(request.args);
    let mut env = vars([("GOOSE_MODE", "approve")]);
    env.extend(request.model.map(|model| ("GOOSE_MODEL".to_owned(), model.to_owned())));
    env.extend(
        request
            .max_turns
            .map(|turns| ("GOOSE_MAX_TURNS".to_owned(), turns.to_string())),
    );
    Launch {
        args,
        env,
        stdin: Stdin::Conversation,
        ..Launch::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::plain;
    use super::*;
    use crate::find;
    use promptd_model::PermissionMode;

    #[test]
    fn one_that_asks_is_talked_with() {
        let args = ["--with-builtin".to_owned(), "developer".to_owned()];
        let request = TurnRequest {
            permission: PermissionMode::Ask,
            model: Some("m"),
            max_turns: Some(7),
            args: &args,
            ..plain()
        };
        let goose = super::super::Agent::Known(find("goose").unwrap());
        let launch = goose.launch(&request).unwrap();
        assert_eq!(launch.args, ["acp", "--with-builtin", "developer"]);
        let env = [
            ("GOOSE_MODE", "approve"),
            ("GOOSE_MODEL", "m"),
            ("GOOSE_MAX_TURNS", "7"),
        ];
        assert_eq!((launch.env, launch.stdin), (vars(env), Stdin::Conversation));
        assert!(goose.driver(&request).is_some());
        assert_eq!(goose.format(PermissionMode::Ask).name, "acp");
    }
}
