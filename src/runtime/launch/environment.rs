//! The variables that an agent gets beyond the server's own environment.

use std::path::Path;

use crate::runtime::access::variables::Variables;
use crate::runtime::launch::program::search_path;
use crate::runtime::settings::Settings;
use promptd_model::SessionRequest;

/// The variables, of which the last one of a name counts: ours, those of the launch, the agent's configuration, and the
/// request's, which win.
pub(crate) fn environment(
    settings: &Settings,
    variables: &Variables,
    request: &SessionRequest,
    agent: &str,
    cwd: &Path,
    launch: Vec<(String, String)>,
) -> Vec<(String, String)> {
    let own = [
        ("PATH".to_owned(), search_path(request).to_string_lossy().into_owned()),
        // A shell that changes its folder changes this, too; opencode works where it says.
        ("PWD".to_owned(), cwd.to_string_lossy().into_owned()),
    ];
    let configured = settings.agents.get(agent).map(|configured| &configured.env);
    // The request's PATH is in ours.
    let requested = request.env.iter().filter(|(name, _)| *name != "PATH");
    let pairs = |(name, value): (&String, &String)| (name.clone(), value.clone());
    let mut all = variables.all();
    all.extend(own);
    all.extend(launch);
    all.extend(configured.into_iter().flatten().map(pairs));
    all.extend(requested.map(pairs));
    all
}
