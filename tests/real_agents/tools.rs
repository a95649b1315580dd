//! Rows of the agents table about permission questions and MCP servers.

use std::path::Path;

use serde_json::{Value, json};

use support::agents_table::{REFUSALS, expected};
use support::lab::Lab;
use support::tools::{Docs, SECRET};

/// The newest request to the model, without JSON's escapes.
pub(super) fn shown(lab: &Lab) -> String {
    let last = lab.model.turns().pop().unwrap();
    last.body.to_string().replace("\\\\", "\\").replace("\\\"", "\"")
}

/// Has the model call the tool of a program.
const ECHO: &str = "model: mcp lab echo {\"text\":\"hi\"}";

/// One turn is allowed what it asks for, the next one is not; fails with what came instead.
pub(super) async fn permission(lab: &Lab) -> Result<String, String> {
    let file = |name: &str| lab.server.workspace().join(name);
    let (allowed, denied) = (file("allowed.txt"), file("denied.txt"));
    // The last column of the table.
    let takes_servers = expected(lab.setup.agent).is_some_and(|cells| cells.last() == Some(&"yes"));
    let calls = 1 + usize::from(takes_servers);
    let mut prompt = "model: run printf made > allowed.txt".to_owned();
    let mut more = json!({ "permission": "ask" });
    if takes_servers {
        prompt = format!("{prompt}\n{ECHO}");
        more["mcp_servers"] = json!({ "lab": program() });
    }
    let asked_before = lab.model.turns().len();
    let id = match lab.accepted(&prompt, more).await {
        Ok(id) => id,
        Err(refusal) => return refused(&refusal, REFUSALS[0]),
    };
    let (turn, asked) = answered(lab, &id, "allow_once", &allowed).await?;
    if asked != calls {
        return Err(format!("{calls} calls, and {asked} questions"));
    }
    if std::fs::read_to_string(&allowed).unwrap_or_default() != "made" || crate::table::yes(&turn, "Answer 1.") != "yes"
    {
        return Err(format!("what is allowed was not done: {turn}"));
    }
    if takes_servers {
        have_come(lab, &id, &[&echoed()]).await?;
    }
    let asked = lab.model.turns().len() - asked_before;
    if asked != calls + 1 {
        return Err(format!(
            "for {calls} calls and an answer, the model was asked {asked} times"
        ));
    }
    let asked_before = lab.model.turns().len();
    let path = format!("/v1/sessions/{id}/prompts");
    let prompt = "model: run printf made > denied.txt";
    lab.server.post(&path, json!({ "prompt": prompt })).await;
    let (turn, _) = answered(lab, &id, "reject_once", &denied).await?;
    let call = self::calls(lab, &id).await.pop().unwrap_or_default();
    if denied.exists() || call["status"] == "completed" {
        return Err(format!("what is denied was done: {call}"));
    }
    if lab.model.turns().len() == asked_before + 1 && turn["stop_reason"] == "end_turn" {
        return Ok("ends".to_owned());
    }
    Ok(crate::table::yes(&turn, "Answer 2."))
}

/// Gives the same answer to all that the agent asks in a turn, before which nothing may be done; tells how it ended, and
/// how many questions there were.
async fn answered(lab: &Lab, id: &str, option: &str, file: &Path) -> Result<(Value, usize), String> {
    let mut asked = 0;
    while let Some(question) = lab.question(id).await {
        if asked == 0 && file.exists() {
            return Err(format!("it was done before it was asked for: {question}"));
        }
        let (status, answer) = lab.server.reply(id, &question, option).await;
        if status != 200 {
            return Err(format!("{question} got {option}: {status} {answer}"));
        }
        asked += 1;
    }
    let turn = lab.ended(id).await;
    if asked > 0 {
        Ok((turn, asked))
    } else {
        Err(format!("nothing was asked: {turn}"))
    }
}

/// The model calls a tool of a program and one over HTTP; fails with what came instead.
pub(super) async fn mcp(lab: &Lab) -> Result<String, String> {
    let docs = Docs::start().await;
    let header = format!("Bearer {SECRET}");
    let remote = json!({ "url": docs.url, "headers": { "Authorization": header } });
    let prompt = format!("{ECHO}\nmodel: mcp docs find {{}}");
    let more = json!({ "mcp_servers": { "lab": program(), "docs": remote } });
    let id = match lab.accepted(&prompt, more).await {
        Ok(id) => id,
        Err(refusal) => return refused(&refusal, REFUSALS[1]),
    };
    let turn = lab.ended(&id).await;
    have_come(lab, &id, &[&echoed(), "docs found it"]).await?;
    let asked_by = docs.asked_by();
    if asked_by.is_empty() || asked_by.iter().any(|name| *name != header) {
        return Err(format!("the server over HTTP was asked by {asked_by:?}"));
    }
    Ok(crate::table::yes(&turn, "Answer 1."))
}

/// A server that is a program, and what its tool puts out: it has its secret from a variable and an argument.
fn program() -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/programs/mcp_server.mjs");
    json!({ "command": "node", "args": [script, SECRET], "env": { "LAB": SECRET } })
}

fn echoed() -> String {
    format!("lab says hi {SECRET} {SECRET}")
}

/// Fails unless these results of calls have reached the model, and all who follow, but for the secret.
async fn have_come(lab: &Lab, id: &str, results: &[&str]) -> Result<(), String> {
    let (shown, calls) = (shown(lab), calls(lab, id).await);
    for result in results {
        if !shown.contains(result) {
            let warned = String::from_utf8_lossy(&lab.server.output(id, "stderr").await).into_owned();
            return Err(format!("{result:?} did not reach the model: {warned}\n{shown}"));
        }
        let masked = result.replace(SECRET, "***");
        let has_completed =
            |call: &Value| call["status"] == "completed" && call["content"].to_string().contains(&masked);
        if !calls.iter().any(has_completed) {
            return Err(format!("no call with {masked:?} has completed: {calls:?}"));
        }
    }
    Ok(())
}

/// Whether a request was refused as it has to be.
fn refused(refusal: &Value, (field, words): (&str, &str)) -> Result<String, String> {
    let told = refusal["detail"].as_str().is_some_and(|detail| detail.contains(words));
    if told && refusal["status"] == 422 && refusal["code"] == "unsupported" && refusal["field"] == field {
        Ok("422".to_owned())
    } else {
        Err(refusal.to_string())
    }
}

/// The session's calls of tools in ACP's words, each as it was at last.
async fn calls(lab: &Lab, id: &str) -> Vec<Value> {
    let mut calls: Vec<Value> = Vec::new();
    for line in lab.server.updates(id).await {
        let update = &line["update"];
        if update["sessionUpdate"] == "tool_call" {
            calls.push(update.clone());
        } else if update["sessionUpdate"] == "tool_call_update" {
            let call = calls
                .iter_mut()
                .rev()
                .find(|call| call["toolCallId"] == update["toolCallId"]);
            let call = call.expect("a call begins before it goes on");
            for (name, value) in update.as_object().unwrap() {
                call[name] = value.clone();
            }
        }
    }
    calls
}
