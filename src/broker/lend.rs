//! A key for one try: a user's own call, made from a command line, passes every check that an app's does.

use super::Broker;
use crate::domain::app::{APP_KEY_PREFIX, App, IssuedKey};
use crate::domain::id::UserId;
use crate::domain::scope::ScopeSet;
use crate::domain::user::Label;

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
}
