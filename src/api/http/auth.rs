//! Authentication: a pure decision over token, `Host` and `Origin`.
//!
//! Without a token only callers on this machine are served, and only if the request does not come from a foreign web
//! page. A page whose name was rebound to 127.0.0.1 still sends its own `Host`; a page that calls us directly still
//! sends its own `Origin`.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};

use crate::api::http::problem::Problem;
use crate::runtime::{AuthMode, Token, opens};

/// What a browser puts before the token, as it cannot set `Authorization` on a WebSocket.
const PROTOCOL_PREFIX: &str = "promptd.bearer.";

/// The sandbox's own token, as E2B's SDK sends it.
const ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-access-token");

/// The kind of listener that a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerKind {
    /// `control.sock`, whose file permissions are the authentication.
    Control,
    /// A Unix socket from the settings, called by the server's user or by root.
    Unix,
    /// Any Unix socket, called by another user.
    OtherUser,
    /// A TCP address that only this machine can reach; in a sandbox, none is.
    Loopback,
    /// Any other TCP address.
    Public,
}

/// What a request says about its sender.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Caller<'a> {
    token: Option<&'a str>,
    /// `X-Access-Token`.
    access: Option<&'a str>,
    /// The platform has confirmed that the token is the sandbox's own.
    pub(crate) confirmed: bool,
    pub(crate) host: Option<&'a str>,
    origin: Option<&'a str>,
}

impl ListenerKind {
    /// What a connection counts as, by whether the process on its other side is this user's.
    pub(crate) fn for_peer(self, is_own: bool) -> Self {
        match self {
            Self::Control | Self::Unix if !is_own => Self::OtherUser,
            kind => kind,
        }
    }
}

impl<'a> Caller<'a> {
    pub(crate) fn of(headers: &'a HeaderMap, uri: &'a Uri) -> Self {
        let text = |name: HeaderName| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        Self {
            token: text(AUTHORIZATION)
                .and_then(bearer)
                .or_else(|| requested_protocol(headers)?.strip_prefix(PROTOCOL_PREFIX)),
            access: text(ACCESS_TOKEN),
            confirmed: false,
            host: uri.authority().map(Authority::as_str).or_else(|| {
                // Of several, nobody knows which one another program would have believed.
                (headers.get_all(HOST).iter().count() == 1).then(|| text(HOST))?
            }),
            origin: headers.contains_key(ORIGIN).then(|| text(ORIGIN).unwrap_or("not text")),
        }
    }

    /// The token that the platform has to confirm before the caller is authorized. The WebSocket of a page has no
    /// header but the one for our own token.
    pub(crate) fn token_to_confirm(self, listener: ListenerKind, mode: AuthMode, tokens: &[Token]) -> Option<&'a str> {
        let known = listener == ListenerKind::Control || self.token.is_some_and(|token| opens(token, tokens));
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
    let lists = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    lists
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .find(|protocol| protocol.starts_with(PROTOCOL_PREFIX))
}

/// Decides whether a caller is served, or says why not.
pub(crate) fn authorize(
    listener: ListenerKind,
    mode: AuthMode,
    tokens: &[Token],
    caller: Caller<'_>,
) -> Result<(), Problem> {
    let has_token = caller.token.is_some_and(|token| opens(token, tokens));
    if listener == ListenerKind::Control || caller.confirmed || has_token {
        return Ok(());
    }
    if mode == AuthMode::E2b {
        return Err(unconfirmed(caller.token.is_some() || caller.access.is_some()));
    }
    let asks_for_token = mode == AuthMode::Token && !tokens.is_empty();
    if let Some(origin) = caller.origin.filter(|origin| is_foreign(origin, caller.host))
        && !(asks_for_token && caller.token.is_some())
    {
        return Err(forbidden_origin(origin));
    }
    match (mode, listener) {
        _ if asks_for_token => Err(match tokens.iter().find_map(Token::unusable_reason) {
            Some(reason) => locked(reason),
            None => unauthorized(caller.token.is_some()),
        }),
        (_, ListenerKind::OtherUser) => Err(other_user()),
        (AuthMode::Token, ListenerKind::Public) => Err(not_configured()),
        (_, ListenerKind::Loopback) if !caller.host.is_some_and(is_loopback_host) => Err(forbidden_host(caller.host)),
        (_, ListenerKind::Control | ListenerKind::Unix | ListenerKind::Loopback | ListenerKind::Public) => Ok(()),
    }
}

/// An origin is ours when it is the address that was called; `null` and everything else is foreign.
fn is_foreign(origin: &str, host: Option<&str>) -> bool {
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    !matches!((authority, host), (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host))
}

/// Whether a `Host` is a name or an address of this machine's loopback, and nothing else: what is not understood
/// completely is foreign.
fn is_loopback_host(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        return is_port_suffix(port) && address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
    }
    let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    is_port_suffix(port) && (is_localhost(&name) || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback()))
}

/// Nothing, or a colon and a port.
fn is_port_suffix(text: &str) -> bool {
    text.is_empty()
        || text.strip_prefix(':').is_some_and(|port| {
            // A number's own parser would take a sign, too.
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
        })
}

/// `localhost`, or a name below it.
fn is_localhost(name: &str) -> bool {
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !label.is_empty() && label.bytes().all(allowed)
    };
    name.rsplit('.').next() == Some("localhost") && name.split('.').all(is_label)
}

fn unauthorized(given: bool) -> Problem {
    refuse_token(
        if given {
            "the token is not valid"
        } else {
            "no token was given"
        },
        "send `Authorization: Bearer <token>`",
    )
}

fn unconfirmed(given: bool) -> Problem {
    refuse_token(
        if given {
            "the token is not this sandbox's"
        } else {
            "no token was given"
        },
        "send the sandbox's own token as `X-Access-Token` (`envdAccessToken` in E2B's SDK)",
    )
}

fn refuse_token(what: &str, right: &str) -> Problem {
    let detail = format!("{what}; {right}, or on a WebSocket the protocol `{PROTOCOL_PREFIX}<token>`");
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).with_header(WWW_AUTHENTICATE, "Bearer")
}

/// A token was meant, and there is none that anybody could have.
fn locked(reason: &str) -> Problem {
    let detail = format!("this server serves nobody: {reason}");
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).with_header(WWW_AUTHENTICATE, "Bearer")
}

fn other_user() -> Problem {
    let detail = "this socket serves other users than the server's own only with a token; set PROMPTD_TOKEN for the server and send `Authorization: Bearer <token>`";
    Problem::new(StatusCode::FORBIDDEN, "forbidden_user", detail)
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
    use AuthMode::{E2b, None as Open, Token as Tokens};
    use ListenerKind::{Control, Loopback, OtherUser, Public, Unix};

    const LOCAL: Caller<'_> = Caller {
        token: None,
        access: None,
        confirmed: false,
        host: Some("127.0.0.1:8080"),
        origin: None,
    };

    /// A page of another site.
    const PAGE: Caller<'_> = Caller {
        origin: Some("https://evil.example"),
        ..LOCAL
    };

    const fn with_token<'a>(token: &'a str, caller: Caller<'a>) -> Caller<'a> {
        Caller {
            token: Some(token),
            ..caller
        }
    }

    const fn with_host(host: Option<&str>) -> Caller<'_> {
        Caller { host, ..LOCAL }
    }

    fn code(listener: ListenerKind, mode: AuthMode, tokens: &[&str], caller: Caller<'_>) -> &'static str {
        let tokens: Vec<Token> = tokens.iter().map(|&token| Token::plain(token)).collect();
        authorize(listener, mode, &tokens, caller).map_or_else(|problem| problem.code(), |()| "in")
    }

    #[test]
    fn a_set_token_is_required() {
        for listener in [Unix, Loopback, Public] {
            let ask = |caller| code(listener, Tokens, &["old", "new"], caller);
            for refused in [LOCAL, with_token("wrong", LOCAL), with_token("", LOCAL)] {
                assert_eq!(ask(refused), "unauthorized");
            }
            assert_eq!(
                (ask(with_token("old", LOCAL)), ask(with_token("new", LOCAL))),
                ("in", "in")
            );
        }
    }

    #[test]
    fn without_auth_a_foreign_page_with_a_wrong_token_is_refused() {
        for listener in [Unix, Loopback, Public] {
            let code = code(listener, Open, &["right"], with_token("wrong", PAGE));
            assert!(code.starts_with("forbidden"), "{code}");
        }
    }

    #[test]
    fn without_a_token_only_loopback_is_served() {
        assert_eq!(code(Public, Tokens, &[], LOCAL), "not_configured");
        assert_eq!(code(Public, Tokens, &[], with_token("x", LOCAL)), "not_configured");
        assert_eq!(code(Loopback, Tokens, &[], LOCAL), "in");
        assert_eq!(code(Unix, Tokens, &[], Caller::default()), "in");
    }

    #[test]
    fn a_rebound_host_name_is_refused() {
        let foreign = [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "",
            "10.0.0.1",
            "[::1].evil.example",
            "[::1]evil.example:80",
            "[::1]:evil",
            "[::1",
            "[127.0.0.1]",
            "[::2]",
            "::1",
            "localhost:evil",
            "localhost:80:80",
            "localhost:+80",
            "localhost:65536",
            "localhost:",
            "localhost..",
            "localhost@evil.example",
            "evil@localhost",
            "localhost/evil",
            ".localhost",
            "evil..localhost",
            "ev il.localhost",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "127.0.0.1:80evil",
            "127.1",
            "0177.0.0.1",
            "0.0.0.0",
            "localhost, evil.example",
        ];
        let own = [
            "localhost",
            "LOCALHOST:1",
            "localhost.",
            "127.9.9.9:80",
            "[::1]:8080",
            "a.localhost:3",
        ];
        for mode in [Tokens, Open] {
            for host in foreign.map(Some).into_iter().chain([None]) {
                assert_eq!(code(Loopback, mode, &[], with_host(host)), "forbidden_host", "{host:?}");
            }
            for host in own {
                assert_eq!(code(Loopback, mode, &[], with_host(Some(host))), "in", "{host}");
            }
        }
    }

    #[test]
    fn of_several_host_headers_none_is_believed() {
        let (mut headers, uri) = (HeaderMap::new(), Uri::from_static("/"));
        headers.append(HOST, HeaderValue::from_static("localhost"));
        assert_eq!(Caller::of(&headers, &uri).host, Some("localhost"));
        headers.append(HOST, HeaderValue::from_static("evil.example"));
        assert_eq!(Caller::of(&headers, &uri).host, None);
    }

    #[test]
    fn another_user_of_a_unix_socket_needs_the_token() {
        assert_eq!((Control.for_peer(true), Unix.for_peer(true)), (Control, Unix));
        assert_eq!(Public.for_peer(false), Public);
        for kind in [Control.for_peer(false), Unix.for_peer(false)] {
            assert_eq!(kind, OtherUser);
            assert_eq!(code(kind, Tokens, &[], LOCAL), "forbidden_user");
            assert_eq!(code(kind, Open, &[], LOCAL), "forbidden_user");
            assert_eq!(code(kind, Tokens, &["t"], LOCAL), "unauthorized");
            assert_eq!(code(kind, Tokens, &["t"], with_token("t", LOCAL)), "in");
            assert_eq!(code(kind, E2b, &[], LOCAL), "unauthorized");
        }
    }

    #[test]
    fn a_lock_refuses_every_token_and_says_why() {
        for listener in [Unix, Loopback, Public, OtherUser] {
            let tokens = [Token::unusable("PROMPTD_TOKEN is empty")];
            let refused = authorize(listener, Tokens, &tokens, with_token("", LOCAL)).unwrap_err();
            assert_eq!(refused.code(), "unauthorized");
            assert!(refused.detail().contains("PROMPTD_TOKEN is empty"));
        }
    }

    #[test]
    fn a_foreign_page_needs_the_token() {
        for (listener, mode) in [(Loopback, Tokens), (Public, Open), (Unix, Open)] {
            assert_eq!(code(listener, mode, &[], PAGE), "forbidden_origin");
        }
        let from = |origin| Caller {
            origin: Some(origin),
            ..LOCAL
        };
        assert_eq!(code(Loopback, Tokens, &[], from("null")), "forbidden_origin");
        assert_eq!(code(Loopback, Tokens, &[], from("http://127.0.0.1:8080")), "in");
        assert_eq!(code(Loopback, Tokens, &["t"], with_token("t", PAGE)), "in");
    }

    #[test]
    fn auth_none_and_the_control_socket_need_no_token() {
        assert_eq!(code(Public, Open, &[], with_host(Some("sandbox.example"))), "in");
        assert_eq!(code(Control, Tokens, &["t"], Caller::default()), "in");
    }

    #[test]
    fn with_e2b_the_platform_confirms_every_caller() {
        for listener in [Unix, Loopback, Public] {
            let ask = |caller| code(listener, E2b, &["t"], caller);
            assert_eq!(
                (ask(LOCAL), ask(with_token("x", LOCAL))),
                ("unauthorized", "unauthorized")
            );
            let confirmed = Caller {
                confirmed: true,
                ..LOCAL
            };
            assert_eq!((ask(confirmed), ask(with_token("t", LOCAL))), ("in", "in"));
            assert_eq!(code(listener, E2b, &[], LOCAL), "unauthorized");
        }
        assert_eq!(code(Control, E2b, &[], LOCAL), "in");
    }

    #[test]
    fn the_platform_is_asked_only_with_e2b_auth() {
        let ask = |listener, mode, token, access| {
            let caller = Caller { token, access, ..LOCAL };
            caller.token_to_confirm(listener, mode, &[Token::plain("t")])
        };
        assert_eq!(ask(Public, E2b, None, Some("a")), Some("a"));
        assert_eq!(ask(Public, E2b, Some("b"), None), Some("b"));
        assert_eq!(ask(Public, E2b, Some("t"), Some("a")), None);
        assert_eq!(ask(Public, E2b, None, Some("")), None);
        assert_eq!(ask(Public, Tokens, None, Some("a")), None);
        assert_eq!(ask(Control, E2b, None, Some("a")), None);
    }

    #[test]
    fn a_token_is_a_header_or_a_websocket_protocol() {
        let (mut headers, uri) = (HeaderMap::new(), Uri::from_static("/"));
        let protocols = HeaderValue::from_static("chat, promptd.bearer.s3cret");
        headers.insert(SEC_WEBSOCKET_PROTOCOL, protocols);
        assert_eq!(Caller::of(&headers, &uri).token, Some("s3cret"));
        assert_eq!(requested_protocol(&headers), Some("promptd.bearer.s3cret"));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("bearer other"));
        assert_eq!(Caller::of(&headers, &uri).token, Some("other"));
    }
}
