//! How a permission question is answered.

use crate::record::{Permission, PermissionKind, PermissionOption};
use crate::request::PermissionDefault;

/// The answer if no option was chosen because the turn is being ended, as in ACP.
pub const CANCELLED: &str = "cancelled";

/// `by` of an answer to a question that the agent withdrew. The turn continues.
pub const BY_AGENT: &str = "agent";

impl Permission {
    /// The option that a caller chose: by id, or by kind if only one option has that kind.
    pub fn option(&self, choice: &str) -> Option<&PermissionOption> {
        let by_id = self.options.iter().find(|option| option.option_id == choice);
        by_id.or_else(|| {
            let mut of_kind = self.options.iter().filter(|option| option.kind.name() == choice);
            of_kind.next().filter(|_| of_kind.next().is_none())
        })
    }

    /// The answer if nobody answers in time. It never allows more than the default says. If the agent offers no option
    /// of that kind, the answer is [`CANCELLED`].
    pub fn default_option(&self, default: PermissionDefault) -> &str {
        let kinds: &[PermissionKind] = match default {
            PermissionDefault::Allow => &[PermissionKind::AllowOnce],
            PermissionDefault::Reject => &[PermissionKind::RejectOnce, PermissionKind::RejectAlways],
        };
        let mut options = kinds
            .iter()
            .filter_map(|kind| self.options.iter().find(|option| option.kind == *kind));
        options.next().map_or(CANCELLED, |option| &option.option_id)
    }
}

impl PermissionKind {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllowOnce => "allow_once",
            Self::AllowAlways => "allow_always",
            Self::RejectOnce => "reject_once",
            Self::RejectAlways => "reject_always",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(options: &[(&str, PermissionKind)]) -> Permission {
        let option = |(id, kind): &(&str, PermissionKind)| PermissionOption {
            option_id: (*id).to_owned(),
            name: String::new(),
            kind: *kind,
        };
        Permission {
            id: "1".to_owned(),
            title: String::new(),
            options: options.iter().map(option).collect(),
            tool_call: None,
            expires_at: None,
        }
    }

    #[test]
    fn option_is_found_by_id_or_by_unique_kind() {
        use PermissionKind::{AllowAlways, AllowOnce, RejectOnce};
        let asked = question(&[
            ("a", AllowOnce),
            ("b", AllowAlways),
            ("c", AllowAlways),
            ("d", RejectOnce),
        ]);
        let found = |choice| asked.option(choice).map(|option| option.option_id.as_str());
        assert_eq!(found("c"), Some("c"));
        assert_eq!(found("allow_once"), Some("a"));
        assert_eq!(found("allow_always"), None);
        assert_eq!(found("reject_always"), None);
        // An id takes precedence over a kind.
        let odd = question(&[("reject_once", AllowOnce), ("x", RejectOnce)]);
        assert_eq!(odd.option("reject_once").unwrap().kind, AllowOnce);
    }

    #[test]
    fn default_never_allows_more_than_once() {
        use PermissionKind::{AllowAlways, AllowOnce, RejectAlways, RejectOnce};
        let all = question(&[
            ("A", AllowAlways),
            ("a", AllowOnce),
            ("R", RejectAlways),
            ("r", RejectOnce),
        ]);
        assert_eq!(all.default_option(PermissionDefault::Allow), "a");
        assert_eq!(all.default_option(PermissionDefault::Reject), "r");
        let some = question(&[("A", AllowAlways), ("R", RejectAlways)]);
        assert_eq!(some.default_option(PermissionDefault::Allow), CANCELLED);
        assert_eq!(some.default_option(PermissionDefault::Reject), "R");
        assert_eq!(question(&[]).default_option(PermissionDefault::Reject), CANCELLED);
    }
}
