//! The audit trail's one writer. Calls hand their rows over without waiting; the writer keeps them in batches, with what
//! they say of the use of apps and grants, and tries again for as long as the database does not take them.

use std::collections::{HashMap, hash_map};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::batch::{Batch, Entry};
use super::sheet::{Calls, Sheet};
use crate::ambient::Clock;
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::id::AppId;
use crate::domain::time::Timestamp;
use crate::store::Store;
use crate::telemetry::{Health, Metrics, Trouble};

/// Beyond so many waiting rows callers are refused.
pub(super) const MOST_WAITING: usize = 65_536;
/// Beyond so many waiting rows callers wait for a writer that works.
const MANY_WAITING: usize = 8_192;
/// How long rows gather before they are written.
const GATHER: Duration = Duration::from_millis(250);
/// How many rows one transaction takes. Its end is written in one go, and whoever has the same processor waits for that.
const BATCH: usize = 2_048;
/// How many are taken before others have their turn: a batch in one go would hold up pages.
const STEP: usize = 128;
/// So many events are held for watchers that have not looked yet.
const WATCHED: usize = 4_096;
/// How long a caller waits for the writer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The audit row of this call can't be kept, so the call is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail can't be written")]
pub struct StorageUnavailable;

/// Hands rows to the writer. Clones share it.
#[derive(Clone)]
pub struct Trail {
    shared: Arc<Shared>,
    /// Who makes the changes that are recorded, where it is not the user whom they are about.
    by: Option<Arc<str>>,
}

struct Shared {
    queue: mpsc::UnboundedSender<Entry>,
    waiting: AtomicUsize,
    /// Calls of each lane.
    sheets: Mutex<Vec<Arc<Calls>>>,
    healthy: AtomicBool,
    room: Notify,
    wake: Notify,
    /// Somebody waits for the rows that there are.
    hurry: AtomicBool,
    store: Store,
    health: Health,
    metrics: Metrics,
    clock: Clock,
    unknown: Mutex<HashMap<&'static str, i64>>,
    /// Calls of apps that found no room for a row: one row for each app and minute that says how many.
    crowded: Mutex<HashMap<Option<AppId>, AuditEvent>>,
    watchers: broadcast::Sender<Arc<AuditEvent>>,
}

/// The row of a command that is on disk; it is completed once.
#[must_use]
pub struct CommandTicket {
    event: Option<AuditEvent>,
    trail: Trail,
}

impl CommandTicket {
    /// Completes the row with what became of the command.
    pub fn complete(mut self, outcome: impl FnOnce(&mut AuditEvent)) {
        if let Some(mut event) = self.event.take() {
            outcome(&mut event);
            self.trail.expect(&event);
            self.trail.push(Entry::Completed(event));
        }
    }
}

impl Drop for CommandTicket {
    /// Whoever was to send the command has gone before it had this: it was not sent.
    fn drop(&mut self) {
        if let Some(event) = self.event.take() {
            let event = AuditEvent { decision: "aborted".into(), ..event };
            self.trail.expect(&event);
            self.trail.push(Entry::Completed(event));
        }
    }
}

impl Trail {
    /// Starts the writer. It ends when [`Trail::finish`] has been called.
    #[must_use]
    pub fn start(store: Store, clock: Clock, health: Health, metrics: Metrics) -> Self {
        let (queue, rows) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            queue,
            waiting: AtomicUsize::new(0),
            sheets: Mutex::default(),
            healthy: AtomicBool::new(true),
            room: Notify::new(),
            wake: Notify::new(),
            hurry: AtomicBool::new(false),
            store,
            health,
            metrics,
            clock,
            unknown: Mutex::default(),
            crowded: Mutex::default(),
            watchers: broadcast::channel(WATCHED).0,
        });
        tokio::spawn(Arc::clone(&shared).write(rows));
        Self { shared, by: None }
    }

    /// The same trail; the rows of changes that go through it name who made them.
    pub(super) fn written_for(&self, who: &str) -> Self {
        Self { shared: Arc::clone(&self.shared), by: Some(who.into()) }
    }

    /// Makes sure that the row of a call will find room: waits while a working writer is behind, refuses when too many rows wait.
    ///
    /// # Errors
    /// [`StorageUnavailable`]: then the call must not be made.
    pub async fn reserve(&self) -> Result<(), StorageUnavailable> {
        if self.shared.waiting.load(Ordering::Relaxed) < MANY_WAITING {
            return Ok(());
        }
        Box::pin(self.wait_for_room()).await
    }

    async fn wait_for_room(&self) -> Result<(), StorageUnavailable> {
        let room = async {
            loop {
                let notified = self.shared.room.notified();
                let waiting = self.shared.waiting.load(Ordering::Relaxed);
                if waiting < MANY_WAITING || (!self.shared.healthy.load(Ordering::Relaxed) && waiting < MOST_WAITING) {
                    return;
                }
                notified.await;
            }
        };
        let _ = timeout(PATIENCE, room).await;
        if self.shared.waiting.load(Ordering::Relaxed) < MOST_WAITING { Ok(()) } else { Err(StorageUnavailable) }
    }

    /// A sheet for one lane's calls.
    #[must_use]
    pub fn sheet(&self) -> Sheet {
        let calls = Arc::<Calls>::default();
        self.shared.sheets.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&calls));
        Sheet::new(self.clone(), calls)
    }

    /// Hands over the row of a change. Never waits, and drops nothing: more rows than may wait are those of what was let in
    /// before there were so many.
    pub fn record(&self, mut event: AuditEvent) {
        if let Some(by) = self.by.as_deref() {
            let words = event.path.map_or_else(|| format!("by {by}"), |words| format!("{words}; by {by}"));
            event.path = Some(words.into());
        }
        self.stamp(&mut event);
        self.push(Entry::Event(event));
    }

    /// Gives a row the moment of writing, so that rows stand in the order of their time, counts it among those that wait, and
    /// shows it to who watches.
    pub(super) fn stamp(&self, event: &mut AuditEvent) {
        event.at = self.shared.clock.now();
        self.expect(event);
    }

    /// Puts the row of a command on disk, with its outcome open, before the command is sent.
    ///
    /// # Errors
    /// [`StorageUnavailable`]: then the command must not be sent.
    pub async fn begin_command(&self, mut event: AuditEvent) -> Result<CommandTicket, StorageUnavailable> {
        event.at = self.shared.clock.now();
        match self.shared.store.record_command(&event).await {
            Ok(id) => {
                event.id = id;
                Ok(CommandTicket { event: Some(event), trail: self.clone() })
            }
            Err(cause) => {
                tracing::error!(error = %cause, "a command was refused: its audit row could not be written");
                Err(StorageUnavailable)
            }
        }
    }

    /// Counts a refusal of a caller that is not known, by reason and minute instead of row by row.
    pub fn count_unknown(&self, reason: &'static str) {
        let mut counts = self.shared.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(reason).or_default() += 1;
    }

    /// Counts a call of an app that was refused because too many rows wait: more of them would only fill the memory, so one
    /// row a minute says how many there were.
    pub fn count_refused(&self, event: AuditEvent) {
        let mut crowded = self.shared.crowded.lock().unwrap_or_else(PoisonError::into_inner);
        match crowded.entry(event.app) {
            hash_map::Entry::Occupied(mut kept) => kept.get_mut().count += 1,
            hash_map::Entry::Vacant(place) => {
                let (method, template, path, scope) = (None, None, None, None);
                place.insert(AuditEvent { method, template, path, scope, duration_ms: None, ..event });
            }
        }
    }

    /// Events as they happen, for a page that watches; slow watchers miss some.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Arc<AuditEvent>> {
        self.shared.watchers.subscribe()
    }

    /// How many rows wait to be written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Waits until every row handed over so far is on disk, or `patience` is over. False when it is not.
    pub async fn finish(&self, patience: Duration) -> bool {
        self.shared.tell_counts();
        self.catch_up(patience).await
    }

    /// The same without the refusals of unknown callers, which are counted by the minute: what a reader of the trail waits
    /// for, so that whoever changed something finds it there.
    pub async fn catch_up(&self, patience: Duration) -> bool {
        let (done, written) = oneshot::channel();
        self.push(Entry::Flush(done));
        self.shared.hurry.store(true, Ordering::Relaxed);
        self.shared.wake.notify_one();
        matches!(timeout(patience, written).await, Ok(Ok(())))
    }

    /// One more row waits: the writer is woken whenever another batch of them does.
    fn expect(&self, event: &AuditEvent) {
        if self.shared.watchers.receiver_count() > 0 {
            let _ = self.shared.watchers.send(Arc::new(event.clone()));
        }
        if self.shared.waiting.fetch_add(1, Ordering::Relaxed).is_multiple_of(BATCH) {
            self.shared.wake.notify_one();
        }
    }

    pub(super) fn push(&self, entry: Entry) {
        let _ = self.shared.queue.send(entry);
    }
}

impl Shared {
    async fn write(self: Arc<Self>, mut rows: mpsc::UnboundedReceiver<Entry>) {
        let mut batch = Batch::default();
        let mut step = Vec::with_capacity(STEP);
        let mut minute = self.minute();
        loop {
            if timeout(Duration::from_secs(1), rows.recv_many(&mut step, 1)).await.is_ok() {
                if step.is_empty() {
                    return;
                }
                if !matches!(step.last(), Some(Entry::Flush(_))) {
                    let _ = timeout(GATHER, self.enough()).await;
                }
                batch.take(&mut step);
                // An empty queue is not waited for: what is gathered must be written now.
                while batch.len() < BATCH && !rows.is_empty() && rows.recv_many(&mut step, STEP).await > 0 {
                    batch.take(&mut step);
                    yield_now().await;
                }
                // Last, when all that was queued is taken: it is older, and a sheet that it said was begun is looked at now.
                if rows.is_empty() || batch.is_awaited() {
                    let sheets = self.sheets.lock().unwrap_or_else(PoisonError::into_inner);
                    sheets.iter().for_each(|sheet| batch.add_calls(sheet.take()));
                }
            }
            let now = self.minute();
            if now != minute {
                minute = now;
                self.tell_counts();
            }
            if !batch.is_empty() {
                self.keep(&mut batch).await;
            }
        }
    }

    /// Waits until a whole batch waits, or somebody does.
    async fn enough(&self) {
        while self.waiting.load(Ordering::Relaxed) < BATCH && !self.hurry.swap(false, Ordering::Relaxed) {
            self.wake.notified().await;
        }
    }

    async fn keep(&self, batch: &mut Batch) {
        let count = batch.len();
        batch.arrange();
        let mut pause = Duration::from_millis(100);
        loop {
            let kept = async {
                if !batch.rows.is_empty() {
                    self.store.record(&batch.rows).await?;
                    batch.rows_are_kept();
                }
                if !batch.completed.is_empty() {
                    self.store.complete_commands(&batch.completed).await?;
                    batch.completed.clear();
                }
                Ok::<(), crate::store::StoreError>(())
            };
            match kept.await {
                Ok(()) => break,
                Err(cause) => {
                    if self.healthy.swap(false, Ordering::Relaxed) {
                        tracing::error!(error = %cause, audit.waiting = self.waiting.load(Ordering::Relaxed), "the audit trail can't be written; rows wait in memory");
                        self.health.set(Trouble::Storage);
                    }
                    self.room.notify_waiters();
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
            }
        }
        if count > 0 && !self.healthy.swap(true, Ordering::Relaxed) {
            tracing::info!("the audit trail is written again");
            self.health.clear(Trouble::Storage);
        }
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        self.metrics.audit_written(count as u64);
        self.metrics.audit_waiting(self.waiting.load(Ordering::Relaxed) as u64);
        self.room.notify_waiters();
        for done in batch.flushes.drain(..) {
            let _ = done.send(());
        }
    }

    fn minute(&self) -> i64 {
        self.clock.now().secs().div_euclid(60)
    }

    /// Hands over what was counted since the last time.
    fn tell_counts(&self) {
        let counts = std::mem::take(&mut *self.unknown.lock().unwrap_or_else(PoisonError::into_inner));
        let crowded = std::mem::take(&mut *self.crowded.lock().unwrap_or_else(PoisonError::into_inner));
        let at: Timestamp = self.clock.now();
        let unknown = counts.into_iter().map(|(reason, count)| AuditEvent {
            count,
            ..AuditEvent::change(at, kind::UNKNOWN_CALLERS, None).decided(reason)
        });
        for event in unknown.chain(crowded.into_values().map(|event| AuditEvent { at, ..event })) {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let _ = self.queue.send(Entry::Event(event));
        }
    }
}
