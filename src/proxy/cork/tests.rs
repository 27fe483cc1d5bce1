//! On real sockets: what leaves when, and what becomes of it where it can't.

use super::*;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream as Peer};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout};

struct Lane(Arc<Cork>);

impl Lane {
    fn new() -> Self {
        let cork = Arc::<Cork>::default();
        tokio::spawn(Arc::clone(&cork).run());
        Self(cork)
    }

    /// A socket of this lane, and the one at its other end, which is not waited for. What is sent from one to the other
    /// on this machine is there at once.
    async fn connect(&self, leftover: Leftover) -> (Corked, Peer) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = Peer::connect(listener.local_addr().unwrap()).unwrap();
        ours.set_nonblocking(true).unwrap();
        let peer = listener.accept().unwrap().0;
        peer.set_nonblocking(true).unwrap();
        let ours = TcpStream::from_std(ours).unwrap();
        // The runtime hears so only now.
        ours.writable().await.unwrap();
        (Corked::new(ours, Arc::clone(&self.0), leftover), peer)
    }
}

/// What has arrived and not been read, up to so much.
fn arrived(mut peer: &Peer, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; most];
    let mut so_far = 0;
    while so_far < most {
        match peer.read(&mut bytes[so_far..]) {
            Ok(0) => break,
            Ok(count) => so_far += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    bytes.truncate(so_far);
    bytes
}

fn write_now(corked: &mut Corked, bytes: &[u8]) -> Poll<io::Result<usize>> {
    Pin::new(corked).poll_write(&mut Context::from_waker(Waker::noop()), bytes)
}

async fn end_of_turn() {
    tokio::task::yield_now().await;
}

#[tokio::test]
async fn what_one_turn_writes_leaves_together_at_its_end_in_its_order() {
    let lane = Lane::new();
    let (mut one, of_one) = lane.connect(Leftover::Sent).await;
    let (mut other, of_other) = lane.connect(Leftover::Sent).await;
    for (to_one, text) in [(true, "a"), (false, "x"), (true, "b"), (true, "c")] {
        let corked = if to_one { &mut one } else { &mut other };
        assert!(matches!(write_now(corked, text.as_bytes()), Poll::Ready(Ok(1))));
        corked.flush().await.unwrap();
    }
    assert_eq!((arrived(&of_one, 9), arrived(&of_other, 9)), (vec![], vec![]));
    end_of_turn().await;
    assert_eq!((arrived(&of_one, 9), arrived(&of_other, 9)), (b"abc".to_vec(), b"x".to_vec()));
    // And again.
    assert!(matches!(write_now(&mut one, b"d"), Poll::Ready(Ok(1))));
    end_of_turn().await;
    assert_eq!(arrived(&of_one, 9), b"d");
    assert_eq!(one.socket.out().bytes.capacity(), 0, "an idle connection holds no memory for this");
}

#[tokio::test]
async fn a_long_turn_releases_so_many_sockets_at_a_time() {
    let lane = Lane::new();
    let mut sockets = Vec::new();
    for _ in 0..=TOGETHER {
        sockets.push(lane.connect(Leftover::Sent).await);
    }
    for (corked, _) in &mut sockets {
        assert!(matches!(write_now(corked, b"x"), Poll::Ready(Ok(1))));
    }
    let left: Vec<_> = sockets.iter().map(|(_, peer)| arrived(peer, 9).len()).collect();
    assert_eq!(left, [vec![1; TOGETHER], vec![0]].concat());
    end_of_turn().await;
    assert_eq!(arrived(&sockets[TOGETHER].1, 9), b"x");
}

#[tokio::test]
async fn much_leaves_at_once_after_what_was_gathered_before_it() {
    let lane = Lane::new();
    let (mut corked, peer) = lane.connect(Leftover::Sent).await;
    let much = vec![b'y'; MOST_GATHERED + 1];
    assert!(matches!(write_now(&mut corked, b"x"), Poll::Ready(Ok(1))));
    assert!(matches!(write_now(&mut corked, &much), Poll::Ready(Ok(count)) if count == much.len()));
    assert_eq!(arrived(&peer, 2 * much.len()), [b"x".to_vec(), much].concat());
    // And so does what would be too much together.
    let half = vec![b'z'; MOST_GATHERED / 2 + 1];
    assert!(matches!(write_now(&mut corked, &half), Poll::Ready(Ok(_))));
    assert!(matches!(write_now(&mut corked, &half), Poll::Ready(Ok(_))));
    assert_eq!(arrived(&peer, 2 * half.len()), half);
}

#[tokio::test]
async fn a_peer_that_reads_slowly_is_waited_for_and_gets_every_byte() {
    let lane = Lane::new();
    let (mut corked, peer) = lane.connect(Leftover::Sent).await;
    let mut sent = Vec::new();
    let piece = |number: usize| vec![b'a' + u8::try_from(number % 26).unwrap(); 1_000];
    // Full turns, until the system takes no more.
    let mut number = 0;
    while corked.flush_now().is_ready() {
        sent.extend(piece(number));
        assert!(matches!(write_now(&mut corked, &piece(number)), Poll::Ready(Ok(1_000))));
        number += 1;
        end_of_turn().await;
    }
    assert!(corked.has_moved() && !corked.has_moved());
    assert!(write_now(&mut corked, b"no more").is_pending());
    let reading = std::thread::spawn(move || {
        peer.set_nonblocking(false).unwrap();
        let mut got = Vec::new();
        (&peer).read_to_end(&mut got).unwrap();
        got
    });
    sent.extend(b"the end");
    corked.write_all(b"the end").await.unwrap();
    corked.shutdown().await.unwrap();
    assert!(corked.has_moved());
    assert!(reading.join().unwrap() == sent);
}

impl Corked {
    fn flush_now(&mut self) -> Poll<io::Result<()>> {
        Pin::new(self).poll_flush(&mut Context::from_waker(Waker::noop()))
    }
}

/// Writes one byte, and then only waits to be woken, for no longer than a test may take. Gives what a flush says then.
async fn woken_after_writing(corked: &mut Corked) -> Poll<io::Result<()>> {
    let mut wrote = false;
    let woken = poll_fn(|cx| {
        if std::mem::replace(&mut wrote, true) {
            return Poll::Ready(Pin::new(&mut *corked).poll_flush(cx));
        }
        assert!(matches!(Pin::new(&mut *corked).poll_write(cx, b"x"), Poll::Ready(Ok(1))));
        Poll::Pending
    });
    // Both are looked at where the time is over, so that only the time itself tells who woke it.
    let began = Instant::now();
    let told = timeout(Duration::from_secs(10), woken).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(9), "nobody woke it");
    told
}

#[tokio::test]
async fn an_owner_that_sleeps_is_woken_where_the_system_takes_no_more() {
    let lane = Lane::new();
    let (mut corked, peer) = lane.connect(Leftover::Sent).await;
    let much = vec![b'y'; 100_000];
    let mut sent = 0;
    while let Poll::Ready(count) = write_now(&mut corked, &much) {
        sent += count.unwrap();
    }
    assert!(woken_after_writing(&mut corked).await.is_pending());
    assert_eq!(arrived(&peer, sent).len(), sent);
    corked.flush().await.unwrap();
    assert_eq!(arrived(&peer, 9), b"x");
}

#[tokio::test]
async fn an_owner_that_sleeps_is_woken_where_a_write_fails_and_told_why() {
    let lane = Lane::new();
    let (mut corked, peer) = lane.connect(Leftover::Sent).await;
    drop(peer);
    // The first write makes the system hear that nobody is there, the second fails.
    assert!(matches!(write_now(&mut corked, b"x"), Poll::Ready(Ok(1))));
    end_of_turn().await;
    let Poll::Ready(Err(error)) = woken_after_writing(&mut corked).await else { panic!("it did not fail") };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn what_has_not_left_when_a_connection_is_dropped_reaches_a_client_and_not_the_provider() {
    let lane = Lane::new();
    for (leftover, expected) in [(Leftover::Sent, "x"), (Leftover::Dropped, "")] {
        let (mut corked, peer) = lane.connect(leftover).await;
        assert!(matches!(write_now(&mut corked, b"x"), Poll::Ready(Ok(1))));
        drop(corked);
        end_of_turn().await;
        assert_eq!(arrived(&peer, 9), expected.as_bytes(), "{leftover:?}");
        // And the connection is closed.
        assert_eq!((&peer).read(&mut [0]).unwrap(), 0);
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_resets_and_does_not_look_as_if_it_ended() {
    let lane = Lane::new();
    let (corked, peer) = lane.connect(Leftover::Sent).await;
    corked.stream().set_zero_linger().unwrap();
    drop(corked);
    assert_eq!((&peer).read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}
