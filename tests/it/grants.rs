//! Grants put straight into a house, without a visit to the provider.

use keyfob::domain::id::{GrantId, Id};
use keyfob::store::Change;

use crate::browser::House;
use crate::sealed::sealed;

/// A grant of `ada`'s with both tokens, as new as the house's clock, and seen in memory.
pub(crate) async fn put_grant(house: &House, label: &str) -> GrantId {
    let (broker, now) = (&house.broker, house.clock.now());
    let user = broker.store.find_user_named("ada").await.unwrap().unwrap().id;
    let id = Id::new(now, broker.entropy.bytes());
    let binding = (*broker.directory().binding()).clone();
    let tokens = (&*format!("CANARY-access-{id}"), &*format!("CANARY-refresh-{id}"));
    let new = sealed(&broker.vault, (id, user), label, binding, now, tokens);
    broker.store.keep_grant(&new).await.unwrap();
    broker.directory().reload(Change::Grant(id)).await.unwrap();
    id
}
