//! Writes that leave together.
//!
//! Whoever waits for what is written to a socket is woken by the write, and waking a processor that sleeps costs more than
//! the write itself. So what one turn of a lane writes waits for the end of the turn: first every connection that has
//! something to do does it, then all of it leaves, and who reads it is woken once for many calls instead of once for each.
//! It leaves a few sockets at a time, so that the others need not wait for the whole turn. A call that is alone waits for
//! nobody: its turn ends at once.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use futures_util::task::AtomicWaker;
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// So many sockets have their turn together.
const TOGETHER: usize = 32;
/// More than this is not gathered: it leaves at once, by itself.
const MOST_GATHERED: usize = 4 * 1024;

/// The sockets of one lane that wait for the end of its turn.
#[derive(Default)]
pub(super) struct Cork {
    waiting: Mutex<Vec<Arc<Socket>>>,
    turn: AtomicWaker,
}

impl Cork {
    /// Releases what was written at the end of each turn, for as long as the lane runs.
    pub(super) async fn run(self: Arc<Self>) {
        poll_fn(|cx| {
            self.turn.register(cx.waker());
            self.release();
            Poll::<()>::Pending
        })
        .await;
    }

    fn hold(&self, socket: &Arc<Socket>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(Arc::clone(socket));
        let count = waiting.len();
        drop(waiting);
        match count {
            // Queued behind the tasks that this turn has woken already.
            1 => self.turn.wake(),
            TOGETHER => self.release(),
            _ => {}
        }
    }

    fn release(&self) {
        let mut released = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        for socket in released.drain(..) {
            socket.out().release();
        }
        // Its space is used again.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_empty() {
            *waiting = released;
        }
    }
}

/// The side of a socket that is written to.
struct Socket(Mutex<Out>);

struct Out {
    half: Option<OwnedWriteHalf>,
    /// What was written and has not left.
    bytes: Vec<u8>,
    /// The cork knows of it.
    held: bool,
    /// The system takes no more for now.
    stuck: bool,
    /// Something has left since last asked.
    moved: bool,
    failed: Option<io::Error>,
    /// Who must know when it is stuck or has failed.
    owner: Option<Waker>,
}

impl Socket {
    fn out(&self) -> MutexGuard<'_, Out> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Out {
    /// Writes what the system takes now.
    fn release(&mut self) {
        self.held = false;
        if self.stuck {
            return;
        }
        let mut written = 0;
        while let Some(half) = &self.half
            && written < self.bytes.len()
        {
            match half.try_write(&self.bytes[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stuck = true;
                    break;
                }
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        self.left(written);
        if (self.stuck || self.failed.is_some())
            && let Some(owner) = self.owner.take()
        {
            owner.wake();
        }
    }

    /// Writes it all, or asks to be woken when the system takes more.
    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        while !self.bytes.is_empty() {
            self.stuck = true;
            let Some(half) = &mut self.half else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
            let count = ready!(Pin::new(half).poll_write(cx, &self.bytes))?;
            self.left(count);
        }
        self.stuck = false;
        Poll::Ready(Ok(()))
    }

    fn left(&mut self, count: usize) {
        self.moved |= count > 0;
        if count == self.bytes.len() {
            // A connection that idles holds no memory for this.
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..count);
        }
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        // Closed with the other half, not shut down before: a connection that is cut must not look as if it ended.
        if let Some(half) = self.half.take() {
            half.forget();
        }
    }
}

/// What becomes of what has not left when a connection is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leftover {
    /// It is sent: a client gets what there is of its answer.
    Sent,
    /// It is thrown away: a call that was given up need not reach the provider.
    Dropped,
}

/// A socket whose writes wait for the end of the turn.
pub(super) struct Corked {
    read: OwnedReadHalf,
    socket: Arc<Socket>,
    cork: Arc<Cork>,
    leftover: Leftover,
}

impl Corked {
    pub(super) fn new(stream: TcpStream, cork: Arc<Cork>, leftover: Leftover) -> Self {
        let (read, half) = stream.into_split();
        let (half, bytes) = (Some(half), Vec::new());
        let out = Out { half, bytes, held: false, stuck: false, moved: false, failed: None, owner: None };
        Self { read, socket: Arc::new(Socket(Mutex::new(out))), cork, leftover }
    }

    /// The socket itself.
    pub(super) fn stream(&self) -> &TcpStream {
        self.read.as_ref()
    }

    /// Whether the other side has taken something since this was last asked.
    pub(super) fn has_moved(&self) -> bool {
        std::mem::take(&mut self.socket.out().moved)
    }
}

impl Drop for Corked {
    fn drop(&mut self) {
        let mut out = self.socket.out();
        match self.leftover {
            Leftover::Sent => out.release(),
            Leftover::Dropped => out.bytes = Vec::new(),
        }
    }
}

impl AsyncRead for Corked {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buf)
    }
}

impl AsyncWrite for Corked {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut out = self.socket.out();
        let size = slices.iter().map(|slice| slice.len()).sum();
        if out.stuck || out.failed.is_some() || out.bytes.len() + size > MOST_GATHERED {
            ready!(out.poll_release(cx))?;
        }
        if size > MOST_GATHERED {
            let Some(half) = &mut out.half else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
            let written = ready!(Pin::new(half).poll_write_vectored(cx, slices))?;
            out.moved = true;
            return Poll::Ready(Ok(written));
        }
        out.bytes.reserve(size);
        for slice in slices {
            out.bytes.extend_from_slice(slice);
        }
        if out.owner.as_ref().is_none_or(|owner| !owner.will_wake(cx.waker())) {
            out.owner = Some(cx.waker().clone());
        }
        if !std::mem::replace(&mut out.held, true) {
            drop(out);
            self.cork.hold(&self.socket);
        }
        Poll::Ready(Ok(size))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What waits for the end of the turn needs no more than that; what is stuck is waited for.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.socket.out();
        if out.stuck || out.failed.is_some() { out.poll_release(cx) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.socket.out();
        ready!(out.poll_release(cx))?;
        out.half.as_mut().map_or(Poll::Ready(Ok(())), |half| Pin::new(half).poll_shutdown(cx))
    }
}

impl Connection for Corked {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

#[cfg(test)]
mod tests;
