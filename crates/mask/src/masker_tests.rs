//! Tests of [`super`].

use super::*;
use proptest::prelude::*;

fn masker(values: &[&str]) -> Masker {
    let mut secrets = Secrets::default();
    for value in values {
        secrets.add(value);
    }
    Masker::new(&secrets).unwrap()
}

fn end(ends: bool) -> End {
    if ends { End::Closed } else { End::Open }
}

/// Masks a line in chunks.
fn shown(masker: &Masker, chunks: &[&[u8]]) -> Vec<u8> {
    let (mut before, mut hidden, mut all) = (Vec::new(), false, Vec::new());
    for (number, chunk) in (1..).zip(chunks) {
        let shown = masker.chunk(&before, hidden, chunk, end(number == chunks.len()));
        all.extend_from_slice(&shown.bytes);
        hidden = shown.ends_hidden;
        before.extend_from_slice(chunk);
        before.drain(..before.len().saturating_sub(masker.reach()));
    }
    all
}

fn split<'a>(text: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    let mut rest = text;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, behind) = rest.split_at((*size).clamp(1, rest.len()));
        chunks.push(chunk);
        rest = behind;
    }
    chunks
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

#[test]
fn no_secrets_give_no_masker() {
    assert!(Masker::new(&Secrets::default()).is_none());
}

#[test]
fn every_form_is_hidden() {
    let masker = masker(&["pa ss/\"word\""]);
    for text in [
        "x pa ss/\"word\" y",
        r#"x pa ss/\"word\" y"#,
        "x pa%20ss%2F%22word%22 y",
        "x pa+ss%2f%22word%22 y",
    ] {
        assert_eq!(masker.text(text), "x *** y");
    }
    assert!(matches!(masker.text("pa ss/\"wor"), Cow::Borrowed(_)));
}

#[test]
fn overlapping_and_adjacent_secrets_are_hidden() {
    let masker = masker(&["abcdef", "defghi", "cdefgh"]);
    assert_eq!(masker.text("-abcdefghi-"), "-***-");
    assert_eq!(masker.text("abcdefabcdef"), "***");
}

#[test]
fn secret_in_single_bytes_shows_three_bytes() {
    let masker = masker(&["abcdefghij"]);
    let text = b"say abcdefghij!";
    assert_eq!(shown(&masker, &split(text, &[1])), b"say abc***!");
    assert_eq!(shown(&masker, &[b"say abcd", b"efghij!"]), b"say ***!");
    assert_eq!(shown(&masker, &[b"say abc", b"defghij!"]), b"say abc***!");
}

#[test]
fn bytes_after_a_hidden_prefix_are_shown() {
    let masker = masker(&["abcdefghij"]);
    assert_eq!(shown(&masker, &[b"say abcd", b"xy"]), b"say ***xy");
    assert_eq!(shown(&masker, &[b"say abc", b"xy"]), b"say abcxy");
    // At the end of a line the secret cannot continue.
    assert_eq!(shown(&masker, &[b"say abcdefghi"]), b"say abcdefghi");
}

#[test]
fn secret_longer_than_a_pattern_is_hidden() {
    let secret: String = (0..3_000_u32)
        .map(|n| char::from(b'a' + u8::try_from(n * n % 23).unwrap()))
        .collect();
    let masker = masker(&[&secret]);
    assert!(masker.longest <= 1 << 10);
    let text = format!("<{secret}>");
    assert_eq!(masker.text(&text), "<***>");
    for at in (5..text.len() - 1).step_by(53) {
        let (one, two) = text.as_bytes().split_at(at);
        assert_eq!(shown(&masker, &[one, two]), b"<***>", "cut at {at}");
    }
}

#[test]
fn text_that_a_limit_has_cut_does_not_end_within_a_secret() {
    let masker = masker(&["abcdefghij"]);
    let text = "x".repeat(MAYBE_CUT) + "abcdefgh";
    assert!(masker.text(&text).ends_with("x***"));
    assert_eq!(masker.text("x abcdefgh"), "x abcdefgh");
}

/// One more way to write a text.
fn spelled(text: &str, way: u8) -> String {
    let quoted = serde_json::to_string(text).unwrap();
    let inside = quoted.get(1..quoted.len() - 1).unwrap();
    match way {
        0 => inside.to_owned(),
        1 => inside.replace('/', "\\/"),
        2 => text
            .chars()
            .flat_map(|letter| {
                letter
                    .encode_utf16(&mut [0; 2])
                    .iter()
                    .map(|unit| format!("\\u{unit:04x}"))
                    .collect::<Vec<_>>()
            })
            .collect(),
        3 => text.bytes().map(|byte| format!("%{byte:02X}")).collect(),
        _ => text
            .chars()
            .map(|letter| {
                if letter.is_ascii_alphanumeric() {
                    letter.to_string()
                } else {
                    spelled(&letter.to_string(), 3).to_lowercase()
                }
            })
            .collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_split_shows_a_secret(
        secret in "[a-c]{6,9}",
        other in "[a-e\"/ ]{6,14}",
        words in proptest::collection::vec("[a-f ]{0,9}", 1..5),
        sizes in proptest::collection::vec(1_usize..12, 1..6),
    ) {
        let masker = masker(&[&secret, &other]);
        let text = words.join(&secret);
        let chunks = split(text.as_bytes(), &sizes);
        let all = shown(&masker, &chunks);
        prop_assert!(!contains(&all, secret.as_bytes()));
        // Each chunk ends with at most three first bytes of the secret.
        let (mut before, mut hidden) = (Vec::new(), false);
        for chunk in chunks.iter().take(chunks.len().saturating_sub(1)) {
            let shown = masker.chunk(&before, hidden, chunk, End::Open);
            prop_assert!((4..secret.len()).all(|length| !shown.bytes.ends_with(&secret.as_bytes()[..length])));
            hidden = shown.ends_hidden;
            before.extend_from_slice(chunk);
        }
    }

    #[test]
    fn earlier_bytes_beyond_reach_do_not_matter(
        secret in "[ab]{6,8}",
        before in "[ab]{0,40}",
        text in "[abc]{0,20}",
        hidden: bool,
        ends: bool,
    ) {
        let masker = masker(&[&secret]);
        let near = before.as_bytes().get(before.len().saturating_sub(masker.reach())..).unwrap();
        let (all, near) = (
            masker.chunk(before.as_bytes(), hidden, text.as_bytes(), end(ends)),
            masker.chunk(near, hidden, text.as_bytes(), end(ends)),
        );
        prop_assert_eq!(all, near);
    }

    #[test]
    fn text_without_secrets_is_unchanged(secret in "[a-c]{6,9}", text in "[d-z ]{0,60}", sizes in proptest::collection::vec(1_usize..12, 1..6)) {
        let masker = masker(&[&secret]);
        prop_assert_eq!(shown(&masker, &split(text.as_bytes(), &sizes)), text.as_bytes());
    }

    #[test]
    fn no_spelling_shows_a_secret(secret in "[A-Z0-9]{2}[A-Z0-9/+ \"ü😀]{3,9}[A-Z0-9]{2}", before in "[a-f .]{0,9}", ways in proptest::collection::vec(0_u8..3, 0..3), percent in proptest::option::of(3_u8..5)) {
        let masker = masker(&[&secret]);
        // No encoder escapes a percent sign.
        let first = percent.map_or_else(|| secret.clone(), |way| spelled(&secret, way));
        let most = if percent.is_some() { 1 } else { 2 };
        let all = ways.iter().fold(first, |text, way| spelled(&text, (*way).min(most)));
        let text = format!("{before}{all}|");
        prop_assert_eq!(masker.text(&text), format!("{before}***|"), "{}", all);
    }

    #[test]
    fn garbage_does_not_panic(secret in "\\PC{6,20}", text in proptest::collection::vec(any::<u8>(), 0..99), sizes in proptest::collection::vec(1_usize..12, 1..6)) {
        let mut secrets = Secrets::default();
        secrets.add(&secret);
        if let Some(masker) = Masker::new(&secrets) {
            shown(&masker, &split(&text, &sizes));
        }
    }
}
