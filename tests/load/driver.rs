//! Clients that speak bytes, fast enough not to be what is measured.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection of an app.
pub(crate) struct App {
    pub(crate) stream: TcpStream,
    address: SocketAddr,
    key: String,
    space: Vec<u8>,
}

impl App {
    pub(crate) async fn connect(address: SocketAddr, key: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, address, key: key.to_owned(), space: vec![0; 64 * 1024] }
    }

    pub(crate) fn head(&self, method: &str, target: &str, lines: &str) -> Vec<u8> {
        let Self { address, key, .. } = self;
        format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n{lines}\r\n")
            .into_bytes()
    }

    /// Reads one head; gives its status, its `content-length`, and what of the body came with it.
    pub(crate) async fn begun(&mut self) -> (u16, usize, usize) {
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.space[filled..]).await.unwrap();
            assert!(read > 0, "the connection ended");
            filled += read;
            let Some(end) = memchr::memmem::find(&self.space[..filled], b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&self.space[..end]).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.parse().unwrap());
            return (head[9..12].parse().unwrap(), length, filled - end - 4);
        }
    }

    /// One call, whose body is read and thrown away.
    pub(crate) async fn call(&mut self, method: &str, target: &str) -> u16 {
        let head = self.head(method, target, "");
        self.stream.write_all(&head).await.unwrap();
        let (status, length, mut read) = self.begun().await;
        while read < length {
            let more = self.stream.read(&mut self.space).await.unwrap();
            assert!(more > 0, "the body ended early");
            read += more;
        }
        status
    }

    /// Calls one after the other for so long; gives how long each took, in milliseconds.
    pub(crate) async fn keep_calling(
        &mut self,
        target: &str,
        status: u16,
        until: Instant,
        every: Duration,
    ) -> Vec<f64> {
        let mut took = Vec::new();
        while Instant::now() < until {
            let begun = Instant::now();
            assert_eq!(self.call("GET", target).await, status);
            took.push(begun.elapsed().as_secs_f64() * 1e3);
            if !every.is_zero() {
                tokio::time::sleep(every.saturating_sub(begun.elapsed())).await;
            }
        }
        took
    }
}

/// So many connections that call as fast as they are answered, whatever that is; gives every call's status.
pub(crate) async fn flood(
    proxy: SocketAddr,
    key: &str,
    connections: usize,
    target: &'static str,
    last: Duration,
) -> Vec<u16> {
    let until = Instant::now() + last;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let mut app = App::connect(proxy, key).await;
        tasks.spawn(async move {
            let mut statuses = Vec::new();
            while Instant::now() < until {
                statuses.push(app.call("GET", target).await);
            }
            statuses
        });
    }
    tasks.join_all().await.concat()
}

/// The same where every call succeeds; gives how many there were.
pub(crate) async fn load(
    proxy: SocketAddr,
    key: &str,
    connections: usize,
    target: &'static str,
    last: Duration,
) -> usize {
    let statuses = flood(proxy, key, connections, target, last).await;
    assert!(statuses.iter().all(|status| *status == 200));
    statuses.len()
}

/// So many calls that are refused without the provider, sent in batches on so many connections, at no more than so many a second.
pub(crate) async fn refused(proxy: SocketAddr, key: &str, connections: usize, calls: usize, rate: usize) -> Duration {
    const BATCH: usize = 25;
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let mut app = App::connect(proxy, key).await;
        tasks.spawn(async move {
            let batch = app.head("GET", "/api/account", "").repeat(BATCH);
            let mine = calls / connections;
            for sent in (0..mine).step_by(BATCH) {
                let due = begun + Duration::from_secs_f64((sent * connections) as f64 / rate as f64);
                tokio::time::sleep(due.saturating_duration_since(Instant::now())).await;
                app.stream.write_all(&batch).await.unwrap();
                let (mut answered, mut end) = (0, Vec::new());
                while answered < BATCH {
                    let read = app.stream.read(&mut app.space).await.unwrap();
                    assert!(read > 0, "the connection ended");
                    end.extend_from_slice(&app.space[..read]);
                    answered += memchr::memmem::find_iter(&end, b"HTTP/1.1 403 ").count();
                    let kept = end.len().saturating_sub(12);
                    end.drain(..kept);
                }
            }
        });
    }
    tasks.join_all().await;
    begun.elapsed()
}
