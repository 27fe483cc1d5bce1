//! The reverse proxy, on its own listener: who calls, what they need, whether they may, which token, and on it goes.
//!
//! A call passes through these in this order.

/// The answer's body as the app gets it.
mod answer;
/// One call, all the way.
mod call;
/// What a compressed body decodes to.
mod coding;
/// Writes that leave together.
mod cork;
/// No token in a body.
mod echo;
/// What is remembered of a call.
mod ending;
/// An allowed call to the provider and back.
mod forward;
/// Where an answer's body ends.
mod framing;
/// A look at a raw head.
mod head;
/// The answer's headers.
mod incoming;
/// The key that a request shows.
mod key;
/// The threads that calls run on.
mod lanes;
/// Whether a running call may go on.
mod lease;
/// The accept loop.
mod listener;
/// What hyper's client makes of the same bytes.
#[cfg(any(test, fuzzing))]
pub mod oracle;
/// Which hosts and pages may call.
mod origin;
/// The request as the provider gets it.
mod outgoing;
/// The client towards the provider.
mod provider;
/// What a connection waits for.
mod pulse;
/// The answer's body as it comes.
mod received;
/// What the proxy answers itself.
mod refusal;
/// The head of the provider's answer.
mod response;
/// The request on its way out.
mod sending;
/// Its body.
mod sent;
/// What is set.
mod settings;
/// One body after the other.
mod turn;
/// The socket: only approved heads pass.
mod wire;

pub use incoming::{Addresses, filter};
pub use listener::serve;
pub use outgoing::dress;
pub use pulse::Patience;
pub use settings::{ProxySettings, SettingsError};
