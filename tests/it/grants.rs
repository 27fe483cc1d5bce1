//! Grants put straight into a house, without a visit to the provider.

use keyfob::domain::grant::{Grant, GrantKind, GrantStatus, ScopesSource};
use keyfob::domain::id::{GrantId, Id};
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::domain::secret::{AccessToken, RefreshToken, Secret};
use keyfob::store::{Change, KeptTokens, NewGrant};
use keyfob::vault::{KeyId, Place};

use crate::browser::House;

/// A grant of `ada`'s with both tokens, as new as the house's clock, and seen in memory.
pub(crate) async fn put_grant(house: &House, label: &str) -> GrantId {
    let (broker, now) = (&house.broker, house.clock.now());
    let user = broker.store.find_user_named("ada").await.unwrap().unwrap().id;
    let id = Id::new(now, broker.entropy.bytes());
    let (key, data_key) = broker.vault.new_data_key(id);
    let mut row = [0; 32];
    row[..16].copy_from_slice(id.as_bytes());
    row[16..].copy_from_slice(user.as_bytes());
    let at = |column| Place { table: "grants", row: &row, column, version: 1 };
    let scopes = ScopeSet::of(Scope::Vehicles);
    let grant = Grant {
        id,
        user,
        label: label.parse().unwrap(),
        kind: GrantKind::OAuth,
        status: GrantStatus::Active,
        reason: None,
        scopes_requested: scopes,
        scopes_granted: scopes,
        scopes_source: ScopesSource::Answer,
        scopes_used: ScopeSet::EMPTY,
        created_at: now,
        refreshed_at: None,
        last_used_at: None,
        expires_at: None,
        token_version: 1,
        binding: (*broker.directory().binding()).clone(),
        provider_account: None,
    };
    let access = Secret::<AccessToken>::new(format!("CANARY-access-{id}"));
    let refresh = Secret::<RefreshToken>::new(format!("CANARY-refresh-{id}"));
    let tokens = KeptTokens {
        access_token: key.seal(&at("access_token"), &access),
        refresh_token: Some(key.seal(&at("refresh_token"), &refresh)),
        scopes_granted: scopes,
        scopes_source: ScopesSource::Answer,
        expires_at: None,
        due_at: None,
        provider_account: None,
    };
    let master_key_id = KeyId::of(&data_key).unwrap().to_string();
    broker.store.keep_grant(&NewGrant { grant, data_key, master_key_id, tokens }).await.unwrap();
    broker.directory().reload(Change::Grant(id)).await.unwrap();
    id
}
