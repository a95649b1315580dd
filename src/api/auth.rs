//! Who may come in: a pure decision over token, `Host` and `Origin`.
//!
//! Without a token, only callers on this machine are served, and only if no browser was talked into calling on
//! behalf of a foreign page: a page that rebinds its name to 127.0.0.1 still sends its own `Host`, and a page
//! that calls us directly still sends its own `Origin`.

use std::net::IpAddr;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use crate::runtime::AuthMode;

/// What a browser puts before the token, as it cannot set `Authorization` on a WebSocket.
const PROTOCOL_PREFIX: &str = "promptd.bearer.";

/// Where a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// `control.sock`, whose file permissions are the authentication.
    Control,
    /// A Unix socket from the settings.
    Unix,
    /// A TCP address that only this machine can reach.
    Loopback,
    /// Any other TCP address.
    Public,
}

/// What a request shows of its sender.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Caller<'a> {
    pub(super) token: Option<&'a str>,
    pub(super) host: Option<&'a str>,
    pub(super) origin: Option<&'a str>,
}

impl<'a> Caller<'a> {
    pub(super) fn of(headers: &'a HeaderMap, uri: &'a Uri) -> Self {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let bearer = text(AUTHORIZATION).and_then(bearer);
        Self {
            token: bearer.or_else(|| requested_protocol(headers)?.strip_prefix(PROTOCOL_PREFIX)),
            host: uri
                .authority()
                .map(axum::http::uri::Authority::as_str)
                .or_else(|| text(HOST)),
            origin: headers.contains_key(ORIGIN).then(|| text(ORIGIN).unwrap_or("not text")),
        }
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The WebSocket protocol that carries a token, to be echoed when the connection is accepted.
pub(super) fn requested_protocol(headers: &HeaderMap) -> Option<&str> {
    let lists = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .find(|protocol| protocol.starts_with(PROTOCOL_PREFIX))
}

/// Lets a caller in, or says why not.
pub(super) fn admit(door: Door, mode: AuthMode, tokens: &[String], caller: Caller<'_>) -> Result<(), Problem> {
    if door == Door::Control || caller.token.is_some_and(|token| is_valid(token, tokens)) {
        return Ok(());
    }
    if caller.origin.is_some_and(|origin| is_foreign(origin, caller.host))
        && (caller.token.is_none() || tokens.is_empty())
    {
        return Err(forbidden_origin(caller.origin.unwrap_or_default()));
    }
    match (mode, door) {
        (AuthMode::Token, _) if !tokens.is_empty() => Err(unauthorized(caller.token.is_some())),
        (AuthMode::Token, Door::Public) => Err(not_configured()),
        (_, Door::Loopback) if !caller.host.is_some_and(is_loopback_host) => Err(forbidden_host(caller.host)),
        (AuthMode::Token | AuthMode::None, Door::Control | Door::Unix | Door::Loopback | Door::Public) => Ok(()),
    }
}

/// Compares with every token, in a time that does not tell how much of one was right.
fn is_valid(given: &str, tokens: &[String]) -> bool {
    tokens.iter().fold(false, |found, token| {
        found | bool::from(token.as_bytes().ct_eq(given.as_bytes()))
    })
}

/// An origin is ours when it is the address that was called; `null` and everything else is foreign.
fn is_foreign(origin: &str, host: Option<&str>) -> bool {
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    !matches!((authority, host), (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host))
}

fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_loopback_name = name == "localhost" || name.ends_with(".localhost");
    is_loopback_name || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn unauthorized(given: bool) -> Problem {
    let what = if given {
        "the token is not valid"
    } else {
        "no token was given"
    };
    let detail = format!(
        "{what}; send `Authorization: Bearer <token>`, or on a WebSocket the protocol `{PROTOCOL_PREFIX}<token>`"
    );
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).with_header(WWW_AUTHENTICATE, "Bearer")
}

fn not_configured() -> Problem {
    let detail = "this server has no token yet, so it serves nobody but this machine; set PROMPTD_TOKEN, or write one into $PROMPTD_HOME/token";
    Problem::new(StatusCode::UNAUTHORIZED, "not_configured", detail).with_header(WWW_AUTHENTICATE, "Bearer")
}

fn forbidden_host(host: Option<&str>) -> Problem {
    let host = host.map_or_else(|| "missing".to_owned(), |host| format!("{host:?}"));
    let detail = format!(
        "the Host is {host}, and without a token only localhost, 127.0.0.1 and [::1] are served; call one of these or set a token"
    );
    Problem::new(StatusCode::FORBIDDEN, "forbidden_host", detail)
}

fn forbidden_origin(origin: &str) -> Problem {
    let origin: String = origin.chars().take(200).collect();
    let detail = format!(
        "a page from {origin:?} may not call this server without a token; send `Authorization: Bearer <token>`"
    );
    Problem::new(StatusCode::FORBIDDEN, "forbidden_origin", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: Caller<'_> = Caller {
        token: None,
        host: Some("127.0.0.1:8080"),
        origin: None,
    };

    fn code(door: Door, mode: AuthMode, tokens: &[&str], caller: Caller<'_>) -> &'static str {
        let tokens: Vec<String> = tokens.iter().map(|&token| token.to_owned()).collect();
        admit(door, mode, &tokens, caller).map_or_else(|problem| problem.code(), |()| "in")
    }

    #[test]
    fn with_a_token_set_nobody_comes_in_without_it() {
        for door in [Door::Unix, Door::Loopback, Door::Public] {
            let ask = |token| code(door, AuthMode::Token, &["old", "new"], Caller { token, ..LOCAL });
            assert_eq!(
                (ask(None), ask(Some("wrong")), ask(Some(""))),
                ("unauthorized", "unauthorized", "unauthorized")
            );
            assert_eq!((ask(Some("old")), ask(Some("new"))), ("in", "in"));
        }
    }

    #[test]
    fn without_a_token_only_this_machine_comes_in() {
        assert_eq!(code(Door::Public, AuthMode::Token, &[], LOCAL), "not_configured");
        assert_eq!(
            code(
                Door::Public,
                AuthMode::Token,
                &[],
                Caller {
                    token: Some("x"),
                    ..LOCAL
                }
            ),
            "not_configured"
        );
        assert_eq!(code(Door::Loopback, AuthMode::Token, &[], LOCAL), "in");
        assert_eq!(code(Door::Unix, AuthMode::Token, &[], Caller::default()), "in");
    }

    #[test]
    fn a_rebound_name_does_not_come_in() {
        for mode in [AuthMode::Token, AuthMode::None] {
            for host in [
                "evil.example",
                "evil.example:8080",
                "localhost.evil.example",
                "",
                "10.0.0.1",
            ] {
                assert_eq!(
                    code(
                        Door::Loopback,
                        mode,
                        &[],
                        Caller {
                            host: Some(host),
                            ..LOCAL
                        }
                    ),
                    "forbidden_host"
                );
            }
            assert_eq!(
                code(Door::Loopback, mode, &[], Caller { host: None, ..LOCAL }),
                "forbidden_host"
            );
            for host in [
                "localhost",
                "LOCALHOST:1",
                "127.9.9.9:80",
                "[::1]:8080",
                "a.localhost:3",
            ] {
                assert_eq!(
                    code(
                        Door::Loopback,
                        mode,
                        &[],
                        Caller {
                            host: Some(host),
                            ..LOCAL
                        }
                    ),
                    "in"
                );
            }
        }
    }

    #[test]
    fn a_foreign_page_comes_in_with_the_token_only() {
        let page = Caller {
            origin: Some("https://evil.example"),
            ..LOCAL
        };
        for (door, mode) in [
            (Door::Loopback, AuthMode::Token),
            (Door::Public, AuthMode::None),
            (Door::Unix, AuthMode::None),
        ] {
            assert_eq!(code(door, mode, &[], page), "forbidden_origin");
        }
        assert_eq!(
            code(
                Door::Loopback,
                AuthMode::Token,
                &[],
                Caller {
                    origin: Some("null"),
                    ..LOCAL
                }
            ),
            "forbidden_origin"
        );
        assert_eq!(
            code(
                Door::Loopback,
                AuthMode::Token,
                &["t"],
                Caller {
                    token: Some("t"),
                    ..page
                }
            ),
            "in"
        );
        let own = Caller {
            origin: Some("http://127.0.0.1:8080"),
            ..LOCAL
        };
        assert_eq!(code(Door::Loopback, AuthMode::Token, &[], own), "in");
    }

    #[test]
    fn none_serves_everybody_and_the_control_socket_asks_nothing() {
        let anyone = Caller {
            host: Some("sandbox.example"),
            ..LOCAL
        };
        assert_eq!(code(Door::Public, AuthMode::None, &[], anyone), "in");
        assert_eq!(code(Door::Control, AuthMode::Token, &["t"], Caller::default()), "in");
    }

    #[test]
    fn the_token_comes_in_a_header_or_as_a_websocket_protocol() {
        let mut headers = HeaderMap::new();
        let uri = Uri::from_static("/");
        headers.insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static("chat, promptd.bearer.s3cret"),
        );
        assert_eq!(Caller::of(&headers, &uri).token, Some("s3cret"));
        assert_eq!(requested_protocol(&headers), Some("promptd.bearer.s3cret"));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("bearer other"));
        assert_eq!(Caller::of(&headers, &uri).token, Some("other"));
    }
}
