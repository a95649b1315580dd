//! Messages to a turn of codex that no recording has.

use serde_json::{Value, json};

use crate::drivers::app_server::new;
use crate::drivers::driver::{Driver, Effect};
use crate::tests::plain;
use promptd_model::Stream;

fn receive(driver: &mut dyn Driver, message: &Value) -> Vec<Effect> {
    driver.observe_line(Stream::Stdout, message.to_string().as_bytes());
    driver.take_effects()
}

/// A driver whose turn runs, and the ids of the requests with which it has passed on these messages.
fn steered(numbers: &[u64]) -> (Box<dyn Driver>, Vec<i64>) {
    let mut driver = new(&plain());
    let begun = [
        json!({}),
        json!({ "thread": { "id": "th" } }),
        json!({ "turn": { "id": "tu" } }),
    ];
    for (id, result) in (1..).zip(begun) {
        receive(&mut *driver, &json!({ "id": id, "result": result }));
    }
    let mut ids = Vec::new();
    for number in numbers {
        assert!(driver.steer(*number, "a message", &[]));
        ids.extend(driver.take_effects().into_iter().find_map(request));
    }
    (driver, ids)
}

/// The id of the request.
fn request(effect: Effect) -> Option<i64> {
    let Effect::Write(line) = effect else { return None };
    serde_json::from_slice::<Value>(&line).ok()?["id"].as_i64()
}

#[test]
fn codex_says_of_each_message_whether_it_takes_it() {
    let (mut driver, ids) = steered(&[7, 8, 9]);
    let [taken, refused, _unanswered] = ids.as_slice() else {
        panic!("{ids:?}")
    };
    let answered = receive(&mut *driver, &json!({ "id": taken, "result": { "turnId": "tu" } }));
    assert_eq!(answered, [Effect::Steered { number: 7, taken: true }]);
    let error = json!({ "code": -32600, "message": "no active turn to steer" });
    let answered = receive(&mut *driver, &json!({ "id": refused, "error": error }));
    assert_eq!(
        answered,
        [Effect::Steered {
            number: 8,
            taken: false
        }]
    );
    let turn = json!({ "id": "tu", "status": "completed" });
    let over = json!({ "method": "turn/completed", "params": { "threadId": "th", "turn": turn } });
    let unanswered = Effect::Steered {
        number: 9,
        taken: false,
    };
    assert_eq!(receive(&mut *driver, &over), [unanswered, Effect::Close]);
}
