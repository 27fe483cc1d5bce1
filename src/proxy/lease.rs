//! Whether a call that runs may go on: a stream ends soon after its app or its grant has.

use std::sync::Arc;
use std::time::Duration;

use super::call::Allowed;
use super::pulse::{Pulse, Wait};
use crate::broker::admission::Running;
use crate::broker::{Broker, Chosen, Permit};

/// How often a running call is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// What a running call stands on.
pub(super) struct Lease {
    broker: Broker,
    permit: Permit,
    chosen: Option<Chosen>,
    pulse: Arc<Pulse>,
    since: Wait,
    _running: Running,
}

impl Lease {
    pub(super) fn new(broker: Broker, allowed: Allowed, pulse: Arc<Pulse>) -> Self {
        let since = Wait::default();
        since.restart(&pulse);
        Self { broker, permit: allowed.permit, chosen: allowed.chosen, pulse, since, _running: allowed.running }
    }

    /// Whether the call may go on, as of the last look; looks again when that was a while ago.
    pub(super) fn stands(&self) -> bool {
        if !self.since.is_over(&self.pulse, EVERY) {
            return true;
        }
        self.since.restart(&self.pulse);
        self.broker.still_permits(&self.permit, self.chosen.as_ref())
    }
}
