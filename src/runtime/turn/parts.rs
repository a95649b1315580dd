//! What the steps of a turn need beyond its session.

use std::sync::Arc;

use crate::runtime::access::configure::Access;
use crate::runtime::launch::links::Links;
use crate::runtime::platform::machine::Machine;
use crate::runtime::session::store::Home;
use crate::runtime::settings::SettingsStore;
use promptd_follow::Watcher;

/// The parts of the runtime that turns use.
#[derive(Clone, Debug)]
pub(crate) struct TurnParts {
    #[expect(dead_code, reason = "held for its lock")]
    /// No other server may follow them as long as one of them is followed here.
    pub home: Arc<Home>,
    pub settings: Arc<SettingsStore>,
    pub access: Arc<Access>,
    pub machine: Arc<Machine>,
    pub links: Arc<Links>,
    pub watcher: Arc<Watcher>,
}
