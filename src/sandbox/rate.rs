//! Laravel's throttle: so many requests in a minute that begins with the first.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::answer::Answer;
use super::call::Call;
use super::mint::Digest;
use super::serve::Shared;

const MINUTE: i64 = 60_000;

/// How many requests each key made in its minute, and when that ends.
#[derive(Debug, Default)]
pub(super) struct Limits(Mutex<BTreeMap<String, (u32, i64)>>);

impl Limits {
    /// Counts a token request of an address: how many are left and the limit, or the 429.
    pub(super) fn admit_token(&self, shared: &Shared, call: &Call) -> Result<(u32, Option<u32>), Answer> {
        self.admit(&format!("token {}", call.peer), shared.config.token_rate, shared.now(), call)
    }

    /// Counts an API call by its credential, or by its address where it has none.
    pub(super) fn admit_call(&self, shared: &Shared, call: &Call) -> Result<(u32, Option<u32>), Answer> {
        if shared.config.api_rate.is_none() {
            return Ok((0, None));
        }
        let credential = call.bearer().or_else(|| call.query("api_key"));
        let who = credential.map_or_else(|| call.peer.to_string(), |secret| Digest::of(&secret).to_string());
        self.admit(&format!("api {who}"), shared.config.api_rate, shared.now(), call)
    }

    fn admit(&self, key: &str, limit: Option<u32>, now: i64, call: &Call) -> Result<(u32, Option<u32>), Answer> {
        let Some(limit) = limit else { return Ok((0, None)) };
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|_, (_, ends)| *ends > now);
        let (count, ends) = keys.entry(key.to_owned()).or_insert((0, now + MINUTE));
        if *count >= limit {
            let wait = u64::try_from((*ends - now + 999).div_euclid(1000)).unwrap_or(0);
            return Err(Answer::too_many(call.expects_json(), limit, wait, (*ends).div_euclid(1000)));
        }
        *count += 1;
        Ok((limit - *count, Some(limit)))
    }
}
