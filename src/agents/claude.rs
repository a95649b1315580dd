//! Claude Code, as seen with 2.1.329: `claude -p` with its stream of JSON lines.
//!
//! What is not obvious about the stream:
//! - `result` ends a turn, but with a background task running another answer and another `result` follow.
//! - `is_error` decides; `subtype` is `success` even where the API refused the request.
//! - SIGINT gives exit code 0 and a `result` with `terminal_reason` `aborted_…`.
//! - `total_cost_usd` counts over all turns of a session, but leaves out what interrupted turns cost; `usage` leaves out
//!   interrupted answers and subagents. `model_usage_since_last_result` has all of it, for this turn alone.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;

use super::known::{Capabilities, Known, PromptLimit, no_native};
use super::observe::{lenient, limited};
use super::{Launch, Observer, Stdin, TurnRequest, cause, file_path, vars, words};
use crate::model::{Cause, FinalEvent, Observation, StopReason, Stream, Usage};

pub(super) static CLAUDE: Known = Known {
    name: "claude",
    programs: &["claude"],
    // The installed program is the native binary itself.
    native: no_native,
    install: "npm install -g @anthropic-ai/claude-code",
    // "piped stdin input exceeds 10MB", exit code 1.
    prompt_limit: Some(PromptLimit::Bytes(10 << 20)),
    chooses_session_id: true,
    usage_is_cumulative: false,
    capabilities: Capabilities {
        resume: true,
        final_event: true,
        model: true,
        system_prompt: true,
        max_turns: true,
        allowed_tools: true,
    },
    launch,
    observer: Some(|| Box::new(Reader::default())),
};

const SYSTEM_PROMPT: &str = "system-prompt.md";

fn launch(request: &TurnRequest<'_>) -> Launch {
    // Without --verbose it refuses to write stream-json.
    let mut args = words([
        "-p",
        "--output-format",
        "stream-json",
        "--verbose",
        "--include-partial-messages",
    ]);
    let mut env = vars([
        ("DISABLE_AUTOUPDATER", "1"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ]);
    let mut files = Vec::new();
    if request.allowed_tools.is_empty() {
        args.push("--dangerously-skip-permissions".to_owned());
        if request.root {
            // Without it, the switch is refused to root.
            env.extend(vars([("IS_SANDBOX", "1")]));
        }
    } else {
        // Skipping permissions would allow every tool; this mode denies what is not listed, without asking.
        args.push("--allowedTools".to_owned());
        args.extend_from_slice(request.allowed_tools);
        args.extend(words(["--permission-mode", "dontAsk"]));
    }
    if let Some(id) = request.agent_session_id {
        args.extend(words([
            if request.first_turn { "--session-id" } else { "--resume" },
            id,
        ]));
    }
    if let Some(model) = request.model {
        args.extend(words(["--model", model]));
    }
    if let Some(turns) = request.max_turns {
        args.extend(words(["--max-turns", &turns.to_string()]));
    }
    if let Some(text) = request.system_prompt {
        args.extend(words(["--system-prompt-file", &file_path(request, SYSTEM_PROMPT)]));
        files.push((SYSTEM_PROMPT, text.to_owned()));
    }
    args.extend_from_slice(request.args);
    Launch {
        args,
        env,
        stdin: Stdin::Prompt,
        files,
    }
}

#[derive(Default)]
struct Reader {
    seen: Observation,
    /// The sum over all `result`s of this turn.
    usage: Usage,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    subtype: Option<Cow<'a, str>>,
    #[serde(borrow)]
    session_id: Option<Cow<'a, str>>,
    /// Of `system/api_retry`.
    error_status: Option<u16>,
}

#[derive(Deserialize)]
struct ResultLine<'a> {
    #[serde(default)]
    is_error: bool,
    #[serde(borrow)]
    result: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "lenient")]
    errors: Vec<String>,
    #[serde(borrow)]
    stop_reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    terminal_reason: Option<Cow<'a, str>>,
    api_error_status: Option<u16>,
    /// What each model took.
    #[serde(default, deserialize_with = "lenient")]
    model_usage_since_last_result: HashMap<String, ModelUsage>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ModelUsage {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation_input_tokens: u64,
    #[serde(rename = "costUSD")]
    cost_usd: f64,
}

impl Observer for Reader {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        if stream == Stream::Stderr {
            return self.seen.stderr(line);
        }
        let head = serde_json::from_slice::<Head<'_>>(line).ok();
        self.seen.last_line_known = head.is_some();
        let Some(head) = head else { return };
        match (&*head.kind, head.subtype.as_deref()) {
            ("system", Some("init")) => self.seen.agent_session_id = head.session_id.map(Cow::into_owned),
            ("system", Some("api_retry")) => {
                let message = "the model's API is being retried";
                self.seen.failure = Some((cause::tell(head.error_status, message), message.to_owned()));
            }
            ("assistant", _) => self.seen.failure = None,
            ("result", _) => {
                if let Ok(result) = serde_json::from_slice(line) {
                    self.result(&result);
                }
            }
            _ => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl Reader {
    fn result(&mut self, line: &ResultLine<'_>) {
        line.model_usage_since_last_result
            .values()
            .for_each(|model| add(&mut self.usage, model));
        let text = line.result.as_deref().map(limited);
        let (outcome, result, error) = if line.is_error {
            let error = text.unwrap_or_else(|| limited(&line.errors.join("; ")));
            (Err(cause::tell(line.api_error_status, &error)), None, Some(error))
        } else {
            (Ok(()), text, None)
        };
        let stop_reason = stop_reason(line, outcome);
        self.seen.final_event = Some(FinalEvent {
            outcome,
            stop_reason,
            result,
            error,
            usage: self.usage,
        });
    }
}

fn stop_reason(line: &ResultLine<'_>, outcome: Result<(), Cause>) -> Option<StopReason> {
    match line.terminal_reason.as_deref() {
        Some("max_turns") => return Some(StopReason::MaxTurnRequests),
        Some(reason) if reason.starts_with("aborted") => return Some(StopReason::Cancelled),
        _ => {}
    }
    match line.stop_reason.as_deref() {
        Some("max_tokens") => Some(StopReason::MaxTokens),
        Some("refusal") => Some(StopReason::Refusal),
        // The message that stands for an API error claims to have ended regularly too.
        Some("end_turn" | "stop_sequence") if outcome.is_ok() => Some(StopReason::EndTurn),
        _ => None,
    }
}

/// Anthropic counts cached input apart; in [`Usage`] it is a part of the input, as with the other vendors.
fn add(usage: &mut Usage, more: &ModelUsage) {
    let input = [
        more.input_tokens,
        more.cache_read_input_tokens,
        more.cache_creation_input_tokens,
    ];
    let sum = |total: Option<u64>, more: u64| Some(total.unwrap_or(0).saturating_add(more));
    usage.input_tokens = input.into_iter().fold(usage.input_tokens, sum);
    usage.output_tokens = sum(usage.output_tokens, more.output_tokens);
    usage.cached_tokens = sum(usage.cached_tokens, more.cache_read_input_tokens);
    usage.cost_usd = Some(usage.cost_usd.unwrap_or(0.0) + more.cost_usd);
}

#[cfg(test)]
#[path = "claude_tests.rs"]
pub(super) mod tests;
