//! Some questions need more than one of their options.

use serde_json::{Value, json};
use support::{Server, of_type};

async fn answer(server: &Server, id: &str, question: &Value, body: Value) -> (u16, Value) {
    let question = question["id"].as_str().unwrap();
    let path = format!("/v1/sessions/{id}/permissions/{question}");
    server.send("POST", &path, body).await
}

#[tokio::test]
async fn form_of_an_agent_is_filled_in() {
    let mut server = Server::with().scripted().start().await;
    let id = server.act("form\nsay Bye.", json!({})).await;
    let question = server.question(&id).await;
    assert_eq!(question["title"], "Choose");
    let color = json!({ "id": "color", "text": "Which color?", "header": "Color", "type": "string", "required": true,
        "choices": [{ "value": "Red" }, { "value": "Blue" }] });
    let count = json!({ "id": "count", "text": "count", "type": "integer" });
    assert_eq!(question["questions"], json!([color, count]));
    let record = server.record(&id, "permission").await;
    assert_eq!(record["questions"], question["questions"]);
    // Wrong answers say what would be right, and leave the question open.
    for (wrong, field, hint) in [
        (json!({ "option": "accept" }), "answers.color", "missing"),
        (
            json!({ "option": "accept", "answers": { "color": "Green" } }),
            "answers.color",
            "\"Blue\"",
        ),
        (
            json!({ "option": "accept", "answers": { "color": "Red", "count": "3" } }),
            "answers.count",
            "whole number",
        ),
        (
            json!({ "option": "accept", "answers": { "color": "Red", "size": 3 } }),
            "answers.size",
            "\"color\"",
        ),
        (
            json!({ "option": "decline", "answers": { "color": "Red" } }),
            "answers",
            "leave them out",
        ),
        (json!({ "option": "decline", "reason": "no" }), "reason", "leave it out"),
        (
            json!({ "option": "accept", "updated_input": {} }),
            "updated_input",
            "leave it out",
        ),
        (json!({ "option": "perhaps" }), "option", "accept"),
        (json!({ "option": "accept", "answers": [] }), "answers", "map"),
    ] {
        let (status, refusal) = answer(&server, &id, &question, wrong.clone()).await;
        assert_eq!((status, &refusal["field"]), (400, &json!(field)), "{wrong}: {refusal}");
        assert!(refusal["detail"].as_str().unwrap().contains(hint), "{wrong}: {refusal}");
    }
    // The answer is in the journal before the agent has it.
    server.kill();
    server.start_again().await;
    let right = json!({ "option": "accept", "answers": { "color": "Blue", "count": 3 } });
    assert_eq!(answer(&server, &id, &question, right.clone()).await.0, 200);
    assert_eq!(answer(&server, &id, &question, right).await.0, 200);
    let other = json!({ "option": "accept", "answers": { "color": "Red" } });
    assert_eq!(answer(&server, &id, &question, other).await.0, 409);
    let session = server.settled(&id).await;
    let told = r#"told {"action":"accept","content":{"color":"Blue","count":3}}. Bye."#;
    assert_eq!(session["turns"][0]["result"], told, "{session}");
    let records = server.records(&id).await;
    let answers = of_type(&records, "permission_answer");
    assert_eq!((answers.len(), &answers[0]["answers"]["color"]), (1, &json!("Blue")));
}

/// Nobody has filled it in, so the default cannot allow it.
#[tokio::test]
async fn form_that_nobody_fills_in_is_declined() {
    let server = Server::with().scripted().start().await;
    let limits = json!({ "permission_timeout": 0.2, "permission_default": "allow" });
    let id = server.act("form", limits).await;
    let session = server.settled(&id).await;
    assert_eq!(
        session["turns"][0]["result"], r#"told {"action":"decline"}. "#,
        "{session}"
    );
}

#[tokio::test]
async fn form_is_answered_over_a_websocket() {
    let server = Server::with().scripted().start().await;
    let id = server.act("form", json!({})).await;
    let question = server.question(&id).await;
    let mut ws = server.ws(&format!("/v1/sessions/{id}/ws")).await;
    ws.command(
        json!({ "type": "permission", "id": question["id"], "option": "accept", "answers": { "color": "Red" } }),
    )
    .await;
    ws.until(|message| message["type"] == "ack").await;
    let session = server.settled(&id).await;
    assert_eq!(
        session["turns"][0]["result"],
        r#"told {"action":"accept","content":{"color":"Red"}}. "#
    );
}

#[tokio::test]
async fn acp_client_gets_the_form_and_answers_it() {
    let server = Server::with().scripted().start().await;
    let id = server.act("form", json!({})).await;
    server.question(&id).await;
    let mut client = server.ws("/v1/acp").await;
    let load = json!({ "sessionId": id, "cwd": server.session(&id).await["cwd"], "mcpServers": [] });
    client
        .command(json!({ "jsonrpc": "2.0", "id": 1, "method": "session/load", "params": load }))
        .await;
    let heard = client
        .until(|message| message["method"] == "session/request_permission")
        .await;
    let asked = heard.last().unwrap();
    assert_eq!(
        asked["params"]["_meta"]["promptd"]["questions"][0]["id"], "color",
        "{asked}"
    );
    let result = json!({ "outcome": { "outcome": "selected", "optionId": "accept" },
        "_meta": { "promptd": { "answers": { "color": "Red" } } } });
    client
        .command(json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result }))
        .await;
    let session = server.settled(&id).await;
    assert_eq!(
        session["turns"][0]["result"],
        r#"told {"action":"accept","content":{"color":"Red"}}. "#
    );
}
