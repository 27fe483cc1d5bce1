//! A data directory seen from inside: grants put into it and looked at without the program.

use keyfob::ambient::{Clock, Entropy};
use keyfob::domain::grant::Binding;
use keyfob::domain::id::{GrantId, Id, UserId};
use keyfob::domain::user::{Role, User};
use keyfob::store::{SealedUnder, Store};
use keyfob::vault::{KeyFile, KeyId, KeyRing, Vault};

use crate::program::Place;
use crate::sealed::sealed;

/// The store and the vault of a data directory that the program has made.
pub(crate) struct Kept {
    runtime: tokio::runtime::Runtime,
    pub(crate) store: Store,
    pub(crate) vault: Vault,
    pub(crate) user: UserId,
    clock: Clock,
    entropy: Entropy,
}

impl Kept {
    /// Opens it, with a user `ada` in it.
    pub(crate) fn open(place: &Place) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let ring = KeyRing::open(KeyFile::new(place.data().join("master.keys"), None)).unwrap();
        let vault = Vault::new(ring, entropy.clone());
        let store = runtime.block_on(Store::open(&place.data().join("keyfob.db"))).unwrap();
        let found = runtime.block_on(store.find_user_named("ada")).unwrap();
        let user = found.map_or_else(
            || {
                let user = User {
                    id: Id::new(clock.now(), entropy.bytes()),
                    name: "ada".parse().unwrap(),
                    role: Role::Admin,
                    created_at: clock.now(),
                    disabled_at: None,
                };
                runtime.block_on(store.keep_user(&user, None)).unwrap();
                user.id
            },
            |user| user.id,
        );
        Self { runtime, store, vault, user, clock, entropy }
    }

    /// Waits for something of the store's.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Puts so many grants in.
    pub(crate) fn put_grants(&self, count: usize) -> Vec<GrantId> {
        (0..count).map(|n| self.put_grant(&format!("grant {n}"), "http://127.0.0.1:1")).collect()
    }

    /// Puts a grant in that was made with this provider.
    pub(crate) fn put_grant(&self, label: &str, origin: &str) -> GrantId {
        let id = Id::new(self.clock.now(), self.entropy.bytes());
        let binding = Binding {
            api_origin: origin.to_owned(),
            mcp_origin: origin.to_owned(),
            token_origin: origin.to_owned(),
            client_id: "keyfob-sandbox".to_owned(),
        };
        let tokens = (&*format!("CANARY-access-{id}"), &*format!("CANARY-refresh-{id}"));
        let new = sealed(&self.vault, (id, self.user), label, binding, self.clock.now(), tokens);
        self.wait(self.store.keep_grant(&new)).unwrap();
        id
    }

    /// How much is sealed under a key of the file, by its id.
    pub(crate) fn sealed_under(&self, id: KeyId) -> SealedUnder {
        let counts = self.wait(self.store.count_sealed()).unwrap();
        counts.into_iter().find(|under| under.key == *id.as_bytes()).unwrap_or_default()
    }

    /// The ids in the key file now, the one that seals first.
    pub(crate) fn key_ids(&self) -> Vec<KeyId> {
        self.vault.reread().unwrap();
        self.vault.key_ids()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.runtime.block_on(self.store.close());
    }
}
