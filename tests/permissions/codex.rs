//! The dialog with codex: messages while it works, images, and questions that need more than an option.

use serde_json::{Value, json};
use support::{Builder, Server};

use crate::pretend::{heard, hears, with_program};

/// One pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// A server that takes a script for `codex app-server`. The words of the prompt say what it does: it waits for a message and
/// takes it, or refuses it; it asks with its own tool, or an MCP server asks; or it answers at once.
fn with_codex(name: &str) -> Builder {
    let input = json!({ "id": 7, "method": "item/tool/requestUserInput", "params": {
        "threadId": "T", "turnId": "U", "itemId": "i", "isBlocking": true, "questions": [
            { "id": "color", "header": "Color", "question": "Which color?", "isOther": true,
              "options": [{ "label": "Red", "description": "r" }, { "label": "Blue", "description": "b" }] },
            { "id": "why", "header": "Why", "question": "Why?", "options": null },
        ] } });
    let schema = json!({ "type": "object", "required": ["size"], "properties": {
        "size": { "type": "string", "enum": ["S", "M"] } } });
    let form = json!({ "id": 7, "method": "mcpServer/elicitation/request", "params": {
        "threadId": "T", "turnId": "U", "serverName": "shop", "mode": "form", "message": "Your size?",
        "requestedSchema": schema } });
    let script = format!(
        r#"say() {{ printf '%s\n' "$1"; }}
finish() {{
  say '{{"method":"item/completed","params":{{"threadId":"T","turnId":"U","item":{{"type":"agentMessage","id":"m","text":"'"$1"'"}}}}}}'
  say '{{"method":"turn/completed","params":{{"threadId":"T","turn":{{"id":"U","status":"completed"}}}}}}'
}}
while read -r line; do
  printf '%s\n' "$line" >> heard
  case "$line" in
    *'"method":"initialize"'*) say '{{"id":1,"result":{{}}}}' ;;
    *'"method":"thread/'*) say '{{"id":2,"result":{{"thread":{{"id":"T"}}}}}}' ;;
    *'"method":"turn/start"'*)
      turn=$line
      say '{{"id":3,"result":{{"turn":{{"id":"U","status":"inProgress"}}}}}}'
      case "$line" in
        *'takes a message'* | *'refuses a message'*) ;;
        *'asks with its tool'*) say '{input}' ;;
        *'asks with a form'*) say '{form}' ;;
        *) finish 'Seen.' ;;
      esac ;;
    *'"method":"turn/steer"'*)
      id=${{line#*'"id":'}}
      id=${{id%%,*}}
      case "$turn" in
        *'takes a message'*) say '{{"id":'"$id"',"result":{{"turnId":"U"}}}}' ;;
        *) say '{{"id":'"$id"',"error":{{"code":-32600,"message":"no active turn to steer"}}}}' ;;
      esac
      finish 'Done.' ;;
    *'"id":7'*) finish 'Answered.' ;;
  esac
done
"#
    );
    with_program(name, "codex", &script)
}

fn is(method: &'static str) -> impl Fn(&Value) -> bool {
    move |message| message["method"] == method
}

async fn steer(server: &Server, id: &str, message: Value) -> (u16, Value) {
    hears(server, "the prompt", is("turn/start")).await;
    // The turn's id comes with the response, which the server has to read first.
    let body = json!({ "prompt": message, "when": "now" });
    server.send("POST", &format!("/v1/sessions/{id}/prompts"), body).await
}

#[tokio::test]
async fn message_reaches_codex_while_it_works() {
    let mut server = with_codex("codex-steer").start().await;
    for more in [json!({ "permission": "ask" }), json!({ "steerable": true })] {
        let mut request = json!({ "agent": "codex", "prompt": "takes a message" });
        for (name, value) in more.as_object().unwrap() {
            request[name] = value.clone();
        }
        let id = server.create(request).await;
        let message =
            json!([{ "type": "text", "text": "look" }, { "type": "image", "data": PNG, "mimeType": "image/png" }]);
        let (status, answer) = steer(&server, &id, message).await;
        assert_eq!((status, &answer), (202, &json!({ "turn": 1 })), "{answer}");
        let session = server.settled(&id).await;
        let turns = session["turns"].as_array().unwrap();
        assert_eq!((turns.len(), &turns[0]["result"]), (1, &json!("Done.")), "{session}");
        let steered = hears(&server, "the message", is("turn/steer")).await;
        let image = json!({ "type": "image", "url": format!("data:image/png;base64,{PNG}") });
        let input = json!([{ "type": "text", "text": "look" }, image]);
        let expected = json!({ "threadId": "T", "expectedTurnId": "U", "input": input });
        assert_eq!(steered["params"], expected);
        assert_eq!(heard(&server).into_iter().filter(is("turn/steer")).count(), 1);
        std::fs::remove_file(server.workspace().join("heard")).unwrap();
    }
    server.kill();
}

/// It was lost.
#[tokio::test]
async fn message_that_codex_refuses_is_the_next_turn() {
    let server = with_codex("codex-refuses").start().await;
    let id = server
        .create(json!({ "agent": "codex", "prompt": "refuses a message", "steerable": true }))
        .await;
    let (status, answer) = steer(&server, &id, json!("never mind")).await;
    assert_eq!((status, &answer["turn"]), (202, &json!(1)), "{answer}");
    let both = |session: &Value| session["turns"][1]["status"] == "completed";
    let session = server.session_when(&id, both).await;
    assert_eq!(session["turns"][0]["result"], "Done.", "{session}");
    let prompts = heard(&server).into_iter().filter(is("turn/start"));
    let texts: Vec<Value> = prompts
        .map(|prompt| prompt["params"]["input"][0]["text"].clone())
        .collect();
    assert_eq!(texts, ["refuses a message", "never mind"]);
}

#[tokio::test]
async fn codex_gets_images_of_a_prompt() {
    let server = with_codex("codex-images").start().await;
    let link = json!({ "type": "resource_link", "name": "a.rs", "uri": "file:///w/a.rs" });
    let blocks =
        json!([{ "type": "text", "text": "look" }, { "type": "image", "data": PNG, "mimeType": "image/png" }, link]);
    for permission in ["bypass", "ask"] {
        let id = server
            .create(json!({ "agent": "codex", "prompt": blocks, "permission": permission }))
            .await;
        let session = server.settled(&id).await;
        assert_eq!(session["turns"][0]["result"], "Seen.", "{session}");
        let prompt = hears(&server, "the prompt", is("turn/start")).await;
        let input = json!([
            { "type": "text", "text": "look" },
            { "type": "image", "url": format!("data:image/png;base64,{PNG}") },
            { "type": "text", "text": "[@a.rs](file:///w/a.rs)" },
        ]);
        assert_eq!(prompt["params"]["input"], input);
        std::fs::remove_file(server.workspace().join("heard")).unwrap();
    }
    // It takes no other files.
    let pdf =
        json!([{ "type": "resource", "resource": { "uri": "b.pdf", "mimeType": "application/pdf", "blob": "aGk=" } }]);
    let (status, refusal) = server
        .send("POST", "/v1/sessions", json!({ "agent": "codex", "prompt": pdf }))
        .await;
    assert_eq!((status, &refusal["field"]), (422, &json!("prompt")), "{refusal}");
}

async fn asked(server: &Server, prompt: &str) -> (String, Value) {
    let id = server
        .create(json!({ "agent": "codex", "prompt": prompt, "permission": "ask" }))
        .await;
    let question = server.question(&id).await;
    (id, question)
}

async fn answer(server: &Server, id: &str, question: &Value, body: Value) -> (u16, Value) {
    let question = question["id"].as_str().unwrap();
    server
        .send("POST", &format!("/v1/sessions/{id}/permissions/{question}"), body)
        .await
}

/// What the script was told last in answer to its question.
fn told(server: &Server) -> Value {
    let mut answers = heard(server).into_iter().filter(|message| message["id"] == 7);
    answers
        .next_back()
        .map(|answer| answer["result"].clone())
        .unwrap_or_default()
}

/// It was refused as an unknown method, and the model got no answer.
#[tokio::test]
async fn questions_of_codex_get_their_answers() {
    let server = with_codex("codex-input").start().await;
    let (id, question) = asked(&server, "asks with its tool").await;
    let choices = json!([{ "value": "Red", "description": "r" }, { "value": "Blue", "description": "b" }]);
    let questions = json!([
        { "id": "color", "text": "Which color?", "header": "Color", "choices": choices, "free_text": true, "type": "string", "required": true },
        { "id": "why", "text": "Why?", "header": "Why", "free_text": true, "type": "string", "required": true },
    ]);
    assert_eq!(question["questions"], questions);
    let (status, refusal) = answer(&server, &id, &question, json!({ "option": "accept" })).await;
    assert_eq!((status, &refusal["field"]), (400, &json!("answers.color")), "{refusal}");
    let right = json!({ "option": "accept", "answers": { "color": { "other": "Green" }, "why": "so" } });
    assert_eq!(answer(&server, &id, &question, right).await.0, 200);
    assert_eq!(server.settled(&id).await["turns"][0]["result"], "Answered.");
    let answers = json!({ "color": { "answers": ["Green"] }, "why": { "answers": ["so"] } });
    assert_eq!(told(&server), json!({ "answers": answers }));
    let (id, question) = asked(&server, "asks with its tool").await;
    assert_eq!(
        answer(&server, &id, &question, json!({ "option": "decline" })).await.0,
        200
    );
    server.settled(&id).await;
    assert_eq!(told(&server), json!({ "answers": {} }));
}

#[tokio::test]
async fn form_of_an_mcp_server_of_codex_is_filled_in() {
    let server = with_codex("codex-form").start().await;
    let (id, question) = asked(&server, "asks with a form").await;
    assert_eq!(question["title"], "shop: Your size?");
    assert_eq!(
        question["questions"][0]["choices"],
        json!([{ "value": "S" }, { "value": "M" }])
    );
    let wrong = json!({ "option": "accept", "answers": { "size": "XXL" } });
    let (status, refusal) = answer(&server, &id, &question, wrong).await;
    assert_eq!((status, &refusal["field"]), (400, &json!("answers.size")), "{refusal}");
    let right = json!({ "option": "accept", "answers": { "size": "M" } });
    assert_eq!(answer(&server, &id, &question, right).await.0, 200);
    server.settled(&id).await;
    assert_eq!(told(&server), json!({ "action": "accept", "content": { "size": "M" } }));
    let (id, question) = asked(&server, "asks with a form").await;
    answer(&server, &id, &question, json!({ "option": "decline" })).await;
    server.settled(&id).await;
    assert_eq!(told(&server), json!({ "action": "decline" }));
}

/// An empty form was accepted.
#[tokio::test]
async fn nobody_fills_forms_in_where_nobody_is_asked() {
    let server = with_codex("codex-alone").start().await;
    for (prompt, expected) in [
        ("asks with a form", json!({ "action": "decline" })),
        ("asks with its tool", json!({ "answers": {} })),
    ] {
        let id = server
            .create(json!({ "agent": "codex", "prompt": prompt, "steerable": true }))
            .await;
        let session = server.settled(&id).await;
        assert_eq!(session["turns"][0]["result"], "Answered.", "{session}");
        assert_eq!(told(&server), expected);
    }
}
