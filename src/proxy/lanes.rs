//! The threads that calls run on, beside those of pages and of all else: a page that hashes a password, or the audit trail's
//! writer, never holds up a call. Each lane has a runtime for itself, so that nothing of a call changes threads on its way.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};

use super::listener::Place;

/// A client's connection, on its way to a lane.
struct Arrival {
    stream: std::net::TcpStream,
    place: Place,
    /// Counts it among its lane's.
    counted: Arc<()>,
}

/// One thread.
struct Lane {
    arrivals: mpsc::UnboundedSender<Arrival>,
    /// One more than it has connections.
    open: Arc<()>,
    over: oneshot::Receiver<()>,
}

/// All of them. Dropped, they cut off what runs.
pub(super) struct Lanes(Vec<Lane>);

/// How many lanes there are: half the processors, since for each call's work in this program the system does about as much.
pub(super) fn usual() -> NonZeroUsize {
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new(processors / 2).unwrap_or(NonZeroUsize::MIN)
}

impl Lanes {
    /// Opens so many; each serves its connections with what `make` gives it.
    ///
    /// # Errors
    /// The system gives no threads.
    pub(super) fn open<S, C>(count: NonZeroUsize, make: impl Fn() -> S) -> io::Result<Self>
    where
        S: FnOnce() -> C + Send + 'static,
        C: Serve,
    {
        let lanes = (0..count.get()).map(|number| Lane::open(number, make()));
        lanes.collect::<io::Result<_>>().map(Self)
    }

    /// Hands a connection to the lane that has the fewest.
    pub(super) fn take(&self, stream: TcpStream, place: Place) {
        let Some(lane) = self.0.iter().min_by_key(|lane| Arc::strong_count(&lane.open)) else { return };
        // A socket that refuses this is about to fail anyway.
        if let Ok(stream) = stream.into_std() {
            let _ = lane.arrivals.send(Arrival { stream, place, counted: Arc::clone(&lane.open) });
        }
    }

    /// Ends them; what still runs is cut off.
    pub(super) async fn close(self) {
        let ends: Vec<_> = self.0.into_iter().map(|lane| lane.over).collect();
        for over in ends {
            let _ = over.await;
        }
    }
}

/// What a lane does with a connection.
pub(super) trait Serve: 'static {
    /// Serves it to its end.
    fn serve(&self, stream: TcpStream, place: Place) -> impl Future<Output = ()> + Send + 'static;
}

impl Lane {
    fn open<S, C>(number: usize, make: S) -> io::Result<Self>
    where
        S: FnOnce() -> C + Send + 'static,
        C: Serve,
    {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (arrivals, arriving) = mpsc::unbounded_channel();
        let (tell, over) = oneshot::channel();
        thread::Builder::new().name(format!("calls-{number}")).spawn(move || {
            run(&runtime, make, arriving);
            let _ = tell.send(());
        })?;
        Ok(Self { arrivals, open: Arc::default(), over })
    }
}

fn run<C: Serve>(runtime: &Runtime, make: impl FnOnce() -> C, mut arriving: mpsc::UnboundedReceiver<Arrival>) {
    runtime.block_on(async {
        let serving = make();
        while let Some(Arrival { stream, place, counted }) = arriving.recv().await {
            let Ok(stream) = TcpStream::from_std(stream) else { continue };
            let served = serving.serve(stream, place);
            tokio::spawn(async move {
                served.await;
                drop(counted);
            });
        }
    });
}
