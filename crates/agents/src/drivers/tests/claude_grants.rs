//! What an answer to claude grants: what its name says, and no more.

use serde_json::{Value, json};

use crate::TurnRequest;
use crate::drivers::claude_control::new;
use crate::drivers::driver::{Driver, Effect, Question};
use crate::tests::{launch, plain};
use promptd_model::{AnswerDetails, GrantScope, PermissionMode, PermissionOption, Stream};

/// A driver with one open question, and the question.
fn asked(more: &Value) -> (Box<dyn Driver>, Question) {
    let mut driver = new(&TurnRequest {
        permission: PermissionMode::Ask,
        ..plain()
    });
    driver.take_effects();
    let mut request = json!({ "subtype": "can_use_tool", "tool_name": "Bash", "input": { "command": "touch a.txt" } });
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    let ask = json!({ "type": "control_request", "request_id": "a", "request": request });
    driver.observe_line(Stream::Stdout, ask.to_string().as_bytes());
    let Some(Effect::Ask(question)) = driver.take_effects().pop() else {
        panic!("no question")
    };
    (driver, question)
}

fn suggested(suggestions: Value) -> (Box<dyn Driver>, Question) {
    asked(&json!({ "permission_suggestions": suggestions }))
}

fn decision(driver: &mut dyn Driver) -> Value {
    let Some(Effect::Write(answer)) = driver.take_effects().pop() else {
        panic!("no answer")
    };
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    answer["response"]["response"].clone()
}

/// The options that grant more than one call: id and name.
fn grants(question: &Question) -> Vec<(&str, &str)> {
    let grants = question.options.iter().filter(|option| option.grant.is_some());
    grants
        .map(|option| (option.option_id.as_str(), option.name.as_str()))
        .collect()
}

/// As claude 2.1.329 asks about `touch a.txt`.
fn touch() -> Value {
    json!([
        { "type": "addRules", "rules": [{ "toolName": "Bash", "ruleContent": "touch a.txt" }], "behavior": "allow", "destination": "localSettings" },
        { "type": "addDirectories", "directories": ["/w"], "destination": "session" },
        { "type": "setMode", "mode": "acceptEdits", "destination": "session" },
    ])
}

const EDITS: &str = "Allow edits, and mkdir, touch, rm, rmdir, mv, cp and sed on files of the working directories, without asking in this session";

/// One option sent all of them back: a write and `rm -rf` then passed without a question, and the rule stayed in the
/// workspace.
#[test]
fn each_suggestion_is_an_option_of_its_own() {
    let (_, question) = suggested(touch());
    assert_eq!(
        grants(&question),
        [
            ("allow_rules_session", "Allow `touch a.txt` in this session"),
            ("allow_directories_session", "Allow access to /w in this session"),
            ("allow_edits_session", EDITS),
            (
                "allow_rules_local",
                "Allow `touch a.txt` in this project, in later sessions too (kept in .claude/settings.local.json)"
            ),
        ]
    );
    let ids: Vec<&str> = question
        .options
        .iter()
        .map(|option| option.option_id.as_str())
        .collect();
    assert_eq!((ids[0], ids[5]), ("allow", "reject"));
    let rule = json!({ "toolName": "Bash", "ruleContent": "touch a.txt" });
    let rules = |to: &str| json!({ "type": "addRules", "rules": [rule], "behavior": "allow", "destination": to });
    for (option, granted) in [
        ("allow_rules_session", rules("session")),
        ("allow_rules_local", rules("localSettings")),
        (
            "allow_directories_session",
            json!({ "type": "addDirectories", "directories": ["/w"], "destination": "session" }),
        ),
        (
            "allow_edits_session",
            json!({ "type": "setMode", "mode": "acceptEdits", "destination": "session" }),
        ),
    ] {
        let (mut driver, _) = suggested(touch());
        driver.answer("1", option, &AnswerDetails::default());
        let expected = json!({
            "behavior": "allow", "updatedInput": { "command": "touch a.txt" }, "updatedPermissions": [granted],
        });
        assert_eq!(decision(&mut *driver), expected);
    }
    let (mut driver, _) = suggested(touch());
    driver.answer("1", "allow", &AnswerDetails::default());
    assert_eq!(decision(&mut *driver)["updatedPermissions"], Value::Null);
}

/// A question that a former version asked may be answered after an upgrade.
#[test]
fn former_option_allows_this_call_only() {
    let (mut driver, _) = suggested(touch());
    driver.answer("1", "allow_always", &AnswerDetails::default());
    let expected = json!({ "behavior": "allow", "updatedInput": { "command": "touch a.txt" } });
    assert_eq!(decision(&mut *driver), expected);
}

#[test]
fn changed_input_changes_no_grant() {
    let (mut driver, _) = suggested(touch());
    let details = json!({ "updated_input": { "command": "touch b.txt" } });
    driver.answer("1", "allow_rules_session", &serde_json::from_value(details).unwrap());
    let answer = decision(&mut *driver);
    assert_eq!(answer["updatedInput"]["command"], "touch b.txt");
    assert_eq!(
        answer["updatedPermissions"][0]["rules"][0]["ruleContent"],
        "touch a.txt"
    );
}

#[test]
fn what_cannot_be_named_is_not_offered() {
    let rules =
        |rules: Value| json!({ "type": "addRules", "rules": rules, "behavior": "allow", "destination": "session" });
    let bash = |content: &str| rules(json!([{ "toolName": "Bash", "ruleContent": content }]));
    for suggestion in [
        json!(null),
        json!("setMode"),
        json!({}),
        json!({ "type": "unheardOf", "rules": [{ "toolName": "Bash" }] }),
        json!({ "type": "replaceRules", "rules": [{ "toolName": "Bash" }], "behavior": "allow", "destination": "session" }),
        json!({ "type": "removeRules", "rules": [{ "toolName": "Bash" }], "behavior": "deny", "destination": "session" }),
        json!({ "type": "addRules", "rules": [{ "toolName": "Bash" }], "behavior": "deny", "destination": "session" }),
        json!({ "type": "addRules", "rules": [{ "toolName": "Bash" }], "destination": "session" }),
        json!({ "type": "setMode", "mode": "bypassPermissions", "destination": "session" }),
        json!({ "type": "setMode", "mode": "auto", "destination": "session" }),
        json!({ "type": "setMode", "destination": "session" }),
        json!({ "type": "addDirectories", "directories": [], "destination": "session" }),
        json!({ "type": "addDirectories", "directories": ["/w", 7], "destination": "session" }),
        rules(json!([])),
        rules(json!([{ "toolName": "" }])),
        rules(json!([{ "toolName": "Bash", "ruleContent": "ls" }, { "ruleContent": "rm -rf /" }])),
        bash(""),
        bash(" \n"),
        bash(&"x".repeat(1000)),
    ] {
        let (_, question) = suggested(json!([suggestion]));
        assert_eq!(grants(&question), [], "{suggestion}");
        assert_eq!(question.options.len(), 2);
    }
    for none in [json!(null), json!([]), json!({}), json!("x")] {
        assert_eq!(grants(&suggested(none).1), []);
    }
}

#[test]
fn odd_texts_are_shown_as_they_are() {
    let rules = json!([
        { "toolName": "Bash", "ruleContent": "a\nb\u{202e}" },
        { "toolName": "mcp__srv__tool" },
        { "toolName": "WebFetch", "ruleContent": "domain:x.org" },
    ]);
    let rule = json!({ "type": "addRules", "rules": rules, "behavior": "allow", "destination": "cliArg", "more": 1 });
    let (mut driver, question) = suggested(json!([rule, rule]));
    let name = r"Allow `a\nb\u{202e}`, every use of mcp__srv__tool and WebFetch(domain:x.org) in this session";
    assert_eq!(grants(&question), [("allow_rules_session", name)]);
    driver.answer("1", "allow_rules_session", &AnswerDetails::default());
    let granted = json!({ "type": "addRules", "rules": rules, "behavior": "allow", "destination": "session" });
    assert_eq!(decision(&mut *driver)["updatedPermissions"], json!([granted]));
}

#[test]
fn several_suggestions_of_a_type_have_ids_of_their_own() {
    let rule = |content: &str| {
        let rules = json!([{ "toolName": "Bash", "ruleContent": content }]);
        json!({ "type": "addRules", "rules": rules, "behavior": "allow", "destination": "userSettings" })
    };
    let (_, question) = suggested(json!([rule("ls"), rule("pwd")]));
    let ids: Vec<&str> = grants(&question).into_iter().map(|(id, _)| id).collect();
    assert_eq!(
        ids,
        [
            "allow_rules_session",
            "allow_rules_session_2",
            "allow_rules_user",
            "allow_rules_user_2"
        ]
    );
    let scopes: Vec<_> = question.options.iter().filter_map(|option| option.scope).collect();
    assert_eq!(
        scopes,
        [
            GrantScope::Session,
            GrantScope::Session,
            GrantScope::User,
            GrantScope::User
        ]
    );
}

/// Then a rule would be wider than what is asked, or would not be obeyed.
#[test]
fn claude_can_ask_for_this_call_only() {
    for (member, value) in [
        ("suppress_always_allow_rule", json!(true)),
        (
            "matched_ask_rule",
            json!({ "source": "userSettings", "tool_name": "Bash" }),
        ),
    ] {
        let (_, question) = asked(&json!({ "permission_suggestions": touch(), member: value }));
        assert_eq!(grants(&question), []);
    }
}

/// Each turn is a process of its own.
#[test]
fn a_later_turn_has_what_the_session_was_granted() {
    let suggestions = json!([
        { "type": "addRules", "rules": [{ "toolName": "Bash", "ruleContent": "echo (a) \\" }, { "toolName": "WebSearch" }], "behavior": "allow", "destination": "session" },
        { "type": "addDirectories", "directories": ["/d"], "destination": "session" },
        { "type": "setMode", "mode": "acceptEdits", "destination": "session" },
    ]);
    let (_, question) = suggested(suggestions);
    let granted: Vec<Value> = question
        .options
        .iter()
        .filter_map(|option: &PermissionOption| option.grant.clone())
        .collect();
    let request = TurnRequest {
        permission: PermissionMode::Ask,
        grants: &granted,
        ..plain()
    };
    let (line, started) = launch("claude", &request);
    assert!(
        line.contains("--settings /s/session-grants.json --permission-mode acceptEdits"),
        "{line}"
    );
    let (_, settings) = started
        .files
        .iter()
        .find(|(name, _)| *name == "session-grants.json")
        .unwrap();
    let expected = json!({ "permissions": {
        "allow": ["Bash(echo \\(a\\) \\\\)", "WebSearch"], "additionalDirectories": ["/d"],
    } });
    assert_eq!(serde_json::from_str::<Value>(settings).unwrap(), expected);
    let bypass = TurnRequest {
        permission: PermissionMode::Bypass,
        ..request
    };
    assert!(!launch("claude", &bypass).0.contains("--settings"));
}
