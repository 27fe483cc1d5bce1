//! Whether the provider's servers answer at all, and what time it is there: for the operator's check.

use super::client::{Client, Timing};
use super::transport::Outcome;

/// One of the provider's servers, asked once.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Its origin.
    pub origin: String,
    /// The status of its answer, or why there was none.
    pub answer: Result<u16, String>,
    /// By how many milliseconds its clock is ahead of this machine's own, if it told its time.
    pub clock_ahead: Option<i64>,
}

impl Client {
    /// Asks the API and the MCP server for a public document each; no token is sent. Any answer counts.
    pub async fn reach(&self) -> [Reach; 2] {
        let [api, mcp] = [&self.places().api, &self.places().mcp];
        [self.reach_one(api, "/api/software").await, self.reach_one(mcp, mcp.path()).await]
    }

    /// By how many milliseconds the provider's clock is ahead of this machine's own; nothing where it can't be asked. No
    /// token is sent.
    pub async fn clock_ahead(&self) -> Option<i64> {
        self.reach_one(&self.places().api, "/api/software").await.clock_ahead
    }

    async fn reach_one(&self, server: &url::Url, path: &str) -> Reach {
        let mut address = server.clone();
        address.set_path(path);
        let origin = server.origin().ascii_serialization();
        let Ok(request) = http::Request::get(address.as_str()).header("accept", "application/json").body(Vec::new())
        else {
            return Reach { origin, answer: Err("its address can't be asked".to_owned()), clock_ahead: None };
        };
        let timing = Timing::start(self.transport().clock());
        let outcome = self.transport().send(request).await;
        let answer = match &outcome {
            Outcome::Answered(answer) => Ok(answer.status),
            Outcome::NotSent(why) => Err(why.to_string()),
            Outcome::TimedOut => Err("it did not answer in time".to_owned()),
            Outcome::Cut => Err("the connection ended before an answer".to_owned()),
        };
        Reach { origin, answer, clock_ahead: timing.reply(&outcome).clock_ahead }
    }
}
