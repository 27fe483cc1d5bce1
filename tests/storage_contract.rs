//! Every promise of `Store`. Where a promise is one of atomicity, fifty callers ask at once through two handles on one
//! file, as two processes would.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

#[path = "storage_contract/accounts.rs"]
mod accounts;
#[path = "storage_contract/apps.rs"]
mod apps;
#[path = "storage_contract/audit.rs"]
mod audit;
#[path = "storage_contract/grants.rs"]
mod grants;
#[path = "storage_contract/once.rs"]
mod once;
#[path = "storage_contract/refresh.rs"]
mod refresh;
#[path = "storage_contract/reviews.rs"]
mod reviews;
#[path = "storage_contract/sealed.rs"]
mod sealed;
#[path = "storage_contract/shelf.rs"]
mod shelf;
