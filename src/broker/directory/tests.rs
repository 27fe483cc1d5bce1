use super::*;
use crate::ambient::Entropy;
use crate::domain::grant::{Grant, GrantKind, GrantStatus, ScopesSource};
use crate::domain::scope::ScopeSet;
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
