//! What arrived: counts, and a bounded record of requests. Nothing is kept before a test has asked for its `Faults`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::call::Call;

const REMEMBERED: usize = 20_000;

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Method.
    pub method: String,
    /// Path and query, byte for byte.
    pub target: String,
    /// Header names in lower case, and values, in the order of arrival.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Length of the body in bytes.
    pub body_len: usize,
}

impl Received {
    /// The values of a header, which is named in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Vec<String> {
        let values = self.headers.iter().filter(|(known, _)| known == name);
        values.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// The path without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub token_requests: BTreeMap<String, u64>,
    pub refreshes: u64,
    pub calls: BTreeMap<String, u64>,
    pub commands: BTreeMap<(String, String), u64>,
    pub received: VecDeque<Received>,
}

/// The counts behind their lock.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    wanted: Arc<AtomicBool>,
    counted: Arc<Mutex<Counted>>,
}

impl Counts {
    /// From now on there is somebody to count for.
    pub(super) fn begin(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    pub(super) fn look(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reset(&self) {
        *self.look() = Counted::default();
    }

    pub(super) fn add(&self, add: impl FnOnce(&mut Counted)) {
        if self.wanted.load(Ordering::Relaxed) {
            add(&mut self.look());
        }
    }

    pub(super) fn record(&self, call: &Call, body_len: usize) {
        self.add(|counted| {
            if counted.received.len() == REMEMBERED {
                counted.received.pop_front();
            }
            let headers = call.headers.iter();
            counted.received.push_back(Received {
                method: call.method.to_string(),
                target: call.target.clone(),
                headers: headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect(),
                body_len,
            });
        });
    }
}
