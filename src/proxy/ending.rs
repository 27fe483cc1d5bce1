//! What is remembered of a call: begun when its caller is known, completed with its last byte or when there will be none.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::call::Desk;
use super::pulse::Pulse;
use super::sent::Record;
use crate::broker::CommandTicket;
use crate::domain::audit::AuditEvent;
use crate::domain::route::Need;
use crate::domain::scope::Scope;

/// The row that a call leaves in the audit trail.
enum Row {
    /// To be written when the call is over.
    Later(AuditEvent),
    /// On disk since before the command was sent.
    Command(CommandTicket),
    /// Not to be written by itself: too many wait already.
    Counted(AuditEvent),
}

/// A call that is not over. Dropped before it was told how it ended, it was given up: the client went away.
pub(super) struct Ending {
    desk: Arc<Desk>,
    pulse: Arc<Pulse>,
    row: Option<Row>,
    need: Option<Need>,
    decision: &'static str,
    /// What the app was told; none while it was told nothing.
    status: Option<StatusCode>,
    began: Duration,
    sent: Option<Arc<Record>>,
    down: u64,
}

impl Ending {
    pub(super) fn new(desk: Arc<Desk>, pulse: Arc<Pulse>, event: AuditEvent, began: Duration) -> Self {
        let row = Some(Row::Later(event));
        Self { desk, pulse, row, need: None, decision: "aborted", status: None, began, sent: None, down: 0 }
    }

    /// What the route needs.
    pub(super) const fn needs(&mut self, need: Need) {
        self.need = Some(need);
    }

    /// The row, while it is not on disk.
    pub(super) fn event(&mut self) -> Option<&mut AuditEvent> {
        match &mut self.row {
            Some(Row::Later(event)) => Some(event),
            Some(Row::Command(_) | Row::Counted(_)) | None => None,
        }
    }

    /// There is no room for the row: the call is refused, and counted with others like it.
    pub(super) fn finds_no_room(&mut self) {
        if let Some(event) = self.take_event() {
            self.row = Some(Row::Counted(event));
        }
    }

    /// Takes the row out to be put on disk.
    pub(super) fn take_event(&mut self) -> Option<AuditEvent> {
        match self.row.take() {
            Some(Row::Later(event)) => Some(event),
            other => {
                self.row = other;
                None
            }
        }
    }

    /// The row is on disk.
    pub(super) fn is_on_disk(&mut self, ticket: CommandTicket) {
        self.row = Some(Row::Command(ticket));
    }

    /// The row could not be put on disk.
    pub(super) fn put_back(&mut self, event: AuditEvent) {
        self.row = Some(Row::Later(event));
    }

    /// A body goes up.
    pub(super) fn sends(&mut self, record: Arc<Record>) {
        self.sent = Some(record);
    }

    /// What the app is told.
    pub(super) const fn told(&mut self, decision: &'static str, status: StatusCode) {
        self.decision = decision;
        self.status = Some(status);
    }

    /// So many bytes went down.
    pub(super) const fn passed(&mut self, bytes: usize) {
        self.down += bytes as u64;
    }

    /// The last byte was passed on.
    pub(super) fn whole(self) {
        drop(self);
    }

    /// The response was cut off on our side, and the client must notice.
    pub(super) fn cut(self) {
        self.pulse.cut();
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.pulse.call_ended();
        let took = self.desk.broker.clock.elapsed().saturating_sub(self.began);
        let status = self.status.map(|status| status.as_u16());
        self.desk.broker.metrics.call(self.need, self.decision, status.unwrap_or(499), took);
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let complete = |event: &mut AuditEvent| {
            event.decision = self.decision.into();
            event.status = status;
            event.duration_ms = i64::try_from(took.as_millis()).ok();
            event.bytes_up = signed(self.sent.as_ref().map_or(0, |sent| sent.bytes()));
            event.bytes_down = signed(self.down);
            log(event, took);
        };
        match self.row.take() {
            Some(Row::Later(mut event)) => {
                complete(&mut event);
                self.desk.sheet.record(event);
            }
            Some(Row::Command(ticket)) => ticket.complete(complete),
            Some(Row::Counted(mut event)) => {
                complete(&mut event);
                self.desk.broker.trail().count_refused(event);
            }
            None => {}
        }
    }
}

/// One line a call: what the audit row says, without the path itself. A call that went through is told at debug level only,
/// since a busy dashboard makes thousands of them.
fn log(event: &AuditEvent, took: Duration) {
    macro_rules! tell {
        ($level:ident) => {
            tracing::$level!(
                call.app = event.app.map(tracing::field::display),
                call.grant = event.grant.map(tracing::field::display),
                call.method = event.method.as_deref(),
                call.template = event.template.as_deref(),
                call.scope = event.scope.map(Scope::as_str),
                call.decision = &*event.decision,
                call.status = event.status,
                call.duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                "A call has ended"
            )
        };
    }
    if event.app.is_some() && event.decision != "allowed" { tell!(info) } else { tell!(debug) }
}
