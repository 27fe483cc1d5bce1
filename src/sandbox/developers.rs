//! The page "Developers, Applications": personal access tokens and legacy API keys, made and revoked by hand.

use super::answer::{Answer, Outcome};
use super::call::Call;
use super::mint::{Digest, form_token};
use super::pages;
use super::serve::Shared;
use super::session;
use super::tokens::Holder;
use crate::domain::scope::ScopeSet;

/// The client id to which Passport issues personal access tokens.
const PERSONAL_CLIENT: &str = "personal-access-client";

/// Issues a personal access token.
pub(super) fn personal_access_token(shared: &Shared, account: u32, scopes: ScopeSet, name: &str) -> String {
    let holder = Holder { client: PERSONAL_CLIENT, account, scopes };
    let (now, expires) = (shared.now(), shared.after(shared.config.personal_lifetime));
    shared.memory.change(|state| state.tokens.issue_access(&shared.mint, &holder, now, expires, Some(name)))
}

/// `GET /developers/applications`
pub(super) fn page(shared: &Shared, call: &Call) -> Outcome {
    let Some(account) = session::signed_in(shared, call) else {
        return session::sign_in_first(shared, call, false).into();
    };
    let token = form_token(call.session().unwrap_or_default());
    pages::developers(shared, account, &token, None).into()
}

/// `POST /developers/applications/{tokens|keys|revoke}`
pub(super) fn change(shared: &Shared, call: &Call, what: &str) -> Outcome {
    if !session::form_is_ours(shared, call) {
        return pages::expired_form().into();
    }
    let Some(account) = session::signed_in(shared, call) else { return pages::expired_form().into() };
    let form = form_token(call.session().unwrap_or_default());
    match what {
        "tokens" => {
            let scopes = call.fields("scope").iter().filter_map(|name| name.parse().ok()).collect::<ScopeSet>();
            let name =
                call.field("name").filter(|name| !name.trim().is_empty()).unwrap_or_else(|| "Unnamed".to_owned());
            let secret = personal_access_token(shared, account, scopes, &name);
            pages::developers(shared, account, &form, Some(("personal access token", &secret))).into()
        }
        "keys" => {
            let key = shared.memory.change(|state| state.tokens.issue_api_key(&shared.mint, account));
            pages::developers(shared, account, &form, Some(("API key", &key))).into()
        }
        "revoke" => {
            let everything = call.field("what").is_some_and(|what| what == "everything");
            if everything {
                shared.memory.change(|state| state.tokens.revoke_account(account));
            }
            Answer::redirect(&format!("{}/developers/applications", call.origin)).into()
        }
        _ => Answer::unknown_route(false, call.path()).into(),
    }
}

/// Who an API key belongs to.
pub(super) fn owner_of_key(shared: &Shared, key: &str) -> Option<u32> {
    shared.memory.lock().tokens.api_keys.get(&Digest::of(key)).copied()
}
