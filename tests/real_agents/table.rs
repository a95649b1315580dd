//! The real agent CLIs, from npm, take prompts over HTTP against a scripted model on loopback.
//!
//! One test per agent holds the table of `docs/agents.md` to what the agent does. See [`support::agents_table`].

use std::fmt::Write as _;

use crate::tools;
use serde_json::{Value, json};
use support::agents_table::{CELLS, expected};
use support::lab::Lab;
use support::model;

/// Runs one cell; answers in the words of [`EXPECTED`], or with what came instead. `id` is the session of the first
/// cells.
async fn observed(lab: &Lab, cell: &str, id: &mut String) -> String {
    match cell {
        "answer" => {
            *id = lab.create("hello", Value::Null).await;
            let live = followed(lab, id).await;
            let turn = lab.ended(id).await;
            let output = lab.server.output(id, "stdout").await;
            assert_eq!(support::joined(&live, "stdout"), output);
            // Whether its pieces or the whole.
            assert!(String::from_utf8(output).unwrap().contains("Answer "));
            yes(&turn, "Answer 1.")
        }
        "workspace files" => {
            let shown = tools::shown(lab);
            let instructions = shown.contains("Instructions in the home.");
            match (instructions, shown.contains("A skill in the workspace")) {
                (true, true) => "yes",
                (true, false) => "instructions",
                (false, true) => "skill",
                (false, false) => "no",
            }
            .to_owned()
        }
        "tokens" => {
            let first = lab.ended(id).await;
            let next = lab.prompt(id, "and now?").await;
            let usage = |turn: &Value| {
                let usage = &turn["usage"];
                (usage["input_tokens"].as_u64(), usage["output_tokens"].as_u64())
            };
            let own = (Some(model::INPUT_TOKENS), Some(model::OUTPUT_TOKENS));
            match (usage(&first), usage(&next)) {
                ((None, None), (None, None)) => "not told".to_owned(),
                (one, two) if one == own && two == own => "yes".to_owned(),
                other => format!("{other:?}"),
            }
        }
        "follow-up" => {
            let session = lab.server.session(id).await;
            let turn = lab.ended(id).await;
            let own = session["agent_session_id"].as_str().unwrap_or_default();
            let output = String::from_utf8(lab.server.output(id, "stdout").await).unwrap();
            // Both turns name the same one.
            assert!(
                !own.is_empty() && output.matches(own).count() >= 2,
                "{own} is not in {output}"
            );
            yes(&turn, "Answer 2.")
        }
        "tool" => {
            let turn = lab.prompt(id, "please\nmodel: run printf made > made.txt").await;
            let made = std::fs::read_to_string(lab.server.workspace().join("made.txt")).unwrap_or_default();
            if made == "made" {
                yes(&turn, "Answer 3.")
            } else {
                format!("made {made:?}: {turn}")
            }
        }
        "interrupt" => {
            let asked = lab.model.turns().len();
            let path = format!("/v1/sessions/{id}/prompts");
            lab.server.post(&path, json!({ "prompt": "model: hang" })).await;
            interrupted(lab, id, asked, "Answer 4.").await
        }
        "interrupted first" => {
            let asked = lab.model.turns().len();
            let new = lab.create("model: hang", Value::Null).await;
            interrupted(lab, &new, asked, "Answer 1.")
                .await
                .replace("goes on", "answers")
        }
        "silent model" => cause(&lab.begin("model: hang", json!({"timeout": 5})).await.1),
        // Without a key, codex asks its model all the same, and opencode one of its maker's own.
        "no key" if ["codex", "opencode"].contains(&lab.setup.agent) => "not tried".to_owned(),
        "no key" => {
            let home = support::folder("empty-home");
            let nothing = json!({"args": [], "env": {"HOME": home}, "timeout": 120});
            let cause = cause(&lab.begin("hello", nothing).await.1);
            std::fs::remove_dir_all(home).unwrap();
            cause
        }
        "401" => {
            let (new, turn) = lab.begin("model: status 401", Value::Null).await;
            let again = lab.prompt(&new, "again").await;
            if yes(&again, "Answer 1.") == "yes" {
                cause(&turn)
            } else {
                again.to_string()
            }
        }
        "429" => {
            let limit = json!({"timeout": lab.setup.patience});
            cause(&lab.begin("model: status 429", limit).await.1)
        }
        "permission" => tools::permission(lab).await.unwrap_or_else(|what_came| what_came),
        "mcp" => tools::mcp(lab).await.unwrap_or_else(|what_came| what_came),
        status => cause(&lab.begin(&format!("model: status {status}"), Value::Null).await.1),
    }
}

/// All records of stdout, live, until the stream says that the turn has ended.
async fn followed(lab: &Lab, id: &str) -> Vec<Value> {
    let mut events = lab.server.sse(&format!("/v1/sessions/{id}/events"), None).await;
    let (mut live, mut last) = (Vec::new(), String::new());
    while let Some(event) = events.next().await {
        if event.event == "stdout" {
            live.push(serde_json::from_str(&event.data).unwrap());
        }
        last = event.event;
    }
    assert_eq!(last, "end");
    live
}

async fn interrupted(lab: &Lab, id: &str, asked_before: usize, answer: &str) -> String {
    let turn = lab.interrupt(id, asked_before).await;
    if turn["status"] != "cancelled" || turn["cause"] != "interrupted" {
        return turn.to_string();
    }
    let next = lab.prompt(id, "go on").await;
    yes(&next, answer).replace("yes", "goes on")
}

pub(crate) fn yes(turn: &Value, result: &str) -> String {
    // One that stays after its answer is ended, on a busy machine also by a signal.
    let ended = turn["exit_code"] == 0 || turn["signal"].is_string();
    let well = turn["status"] == "completed" && turn["result"] == result && ended;
    if well { "yes".to_owned() } else { turn.to_string() }
}

fn cause(turn: &Value) -> String {
    match turn["cause"].as_str() {
        Some(cause) if turn["status"] == "failed" || turn["status"] == "timed_out" => cause.to_owned(),
        _ => turn.to_string(),
    }
}

/// Puts down what agents find by themselves.
fn stands_ready(lab: &Lab) {
    let skill = lab.server.workspace().join("skills/own");
    std::fs::create_dir_all(&skill).unwrap();
    let text = "---\nname: own\ndescription: A skill in the workspace\n---\nDo it.\n";
    std::fs::write(skill.join("SKILL.md"), text).unwrap();
    std::fs::write(lab.home.join("AGENTS.md"), "Instructions in the home.").unwrap();
}

/// Runs all cells of one agent, and tells all that differ at once.
async fn does_what_the_table_says(agent: &str) {
    let lab = Lab::new(agent).await;
    let expected = expected(agent).unwrap();
    stands_ready(&lab);
    let mut differ = String::new();
    let mut id = String::new();
    for ((cell, _), expected) in CELLS.iter().zip(expected) {
        let (begun, used) = (std::time::Instant::now(), lab.cpu_seconds().await);
        let observed = observed(&lab, cell, &mut id).await;
        let (took, used) = (begun.elapsed().as_secs_f64(), lab.cpu_seconds().await - used);
        eprintln!("{agent} {cell}: {observed} ({took:.1} s, {used:.1} s of processors)");
        if observed != expected {
            let _written = writeln!(differ, "{agent}, {cell}: {expected} was expected, {observed} came");
        }
    }
    assert!(differ.is_empty(), "\n{differ}");
}

macro_rules! agents {
    ($($test:ident $agent:literal)*) => { $(
        #[tokio::test]
        async fn $test() {
            does_what_the_table_says($agent).await;
        }
    )* };
}

agents! {
    claude_does_what_the_table_says "claude"
    codex_does_what_the_table_says "codex"
    gemini_does_what_the_table_says "gemini"
    qwen_does_what_the_table_says "qwen"
    opencode_does_what_the_table_says "opencode"
    copilot_does_what_the_table_says "copilot"
    droid_does_what_the_table_says "droid"
    pi_does_what_the_table_says "pi"
}
