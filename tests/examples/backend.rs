//! The example backend stores each record once and in order, whatever is killed in between.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use support::backend::{self, Backend, Live, Postgres, SANDBOX, next};
use support::replay::recordings;
use support::{PATIENCE, Server, assert_no_holes, assert_same_bytes, folder, node, wait_until};

/// Writes numbered lines until it is told to end, with what is hard to store: a NUL, a byte that is no UTF-8, an emoji.
const AGENT: &str =
    "n=0; until [ -e done ]; do n=$((n+1)); printf 'line %d \\0 \\377\\n' $n; echo \"🙂 $n\" >&2; sleep 0.01; done";
/// What webhooks are signed with.
pub(crate) const KEY: &str = "a secret of at least 24 bytes";
const SESSIONS: usize = 3;
const ROUNDS: usize = 6;

/// Everything that stands behind a sandbox.
pub(crate) async fn stage(name: &str, env: &[(&'static str, &str)]) -> (Postgres, Backend) {
    tokio::task::spawn_blocking(backend::install).await.unwrap();
    let postgres = Postgres::start().await;
    let backend = Backend::start(&postgres, &folder(name), env).await;
    (postgres, backend)
}

#[tokio::test]
async fn every_record_is_in_postgresql_exactly_once() {
    let secret = format!("whsec_{}", STANDARD.encode(KEY));
    let (mut postgres, mut backend) = stage("kills", &[("WEBHOOK_SECRET", &*secret)]).await;
    let mut server = Server::with().config(&sinks(&backend.url(""), &secret)).start().await;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(server.shell(AGENT).await);
    }
    let readers: Vec<_> = sessions
        .iter()
        .map(|id| tokio::spawn(watch(backend.live(id))))
        .collect();

    for round in 0..ROUNDS {
        // Each has delivered since the last kill, so that each has something to lose.
        let heads = heads(&postgres);
        wait_until("progress of all sessions", || {
            let now = self::heads(&postgres);
            now.len() == SESSIONS
                && now
                    .iter()
                    .zip(heads.iter().chain(&[0; SESSIONS]))
                    .all(|(now, then)| now > then)
        })
        .await;
        match round % 3 {
            0 => {
                server.kill();
                server.start_again().await;
            }
            1 => {
                backend.kill();
                backend.start_again().await;
            }
            _ => {
                let refusals = || backend.log().matches("not stored").count();
                let before = refusals();
                postgres.crash().await;
                wait_until("a batch that cannot be stored", || refusals() > before).await;
                server.kill();
                server.start_again().await;
                postgres.start_again().await;
            }
        }
    }
    server.touch("done");
    for (id, reader) in sessions.iter().zip(readers) {
        server.settled(id).await;
        let journal = server.records(id).await;
        assert_no_holes(&journal, 1);
        let seen = tokio::time::timeout(PATIENCE, reader)
            .await
            .expect("a reader waits for ever")
            .unwrap();
        assert!(
            seen == journal,
            "{id}: a reader saw {} records of {}",
            seen.len(),
            journal.len()
        );
        let stored = stored(&postgres, id, 1);
        assert!(
            stored == journal,
            "{id}: stored are {} records of {}",
            stored.len(),
            journal.len()
        );
        let about = backend.read(&format!("/sessions/{id}")).await;
        let last = json!(journal.len());
        assert_eq!(about["branches"].as_array().unwrap().len(), 1, "{about}");
        assert_eq!(about["branches"][0]["head"], last);
        assert_eq!(about["branches"][0]["contiguous"], last);
        assert_eq!(about["flags"], json!([]));

        let status = format!("select 1 from session_statuses where session_id = '{id}' and status = 'completed'");
        wait_until("the last that the studio sink says", || {
            !postgres.query(&status).is_empty()
        })
        .await;
        let written = server.output(id, "stdout").await;
        let written = String::from_utf8_lossy(&written);
        assert_same_bytes(
            "the text put together",
            &text(&postgres, id, "output"),
            written.as_bytes(),
        );
        let written = server.output(id, "stderr").await;
        assert_same_bytes("the text put together", &text(&postgres, id, "stderr"), &written);
        let events = format!("select event->>'type' from webhooks where event->'data'->>'session' = '{id}' order by 1");
        wait_until("the last webhook", || {
            postgres.query(&events).contains(&"turn.ended".to_owned())
        })
        .await;
        assert_eq!(
            postgres.query(&events),
            ["session.created", "turn.ended", "turn.started"]
        );
    }
}

/// A configuration with every kind of sink that the example takes.
fn sinks(backend: &str, secret: &str) -> String {
    format!(
        r#"
[[sinks]]
kind = "http"
url = "{backend}/promptd/records"
gzip = true
headers = {{ authorization = "Bearer {SANDBOX}" }}
[[sinks]]
kind = "studio"
api_url = "{backend}"
api_key = "{SANDBOX}"
[[sinks]]
kind = "webhook"
url = "{backend}/promptd/webhook"
secret = "{secret}"
"#
    )
}

/// What the studio sink's chunks are together.
fn text(postgres: &Postgres, session: &str, name: &str) -> Vec<u8> {
    let key = format!("agent:shell:session:{session}:{name}");
    let lines = postgres.query(&format!(
        "select encode(bytes, 'base64') from log_texts where key = '{key}'"
    ));
    STANDARD.decode(lines.concat()).unwrap()
}

/// Reads `/live` as an application does: whenever it is lost, again from the last record on.
async fn watch(live: Live) -> Vec<Value> {
    let mut records: Vec<Value> = Vec::new();
    loop {
        let last = u64::try_from(records.len()).unwrap();
        let Some(mut socket) = live.after(last).await else {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        while let Ok(record) = next(&mut socket).await {
            assert_eq!(record["seq"], json!(records.len() + 1), "a hole or a double");
            let last = record["type"] == "turn_ended";
            records.push(record);
            if last {
                return records;
            }
        }
    }
}

fn heads(postgres: &Postgres) -> Vec<u64> {
    let heads = postgres.query("select head from branches order by session");
    heads.iter().map(|head| head.parse().unwrap()).collect()
}

fn stored(postgres: &Postgres, session: &str, branch: u32) -> Vec<Value> {
    let sql =
        format!("select record from records where session = '{session}' and branch = {branch} order by seq, index");
    let lines = postgres.query(&sql);
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A batch whose records all say the same word.
pub(crate) fn batch(epoch: &str, seqs: std::ops::RangeInclusive<u64>, word: &str) -> Value {
    let (first, last) = (*seqs.start(), *seqs.end());
    let records: Vec<Value> = seqs
        .map(|seq| json!({ "seq": seq, "type": "stdout", "data": word }))
        .collect();
    json!({ "session": "s", "epoch": epoch, "first_seq": first, "last_seq": last, "records": records })
}

/// The words of a branch, a letter each, with a dot for what is missing.
fn words(postgres: &Postgres, branch: u32) -> String {
    let mut text = String::new();
    for record in stored(postgres, "s", branch) {
        let at = usize::try_from(record["seq"].as_u64().unwrap()).unwrap();
        text += &".".repeat(at - 1 - text.len());
        text += record["data"].as_str().unwrap();
    }
    text
}

#[tokio::test]
async fn clone_makes_a_branch_and_resume_does_not() {
    let (postgres, backend) = stage("clones", &[]).await;
    let bring = async |batch: Value| assert_eq!(backend.bring("/promptd/records", &batch).await, 204, "{batch}");
    let look = |branch| words(&postgres, branch);

    // The answer was lost and the sandbox resumed: the same batch again, and then the next epoch.
    bring(batch("A", 1..=3, "a")).await;
    bring(batch("A", 1..=3, "a")).await;
    bring(batch("B", 4..=5, "b")).await;
    assert_eq!((look(1), look(2)), ("aaabb".into(), String::new()));

    // Three clones of the moment after seq 5, of which the first is taken for the original's continuation.
    bring(batch("C", 6..=8, "c")).await;
    bring(batch("D", 6..=7, "d")).await;
    bring(batch("E", 6..=9, "e")).await;
    bring(batch("D", 8..=8, "d")).await;
    bring(batch("C", 9..=9, "c")).await;
    bring(batch("D", 8..=8, "d")).await;
    assert_eq!(
        (look(1), look(2), look(3)),
        ("aaabbcccc".into(), "aaabbddd".into(), "aaabbeeee".into())
    );

    // Two branches end at 9, and nobody can tell which of them this continues: it is kept, and put to neither.
    bring(batch("F", 10..=10, "f")).await;
    assert_eq!(look(4), ".........f");
    // Only one ends at 8.
    bring(batch("G", 9..=9, "g")).await;
    assert_eq!(look(5), "........g", "8 is in all of them");

    // A clone that has not noticed that it is one uses the epoch and the key of the original.
    bring(batch("C", 10..=10, "x")).await;
    bring(batch("C", 10..=10, "y")).await;
    assert_eq!((look(1), look(6)), ("aaabbccccx".into(), "aaabbccccy".into()));

    // What promptd had to drop is flagged, and what comes behind it is kept.
    let mut after_a_gap = batch("D", 12..=12, "d");
    after_a_gap["records"][0]["type"] = json!("gap");
    bring(after_a_gap).await;
    assert_eq!(look(2), "aaabbddd...d");
    let about = backend.read("/sessions/s").await;
    assert_eq!(about["branches"][1]["contiguous"], 8);
    let flags: Vec<Value> = about["flags"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|flag| flag["branch"] == 2)
        .cloned()
        .collect();
    let flag = |seq, what| json!({ "branch": 2, "seq": seq, "what": what });
    assert_eq!(flags, [flag(6, "fork"), flag(12, "gap"), flag(12, "hole")]);
    let page = backend.read("/sessions/s/records?branch=2&after=7").await;
    assert_eq!((&page["records"][0]["seq"], &page["next"]), (&json!(8), &json!(12)));
}

/// In each view: all that real agents once wrote, with the lines that share a `seq`, and batches without a line.
#[tokio::test]
async fn each_view_of_real_agents_is_stored_exactly_once() {
    let (postgres, backend) = stage("views", &[]).await;
    for view in ["raw", "updates"] {
        let config = format!(
            "[[sinks]]\nkind = \"http\"\nurl = \"{}\"\nview = \"{view}\"\nheaders = {{ authorization = \"Bearer {SANDBOX}\" }}\n",
            backend.url("/promptd/records")
        );
        let programs = folder(&format!("programs-{view}"));
        let server = Server::with().config(&config).replaying(&programs).start().await;
        let recordings = recordings().into_iter().filter(|recording| !recording.is_dialog());
        let mut sessions = Vec::new();
        for recording in recordings {
            let id = format!("{view}-{}", recording.name);
            let env = json!({ "REPLAY": recording.path });
            let request = json!({ "id": id, "agent": recording.agent(), "prompt": "hello", "env": env });
            sessions.push(server.create(request).await);
        }
        let mut shared = 0;
        for id in sessions {
            server.settled(&id).await;
            let lines = match view {
                "raw" => server.records(&id).await,
                _ => server.updates(&id).await,
            };
            wait_until("the last record", || {
                let sink = stored(&postgres, &id, 1);
                if sink.len() >= lines.len() {
                    Ok(())
                } else {
                    Err(sink.len())
                }
            })
            .await;
            assert!(stored(&postgres, &id, 1) == lines, "{id}");
            shared += lines.windows(2).filter(|pair| pair[0]["seq"] == pair[1]["seq"]).count();
            let about = backend.read(&format!("/sessions/{id}")).await;
            assert_eq!(
                (&about["flags"], about["branches"].as_array().unwrap().len()),
                (&json!([]), 1),
                "{about}"
            );
            // A reader comes back in the middle of a record.
            let mut seen = Vec::new();
            let mut cursor = "0".to_owned();
            let mut place = (0, 0);
            while seen.len() < lines.len() {
                let mut socket = backend.live(&id).behind(&cursor).await.unwrap();
                let line = next(&mut socket).await.unwrap();
                let seq = line["seq"].as_u64().unwrap();
                place = (seq, if seq == place.0 { place.1 + 1 } else { 0 });
                cursor = format!("{}:{}", place.0, place.1);
                seen.push(line);
                if seen.len() >= 12 {
                    while seen.len() < lines.len() {
                        seen.push(next(&mut socket).await.unwrap());
                    }
                }
            }
            assert!(seen == lines, "{id}");
        }
        assert_eq!(shared > 0, view == "updates", "{shared} lines share the seq of another");
    }
}

#[test]
fn backend_example_is_well_typed() {
    backend::install();
    let mut command = Command::new(node::programs().join("node"));
    let checked = command
        .arg("node_modules/typescript/bin/tsc")
        .current_dir(backend::folder())
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
