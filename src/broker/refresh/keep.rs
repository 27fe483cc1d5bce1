//! What is done with an answer: tokens are kept whatever happens; a refusal counts only while its version stands.

use std::sync::Arc;
use std::time::Duration;

use super::course::{Answered, Opened};
use super::lease::Leased;
use super::spill::Spilled;
use super::{Broker, RefreshOutcome, Tell, Why};
use crate::broker::cell::{access_token_place, refresh_token_place, token_row};
use crate::broker::schedule::{backoff, due_at};
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::grant::{ConsentReason, GrantStatus, ScopesSource};
use crate::domain::time::Timestamp;
use crate::oauth::{Reply, Revocation, TokenAnswer, TokenError};
use crate::store::{Change, GrantRecord, KeptTokens, Swap, Unfinished};
use crate::telemetry::{RefreshResult, Trouble};

/// A write that takes longer is not waited for before the tokens are used and spilled.
const PATIENCE: Duration = Duration::from_secs(1);
/// How far the local clock may be off the provider's.
const CLOCK_TOLERANCE: i64 = 30_000;

/// A provider that says our clock is off by more is not believed: whatever is past its time would be swept, or live again.
const CLOCK_BELIEVED: i64 = 24 * 3_600_000;

/// What is left to do.
pub(super) enum Kept {
    /// Nothing.
    Ended(RefreshOutcome),
    /// To find out what became of the request.
    InDoubt(Leased),
}

impl Broker {
    pub(super) async fn keep(
        &self,
        answered: Answered,
        opened: &Opened,
        in_doubt: bool,
        why: Why,
        tell: &Tell,
    ) -> Kept {
        let Answered { mut leased, reply } = answered;
        let now = self.clock.now();
        let before = if in_doubt { GrantStatus::Uncertain } else { GrantStatus::Active };
        let failures = leased.row.failures.saturating_add(1);
        let Ok(reply) = reply else {
            // Nothing was sent: there is no registration to send it with.
            let due_at = Some(now.plus(backoff(failures, &self.entropy)));
            self.leave(&leased, Unfinished { status: before, due_at, failures, release: true }).await;
            return Kept::Ended(RefreshOutcome::OtherProvider);
        };
        let sent_at = self.learn_time(&reply);
        self.note(&leased, &reply, why);
        match reply.outcome {
            Ok(answer) => Kept::Ended(self.keep_tokens(leased, opened, answer, sent_at, tell).await),
            Err(TokenError::Rejected(_)) => {
                let reason = if in_doubt { ConsentReason::RotationLost } else { ConsentReason::RefreshRejected };
                Kept::Ended(self.condemn(leased, reason).await)
            }
            Err(TokenError::Configuration(fault)) => {
                self.refresher.fault.store(Some(Arc::new(fault)));
                let due_at = Some(now.plus(backoff(failures, &self.entropy)));
                self.leave(&leased, Unfinished { status: before, due_at, failures, release: true }).await;
                Kept::Ended(RefreshOutcome::Misconfigured(fault))
            }
            Err(TokenError::Transient { retry_after, .. }) => {
                let retry_after = backoff(failures, &self.entropy).max(retry_after.unwrap_or_default());
                let due_at = Some(now.plus(retry_after));
                self.leave(&leased, Unfinished { status: before, due_at, failures, release: true }).await;
                Kept::Ended(RefreshOutcome::Postponed { retry_after })
            }
            Err(TokenError::Uncertain(_)) => {
                let wait = backoff(failures, &self.entropy).max(self.settings.token_timeout);
                self.name_uncertain(&mut leased, now.plus(wait)).await;
                Kept::InDoubt(leased)
            }
        }
    }

    /// One metric and one line for each attempt.
    fn note(&self, leased: &Leased, reply: &Reply, why: Why) {
        let (result, word) = match &reply.outcome {
            Ok(_) => (RefreshResult::Refreshed, "refreshed"),
            Err(error @ TokenError::Rejected(_)) => (RefreshResult::Rejected, error.word()),
            Err(error @ TokenError::Configuration(_)) => (RefreshResult::Configuration, error.word()),
            Err(error @ TokenError::Transient { .. }) => (RefreshResult::Transient, error.word()),
            Err(error @ TokenError::Uncertain(_)) => (RefreshResult::Uncertain, error.word()),
        };
        self.metrics.refresh(result, reply.took);
        let (id, version) = (leased.id(), leased.version());
        let (why, took) = (why.word(), u64::try_from(reply.took.as_millis()).unwrap_or(u64::MAX));
        let status = reply.status.unwrap_or_default();
        match &reply.outcome {
            Ok(answer) => {
                let odd: Vec<_> = answer.oddities.iter().map(|oddity| oddity.word()).collect();
                tracing::info!(grant.id = %id, refresh.version = version, refresh.why = why, refresh.result = word, refresh.odd = %odd.join(" "), http.status = status, duration_ms = took, "a grant was refreshed");
            }
            Err(cause) => {
                tracing::warn!(grant.id = %id, refresh.version = version, refresh.why = why, refresh.result = word, error = %cause, http.status = status, duration_ms = took, "a grant was not refreshed");
            }
        }
    }

    /// Sets our clock right by the provider's, if it is off by more than half a minute. Gives the moment of sending by the
    /// clock as it is then.
    pub(in crate::broker) fn learn_time(&self, reply: &Reply) -> Timestamp {
        self.notice_step();
        reply.clock_ahead.map_or(reply.sent_at, |ahead| reply.sent_at.plus_millis(self.go_by(ahead)))
    }

    /// Sets our clock by how far the provider's is ahead of this machine's. Gives by how much ours has moved.
    fn go_by(&self, ahead: i64) -> i64 {
        let old = self.clock.correction();
        if ahead.abs() > CLOCK_BELIEVED {
            return 0;
        }
        let new = if ahead.abs() > CLOCK_TOLERANCE { ahead } else { 0 };
        if (new - old).abs() > 1_000 {
            tracing::warn!(
                clock.ahead_ms = ahead,
                "this machine's clock and the provider's differ; Keyfob goes by the provider's if they differ by more than 30 s"
            );
        }
        self.clock.set_correction(new);
        new - old
    }

    /// Goes on by the time that the provider told, however this machine's clock is set meanwhile, and asks the provider for
    /// its time again: a virtual machine that stood still for a while has had its clock put right.
    pub(super) fn notice_step(&self) {
        if let Some(step) = self.clock.make_up_for_step() {
            tracing::warn!(
                clock.step_ms = step,
                clock.correction_ms = self.clock.correction(),
                "this machine's clock was set; Keyfob goes on by the time that the provider told last, and asks it again"
            );
            let broker = self.clone();
            tokio::spawn(async move {
                if let Some(ahead) = broker.oauth.clock_ahead().await {
                    broker.go_by(ahead);
                }
            });
        }
    }

    async fn keep_tokens(
        &self,
        leased: Leased,
        opened: &Opened,
        answer: TokenAnswer,
        sent_at: Timestamp,
        tell: &Tell,
    ) -> RefreshOutcome {
        self.refresher.fault.store(None);
        let failures = if answer.access_token.is_some() { 0 } else { leased.row.failures.saturating_add(1) };
        let tokens = self.seal_answer(&leased.row.record, opened, &answer, sent_at, failures);
        let reduced = leased.row.record.grant.scopes_granted.minus(tokens.scopes_granted);
        if !reduced.is_empty() {
            tracing::warn!(grant.id = %leased.id(), scopes.lost = %reduced, "the provider gave fewer scopes at a refresh than before");
        }
        let nothing_left = tokens.scopes_granted.is_empty();
        let spilled = Spilled { grant: leased.id(), spent: leased.version(), tokens };
        let swap = self.keep_until_kept(&leased.row.record, &spilled, failures, tell).await;
        let (id, user) = (leased.id(), leased.row.record.grant.user);
        match swap {
            Swap::Done => {
                let event = AuditEvent::change(self.clock.now(), kind::GRANT_REFRESHED, Some(user)).of_grant(id);
                self.trail.record(event);
                self.see(Change::Grant(id)).await;
                if nothing_left {
                    let Leased { row, .. } = &leased;
                    return self.condemn_version(&row.record, leased.version() + 1, ConsentReason::ScopeReduced).await;
                }
                if failures > 0 {
                    RefreshOutcome::Postponed { retry_after: Duration::from_secs(5) }
                } else {
                    RefreshOutcome::Refreshed
                }
            }
            Swap::Outrun => {
                self.see(Change::Grant(id)).await;
                self.forget_stray(&leased.row.record, &answer, "a newer consent stands").await;
                RefreshOutcome::Adopted
            }
            Swap::Gone => {
                self.see(Change::Grant(id)).await;
                self.forget_stray(&leased.row.record, &answer, "the grant was ended meanwhile").await;
                RefreshOutcome::Gone
            }
        }
    }

    /// The answer as it will be kept: sealed for the version after the one that was spent. What the answer leaves out
    /// stays as it was.
    fn seal_answer(
        &self,
        record: &GrantRecord,
        opened: &Opened,
        answer: &TokenAnswer,
        sent_at: Timestamp,
        failures: u32,
    ) -> KeptTokens {
        let grant = &record.grant;
        let (row, version) = (token_row(grant.id, grant.user), grant.token_version + 1);
        let (access_token, refresh_token) = (
            answer.access_token.as_ref().unwrap_or(&opened.access_token),
            answer.refresh_token.as_ref().unwrap_or(&opened.refresh_token),
        );
        let claimed = answer.claims.as_ref().and_then(|claims| claims.scopes);
        let known = grant.scopes_granted.union(grant.scopes_requested);
        let (scopes_granted, scopes_source) = match (answer.scopes, claimed) {
            (Some(scopes), _) => (scopes.within(known), ScopesSource::Answer),
            (None, Some(scopes)) => (scopes.within(known), ScopesSource::Claim),
            (None, None) => (grant.scopes_granted, grant.scopes_source),
        };
        // The old access token is dead: when no usable one came with the new refresh token, that one is due at once.
        let (expires_at, due) = match (&answer.access_token, answer.lifetime) {
            (None, _) => (Some(sent_at), Some(self.clock.now().plus(backoff(failures, &self.entropy)))),
            (Some(_), None) => (None, None),
            (Some(_), Some(lifetime)) => {
                let expires_at = sent_at.plus(lifetime);
                (Some(expires_at), Some(due_at(grant.id, sent_at, expires_at)))
            }
        };
        let subject = answer.claims.as_ref().and_then(|claims| claims.subject.clone());
        KeptTokens {
            access_token: opened.key.seal(&access_token_place(&row, version), access_token),
            refresh_token: Some(opened.key.seal(&refresh_token_place(&row, version), refresh_token)),
            scopes_granted,
            scopes_source,
            expires_at,
            due_at: due,
            provider_account: subject.filter(|_| grant.provider_account.is_none()),
        }
    }

    /// Writes the tokens until they are written. What takes longer than a moment goes on from memory, with the tokens in
    /// the spill file and this process not ready.
    async fn keep_until_kept(&self, record: &GrantRecord, spilled: &Spilled, failures: u32, tell: &Tell) -> Swap {
        let mut spilt = false;
        let mut pause = Duration::from_millis(100);
        loop {
            let now = self.clock.now();
            let write =
                self.store.replace_tokens_by_refresh(spilled.grant, spilled.spent, &spilled.tokens, failures, now);
            tokio::pin!(write);
            let written = if let Ok(written) = tokio::time::timeout(PATIENCE, &mut write).await {
                written
            } else {
                if !spilt {
                    self.go_on_from_memory(record, spilled, "the write takes long").await;
                    spilt = true;
                    tell.tell(RefreshOutcome::Refreshed);
                }
                write.await
            };
            match written {
                Ok(swap) => {
                    if spilt {
                        self.heal(spilled);
                    }
                    return self.is_ours(spilled, swap).await;
                }
                Err(cause) => {
                    if !spilt {
                        self.go_on_from_memory(record, spilled, &cause.to_string()).await;
                        spilt = true;
                        tell.tell(RefreshOutcome::Refreshed);
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
            }
        }
    }

    async fn go_on_from_memory(&self, record: &GrantRecord, spilled: &Spilled, cause: &str) {
        // Waiting first, so that nobody finds that nothing waits and calls this process ready again.
        self.refresher.spill.wait_for(spilled.grant);
        self.health.set(Trouble::Spill);
        let mut ahead = record.clone();
        ahead.grant.status = GrantStatus::Active;
        ahead.grant.reason = None;
        ahead.grant.token_version = spilled.spent + 1;
        ahead.grant.scopes_granted = spilled.tokens.scopes_granted;
        ahead.grant.scopes_source = spilled.tokens.scopes_source;
        ahead.grant.expires_at = spilled.tokens.expires_at;
        ahead.access_token = Some(spilled.tokens.access_token.clone());
        ahead.refresh_token = spilled.tokens.refresh_token.clone();
        self.directory.renew_grant(self.directory.state_of(ahead));
        let (broker, entry) = (self.clone(), spilled.clone());
        let put = tokio::task::spawn_blocking(move || broker.refresher.spill.put(&entry)).await;
        match put {
            Ok(Ok(())) => {
                tracing::error!(grant.id = %spilled.grant, error = cause, "the database does not take a grant's new tokens; they are in use and in the spill file");
            }
            Ok(Err(spill)) => {
                tracing::error!(grant.id = %spilled.grant, error = cause, spill.error = %spill, "the database does not take a grant's new tokens, nor does the spill file; they are in use, and in memory only");
            }
            Err(panic) => {
                tracing::error!(grant.id = %spilled.grant, error = %panic, "the spill file could not be written; the new tokens are in memory only");
            }
        }
    }

    fn heal(&self, spilled: &Spilled) {
        tracing::info!(grant.id = %spilled.grant, "the database has taken a grant's new tokens after all");
        if self.refresher.spill.done(spilled.grant) {
            self.health.clear(Trouble::Spill);
        }
    }

    /// A write that failed may have been carried out all the same: then its repetition finds its own tokens.
    async fn is_ours(&self, spilled: &Spilled, swap: Swap) -> Swap {
        if swap != Swap::Outrun {
            return swap;
        }
        let stands = self.store.find_grant(spilled.grant, None).await.ok().flatten().and_then(|row| row.access_token);
        let ours = stands.is_some_and(|token| token.envelope() == spilled.tokens.access_token.envelope());
        if ours { Swap::Done } else { Swap::Outrun }
    }

    /// Fresh tokens that may not be kept: revoked where the provider allows it, else forgotten; the audit trail says which.
    async fn forget_stray(&self, record: &GrantRecord, answer: &TokenAnswer, why: &str) {
        let mut worst = Revocation::Revoked;
        let mut note = |revocation| {
            if revocation != Revocation::Revoked {
                worst = revocation;
            }
        };
        if let Some(token) = &answer.refresh_token {
            note(self.oauth.revoke_refresh_token(token).await);
        }
        if let Some(token) = &answer.access_token {
            note(self.oauth.revoke_access_token(token).await);
        }
        let became = match worst {
            Revocation::Revoked => "they were revoked at the provider",
            Revocation::NotOffered => "the provider offers no revocation, so they live there until they expire",
            Revocation::Failed => "the provider did not confirm their revocation",
        };
        let words = format!("fresh tokens came and were not kept, since {why}; {became}");
        tracing::warn!(grant.id = %record.grant.id, refresh.stray = %words, "a late answer was not kept");
        let event = AuditEvent::change(self.clock.now(), kind::GRANT_REFRESHED, Some(record.grant.user));
        self.trail.record(event.of_grant(record.grant.id).decided("not_kept").about(&words));
    }

    /// A rejection may be a race: it counts only while the version that it is about still stands.
    async fn condemn(&self, leased: Leased, reason: ConsentReason) -> RefreshOutcome {
        let version = leased.version();
        self.condemn_version(&leased.row.record, version, reason).await
    }

    pub(super) async fn condemn_version(
        &self,
        record: &GrantRecord,
        version: i64,
        reason: ConsentReason,
    ) -> RefreshOutcome {
        let (id, user) = (record.grant.id, record.grant.user);
        let mut pause = Duration::from_millis(200);
        let swap = loop {
            match self.store.replace_with_needs_consent(id, version, reason).await {
                Ok(swap) => break swap,
                Err(cause) if pause > Duration::from_secs(5) => {
                    // The journal row is still open, so the next look asks again.
                    tracing::error!(grant.id = %id, error = %cause, "a rejected grant can't be marked at the moment");
                    return RefreshOutcome::StorageUnavailable;
                }
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause *= 2;
        };
        self.see(Change::Grant(id)).await;
        match swap {
            Swap::Done => {
                let event = AuditEvent::change(self.clock.now(), kind::GRANT_NEEDS_CONSENT, Some(user));
                self.trail.record(event.of_grant(id).about(reason.as_str()));
                RefreshOutcome::NeedsConsent(reason)
            }
            Swap::Outrun => RefreshOutcome::Adopted,
            Swap::Gone => RefreshOutcome::Gone,
        }
    }
}
