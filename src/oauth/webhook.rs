//! One POST to an address that the operator named, by the same careful transport: no redirects, no proxies, a time-out,
//! and nothing of the address in what is said of a failure, since it may hold a secret.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use url::Url;

use super::transport::{NotSent, Outcome, Transport, TransportError};
use crate::ambient::Clock;

/// An address that is told of something by JSON.
#[derive(Clone, Debug)]
pub struct Webhook {
    transport: Transport,
    address: Url,
}

/// Why an address was not told, or may not have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTold {
    /// Nothing was sent.
    #[error("nothing was sent: {0}")]
    NotSent(NotSent),
    /// There was no answer in time.
    #[error("there was no answer in time")]
    NoAnswer,
    /// The answer was no success.
    #[error("it answered with status {0}")]
    Refused(u16),
}

impl Webhook {
    /// A webhook that gives up after `timeout`.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn new(
        address: Url,
        tls: rustls::ClientConfig,
        timeout: Duration,
        clock: Clock,
    ) -> Result<Self, TransportError> {
        Ok(Self { transport: Transport::new(tls, timeout, clock)?, address })
    }

    /// Posts a JSON document, once.
    ///
    /// # Errors
    /// [`NotTold`]
    pub async fn post(&self, json: Vec<u8>) -> Result<(), NotTold> {
        let request = http::Request::post(self.address.as_str())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "*/*")
            .body(json)
            .map_err(|_| NotTold::NotSent(NotSent::Connection))?;
        match self.transport.send(request).await {
            Outcome::Answered(answer) if (200..300).contains(&answer.status) => Ok(()),
            Outcome::Answered(answer) => Err(NotTold::Refused(answer.status)),
            Outcome::NotSent(why) => Err(NotTold::NotSent(why)),
            Outcome::TimedOut | Outcome::Cut => Err(NotTold::NoAnswer),
        }
    }
}
