//! What claude suggests to grant beyond one call, as options that say what they grant and for how long.
//!
//! Claude suggests several changes of its permissions at once: rules, a mode, directories. Each becomes an option of its own,
//! which holds in the session. One that claude would keep in a settings file becomes a second option that says so. What
//! cannot be said in a short line, or would do something else than allow, is not offered.

use serde_json::{Map, Value, json};

use super::words::{MAX_NAME, joined, plain};
use crate::output::tools::tool::str_at;
use promptd_model::{GrantScope, PermissionKind, PermissionOption};

/// Claude suggests a few; more could not be read by anybody.
const MAX_SUGGESTIONS: usize = 16;

/// Where claude keeps rules and directories: its name for the place, ours, how long it holds, and where that is, in words.
const KEPT: [(&str, &str, GrantScope, &str); 3] = [
    (
        "localSettings",
        "local",
        GrantScope::Project,
        "in this project, in later sessions too (kept in .claude/settings.local.json)",
    ),
    (
        "projectSettings",
        "project",
        GrantScope::Project,
        "in this project, for everybody who works on it (kept in .claude/settings.json)",
    ),
    (
        "userSettings",
        "user",
        GrantScope::User,
        "in all projects, in later sessions too (kept in ~/.claude/settings.json)",
    ),
];

/// The mode that allows edits.
const EDITS: &str = "acceptEdits";

/// What a suggestion grants, from narrow to wide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Rules,
    Directories,
    Mode,
}

/// One suggestion that can be offered.
struct Grant {
    kind: Kind,
    /// The part of the option's id for it.
    id: String,
    /// What is allowed, in words.
    what: String,
    /// Claude's own format, without the destination.
    update: Map<String, Value>,
    /// Where claude would keep it.
    destination: String,
}

/// The options for claude's suggestions, from the one that grants least to the one that grants most. Their `grant` is what
/// the answer has to contain.
pub(super) fn options(suggestions: &Value) -> Vec<PermissionOption> {
    let suggestions = suggestions.as_array().into_iter().flatten().take(MAX_SUGGESTIONS);
    let mut options = Vec::new();
    for grant in suggestions.filter_map(grant) {
        let in_session = ("session", "session", GrantScope::Session, "in this session");
        let kept = KEPT
            .into_iter()
            .filter(|kept| grant.kind != Kind::Mode && kept.0 == grant.destination);
        for (destination, place, scope, words) in std::iter::once(in_session).chain(kept) {
            let name = format!("Allow {} {words}", grant.what);
            let is_known = |(_, known): &(Kind, PermissionOption)| known.name == name;
            if name.chars().count() > MAX_NAME || options.iter().any(is_known) {
                continue;
            }
            let mut update = grant.update.clone();
            update.insert("destination".to_owned(), destination.into());
            let option = PermissionOption {
                option_id: format!("allow_{}_{place}", grant.id),
                name,
                kind: PermissionKind::AllowAlways,
                scope: Some(scope),
                grant: Some(Value::Object(update)),
            };
            options.push((grant.kind, option));
        }
    }
    options.sort_by_key(|(kind, option)| (option.scope, *kind));
    let mut options: Vec<PermissionOption> = options.into_iter().map(|(_, option)| option).collect();
    number_ids(&mut options);
    options
}

/// Makes ids unique: the second one of an id ends in `_2`.
fn number_ids(options: &mut [PermissionOption]) {
    let ids: Vec<String> = options.iter().map(|option| option.option_id.clone()).collect();
    for (index, option) in options.iter_mut().enumerate() {
        let before = ids.iter().take(index).filter(|id| **id == option.option_id).count();
        if before > 0 {
            option.option_id = format!("{}_{}", option.option_id, before + 1);
        }
    }
}

fn grant(suggestion: &Value) -> Option<Grant> {
    let kind = str_at(suggestion, "type");
    let (kind, id, what, update) = match kind {
        "addRules" if suggestion["behavior"] == "allow" => {
            let rules = all(&suggestion["rules"], rule)?;
            let (texts, rules): (Vec<_>, Vec<_>) = rules.into_iter().unzip();
            let update = json!({ "type": kind, "rules": rules, "behavior": "allow" });
            (Kind::Rules, "rules".to_owned(), joined(&texts), update)
        }
        "addDirectories" => {
            let directories = all(&suggestion["directories"], |path| plain(path.as_str()?))?;
            let update = json!({ "type": kind, "directories": suggestion["directories"] });
            let what = format!("access to {}", joined(&directories));
            (Kind::Directories, "directories".to_owned(), what, update)
        }
        "setMode" => {
            let mode = str_at(suggestion, "mode");
            // Other modes allow everything, or let something else decide: nobody is asked for those.
            let (id, what) = match mode {
                // What `acceptEdits` allows in claude 2.1.
                EDITS => (
                    "edits",
                    "edits, and mkdir, touch, rm, rmdir, mv, cp and sed on files of the working directories, without asking",
                ),
                "plan" => ("plan", "this, and then only plan"),
                "default" => ("default", "this, and then ask before each change"),
                _ => return None,
            };
            let update = json!({ "type": kind, "mode": mode });
            (Kind::Mode, id.to_owned(), what.to_owned(), update)
        }
        _ => return None,
    };
    let Value::Object(update) = update else { return None };
    Some(Grant {
        kind,
        id,
        what,
        update,
        destination: str_at(suggestion, "destination").to_owned(),
    })
}

/// The elements of a list; `None` if it is empty or one of them cannot be used.
fn all<T>(list: &Value, of: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    let list = list.as_array().filter(|list| !list.is_empty())?;
    list.iter().map(of).collect()
}

/// A rule in words, and as claude takes it.
fn rule(rule: &Value) -> Option<(String, Value)> {
    let tool = plain(rule["toolName"].as_str()?)?;
    let Some(content) = rule.get("ruleContent").filter(|content| !content.is_null()) else {
        return Some((format!("every use of {tool}"), json!({ "toolName": rule["toolName"] })));
    };
    let text = plain(content.as_str()?)?;
    let text = match tool.as_str() {
        "Bash" | "PowerShell" => format!("`{text}`"),
        _ => format!("{tool}({text})"),
    };
    Some((text, json!({ "toolName": rule["toolName"], "ruleContent": content })))
}

/// The settings and the mode with which a later process of the session has what was granted in it.
pub(crate) fn settings(grants: &[Value]) -> (Option<Value>, Option<&str>) {
    let of_type = |wanted: &'static str| grants.iter().filter(move |grant| grant["type"] == wanted);
    let lists = |kind: &'static str, list: &'static str| of_type(kind).filter_map(move |grant| grant[list].as_array());
    let rules: Vec<String> = lists("addRules", "rules").flatten().map(rule_in_settings).collect();
    let directories: Vec<&Value> = lists("addDirectories", "directories").flatten().collect();
    let mode = of_type("setMode")
        .filter_map(|grant| grant["mode"].as_str())
        .next_back();
    let is_empty = rules.is_empty() && directories.is_empty();
    let settings = json!({ "permissions": { "allow": rules, "additionalDirectories": directories } });
    ((!is_empty).then_some(settings), mode)
}

/// A rule as claude writes it into its settings.
fn rule_in_settings(rule: &Value) -> String {
    let tool = str_at(rule, "toolName");
    let content = str_at(rule, "ruleContent");
    if content.is_empty() {
        return tool.to_owned();
    }
    let content = content.replace('\\', "\\\\").replace('(', "\\(").replace(')', "\\)");
    format!("{tool}({content})")
}
