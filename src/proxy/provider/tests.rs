//! A link on real sockets.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use futures_util::poll;
use http::uri::PathAndQuery;
use tokio::net::TcpStream;
use tokio::task::{spawn_blocking, yield_now};

use super::*;
use crate::proxy::sent::SentBody;

#[tokio::test]
async fn a_request_that_finds_the_socket_full_leaves_once_there_is_room() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut peer = listener.accept().unwrap().0;
    let cork = Arc::<Cork>::default();
    tokio::spawn(Arc::clone(&cork).run());
    let mut full = 0;
    loop {
        ours.writable().await.unwrap();
        match ours.try_write(&[b'x'; 8 * 1024]) {
            Ok(count) => full += count,
            Err(_) => break,
        }
    }
    let io = TokioIo::new(MaybeHttpsStream::Http(TokioIo::new(Corked::new(ours, cork, Leftover::Dropped))));
    let sending = Sending::new(Method::GET, &PathAndQuery::from_static("/x")).with_body(SentBody::None);
    let mut link =
        Link { io, unread: BytesMut::new(), sending: Some(sending), unsent: true, idle_since: Instant::now() };
    let mut head = Box::pin(timeout(
        Duration::from_secs(5),
        poll_fn(|cx| {
            let _ = link.send(cx);
            link.poll_head(&Method::GET, cx)
        }),
    ));
    assert!(poll!(&mut head).is_pending());
    // The end of the turn, where the cork finds no room.
    yield_now().await;
    let reads = spawn_blocking(move || {
        peer.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        let mut got = vec![0; full + b"GET /x HTTP/1.1\r\n\r\n".len()];
        let outcome = peer.read_exact(&mut got).map(|()| got.split_off(full));
        let _ = peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        outcome
    });
    let head = head.await;
    assert_eq!(reads.await.unwrap().unwrap(), b"GET /x HTTP/1.1\r\n\r\n");
    assert!(matches!(head, Ok(Ok(_))));
}
