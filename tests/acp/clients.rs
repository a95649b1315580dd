//! `/v1/acp` is an agent to clients of the Agent Client Protocol: driven with the protocol's own libraries.

use std::future::ready;
use std::path::Path;
use std::sync::{Arc, Mutex};

use agent_client_protocol::schema::ProtocolVersion;
use agent_client_protocol::v1::ConnectionTo;
use agent_client_protocol::v1::schema::{
    CancelNotification, ContentBlock, InitializeRequest, ListSessionsRequest, LoadSessionRequest, NewSessionRequest,
    PromptRequest, RequestPermissionOutcome, RequestPermissionRequest, RequestPermissionResponse,
    SelectedPermissionOutcome, SessionId, SessionNotification, SessionUpdate, StopReason, TextContent,
};
use agent_client_protocol::{Agent, Client, Error, Lines};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use support::Server;
use support::acp::{call, prompt, scripted};
use tokio_tungstenite::tungstenite::Message;

/// What a client has heard.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<SessionUpdate>>>);

impl Heard {
    fn text_of(&self, wanted: impl Fn(&SessionUpdate) -> Option<&ContentBlock>) -> String {
        let heard = self.0.lock().unwrap();
        let texts = heard.iter().filter_map(|update| match wanted(update)? {
            ContentBlock::Text(text) => Some(text.text.clone()),
            _ => None,
        });
        texts.collect()
    }

    /// What the agent said.
    fn said(&self) -> String {
        self.text_of(|update| match update {
            SessionUpdate::AgentMessageChunk(chunk) => Some(&chunk.content),
            _ => None,
        })
    }

    /// What was said to it, as the client was told.
    fn asked(&self) -> String {
        self.text_of(|update| match update {
            SessionUpdate::UserMessageChunk(chunk) => Some(&chunk.content),
            _ => None,
        })
    }

    fn has_call(&self) -> bool {
        let heard = self.0.lock().unwrap();
        heard.iter().any(|update| matches!(update, SessionUpdate::ToolCall(_)))
    }
}

/// Connects with ACP's own library, and does something with the agent; `answer` is what questions get.
async fn with_client<T: Send + 'static>(
    server: &Server,
    query: &str,
    heard: &Heard,
    answer: &'static str,
    work: impl AsyncFnOnce(ConnectionTo<Agent>) -> Result<T, Error> + Send,
) -> T {
    let url = format!("ws://{}/v1/acp{query}", server.address);
    let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let (sink, stream) = socket.split();
    let outgoing = sink
        .sink_map_err(std::io::Error::other)
        .with(|line: String| ready(Ok::<_, std::io::Error>(Message::text(line))));
    let incoming = stream.filter_map(|message| {
        ready(match message {
            Ok(Message::Text(text)) => Some(Ok(text.to_string())),
            Ok(_) => None,
            Err(error) => Some(Err(std::io::Error::other(error))),
        })
    });
    let heard = heard.clone();
    Client
        .v1()
        .on_receive_notification(
            async move |notification: SessionNotification, _connection| {
                heard.0.lock().unwrap().push(notification.update);
                Ok(())
            },
            agent_client_protocol::on_receive_notification!(),
        )
        .on_receive_request(
            async move |request: RequestPermissionRequest, responder, _connection| {
                let option = request.options.iter().find(|option| &*option.option_id.0 == answer);
                let option = option.unwrap().option_id.clone();
                responder.respond(RequestPermissionResponse::new(RequestPermissionOutcome::Selected(
                    SelectedPermissionOutcome::new(option),
                )))
            },
            agent_client_protocol::on_receive_request!(),
        )
        .connect_with(Lines::new(outgoing, incoming), work)
        .await
        .unwrap()
}

fn text(session: &SessionId, text: &str) -> PromptRequest {
    PromptRequest::new(session.clone(), vec![ContentBlock::Text(TextContent::new(text))])
}

async fn begin(agent: &ConnectionTo<Agent>, cwd: &Path) -> Result<SessionId, Error> {
    let answer = agent
        .send_request(InitializeRequest::new(ProtocolVersion::V1))
        .block_task()
        .await?;
    assert!(answer.agent_capabilities.load_session);
    assert_eq!(answer.agent_info.unwrap().name, "promptd");
    let new = agent.send_request(NewSessionRequest::new(cwd)).block_task().await?;
    Ok(new.session_id)
}

/// Such a client knows no forms. Its answer was refused without a word, and the turn waited for the time limit.
#[tokio::test]
async fn plain_allow_for_a_form_is_a_rejection() {
    let server = Server::with().scripted().start().await;
    std::fs::create_dir_all(server.workspace()).unwrap();
    let (heard, cwd) = (Heard::default(), server.workspace());
    let work = async move |agent: ConnectionTo<Agent>| {
        let session = begin(&agent, &cwd).await?;
        agent.send_request(text(&session, "form\nsay Bye.")).block_task().await
    };
    let ended = with_client(&server, "?agent=scripted&permission=ask", &heard, "accept", work).await;
    assert_eq!(ended.stop_reason, StopReason::EndTurn);
    let said = heard.said();
    assert!(
        said.contains(r#"{"action":"decline"}"#) && said.ends_with("Bye."),
        "{said}"
    );
}

#[tokio::test]
async fn client_prompts_cancels_and_loads_after_a_kill() {
    let mut server = Server::start().await;
    std::fs::create_dir_all(server.workspace()).unwrap();
    let cwd = server.workspace();
    let heard = Heard::default();
    let folder = cwd.clone();
    let session = with_client(&server, "", &heard, "", async move |agent| {
        let session = begin(&agent, &folder).await?;
        let ended = agent
            .send_request(text(&session, "echo hello; pwd"))
            .block_task()
            .await?;
        assert_eq!(ended.stop_reason, StopReason::EndTurn);
        let failed = agent
            .send_request(text(&session, "exit 3"))
            .block_task()
            .await
            .unwrap_err();
        assert_eq!(failed.data.unwrap()["cause"], "agent_error");
        let hangs = agent.send_request(text(&session, "echo on; sleep 600"));
        agent.send_notification(CancelNotification::new(session.clone()))?;
        assert_eq!(hangs.block_task().await?.stop_reason, StopReason::Cancelled);
        let list = agent.send_request(ListSessionsRequest::new()).block_task().await?;
        assert_eq!(list.sessions[0].session_id, session);
        Ok(session)
    })
    .await;
    let expected = format!("hello\n{}\n", cwd.display());
    assert!(heard.said().starts_with(&expected), "{}", heard.said());
    assert_eq!(heard.asked(), "", "the client knows what it asked");

    server.kill();
    server.start_again().await;
    let heard = Heard::default();
    with_client(&server, "", &heard, "", {
        let heard = heard.clone();
        async move |agent| {
            agent
                .send_request(LoadSessionRequest::new(session.clone(), cwd))
                .block_task()
                .await?;
            assert!(heard.said().starts_with(&expected), "{}", heard.said());
            assert!(heard.asked().starts_with("echo hello; pwdexit 3"), "{}", heard.asked());
            let ended = agent.send_request(text(&session, "echo again")).block_task().await?;
            assert_eq!(ended.stop_reason, StopReason::EndTurn);
            Ok(())
        }
    })
    .await;
    assert!(heard.said().ends_with("again\n"), "{}", heard.said());
}

#[tokio::test]
async fn client_answers_permission_questions() {
    let server = scripted("acp-asks").start().await;
    std::fs::create_dir_all(server.workspace()).unwrap();
    let heard = Heard::default();
    let cwd = server.workspace();
    with_client(&server, "?agent=gemini", &heard, "yes", async move |agent| {
        let session = begin(&agent, &cwd).await?;
        let ended = agent.send_request(text(&session, "go")).block_task().await?;
        assert_eq!(ended.stop_reason, StopReason::EndTurn);
        let hangs = agent.send_request(text(&session, "please hang"));
        agent.send_notification(CancelNotification::new(session))?;
        assert_eq!(hangs.block_task().await?.stop_reason, StopReason::Cancelled);
        Ok(())
    })
    .await;
    assert!(heard.has_call());
    assert!(heard.said().starts_with("I ask.You said yes."), "{}", heard.said());
}

#[tokio::test]
async fn first_answer_of_several_clients_counts() {
    let server = scripted("acp-several").start().await;
    std::fs::create_dir_all(server.workspace()).unwrap();
    let mut first = server.ws("/v1/acp?agent=gemini").await;
    let new = json!({ "cwd": server.workspace(), "mcpServers": [] });
    first.command(call(1, "session/new", &new)).await;
    let answer = first.next().await.unwrap();
    assert_eq!(answer["result"]["_meta"]["promptd"]["permission"], "ask", "{answer}");
    let id = answer["result"]["sessionId"].clone();
    first.command(call(2, "session/prompt", &prompt(&id, "go"))).await;
    let asked = first
        .until(|message| message["method"] == "session/request_permission")
        .await;
    assert_eq!(asked.last().unwrap()["params"]["toolCall"]["toolCallId"], "call-1");
    first.close().await;

    let mut others = Vec::new();
    for _ in 0..2 {
        let mut other = server.ws("/v1/acp").await;
        let load = json!({ "sessionId": id, "cwd": server.workspace(), "mcpServers": [] });
        other.command(call(1, "session/load", &load)).await;
        let replayed = other
            .until(|message| message["id"] == 1 && message["result"].is_object())
            .await;
        let asked = replayed
            .iter()
            .find(|message| message["method"] == "session/request_permission");
        others.push((other, asked.unwrap()["id"].clone()));
    }
    let (mut second, question) = others.remove(0);
    let (mut third, withdrawn) = others.remove(0);
    let chosen = json!({ "outcome": { "outcome": "selected", "optionId": "no" } });
    second
        .command(json!({ "jsonrpc": "2.0", "id": question, "result": chosen }))
        .await;
    let heard = third.until(|message| message["method"] == "$/cancel_request").await;
    assert_eq!(heard.last().unwrap()["params"]["requestId"], withdrawn);
    let said = |message: &Value| message["params"]["update"]["content"]["text"] == "You said no.";
    second.until(said).await;
    third.until(said).await;
    let session = server.settled(id.as_str().unwrap()).await;
    assert_eq!(session["status"], "completed", "{session}");
}

#[tokio::test]
async fn invalid_messages_are_answered_and_the_connection_stays() {
    let server = Server::start().await;
    let mut client = server.ws("/v1/acp").await;
    for (text, code) in [
        ("garbage", -32700),
        ("[]", -32600),
        (r#"{"jsonrpc":"2.0","id":7,"method":"session/fly"}"#, -32601),
        (
            r#"{"jsonrpc":"2.0","id":8,"method":"session/prompt","params":{}}"#,
            -32602,
        ),
    ] {
        client.send(text).await;
        let answer = client.next().await.unwrap();
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
    let image = json!({ "sessionId": server.shell("true").await,
        "prompt": [{ "type": "image", "data": "", "mimeType": "image/png" }] });
    client.command(call(9, "session/prompt", &image)).await;
    let answer = client.next().await.unwrap();
    assert_eq!(
        (answer["id"].clone(), answer["error"]["code"].clone()),
        (json!(9), json!(-32602))
    );
    assert!(
        answer["error"]["message"].as_str().unwrap().contains("an image"),
        "{answer}"
    );
    let unknown = json!({ "sessionId": "nobody", "cwd": "/", "mcpServers": [] });
    client.command(call(10, "session/load", &unknown)).await;
    let answer = client.next().await.unwrap();
    assert_eq!(answer["error"]["code"], -32002, "{answer}");
    client
        .command(call(11, "initialize", &json!({ "protocolVersion": 1 })))
        .await;
    assert_eq!(client.next().await.unwrap()["result"]["protocolVersion"], 1);
}

#[tokio::test]
async fn raw_output_is_sent_only_on_request() {
    let server = Server::start().await;
    std::fs::create_dir_all(server.workspace()).unwrap();
    for (query, wanted) in [("", false), ("?raw=true", true)] {
        let mut client = server.ws(&format!("/v1/acp{query}")).await;
        let new = json!({ "cwd": server.workspace(), "mcpServers": [] });
        client.command(call(1, "session/new", &new)).await;
        let id = client.next().await.unwrap()["result"]["sessionId"].clone();
        let asks = prompt(&id, "echo aside >&2; echo answer");
        client.command(call(2, "session/prompt", &asks)).await;
        let heard = client.until(|message| message["id"] == 2).await;
        let raw =
            |message: &&Value| message["method"] == "_promptd/raw" && message["params"]["update"]["line"] == "aside";
        assert_eq!(heard.iter().filter(raw).count(), usize::from(wanted), "{heard:?}");
        let last = &heard.last().unwrap()["result"];
        assert_eq!(last["stopReason"], "end_turn", "{heard:?}");
    }
}

#[tokio::test]
async fn acp_requires_the_token() {
    let server = Server::with().env("PROMPTD_TOKEN", "open-sesame").start().await;
    assert!(server.try_ws("/v1/acp", &[]).await.is_err());
    let protocol = [("sec-websocket-protocol", "promptd.bearer.open-sesame")];
    let mut client = server.try_ws("/v1/acp", &protocol).await.unwrap();
    client
        .command(call(1, "initialize", &json!({ "protocolVersion": 1 })))
        .await;
    let answer = client.next().await.unwrap();
    assert_eq!(answer["result"]["agentInfo"]["name"], "promptd", "{answer}");
}
