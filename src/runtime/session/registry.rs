//! The sessions of the home, by id and by idempotency key, and the damaged ones.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::runtime::error::RuntimeError;
use crate::runtime::session::handle::Session;
use crate::runtime::session::store::SessionFile;
use promptd_model::{SessionId, Usage};

/// All sessions.
#[derive(Debug, Default)]
pub(crate) struct SessionRegistry(RwLock<Sessions>);

#[derive(Debug, Default)]
struct Sessions {
    by_id: BTreeMap<SessionId, Arc<Session>>,
    /// Which session an `Idempotency-Key` made.
    by_key: BTreeMap<String, SessionId>,
    /// Folders that cannot be used.
    unusable: BTreeMap<String, Unusable>,
    /// What sessions used that are not kept any more, by agent.
    removed_usage: BTreeMap<String, Usage>,
}

/// Why a folder cannot be used.
#[derive(Clone, Debug)]
enum Unusable {
    Damaged(String),
    /// A newer program wrote it.
    Newer(String),
}

impl Sessions {
    fn find(&self, id: Option<&SessionId>, key: Option<&str>) -> Option<&Arc<Session>> {
        let by_key = key.and_then(|key| self.by_id.get(self.by_key.get(key)?));
        by_key.or_else(|| self.by_id.get(id?))
    }

    fn insert(&mut self, session: Arc<Session>) {
        let id = session.id().clone();
        if let Some(key) = &session.file.idempotency_key {
            self.by_key.insert(key.clone(), id.clone());
        }
        self.by_id.insert(id, session);
    }

    fn check_damage(&self, id: &str) -> Result<(), RuntimeError> {
        let id = id.to_owned();
        match self.unusable.get(&id).cloned() {
            Some(Unusable::Damaged(reason)) => Err(RuntimeError::SessionDamaged { id, reason }),
            Some(Unusable::Newer(reason)) => Err(RuntimeError::SessionNewer { id, reason }),
            None => Ok(()),
        }
    }
}

fn add_usage(all: &mut BTreeMap<String, Usage>, agent: String, usage: Usage) {
    let sum = all.entry(agent).or_default();
    *sum = sum.plus(usage);
}

impl SessionRegistry {
    fn read(&self) -> RwLockReadGuard<'_, Sessions> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Sessions> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session by its id.
    pub(crate) fn get(&self, id: &str) -> Result<Arc<Session>, RuntimeError> {
        let found = {
            let sessions = self.read();
            sessions.check_damage(id)?;
            id.parse()
                .ok()
                .and_then(|id: SessionId| sessions.by_id.get(&id).cloned())
        };
        let found = found.filter(|session| session.is_created());
        if let Some(session) = &found {
            check_lost(session)?;
        }
        found.ok_or_else(|| RuntimeError::SessionNotFound {
            id: id.chars().take(200).collect(),
        })
    }

    /// All sessions, newest first.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        let mut all = self.all_with_new();
        all.retain(|session| session.is_created() && session.control.lost().is_none());
        all.sort_by(|a, b| (b.created_at(), b.id()).cmp(&(a.created_at(), a.id())));
        all
    }

    /// The same, in any order, with those that are being created.
    pub(crate) fn all_with_new(&self) -> Vec<Arc<Session>> {
        self.read().by_id.values().cloned().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.read().by_id.is_empty()
    }

    /// The session that has the id or the key, whether or not it is created yet.
    pub(crate) fn find(&self, id: Option<&SessionId>, key: Option<&str>) -> Result<Option<Arc<Session>>, RuntimeError> {
        let sessions = self.read();
        if let Some(id) = id {
            sessions.check_damage(id.as_str())?;
        }
        let found = sessions.find(id, key).cloned();
        drop(sessions);
        if let Some(session) = &found {
            check_lost(session)?;
        }
        Ok(found)
    }

    /// Takes the id and the key for a session.
    ///
    /// # Errors
    /// The session that has one of them.
    pub(crate) fn reserve(&self, folder: PathBuf, file: SessionFile) -> Result<Arc<Session>, Arc<Session>> {
        let mut sessions = self.write();
        if let Some(session) = sessions.find(Some(&file.id), file.idempotency_key.as_deref()) {
            return Err(Arc::clone(session));
        }
        let session = Arc::new(Session::new(folder, file));
        sessions.insert(Arc::clone(&session));
        Ok(session)
    }

    /// Adds a session that was found on the disk.
    pub(crate) fn insert(&self, session: Arc<Session>) {
        self.write().insert(session);
    }

    pub(crate) fn remove(&self, id: &SessionId) {
        let session = self.read().by_id.get(id).cloned();
        let used = session.map(|session| (session.agent().to_owned(), session.state().usage()));
        let mut sessions = self.write();
        if let Some((agent, usage)) = used {
            add_usage(&mut sessions.removed_usage, agent, usage);
        }
        sessions.by_id.remove(id);
        sessions.by_key.retain(|_, other| other != id);
    }

    /// What the ended turns used that this server has seen, by agent. It never becomes less.
    pub(crate) fn usage_by_agent(&self) -> BTreeMap<String, Usage> {
        let mut all = self.read().removed_usage.clone();
        for session in self.all_with_new() {
            add_usage(&mut all, session.agent().to_owned(), session.state().usage());
        }
        all
    }

    pub(crate) fn mark_damaged(&self, name: String, reason: &str) {
        tracing::error!(
            session = name,
            reason,
            "a session is damaged; the others are not affected"
        );
        self.write().unusable.insert(name, Unusable::Damaged(reason.to_owned()));
    }

    pub(crate) fn mark_newer(&self, name: String, reason: &str) {
        tracing::error!(
            session = name,
            reason,
            "a newer promptd wrote this session; it is left as it is until that one runs again"
        );
        self.write().unusable.insert(name, Unusable::Newer(reason.to_owned()));
    }

    /// Whether it was known: one that was found damaged, or was damaged while this server held it.
    pub(crate) fn remove_damaged(&self, id: &SessionId) -> bool {
        let was_damaged = self.write().unusable.remove(id.as_str()).is_some();
        let was_held = self.read().by_id.contains_key(id);
        self.remove(id);
        was_damaged || was_held
    }
}

fn check_lost(session: &Session) -> Result<(), RuntimeError> {
    match session.control.lost() {
        Some(reason) => Err(RuntimeError::SessionDamaged {
            id: session.id().to_string(),
            reason,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use promptd_model::SessionRequest;

    fn file(id: &str, key: Option<&str>) -> SessionFile {
        let agent = ("shell".to_owned(), PathBuf::from("/"));
        let key = key.map(str::to_owned);
        SessionFile::new(
            id.parse().unwrap(),
            Timestamp::now(),
            agent,
            key,
            SessionRequest::default(),
        )
    }

    fn reserve(registry: &SessionRegistry, id: &str, key: Option<&str>) -> Result<Arc<Session>, Arc<Session>> {
        registry.reserve(PathBuf::from("/nonexistent"), file(id, key))
    }

    #[test]
    fn an_id_and_a_key_belong_to_one_session() {
        let registry = SessionRegistry::default();
        let one = reserve(&registry, "one", Some("key")).unwrap();
        for (id, key) in [("one", None), ("other", Some("key"))] {
            assert!(Arc::ptr_eq(&reserve(&registry, id, key).unwrap_err(), &one));
        }
        registry.remove(one.id());
        assert!(reserve(&registry, "other", Some("key")).is_ok());
    }

    #[test]
    fn a_session_is_found_when_it_is_created_and_a_damaged_one_never() {
        let registry = SessionRegistry::default();
        let session = reserve(&registry, "one", None).unwrap();
        assert!(registry.get("one").is_err() && registry.all().is_empty());
        session.finish_creation(true);
        assert!(registry.get("one").is_ok() && registry.all().len() == 1);
        registry.mark_newer("three".to_owned(), "why");
        let newer = registry.find(Some(&"three".parse().unwrap()), None);
        assert!(matches!(newer, Err(RuntimeError::SessionNewer { .. })));
        registry.mark_damaged("two".to_owned(), "why");
        let error = registry.get("two").unwrap_err();
        assert!(matches!(error, RuntimeError::SessionDamaged { .. }));
        registry.remove_damaged(&"two".parse().unwrap());
        assert!(matches!(registry.get("two"), Err(RuntimeError::SessionNotFound { .. })));
    }
}
