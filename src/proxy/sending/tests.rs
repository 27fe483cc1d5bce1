//! What a request looks like on the wire, whatever takes it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use http::HeaderValue;
use http::header::HOST;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::proxy::sent::{Ended, Record};
use crate::proxy::turn::Turn;

/// What takes bytes: so many at once, with a pause before each time, and so many in all before `then`.
struct Socket {
    taken: Vec<u8>,
    at_once: usize,
    pauses: bool,
    paused: bool,
    most: usize,
    then: Then,
    flushed: usize,
}

#[derive(Clone, Copy)]
enum Then {
    Fails,
    TakesNothing,
    Waits,
}

impl Socket {
    fn new(at_once: usize, pauses: bool, most: usize, then: Then) -> Self {
        Self { taken: Vec::new(), at_once, pauses, paused: false, most, then, flushed: 0 }
    }

    fn patient() -> Self {
        Self::new(usize::MAX, false, usize::MAX, Then::Fails)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        assert!(!bytes.is_empty());
        if self.pauses && !std::mem::replace(&mut self.paused, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.paused = false;
        let count = bytes.len().min(self.at_once).min(self.most - self.taken.len());
        if count == 0 {
            return match self.then {
                Then::Fails => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                Then::TakesNothing => Poll::Ready(Ok(0)),
                Then::Waits => Poll::Pending,
            };
        }
        self.taken.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushed = self.taken.len();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        unreachable!("the answer is still to come")
    }
}

/// A body as hyper gives it to us, and where its bytes are written.
async fn incoming(framing: &str, first: &[u8]) -> (SentBody, Arc<Record>, DuplexStream) {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let (mut sender, connection) = http1::handshake::<_, String>(TokioIo::new(near)).await.unwrap();
    tokio::spawn(connection);
    let answer = tokio::spawn(sender.send_request(http::Request::new(String::new())));
    let mut asked = [0; 18];
    far.read_exact(&mut asked).await.unwrap();
    assert!(asked.ends_with(b"\r\n\r\n"));
    let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
    far.write_all(&[head.as_bytes(), first].concat()).await.unwrap();
    let body = answer.await.unwrap().unwrap().into_body();
    let record = Arc::<Record>::default();
    (SentBody::First { body, record: Arc::clone(&record), limit: 100_000, turn: Turn::default() }, record, far)
}

fn again(chunks: &[&'static str]) -> SentBody {
    SentBody::Again(chunks.iter().map(|chunk| Bytes::from_static(chunk.as_bytes())).collect::<VecDeque<_>>())
}

fn sending(headers: &[(&'static str, &'static str)], body: SentBody) -> Sending {
    let mut all = http::HeaderMap::new();
    all.insert(HOST, HeaderValue::from_static("provider"));
    for (name, value) in headers {
        all.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let mut sending = Sending::new(Method::POST, &PathAndQuery::from_static("/api/a?b=c"));
    all.iter().for_each(|(name, value)| sending.header(name, value));
    sending.with_body(body)
}

/// Sends it all, and says how that ended.
async fn send(mut sending: Sending, socket: &mut Socket) -> Result<(), Stopped> {
    std::future::poll_fn(|cx| sending.poll(socket, cx)).await
}

const HEAD: &str = "POST /api/a?b=c HTTP/1.1\r\nhost: provider\r\n";

/// What leaves of a body that comes with these headers.
#[track_caller]
fn leaves(socket: &Socket, rest: &str) {
    assert_eq!(String::from_utf8_lossy(&socket.taken), HEAD.to_owned() + rest);
    assert_eq!(socket.flushed, socket.taken.len());
}

#[tokio::test]
async fn a_body_goes_out_with_its_length_or_in_chunks_and_none_with_neither() {
    let mut socket = Socket::patient();
    assert!(send(sending(&[("x", "1"), ("x", "2")], SentBody::None), &mut socket).await.is_ok());
    leaves(&socket, "x: 1\r\nx: 2\r\n\r\n");
    let mut socket = Socket::patient();
    assert!(send(sending(&[("content-length", "0")], SentBody::None), &mut socket).await.is_ok());
    leaves(&socket, "content-length: 0\r\n\r\n");
    let mut socket = Socket::patient();
    assert!(send(sending(&[], again(&["hel", "", "lo"])), &mut socket).await.is_ok());
    leaves(&socket, "content-length: 5\r\n\r\nhello");
    let mut socket = Socket::patient();
    assert!(send(sending(&[("content-length", "5")], again(&["hello"])), &mut socket).await.is_ok());
    leaves(&socket, "content-length: 5\r\n\r\nhello");
    let (body, record, _far) = incoming("content-length: 5", b"hello").await;
    let mut socket = Socket::patient();
    assert!(send(sending(&[], body), &mut socket).await.is_ok());
    leaves(&socket, "content-length: 5\r\n\r\nhello");
    assert_eq!(record.ended(), Ended::Whole);
}

#[tokio::test]
async fn chunks_are_framed_anew_and_their_trailers_stay_here() {
    let (body, record, mut far) = incoming("transfer-encoding: chunked", b"3;x=y\r\nhel\r\n").await;
    let mut sending = sending(&[], body);
    let mut socket = Socket::patient();
    while !socket.taken.ends_with(b"hel\r\n") {
        let poll = std::future::poll_fn(|cx| Poll::Ready(sending.poll(&mut socket, cx))).await;
        assert!(poll.is_pending());
        tokio::task::yield_now().await;
    }
    // It does not wait here for what comes after it.
    leaves(&socket, "transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n");
    assert_eq!(record.ended(), Ended::NotYet);
    far.write_all(b"C\r\n0123456789ab\r\n0\r\nhost: evil\r\n\r\n").await.unwrap();
    assert!(send(sending, &mut socket).await.is_ok());
    leaves(&socket, "transfer-encoding: chunked\r\n\r\n3\r\nhel\r\nc\r\n0123456789ab\r\n0\r\n\r\n");
    assert_eq!(record.ended(), Ended::Whole);
}

#[tokio::test]
async fn a_body_that_breaks_off_or_is_too_long_never_gets_its_end() {
    for (framing, bytes, how) in [
        ("transfer-encoding: chunked", &b"3\r\nhel\r\n"[..], Ended::Broken),
        ("transfer-encoding: chunked", b"3\r\nhel\r\nzz\r\n", Ended::Broken),
        ("content-length: 5", b"hel", Ended::Broken),
        (
            "transfer-encoding: chunked",
            &[b"30D40\r\n", "x".repeat(200_000).as_bytes(), b"\r\n0\r\n\r\n"].concat(),
            Ended::TooLarge,
        ),
    ] {
        let (body, record, far) = incoming(framing, bytes).await;
        drop(far);
        let mut socket = Socket::patient();
        assert!(matches!(send(sending(&[], body), &mut socket).await, Err(Stopped::Body)), "{framing}");
        assert_eq!(record.ended(), how);
        let sent = String::from_utf8_lossy(&socket.taken);
        let (head, body) = sent.split_once("\r\n\r\n").unwrap();
        assert!(!body.contains("0\r\n\r\n") && !body.starts_with("hello"), "{framing}: {body:.100}");
        assert!(head.ends_with(framing), "{head}");
    }
}

#[tokio::test]
async fn a_socket_that_takes_no_more_stops_it_and_one_that_waits_is_waited_for() {
    let expected = HEAD.to_owned() + "content-length: 5\r\n\r\nhello";
    for most in 0..expected.len() {
        for then in [Then::Fails, Then::TakesNothing] {
            let mut socket = Socket::new(usize::MAX, false, most, then);
            let outcome = send(sending(&[], again(&["hel", "lo"])), &mut socket).await;
            assert!(matches!(outcome, Err(Stopped::Connection)), "{most}");
            assert_eq!(socket.taken, expected.as_bytes()[..most]);
        }
        let mut socket = Socket::new(usize::MAX, false, most, Then::Waits);
        let mut sending = sending(&[], again(&["hel", "lo"]));
        for _ in 0..3 {
            assert!(sending.poll(&mut socket, &mut Context::from_waker(Waker::noop())).is_pending());
            assert_eq!(socket.taken, expected.as_bytes()[..most]);
        }
        // It goes on where it stood.
        socket.most = usize::MAX;
        assert!(send(sending, &mut socket).await.is_ok());
        assert_eq!(socket.taken, expected.as_bytes());
    }
}

#[tokio::test]
async fn a_body_is_not_read_ahead_of_a_socket_that_waits() {
    let (body, record, _far) = incoming("content-length: 90000", "x".repeat(90_000).as_bytes()).await;
    let mut sending = sending(&[], body);
    let mut socket = Socket::new(usize::MAX, false, 100, Then::Waits);
    for _ in 0..100 {
        let poll = std::future::poll_fn(|cx| Poll::Ready(sending.poll(&mut socket, cx))).await;
        assert!(poll.is_pending());
        tokio::task::yield_now().await;
    }
    assert!(record.bytes() > 0 && record.bytes() < 90_000, "{}", record.bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_chunks_leave_alike_however_the_socket_takes_them(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..8),
        at_once in 1_usize..40,
        pauses in any::<bool>(),
    ) {
        let bodies = || SentBody::Again(chunks.iter().cloned().map(Bytes::from).collect());
        let length = chunks.concat().len();
        let framing = if chunks.is_empty() { String::new() } else { format!("content-length: {length}\r\n") };
        let expected = [format!("{HEAD}{framing}\r\n").as_bytes(), &chunks.concat()].concat();
        let mut socket = Socket::new(at_once, pauses, usize::MAX, Then::Fails);
        let mut sending = sending(&[], bodies());
        let cx = &mut Context::from_waker(Waker::noop());
        while sending.poll(&mut socket, cx).is_pending() {}
        prop_assert_eq!(&socket.taken, &expected);
        prop_assert_eq!(socket.flushed, expected.len());
    }
}
