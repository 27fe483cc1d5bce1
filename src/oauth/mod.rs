//! The protocol, as a client: authorization URL, code exchange, refresh, revocation, probes, discovery.
//!
//! `oauth2` makes the requests and `reqwest` sends them; both stay in here. Answers are read by our own lenient parser,
//! since a rotated refresh token that is refused for the sake of form is a lost grant.

mod callback;
mod client;
mod discovery;
mod error;
mod probe;
mod reach;
mod response;
mod transport;
mod webhook;

pub use callback::{AuthorizationError, BadCallback, Callback};
pub use client::{Client, ClientSettings, NoRegistration, Prompt, Registration, Reply, Revocation};
pub use discovery::{Discovery, EndpointSource, Endpoints, ForeignAddress, Places};
pub use error::{ConfigurationFault, Doubt, Hint, TokenError, TransientFault};
pub use probe::{PastedCheck, Probe};
pub use reach::Reach;
pub use response::{Claims, Oddity, TokenAnswer};
pub use transport::{NotSent, TransportError, tls_config};
pub use webhook::{NotTold, Webhook};

#[cfg(test)]
mod tests;
