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
    /// Opens so many; each makes on its own thread what serves its connections to their end.
    ///
    /// # Errors
    /// The system gives no threads.
    pub(super) fn open<M, S, F>(count: NonZeroUsize, make: impl Fn() -> M) -> io::Result<Self>
    where
        M: FnOnce() -> S + Send + 'static,
        S: Fn(TcpStream, Place) -> F,
        F: Future<Output = ()> + Send + 'static,
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

impl Lane {
    fn open<M, S, F>(number: usize, make: M) -> io::Result<Self>
    where
        M: FnOnce() -> S + Send + 'static,
        S: Fn(TcpStream, Place) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (arrivals, arriving) = mpsc::unbounded_channel();
        let (tell, over) = oneshot::channel();
        thread::Builder::new().name(format!("calls-{number}")).spawn(move || {
            run(&runtime, make, arriving);
            // With what still runs in it.
            drop(runtime);
            let _ = tell.send(());
        })?;
        Ok(Self { arrivals, open: Arc::default(), over })
    }
}

fn run<S, F>(runtime: &Runtime, make: impl FnOnce() -> S, mut arriving: mpsc::UnboundedReceiver<Arrival>)
where
    S: Fn(TcpStream, Place) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    runtime.block_on(async {
        let serve = make();
        while let Some(Arrival { stream, place, counted }) = arriving.recv().await {
            let Ok(stream) = TcpStream::from_std(stream) else { continue };
            let served = serve(stream, place);
            tokio::spawn(async move {
                served.await;
                drop(counted);
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    struct Slow(Arc<AtomicBool>);

    impl Drop for Slow {
        fn drop(&mut self) {
            std::thread::sleep(Duration::from_millis(100));
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn lanes_are_closed_when_all_that_ran_in_them_is_gone() {
        let gone = Arc::new(AtomicBool::new(false));
        let lanes = Lanes::open(NonZeroUsize::MIN, || {
            let slow = Slow(Arc::clone(&gone));
            move || {
                tokio::spawn(async move {
                    std::future::pending::<()>().await;
                    drop(slow);
                });
                |_, _| async {}
            }
        });
        lanes.unwrap().close().await;
        assert!(gone.load(Ordering::Relaxed));
    }
}
