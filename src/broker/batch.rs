//! What the audit trail's writer is handed, and what it writes at once.

use tokio::sync::oneshot;

use crate::domain::audit::AuditEvent;
use crate::store::AuditRow;

/// What the writer is handed.
pub(super) enum Entry {
    /// A change.
    Event(AuditEvent),
    /// What became of a command.
    Completed(AuditEvent),
    /// A lane's calls, a sheet full of them.
    Rows(Vec<AuditRow>),
    /// A sheet has its first call.
    Begun,
    /// Somebody waits for all that came before.
    Flush(oneshot::Sender<()>),
}

/// What is written next.
#[derive(Default)]
pub(super) struct Batch {
    events: Vec<AuditEvent>,
    /// What is to be inserted.
    pub(super) rows: Vec<AuditRow>,
    /// How many events these stand for.
    packed: usize,
    /// Commands whose rows are to be completed.
    pub(super) completed: Vec<AuditEvent>,
    /// Who waits for all that came before.
    pub(super) flushes: Vec<oneshot::Sender<()>>,
}

impl Batch {
    pub(super) fn take(&mut self, entries: &mut Vec<Entry>) {
        for entry in entries.drain(..) {
            match entry {
                Entry::Event(event) => self.events.push(event),
                Entry::Completed(event) => self.completed.push(event),
                Entry::Rows(rows) => self.add(rows),
                Entry::Begun => {}
                Entry::Flush(done) => self.flushes.push(done),
            }
        }
    }

    pub(super) fn add_calls(&mut self, calls: Vec<AuditEvent>) {
        self.events.extend(calls);
    }

    fn add(&mut self, rows: Vec<AuditRow>) {
        self.packed += rows.iter().map(AuditRow::count).sum::<usize>();
        self.rows.extend(rows);
    }

    /// Makes rows of all of it, in the order of their time: lanes hand theirs over when it suits them.
    pub(super) fn arrange(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        events.sort_by_key(|event| event.at);
        self.add(AuditRow::of(&events));
        self.rows.sort_by_key(AuditRow::at);
    }

    /// The rows are in the database.
    pub(super) fn rows_are_kept(&mut self) {
        self.rows.clear();
        self.packed = 0;
    }

    /// Whether somebody waits for all that came before.
    pub(super) const fn is_awaited(&self) -> bool {
        !self.flushes.is_empty()
    }

    /// How many events wait in it.
    pub(super) const fn len(&self) -> usize {
        self.events.len() + self.packed + self.completed.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len() == 0 && !self.is_awaited()
    }
}
