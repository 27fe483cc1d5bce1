//! Stories: what people and programs do with Keyfob, told from outside over its real routers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall panic")]

mod api_apps;
mod api_audit;
mod api_description;
mod api_grants;
mod api_users;
#[path = "../world/broken_off.rs"]
mod broken_off;
mod browser;
mod forget;
mod grants;
mod growth;
mod notify;
mod program;
mod refresh;
mod refresh_clock;
mod refresh_doubt;
mod refresh_storage;
mod refresh_world;
#[path = "../world/sealed.rs"]
mod sealed;
#[path = "../world/start.rs"]
mod start;
mod web_admin;
mod web_connect;
mod web_guard;
mod web_hang_up;
mod web_insight;
mod web_live;
mod web_many;
mod web_mend;
mod web_review;
mod web_sign_in;
mod web_trial;
