//! Who may come in: a pure decision over token, `Host` and `Origin`.
//!
//! Without a token, only callers on this machine are served, and only if no browser was talked into calling on
//! behalf of a foreign page: a page that rebinds its name to 127.0.0.1 still sends its own `Host`, and a page
//! that calls us directly still sends its own `Origin`.

use std::net::IpAddr;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};

use crate::api::http::problem::Problem;
use crate::runtime::{AuthMode, Token, opens};

/// What a browser puts before the token, as it cannot set `Authorization` on a WebSocket.
const PROTOCOL_PREFIX: &str = "promptd.bearer.";

/// The sandbox's own token, as E2B's SDK sends it.
const ACCESS_TOKEN: &str = "x-access-token";

/// Where a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// `control.sock`, whose file permissions are the authentication.
    Control,
    /// A Unix socket from the settings.
    Unix,
    /// A TCP address that only this machine can reach; in a sandbox, none is.
    Loopback,
    /// Any other TCP address.
    Public,
}

/// What a request shows of its sender.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Caller<'a> {
    pub(crate) token: Option<&'a str>,
    /// `X-Access-Token`.
    pub(crate) access: Option<&'a str>,
    /// The platform vouches for the caller.
    pub(crate) vouched: bool,
    pub(crate) host: Option<&'a str>,
    pub(crate) origin: Option<&'a str>,
}

impl<'a> Caller<'a> {
    pub(crate) fn of(headers: &'a HeaderMap, uri: &'a Uri) -> Self {
        let text = |name: HeaderName| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let bearer = text(AUTHORIZATION).and_then(bearer);
        Self {
            token: bearer.or_else(|| requested_protocol(headers)?.strip_prefix(PROTOCOL_PREFIX)),
            access: text(HeaderName::from_static(ACCESS_TOKEN)),
            vouched: false,
            host: uri
                .authority()
                .map(axum::http::uri::Authority::as_str)
                .or_else(|| text(HOST)),
            origin: headers.contains_key(ORIGIN).then(|| text(ORIGIN).unwrap_or("not text")),
        }
    }

    /// What the platform has to be asked about before the caller can be let in; a page's WebSocket has no header but
    /// the one for our own token.
    pub(crate) fn to_be_vouched_for(self, door: Door, mode: AuthMode, tokens: &[Token]) -> Option<&'a str> {
        let known = door == Door::Control || self.token.is_some_and(|token| opens(token, tokens));
        let given = self.access.or(self.token).filter(|token| !token.is_empty());
        given.filter(|_| mode == AuthMode::E2b && !known)
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The WebSocket protocol that carries a token, to be echoed when the connection is accepted.
pub(crate) fn requested_protocol(headers: &HeaderMap) -> Option<&str> {
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
pub(crate) fn admit(door: Door, mode: AuthMode, tokens: &[Token], caller: Caller<'_>) -> Result<(), Problem> {
    if door == Door::Control || caller.vouched || caller.token.is_some_and(|token| opens(token, tokens)) {
        return Ok(());
    }
    if mode == AuthMode::E2b {
        return Err(not_vouched_for(caller.token.is_some() || caller.access.is_some()));
    }
    if caller.origin.is_some_and(|origin| is_foreign(origin, caller.host))
        && (mode != AuthMode::Token || caller.token.is_none() || tokens.is_empty())
    {
        return Err(forbidden_origin(caller.origin.unwrap_or_default()));
    }
    match (mode, door) {
        (AuthMode::Token, _) if !tokens.is_empty() => Err(unauthorized(caller.token.is_some())),
        (AuthMode::Token, Door::Public) => Err(not_configured()),
        (_, Door::Loopback) if !caller.host.is_some_and(is_loopback_host) => Err(forbidden_host(caller.host)),
        (_, Door::Control | Door::Unix | Door::Loopback | Door::Public) => Ok(()),
    }
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

fn not_vouched_for(given: bool) -> Problem {
    let what = if given {
        "the token is not this sandbox's"
    } else {
        "no token was given"
    };
    let detail = format!(
        "{what}; send the sandbox's own token as `X-Access-Token` (`envdAccessToken` in E2B's SDK), or on a WebSocket the protocol `{PROTOCOL_PREFIX}<token>`"
    );
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).with_header(WWW_AUTHENTICATE, "Bearer")
}

fn not_configured() -> Problem {
    let detail = "this server has no token yet, and anybody might call it here (in an E2B sandbox on every port); run `PROMPTD_TOKEN=… promptd configure` beside it, write a token into $PROMPTD_HOME/token, or start it with PROMPTD_TOKEN or with auth = e2b";
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
        access: None,
        vouched: false,
        host: Some("127.0.0.1:8080"),
        origin: None,
    };

    fn code(door: Door, mode: AuthMode, tokens: &[&str], caller: Caller<'_>) -> &'static str {
        let tokens: Vec<Token> = tokens.iter().map(|&token| Token::plain(token)).collect();
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
    fn a_foreign_page_with_a_wrong_token_does_not_come_in_where_nobody_is_asked_for_one() {
        let page = Caller {
            token: Some("wrong"),
            origin: Some("https://evil.example"),
            ..LOCAL
        };
        for door in [Door::Unix, Door::Loopback, Door::Public] {
            let code = code(door, AuthMode::None, &["right"], page);
            assert!(code.starts_with("forbidden"), "{code}");
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
    fn with_e2b_only_whom_the_platform_vouches_for_comes_in_wherever_it_knocks() {
        for door in [Door::Unix, Door::Loopback, Door::Public] {
            let ask = |vouched, token| {
                code(
                    door,
                    AuthMode::E2b,
                    &["t"],
                    Caller {
                        token,
                        vouched,
                        ..LOCAL
                    },
                )
            };
            assert_eq!(
                (ask(false, None), ask(false, Some("x"))),
                ("unauthorized", "unauthorized")
            );
            assert_eq!((ask(true, None), ask(false, Some("t"))), ("in", "in"));
            assert_eq!(code(door, AuthMode::E2b, &[], LOCAL), "unauthorized");
        }
        assert_eq!(code(Door::Control, AuthMode::E2b, &[], LOCAL), "in");
    }

    #[test]
    fn the_platform_is_asked_only_where_its_word_counts() {
        let ask = |door, mode, token, access| {
            let caller = Caller { token, access, ..LOCAL };
            caller.to_be_vouched_for(door, mode, &[Token::plain("t")])
        };
        let (public, e2b) = (Door::Public, AuthMode::E2b);
        assert_eq!(ask(public, e2b, None, Some("a")), Some("a"));
        assert_eq!(ask(public, e2b, Some("b"), None), Some("b"));
        assert_eq!(ask(public, e2b, Some("t"), Some("a")), None);
        assert_eq!(ask(public, e2b, None, Some("")), None);
        assert_eq!(ask(public, AuthMode::Token, None, Some("a")), None);
        assert_eq!(ask(Door::Control, e2b, None, Some("a")), None);
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
