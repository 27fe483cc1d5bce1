//! A client that speaks bytes.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::provider::find;

/// The most that anything may take.
pub(crate) const SOON: Duration = Duration::from_secs(8);

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

/// A response as it came.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.head.split("\r\n").skip(1);
        lines
            .filter_map(|line| line.split_once(": "))
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
            .collect()
    }

    #[track_caller]
    pub(crate) fn one(&self, name: &str) -> &str {
        let values = self.values(name);
        assert_eq!(values.len(), 1, "{name}: {}", self.head);
        values[0]
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// What a refusal of ours must look like.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16, code: &str) -> &Self {
        assert_eq!(self.status, status, "{} {}", self.head, self.text());
        assert_eq!(self.one("keyfob-error"), code);
        assert_eq!(self.one("content-type"), "application/problem+json");
        let problem = self.problem();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["code"], code);
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
        self
    }

    pub(crate) fn problem(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads one response; `HEAD` has no body.
    pub(crate) async fn response_to(&mut self, method: &str) -> Got {
        timeout(SOON, self.read_response(method)).await.expect("no response came")
    }

    pub(crate) async fn response(&mut self) -> Got {
        self.response_to("GET").await
    }

    /// Reads the head of a response and leaves its body.
    pub(crate) async fn head(&mut self) -> Got {
        timeout(SOON, async {
            let end = self.fill(|b| find(b, b"\r\n\r\n").map(|at| at + 4)).await.expect("the connection ended");
            let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            Got { status, head, body: Vec::new() }
        })
        .await
        .expect("no head came")
    }

    async fn read_response(&mut self, method: &str) -> Got {
        let mut got = self.head().await;
        let length = got.values("content-length").first().map(|length| length.parse::<usize>().unwrap());
        if method == "HEAD" || matches!(got.status, 100..=199 | 204 | 304) {
            return got;
        }
        if let Some(length) = length {
            self.fill(|b| (b.len() >= length).then_some(0)).await.expect("the body was cut short");
            got.body = self.buffer.drain(..length).collect();
        } else if got.values("transfer-encoding") == ["chunked"] {
            while let Some(chunk) = self.chunk().await {
                got.body.extend_from_slice(&chunk);
            }
        } else {
            self.fill(|_| None).await;
            got.body = std::mem::take(&mut self.buffer);
        }
        got
    }

    /// One chunk of a chunked body; nothing at its end.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        timeout(SOON, async {
            let line = self.fill(|b| find(b, b"\r\n")).await.expect("the connection ended between chunks");
            let size = usize::from_str_radix(std::str::from_utf8(&self.buffer[..line]).unwrap(), 16).unwrap();
            self.fill(|b| (b.len() >= line + 4 + size).then_some(0))
                .await
                .expect("the connection ended within a chunk");
            let chunk = self.buffer[line + 2..line + 2 + size].to_vec();
            self.buffer.drain(..line + 4 + size);
            (size > 0).then_some(chunk)
        })
        .await
        .expect("no chunk came")
    }

    /// Everything up to the connection's end, and whether it ended in order.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, bool) {
        timeout(SOON, async {
            let mut space = vec![0; 65_536];
            loop {
                match self.stream.read(&mut space).await {
                    Ok(0) => return (std::mem::take(&mut self.buffer), true),
                    Ok(read) => self.buffer.extend_from_slice(&space[..read]),
                    Err(_) => return (std::mem::take(&mut self.buffer), false),
                }
            }
        })
        .await
        .expect("the connection stayed open")
    }

    /// That nothing more comes and the connection is closed.
    pub(crate) async fn is_closed(&mut self) {
        let (rest, _) = self.rest().await;
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    async fn fill(&mut self, enough: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
        loop {
            if let Some(end) = enough(&self.buffer) {
                return Some(end);
            }
            let mut space = vec![0; 65_536];
            match self.stream.read(&mut space).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.buffer.extend_from_slice(&space[..read]),
            }
        }
    }
}
