//! What each agent does, as a table: `docs/agents.md` is this table in words.

/// What is tried with every agent, in this order: the first six go on in one session. A further cell is a line here, an
/// arm in `tests/real_agents`, and a column in [`EXPECTED`].
pub const CELLS: [(&str, &str); 14] = [
    (
        "answer",
        "a first turn is answered, and its output is followed live and afterwards",
    ),
    (
        "workspace files",
        "the model gets workspace configuration files: an AGENTS.md in the agent's home, a skill in the workspace",
    ),
    (
        "tokens",
        "the reported `usage` counts the tokens of this turn only, also in a follow-up turn",
    ),
    (
        "follow-up",
        "the next turn knows the one before, in the agent's own session",
    ),
    ("tool", "the model has the agent run a command"),
    (
        "interrupt",
        "an interrupt ends a turn, and the next one goes on in the session",
    ),
    (
        "interrupted first",
        "an interrupt ends a session's first turn, and the next one is answered",
    ),
    ("400", "cause of a turn whose request the model refuses"),
    (
        "401",
        "cause of a turn whose key is refused, and the next one is answered",
    ),
    ("429", "cause of a turn when there are too many requests"),
    (
        "silent model",
        "cause of a turn with a `timeout` when the model stops in the middle of its answer",
    ),
    (
        "no key",
        "cause of a turn in a home without any configuration, key or login",
    ),
    (
        "permission",
        "with `permission: \"ask\"` a turn waits for an answer: what is allowed is done, calls of \
         `mcp_servers` too where it takes them; in \
         the next turn, what is denied is not, and the model still answers",
    ),
    (
        "mcp",
        "with `mcp_servers` the model calls a tool of a program and one over HTTP; the calls and their outcomes are seen",
    ),
];

/// What each agent does, cell by cell.
pub const EXPECTED: &str = "\
claude   | yes | yes | yes      | yes | yes | goes on | answers | agent_error | auth | quota   | timeout | auth      | yes  | yes
codex    | yes | yes | yes      | yes | yes | goes on | answers | agent_error | auth | quota   | timeout | not tried | yes  | yes
gemini   | yes | yes | yes      | yes | yes | goes on | answers | agent_error | auth | quota   | timeout | auth      | yes  | yes
qwen     | yes | yes | yes      | yes | yes | goes on | answers | agent_error | auth | quota   | timeout | auth      | ends | yes
opencode | yes | yes | yes      | yes | yes | goes on | answers | agent_error | auth | quota   | timeout | not tried | ends | yes
copilot  | yes | yes | not told | yes | yes | goes on | answers | agent_error | auth | quota   | timeout | auth      | ends | yes
droid    | yes | yes | yes      | yes | yes | goes on | answers | agent_error | auth | timeout | timeout | auth      | ends | 422
pi       | yes | yes | yes      | yes | yes | goes on | answers | agent_error | auth | quota   | timeout | auth      | 422  | 422";

pub fn expected(agent: &str) -> Option<[&'static str; CELLS.len()]> {
    let mut words = EXPECTED.lines().map(|line| line.split('|').map(str::trim));
    let mut words = words.find_map(|mut words| (words.next() == Some(agent)).then_some(words))?;
    let words = CELLS.map(|_| words.next().expect("a word for each cell"));
    Some(words)
}

/// How a request is refused that an agent cannot honour: the field, and what to do instead.
pub const REFUSALS: [(&str, &str); 2] = [
    (
        "permission",
        "it cannot be asked to ask; give \"bypass\", or use an agent whose `permissions` in /v1/agents is true",
    ),
    (
        "mcp_servers",
        "it takes none from us; leave them out, or configure them in the agent's own files",
    ),
];
