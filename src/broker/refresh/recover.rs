//! Finding out what became of a refresh whose answer is not known: no answer came, or the process that sent it is gone.

use std::time::Duration;

use super::Broker;
use super::course::Opened;
use super::lease::Leased;
use crate::domain::grant::{GrantKind, GrantStatus};
use crate::domain::time::Timestamp;
use crate::oauth::Probe;
use crate::store::Unfinished;

/// A moment further ahead than this was written under a clock that has since been put right.
const TOO_FAR: Duration = Duration::from_hours(1);

/// What to do about it.
pub(super) enum Recovery {
    /// Send the refresh again with the old token: it decides.
    Send(Leased),
    /// Not yet. The state has its name, and calls go on with the old access token if the provider takes it.
    Wait(Leased),
}

impl Broker {
    /// Gives the state its name first. Then, is the old access token still accepted? Then the provider has not rotated,
    /// and the refresh is sent again, but not before the token time-out has passed once more, since the first request may
    /// still be running there. Is it refused? Then one refresh with the old token decides.
    pub(super) async fn recover(&self, mut leased: Leased, opened: &Opened) -> Recovery {
        let now = self.clock.now();
        if leased.row.record.grant.status != GrantStatus::Uncertain {
            self.name_uncertain(&mut leased, now.plus(self.settings.token_timeout)).await;
        }
        let grant = &leased.row.record.grant;
        let may_send_at = leased.row.record.due_at.filter(|at| at.since(now) < TOO_FAR).unwrap_or(now);
        let waited = may_send_at <= now;
        let expired = grant.expires_at.is_some_and(|at| at <= now);
        let probe = self.oauth.probe(GrantKind::OAuth, &opened.access_token).await;
        tracing::info!(
            grant.id = %grant.id,
            refresh.version = grant.token_version,
            refresh.old_token = match probe {
                Probe::Accepted => "accepted",
                Probe::Refused => "refused",
                Probe::Unknown => "unknown",
            },
            "the provider was asked whether it still takes the token of an uncertain grant"
        );
        match probe {
            // A token that is past its expiry is refused either way, and tells nothing of the first request.
            Probe::Refused if !expired => Recovery::Send(leased),
            Probe::Accepted | Probe::Refused | Probe::Unknown if waited => Recovery::Send(leased),
            Probe::Accepted | Probe::Refused | Probe::Unknown => Recovery::Wait(leased),
        }
    }

    /// `uncertain`, looked at again at `due_at`.
    pub(super) async fn name_uncertain(&self, leased: &mut Leased, due_at: Timestamp) {
        let failures = leased.row.failures.saturating_add(1);
        let left = Unfinished { status: GrantStatus::Uncertain, due_at: Some(due_at), failures, release: false };
        self.leave(leased, left).await;
        leased.row.failures = failures;
        leased.row.record.due_at = Some(due_at);
        leased.row.record.grant.status = GrantStatus::Uncertain;
    }
}
