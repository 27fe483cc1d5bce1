//! The profile, account security, and linked Tesla accounts.

use super::super::account::Profile;
use super::super::answer::Answer;
use super::super::call::Call;
use super::super::cars;
use super::super::json::{Json, object};
use super::super::serve::Shared;
use super::{Caller, vehicle};

/// `GET` and `POST /api/account`
pub(super) fn profile(shared: &Shared, call: &Call, caller: &Caller, method: &str) -> Result<Answer, Answer> {
    if method == "POST" {
        let json: serde_json::Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let name = json["name"].as_str().map(str::to_owned).or_else(|| call.field("name"));
        let name = name.filter(|name| !name.trim().is_empty());
        let name = name.ok_or_else(|| Answer::invalid("name", "The name field is required."))?;
        shared.memory.change(|state| state.profiles.insert(caller.account, Profile { name: Some(name) }));
    }
    Ok(Answer::enveloped(me(shared, caller)))
}

fn me(shared: &Shared, caller: &Caller) -> Json {
    let account = shared.account(caller.account);
    let changed = shared.memory.lock().profiles.get(&caller.account).and_then(|profile| profile.name.clone());
    object! {
        "id": caller.account,
        "name": changed.or_else(|| account.map(|account| account.name.clone())),
        "email": account.map(|account| account.email.clone()),
        "units": "imperial",
        "created_at": "2026-01-01T00:00:00.000000Z",
    }
}

/// `GET /api/account/security`
pub(super) fn security(shared: &Shared, caller: &Caller) -> Answer {
    let alive = shared.memory.lock().tokens.alive(caller.account, shared.now());
    Answer::enveloped(object! {
        "two_factor": false,
        "personal_access_tokens": alive.personal,
        "applications": alive.refresh,
        "api_keys": alive.api_keys,
    })
}

/// `/api/account/tesla-…`; `None` for what there is not.
pub(super) fn tesla(
    shared: &Shared,
    caller: &Caller,
    method: &str,
    segment: &str,
    rest: &[&str],
) -> Option<Result<Answer, Answer>> {
    let linked = object! {
        "id": i64::from(caller.account),
        "email": shared.account(caller.account).map(|account| account.email.clone()),
        "status": "connected",
        "vehicles": cars::of_account(shared, caller.account).len(),
    };
    let mine = caller.account.to_string();
    let known = |id: &str| if id == mine { Ok(()) } else { Err(Answer::missing("Tesla account")) };
    let answer = match (method, segment, rest) {
        ("GET", "tesla-accounts", []) => Ok(Answer::enveloped(Json::list([linked]))),
        ("GET", "tesla-accounts", [id]) => known(id).map(|()| Answer::enveloped(linked)),
        ("GET", "tesla-accounts", [id, "vehicles"]) => known(id).map(|()| {
            let cars = cars::of_account(shared, caller.account);
            Answer::enveloped(Json::list(cars.iter().map(vehicle::summary)))
        }),
        ("POST", "tesla-accounts", [id, "refresh"]) => {
            known(id).map(|()| Answer::enveloped("The Tesla account has been refreshed"))
        }
        ("POST", "tesla-accounts", []) | ("DELETE", "tesla-accounts", [_]) => {
            Err(Answer::message(422, "The sandbox's Tesla accounts can not be added or removed."))
        }
        _ => return None,
    };
    Some(answer)
}
