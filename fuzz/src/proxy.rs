//! What reads the provider's answers, as it stands in the proxy.

#[path = "../../src/proxy/framing.rs"]
mod framing;
#[path = "../../src/proxy/oracle.rs"]
pub mod oracle;
#[path = "../../src/proxy/response.rs"]
mod response;

/// The one thing that these need of a module which needs the whole broker.
mod outgoing {
    use http::{HeaderMap, HeaderName, HeaderValue};

    pub(super) fn every<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a HeaderValue> {
        headers.get_all(name).iter()
    }
}
