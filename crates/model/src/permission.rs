//! What answers a question of an agent.

use super::record::{Permission, PermissionKind, PermissionOption};
use super::request::PermissionDefault;

/// The answer in place of an option: none was chosen, since the turn is to end. ACP's word for it.
pub const CANCELLED: &str = "cancelled";

/// Who answered in place of a caller: the agent, which has taken its question back. The turn goes on.
pub const BY_AGENT: &str = "agent";

impl Permission {
    /// The option that a caller means: by its id, or by its kind where no other option is of that kind.
    pub fn option(&self, wish: &str) -> Option<&PermissionOption> {
        let by_id = self.options.iter().find(|option| option.option_id == wish);
        by_id.or_else(|| {
            let mut of_kind = self.options.iter().filter(|option| option.kind.name() == wish);
            of_kind.next().filter(|_| of_kind.next().is_none())
        })
    }

    /// What the agent is told when nobody has answered in time; never more than what the default means. Where the agent
    /// offers nothing of the kind, it is told that the turn is over.
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
    fn an_option_is_meant_by_its_id_or_by_a_kind_that_only_one_has() {
        use PermissionKind::{AllowAlways, AllowOnce, RejectOnce};
        let asked = question(&[
            ("a", AllowOnce),
            ("b", AllowAlways),
            ("c", AllowAlways),
            ("d", RejectOnce),
        ]);
        let meant = |wish| asked.option(wish).map(|option| option.option_id.as_str());
        assert_eq!(meant("c"), Some("c"));
        assert_eq!(meant("allow_once"), Some("a"));
        assert_eq!(meant("allow_always"), None);
        assert_eq!(meant("reject_always"), None);
        // An id is more than a kind.
        let odd = question(&[("reject_once", AllowOnce), ("x", RejectOnce)]);
        assert_eq!(odd.option("reject_once").unwrap().kind, AllowOnce);
    }

    #[test]
    fn the_default_never_means_more_than_it_says() {
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
