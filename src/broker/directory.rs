//! Users, grants and apps in memory, so that a call reads no database: look-ups in shards that are replaced whole, each
//! change touching only what changed. Filled at start, then by this process's changes at once and other processes' within a second.

mod lent;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use lent::{Lent, with_lent};
use tokio::sync::Mutex;

use super::admission::Admission;
use super::cell::{Bearer, GrantCell, GrantState, access_token_place, token_row};
use super::sharded::Sharded;
use crate::domain::app::{App, KeyHash, Rate};
use crate::domain::grant::Binding;
use crate::domain::id::{AppId, GrantId, UserId};
use crate::domain::time::Timestamp;
use crate::domain::user::User;
use crate::store::{Change, GrantRecord, KeptKey, Store, StoreError};
use crate::vault::Vault;

/// A user in memory.
pub(super) struct UserCell {
    pub(super) user: ArcSwap<User>,
    pub(super) grants: ArcSwap<Vec<Arc<GrantCell>>>,
}

/// An app behind one of its keys.
pub(super) struct KeyedApp {
    pub(super) app: Arc<App>,
    pub(super) user: Arc<UserCell>,
    pub(super) admission: Arc<Admission>,
    pub(super) hash: KeyHash,
    pub(super) valid_until: Option<Timestamp>,
}

/// What writers need to know of what stands, behind the one lock that orders them.
#[derive(Default)]
struct Ledger {
    keys_of_app: HashMap<AppId, (UserId, Vec<KeyHash>)>,
    revision: i64,
    /// The newest look at other processes' changes that came to its end.
    seen: u64,
}

/// Users, grants and apps in memory.
pub struct Directory {
    keys: Sharded<KeyHash, Arc<KeyedApp>>,
    users: Sharded<UserId, Arc<UserCell>>,
    grants: Sharded<GrantId, Arc<GrantCell>>,
    ledger: Mutex<Ledger>,
    lent: Lent,
    /// How many looks at other processes' changes were begun.
    looks: AtomicU64,
    store: Store,
    vault: Vault,
    binding: ArcSwap<Binding>,
    default_rate: Option<Rate>,
}

impl Directory {
    /// Reads everything that is live.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn load(
        store: Store,
        vault: Vault,
        binding: Binding,
        default_rate: Option<Rate>,
    ) -> Result<Self, StoreError> {
        let this = Self {
            keys: Sharded::new(),
            users: Sharded::new(),
            grants: Sharded::new(),
            ledger: Mutex::default(),
            lent: Lent::default(),
            looks: AtomicU64::default(),
            store,
            vault,
            binding: ArcSwap::from_pointee(binding),
            default_rate,
        };
        this.read_all(&mut *this.ledger.lock().await).await?;
        Ok(this)
    }

    async fn read_all(&self, ledger: &mut Ledger) -> Result<(), StoreError> {
        // The revision is read first: what changes meanwhile is read twice rather than never.
        let revision = self.store.revision().await?;
        let mut live = self.store.read_live(|record| self.state_of(record)).await?;
        // From here on nothing waits, so that whoever breaks this off leaves memory as it was.
        let mut users: HashMap<_, _> = live.users.into_iter().map(|user| (user.id, (user, Vec::new()))).collect();
        let mut grants = Vec::new();
        for state in live.grants {
            let id = state.grant.id;
            let cell = match self.grants.find(&id, Arc::clone) {
                Some(cell) => {
                    cell.replace(state);
                    cell
                }
                None => Arc::new(GrantCell::new(state)),
            };
            if let Some((_, of_user)) = users.get_mut(&cell.user) {
                of_user.push(Arc::clone(&cell));
            }
            grants.push((id, cell));
        }
        let users: HashMap<_, _> = users
            .into_iter()
            .map(|(id, (user, grants))| {
                (id, Arc::new(UserCell { user: ArcSwap::from_pointee(user), grants: ArcSwap::from_pointee(grants) }))
            })
            .collect();
        live.keys.sort_unstable_by_key(|(app, _)| *app);
        let kept = |app: AppId| -> Vec<KeptKey> {
            let from = live.keys.partition_point(|(of, _)| *of < app);
            live.keys[from..].iter().take_while(|(of, _)| *of == app).map(|(_, key)| *key).collect()
        };
        let lent = self.lent.held();
        ledger.keys_of_app.clear();
        let keyed = live.apps.into_iter().flat_map(|app| {
            let Some(user) = users.get(&app.user) else { return Vec::new() };
            let kept = kept(app.id);
            ledger.keys_of_app.insert(app.id, (app.user, kept.iter().map(|key| key.hash).collect()));
            let keys = with_lent(&lent, app.id, &kept);
            self.keyed(&app, user, &keys, None)
        });
        self.keys.fill(keyed.chain(self.keyed_own(&lent, &users)));
        self.grants.fill(grants);
        self.users.fill(users);
        // The endpoints may have become known while this was read.
        self.bind();
        ledger.revision = revision;
        Ok(())
    }

    fn keyed(
        &self,
        app: &Arc<App>,
        user: &Arc<UserCell>,
        keys: &[KeptKey],
        admission: Option<Arc<Admission>>,
    ) -> Vec<(KeyHash, Arc<KeyedApp>)> {
        let admission = match admission {
            Some(admission) => Admission::renewed(admission, app.rate.or(self.default_rate)),
            None => Arc::new(Admission::new(app.rate.or(self.default_rate))),
        };
        keys.iter()
            .map(|key| {
                let (app, user, admission) = (Arc::clone(app), Arc::clone(user), Arc::clone(&admission));
                let keyed = KeyedApp { app, user, admission, hash: key.hash, valid_until: key.valid_until };
                (key.hash, Arc::new(keyed))
            })
            .collect()
    }

    /// Opens a kept grant. A token that does not open is logged and leaves the grant without a bearer.
    pub(super) fn state_of(&self, record: GrantRecord) -> GrantState {
        let bound_here = record.grant.binding.allows(&self.binding.load(), record.grant.kind);
        let bearer = self.open_bearer(&record);
        GrantState { refreshable: record.refresh_token.is_some(), bearer, bound_here, grant: record.grant }
    }

    fn open_bearer(&self, record: &GrantRecord) -> Option<Arc<Bearer>> {
        let (grant, data_key, token) = (&record.grant, record.data_key.as_ref()?, record.access_token.as_ref()?);
        let row = token_row(grant.id, grant.user);
        let opened = self
            .vault
            .open_data_key(grant.id, data_key)
            .and_then(|key| key.open(&access_token_place(&row, grant.token_version), token));
        match opened {
            Ok(token) => Bearer::new(grant, &token).map(Arc::new),
            Err(cause) => {
                tracing::error!(grant.id = %grant.id, error = %cause, "a grant's token does not open; its calls are refused");
                None
            }
        }
    }

    /// Finds the app behind a key.
    pub(super) fn find_key(&self, hash: &KeyHash) -> Option<Arc<KeyedApp>> {
        self.keys.find(hash, Arc::clone)
    }

    /// Finds a grant.
    #[must_use]
    pub fn find_grant(&self, id: GrantId) -> Option<Arc<GrantCell>> {
        self.grants.find(&id, Arc::clone)
    }

    /// Finds a user and their grants.
    pub(super) fn find_user(&self, id: UserId) -> Option<Arc<UserCell>> {
        self.users.find(&id, Arc::clone)
    }

    /// Every grant that is not disconnected.
    #[must_use]
    pub fn grants(&self) -> Vec<Arc<GrantCell>> {
        self.grants.values()
    }

    /// What the settings bind grants to.
    #[must_use]
    pub fn binding(&self) -> Arc<Binding> {
        self.binding.load_full()
    }

    /// Binds to other settings from now on: the endpoints have become known.
    pub(super) fn rebind(&self, binding: Binding) {
        self.binding.store(Arc::new(binding));
        self.bind();
    }

    /// Looks again which grants were made with what the settings now name.
    fn bind(&self) {
        let binding = self.binding.load();
        for cell in self.grants.values() {
            let state = cell.state();
            let bound_here = state.grant.binding.allows(&binding, state.grant.kind);
            if bound_here != state.bound_here {
                let bearer = state.bearer.clone();
                cell.replace(GrantState {
                    grant: state.grant.clone(),
                    bearer,
                    refreshable: state.refreshable,
                    bound_here,
                });
            }
        }
    }

    /// Reads one thing again, after this process changed it.
    ///
    /// # Errors
    /// [`StoreError`]; memory is as it was.
    pub async fn reload(&self, change: Change) -> Result<(), StoreError> {
        let mut ledger = self.ledger.lock().await;
        self.reload_one(&mut ledger, change).await
    }

    /// Reads again what other processes changed since the last look.
    ///
    /// # Errors
    /// [`StoreError`]; what was not read yet is read at the next look.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        let asked = self.looks.load(Ordering::Acquire);
        let mut ledger = self.ledger.lock().await;
        // A look that began after this was asked for, and came to its end, has seen all that this one could: a flood shares
        // one look.
        if ledger.seen > asked {
            return Ok(());
        }
        let look = self.looks.fetch_add(1, Ordering::AcqRel) + 1;
        let changes = self.store.changes_since(ledger.revision).await?;
        match changes.changes {
            None => self.read_all(&mut ledger).await?,
            Some(all) => {
                for change in all {
                    match self.reload_one(&mut ledger, change).await {
                        // One damaged row must not keep the others' changes from being seen.
                        Err(StoreError::Damaged(cause)) => self.give_up(&mut ledger, change, &cause),
                        other => other?,
                    }
                }
                ledger.revision = changes.revision;
            }
        }
        ledger.seen = look;
        Ok(())
    }

    /// Takes out of memory what the database no longer tells of.
    fn give_up(&self, ledger: &mut Ledger, change: Change, cause: &str) {
        tracing::error!(change = ?change, error = cause, "something that changed is damaged in the database; it is not served");
        match change {
            Change::User(id) => self.drop_user(ledger, id),
            Change::Grant(id) => self.drop_grant(id),
            Change::App(id) => self.drop_app(ledger, id),
        }
    }

    async fn reload_one(&self, ledger: &mut Ledger, change: Change) -> Result<(), StoreError> {
        match change {
            Change::User(id) => match (self.store.find_user(id).await?, self.find_user(id)) {
                (Some(user), Some(cell)) => cell.user.store(Arc::new(user)),
                (Some(user), None) => self.put_user(user),
                (None, _) => self.drop_user(ledger, id),
            },
            Change::Grant(id) => {
                let record = self.store.find_grant(id, None).await?;
                match record.filter(|record| record.data_key.is_some()) {
                    Some(record) => {
                        self.find_or_read_user(record.grant.user).await?;
                        self.put_grant(self.state_of(record));
                    }
                    None => self.drop_grant(id),
                }
            }
            Change::App(id) => {
                let record = self.store.find_app(id, None).await?;
                let admission = ledger
                    .keys_of_app
                    .get(&id)
                    .and_then(|(_, keys)| self.find_key(keys.first()?))
                    .map(|keyed| Arc::clone(&keyed.admission));
                self.drop_app(ledger, id);
                let Some(record) = record.filter(|record| record.app.revoked_at.is_none()) else { return Ok(()) };
                let Some(user) = self.find_or_read_user(record.app.user).await? else { return Ok(()) };
                ledger.keys_of_app.insert(id, (record.app.user, record.keys.iter().map(|key| key.hash).collect()));
                let lent = self.lent.held();
                let keys = with_lent(&lent, id, &record.keys);
                self.put_keys(&Arc::new(record.app), &user, &keys, admission);
            }
        }
        Ok(())
    }

    /// A user whom another process made a moment ago may have a grant or an app here before their own change is seen.
    async fn find_or_read_user(&self, id: UserId) -> Result<Option<Arc<UserCell>>, StoreError> {
        if self.find_user(id).is_none()
            && let Some(user) = self.store.find_user(id).await?
        {
            self.put_user(user);
        }
        Ok(self.find_user(id))
    }

    fn put_user(&self, user: User) {
        let id = user.id;
        let grants: Vec<_> = self.grants.values().into_iter().filter(|cell| cell.user == id).collect();
        let cell = UserCell { user: ArcSwap::from_pointee(user), grants: ArcSwap::from_pointee(grants) };
        self.users.put(&id, Some(&Arc::new(cell)));
    }

    /// Takes over what is newer of a grant that stands; one that was ended meanwhile is not brought back.
    pub(super) fn renew_grant(&self, state: GrantState) {
        if let Some(cell) = self.find_grant(state.grant.id) {
            cell.replace(state);
        }
    }

    pub(super) fn put_grant(&self, state: GrantState) {
        let id = state.grant.id;
        if let Some(cell) = self.find_grant(id) {
            cell.replace(state);
            return;
        }
        let cell = Arc::new(GrantCell::new(state));
        if let Some(user) = self.find_user(cell.user) {
            user.grants.rcu(|grants| {
                let mut grants = Vec::clone(grants);
                grants.retain(|other| other.id != id);
                grants.push(Arc::clone(&cell));
                grants
            });
        }
        self.grants.put(&id, Some(&cell));
    }

    pub(super) fn drop_grant(&self, id: GrantId) {
        if let Some(cell) = self.find_grant(id) {
            if let Some(user) = self.find_user(cell.user) {
                user.grants.rcu(|grants| grants.iter().filter(|other| other.id != id).cloned().collect::<Vec<_>>());
            }
            self.grants.put(&id, None);
        }
    }

    /// Takes a user out with every grant and app of theirs.
    fn drop_user(&self, ledger: &mut Ledger, id: UserId) {
        let apps: Vec<_> =
            ledger.keys_of_app.iter().filter(|(_, (user, _))| *user == id).map(|(app, _)| *app).collect();
        for app in apps {
            self.drop_app(ledger, app);
        }
        if let Some(cell) = self.find_user(id) {
            for grant in cell.grants.load().iter() {
                self.grants.put(&grant.id, None);
            }
        }
        self.users.put(&id, None);
        self.drop_lent_to(id);
    }

    fn drop_app(&self, ledger: &mut Ledger, id: AppId) {
        for hash in ledger.keys_of_app.remove(&id).map(|(_, keys)| keys).unwrap_or_default() {
            self.keys.put(&hash, None);
        }
        self.drop_lent(id);
    }
}

#[cfg(test)]
mod tests;
