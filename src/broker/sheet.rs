//! The calls of one lane that wait to be handed to the audit trail's writer: enough of them to share rows, and packed by the
//! lane. All at once and by the writer it would take long enough to hold up calls.

use std::sync::{Arc, Mutex, PoisonError};

use super::batch::Entry;
use super::trail::Trail;
use crate::domain::audit::AuditEvent;
use crate::store::AuditRow;

/// One lane's calls.
pub struct Sheet {
    trail: Trail,
    calls: Arc<Calls>,
}

/// Those that were not handed over yet.
#[derive(Default)]
pub(super) struct Calls(Mutex<Vec<AuditEvent>>);

impl Calls {
    /// Hands over what there is.
    pub(super) fn take(&self) -> Vec<AuditEvent> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sheet {
    pub(super) const fn new(trail: Trail, calls: Arc<Calls>) -> Self {
        Self { trail, calls }
    }

    /// Hands over the row of a call for which [`Trail::reserve`] has found room. Never waits, and drops nothing.
    pub fn record(&self, mut event: AuditEvent) {
        self.trail.stamp(&mut event);
        let mut calls = self.calls.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(event);
        match calls.len() {
            1 => {
                calls.reserve(AuditRow::MOST - 1);
                drop(calls);
                self.trail.push(Entry::Begun);
            }
            AuditRow::MOST => {
                self.trail.push(Entry::Rows(AuditRow::of(&calls)));
                // Not before: whoever finds the sheet empty and waits for what came before waits for these too.
                calls.clear();
            }
            _ => {}
        }
    }
}
