//! The real agent CLIs, from npm, take prompts over HTTP against a scripted model on loopback.
//!
//! What each of them does stands in `docs/agents.md`, which is the table [`EXPECTED`] in words: one test holds that page
//! to the table, and one test per agent holds the table to what the agent does.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what it expects by failing"
)]
#![expect(
    clippy::indexing_slicing,
    reason = "a field that is missing is `null`, and fails the comparison"
)]

mod tools;

use crate::support;

use std::fmt::Write as _;

use serde_json::{Value, json};
use support::lab::{AGENTS, Lab};
use support::{Server, model};

/// What is tried with every agent, in this order: the first six go on in one session. A further cell is a line here, an
/// arm in [`observed`], and a column in [`EXPECTED`].
const CELLS: [(&str, &str); 14] = [
    (
        "answer",
        "a first turn is answered, and its output is followed live and afterwards",
    ),
    (
        "ready",
        "the model is shown what stands ready: an AGENTS.md in the home, a skill in the workspace",
    ),
    ("tokens", "the turn's tokens are its own, also in a follow-up turn"),
    (
        "follow-up",
        "the next turn knows the one before, in the agent's own session",
    ),
    ("tool", "the model has the agent run a command"),
    (
        "interrupt",
        "an interrupt ends a turn, and the next one goes on in the session",
    ),
    (
        "interrupted first",
        "an interrupt ends a session's first turn, and the next one is answered",
    ),
    ("400", "cause of a turn whose request the model refuses"),
    (
        "401",
        "cause of a turn whose key is refused, and the next one is answered",
    ),
    ("429", "cause of a turn when there are too many requests"),
    ("hang", "cause of a turn with a `timeout` when the model falls silent"),
    (
        "no key",
        "cause of a turn in a home without any configuration, key or login",
    ),
    (
        "permission",
        "with `permission: \"ask\"` a turn waits for an answer: what is allowed is done, calls of `mcp_servers` too; in \
         the next turn, what is denied is not, and the model has the last word",
    ),
    (
        "mcp",
        "with `mcp_servers` the model calls a tool of a program and one over HTTP; the calls and their outcomes are seen",
    ),
];

/// What each agent does, cell by cell.
const EXPECTED: &str = "\
claude   | yes | yes | yes      | yes | yes | goes on | answers | agent_error | auth | quota   | timeout | auth      | yes  | yes
codex    | yes | yes | yes      | yes | yes | goes on | answers | agent_error | auth | quota   | timeout | not tried | yes  | yes
gemini   | yes | yes | yes      | yes | yes | goes on | answers | agent_error | auth | quota   | timeout | auth      | yes  | yes
qwen     | yes | yes | yes      | yes | yes | goes on | answers | agent_error | auth | quota   | timeout | auth      | ends | yes
opencode | yes | yes | yes      | yes | yes | goes on | answers | agent_error | auth | quota   | timeout | not tried | ends | yes
copilot  | yes | yes | not told | yes | yes | goes on | answers | agent_error | auth | quota   | timeout | auth      | ends | yes
droid    | yes | yes | yes      | yes | yes | goes on | answers | agent_error | auth | timeout | timeout | auth      | 422  | 422
pi       | yes | yes | yes      | yes | yes | goes on | answers | agent_error | auth | quota   | timeout | auth      | 422  | 422";

fn expected(agent: &str) -> Option<[&'static str; CELLS.len()]> {
    let mut words = EXPECTED.lines().map(|line| line.split('|').map(str::trim));
    let mut words = words.find_map(|mut words| (words.next() == Some(agent)).then_some(words))?;
    let words = CELLS.map(|_| words.next().expect("a word for each cell"));
    Some(words)
}

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
        "ready" => {
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
        "hang" => cause(&lab.begin("model: hang", json!({"timeout": 5})).await.1),
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

fn yes(turn: &Value, result: &str) -> String {
    let well = turn["status"] == "completed" && turn["result"] == result && turn["exit_code"] == 0;
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
    let Some(lab) = Lab::new(agent).await else { return };
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

#[tokio::test]
async fn the_page_of_agents_is_the_table_in_words() {
    let server = Server::with()
        .env("PATH", "/nowhere")
        .env("HOME", "/nowhere")
        .start()
        .await;
    let page = page(&server.get("/v1/agents").await);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/agents.md");
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap_or_default() == page,
        "docs/agents.md differs; write it with WRITE_DOCS=1 cargo test --test promises the_page"
    );
}

fn page(agents: &Value) -> String {
    let pinned = std::fs::read_to_string(support::node::agents().join("package.json")).unwrap();
    let pinned: Value = serde_json::from_str(&pinned).unwrap();
    let version = |package: &str| {
        let version = ["dependencies", "optionalDependencies"]
            .iter()
            .find_map(|kind| pinned[kind][package].as_str());
        version.expect("its package is in tests/agents/package.json")
    };
    let mut page = String::from(
        "# What each agent does\n\n\
         Written by a test from the table that the tests hold the real programs to: `WRITE_DOCS=1 cargo test --test \
         promises the_page`.\n\n| agent | evidence | version |",
    );
    let cells = |word: fn(&(&str, &str)) -> String| CELLS.iter().map(word).collect::<String>();
    let mut line = |text: &str| page.push_str(text);
    line(&cells(|(cell, _)| format!(" {cell} |")));
    line("\n|---|---|---|");
    line(&"---|".repeat(CELLS.len()));
    line("\n");
    for agent in agents["agents"].as_array().unwrap() {
        let name = agent["name"].as_str().unwrap();
        let evidence = agent["evidence"].as_str().unwrap();
        let setup = AGENTS.iter().find(|setup| setup.agent == name);
        let Some(words) = expected(name) else {
            // The shell is tested everywhere else.
            assert_eq!(name, "shell", "{name} has no line in the table");
            continue;
        };
        assert_eq!(evidence, "tested", "{name}");
        let version = version(setup.unwrap().package);
        line(&format!("| `{name}` | tested | {version} | {} |\n", words.join(" | ")));
    }
    line("\n");
    line(&cells(|(cell, meaning)| format!("- *{cell}*: {meaning}\n")));
    line(
        "\n`yes`: it does. A `timeout` under *429* means that the agent tries again for longer than a test waits, and \
         that only the session's own `timeout` ends it. `not tried` under *no key*: without one, the agent calls a \
         server of its maker, which the tests keep away from. `ends` under *permission* means that the agent ends the turn \
         when something is denied, without another word of the model. `422`: the request is refused, and says what to do:\n\n",
    );
    line(
        &tools::REFUSALS
            .map(|(field, words)| format!("- `{field}`: {words}\n"))
            .concat(),
    );
    page
}

#[tokio::test]
async fn a_program_that_is_missing_is_named_with_the_command_that_installs_it() {
    let server = Server::with()
        .env("PATH", "/nowhere")
        .env("HOME", "/nowhere")
        .start()
        .await;
    for (agent, install) in [
        ("claude", "claude-code"),
        ("codex", "@openai/codex"),
        ("gemini", "gemini-cli"),
        ("qwen", "@qwen-code/qwen-code"),
        ("opencode", "opencode-ai"),
        ("copilot", "@github/copilot"),
        ("droid", "install -g droid"),
        ("pi", "pi-coding-agent"),
    ] {
        let request = json!({ "agent": agent, "prompt": "hello" });
        let (status, problem) = server.send("POST", "/v1/sessions", request).await;
        assert_eq!((status, &problem["code"]), (422, &json!("agent_not_installed")));
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(install) && detail.contains("shell"), "{detail}");
    }
}
