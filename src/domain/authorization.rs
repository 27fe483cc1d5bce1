//! An authorization request that was begun and not yet answered (RFC 6749 4.1.1), and the check that its answer must pass.

use super::app::KeyHash;
use super::id::{GrantId, UserId};
use super::scope::ScopeSet;
use super::secret::{CodeVerifier, Sealed};
use super::time::Timestamp;
use super::user::Label;

/// An authorization request while the person is at the provider.
#[derive(Clone, Debug)]
pub struct AuthorizationRequest {
    /// The digest of its state.
    pub state_hash: KeyHash,
    /// Who began it.
    pub user: UserId,
    /// The digest of what tells the browser that began it from others.
    pub browser_hash: KeyHash,
    /// The grant that it renews or widens; none for a new one.
    pub grant: Option<GrantId>,
    /// What the grant will be called.
    pub label: Label,
    /// What was asked for.
    pub scopes: ScopeSet,
    /// The code verifier (RFC 7636), sealed.
    pub verifier: Sealed<CodeVerifier>,
    /// The redirect URI that was sent, to be repeated at the token endpoint.
    pub redirect_uri: String,
    /// Where in Keyfob to go afterwards.
    pub return_to: Option<String>,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// Until when an answer is taken.
    pub expires_at: Timestamp,
}

/// Why an answer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unaccepted {
    /// It came too late.
    Late,
    /// It came in another browser, or to another user, than the request was begun by.
    Elsewhere,
    /// It names another issuer than the one that was asked (RFC 9207).
    OtherIssuer,
}

/// A request whose answer may be acted on: only [`AuthorizationRequest::accept`] makes one.
#[derive(Debug)]
pub struct AcceptedRequest(AuthorizationRequest);

impl AuthorizationRequest {
    /// Whether this browser and this user began it.
    #[must_use]
    pub fn was_begun_by(&self, browser_hash: KeyHash, user: UserId) -> bool {
        self.browser_hash == browser_hash && self.user == user
    }

    /// Checks an answer: in time, in the same browser, to the same user, from the issuer that was asked.
    ///
    /// # Errors
    /// [`Unaccepted`]
    pub fn accept(
        self,
        browser_hash: KeyHash,
        user: UserId,
        issuer_is_asked: bool,
        now: Timestamp,
    ) -> Result<AcceptedRequest, Unaccepted> {
        if !self.was_begun_by(browser_hash, user) {
            Err(Unaccepted::Elsewhere)
        } else if now >= self.expires_at {
            Err(Unaccepted::Late)
        } else if !issuer_is_asked {
            Err(Unaccepted::OtherIssuer)
        } else {
            Ok(AcceptedRequest(self))
        }
    }
}

impl AcceptedRequest {
    /// The request.
    #[must_use]
    pub const fn request(&self) -> &AuthorizationRequest {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Id;

    #[test]
    fn only_the_right_browser_user_time_and_issuer_are_accepted() {
        let now = Timestamp::from_secs(1_000);
        let (mine, other) = (Id::from_bytes([1; 16]), Id::from_bytes([2; 16]));
        let browser = KeyHash::of(b"browser");
        let request = AuthorizationRequest {
            state_hash: KeyHash::of(b"state"),
            user: mine,
            browser_hash: browser,
            grant: None,
            label: "car".parse().unwrap(),
            scopes: ScopeSet::ALL,
            verifier: Sealed::from_envelope(vec![]),
            redirect_uri: String::new(),
            return_to: None,
            begun_at: now,
            expires_at: now.plus_millis(10),
        };
        let check = |browser, user, issuer, at| request.clone().accept(browser, user, issuer, at).map(drop);
        assert_eq!(check(browser, mine, true, now), Ok(()));
        assert_eq!(check(KeyHash::of(b"elsewhere"), mine, true, now), Err(Unaccepted::Elsewhere));
        assert_eq!(check(browser, other, true, now), Err(Unaccepted::Elsewhere));
        assert_eq!(check(browser, mine, false, now), Err(Unaccepted::OtherIssuer));
        assert_eq!(check(browser, mine, true, now.plus_millis(10)), Err(Unaccepted::Late));
    }
}
