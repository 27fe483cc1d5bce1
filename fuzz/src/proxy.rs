//! What reads the provider's answers, as it stands in the proxy.

#[path = "../../src/proxy/framing.rs"]
mod framing;
#[path = "../../src/proxy/oracle.rs"]
pub mod oracle;
#[path = "../../src/proxy/response.rs"]
mod response;
