//! The cells in which a tool is asked for, and servers of tools are used.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::lab::Lab;
use crate::support::tools::{self as servers, SECRET};

/// How a request is refused that an agent cannot honour: the field, and what to do instead.
pub(super) const REFUSALS: [(&str, &str); 2] = [
    (
        "permission",
        "it cannot be asked to ask; give \"bypass\", or use an agent whose `permissions` in /v1/agents is true",
    ),
    (
        "mcp_servers",
        "it takes none from us; leave them out, or configure them in the agent's own files",
    ),
];

/// The newest request to the model, without JSON's escapes.
pub(super) fn shown(lab: &Lab) -> String {
    let last = lab.model.turns().pop().unwrap();
    last.body.to_string().replace("\\\\", "\\").replace("\\\"", "\"")
}

/// One turn is allowed what it asks for, the next one is not; fails with what came instead.
pub(super) async fn permission(lab: &Lab) -> Result<String, String> {
    let file = |name: &str| lab.server.workspace().join(name);
    let (allowed, denied) = (file("allowed.txt"), file("denied.txt"));
    let prompt = "model: run printf made > allowed.txt\nmodel: mcp lab echo {\"text\":\"hi\"}";
    let more = json!({ "permission": "ask", "mcp_servers": { "lab": servers::lab() } });
    let id = match lab.accepted(prompt, more).await {
        Ok(id) => id,
        Err(refusal) => return refused(&refusal, REFUSALS[0]),
    };
    let turn = answered(lab, &id, "allow_once", &allowed).await?;
    if std::fs::read_to_string(&allowed).unwrap_or_default() != "made" || super::yes(&turn, "Answer 1.") != "yes" {
        return Err(format!("what is allowed was not done: {turn}"));
    }
    has_completed(lab, &id, "lab says hi").await?;
    let path = format!("/v1/sessions/{id}/prompts");
    let prompt = "model: run printf made > denied.txt";
    lab.server.post(&path, json!({ "prompt": prompt })).await;
    let turn = answered(lab, &id, "reject_once", &denied).await?;
    let call = calls(lab, &id).await.pop().unwrap_or_default();
    if denied.exists() || call["status"] == "completed" {
        return Err(format!("what is denied was done: {call}"));
    }
    Ok(super::yes(&turn, "Answer 2."))
}

/// Gives the same answer to all that the agent asks in a turn, before which nothing may be done; tells how it ended.
async fn answered(lab: &Lab, id: &str, option: &str, file: &Path) -> Result<Value, String> {
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
        Ok(turn)
    } else {
        Err(format!("nothing was asked: {turn}"))
    }
}

/// The model calls a tool of a program and one over HTTP; fails with what came instead.
pub(super) async fn mcp(lab: &Lab) -> Result<String, String> {
    let docs = servers::Docs::start().await;
    let header = format!("Bearer {SECRET}");
    let servers = json!({
        "lab": servers::lab(),
        "docs": { "url": docs.url, "headers": { "Authorization": header } },
    });
    let prompt = "model: mcp lab echo {\"text\":\"hi\"}\nmodel: mcp docs find {}";
    let id = match lab.accepted(prompt, json!({ "mcp_servers": servers })).await {
        Ok(id) => id,
        Err(refusal) => return refused(&refusal, REFUSALS[1]),
    };
    let turn = lab.ended(&id).await;
    let shown = shown(lab);
    for result in [&*format!("lab says hi {SECRET} {SECRET}"), "docs found it"] {
        if !shown.contains(result) {
            let warned = String::from_utf8_lossy(&lab.server.output(&id, "stderr").await).into_owned();
            return Err(format!("{result} did not reach the model: {turn}\n{warned}\n{shown}"));
        }
    }
    let asked_by = docs.asked_by();
    if asked_by.is_empty() || asked_by.iter().any(|name| *name != header) {
        return Err(format!("the server over HTTP was asked by {asked_by:?}"));
    }
    for result in ["lab says hi", "docs found it"] {
        has_completed(lab, &id, result).await?;
    }
    Ok(super::yes(&turn, "Answer 1."))
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

/// Fails unless a call with this result is seen in ACP's words, and no secret.
async fn has_completed(lab: &Lab, id: &str, result: &str) -> Result<(), String> {
    let calls = calls(lab, id).await;
    let has_completed = |call: &Value| call["status"] == "completed" && call["content"].to_string().contains(result);
    if calls.iter().any(has_completed) && !json!(calls).to_string().contains("s3cret") {
        Ok(())
    } else {
        Err(format!(
            "no call with {result:?} has completed, or it shows a secret: {calls:?}"
        ))
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
