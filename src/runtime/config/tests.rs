//! Precedence, refusals and reloads of the configuration, without a file or an environment.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;
use crate::runtime::settings::PromptBy;
use promptd_model::PermissionMode;

fn env(pairs: &[(&str, &str)]) -> Environment {
    let home = [("HOME", "/home/user")];
    home.iter()
        .chain(pairs)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn of_file(text: &str) -> Result<Settings, ConfigError> {
    settings(Flags::default(), &env(&[]), Some(text))
}

fn tcp(text: &str) -> Listen {
    Listen::Tcp(text.parse().unwrap())
}

#[test]
fn nothing_said_gives_the_defaults_of_the_contract() {
    let settings = settings(Flags::default(), &env(&[]), None).unwrap();
    assert_eq!(settings.listen, [tcp("127.0.0.1:8080")]);
    assert_eq!(settings.home, Path::new("/home/user/.promptd"));
    assert_eq!(settings.workspace, Path::new("/home/user/workspace"));
    assert_eq!(settings.config_file, Path::new("/home/user/.promptd/config.toml"));
    assert_eq!(settings.auth, AuthMode::Token);
    assert_eq!(settings.default_agent, "claude");
    assert_eq!(settings.grace, Duration::from_secs(10));
    assert!(!settings.stop_agents && !settings.insecure_public);
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let file = Some("grace = 3\nlisten = \"127.0.0.1:3\"\n[defaults]\nagent = \"from-file\"");
    let from_file = settings(Flags::default(), &env(&[]), file).unwrap();
    assert_eq!(
        (from_file.grace.as_secs(), from_file.default_agent.as_str()),
        (3, "from-file")
    );

    let variables = env(&[
        ("PROMPTD_GRACE", "2"),
        ("PROMPTD_DEFAULT_AGENT", "from-env"),
        ("PROMPTD_LISTEN", "127.0.0.1:2, unix:/run/p.sock"),
    ]);
    let from_env = settings(Flags::default(), &variables, file).unwrap();
    assert_eq!(
        (from_env.grace.as_secs(), from_env.default_agent.as_str()),
        (2, "from-env")
    );
    assert_eq!(
        from_env.listen,
        [tcp("127.0.0.1:2"), Listen::Unix("/run/p.sock".into())]
    );

    let flags = Flags {
        grace: Some("0.5".into()),
        default_agent: Some("from-flag".into()),
        listen: vec!["[::1]:1".into(), "localhost:4".into()],
        ..Flags::default()
    };
    let from_flag = settings(flags, &variables, file).unwrap();
    assert_eq!(
        (from_flag.grace, from_flag.default_agent.as_str()),
        (Duration::from_millis(500), "from-flag")
    );
    assert_eq!(
        from_flag.listen,
        [Listen::Tcp((Ipv6Addr::LOCALHOST, 1).into()), tcp("127.0.0.1:4")]
    );
}

#[test]
fn port_means_everybody_unless_an_address_is_given() {
    let listen = |variables: &[(&str, &str)]| {
        settings(Flags::default(), &env(variables), Some("listen = \"127.0.0.1:1\""))
            .unwrap()
            .listen
    };
    assert_eq!(listen(&[("PORT", "9000")]), [tcp("0.0.0.0:9000")]);
    assert_eq!(
        listen(&[("PORT", "9000"), ("PROMPTD_LISTEN", "127.0.0.1:2")]),
        [tcp("127.0.0.1:2")]
    );
    assert_eq!(listen(&[("PORT", "")]), [tcp("127.0.0.1:1")]);
}

#[test]
fn a_whole_file_is_read() {
    let settings = of_file(
        r#"
        listen = ["0.0.0.0:80", "unix:/run/promptd.sock"]
        workspace = "~/work"
        auth = "none"
        insecure_public = true
        stop_agents = true
        grace = 1.5
        [defaults]
        agent = "mine"
        timeout = 60
        idle_timeout = 7.5
        permission = "ask"
        [limits]
        running = 2
        queued = 0
        session_bytes = 0x100000
        rate_per_minute = 30
        [agents.mine]
        command = ["my-agent", "--yes"]
        prompt = "file"
        env = { LANG = "C" }
        [agents.other]
        command = "other"
        stream = "acp"
        "#,
    )
    .unwrap();
    assert_eq!(settings.workspace, Path::new("/home/user/work"));
    assert_eq!(
        (settings.auth, settings.insecure_public, settings.stop_agents),
        (AuthMode::None, true, true)
    );
    assert_eq!(settings.default_timeout, Some(Duration::from_secs(60)));
    assert_eq!(settings.default_idle_timeout, Some(Duration::from_millis(7_500)));
    assert_eq!(settings.default_permission, PermissionMode::Ask);
    assert_eq!(
        (
            settings.limits.running,
            settings.limits.queued,
            settings.limits.session_bytes
        ),
        (2, 0, 1 << 20)
    );
    assert_eq!(settings.limits.rate_per_minute, Some(30));
    let mine = settings.agents.get("mine").unwrap();
    assert_eq!(
        (mine.command.as_slice(), mine.prompt),
        (["my-agent".to_owned(), "--yes".to_owned()].as_slice(), PromptBy::File)
    );
    assert_eq!(mine.env.get("LANG").map(String::as_str), Some("C"));
    assert_eq!(mine.stream.name, "lines");
    let other = settings.agents.get("other").unwrap();
    assert_eq!(
        (other.command.as_slice(), other.stream.name),
        (["other".to_owned()].as_slice(), "acp")
    );
}

#[test]
fn an_unknown_key_names_the_nearest_one_with_file_and_line() {
    let message = of_file("grace = 1\n[limits]\nrunnning = 3\n").unwrap_err().to_string();
    assert_eq!(
        message,
        "/home/user/.promptd/config.toml:3: limits.runnning is no key of the configuration; did you mean limits.running?"
    );
    let message = of_file("zzzzzzzzzzzz = 1").unwrap_err().to_string();
    assert!(
        message.contains("config.toml:1: zzzzzzzzzzzz") && message.contains("known here are listen, workspace"),
        "{message}"
    );
    let message = of_file("[agents.mine]\ncommand = [\"x\"]\npromt = \"stdin\"")
        .unwrap_err()
        .to_string();
    assert!(
        message.contains(":3: agents.mine.promt") && message.ends_with("did you mean agents.mine.prompt?"),
        "{message}"
    );
}

#[test]
fn a_bad_value_says_where_what_and_what_would_be_right() {
    for (text, expected) in [
        ("grace = \"ten\"", ":1: grace is \"ten\": write seconds as a number"),
        ("grace = -1", ":1: grace is -1: write seconds"),
        ("grace = nan", "grace is nan: write seconds"),
        (
            "\nauth = \"tokn\"",
            ":2: auth is \"tokn\": use token or none or e2b (did you mean token?)",
        ),
        ("listen = 8080", "listen is 8080: write a string"),
        (
            "listen = \"8080\"",
            "write 127.0.0.1:8080 for this machine only, or 0.0.0.0:8080",
        ),
        ("listen = \"unix:\"", "path of a socket"),
        ("workspace = \"work\"", "workspace is \"work\": write an absolute path"),
        ("limits = 3", "limits is 3: this is a section: write [limits]"),
        (
            "[limits]\nrunning = 0",
            ":2: limits.running is 0: it has to be 1 or more",
        ),
        (
            "[limits]\nkeep_days = 5000000000",
            "limits.keep_days is 5000000000: write a whole number",
        ),
        (
            "[agents.a]\nprompt = \"stdin\"",
            ":2: agents.a.command is missing: write the program",
        ),
        (
            "[agents.a]\ncommand = []",
            "agents.a.command is of type array: write the program",
        ),
        (
            "[agents.a]\ncommand = [\"x\", 3]",
            "agents.a.command is 3: write it as a string",
        ),
        (
            "[agents.a]\ncommand = \"x\"\nstream = \"claude-json\"",
            ":3: agents.a.stream is \"claude-json\": use lines or claude-stream-json or codex-json or \
             gemini-stream-json or acp (did you mean codex-json?)",
        ),
        (
            "[agents.a]\ncommand = \"x\"\nstream = \"acp\"\nprompt = \"file\"",
            ":4: agents.a.prompt is \"file\": leave it out",
        ),
        (
            "[mcp_servers.docs]\ncommand = \"x\"\nurl = \"http://y\"",
            ":2: mcp_servers.docs is not usable: it has `command` and `url`",
        ),
        (
            "[mcp_servers.docs]\nurls = \"http://y\"",
            "did you mean mcp_servers.docs.url?",
        ),
        ("[mcp_servers.docs]\ntype = \"htp\"", "`http`"),
        ("a = = 3", "config.toml:1:5: "),
    ] {
        let message = of_file(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{text:?} gave {message:?}");
    }
    let flags = Flags {
        grace: Some("soon".into()),
        ..Flags::default()
    };
    assert!(
        settings(flags, &env(&[]), None)
            .unwrap_err()
            .to_string()
            .starts_with("--grace is \"soon\"")
    );
    let message = settings(Flags::default(), &env(&[("PROMPTD_STOP_AGENTS", "perhaps")]), None)
        .unwrap_err()
        .to_string();
    assert_eq!(message, "PROMPTD_STOP_AGENTS is \"perhaps\": use true or false");
}

#[test]
fn servers_of_tools_are_read_in_a_requests_words() {
    let text = r#"
        [mcp_servers.lab]
        command = "lab"
        args = ["-v"]
        env = { TOKEN = "s3cret" }
        [mcp_servers.docs]
        type = "sse"
        url = "https://docs/sse"
        headers = { Authorization = "Bearer s3cret" }
    "#;
    let servers = of_file(text).unwrap().mcp_servers;
    let expected = serde_json::json!({
        "lab": {"command": "lab", "args": ["-v"], "env": {"TOKEN": "s3cret"}},
        "docs": {"type": "sse", "url": "https://docs/sse", "headers": {"Authorization": "Bearer s3cret"}},
    });
    assert_eq!(serde_json::to_value(servers).unwrap(), expected);
    let message = of_file("[mcp_servers.docs]\nurl = 12345").unwrap_err().to_string();
    assert!(
        message.contains("mcp_servers.docs.url") && !message.contains("12345"),
        "{message}"
    );
}

#[test]
fn an_agents_secret_is_not_repeated_in_an_error() {
    let message = of_file("[agents.a]\ncommand = \"x\"\nenv = { KEY = 12345 }")
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("agents.a.env.KEY is of type integer") && !message.contains("12345"),
        "{message}"
    );
}

#[test]
fn no_authentication_on_a_public_address_has_to_be_meant() {
    let open = |listen: &str, insecure_public| {
        let flags = Flags {
            listen: vec![listen.into()],
            auth: Some("none".into()),
            insecure_public,
            ..Flags::default()
        };
        settings(flags, &env(&[]), None)
    };
    assert!(matches!(open("0.0.0.0:80", false), Err(ConfigError::OpenDoor { .. })));
    assert!(open("0.0.0.0:80", true).is_ok());
    for private in ["127.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80", "unix:/run/x"] {
        assert!(open(private, false).is_ok(), "{private}");
    }
}

#[test]
fn several_tokens_may_stand_in_the_environment() {
    let settings = settings(Flags::default(), &env(&[("PROMPTD_TOKEN", "one, two\nthree\n")]), None).unwrap();
    assert_eq!(settings.env_tokens, ["one", "two", "three"]);
}

#[test]
fn a_digest_may_stand_for_a_token_and_what_is_none_is_refused_unseen() {
    let of = |token: &str| settings(Flags::default(), &env(&[("PROMPTD_TOKEN", token)]), None);
    let digest = format!("sha256:{}", "0".repeat(64));
    assert_eq!(of(&digest).unwrap().env_tokens, [digest.as_str()]);
    let message = of("sha256:s3cret").unwrap_err().to_string();
    assert!(
        message.starts_with("PROMPTD_TOKEN") && !message.contains("s3cret"),
        "{message}"
    );
}

#[test]
fn with_e2b_a_public_address_is_no_open_door() {
    let settings = of_file("auth = \"e2b\"\nlisten = \"0.0.0.0:80\"").unwrap();
    assert_eq!(
        (settings.auth, settings.platform.envd.as_str()),
        (AuthMode::E2b, "http://127.0.0.1:49983")
    );
}

#[test]
fn without_a_user_home_the_error_names_the_flag_that_helps() {
    let message = settings(Flags::default(), &Environment::new(), None)
        .unwrap_err()
        .to_string();
    assert!(message.ends_with("give --home"), "{message}");
    let flags = Flags {
        home: Some("/h".into()),
        workspace: Some("/w".into()),
        ..Flags::default()
    };
    assert!(settings(flags, &Environment::new(), None).is_ok());
}

#[test]
fn a_file_that_was_asked_for_has_to_be_there() {
    let flags = Flags {
        config: Some("/nonexistent/promptd.toml".into()),
        ..Flags::default()
    };
    assert!(matches!(load(flags, &env(&[])), Err(ConfigError::Read { .. })));
    assert!(
        load(
            Flags {
                home: Some("/nonexistent".into()),
                ..Flags::default()
            },
            &env(&[])
        )
        .is_ok()
    );
}

/// Pieces from which a file of almost the right shape can be put together.
const PIECES: &[&str] = &[
    "listen",
    "grace",
    "auth",
    "workspace",
    "[limits]",
    "[defaults]",
    "[agents.x]",
    "[[agents]]",
    "running",
    "command",
    "env",
    "prompt",
    " = ",
    "\n",
    "3",
    "-1",
    "1e400",
    "\"text\"",
    "'~/x'",
    "[",
    "]",
    "{",
    "}",
    ",",
    "true",
    "inf",
    "0xff",
    "1979-05-27",
    ".",
    "ä",
    "#",
    "\"\"\"",
];

proptest! {
    #[test]
    fn any_text_as_file_gives_settings_or_an_error(text in "\\PC*") {
        let _settings = of_file(&text);
    }

    #[test]
    fn any_almost_right_file_gives_settings_or_an_error(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..40)) {
        if let Err(error) = of_file(&pieces.concat()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
