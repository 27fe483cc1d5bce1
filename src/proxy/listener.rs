//! The accept loop: how many connections there may be, and how they end.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use super::call::Desk;
use super::cork::Cork;
use super::lanes::Lanes;
use super::pulse::{Patience, Pulse};
use super::settings::ProxySettings;
use super::wire::Wire;
use crate::broker::Broker;
use crate::telemetry::{Listener, Metrics, UnknownCaller};

/// The most that is buffered of what goes each way on one connection, which a client that does not read keeps full.
const MOST_BUFFERED: usize = 64 * 1024;

/// Serves apps' calls until told to stop; then lets running calls end for as long as they may, and closes what is left.
///
/// # Errors
/// The system gives no threads.
pub fn serve(
    listener: TcpListener,
    broker: Broker,
    settings: ProxySettings,
    metrics: Metrics,
    stopping: watch::Receiver<bool>,
) -> io::Result<impl Future<Output = ()> + Send> {
    let room = Room::new(&settings, metrics);
    let (drain, count) = (settings.drain, settings.lanes);
    let settings = Arc::new(settings);
    let lanes = Lanes::open(count, move || {
        let (broker, settings) = (broker.clone(), Arc::clone(&settings));
        move || connections(broker, &settings)
    })?;
    Ok(accept(listener, room, lanes, drain, stopping))
}

async fn accept(listener: TcpListener, room: Room, lanes: Lanes, drain: Duration, mut stopping: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => break,
            accepted = room.next(&listener) => accepted,
        };
        if let Some((stream, place)) = accepted {
            lanes.take(stream, place);
        }
    }
    drop(listener);
    room.empty(drain).await;
    lanes.close().await;
}

/// What serves the connections of one lane; they share a desk.
fn connections(
    broker: Broker,
    settings: &ProxySettings,
) -> impl Fn(TcpStream, Place) -> BoxFuture<'static, ()> + use<> {
    let cork = Arc::<Cork>::default();
    tokio::spawn(Arc::clone(&cork).run());
    let desk = Desk::new(broker, settings, cork);
    let (swept, every) = (Arc::clone(&desk), settings.keep_upstream);
    tokio::spawn(async move {
        loop {
            sleep(every).await;
            swept.sweep();
        }
    });
    let patience = settings.patience;
    move |stream, place| {
        let desk = Arc::clone(&desk);
        Box::pin(async move { connection(stream, &place, desk, patience).await })
    }
}

/// Drives one connection to its end.
async fn connection(stream: TcpStream, place: &Place, desk: Arc<Desk>, patience: Patience) {
    // A socket that refuses this is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let pulse = &place.pulse;
    let io = TokioIo::new(Wire::new(stream, Arc::clone(pulse), Arc::clone(&desk.cork)));
    let calls = service_fn(|request| {
        let (desk, pulse) = (Arc::clone(&desk), Arc::clone(pulse));
        async move { Ok::<_, Infallible>(desk.answer(&pulse, request).await) }
    });
    let mut server = http1::Builder::new();
    server.max_header_size(64 * 1024).max_buf_size(MOST_BUFFERED);
    let mut http = pin!(server.serve_connection(io, calls));
    let tick = patience.tick();
    let mut look = pin!(sleep(tick));
    let mut slow = false;
    let mut drained = false;
    let mut known: Option<Waker> = None;
    poll_fn(|cx| {
        // A task keeps its waker as a rule, so that the listener need not be told again.
        if known.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            known = Some(cx.waker().clone());
            pulse.register(cx.waker());
        }
        if pulse.is_closing() {
            return Poll::Ready(());
        }
        if pulse.is_draining() && !drained {
            drained = true;
            http.as_mut().graceful_shutdown();
        }
        loop {
            if let Poll::Ready(outcome) = http.as_mut().poll(cx) {
                if let Err(cause) = outcome {
                    tracing::debug!(error = %cause, "a connection ended with an error");
                }
                return Poll::Ready(());
            }
            // An idle connection is looked at only when it may have idled for too long.
            if slow && !pulse.is_idle() {
                slow = false;
                look.as_mut().reset(Instant::now() + tick);
            }
            if look.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            pulse.refresh();
            if pulse.is_stuck(&patience) {
                pulse.cut_if_busy();
                tracing::debug!("a connection was closed: its client kept it waiting for too long");
                return Poll::Ready(());
            }
            slow = pulse.is_idle();
            look.as_mut().reset(Instant::now() + if slow { patience.idle + tick } else { tick });
        }
    })
    .await;
}

/// The places that there are for connections, and who holds them.
struct Room {
    places: Arc<Semaphore>,
    per_source: usize,
    held: Arc<Mutex<Held>>,
    metrics: Metrics,
    all: usize,
}

#[derive(Default)]
struct Held {
    last: u64,
    pulses: HashMap<u64, Arc<Pulse>>,
    sources: HashMap<IpAddr, usize>,
}

/// One connection's place; free again when it is dropped.
pub(super) struct Place {
    pulse: Arc<Pulse>,
    number: u64,
    source: IpAddr,
    held: Arc<Mutex<Held>>,
    _counted: crate::telemetry::Connection,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.pulses.remove(&self.number);
        if let Some(count) = held.sources.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                held.sources.remove(&self.source);
            }
        }
    }
}

impl Room {
    fn new(settings: &ProxySettings, metrics: Metrics) -> Self {
        let all = settings.max_connections;
        let places = Arc::new(Semaphore::new(all));
        Self { places, per_source: settings.max_per_source, held: Arc::default(), metrics, all }
    }

    /// The next connection and its place. Dropping this future before it is done loses neither.
    async fn next(&self, listener: &TcpListener) -> Option<(TcpStream, Place)> {
        let permit = Arc::clone(&self.places).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, peer)) => self.place(permit, peer).map(|place| (stream, place)),
            Err(error) => {
                if !matches!(error.kind(), std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::ConnectionReset)
                {
                    // Out of files or memory: trying again at once would only spin.
                    tracing::warn!(error = %error, "A connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
                None
            }
        }
    }

    fn place(&self, permit: OwnedSemaphorePermit, peer: SocketAddr) -> Option<Place> {
        let source = peer.ip().to_canonical();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.sources.entry(source).or_default();
        if *count >= self.per_source && !source.is_loopback() {
            self.metrics.unknown_caller(UnknownCaller::TooManyConnections);
            return None;
        }
        *count += 1;
        held.last += 1;
        let (number, pulse) = (held.last, Pulse::new());
        held.pulses.insert(number, Arc::clone(&pulse));
        drop(held);
        let counted = self.metrics.connection(Listener::Proxy);
        Some(Place { pulse, number, source, held: Arc::clone(&self.held), _counted: counted, _permit: permit })
    }

    /// Lets running calls end, then closes what is left.
    async fn empty(&self, patience: Duration) {
        let all = u32::try_from(self.all).unwrap_or(u32::MAX);
        self.each(Pulse::drain);
        if timeout(patience, self.places.acquire_many(all)).await.is_ok() {
            return;
        }
        let left = self.all - self.places.available_permits();
        tracing::warn!(connections = left, "Calls were still running after the drain time and are cut off");
        self.each(|pulse| {
            pulse.cut();
            pulse.close();
        });
        let _ = timeout(Duration::from_secs(1), self.places.acquire_many(all)).await;
    }

    fn each(&self, tell: impl Fn(&Pulse)) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.pulses.values().for_each(|pulse| tell(pulse));
    }
}
