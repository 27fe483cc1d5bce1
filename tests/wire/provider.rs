//! A provider that writes down every byte that it gets and answers what it was told to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// What to do with a request once its head is in.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// Send these bytes after the whole body is in, and keep the connection.
    Answer(Vec<u8>),
    /// Send these bytes as soon as the head is in, and keep the connection open without reading on.
    Early(Vec<u8>),
    /// Send these bytes again and again until nobody takes them.
    Flood(Vec<u8>),
    /// Send these bytes while the body is read and thrown away.
    Meanwhile(Vec<u8>),
    /// Send these pieces, waiting for a nudge before each but the first.
    Pieces(Vec<Vec<u8>>),
    /// Send these bytes and close; with TLS, without a word of the end.
    AnswerAndClose(Vec<u8>),
    /// Send these bytes and end the connection in order.
    AnswerAndEnd(Vec<u8>),
    /// Read so much of the body, send these bytes and close.
    HalfAndClose(usize, Vec<u8>),
    /// Send the first bytes, and after a nudge the others; then close.
    AnswerAndMore(Vec<u8>, Vec<u8>),
    /// Close without a byte.
    Close,
    /// Say nothing.
    Silence,
}

/// A request as it came: its head, and its body without framing.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Which connection it came on.
    pub(crate) connection: usize,
}

impl Seen {
    pub(crate) fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.head.split("\r\n").skip(1);
        lines
            .filter_map(|line| line.split_once(": "))
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
            .collect()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let lines = self.head.split("\r\n").skip(1);
        lines.filter_map(|line| line.split_once(':')).map(|(name, _)| name.to_ascii_lowercase()).collect()
    }
}

#[derive(Default)]
struct State {
    raw: Vec<u8>,
    seen: Vec<Seen>,
    scripts: VecDeque<Script>,
    connections: usize,
    closed: usize,
}

/// A connection, with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

#[derive(Clone)]
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    pub(crate) nudge: Arc<Notify>,
    changed: Arc<Notify>,
}

pub(crate) fn ok(body: &str) -> Vec<u8> {
    answer("200 OK", &[("content-type", "application/json")], body)
}

pub(crate) fn answer(status: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let headers = headers.iter().fold(String::new(), |head, (name, value)| head + name + ": " + value + "\r\n");
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The certificate in tests/data/tls, which is that of 127.0.0.1 until 2120.
fn acceptor() -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter("tests/data/tls/certificate.pem").unwrap().collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_file("tests/data/tls/key.pem").unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(ring).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(chain.unwrap(), key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

impl Provider {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    pub(crate) async fn start_tls() -> Self {
        Self::start_with(Some(acceptor())).await
    }

    async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
            nudge: Arc::default(),
            changed: Arc::default(),
        };
        let this = provider.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = {
                    let mut state = this.state.lock().unwrap();
                    state.connections += 1;
                    state.connections
                };
                let (this, tls) = (this.clone(), tls.clone());
                tokio::spawn(async move {
                    let _ = match tls {
                        None => this.serve(stream, number).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => this.serve(stream, number).await,
                            Err(error) => Err(error),
                        },
                    };
                    this.state.lock().unwrap().closed += 1;
                    this.changed.notify_waiters();
                });
            }
        });
        provider
    }

    /// What the next requests get; without a script it is `200 {}`.
    pub(crate) fn will(&self, script: Script) {
        self.state.lock().unwrap().scripts.push_back(script);
    }

    pub(crate) fn will_answer(&self, bytes: impl Into<Vec<u8>>) {
        self.will(Script::Answer(bytes.into()));
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// Forgets what came so far.
    pub(crate) fn forget(&self) {
        let mut state = self.state.lock().unwrap();
        state.seen.clear();
        state.raw.clear();
    }

    #[track_caller]
    pub(crate) fn one(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }

    /// Every byte that ever came.
    pub(crate) fn raw(&self) -> Vec<u8> {
        self.state.lock().unwrap().raw.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    pub(crate) fn closed(&self) -> usize {
        self.state.lock().unwrap().closed
    }

    /// Waits until this holds, for two seconds at most.
    pub(crate) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let wait = async {
            while !holds(self) {
                let _ = tokio::time::timeout(Duration::from_millis(20), self.changed.notified()).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(2), wait).await.expect("it never came to hold");
    }

    async fn serve<S: Stream>(&self, mut stream: S, number: usize) -> std::io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            let Some(head_end) = self.fill(&mut stream, &mut buffer, |b| find(b, b"\r\n\r\n").map(|at| at + 4)).await?
            else {
                return Ok(());
            };
            let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
            buffer.drain(..head_end);
            let script = self.state.lock().unwrap().scripts.pop_front().unwrap_or_else(|| Script::Answer(ok("{}")));
            let seen = Seen { head, body: Vec::new(), connection: number };
            let index = {
                let mut state = self.state.lock().unwrap();
                state.seen.push(seen.clone());
                state.seen.len() - 1
            };
            self.changed.notify_waiters();
            if let Script::Early(bytes) = &script {
                stream.write_all(bytes).await?;
                std::future::pending::<()>().await;
            }
            if let Script::Flood(bytes) = &script {
                loop {
                    stream.write_all(bytes).await?;
                }
            }
            if let Script::Meanwhile(bytes) = &script {
                let (mut read, mut write) = tokio::io::split(stream);
                let (mut nowhere, mut answer) = (tokio::io::sink(), &bytes[..]);
                let drained = tokio::io::copy(&mut read, &mut nowhere);
                tokio::try_join!(drained, tokio::io::copy(&mut answer, &mut write))?;
                return Ok(());
            }
            if let Script::HalfAndClose(half, bytes) = &script {
                self.fill(&mut stream, &mut buffer, |b| (b.len() >= *half).then_some(0)).await?;
                return stream.write_all(bytes).await;
            }
            let body = self.body(&mut stream, &mut buffer, &seen).await?;
            if let Some(seen) = self.state.lock().unwrap().seen.get_mut(index) {
                seen.body = body;
            }
            self.changed.notify_waiters();
            match script {
                Script::Answer(bytes) | Script::Early(bytes) => {
                    stream.write_all(&bytes).await?;
                    stream.flush().await?;
                }
                Script::AnswerAndClose(bytes) | Script::HalfAndClose(_, bytes) => {
                    stream.write_all(&bytes).await?;
                    return stream.flush().await;
                }
                Script::AnswerAndEnd(bytes) => {
                    stream.write_all(&bytes).await?;
                    return stream.shutdown().await;
                }
                Script::AnswerAndMore(bytes, more) => {
                    stream.write_all(&bytes).await?;
                    self.nudge.notified().await;
                    return stream.write_all(&more).await;
                }
                Script::Close | Script::Flood(_) | Script::Meanwhile(_) => return Ok(()),
                Script::Silence => {
                    // Until the other side gives up.
                    let _ = self.fill(&mut stream, &mut buffer, |_| None).await;
                    return Ok(());
                }
                Script::Pieces(pieces) => {
                    for (n, piece) in pieces.iter().enumerate() {
                        if n > 0 {
                            let mut space = [0; 64];
                            tokio::select! {
                                () = self.nudge.notified() => {}
                                _ = stream.read(&mut space) => return Ok(()),
                            }
                        }
                        stream.write_all(piece).await?;
                    }
                }
            }
        }
    }

    async fn body<S: Stream>(&self, stream: &mut S, buffer: &mut Vec<u8>, seen: &Seen) -> std::io::Result<Vec<u8>> {
        if let [length] = seen.values("content-length")[..] {
            let length: usize = length.parse().unwrap();
            self.fill(stream, buffer, |b| (b.len() >= length).then_some(length)).await?;
            let end = length.min(buffer.len());
            return Ok(buffer.drain(..end).collect());
        }
        let mut body = Vec::new();
        if seen.values("transfer-encoding") == ["chunked"] {
            loop {
                let Some(line) = self.fill(stream, buffer, |b| find(b, b"\r\n")).await? else { return Ok(body) };
                let size = usize::from_str_radix(std::str::from_utf8(&buffer[..line]).unwrap(), 16).unwrap();
                if self.fill(stream, buffer, |b| (b.len() >= line + 4 + size).then_some(0)).await?.is_none() {
                    return Ok(body);
                }
                body.extend_from_slice(&buffer[line + 2..line + 2 + size]);
                buffer.drain(..line + 4 + size);
                if size == 0 {
                    return Ok(body);
                }
            }
        }
        Ok(body)
    }

    /// Reads until `enough` says where; nothing at the connection's end.
    async fn fill<S: Stream>(
        &self,
        stream: &mut S,
        buffer: &mut Vec<u8>,
        enough: impl Fn(&[u8]) -> Option<usize>,
    ) -> std::io::Result<Option<usize>> {
        loop {
            if let Some(end) = enough(buffer) {
                return Ok(Some(end));
            }
            let mut space = vec![0; 65_536];
            let read = stream.read(&mut space).await?;
            if read == 0 {
                return Ok(None);
            }
            buffer.extend_from_slice(&space[..read]);
            self.state.lock().unwrap().raw.extend_from_slice(&space[..read]);
        }
    }
}

pub(crate) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
