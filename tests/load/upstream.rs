//! A provider that answers at once: JSON, a stream of events, or as many bytes as are asked for, compressed or not.

use std::io::Read as _;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a vehicle's answer weighs.
const BODY: usize = 1_000;

/// A megabyte of zeros in gzip, which may come again and again.
pub(crate) fn megabyte_of_zeros() -> Vec<u8> {
    let mut coded = Vec::new();
    flate2::read::GzEncoder::new(&*vec![0; 1_048_576], flate2::Compression::best()).read_to_end(&mut coded).unwrap();
    coded
}

/// Starts it; it ends with the test.
pub(crate) async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let json = format!("{{\"response\":\"{}\"}}", "p".repeat(BODY));
    let json =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{json}", json.len());
    // What is sent must not be what was read: the token is in that.
    let (mut buffer, mut space, filler) = (Vec::new(), vec![0; 64 * 1024], vec![b'.'; 64 * 1024]);
    loop {
        let end = loop {
            if let Some(at) = memchr::memmem::find(&buffer, b"\r\n\r\n") {
                break at + 4;
            }
            let read = stream.read(&mut space).await?;
            if read == 0 {
                return Ok(());
            }
            buffer.extend_from_slice(&space[..read]);
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut left = length.map_or(0, |length| length.parse::<usize>().unwrap()).saturating_sub(buffer.len());
        buffer.clear();
        while left > 0 {
            left -= stream.read(&mut space).await?.min(left);
        }
        let target = head.split(' ').nth(1).unwrap_or_default();
        if target.starts_with("/mcp") {
            let begin = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(format!("{begin}8\r\ndata:0\n\n\r\n").as_bytes()).await?;
            // Until the other side goes.
            while stream.read(&mut space).await? > 0 {}
            return Ok(());
        }
        if let Some((_, bytes)) = target.split_once("?bytes=") {
            let mut left: usize = bytes.parse().unwrap();
            stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {left}\r\n\r\n").as_bytes()).await?;
            while left > 0 {
                let now = left.min(filler.len());
                stream.write_all(&filler[..now]).await?;
                left -= now;
            }
            continue;
        }
        if let Some((_, megabytes)) = target.split_once("?zeros=") {
            let body = megabyte_of_zeros().repeat(megabytes.parse().unwrap());
            let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), &body].concat()).await?;
            continue;
        }
        if target.starts_with("/api/vehicle/slow") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stream.write_all(json.as_bytes()).await?;
    }
}
