//! Query parameters in: what is unknown or wrong is refused, never ignored.

use axum::extract::{FromRequestParts, Query as AxumQuery};
use axum::http::Uri;
use axum::http::request::Parts;

use crate::api::http::problem::Problem;
use crate::api::state::SharedState;
use promptd_model::{View, nearest};

/// The parameters of a request, in their order.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl FromRequestParts<SharedState> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _api: &SharedState) -> Result<Self, Problem> {
        Self::parse(&parts.uri)
    }
}

impl Query {
    fn parse(uri: &Uri) -> Result<Self, Problem> {
        AxumQuery::<Vec<(String, String)>>::try_from_uri(uri)
            .map(|AxumQuery(pairs)| Self(pairs))
            .map_err(|error| Problem::bad_request("invalid_parameter", format!("the query cannot be read: {error}")))
    }

    /// Refuses every parameter that is not in `known`, and every one that is given twice.
    pub(crate) fn only(self, known: &[&str]) -> Result<Self, Problem> {
        for (index, (name, _)) in self.0.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(unknown(name, known));
            }
            if self.0.iter().take(index).any(|(earlier, _)| earlier == name) {
                return Err(Problem::bad_request(
                    "invalid_parameter",
                    format!("the parameter {name:?} is given twice; give it once"),
                ));
            }
        }
        Ok(self)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    /// A whole number.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| invalid(name, text, "a whole number, such as 0 or 17"))
        };
        self.text(name).map(parse).transpose()
    }

    /// `true` or `false`; the bare name means true.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, Problem> {
        match self.text(name) {
            None => Ok(default),
            Some("true" | "1" | "") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(invalid(name, other, "true or false")),
        }
    }

    /// `limit`: how many entries a page has.
    pub(crate) fn limit(&self, default: usize, most: usize) -> Result<usize, Problem> {
        match self.number::<usize>("limit")? {
            None => Ok(default),
            Some(limit) if (1..=most).contains(&limit) => Ok(limit),
            Some(limit) => Err(invalid("limit", &limit.to_string(), &format!("1 to {most}"))),
        }
    }

    /// `view`.
    pub(crate) fn view(&self) -> Result<View, Problem> {
        match self.text("view") {
            None | Some("raw") => Ok(View::Raw),
            Some("updates") => Ok(View::Updates),
            Some(other) => Err(invalid("view", other, "raw or updates")),
        }
    }
}

/// The refusal of a parameter's value.
pub(crate) fn invalid(name: &str, value: &str, right: &str) -> Problem {
    let value: String = value.chars().take(100).collect();
    Problem::bad_request("invalid_parameter", format!("{name} is {value:?}; it must be {right}"))
        .with("parameter", name)
}

fn unknown(name: &str, known: &[&str]) -> Problem {
    let nearest = nearest(name, known.iter().copied());
    let hint = match nearest {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None if known.is_empty() => "this call takes none".to_owned(),
        None => format!("known parameters: {}", known.join(", ")),
    };
    Problem::bad_request("unknown_parameter", format!("there is no parameter {name:?}; {hint}"))
        .with("parameter", name)
        .with("nearest", nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(&format!("/x?{text}").parse().unwrap()).unwrap()
    }

    #[test]
    fn a_wrong_value_is_quoted_with_what_would_be_right() {
        let problem = query("after=abc").number::<u64>("after").unwrap_err();
        assert_eq!(
            problem.detail(),
            r#"after is "abc"; it must be a whole number, such as 0 or 17"#
        );
        assert!(query("after=-1").number::<u64>("after").is_err());
        assert_eq!(query("after=7").number::<u64>("after").unwrap(), Some(7));
        assert!(query("follow=maybe").flag("follow", true).is_err());
        assert!(!query("follow=false").flag("follow", true).unwrap());
    }

    #[test]
    fn an_unknown_parameter_names_the_nearest_known_one() {
        let problem = query("folow=true").only(&["after", "follow"]).unwrap_err();
        assert_eq!(problem.code(), "unknown_parameter");
        assert!(problem.detail().contains("\"follow\""));
        assert!(query("after=1&after=2").only(&["after"]).is_err());
    }

    #[test]
    fn a_view_is_raw_or_updates() {
        assert_eq!(query("").view().unwrap(), View::Raw);
        assert_eq!(query("view=raw").view().unwrap(), View::Raw);
        assert_eq!(query("view=updates").view().unwrap(), View::Updates);
        let problem = query("view=update").view().unwrap_err();
        assert_eq!(problem.code(), "invalid_parameter");
        assert_eq!(problem.detail(), r#"view is "update"; it must be raw or updates"#);
    }
}
