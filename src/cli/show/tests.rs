//! Lines of the view in, text out.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use promptd_model::Stream;

fn line(second: u8, update: &Value) -> String {
    format!(r#"{{"seq":1,"time":"2026-11-21T02:40:0{second}.000000Z","turn":1,"update":{update}}}"#)
}

fn text(kind: &str, text: &str) -> String {
    line(
        0,
        &json!({ "sessionUpdate": kind, "content": { "type": "text", "text": text } }),
    )
}

fn shown(style: Style, lines: &[String]) -> (String, String) {
    let mut show = Show::new("s", style);
    let mut pieces: Vec<_> = lines.iter().flat_map(|line| show.line(line.as_bytes())).collect();
    pieces.extend(show.finish());
    let of = |wanted| {
        let texts = pieces.iter().filter(|(stream, _)| *stream == wanted);
        texts.map(|(_, text)| text.as_str()).collect()
    };
    (of(Stream::Stdout), of(Stream::Stderr))
}

fn terminal() -> Style {
    Style {
        terminal: true,
        prompts: true,
        keys: true,
        ..Style::plain()
    }
}

#[test]
fn parallel_calls_are_named_when_they_end() {
    let call = |second, id: &str| {
        line(
            second,
            &json!({ "sessionUpdate": "tool_call", "toolCallId": id, "title": id, "name": "Bash", "status": "in_progress" }),
        )
    };
    let end = |second, id: &str, status: &str, output: &str| {
        let content = json!([{ "type": "content", "content": { "type": "text", "text": output } }]);
        line(
            second,
            &json!({ "sessionUpdate": "tool_call_update", "toolCallId": id, "status": status, "content": content }),
        )
    };
    let lines = [
        call(0, "a"),
        call(1, "b"),
        end(2, "b", "completed", "\n fine\nand more"),
        end(3, "a", "failed", "\x1b[2J"),
        end(4, "never", "completed", "x"),
    ];
    let expected = "● Bash: a\n● Bash: b\n  ✓ fine (1.0 s)\n  ✗ Bash: a: ^[[2J (3.0 s)\n";
    assert_eq!(shown(terminal(), &lines).0, expected);
}

#[test]
fn thoughts_and_prompts_are_for_terminals_only() {
    let mut subagent = json!({ "sessionUpdate": "agent_message_chunk", "content": { "type": "text", "text": "sub" } });
    subagent["_meta"] = json!({ "parent_tool_use_id": "t" });
    let lines = [
        text("user_message_chunk", "do\nit"),
        text("agent_thought_chunk", "hm"),
        line(0, &subagent),
        text("agent_message_chunk", "done"),
    ];
    assert_eq!(shown(terminal(), &lines).0, "> do\n> it\n\nhmsub\n\ndone\n");
    assert_eq!(shown(Style::plain(), &lines).0, "done\n");
}

#[test]
fn questions_are_asked_one_after_the_other() {
    let ask = |id: &str| {
        format!(
            r#"{{"seq":1,"time":"2026-11-21T02:40:00.000000Z","turn":1,"type":"permission","id":"{id}","title":"rm {id}","options":[{{"optionId":"o","name":"Yes","kind":"allow_once"}},{{"optionId":"p","name":"No","kind":"reject_always"}}]}}"#
        )
    };
    let answer = r#"{"seq":2,"time":"2026-11-21T02:40:00.000000Z","turn":1,"type":"permission_answer","id":"1","option":"o","by":"default"}"#;
    let lines = [ask("1"), ask("2"), answer.to_owned()];
    let (out, _) = shown(terminal(), &lines);
    assert_eq!(
        out,
        "? rm 1\n  1 y  Yes\n  2    No\n  → o (by default)\n? rm 2\n  1 y  Yes\n  2    No\n"
    );
    let (_, stderr) = shown(Style::plain(), &lines[..1]);
    assert_eq!(
        stderr,
        "promptd: the agent asks: rm 1; answer with `promptd answer s 1 OPTION`, where OPTION is o (Yes), p (No)\n"
    );
    let mut show = Show::new("s", terminal());
    show.line(lines[0].as_bytes());
    let question = show.question().unwrap();
    let keys = [b'1', b'y', b'Y', b'2', b'n', b'a', b'3', b'0', b'\n'].map(|key| option_of_key(question, key));
    assert_eq!(
        keys,
        [Some("o"), Some("o"), Some("o"), Some("p"), None, None, None, None, None]
    );
}

#[test]
fn question_does_not_repeat_the_line_above() {
    let call = line(
        0,
        &json!({ "sessionUpdate": "tool_call", "toolCallId": "a", "title": "rm 1", "name": "Bash", "status": "pending" }),
    );
    let asked = r#"{"seq":2,"time":"2026-11-21T02:40:00.000000Z","turn":1,"type":"permission","id":"1","title":"rm 1","options":[{"optionId":"o","name":"Yes","kind":"allow_once"}]}"#;
    let lines = [call.clone(), asked.to_owned()];
    assert_eq!(
        shown(terminal(), &lines).0,
        "● Bash: rm 1\n? Is this allowed?\n  1 y  Yes\n"
    );
    let narrow = Style {
        width: 10,
        ..terminal()
    };
    assert_eq!(
        shown(narrow, &lines).0,
        "● Bash: r…\n? rm 1\n  1 y  Yes\n",
        "a title that was cut off is repeated"
    );
    let lines = [call, text("agent_message_chunk", "Hm.\n"), asked.to_owned()];
    assert_eq!(
        shown(terminal(), &lines).0,
        "● Bash: rm 1\n\nHm.\n\n? rm 1\n  1 y  Yes\n"
    );
}

#[test]
fn void_text_is_named_and_retries_are_said() {
    let chunk = |id: &str, text: &str| {
        let content = json!({ "type": "text", "text": text });
        line(
            0,
            &json!({ "sessionUpdate": "agent_message_chunk", "content": content, "messageId": id }),
        )
    };
    let void = |id: &str| line(0, &json!({ "sessionUpdate": "_message_superseded", "messageId": id }));
    let retry =
        json!({ "sessionUpdate": "notice", "severity": "warning", "title": "Overloaded.", "_meta": { "retry": {} } });
    let lines = [
        chunk("a", "one tw"),
        void("a"),
        void("b"),
        line(0, &retry),
        chunk("c", "one two"),
    ];
    let (out, err) = shown(Style::plain(), &lines);
    assert_eq!(out, "one tw\none two\n");
    assert_eq!(
        err,
        "the agent asks the model again; what it said in its last attempt does not count\nOverloaded.\n"
    );
}

#[test]
fn a_call_is_shown_when_it_is_known_what_it_does() {
    let announced =
        json!({ "sessionUpdate": "tool_call", "toolCallId": "a", "title": "Bash", "name": "Bash", "kind": "execute" });
    let complete = json!({
        "sessionUpdate": "tool_call_update", "toolCallId": "a", "title": "Run `npm test`", "name": "Bash",
        "status": "in_progress", "rawInput": { "command": "npm test" },
    });
    let lines = [line(0, &announced), line(0, &complete)];
    assert_eq!(shown(terminal(), &lines[..1]).0, "");
    assert_eq!(shown(terminal(), &lines).0, "● Bash: npm test\n");
}

#[test]
fn no_activity_line_while_a_line_is_open() {
    let mut show = Show::new("s", terminal());
    assert_eq!(show.activity(), Some("working"));
    show.line(text("agent_message_chunk", "half").as_bytes());
    assert_eq!(show.activity(), None);
    show.line(text("agent_message_chunk", " whole\n").as_bytes());
    assert_eq!(show.activity(), Some("working"));
}

proptest! {
    #[test]
    fn no_input_controls_the_terminal(said in any::<String>(), title in any::<String>(), bytes in any::<Vec<u8>>(), at in any::<prop::sample::Index>()) {
        let cut = said.floor_char_boundary(at.index(said.len() + 1));
        let (left, right) = said.split_at(cut);
        let call = json!({ "sessionUpdate": "tool_call", "toolCallId": title, "title": title, "status": "completed" });
        let raw = json!({ "sessionUpdate": "_raw", "stream": "stderr", "line": title });
        let plan = json!({ "sessionUpdate": "plan", "entries": [{ "content": title, "status": "pending" }] });
        let rest = [&call, &raw, &plan].map(|update| line(0, update));
        let of = |pieces: &[&str]| {
            let speech = pieces.iter().map(|piece| text("agent_message_chunk", piece));
            shown(terminal(), &speech.chain(rest.clone()).collect::<Vec<_>>())
        };
        let whole = of(&[&said]);
        prop_assert_eq!(&of(&[left, right]), &whole);
        prop_assert!(!(whole.0 + &whole.1).chars().any(|char| char.is_control() && !"\n\t".contains(char)));
        Show::new("s", terminal()).line(&bytes);
    }
}
