//! A session's masker, kept as long as somebody uses it and the secrets are the ones that it was built from.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use promptd_mask::{Masker, Secrets};
use promptd_model::SinkRequest;

/// The secrets that a session's masker was built from, compared by identity.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// The server's.
    pub server: Arc<Secrets>,
    /// Those of files.
    pub files: Arc<Secrets>,
    /// The session's own sinks, whose keys are secret.
    pub sinks: Arc<Vec<SinkRequest>>,
}

impl Sources {
    fn are_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.server, &other.server)
            && Arc::ptr_eq(&self.files, &other.files)
            && Arc::ptr_eq(&self.sinks, &other.sinks)
    }
}

/// The masker that was built last. A masker of other sources is never returned, so nobody has to clear this one.
#[derive(Debug, Default)]
pub(crate) struct SessionMasker(Mutex<Option<(Sources, Weak<Masker>)>>);

impl SessionMasker {
    pub(crate) fn get(&self, sources: &Sources) -> Option<Arc<Masker>> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.as_ref().filter(|(from, _)| from.are_same(sources));
        last.and_then(|(_, masker)| masker.upgrade())
    }

    pub(crate) fn put(&self, sources: Sources, masker: &Arc<Masker>) {
        let last = Some((sources, Arc::downgrade(masker)));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masker_is_returned_for_its_own_sources_only() {
        let sources = Sources {
            server: Arc::default(),
            files: Arc::default(),
            sinks: Arc::default(),
        };
        let mut secrets = Secrets::default();
        secrets.add("a-secret-value");
        let masker = Arc::new(Masker::new(&secrets).unwrap());
        let slot = SessionMasker::default();
        slot.put(sources.clone(), &masker);
        assert!(slot.get(&sources).is_some_and(|found| Arc::ptr_eq(&found, &masker)));
        for other in [
            Sources {
                server: Arc::default(),
                ..sources.clone()
            },
            Sources {
                files: Arc::default(),
                ..sources.clone()
            },
            Sources {
                sinks: Arc::default(),
                ..sources.clone()
            },
        ] {
            assert!(slot.get(&other).is_none());
        }
        drop(masker);
        assert!(slot.get(&sources).is_none(), "nobody uses it");
    }
}
