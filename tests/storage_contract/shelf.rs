//! A database in a directory of its own with two handles on it, and things to put in.

use keyfob::ambient::Entropy;
use keyfob::domain::app::{App, KeyHash};
use keyfob::domain::grant::{Binding, Grant, GrantKind, GrantStatus, ScopesSource};
use keyfob::domain::id::{GrantId, Id, UserId};
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::domain::secret::Sealed;
use keyfob::domain::time::Timestamp;
use keyfob::domain::user::{Role, User};
use keyfob::store::{KeptTokens, Made, NewApp, NewGrant, Store};

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

/// Two handles on one database.
pub(crate) struct Shelf {
    pub(crate) store: Store,
    second: Store,
    entropy: Entropy,
    _directory: tempfile::TempDir,
}

impl Shelf {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyfob.db");
        let store = Store::open(&path).await.unwrap();
        let second = Store::open(&path).await.unwrap();
        Self { store, second, entropy: Entropy::seeded(11), _directory: directory }
    }

    /// What fifty callers get who ask at once, by turns through both handles.
    pub(crate) async fn fifty<T: Send + 'static, F>(&self, ask: impl Fn(Store, usize) -> F) -> Vec<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let store = |n: usize| if n.is_multiple_of(2) { self.store.clone() } else { self.second.clone() };
        let asked: Vec<_> = (0..50).map(|n| tokio::spawn(ask(store(n), n))).collect();
        let mut answers = Vec::new();
        for answer in asked {
            answers.push(answer.await.unwrap());
        }
        answers
    }

    pub(crate) fn id<K>(&self) -> Id<K> {
        Id::new(NOW, self.entropy.bytes())
    }

    pub(crate) fn user(&self, name: &str, role: Role) -> User {
        User { id: self.id(), name: name.parse().unwrap(), role, created_at: NOW, disabled_at: None }
    }

    pub(crate) async fn put_user(&self, name: &str, role: Role) -> UserId {
        let user = self.user(name, role);
        assert_eq!(self.store.keep_user(&user, None).await.unwrap(), Made::Done);
        user.id
    }

    /// A grant of version 1; its envelopes name the master key 1.
    pub(crate) fn grant(&self, user: UserId) -> NewGrant {
        let scopes = ScopeSet::of(Scope::Vehicles);
        let grant = Grant {
            id: self.id(),
            user,
            label: "car".parse().unwrap(),
            kind: GrantKind::OAuth,
            status: GrantStatus::Active,
            reason: None,
            scopes_requested: scopes,
            scopes_granted: scopes,
            scopes_source: ScopesSource::Answer,
            scopes_used: ScopeSet::EMPTY,
            created_at: NOW,
            refreshed_at: None,
            last_used_at: None,
            expires_at: None,
            token_version: 1,
            binding: Binding {
                api_origin: "https://teslascope.com".to_owned(),
                mcp_origin: "https://mcp.teslascope.com".to_owned(),
                token_origin: "https://teslascope.com".to_owned(),
                client_id: "client".to_owned(),
            },
            provider_account: None,
        };
        let data_key = Sealed::from_envelope(envelope(1, grant.id.as_bytes()));
        NewGrant { grant, data_key, master_key_id: "00000001".to_owned(), tokens: tokens("first") }
    }

    pub(crate) async fn put_grant(&self, user: UserId) -> GrantId {
        let new = self.grant(user);
        self.store.keep_grant(&new).await.unwrap();
        new.grant.id
    }

    pub(crate) fn app(&self, user: UserId, key: KeyHash) -> NewApp {
        let app = App {
            id: self.id(),
            user,
            name: "dashboard".parse().unwrap(),
            scopes: ScopeSet::of(Scope::Vehicles),
            grant: None,
            query_key: false,
            rate: None,
            created_at: NOW,
            last_used_at: None,
            expires_at: None,
            revoked_at: None,
        };
        NewApp { app, key }
    }
}

/// Tokens that can be told from others.
pub(crate) fn tokens(name: &str) -> KeptTokens {
    KeptTokens {
        access_token: Sealed::from_envelope(format!("{name} access").into_bytes()),
        refresh_token: Some(Sealed::from_envelope(format!("{name} refresh").into_bytes())),
        scopes_granted: ScopeSet::of(Scope::Vehicles),
        scopes_source: ScopesSource::Answer,
        expires_at: None,
        due_at: None,
        provider_account: None,
    }
}

/// What an envelope under a master key looks like to the store.
pub(crate) fn envelope(master: u8, rest: &[u8]) -> Vec<u8> {
    [&[1, 0, 0, 0, master][..], rest].concat()
}

pub(crate) fn hash(text: impl std::fmt::Display) -> KeyHash {
    KeyHash::of(format!("{text}").as_bytes())
}
