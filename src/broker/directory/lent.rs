//! Keys that are lent for a call and kept nowhere.

use super::{Directory, KeyedApp};
use crate::domain::app::{App, KeyHash};
use crate::domain::id::{AppId, UserId};
use crate::domain::time::Timestamp;
use crate::store::KeptKey;

impl Directory {
    /// Lets an app call with a key that is kept nowhere, as long as this process lives; false when its user is gone.
    pub(in crate::broker) fn lend(&self, app: App, hash: KeyHash) -> bool {
        let Some(user) = self.find_user(app.user) else { return false };
        for (hash, keyed) in self.keyed(app, &user, &[KeptKey { hash, valid_until: None }], None) {
            self.keys.put(&hash, Some(&keyed));
        }
        true
    }

    /// The same as an app that stands, which shares its limits; false when this user has no such app.
    pub(in crate::broker) async fn lend_as(&self, app: AppId, user: UserId, hash: KeyHash, until: Timestamp) -> bool {
        let known = self.ledger.lock().await.keys_of_app.get(&app).and_then(|(_, keys)| keys.first().copied());
        let Some(keyed) = known.and_then(|key| self.find_key(&key)).filter(|keyed| keyed.app.user == user) else {
            return false;
        };
        self.keys.put(&hash, Some(&KeyedApp { hash, valid_until: Some(until), ..keyed }));
        true
    }

    /// Ends a lent key.
    pub(in crate::broker) fn take_back(&self, hash: &KeyHash) {
        self.keys.put(hash, None);
    }
}
