//! When a token is renewed: ahead of its expiry, and not all at once.

use std::time::Duration;

use crate::ambient::Entropy;
use crate::domain::id::GrantId;
use crate::domain::time::Timestamp;

/// The least time before expiry at which a refresh is due.
const LEAST_MARGIN: Duration = Duration::from_secs(60);
/// The most.
const MOST_MARGIN: Duration = Duration::from_secs(7 * 86_400);

/// When a token that was asked for at `from` and expires at `expires_at` is due: a tenth of its lifetime ahead, at least a
/// minute, at most a week, but never more than half of the lifetime; then later by up to a fifth of that margin, which
/// part of it the grant's id says, so that grants made together are not due together.
pub(super) fn due_at(grant: GrantId, from: Timestamp, expires_at: Timestamp) -> Timestamp {
    let lifetime = expires_at.since(from);
    let margin = (lifetime / 10).clamp(LEAST_MARGIN, MOST_MARGIN).min(lifetime / 2);
    let [.., high, low] = *grant.as_bytes();
    let jitter = (margin / 5) * u32::from(u16::from_be_bytes([high, low])) / u32::from(u16::MAX);
    expires_at.minus(margin).plus(jitter)
}

/// How long to leave the provider in peace after so many failures in a row: from five seconds to ten minutes, with jitter.
pub(super) fn backoff(failures: u32, entropy: &Entropy) -> Duration {
    let base = Duration::from_secs(5) * 2_u32.pow(failures.saturating_sub(1).min(7));
    let jitter = base / 4 * u32::from(u16::from_be_bytes(entropy.bytes())) / u32::from(u16::MAX);
    base.min(Duration::from_mins(10)) + jitter
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Id;

    fn due_after(lifetime: u64, id: u8) -> u64 {
        let from = Timestamp::from_secs(1_000_000);
        due_at(Id::from_bytes([id; 16]), from, from.plus(Duration::from_secs(lifetime))).since(from).as_secs()
    }

    #[test]
    fn a_token_is_due_a_tenth_of_its_lifetime_ahead_within_bounds() {
        assert_eq!(due_after(4, 0), 2);
        assert_eq!(due_after(600, 0), 540);
        assert_eq!(due_after(3_600, 0), 3_240);
        assert_eq!(due_after(365 * 86_400, 0), 358 * 86_400);
        assert_eq!(due_after(3_600, 255), 3_312);
        assert_eq!(due_after(0, 255), 0);
    }
}
