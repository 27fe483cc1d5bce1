//! Asks the service that runs with these settings whether it is ready: what a container's health check calls, where there
//! is no other program to ask with.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::{Failure, Result};
use crate::config::Settings;

/// How long the service may take to each step of the answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Enough for a head and the reasons.
const LONGEST_ANSWER: u64 = 16 * 1024;

pub(super) fn run(settings: &Settings) -> Result<()> {
    let address = reachable(settings.ops_listen);
    let answer = ask(address).map_err(|error| {
        Failure::refused(format!("Nothing answers at {address} ({}). Is the service running?", error.kind()))
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.starts_with("HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(Failure::refused(format!("The service at {address} is not ready: {}", body.trim())))
    }
}

/// Whether a Keyfob answers there, ready or not.
pub(super) fn answers(ops: SocketAddr) -> bool {
    ask(reachable(ops)).is_ok_and(|answer| answer.contains("\"ready\":"))
}

/// A listener on every address is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(LONGEST_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_asked_on_loopback() {
        let cases = [
            ("0.0.0.0:8702", "127.0.0.1:8702"),
            ("[::]:1", "[::1]:1"),
            ("127.0.0.1:8702", "127.0.0.1:8702"),
            ("192.0.2.1:8702", "192.0.2.1:8702"),
        ];
        for (listen, asked) in cases {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
