//! What is secret in a value, by the look of it.

/// A user name in a URL with this length is a token (`https://ghp_…@github.com`).
const MIN_TOKEN: usize = 20;

/// Whether nobody could remember a text: it is long, has letters and digits, and is no path, address or version.
pub(super) fn is_opaque(value: &str, min: usize) -> bool {
    let has = |kind: fn(&u8) -> bool| value.as_bytes().iter().any(kind);
    value.len() >= min
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_alphabetic)
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-+=".contains(&byte))
}

/// The names and values in the query of a URL, and in its fragment, which some put tokens into.
pub(super) fn query_values(url: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = url.split_once("://").and_then(|(_, rest)| rest.split_once(['?', '#']));
    let pairs = query.map_or("", |(_, query)| query).split(['&', ';', '#', '?']);
    pairs.filter_map(|pair| pair.split_once('='))
}

/// The password in `scheme://user:password@host`, and the user name if it is a token. The value need not be a
/// valid URL: passwords often have characters that a parser refuses.
pub(super) fn user_info(value: &str) -> impl Iterator<Item = &str> {
    let user_info = value
        .trim()
        .split_once("://")
        .filter(|(scheme, _)| {
            !scheme.is_empty()
                && scheme
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        })
        .and_then(|(_, rest)| rest.split(['/', '?', '#']).next())
        .and_then(|authority| authority.rsplit_once('@'))
        .map(|(user_info, _)| user_info);
    let (user, password) = match user_info.map(|user_info| user_info.split_once(':')) {
        Some(Some((user, password))) => (Some(user), Some(password)),
        Some(None) => (user_info, None),
        None => (None, None),
    };
    user.filter(|user| user.len() >= MIN_TOKEN).into_iter().chain(password)
}
