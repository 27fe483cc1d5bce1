//! Keys for one try: a user's own call, made from a command line or a page, passes every check that an app's does.

use std::time::Duration;

use super::Broker;
use crate::domain::app::{APP_KEY_PREFIX, App, IssuedKey};
use crate::domain::id::{AppId, UserId};
use crate::domain::scope::ScopeSet;
use crate::domain::user::Label;

/// No key that was lent for one call works longer.
const LONGEST: Duration = Duration::from_mins(1);

/// A key of an app's that works until this is dropped.
pub(super) struct LentKey {
    key: IssuedKey,
    broker: Broker,
}

impl LentKey {
    /// The key, to be shown to this process's own proxy.
    pub(super) fn expose(&self) -> &str {
        self.key.expose()
    }
}

impl Drop for LentKey {
    fn drop(&mut self) {
        self.broker.directory.take_back(&self.key.hash());
    }
}

impl Broker {
    /// A key with which this process, and no other, may call as a user with all of their scopes; kept nowhere. Nothing
    /// when there is no such user.
    #[must_use]
    pub fn lend_key(&self, user: UserId, name: Label) -> Option<IssuedKey> {
        let key = IssuedKey::new(APP_KEY_PREFIX, &self.entropy.bytes());
        let app = App {
            id: self.new_id(),
            user,
            name,
            scopes: ScopeSet::ALL,
            grant: None,
            query_key: false,
            rate: None,
            created_at: self.clock.now(),
            last_used_at: None,
            expires_at: None,
            revoked_at: None,
        };
        self.directory.lend(app, key.hash()).then_some(key)
    }

    /// A second key of an app of this user's, with its scopes, its limits and its end. Nothing when there is no such app.
    pub(super) async fn lend_key_of(&self, app: AppId, user: UserId) -> Option<LentKey> {
        let key = IssuedKey::new(APP_KEY_PREFIX, &self.entropy.bytes());
        let until = self.clock.now().plus(LONGEST);
        let lent = self.directory.lend_as(app, user, key.hash(), until).await;
        lent.then(|| LentKey { key, broker: self.clone() })
    }
}
