//! The REST API: who may call what, in the way of Laravel's guards.

mod account;
pub(super) mod command;
pub(super) mod history;
mod software;
pub(super) mod vehicle;

use super::answer::{Answer, Content, Outcome};
use super::call::Call;
use super::cars::{self, Car};
use super::developers;
use super::fault::CallFault;
use super::moments::Moment;
use super::serve::Shared;
use crate::domain::scope::{Scope, ScopeSet};

/// Who called, and with what.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub account: u32,
    pub scopes: ScopeSet,
}

/// Answers a call to `/api/…`, with whatever a test has planned for it.
pub(super) async fn answer(shared: &Shared, call: &Call, path: &[&str]) -> Outcome {
    let fault = shared.faults.take_api(call.path());
    faulty(shared, call, fault, async { honest(shared, call, path) }).await
}

/// Carries a call out and bends its answer as planned. The MCP server uses it too.
pub(super) async fn faulty(
    shared: &Shared,
    call: &Call,
    fault: Option<CallFault>,
    honest: impl Future<Output = Answer>,
) -> Outcome {
    let faults = &shared.faults;
    faults.counts.add(|counted| *counted.calls.entry(call.path().to_owned()).or_default() += 1);
    faults.moments.pass(Moment::CallArrived).await;
    let outcome = match fault {
        None => honest.await.into(),
        Some(CallFault::DelayBefore(delay)) => {
            tokio::time::sleep(delay).await;
            honest.await.into()
        }
        Some(CallFault::DelayAfter(delay)) => {
            let answer = honest.await;
            tokio::time::sleep(delay).await;
            answer.into()
        }
        Some(CallFault::DropBefore) => Outcome::HangUp,
        Some(CallFault::DropAfter) => {
            honest.await;
            Outcome::HangUp
        }
        Some(CallFault::Instead(raw)) => Answer::from(raw).into(),
        Some(CallFault::After(raw)) => {
            honest.await;
            Answer::from(raw).into()
        }
        Some(CallFault::CutBody) => match honest.await {
            Answer { status, headers, content: Content::Whole(bytes) } => {
                Answer { status, headers, content: Content::Cut(bytes) }.into()
            }
            answer => answer.into(),
        },
        Some(CallFault::Echo(status)) => {
            let authorization = call.header("authorization").unwrap_or_default();
            Answer::message(status, authorization)
                .with("X-Echo-Authorization", authorization)
                .with("WWW-Authenticate", format!("Bearer echo=\"{authorization}\""))
                .into()
        }
        Some(CallFault::Unauthenticated) => unauthenticated(call).into(),
        Some(CallFault::LoginRedirect) => to_login(call).into(),
    };
    faults.moments.pass(Moment::CallAnswered).await;
    outcome
}

/// What Laravel says to whoever it does not know: 401 to those that ask for JSON, else the login page.
fn unauthenticated(call: &Call) -> Answer {
    if call.expects_json() { Answer::message(401, "Unauthenticated.") } else { to_login(call) }
}

fn to_login(call: &Call) -> Answer {
    Answer::redirect(&format!("{}/login", call.origin))
}

/// The caller, by bearer or, where the path takes it, by `?api_key=`. A bearer comes first: if it is bad, nothing helps.
pub(super) fn authenticate(shared: &Shared, call: &Call, takes_key: bool) -> Option<Caller> {
    if let Some(token) = call.bearer() {
        let state = shared.memory.lock();
        let known = state.tokens.find_access(&token, shared.now())?;
        return Some(Caller { account: known.account, scopes: known.scopes });
    }
    let key = call.query("api_key").filter(|_| takes_key)?;
    let account = developers::owner_of_key(shared, &key)?;
    Some(Caller { account, scopes: ScopeSet::API_KEY })
}

/// The caller, who holds the scope; or the refusal.
fn permit(shared: &Shared, call: &Call, scope: Scope, takes_key: bool) -> Result<Caller, Answer> {
    let caller = authenticate(shared, call, takes_key).ok_or_else(|| unauthenticated(call))?;
    if !caller.scopes.contains(scope) {
        return Err(Answer::message(403, "Invalid scope(s) provided."));
    }
    Ok(caller)
}

/// The car, if the account sees it.
fn car_of(shared: &Shared, caller: &Caller, id: &str) -> Result<Car, Answer> {
    let car = cars::find(shared, id).filter(|car| car.model.owners.contains(&caller.account));
    car.ok_or_else(|| Answer::missing("Vehicle"))
}

fn honest(shared: &Shared, call: &Call, path: &[&str]) -> Answer {
    let (left, limit) = match shared.limits.admit_call(shared, call) {
        Ok(room) => room,
        Err(refusal) => return refusal,
    };
    let answer = route(shared, call, path).unwrap_or_else(|refusal| refusal);
    match limit {
        Some(limit) => {
            answer.with("X-RateLimit-Limit", limit.to_string()).with("X-RateLimit-Remaining", left.to_string())
        }
        None => answer,
    }
}

fn route(shared: &Shared, call: &Call, path: &[&str]) -> Result<Answer, Answer> {
    let method = if call.method == http::Method::HEAD { "GET" } else { call.method.as_str() };
    let read = |takes_key| permit(shared, call, Scope::Vehicles, takes_key);
    match (method, path) {
        ("GET", ["vehicles"]) => Ok(vehicle::list(shared, &read(true)?)),
        ("GET", ["vehicle", id]) => vehicle::one(shared, call, id),
        ("GET", ["vehicle", id, "detailed"]) => Ok(vehicle::detailed(&car_of(shared, &read(true)?, id)?)),
        ("GET", ["vehicle", id, "state"]) => Ok(Answer::enveloped(car_of(shared, &read(true)?, id)?.state())),
        ("GET", ["vehicle", id, what @ ("drives" | "charges")]) => {
            history::page(call, &car_of(shared, &read(true)?, id)?, what)
        }
        ("GET", ["vehicle", id, what @ ("trips" | "locations")]) => {
            history::page(call, &car_of(shared, &read(false)?, id)?, what)
        }
        ("GET", ["vehicle", id, what @ ("drive" | "charge"), n]) => {
            history::one(&car_of(shared, &read(true)?, id)?, what, n)
        }
        ("GET", ["vehicle", id, what @ ("trip" | "location"), n]) => {
            history::one(&car_of(shared, &read(false)?, id)?, what, n)
        }
        ("GET" | "POST", ["vehicle", id, "command", name]) => {
            let caller = permit(shared, call, Scope::Controls, true)?;
            command::carry_out(shared, &car_of(shared, &caller, id)?, name, |field| {
                call.query(field).or_else(|| call.field(field))
            })
            .map_err(command::Refusal::into_answer)
            .map(Answer::enveloped)
        }
        ("GET" | "POST", ["vehicle", id, what @ ("wakeup" | "update")]) => {
            let caller = permit(shared, call, Scope::Controls, true)?;
            Ok(Answer::enveloped(command::nudge(shared, &car_of(shared, &caller, id)?, what)))
        }
        ("GET", ["software", rest @ ..]) if rest.len() <= 1 => Ok(software::answer(rest.first().copied())),
        (_, ["account", segment, rest @ ..]) if segment.starts_with("tesla-") => {
            let caller = permit(shared, call, Scope::TeslaAccounts, false)?;
            account::tesla(shared, &caller, method, segment, rest).unwrap_or_else(|| Err(unknown(call, method, path)))
        }
        ("GET" | "POST", ["account"]) => {
            let caller = permit(shared, call, Scope::Account, false)?;
            account::profile(shared, call, &caller, method)
        }
        ("GET", ["account", "security"]) => {
            let caller = permit(shared, call, Scope::Account, false)?;
            Ok(account::security(shared, &caller))
        }
        _ => Err(unknown(call, method, path)),
    }
}

/// 405 for a path that takes other methods, else 404.
fn unknown(call: &Call, method: &str, path: &[&str]) -> Answer {
    let allow = match path {
        ["vehicle", _, "command", _] | ["vehicle", _, "wakeup" | "update"] | ["account"] => "GET, HEAD, POST",
        ["account", "tesla-accounts", ..] => "GET, HEAD, POST, DELETE",
        ["vehicles" | "software"]
        | ["vehicle" | "software", _]
        | ["account", "security"]
        | ["vehicle", _, "detailed" | "state" | "drives" | "charges" | "trips" | "locations"]
        | ["vehicle", _, "drive" | "charge" | "trip" | "location", _] => "GET, HEAD",
        _ => return Answer::unknown_route(call.expects_json(), call.path()),
    };
    Answer::wrong_method(call.expects_json(), method, call.path(), allow)
}
