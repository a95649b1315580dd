//! Who gets how many of the files that the server may have open.
//!
//! Connections of callers get what is left when keepers, sinks and the server itself have what they need. So callers can
//! never keep a turn from being started, watched and stopped.

use promptd_model::Limits;
use promptd_sys as sys;

/// The server's own: listeners, inotify, locks, requests for artifacts, and files that are open for a moment.
const OWN: usize = 64;

/// A turn that runs: its keeper's pidfd and socket, its standard input, and what reads its records.
const PER_TURN: usize = 6;

/// A connection's socket, and the journal that its reader follows.
const PER_CONNECTION: usize = 2;

/// More connections to backends than this are never needed.
const SINKS: usize = 208;

/// Connections to the control socket beyond those of other callers, so that `promptd` itself always gets in.
const CONTROL: usize = 64;

/// Sessions that ACP clients have open, beyond the first one of each connection.
const FOLLOWED: usize = 1_024;

/// Connections that are only told that there are too many.
const REFUSED: usize = 64;

/// Connections where neither the configuration nor the system asks for less: with the buffers of each, about 100 MB.
const CALLERS: usize = 1_024;

/// The shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// Connections of callers.
    pub callers: usize,
    /// Connections to the control socket.
    pub control: usize,
    /// Connections that are refused at the same time.
    pub refused: usize,
    /// Sessions that ACP clients have open, beyond the first one of each connection.
    pub followed: usize,
    /// Connections to backends.
    pub sinks: usize,
}

impl OpenFiles {
    /// Divides what the system allows.
    pub(crate) fn divide(limits: &Limits) -> Self {
        Self::of(sys::file_limit(), limits)
    }

    fn of(files: usize, limits: &Limits) -> Self {
        let own = OWN.saturating_add(limits.running.saturating_mul(PER_TURN));
        // Even the smallest system has some of each.
        let left = files.saturating_sub(own).max(32);
        let sinks = (left / 4).min(SINKS);
        let control = (left / 16).clamp(2, CONTROL);
        let refused = (left / 16).clamp(2, REFUSED);
        let followed = (left / 16).clamp(2, FOLLOWED);
        let used = sinks
            .saturating_add(followed)
            .saturating_add(control.saturating_mul(PER_CONNECTION))
            .saturating_add(refused);
        let callers = (left.saturating_sub(used) / PER_CONNECTION).max(4);
        Self {
            callers: callers.min(limits.connections.unwrap_or(CALLERS)),
            control,
            refused,
            followed,
            sinks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(shares: OpenFiles) -> usize {
        shares.sinks + shares.refused + shares.followed + (shares.callers + shares.control) * PER_CONNECTION
    }

    #[test]
    fn the_shares_fit_into_the_limit_and_leave_room_for_turns() {
        let limits = Limits::default();
        for limit in [256, 1_024, 4_096, 1 << 20, usize::MAX] {
            let shares = OpenFiles::of(limit, &limits);
            assert!(
                files(shares) + OWN + limits.running * PER_TURN <= limit,
                "{limit}: {shares:?}"
            );
            assert!(shares.callers >= 32 && shares.control >= 8, "{limit}: {shares:?}");
        }
        assert_eq!(OpenFiles::of(1 << 20, &limits).callers, CALLERS);
    }

    #[test]
    fn the_configured_number_holds_where_the_system_allows_it() {
        let limits = |connections| Limits {
            connections: Some(connections),
            ..Limits::default()
        };
        assert_eq!(OpenFiles::of(1 << 20, &limits(20_000)).callers, 20_000);
        assert!(OpenFiles::of(1_024, &limits(20_000)).callers < 512);
        assert_eq!(OpenFiles::of(1_024, &limits(7)).callers, 7);
    }
}
