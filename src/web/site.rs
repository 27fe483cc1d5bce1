//! Where these pages are: the one canonical address, its prefix, and the hosts that are ours.

use std::net::IpAddr;
use std::sync::Arc;

use http::uri::Authority;

/// The address under which browsers see the pages. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Site(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `scheme://host[:port]`.
    origin: String,
    /// `host[:port]`, lower case, as the `Host` header has it.
    authority: String,
    /// The path prefix without a slash at its end; empty without one.
    base: String,
    secure: bool,
}

/// What a `Host` is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostIs {
    /// The public URL's.
    Canonical,
    /// Loopback, or the public host under another port.
    Ours,
    /// Somebody else's name.
    Foreign,
}

impl Site {
    /// The site at a public URL (`KEYFOB_PUBLIC_URL`), which was checked when the settings were read.
    #[must_use]
    pub fn new(public_url: &str) -> Self {
        let rest = public_url.split_once("://").map_or("", |(_, rest)| rest);
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let origin = &public_url[..public_url.len() - path.len()];
        Self(Arc::new(Inner {
            authority: authority.to_ascii_lowercase(),
            origin: origin.to_ascii_lowercase(),
            base: path.trim_end_matches('/').to_owned(),
            secure: public_url.starts_with("https:"),
        }))
    }

    /// The path prefix, to be put before every path of ours.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.0.base
    }

    /// `scheme://host[:port]` of the public URL.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// Whether browsers come over https.
    #[must_use]
    pub fn secure(&self) -> bool {
        self.0.secure
    }

    /// A page's full public address.
    #[must_use]
    pub fn address(&self, path: &str) -> String {
        format!("{}{}{path}", self.0.origin, self.0.base)
    }

    /// The name of a cookie of ours: `__Host-` (RFC 6265bis 4.1.3.2) wherever the public URL is https.
    pub(crate) fn cookie(&self, name: &str) -> String {
        if self.0.secure { format!("__Host-{name}") } else { name.to_owned() }
    }

    pub(crate) fn host(&self, host: &str) -> HostIs {
        // `Authority` takes user info, which has no place in a Host (RFC 9110 7.2).
        let Some(authority) = host.parse::<Authority>().ok().filter(|_| !host.contains('@')) else {
            return HostIs::Foreign;
        };
        // It also takes a port that is none.
        if authority.host().len() < host.len() && authority.port_u16().is_none() {
            return HostIs::Foreign;
        }
        let given = host.to_ascii_lowercase();
        let default_port = if self.0.secure { ":443" } else { ":80" };
        if given == self.0.authority || given.strip_suffix(default_port) == Some(&self.0.authority) {
            return HostIs::Canonical;
        }
        let name = authority.host().to_ascii_lowercase();
        let public = self.0.authority.parse::<Authority>().is_ok_and(|own| own.host() == name);
        if public || is_loopback(&name) { HostIs::Ours } else { HostIs::Foreign }
    }
}

fn is_loopback(name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The longest path to go to: a form for a new app stands in one, with a name of 80 characters, each of which takes up to twelve.
const LONGEST: usize = 2_048;

/// A path of our own to go to: it starts with one slash, and no browser can read it as another host.
#[must_use]
pub(crate) fn local_path(text: &str) -> Option<&str> {
    let good = text.starts_with('/')
        && !text.starts_with("//")
        && text.len() <= LONGEST
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    good.then_some(text)
}

/// A path of our own that remembers where to go back to.
#[must_use]
pub(crate) fn with_next(path: String, next: Option<&str>) -> String {
    let Some(next) = next else { return path };
    let sign = if path.contains('?') { '&' } else { '?' };
    let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
    format!("{path}{sign}next={next}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(url: &str) -> Site {
        Site::new(url)
    }

    #[test]
    fn only_our_own_names_are_hosts() {
        let site = site("https://home.example/keyfob/");
        assert_eq!(site.base(), "/keyfob");
        assert_eq!(site.address("/setup"), "https://home.example/keyfob/setup");
        for host in ["home.example", "HOME.example", "home.example:443"] {
            assert_eq!(site.host(host), HostIs::Canonical, "{host}");
        }
        for host in ["home.example:8700", "localhost:8700", "127.0.0.1", "127.9.9.9:1", "[::1]:8700"] {
            assert_eq!(site.host(host), HostIs::Ours, "{host}");
        }
        for host in
            ["", "evil.example", "home.example.", "a@localhost", "localhost.evil", "0.0.0.0", "localhost:x", "[::2]"]
        {
            assert_eq!(site.host(host), HostIs::Foreign, "{host}");
        }
    }

    #[test]
    fn https_names_cookies_for_the_host_only() {
        assert_eq!(site("https://home.example").cookie("keyfob_session"), "__Host-keyfob_session");
        assert_eq!(site("http://localhost:8700").cookie("keyfob_session"), "keyfob_session");
    }

    #[test]
    fn a_return_path_stays_here() {
        assert_eq!(local_path("/grants/1?x=%2f"), Some("/grants/1?x=%2f"));
        for bad in ["", "grants", "//evil", "/\\evil", "https://evil", "/a\tb", "/a\r\nb", "/ä"] {
            assert_eq!(local_path(bad), None, "{bad}");
        }
        assert_eq!(local_path(&format!("/{}", "a".repeat(LONGEST))), None);
    }
}
