//! `keyfob audit`: what was called and changed.

use std::collections::HashMap;
use std::time::Duration;

use clap::Args;

use super::output::{self, Table};
use super::{Result, app, user, values};
use crate::broker::members::EventMembers;
use crate::broker::{AuditFilter, Broker};
use crate::domain::audit::AuditEvent;
use crate::domain::id::UserId;

/// Which events to show.
#[derive(Args, Debug)]
pub struct AuditArgs {
    /// Only what happened in this time, like 15m, 24h or 90d.
    #[arg(long, value_name = "TIME", value_parser = values::span)]
    since: Option<Duration>,
    /// Only of this app (id, or its name where only one has it), also if it is revoked.
    #[arg(long)]
    app: Option<String>,
    /// Only of this user (name or id).
    #[arg(long)]
    user: Option<String>,
    /// Only of this kind.
    #[arg(long, value_parser = values::event_kind())]
    kind: Option<&'static str>,
    /// At most so many, the newest.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(broker: &Broker, args: AuditArgs) -> Result<()> {
    let app = match &args.app {
        Some(app) => Some(app::find_ever(broker, app).await?.app.id),
        None => None,
    };
    let user = match &args.user {
        Some(user) => Some(broker.find_user(user).await?.id),
        None => None,
    };
    let since = args.since.map(|span| broker.clock.now().minus(span));
    let filter = AuditFilter { since, app, user, kind: args.kind, ..AuditFilter::default() };
    let events = list(broker, filter, args.limit).await?;
    let names: HashMap<UserId, String> =
        user::all(broker).await?.into_iter().map(|user| (user.id, user.name.to_string())).collect();
    let name = |event: &AuditEvent| event.user.map(|id| names.get(&id).cloned().unwrap_or_else(|| id.to_string()));
    if u32::try_from(events.len()).is_ok_and(|shown| shown == args.limit) {
        output::note(&format!("These are the newest {}; --limit shows more.", args.limit));
    }
    if args.json {
        let members: Vec<_> = events.iter().map(|event| EventMembers::new(event, name(event))).collect();
        return Ok(output::json(&members)?);
    }
    let mut table =
        Table::new(&["AT", "KIND", "USER", "METHOD", "PATH", "SCOPE", "DECISION", "STATUS", "MS", "COUNT", "APP"]);
    for event in &events {
        table.row([
            event.at.to_string(),
            event.kind.to_owned(),
            name(event).unwrap_or_default(),
            event.method.as_deref().unwrap_or_default().to_owned(),
            event.path.as_deref().unwrap_or_default().to_owned(),
            event.scope.map(|scope| scope.to_string()).unwrap_or_default(),
            event.decision.to_string(),
            event.status.map(|status| status.to_string()).unwrap_or_default(),
            event.duration_ms.map(|ms| ms.to_string()).unwrap_or_default(),
            event.count.to_string(),
            event.app.map(|id| id.to_string()).unwrap_or_default(),
        ]);
    }
    Ok(table.print()?)
}

async fn list(broker: &Broker, mut filter: AuditFilter, most: u32) -> Result<Vec<AuditEvent>> {
    let mut events: Vec<AuditEvent> = Vec::new();
    loop {
        let shown = u32::try_from(events.len()).unwrap_or(u32::MAX);
        filter.limit = most.saturating_sub(shown).min(500);
        let page = broker.list_audit(&filter).await?;
        let last = page.len() < filter.limit as usize || page.is_empty();
        events.extend(page);
        if last {
            return Ok(events);
        }
        filter.before = events.last().map(|event| event.id);
    }
}
