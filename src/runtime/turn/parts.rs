//! What the steps of a turn need beyond its session.

use std::sync::Arc;

use crate::runtime::access::configure::Access;
use crate::runtime::launch::links::Links;
use crate::runtime::platform::machine::Machine;
use crate::runtime::settings::SettingsStore;
use promptd_follow::Watcher;

/// The parts of the runtime that turns use.
#[derive(Clone, Debug)]
pub(crate) struct TurnParts {
    pub settings: Arc<SettingsStore>,
    pub access: Arc<Access>,
    pub machine: Arc<Machine>,
    pub links: Arc<Links>,
    pub watcher: Arc<Watcher>,
}
