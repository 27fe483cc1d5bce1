use std::future::poll_fn;
use std::pin::pin;

use super::*;
use crate::ambient::Entropy;
use crate::domain::grant::{Grant, GrantKind, GrantStatus, ScopesSource};
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::secret::Sealed;
use crate::domain::user::Role;
use crate::store::{KeptTokens, NewApp, NewGrant};
use crate::vault::{KeyFile, KeyRing};

fn state(token_version: i64) -> GrantState {
    let binding = Binding {
        api_origin: String::new(),
        mcp_origin: String::new(),
        token_origin: String::new(),
        client_id: String::new(),
    };
    let grant = Grant {
        id: GrantId::from_bytes([1; 16]),
        user: UserId::from_bytes([2; 16]),
        label: "label".parse().unwrap(),
        kind: GrantKind::OAuth,
        status: GrantStatus::Active,
        reason: None,
        scopes_requested: ScopeSet::ALL,
        scopes_granted: ScopeSet::ALL,
        scopes_source: ScopesSource::Assumed,
        scopes_used: ScopeSet::EMPTY,
        created_at: Timestamp::from_secs(1),
        refreshed_at: None,
        last_used_at: None,
        expires_at: None,
        token_version,
        binding,
        provider_account: None,
    };
    GrantState { grant, bearer: None, refreshable: true, bound_here: true }
}

#[tokio::test]
async fn a_refresh_that_ends_after_its_grant_brings_it_not_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("keyfob.db")).await.unwrap();
    let entropy = Entropy::seeded(1);
    let ring = KeyRing::create_new(KeyFile::new(directory.path().join("master.keys"), None), &entropy).unwrap();
    let binding = state(1).grant.binding;
    let memory = Directory::load(store, Vault::new(ring, entropy), binding, None).await.unwrap();
    let id = state(1).grant.id;
    memory.put_grant(state(1));
    memory.renew_grant(state(2));
    assert_eq!(memory.find_grant(id).unwrap().state().grant.token_version, 2);

    memory.drop_grant(id);
    memory.renew_grant(state(3));
    assert!(memory.find_grant(id).is_none());
}

/// A directory over a database with ada, and one app of hers that may do everything.
async fn with_an_app(directory: &tempfile::TempDir) -> (Directory, App, KeyHash) {
    let store = Store::open(&directory.path().join("keyfob.db")).await.unwrap();
    let entropy = Entropy::seeded(1);
    let ring = KeyRing::create_new(KeyFile::new(directory.path().join("master.keys"), None), &entropy).unwrap();
    let at = Timestamp::from_secs(1);
    let user = User {
        id: UserId::from_bytes([2; 16]),
        name: "ada".parse().unwrap(),
        role: Role::Member,
        created_at: at,
        disabled_at: None,
    };
    let app = App {
        id: AppId::from_bytes([3; 16]),
        user: user.id,
        name: "app".parse().unwrap(),
        scopes: ScopeSet::ALL,
        grant: None,
        query_key: false,
        rate: None,
        created_at: at,
        last_used_at: None,
        expires_at: None,
        revoked_at: None,
    };
    store.keep_user(&user, None).await.unwrap();
    let key = KeyHash::of(b"kept");
    store.keep_app(&NewApp { app: app.clone(), key }).await.unwrap();
    let memory = Directory::load(store, Vault::new(ring, entropy), state(1).grant.binding, None).await.unwrap();
    (memory, app, key)
}

async fn read_wholly(memory: &Directory) {
    memory.read_all(&mut *memory.ledger.lock().await).await.unwrap();
}

#[tokio::test]
async fn a_lent_key_is_narrowed_and_revoked_with_its_app_and_stays_through_a_whole_reading() {
    let directory = tempfile::tempdir().unwrap();
    let (memory, app, kept) = with_an_app(&directory).await;
    let (lent, back, until) = (KeyHash::of(b"lent"), KeyHash::of(b"given back"), Timestamp::from_secs(61));
    for key in [lent, back] {
        assert!(memory.lend_as(app.id, app.user, key, until).await);
    }
    let found = |key: &KeyHash| memory.find_key(key).map(|keyed| (keyed.app.scopes, keyed.valid_until));
    assert_eq!(found(&lent), Some((ScopeSet::ALL, Some(until))));

    let less = ScopeSet::of(Scope::Vehicles);
    memory.store.replace_app_scopes(app.id, None, less).await.unwrap();
    memory.reload(Change::App(app.id)).await.unwrap();
    assert_eq!((found(&kept), found(&lent)), (Some((less, None)), Some((less, Some(until)))));
    memory.take_back(&back);
    for _ in 0..2 {
        read_wholly(&memory).await;
        assert_eq!((found(&kept), found(&lent)), (Some((less, None)), Some((less, Some(until)))));
        let admission = |key| memory.find_key(key).unwrap().admission.clone();
        assert!(Arc::ptr_eq(&admission(&kept), &admission(&lent)), "they share the limits of the app");
        memory.reload(Change::App(app.id)).await.unwrap();
        assert_eq!(found(&back), None, "what was taken back does not come again");
    }

    memory.store.revoke_app(app.id, None, Timestamp::from_secs(2)).await.unwrap();
    memory.reload(Change::App(app.id)).await.unwrap();
    assert_eq!((found(&kept), found(&lent)), (None, None));
    read_wholly(&memory).await;
    assert_eq!((found(&kept), found(&lent)), (None, None));
}

#[tokio::test]
async fn a_key_that_is_lent_to_a_user_stays_through_a_whole_reading_and_goes_with_the_user() {
    let directory = tempfile::tempdir().unwrap();
    let (memory, app, _) = with_an_app(&directory).await;
    let lent = KeyHash::of(b"lent");
    assert!(memory.lend(App { id: AppId::from_bytes([4; 16]), ..app.clone() }, lent));
    read_wholly(&memory).await;
    assert!(memory.find_key(&lent).is_some());
    memory.store.take_user(app.user).await.unwrap();
    memory.reload(Change::User(app.user)).await.unwrap();
    assert!(memory.find_key(&lent).is_none());
    read_wholly(&memory).await;
    assert!(memory.find_key(&lent).is_none());
}

#[tokio::test]
async fn endpoints_that_become_known_while_all_is_read_bind_what_was_read_before() {
    let directory = tempfile::tempdir().unwrap();
    let (memory, app, _) = with_an_app(&directory).await;
    let ids: Vec<_> = (1..=50).map(|n| GrantId::from_bytes([n; 16])).collect();
    let at = |token_origin: &str| Binding { token_origin: token_origin.into(), ..state(1).grant.binding };
    for id in &ids {
        let tokens = KeptTokens {
            access_token: Sealed::from_envelope(b"access".to_vec()),
            refresh_token: None,
            scopes_granted: ScopeSet::ALL,
            scopes_source: ScopesSource::Assumed,
            expires_at: None,
            due_at: None,
            provider_account: None,
        };
        let grant = Grant { id: *id, user: app.user, binding: at("https://here"), ..state(1).grant };
        let data_key = Sealed::from_envelope(b"key".to_vec());
        memory.store.keep_grant(&NewGrant { grant, data_key, master_key_id: String::new(), tokens }).await.unwrap();
    }
    for polls in 0..80 {
        memory.rebind(at("https://elsewhere"));
        let mut left: i32 = polls;
        let mut reading = pin!(read_wholly(&memory));
        poll_fn(|context| {
            let polled = reading.as_mut().poll(context);
            if left == 0 {
                memory.rebind(at("https://here"));
            }
            left -= 1;
            polled
        })
        .await;
        if left >= 0 {
            // It was over before.
            memory.rebind(at("https://here"));
        }
        for id in &ids {
            assert!(memory.find_grant(*id).unwrap().state().bound_here, "after {polls} polls");
        }
    }
}
