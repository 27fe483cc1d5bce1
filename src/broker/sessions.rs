//! Sign-in sessions: kept for the pages, ended from anywhere.

use super::Broker;
use crate::domain::app::KeyHash;
use crate::domain::id::UserId;
use crate::domain::time::Timestamp;
use crate::domain::user::User;
use crate::store::{KeptSession, StoreError};

/// A session as its user sees it.
#[derive(Clone, Copy, Debug)]
pub struct OpenSession {
    /// The digest of its id.
    pub id_hash: KeyHash,
    /// When it began.
    pub begun_at: Timestamp,
    /// When it ends unless it is used.
    pub ends_at: Timestamp,
}

impl Broker {
    /// Keeps a new session.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn keep_session(&self, session: &KeptSession) -> Result<(), StoreError> {
        self.store.keep_session(session).await
    }

    /// Keeps what changed in a session that is still there. One that was ended meanwhile is not brought back.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn replace_session(&self, session: &KeptSession) -> Result<bool, StoreError> {
        self.store.replace_session(session).await
    }

    /// Finds a session that has not ended.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn find_session(&self, id_hash: KeyHash) -> Result<Option<KeptSession>, StoreError> {
        self.store.find_session(id_hash, self.clock.now()).await
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn drop_session(&self, id_hash: KeyHash) -> Result<(), StoreError> {
        self.store.drop_session(id_hash).await
    }

    /// The open sessions of an account, newest first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn list_sessions(&self, user: UserId) -> Result<Vec<OpenSession>, StoreError> {
        let found = self.store.list_sessions(user, self.clock.now()).await?;
        Ok(found.into_iter().map(|(id_hash, begun_at, ends_at)| OpenSession { id_hash, begun_at, ends_at }).collect())
    }

    /// Ends every session of an account but one.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn drop_other_sessions(&self, user: UserId, keep: KeyHash) -> Result<(), StoreError> {
        self.store.drop_sessions(user, Some(keep)).await
    }

    /// The account behind a session, as the database has it now, so that a shut-out holds at once in every process.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn account(&self, id: UserId) -> Result<Option<User>, StoreError> {
        self.store.find_user(id).await
    }
}
