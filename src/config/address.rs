//! Addresses: URLs that others are told, networks that are trusted, origins that may call.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

use super::fault::{Bad, quoted};

/// The URL under which something is reached: scheme, host, port, and maybe a path prefix; never a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// Reads one. No user, query or fragment.
    pub(super) fn parse(text: &str) -> Result<Self, Bad> {
        let url = parse_url(text)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Bad::new("is not an http: or https: URL", "write it as https://host or http://host:port"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Bad::new("has a query or a fragment", "leave out what begins with ? or #"));
        }
        // A prefix is compared with what is asked for, byte for byte: only one spelling of it may exist.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '.' | '_' | '~');
        if !url.path().chars().all(plain) || url.path().contains("//") {
            return Err(Bad::new("has an unusual path", "use letters, digits, - . _ ~ between single slashes"));
        }
        Ok(Self(url))
    }

    /// One that is written in this program.
    #[expect(clippy::expect_used, reason = "its callers pass literals, with at most a port in them")]
    pub(super) fn known(text: &str) -> Self {
        Self::parse(text).expect("a URL of our own is well-formed")
    }

    /// As a URL.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.0
    }

    /// This URL with another port.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        let mut url = self.0.clone();
        // Fails only for URLs without a host, which this never is.
        let _ = url.set_port(Some(port));
        Self(url)
    }

    /// The whole of it, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// `scheme://host`, with the port where it is not the scheme's own.
    #[must_use]
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// The host as it stands in a `Host` header without its port, in lower case; an IPv6 address has its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The port, the scheme's own where none was written.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(80)
    }

    /// The path prefix: empty, or with a slash at its beginning and none at its end.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.0.path().trim_end_matches('/')
    }

    /// Whether it is reached over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether its host is `localhost` or a loopback address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }

    /// The address of something below it; `path` begins with a slash.
    #[must_use]
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.as_str())
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A URL with a host and no user in it.
pub(super) fn parse_url(text: &str) -> Result<Url, Bad> {
    let url = Url::parse(text).map_err(|_| Bad::new("is not a URL", "write it as https://host/path"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Bad::new("has a user or a password in it", "leave out what stands before the @"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Bad::new("has no host", "write it as https://host/path"));
    }
    Ok(url)
}

/// Whether the URL's host is `localhost` or a loopback address.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
        None => false,
    }
}

/// Where to listen: an IP address or `localhost`, and a port.
pub(super) fn parse_listen(text: &str) -> Result<SocketAddr, Bad> {
    let spelled = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    spelled.as_deref().unwrap_or(text).parse().map_err(|_| {
        Bad::new(
            format!("{} is not an address to listen on", quoted(text)),
            "write an IP address and a port, like 127.0.0.1:8700",
        )
    })
}

/// An address or a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads `10.0.0.7`, `10.0.0.0/8`, `::1` or `fd00::/8`.
    pub(super) fn parse(text: &str) -> Result<Self, Bad> {
        let bad = || {
            Bad::new(format!("{} is not an address or a network", quoted(text)), "write it like 10.0.0.7 or 10.0.0.0/8")
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(bad)?,
        };
        if bits == 0 {
            return Err(Bad::new(
                format!("{} would believe everyone", quoted(text)),
                "name the reverse proxy's own address",
            ));
        }
        Ok(Self { address, bits })
    }

    /// Whether the address lies in it. An IPv4 address in IPv6 clothes is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (u32::from(a) ^ u32::from(b)).leading_zeros() >= u32::from(self.bits.min(32))
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a) ^ u128::from(b)).leading_zeros() >= u32::from(self.bits),
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// A web origin (RFC 6454), spelled the way browsers send it.
pub(super) fn parse_origin(text: &str) -> Result<String, Bad> {
    let mend = "write it like https://dash.example or http://192.168.1.5:3000";
    let url = parse_url(text).map_err(|_| Bad::new(format!("{} is not an origin", quoted(text)), mend))?;
    let whole = matches!(url.scheme(), "http" | "https")
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && !text.contains('*');
    if !whole {
        return Err(Bad::new(format!("{} is more or less than an origin", quoted(text)), mend));
    }
    Ok(url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_has_one_spelling() {
        for (text, whole, prefix) in [
            ("https://Keyfob.Example:443/", "https://keyfob.example", ""),
            ("https://keyfob.example/kf/", "https://keyfob.example/kf", "/kf"),
            ("http://[::1]:8700", "http://[::1]:8700", ""),
        ] {
            let url = BaseUrl::parse(text).unwrap();
            assert_eq!((url.as_str(), url.prefix()), (whole, prefix), "{text}");
        }
        for bad in [
            "",
            "x",
            "ftp://a",
            "https://u:p@a",
            "https://a?b",
            "https://a#b",
            "https://a/b//c",
            "https://a/%41",
            "http:",
        ] {
            assert!(BaseUrl::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(BaseUrl::parse("https://a/kf").unwrap().join("/setup"), "https://a/kf/setup");
    }

    #[test]
    fn loopback_is_told_from_names_that_look_like_it() {
        for yes in ["http://localhost", "http://127.0.0.2:1", "http://[::1]", "http://[::ffff:127.0.0.1]"] {
            assert!(BaseUrl::parse(yes).unwrap().is_loopback(), "{yes}");
        }
        for no in ["http://localhost.evil", "http://127.0.0.1.evil", "http://10.0.0.1", "http://[::2]"] {
            assert!(!BaseUrl::parse(no).unwrap().is_loopback(), "{no}");
        }
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let net = Network::parse("10.1.0.0/16").unwrap();
        assert!(net.contains("10.1.255.1".parse().unwrap()) && net.contains("::ffff:10.1.0.9".parse().unwrap()));
        assert!(!net.contains("10.2.0.1".parse().unwrap()) && !net.contains("fd00::1".parse().unwrap()));
        assert!(Network::parse("::1").unwrap().contains("::1".parse().unwrap()));
        assert!(!Network::parse("fd00::/8").unwrap().contains("fe00::1".parse().unwrap()));
        for bad in ["0.0.0.0/0", "::/0", "10.0.0.0/33", "10.0.0/8", "host", "10.0.0.0/-1", "10.0.0.0/"] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_are_spelled_as_browsers_send_them() {
        assert_eq!(parse_origin("HTTPS://Dash.Example:443/").unwrap(), "https://dash.example");
        for bad in ["*", "null", "https://*.example", "https://a/b", "dash.example", "file:///x"] {
            assert!(parse_origin(bad).is_err(), "{bad}");
        }
    }
}
