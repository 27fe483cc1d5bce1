//! The socket as hyper sees it: only heads that [`head::look`] has approved ever come through.
//!
//! The usual head arrives in one read and is looked at where it lies, in hyper's buffer. One that comes in pieces is held
//! back until it is whole. In place of a head that is refused hyper gets one of ours, whose target no client can send, and
//! after it nothing more: the answer then goes the way of every answer, after those to earlier requests.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::cork::{Cork, Corked, Leftover};
use super::head::{self, Framing, HeadFault, Look};
use super::pulse::Pulse;

/// Stands for a refused request; no head with this target passes the look.
const STAND_IN: &[u8] = b"OPTIONS * HTTP/1.1\r\n\r\n";
/// The most that is read after a refusal only to be thrown away.
const MOST_DISCARDED: usize = 1024 * 1024;

/// Whether this target is that of a request that stands for a refused one.
pub(super) fn is_stand_in(target: &http::Uri) -> bool {
    target.path() == "*"
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Between requests, or within a head.
    Head,
    /// So many bytes of a body are to come.
    Body(u64),
    /// A chunked body; the connection ends with its request, so whatever comes belongs to it or to nobody.
    Chunked,
    /// A head was refused; what comes is thrown away, so many bytes so far.
    Refused(usize),
}

/// A client's socket.
pub(super) struct Wire {
    stream: Corked,
    pulse: Arc<Pulse>,
    state: State,
    /// What was read and is not approved yet.
    held: Vec<u8>,
    /// What was approved and not taken yet, and how much of it has been taken.
    ready: Vec<u8>,
    taken: usize,
    shut: bool,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, pulse: Arc<Pulse>, cork: Arc<Cork>) -> Self {
        let stream = Corked::new(stream, cork, Leftover::Sent);
        Self { stream, pulse, state: State::Head, held: Vec::new(), ready: Vec::new(), taken: 0, shut: false }
    }

    /// How many of these bytes, which follow all that was approved, hyper may see. What is left is for `held`, unless the
    /// state is now [`State::Refused`].
    fn approve(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                State::Head => match head::look(&bytes[at..]) {
                    Look::Partial => {
                        self.pulse.head.begin(&self.pulse);
                        return at;
                    }
                    Look::Complete(length, framing) => {
                        at += length;
                        self.pulse.refresh();
                        self.pulse.head.end();
                        self.state = match framing {
                            Framing::Length(0) => State::Head,
                            Framing::Length(length) => State::Body(length),
                            Framing::Chunked => State::Chunked,
                        };
                    }
                    Look::Fault(fault) => {
                        self.refuse(fault);
                        return at;
                    }
                },
                State::Body(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    at += here;
                    let left = left - here as u64;
                    self.state = if left == 0 { State::Head } else { State::Body(left) };
                }
                State::Chunked => at = bytes.len(),
                State::Refused(_) => return at,
            }
        }
        at
    }

    fn refuse(&mut self, fault: HeadFault) {
        self.pulse.refresh();
        self.pulse.head.end();
        self.pulse.leave_fault(fault);
        self.state = State::Refused(0);
    }

    /// Takes over what hyper may not see yet, or puts our stand-in in its place.
    fn keep(&mut self, rest: &[u8]) {
        if matches!(self.state, State::Refused(_)) {
            self.held = Vec::new();
            self.ready.extend_from_slice(STAND_IN);
        } else {
            self.held.extend_from_slice(rest);
        }
    }

    /// Gives hyper what was approved earlier.
    fn take_ready(&mut self, buf: &mut ReadBuf<'_>) {
        let rest = &self.ready[self.taken..];
        let here = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..here]);
        self.taken += here;
        if self.taken == self.ready.len() {
            self.ready = Vec::new();
            self.taken = 0;
        }
    }

    /// Reads straight into hyper's buffer. Answers whether there is something for hyper to see, be it the end.
    fn read_through(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let all = buf.filled().len();
        if all == before {
            return Poll::Ready(Ok(true));
        }
        let approved = before + self.approve(&buf.filled()[before..]);
        if approved < all || matches!(self.state, State::Refused(_)) {
            self.keep(&buf.filled()[approved..]);
            buf.set_filled(approved);
        }
        Poll::Ready(Ok(approved > before))
    }

    /// Reads more of a head that came in pieces. Answers whether the connection ended.
    fn read_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut space = [0; 4096];
        let mut buf = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        let new = buf.filled();
        if new.is_empty() {
            return Poll::Ready(Ok(true));
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(new);
        // Only the end of a line can change what a look finds; a client that sends single bytes costs no more.
        if new.contains(&b'\n') || held.len() > head::MAX_HEAD {
            let approved = self.approve(&held);
            self.ready.extend_from_slice(&held[..approved]);
            self.keep(&held[approved..]);
        } else {
            self.held = held;
        }
        Poll::Ready(Ok(false))
    }

    /// Throws away what comes. Ready at the end of the connection, or when it is too much.
    fn discard(&mut self, cx: &mut Context<'_>, mut so_far: usize) -> Poll<io::Result<()>> {
        let mut space = [0; 4096];
        while so_far < MOST_DISCARDED {
            let mut buf = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                break;
            }
            so_far += buf.filled().len();
            self.state = State::Refused(so_far);
        }
        Poll::Ready(Ok(()))
    }

    fn wrote<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &outcome {
            // A client that takes little by little takes something.
            Poll::Pending if self.stream.has_moved() => self.pulse.write.restart(&self.pulse),
            Poll::Pending => self.pulse.write.begin(&self.pulse),
            Poll::Ready(_) => self.pulse.write.end(),
        }
        outcome
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        loop {
            if !wire.ready.is_empty() {
                wire.take_ready(buf);
                return Poll::Ready(Ok(()));
            }
            let in_body = match wire.state {
                State::Refused(so_far) => return wire.discard(cx, so_far),
                State::Head => false,
                State::Body(_) | State::Chunked => true,
            };
            if wire.held.is_empty() {
                let outcome = wire.read_through(cx, buf);
                match (&outcome, in_body) {
                    (Poll::Pending, true) => wire.pulse.body.begin(&wire.pulse),
                    _ => wire.pulse.body.end(),
                }
                if ready!(outcome)? {
                    return Poll::Ready(Ok(()));
                }
            } else if ready!(wire.read_more(cx))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.wrote(outcome)
    }

    /// Closes our side; where the client may still be sending, waits for it to stop, since closing a socket with unread
    /// bytes resets the connection and takes the answer away from the client (RFC 9112 9.6).
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.shut = true;
            self.pulse.body.end();
            if matches!(self.state, State::Head) && self.held.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.pulse.linger.begin(&self.pulse);
        }
        let so_far = if let State::Refused(so_far) = self.state { so_far } else { 0 };
        // A client that resets has had its answer or does not want it.
        self.discard(cx, so_far).map(|_| Ok(()))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.pulse.is_cut() {
            // So that a response that ends with its connection is not taken for whole. There is nothing to be done where
            // the system refuses.
            let _ = self.stream.stream().set_zero_linger();
        }
    }
}
