//! The kind of a tool, from its name.

use agent_client_protocol_schema::v1::ToolKind;

/// The kind, by words that vendors use in tool names. The first entry that matches decides.
pub(super) fn kind(name: &str) -> ToolKind {
    const WORDS: [(&str, ToolKind); 23] = [
        ("planmode", ToolKind::SwitchMode),
        ("plan_mode", ToolKind::SwitchMode),
        // Before `write`: a plan is not a file.
        ("todo", ToolKind::Think),
        ("update_plan", ToolKind::Think),
        ("fetch", ToolKind::Fetch),
        ("web", ToolKind::Fetch),
        ("search", ToolKind::Search),
        ("grep", ToolKind::Search),
        ("glob", ToolKind::Search),
        ("find", ToolKind::Search),
        ("bash", ToolKind::Execute),
        ("shell", ToolKind::Execute),
        ("exec", ToolKind::Execute),
        ("delete", ToolKind::Delete),
        ("move", ToolKind::Move),
        ("edit", ToolKind::Edit),
        ("write", ToolKind::Edit),
        ("patch", ToolKind::Edit),
        ("read", ToolKind::Read),
        ("view", ToolKind::Read),
        ("replace", ToolKind::Edit),
        ("think", ToolKind::Think),
        ("task", ToolKind::Think),
    ];
    let name = name.to_lowercase();
    let found = WORDS.iter().find(|(word, _)| name.contains(word));
    match (found, name.as_str()) {
        // The name of a server's tool says nothing about our files.
        (Some((_, ToolKind::Edit | ToolKind::Read | ToolKind::Delete | ToolKind::Move)), name)
            if name.starts_with("mcp__") =>
        {
            ToolKind::Other
        }
        (Some((_, kind)), _) => *kind,
        (None, "ls" | "list" | "list_directory") => ToolKind::Read,
        (None, "create" | "create_file") => ToolKind::Edit,
        (None, "monitor") => ToolKind::Execute,
        (None, "agent" | "oracle") => ToolKind::Think,
        (None, _) => ToolKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_from_the_tool_name() {
        let cases = [
            ("run_shell_command", ToolKind::Execute),
            ("Execute", ToolKind::Execute),
            ("read_bash", ToolKind::Execute),
            ("grep_search", ToolKind::Search),
            ("WebSearch", ToolKind::Fetch),
            ("FetchUrl", ToolKind::Fetch),
            ("read_file", ToolKind::Read),
            ("LS", ToolKind::Read),
            ("ApplyPatch", ToolKind::Edit),
            ("Create", ToolKind::Edit),
            ("docs_lookup", ToolKind::Other),
            ("mcp__files__write", ToolKind::Other),
            ("TodoWrite", ToolKind::Think),
            ("update_plan", ToolKind::Think),
            ("TaskUpdate", ToolKind::Think),
            ("ExitPlanMode", ToolKind::SwitchMode),
            ("replace", ToolKind::Edit),
        ];
        for (name, expected) in cases {
            assert_eq!(kind(name), expected, "{name}");
        }
    }
}
