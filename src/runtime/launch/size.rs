//! Whether Linux starts a program with these arguments and variables.

use std::collections::BTreeMap;
use std::ffi::OsString;

use nix::sys::resource::{Resource, getrlimit};

use crate::runtime::error::RuntimeError;
use promptd_model::{MAX_ARGUMENT, McpServer, SessionRequest, len64};

/// What the kernel grants arguments and variables together: a quarter of the stack, between these two.
const LEAST: u64 = 128 << 10;
const MOST: u64 = 6 << 20;

/// What comes on top: variables of ours, paths of a session's files, what an agent adds for its own children.
const RESERVE: u64 = 16 << 10;

/// Refuses a launch that the kernel would refuse when the turn starts. `env` are pairs of which the last one of a name
/// counts, over the server's own environment.
pub(crate) fn check(request: &SessionRequest, args: &[String], env: &[(String, String)]) -> Result<(), RuntimeError> {
    check_servers(&request.mcp_servers)?;
    let (stack, _) = getrlimit(Resource::RLIMIT_STACK).unwrap_or((u64::MAX, u64::MAX));
    let inherited = std::env::vars_os().filter(|(name, _)| !name.as_encoded_bytes().starts_with(b"PROMPTD_"));
    check_against(args, env, inherited, stack)
}

fn check_against(
    args: &[String],
    env: &[(String, String)],
    inherited: impl Iterator<Item = (OsString, OsString)>,
    stack: u64,
) -> Result<(), RuntimeError> {
    if let Some((name, value)) = env.iter().find(|(name, value)| !fits(name, value)) {
        return Err(too_large(
            format!("env.{name}"),
            variable_bytes(name, value),
            "variable",
        ));
    }
    let mut sizes: BTreeMap<OsString, u64> = inherited
        .map(|(name, value)| {
            let size = len64(name.as_encoded_bytes()).saturating_add(len64(value.as_encoded_bytes()));
            (name, size.saturating_add(2))
        })
        .collect();
    sizes.extend(env.iter().map(|(name, value)| {
        // With the zero at its end.
        (name.into(), variable_bytes(name, value).saturating_add(1))
    }));
    // Each string has a pointer, too.
    let pointers = u64::try_from(args.len().saturating_add(sizes.len())).unwrap_or(u64::MAX);
    let strings = sizes
        .values()
        .copied()
        .chain(args.iter().map(|arg| len64(arg.as_bytes()).saturating_add(1)));
    let total = strings.fold(pointers.saturating_mul(8), u64::saturating_add);
    let limit = (stack / 4).clamp(LEAST, MOST).saturating_sub(RESERVE);
    if total <= limit {
        return Ok(());
    }
    Err(RuntimeError::TooLarge {
        field: "env".to_owned(),
        size: total,
        limit,
        hint: "these are all variables and arguments of the agent, the server's own environment included; put the \
               largest values into files"
            .to_owned(),
    })
}

/// The programs of these get their variables and arguments from a shell.
fn check_servers(servers: &BTreeMap<String, McpServer>) -> Result<(), RuntimeError> {
    for (server, McpServer { args, env, .. }) in servers {
        if let Some((name, value)) = env.iter().find(|(name, value)| !fits(name, value)) {
            let field = format!("mcp_servers.{server}.env.{name}");
            return Err(too_large(field, variable_bytes(name, value), "variable"));
        }
        if let Some((index, arg)) = args.iter().enumerate().find(|(_, arg)| arg.len() > MAX_ARGUMENT) {
            let field = format!("mcp_servers.{server}.args[{index}]");
            return Err(too_large(field, len64(arg.as_bytes()), "argument"));
        }
    }
    Ok(())
}

/// The bytes of `NAME=value`.
fn variable_bytes(name: &str, value: &str) -> u64 {
    len64(name.as_bytes())
        .saturating_add(len64(value.as_bytes()))
        .saturating_add(1)
}

fn fits(name: &str, value: &str) -> bool {
    variable_bytes(name, value) <= limit_of_one()
}

fn limit_of_one() -> u64 {
    u64::try_from(MAX_ARGUMENT).unwrap_or(u64::MAX)
}

fn too_large(field: String, size: u64, what: &str) -> RuntimeError {
    RuntimeError::TooLarge {
        field,
        size,
        limit: limit_of_one(),
        hint: format!("Linux starts no program with a larger {what}; put the value into a file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(env: &[(&str, usize)], inherited: &[(&str, usize)], args: usize) -> Option<String> {
        let env: Vec<_> = env
            .iter()
            .map(|(name, size)| ((*name).to_owned(), "x".repeat(*size)))
            .collect();
        let inherited = inherited
            .iter()
            .map(|(name, size)| ((*name).into(), "x".repeat(*size).into()));
        let args = vec!["x".repeat(100); args];
        match check_against(&args, &env, inherited, 8 << 20) {
            Ok(()) => None,
            Err(RuntimeError::TooLarge { field, .. }) => Some(field),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn one_variable_counts_with_its_name() {
        assert_eq!(refused(&[("KEY", MAX_ARGUMENT - 4)], &[], 0), None);
        assert_eq!(
            refused(&[("KEY", MAX_ARGUMENT - 3)], &[], 0).as_deref(),
            Some("env.KEY")
        );
    }

    #[test]
    fn all_variables_and_arguments_count_together() {
        let names: Vec<String> = (0..20).map(|number| format!("V{number}")).collect();
        let many: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 100_000)).collect();
        assert_eq!(refused(&many, &[], 0), None);
        assert_eq!(refused(&many, &[("OTHER", 100_000)], 0).as_deref(), Some("env"));
        assert_eq!(refused(&many, &[("V3", 100_000)], 0), None, "it is replaced");
        assert_eq!(refused(&many, &[], 1_000).as_deref(), Some("env"));
    }
}
