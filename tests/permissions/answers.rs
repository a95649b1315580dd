//! A permission question waits for its answer, and the agent gets the answer exactly once.

use std::time::Duration;

use serde_json::{Value, json};
use support::{Server, let_pass, of_type, procs, wait_for, wait_until};

/// How many questions are asked while servers are killed.
pub(crate) const QUESTIONS: usize = 12;

/// How many sessions wait at once.
const MANY: u64 = 12;

/// What the agent hears in a first turn before anything is asked.
const OPENING: [&str; 4] = ["START", "initialize", "session/new", "session/prompt"];

pub(crate) fn heard<const N: usize>(then: [&str; N]) -> Vec<String> {
    let all = OPENING.into_iter().chain(then);
    all.map(str::to_owned).collect()
}

#[tokio::test]
async fn agent_waits_and_continues_with_the_answer() {
    let server = Server::with().scripted().start().await;
    let id = server.act("say Well: \nask\nsay Bye.", json!({})).await;
    let question = server.question(&id).await;
    assert_eq!(question["title"], "rm -rf /");
    assert_eq!(question["turn"], 1);
    assert_eq!(question["tool_call"]["rawInput"]["command"], "rm");
    assert_eq!(
        question["options"][0],
        json!({ "optionId": "allow-once", "name": "allow_once", "kind": "allow_once" })
    );
    let session = server.session(&id).await;
    assert_eq!(session["turns"][0]["status"], "waiting");
    let listed = server.get(&format!("/v1/sessions/{id}/permissions")).await;
    assert_eq!(listed, json!({ "permissions": [question] }));
    let (status, wrong) = server.reply(&id, &question, "perhaps").await;
    assert_eq!(
        (status, &wrong["code"], &wrong["field"]),
        (400, &json!("invalid_field"), &json!("option"))
    );
    let detail = wrong["detail"].as_str().unwrap();
    assert!(detail.contains("\"allow-always\" (allow_always)"), "{detail}");
    let (status, unknown) = server.reply(&id, &json!({ "id": "77" }), "allow_once").await;
    assert_eq!((status, &unknown["code"]), (404, &json!("permission_not_found")));
    // By its kind, which one option has.
    let (status, answer) = server.reply(&id, &question, "allow_once").await;
    assert_eq!((status, &answer["option"]), (200, &json!("allow-once")));
    let session = server.settled(&id).await;
    assert_eq!(session["status"], "completed", "{session}");
    assert_eq!(session["turns"][0]["result"], "Well: told allow-once. Bye.");
    assert_eq!(session["pending_permissions"], json!([]));
    assert_eq!(server.heard_in_short(""), heard(["allow-once", "EOF"]));
    let records = server.records(&id).await;
    let answers = of_type(&records, "permission_answer");
    assert_eq!((answers.len(), &answers[0]["by"]), (1, &json!("caller")));
    // The next turn is another process, which resumes the agent's session.
    server
        .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "say Again." }))
        .await;
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][1]["result"], "Again.", "{session}");
    let again = ["START", "initialize", "session/load", "session/prompt", "EOF"];
    assert_eq!(server.heard_in_short("")[6..], again.map(str::to_owned));
}

#[tokio::test]
async fn first_answer_counts_and_repeating_it_is_fine() {
    let server = Server::with().scripted().start().await;
    let id = server.act("ask\nask", json!({})).await;
    let first = server.question(&id).await;
    let last = server.session(&id).await["last_seq"].clone();
    let mut ws = server.ws(&format!("/v1/sessions/{id}/ws?after={last}")).await;
    ws.command(json!({ "type": "permission", "id": first["id"], "option": "reject-once" }))
        .await;
    let mut ack = ws.next().await.unwrap();
    while ack["type"] != "ack" {
        ack = ws.next().await.unwrap();
    }
    assert_eq!(
        ack,
        json!({ "type": "ack", "command": "permission", "id": first["id"], "option": "reject-once" })
    );
    let second =
        |session: &Value| session["pending_permissions"][0]["id"] != first["id"] && session["status"] == "waiting";
    let session = server.session_when(&id, second).await;
    assert_eq!(server.reply(&id, &first, "reject-once").await.0, 200);
    let (status, late) = server.reply(&id, &first, "allow-once").await;
    assert_eq!(
        (status, &late["code"], &late["by"]),
        (409, &json!("permission_answered"), &json!("caller"))
    );
    server
        .reply(&id, &session["pending_permissions"][0], "allow-always")
        .await;
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["result"], "told reject-once. told allow-always. ");
}

/// Ids began anew with every turn and every attempt: a late "allow" allowed what nobody had been asked about.
#[tokio::test]
async fn answer_to_an_old_question_answers_no_other() {
    let server = Server::with().scripted().start().await;
    let retry = json!({ "max": 1, "delay": 0.01 });
    let id = server.act("ask\nexit 3", json!({ "retry": retry })).await;
    let mut former = Vec::new();
    for (turn, attempt) in [(1, 1), (1, 2), (2, 1)] {
        if turn == 2 {
            server.settled(&id).await;
            server
                .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "ask" }))
                .await;
        }
        let asks = |session: &Value| {
            let last = session["turns"].as_array().unwrap().last().unwrap();
            session["status"] == "waiting" && (&last["turn"], &last["attempt"]) == (&json!(turn), &json!(attempt))
        };
        let question = server.session_when(&id, asks).await["pending_permissions"][0].clone();
        for question in &former {
            // The same answer again, in the same words, is no mistake, whatever has come since.
            let (status, answer) = server.reply(&id, question, "allow_once").await;
            assert_eq!((status, &answer["option"]), (200, &json!("allow-once")), "{answer}");
            let (status, answer) = server.reply(&id, question, "reject_once").await;
            assert_eq!((status, &answer["code"]), (409, &json!("permission_answered")));
        }
        let session = server.session(&id).await;
        assert_eq!(session["pending_permissions"], json!([question]), "{session}");
        assert_eq!(server.reply(&id, &question, "allow_once").await.0, 200);
        former.push(question);
    }
    assert_eq!(server.settled(&id).await["turns"][1]["result"], "told allow-once. ");
    assert_eq!(server.reply(&id, &former[2], "allow_once").await.0, 200);
    let answers = of_type(&server.records(&id).await, "permission_answer").len();
    assert_eq!(answers, 3);
}

#[tokio::test]
async fn withdrawn_question_stops_waiting() {
    let server = Server::with().scripted().start().await;
    let id = server.act("ask-back go\nask\nsay Bye.", json!({})).await;
    let back = server.question(&id).await;
    server.touch("go");
    let others = |session: &Value| session["status"] == "waiting" && session["pending_permissions"][0] != back;
    let session = server.session_when(&id, others).await;
    let [question] = session["pending_permissions"].as_array().unwrap().as_slice() else {
        panic!("{session}")
    };
    let (status, late) = server.reply(&id, &back, "allow_once").await;
    assert_eq!((status, &late["by"]), (409, &json!("agent")), "{late}");
    server.reply(&id, question, "allow_once").await;
    let session = server.settled(&id).await;
    assert_eq!(session["status"], "completed", "{session}");
    assert_eq!(
        session["turns"][0]["result"],
        "refused with -32800. told allow-once. Bye."
    );
}

#[tokio::test]
async fn default_answers_when_time_is_over() {
    let server = Server::with().scripted().start().await;
    for (default, told) in [(Value::Null, "reject-once"), (json!("allow"), "allow-once")] {
        let more = json!({ "permission_timeout": 0.3, "permission_default": default });
        let id = server.act("ask", more).await;
        let session = server.settled(&id).await;
        assert_eq!(session["turns"][0]["result"], format!("told {told}. "), "{session}");
        let records = server.records(&id).await;
        let answer = of_type(&records, "permission_answer")[0];
        assert_eq!((&answer["option"], &answer["by"]), (&json!(told), &json!("default")));
        assert!(of_type(&records, "permission")[0]["expires_at"].is_string());
    }
    // An agent to which nothing can be said that the default means is told that the turn is over.
    let id = server
        .act(
            "ask-odd",
            json!({ "permission_timeout": 0.1, "permission_default": "allow" }),
        )
        .await;
    assert_eq!(server.settled(&id).await["status"], "cancelled");
}

#[tokio::test]
async fn waiting_for_an_answer_is_not_idle_time() {
    let server = Server::with().scripted().start().await;
    let id = server.act("ask\nsay Bye.\nhang", json!({ "idle_timeout": 2 })).await;
    let question = server.question(&id).await;
    // More than twice as long as it may be silent.
    let_pass(Duration::from_millis(4_500), "longer than the idle timeout").await;
    assert_eq!(server.session(&id).await["status"], "waiting");
    server.reply(&id, &question, "allow_once").await;
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["cause"], "idle_timeout", "{session}");
    let records = server.records(&id).await;
    assert_eq!(of_type(&records, "permission_answer").len(), 1);
}

#[tokio::test]
async fn retried_agent_asks_again() {
    let server = Server::with().scripted().start().await;
    let retry = json!({ "max": 1, "delay": 0.1 });
    let id = server.act("ask\nexit 3", json!({ "retry": retry })).await;
    for attempt in 1..=2 {
        let asked = |session: &Value| session["status"] == "waiting" && session["turns"][0]["attempt"] == attempt;
        let session = server.session_when(&id, asked).await;
        let question = &session["pending_permissions"][0];
        assert_eq!(question["id"], format!("1.{attempt}.1"));
        assert_eq!(server.reply(&id, question, "allow_once").await.0, 200);
    }
    let session = server.settled(&id).await;
    assert_eq!(
        (&session["status"], &session["turns"][0]["exit_code"]),
        (&json!("failed"), &json!(3))
    );
    let twice = [heard(["allow-once"]), heard(["allow-once"])].concat();
    assert_eq!(server.heard_in_short(""), twice);
}

#[tokio::test]
async fn options_without_a_dialog_are_refused() {
    let server = Server::with()
        .scripted_and("[defaults]\npermission = \"ask\"")
        .start()
        .await;
    // By the configuration's default.
    let id = server.create(json!({ "agent": "scripted", "prompt": "ask" })).await;
    let question = server.question(&id).await;
    let (status, refused) = server
        .send("POST", &format!("/v1/sessions/{id}/input"), json!("x"))
        .await;
    assert_eq!((status, &refused["code"]), (409, &json!("conversation")));
    server.reply(&id, &question, "allow_once").await;
    assert_eq!(server.settled(&id).await["status"], "completed");
    for (request, code, field) in [
        (json!({ "agent": "scripted", "stdin": "open" }), "unsupported", "stdin"),
        (
            json!({ "agent": "shell", "prompt": "true" }),
            "unsupported",
            "permission",
        ),
        (
            json!({ "agent": "shell", "permission": "bypass", "permission_timeout": 3 }),
            "invalid_field",
            "permission_timeout",
        ),
        (
            json!({ "agent": "scripted", "permission": "bypass", "permission_default": "allow" }),
            "invalid_field",
            "permission_default",
        ),
        (
            json!({ "agent": "scripted", "permission_timeout": -1 }),
            "invalid_field",
            "permission_timeout",
        ),
    ] {
        let (status, refused) = server.send("POST", "/v1/sessions", request.clone()).await;
        assert!(status == 400 || status == 422, "{request}: {refused}");
        assert_eq!(
            (&refused["code"], &refused["field"]),
            (&json!(code), &json!(field)),
            "{refused}"
        );
    }
    let shell = server
        .create(json!({ "agent": "shell", "permission": "bypass", "prompt": "true" }))
        .await;
    assert_eq!(server.settled(&shell).await["status"], "completed");
    // With `bypass` it is talked with all the same, and nobody is asked.
    let id = server
        .create(json!({ "agent": "scripted", "permission": "bypass", "prompt": "ask", "cwd": "b" }))
        .await;
    assert_eq!(server.settled(&id).await["turns"][0]["result"], "told allow-once. ");
}

#[tokio::test]
async fn question_shows_no_secret() {
    let server = Server::with().scripted().start().await;
    let env = json!({ "SECRET_KEY": "correct-horse-battery" });
    let id = server.act("ask", json!({ "env": env })).await;
    let question = server.question(&id).await;
    assert_eq!(question["title"], "rm -rf ***");
    let listed = server.get(&format!("/v1/sessions/{id}/permissions")).await;
    let records = server.records(&id).await;
    assert!(!listed.to_string().contains("horse") && !json!(records).to_string().contains("horse"));
}

#[tokio::test]
async fn many_waiting_agents_cost_no_cpu() {
    let server = Server::with().scripted_and("[limits]\nrunning = 20").start().await;
    let mut ids = Vec::new();
    for number in 0..MANY {
        ids.push(server.act("ask", json!({ "cwd": number.to_string() })).await);
    }
    for id in &ids {
        server.question(id).await;
    }
    let switches = |pid: i32| -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let times = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
        times
            .map(|text| text.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap())
            .sum()
    };
    wait_for("the end of what the questions have started", async || {
        let before = switches(server.pid());
        let_pass(Duration::from_secs(1), "few things may happen meanwhile").await;
        let woke = switches(server.pid()).saturating_sub(before);
        if woke < MANY / 2 { Ok(()) } else { Err(woke) }
    })
    .await;
    let before = switches(server.pid());
    let_pass(Duration::from_secs(4), "nothing may happen meanwhile").await;
    let woke = switches(server.pid()).saturating_sub(before);
    // Once a second for the clocks, whoever waits.
    assert!(woke < 2 * MANY, "woke {woke} times for {MANY} sessions in 4 s");
    for id in &ids {
        let question = server.question(id).await;
        server.reply(id, &question, "allow_once").await;
    }
    for id in &ids {
        assert_eq!(server.settled(id).await["status"], "completed");
    }
    wait_until("the agents' end", || procs::marked(&server.home()).is_empty()).await;
}
