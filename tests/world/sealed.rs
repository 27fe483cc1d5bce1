//! A grant with sealed tokens that is put straight into a store, without a visit to the provider.

use keyfob::domain::grant::{Binding, Grant, GrantKind, GrantStatus, ScopesSource};
use keyfob::domain::id::{GrantId, UserId};
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::domain::secret::{AccessToken, RefreshToken, Secret};
use keyfob::domain::time::Timestamp;
use keyfob::store::{KeptTokens, NewGrant};
use keyfob::vault::{KeyId, Place, Vault};

/// An active grant of version 1 for the cars, whose tokens do not expire and are never due.
pub(crate) fn sealed(
    vault: &Vault,
    (id, user): (GrantId, UserId),
    label: &str,
    binding: Binding,
    now: Timestamp,
    (access, refresh): (&str, &str),
) -> NewGrant {
    let (key, data_key) = vault.new_data_key(id);
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
        binding,
        provider_account: None,
    };
    let tokens = KeptTokens {
        access_token: key.seal(&at("access_token"), &Secret::<AccessToken>::new(access)),
        refresh_token: Some(key.seal(&at("refresh_token"), &Secret::<RefreshToken>::new(refresh))),
        scopes_granted: scopes,
        scopes_source: ScopesSource::Answer,
        expires_at: None,
        due_at: None,
        provider_account: None,
    };
    let master_key_id = KeyId::of(&data_key).unwrap().to_string();
    NewGrant { grant, data_key, master_key_id, tokens }
}
