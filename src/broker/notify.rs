//! Tells the outside when a grant needs its user: by a POST, by a program of the operator's, or both, once an event.
//!
//! Who tells is settled in the database, so that processes that share it tell once between them, and a restart does not
//! tell again. A process that is killed while it tells leaves the event to be told by the next, so that it is told twice
//! at worst and never not at all.

use std::collections::{HashMap, HashSet};
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::Broker;
use crate::config::keys;
use crate::domain::grant::{ConsentReason, GrantStatus};
use crate::domain::id::GrantId;
use crate::domain::time::Timestamp;
use crate::oauth::Webhook;
use crate::store::{Notice, NoticeAnswer, StoreError};

/// How often grants are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Whoever has taken an event tells it within this time, or it is anybody's again.
const CLAIM: Duration = Duration::from_mins(2);
/// The pauses between attempts; after the last the event is given up.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_mins(5), Duration::from_mins(30)];

/// The bits of the two ways.
const BY_URL: i64 = 1;
const BY_COMMAND: i64 = 2;

/// The ways by which somebody is told.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    /// An address that gets a POST.
    pub webhook: Option<Webhook>,
    /// A program and its arguments; none when empty.
    pub command: Vec<String>,
    /// How long the program may run.
    pub patience: Duration,
}

/// What is told: nothing of it is secret.
#[derive(Clone, Debug, Serialize)]
struct Event {
    #[serde(rename = "event")]
    kind: &'static str,
    at: Timestamp,
    grant: GrantId,
    user: String,
    label: String,
    reason: ConsentReason,
    advice: &'static str,
    /// Where one click renews the grant.
    renew: String,
}

/// What this process need not ask the database about again.
#[derive(Debug, Default)]
pub struct Told(HashMap<Notice, Option<Timestamp>>);

impl Notifier {
    /// Whether there is anybody to tell.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.webhook.is_none() && self.command.is_empty()
    }

    /// By every way by which it was not told yet. The ways by which it is told now.
    async fn tell(&self, event: &Event, mut told: i64) -> i64 {
        let Ok(json) = serde_json::to_vec(event) else { return told };
        if let Some(webhook) = self.webhook.as_ref().filter(|_| told & BY_URL == 0) {
            match webhook.post(json.clone()).await {
                Ok(()) => told |= BY_URL,
                Err(why) => {
                    tracing::warn!(grant.id = %event.grant, error = %why, "KEYFOB_NOTIFY_URL was not told that a grant needs its user");
                }
            }
        }
        if !self.command.is_empty() && told & BY_COMMAND == 0 {
            match timeout(self.patience, self.run(event, &json)).await {
                Ok(Ok(true)) => told |= BY_COMMAND,
                Ok(Ok(false)) => {
                    tracing::warn!(grant.id = %event.grant, "KEYFOB_NOTIFY_COMMAND ended with a failure");
                }
                Ok(Err(why)) => {
                    tracing::warn!(grant.id = %event.grant, error = %why.kind(), "KEYFOB_NOTIFY_COMMAND can't be run");
                }
                Err(_) => {
                    tracing::warn!(grant.id = %event.grant, "KEYFOB_NOTIFY_COMMAND took too long and was ended");
                }
            }
        }
        told
    }

    /// Runs the program without a shell: the event as JSON on its standard input and part by part in its environment,
    /// from which all of Keyfob's settings are taken out first. Whether it ended well.
    async fn run(&self, event: &Event, json: &[u8]) -> std::io::Result<bool> {
        let Some((program, arguments)) = self.command.split_first() else { return Ok(true) };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        for key in keys::ALL {
            command.env_remove(key.env());
        }
        let parts = [
            ("KEYFOB_EVENT", event.kind),
            ("KEYFOB_EVENT_GRANT", &event.grant.to_string()),
            ("KEYFOB_EVENT_USER", &event.user),
            ("KEYFOB_EVENT_LABEL", &event.label),
            ("KEYFOB_EVENT_REASON", event.reason.as_str()),
            ("KEYFOB_EVENT_ADVICE", event.advice),
            ("KEYFOB_EVENT_RENEW", &event.renew),
        ];
        let mut child = command.envs(parts).spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // A program that does not read what it is told closes its end early.
            let _ = input.write_all(json).await;
        }
        Ok(child.wait().await?.success())
    }
}

impl Broker {
    /// Tells of every grant that needs its user, as long as this process lives.
    pub async fn tell_of_grants(self, notifier: Notifier) {
        let mut told = Told::default();
        loop {
            if let Err(cause) = self.tell_what_is_new(&notifier, &mut told).await {
                tracing::warn!(error = %cause, "whether users were told that grants need them can't be kept at the moment");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Tells of the grants that need their user and of which nobody was told yet. How many attempts that took.
    ///
    /// # Errors
    /// [`StoreError`]; the rest is told at the next call.
    pub async fn tell_what_is_new(&self, notifier: &Notifier, told: &mut Told) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let mut needing = Vec::new();
        for cell in self.directory.grants() {
            let state = cell.state();
            if let (GrantStatus::NeedsConsent, Some(reason)) = state.shown(now) {
                needing.push(Notice { grant: cell.id, version: state.grant.token_version, reason });
            }
        }
        let still: HashSet<_> = needing.iter().copied().collect();
        told.0.retain(|notice, _| still.contains(notice));
        let mut attempts = 0;
        for notice in needing {
            if told.0.get(&notice).is_some_and(|again| again.is_none_or(|at| at > now)) {
                continue;
            }
            let claim = match self.store.claim_notice(notice, now, now.plus(CLAIM)).await? {
                NoticeAnswer::Ours(claim) => claim,
                NoticeAnswer::Later(at) => {
                    told.0.insert(notice, Some(at));
                    continue;
                }
                NoticeAnswer::Settled => {
                    told.0.insert(notice, None);
                    continue;
                }
                NoticeAnswer::Outrun => continue,
            };
            attempts += 1;
            let Some(event) = self.event(notice).await? else { continue };
            let ways = notifier.tell(&event, claim.told).await;
            let pause = usize::try_from(claim.attempts - 1).ok().and_then(|n| PAUSES.get(n)).copied();
            let again = if notifier.has_told(ways) { None } else { pause.map(|pause| self.clock.now().plus(pause)) };
            if !notifier.has_told(ways) && again.is_none() {
                tracing::error!(grant.id = %notice.grant, "it was given up to tell that a grant needs its user; its pages and its apps' answers say so");
            }
            self.store.record_notice(notice, ways, again).await?;
            told.0.insert(notice, again);
        }
        Ok(attempts)
    }

    async fn event(&self, notice: Notice) -> Result<Option<Event>, StoreError> {
        let Some(cell) = self.directory.find_grant(notice.grant) else { return Ok(None) };
        let Some(user) = self.store.find_user(cell.user).await? else { return Ok(None) };
        let label = cell.state().grant.label.to_string();
        Ok(Some(Event {
            kind: "grant.needs_consent",
            at: self.clock.now(),
            grant: notice.grant,
            user: user.name.to_string(),
            label,
            reason: notice.reason,
            advice: notice.reason.advice(),
            renew: format!("{}/grants/{}", self.settings.public_url, notice.grant),
        }))
    }
}

impl Notifier {
    fn has_told(&self, told: i64) -> bool {
        let by_url = self.webhook.is_none() || told & BY_URL != 0;
        by_url && (self.command.is_empty() || told & BY_COMMAND != 0)
    }
}
