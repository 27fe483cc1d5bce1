//! Keys that are lent for a call and kept nowhere. They are narrowed and ended with what they were lent for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Admission, Directory, KeyedApp, UserCell};
use crate::domain::app::{App, KeyHash};
use crate::domain::id::{AppId, UserId};
use crate::domain::time::Timestamp;
use crate::store::KeptKey;

/// The keys that are lent, a few at once. Held while keys are put into memory, so that one that is taken back meanwhile is
/// not put there again.
#[derive(Default)]
pub(super) struct Lent(Mutex<Vec<LentKey>>);

pub(super) struct LentKey {
    app: AppId,
    key: KeptKey,
    /// The app, where it is not among those that are kept.
    own: Option<Arc<App>>,
}

impl Lent {
    pub(super) fn held(&self) -> MutexGuard<'_, Vec<LentKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An app's kept keys and those that are lent as it.
pub(super) fn with_lent(lent: &[LentKey], app: AppId, kept: &[KeptKey]) -> Vec<KeptKey> {
    kept.iter().copied().chain(lent.iter().filter(|lent| lent.app == app).map(|lent| lent.key)).collect()
}

/// The apps that are not kept, each with its key.
fn own_apps(lent: &[LentKey]) -> impl Iterator<Item = (&Arc<App>, KeptKey)> {
    lent.iter().filter_map(|lent| Some((lent.own.as_ref()?, lent.key)))
}

impl Directory {
    /// Lets an app call with a key that is kept nowhere, as long as this process lives; false when its user is gone.
    pub(in crate::broker) fn lend(&self, app: App, hash: KeyHash) -> bool {
        let mut lent = self.lent.held();
        let Some(user) = self.find_user(app.user) else { return false };
        let key = KeptKey { hash, valid_until: None };
        let app = Arc::new(app);
        self.put_keys(&app, &user, &[key], None);
        lent.push(LentKey { app: app.id, key, own: Some(app) });
        true
    }

    /// The same as an app that stands, which shares its limits; false when this user has no such app.
    pub(in crate::broker) async fn lend_as(&self, app: AppId, user: UserId, hash: KeyHash, until: Timestamp) -> bool {
        // Nobody ends the app between the look and the loan.
        let ledger = self.ledger.lock().await;
        let known = ledger.keys_of_app.get(&app).and_then(|(_, keys)| keys.first().copied());
        let Some(keyed) = known.and_then(|key| self.find_key(&key)).filter(|keyed| keyed.app.user == user) else {
            return false;
        };
        let key = KeptKey { hash, valid_until: Some(until) };
        self.lent.held().push(LentKey { app, key, own: None });
        self.put_keys(&keyed.app, &keyed.user, &[key], Some(Arc::clone(&keyed.admission)));
        true
    }

    /// Ends a lent key.
    pub(in crate::broker) fn take_back(&self, hash: &KeyHash) {
        let mut lent = self.lent.held();
        lent.retain(|lent| lent.key.hash != *hash);
        self.keys.put(hash, None);
    }

    /// The keys of the apps that are not kept and whose users are there, as a whole reading puts them into memory.
    pub(super) fn keyed_own(
        &self,
        lent: &[LentKey],
        users: &HashMap<UserId, Arc<UserCell>>,
    ) -> Vec<(KeyHash, Arc<KeyedApp>)> {
        let mut keyed = Vec::new();
        for (app, key) in own_apps(lent) {
            let Some(user) = users.get(&app.user) else { continue };
            keyed.extend(self.keyed(app, user, &[key], None));
        }
        keyed
    }

    /// Puts an app's keys into memory.
    pub(super) fn put_keys(
        &self,
        app: &Arc<App>,
        user: &Arc<UserCell>,
        keys: &[KeptKey],
        admission: Option<Arc<Admission>>,
    ) {
        for (hash, keyed) in self.keyed(app, user, keys, admission) {
            self.keys.put(&hash, Some(&keyed));
        }
    }

    /// Takes the keys that are lent as an app out of memory; they come back with it.
    pub(super) fn drop_lent(&self, app: AppId) {
        for lent in self.lent.held().iter().filter(|lent| lent.app == app) {
            self.keys.put(&lent.key.hash, None);
        }
    }

    /// Takes the keys of a user's apps that are not kept out of memory.
    pub(super) fn drop_lent_to(&self, user: UserId) {
        for (_, key) in own_apps(&self.lent.held()).filter(|(app, _)| app.user == user) {
            self.keys.put(&key.hash, None);
        }
    }
}
