//! How a permission question is answered.

use std::hash::{DefaultHasher, Hasher as _};

use crate::record::{
    AnswerDetails, GrantScope, InvalidMember, Permission, PermissionAnswer, PermissionKind, PermissionOption,
};
use crate::request::PermissionDefault;

/// The answer if no option was chosen because the turn is being ended, as in ACP.
pub const CANCELLED: &str = "cancelled";

/// `by` of an answer to a question that the agent withdrew. The turn continues.
pub const BY_AGENT: &str = "agent";

impl Permission {
    /// The option that a caller chose: by id, or by kind.
    pub fn option(&self, choice: &str) -> Option<&PermissionOption> {
        let by_id = self.options.iter().find(|option| option.option_id == choice);
        by_id.or_else(|| self.narrowest(choice))
    }

    /// The option of a kind that grants least: the only one, or the first one of the shortest scope. `None` if there are
    /// several and the agent does not say how long each of them holds.
    pub fn narrowest(&self, kind: &str) -> Option<&PermissionOption> {
        let of_kind: Vec<_> = self
            .options
            .iter()
            .filter(|option| option.kind.name() == kind)
            .collect();
        match of_kind.as_slice() {
            [only] => Some(only),
            several if several.iter().all(|option| option.scope.is_some()) => {
                several.iter().copied().min_by_key(|option| option.scope)
            }
            _ => None,
        }
    }

    /// Checks what an answer with this option says besides.
    ///
    /// # Errors
    /// Returns the first wrong member, and what would be right.
    pub fn check(&self, option: &PermissionOption, details: &AnswerDetails) -> Result<(), InvalidMember> {
        let wrong = |path: &str, problem: String| {
            let path = path.to_owned();
            Err(InvalidMember { path, problem })
        };
        let allows = matches!(option.kind, PermissionKind::AllowOnce | PermissionKind::AllowAlways);
        if details.reason.is_some() && (allows || !self.takes_reason) {
            let hint =
                "cannot be passed on: it is for a rejection, where the question has \"takes_reason\"; leave it out";
            return wrong("reason", hint.to_owned());
        }
        if let Some(input) = &details.updated_input {
            if !allows || !self.takes_input {
                let hint = "cannot be passed on: it is for an allowing option, where the question has \"takes_input\"; leave it out";
                return wrong("updated_input", hint.to_owned());
            }
            if !input.is_object() {
                return wrong(
                    "updated_input",
                    "must be an object, like rawInput of the tool call".to_owned(),
                );
            }
        }
        let ids = || {
            let ids: Vec<_> = self
                .questions
                .iter()
                .map(|question| format!("{:?}", question.id))
                .collect();
            ids.join(", ")
        };
        if !allows && !details.answers.is_empty() {
            return wrong(
                "answers",
                "stand beside a rejection; leave them out, or choose an option that allows".to_owned(),
            );
        }
        let is_asked = |id: &str| self.questions.iter().any(|question| question.id == id);
        if let Some(id) = details.answers.keys().find(|id| !is_asked(id)) {
            let id: String = id.chars().take(200).collect();
            return wrong(
                &format!("answers.{id}"),
                format!(
                    "answers no question; there are {}",
                    if self.questions.is_empty() {
                        "none".to_owned()
                    } else {
                        ids()
                    }
                ),
            );
        }
        for question in self.questions.iter().filter(|_| allows) {
            let path = format!("answers.{}", question.id);
            match details.answers.get(&question.id) {
                Some(answer) => question.check(answer).or_else(|hint| wrong(&path, hint))?,
                None if question.required => return wrong(&path, format!("is missing; answer {}", ids())),
                None => {}
            }
        }
        Ok(())
    }

    /// The answer if nobody answers in time. It never allows more than the default says, and answers no questions. If the agent offers no option
    /// of that kind, the answer is [`CANCELLED`].
    pub fn default_option(&self, default: PermissionDefault) -> &str {
        let kinds: &[PermissionKind] = match default {
            PermissionDefault::Allow if self.questions.is_empty() => &[PermissionKind::AllowOnce],
            PermissionDefault::Allow | PermissionDefault::Reject => {
                &[PermissionKind::RejectOnce, PermissionKind::RejectAlways]
            }
        };
        let mut options = kinds
            .iter()
            .filter_map(|kind| self.options.iter().find(|option| option.kind == *kind));
        options.next().map_or(CANCELLED, |option| &option.option_id)
    }
}

/// An answer that was given, with what tells whether another one is the same. What the answer holds besides its option is
/// in the journal: it can be large, and states are in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenAnswer {
    asked: Permission,
    answer: PermissionAnswer,
    /// Of the answer's details.
    digest: u64,
}

impl GivenAnswer {
    /// What the answer grants for the whole session.
    pub(super) fn session_grant(&self) -> Option<&serde_json::Value> {
        let mut options = self.asked.options.iter();
        let chosen = options.find(|option| option.option_id == self.answer.option)?;
        let is_for_session = chosen.scope == Some(GrantScope::Session);
        chosen.grant.as_ref().filter(|_| is_for_session)
    }

    /// Keeps what is needed of a question and its answer.
    pub(super) fn new(asked: Permission, answer: &PermissionAnswer) -> Self {
        let options = asked.options.into_iter().map(|option| PermissionOption {
            name: String::new(),
            ..option
        });
        Self {
            asked: Permission {
                id: asked.id,
                options: options.collect(),
                ..Permission::default()
            },
            answer: PermissionAnswer {
                id: answer.id.clone(),
                option: answer.option.clone(),
                by: answer.by.clone(),
                ..PermissionAnswer::default()
            },
            digest: digest(&answer.details),
        }
    }

    /// The answer, without its details.
    pub fn answer(&self) -> &PermissionAnswer {
        &self.answer
    }

    /// Whether this option with these details is the same answer.
    pub fn is_repeated_by(&self, option: &str, details: &AnswerDetails) -> bool {
        let option = self.asked.option(option);
        option.is_some_and(|option| option.option_id == self.answer.option) && digest(details) == self.digest
    }
}

fn digest(details: &AnswerDetails) -> u64 {
    // Neither a vector nor a map with texts as names fails.
    let text = serde_json::to_vec(details).unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    hasher.write(&text);
    hasher.finish()
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
            scope: None,
            grant: None,
        };
        Permission {
            id: "1".to_owned(),
            title: String::new(),
            options: options.iter().map(option).collect(),
            ..Permission::default()
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
    fn a_kind_selects_the_option_that_grants_least() {
        use PermissionKind::AllowAlways;
        let mut asked = question(&[("a", AllowAlways), ("b", AllowAlways), ("c", AllowAlways)]);
        for (option, scope) in
            asked
                .options
                .iter_mut()
                .zip([GrantScope::User, GrantScope::Session, GrantScope::Session])
        {
            option.scope = Some(scope);
        }
        assert_eq!(asked.option("allow_always").unwrap().option_id, "b");
        asked.options[0].scope = None;
        assert_eq!(asked.option("allow_always"), None);
    }

    #[test]
    fn wrong_answers_are_named() {
        use serde_json::json;
        let allow = question(&[("yes", PermissionKind::AllowOnce)]).options.remove(0);
        let reject = question(&[("no", PermissionKind::RejectOnce)]).options.remove(0);
        let choices = json!([{ "value": "Red" }, { "value": "Blue" }]);
        let asked = Permission {
            questions: serde_json::from_value(json!([
                { "id": "color", "text": "Which color?", "choices": choices, "free_text": true, "required": true },
                { "id": "many", "text": "Which?", "choices": choices, "multiple": true },
                { "id": "count", "text": "How many?", "type": "integer" },
                { "id": "names", "text": "Which names?", "multiple": true },
            ]))
            .unwrap(),
            takes_reason: true,
            ..Permission::default()
        };
        let path = |option: &PermissionOption, details: serde_json::Value| {
            let details = serde_json::from_value(details).unwrap();
            asked.check(option, &details).map_err(|wrong| wrong.path)
        };
        for right in [
            json!({ "color": "Red" }),
            json!({ "color": { "other": "Green" }, "many": [], "count": 3 }),
            json!({ "color": "Blue", "many": ["Red", "Blue"] }),
            json!({ "color": "Blue", "names": ["any", "text"] }),
        ] {
            assert_eq!(path(&allow, json!({ "answers": right })), Ok(()));
        }
        for (wrong, named) in [
            (json!({}), "answers.color"),
            (json!({ "color": "Green" }), "answers.color"),
            (json!({ "color": ["Red"] }), "answers.color"),
            (json!({ "color": { "other": "" } }), "answers.color"),
            (json!({ "color": "Red", "size": 1 }), "answers.size"),
            (json!({ "color": "Red", "many": "Red" }), "answers.many"),
            (json!({ "color": "Red", "many": [{ "other": "x" }] }), "answers.many"),
            (json!({ "color": "Red", "count": 1.5 }), "answers.count"),
            (json!({ "color": "Red", "names": "any" }), "answers.names"),
            (json!({ "color": "Red", "names": [1] }), "answers.names"),
        ] {
            assert_eq!(
                path(&allow, json!({ "answers": wrong })),
                Err(named.to_owned()),
                "{wrong}"
            );
        }
        assert_eq!(path(&reject, json!({ "reason": "later" })), Ok(()));
        assert_eq!(
            path(&reject, json!({ "answers": { "color": "Red" } })),
            Err("answers".to_owned())
        );
        let reason = json!({ "answers": { "color": "Red" }, "reason": "x" });
        assert_eq!(path(&allow, reason), Err("reason".to_owned()));
        assert_eq!(
            path(&reject, json!({ "updated_input": {} })),
            Err("updated_input".to_owned())
        );
        // Nobody has answered, so nothing is allowed.
        let both = Permission {
            options: vec![allow, reject],
            ..asked
        };
        assert_eq!(both.default_option(PermissionDefault::Allow), "no");
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

    #[test]
    fn an_answer_is_the_same_by_its_option_or_kind_and_its_details() {
        let asked = question(&[("yes", PermissionKind::AllowOnce), ("no", PermissionKind::RejectOnce)]);
        let details = |size: usize| AnswerDetails {
            updated_input: Some(serde_json::json!({ "content": "x".repeat(size) })),
            ..AnswerDetails::default()
        };
        let answer = PermissionAnswer {
            id: asked.id.clone(),
            option: "yes".to_owned(),
            details: details(1 << 20),
            ..PermissionAnswer::default()
        };
        let given = GivenAnswer::new(asked, &answer);
        assert!(given.is_repeated_by("yes", &answer.details) && given.is_repeated_by("allow_once", &answer.details));
        assert!(!given.is_repeated_by("no", &answer.details) && !given.is_repeated_by("yes", &details(3)));
        assert_eq!(
            given.answer().details,
            AnswerDetails::default(),
            "what is large is not kept"
        );
    }
}
