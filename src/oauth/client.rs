//! What Keyfob asks of the provider's authorization server.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oauth2::basic::BasicClient;
use oauth2::{
    AuthType, AuthUrl, ClientId, CsrfToken, EndpointNotSet, EndpointSet, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, TokenUrl,
};
use url::Url;
use zeroize::Zeroizing;

use super::discovery::{self, Discovery, Endpoints, ForeignAddress, Places};
use super::error::{self, TokenError};
use super::response::TokenAnswer;
use super::transport::{Outcome, Transport, TransportError};
use crate::ambient::{Clock, Entropy};
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{
    AccessToken, AuthorizationCode, ClientSecret, CodeVerifier, RefreshToken, Secret, SecretKind, State,
};
use crate::domain::time::Timestamp;

/// Our registration at the provider (RFC 6749 2).
#[derive(Clone, Debug)]
pub struct Registration {
    /// The client id.
    pub client_id: String,
    /// The client secret; a public client has none.
    pub client_secret: Option<Secret<ClientSecret>>,
}

/// What a [`Client`] is made of.
#[derive(Debug)]
pub struct ClientSettings {
    /// The provider's addresses.
    pub places: Places,
    /// Our registration; without one only pasted tokens can be used.
    pub registration: Option<Registration>,
    /// `KEYFOB_TOKEN_TIMEOUT`: how long an answer may take.
    pub timeout: Duration,
    /// TLS towards the provider, from [`super::tls_config`].
    pub tls: rustls::ClientConfig,
}

/// There is no client id, or the endpoints are not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRegistration {
    /// `KEYFOB_OAUTH_CLIENT_ID` is not set.
    #[error("no OAuth application is configured: set KEYFOB_OAUTH_CLIENT_ID")]
    NoClientId,
    /// Discovery has not found the endpoints.
    #[error("Teslascope's OAuth endpoints are not known yet: try again in a moment")]
    NoEndpoints,
    /// A value that no provider takes, by its name.
    #[error("the {0} is malformed")]
    Malformed(&'static str),
}

/// What the provider is to do although it may have seen this person before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Show its consent page, also when it has authorized the same before.
    Consent,
    /// Let the person sign in again.
    Login,
}

/// What came of a token request, and what was seen on the way.
#[derive(Debug)]
pub struct Reply {
    /// The tokens, or why there are none.
    pub outcome: Result<TokenAnswer, TokenError>,
    /// The moment before the request was sent: `expires_in` counts from here.
    pub sent_at: Timestamp,
    /// By how many milliseconds the provider's clock is ahead of this machine's own, to the second, if it told its time.
    pub clock_ahead: Option<i64>,
    /// The status, if an answer came.
    pub status: Option<u16>,
    /// How long it took.
    pub took: Duration,
}

/// What came of a revocation (RFC 7009).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// The provider has revoked the token.
    Revoked,
    /// The provider has no revocation endpoint: the token lives on there until it expires.
    NotOffered,
    /// The provider did not confirm it: the token may live on there.
    Failed,
}

type OAuth = BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// A client of the provider. A clone is the same client.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    transport: Transport,
    places: Places,
    registration: Option<Registration>,
    endpoints: ArcSwapOption<Endpoints>,
}

impl Client {
    /// A client that does not know the endpoints yet.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn new(settings: ClientSettings, clock: Clock) -> Result<Self, TransportError> {
        let transport = Transport::new(settings.tls, settings.timeout, clock)?;
        Ok(Self(Arc::new(Inner {
            transport,
            places: settings.places,
            registration: settings.registration,
            endpoints: ArcSwapOption::empty(),
        })))
    }

    /// Looks for the provider's endpoints, without using them yet.
    ///
    /// # Errors
    /// A setting names an address that is not the provider's.
    pub async fn discover(&self) -> Result<Discovery, ForeignAddress> {
        discovery::discover(&self.0.transport, &self.0.places).await
    }

    /// Uses these endpoints from now on.
    pub fn pin(&self, endpoints: Endpoints) {
        self.0.endpoints.store(Some(Arc::new(endpoints)));
    }

    /// The endpoints in use, if they are known.
    #[must_use]
    pub fn endpoints(&self) -> Option<Arc<Endpoints>> {
        self.0.endpoints.load_full()
    }

    /// The client id, if there is one.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.0.registration.as_ref().map(|registration| registration.client_id.as_str())
    }

    /// How long an answer may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.0.transport.timeout()
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.0.transport
    }

    pub(super) fn places(&self) -> &Places {
        &self.0.places
    }

    /// A state of 256 random bits (RFC 6749 10.12).
    #[must_use]
    pub fn new_state(entropy: &Entropy) -> Secret<State> {
        random(entropy)
    }

    /// A code verifier of 256 random bits (RFC 7636 4.1).
    #[must_use]
    pub fn new_verifier(entropy: &Entropy) -> Secret<CodeVerifier> {
        random(entropy)
    }

    /// Where to send the browser (RFC 6749 4.1.1), always with S256 (RFC 7636) and always with `scope`: the provider gives
    /// a token without any scope to a request without it.
    ///
    /// # Errors
    /// There is no registration, or the endpoints are not known.
    pub fn authorization_url(
        &self,
        state: &Secret<State>,
        verifier: &Secret<CodeVerifier>,
        scopes: ScopeSet,
        redirect_uri: &str,
        prompt: Option<Prompt>,
    ) -> Result<Url, NoRegistration> {
        let client = self.oauth()?;
        let state = state.expose_str().ok_or(NoRegistration::Malformed("state"))?.to_owned();
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&pkce(verifier)?);
        let mut request = client
            .authorize_url(|| CsrfToken::new(state))
            .set_redirect_uri(Cow::Owned(redirect(redirect_uri)?))
            .set_pkce_challenge(challenge);
        for scope in scopes.iter() {
            request = request.add_scope(oauth2::Scope::new(scope.as_str().to_owned()));
        }
        if let Some(prompt) = prompt {
            let prompt = match prompt {
                Prompt::Consent => "consent",
                Prompt::Login => "login",
            };
            request = request.add_extra_param("prompt", prompt);
        }
        Ok(request.url().0)
    }

    /// Exchanges a code for tokens (RFC 6749 4.1.3).
    ///
    /// # Errors
    /// There is no registration, or the endpoints are not known: nothing was sent.
    pub async fn exchange(
        &self,
        code: &Secret<AuthorizationCode>,
        verifier: &Secret<CodeVerifier>,
        redirect_uri: &str,
    ) -> Result<Reply, NoRegistration> {
        let client = self.oauth()?;
        let code = code.expose_str().ok_or(NoRegistration::Malformed("authorization code"))?;
        let request = client
            .exchange_code(oauth2::AuthorizationCode::new(code.to_owned()))
            .set_pkce_verifier(pkce(verifier)?)
            .set_redirect_uri(Cow::Owned(redirect(redirect_uri)?));
        let timing = Timing::start(self.transport().clock());
        let catch = self.transport().catch();
        // The error is only that nothing was handed over; it is never looked at, since it could hold a body.
        let _ = request.request_async(&catch).await;
        Ok(timing.reply(&catch.into_outcome()))
    }

    /// Spends a refresh token (RFC 6749 6). `scope` is never sent: a narrower one would be for ever.
    ///
    /// # Errors
    /// There is no registration, or the endpoints are not known: nothing was sent.
    pub async fn refresh(&self, token: &Secret<RefreshToken>) -> Result<Reply, NoRegistration> {
        let client = self.oauth()?;
        let token = token.expose_str().ok_or(NoRegistration::Malformed("refresh token"))?;
        let token = oauth2::RefreshToken::new(token.to_owned());
        let request = client.exchange_refresh_token(&token);
        let timing = Timing::start(self.transport().clock());
        let catch = self.transport().catch();
        // As above.
        let _ = request.request_async(&catch).await;
        Ok(timing.reply(&catch.into_outcome()))
    }

    /// Revokes a refresh token at the provider (RFC 7009 2.1).
    pub async fn revoke_refresh_token(&self, token: &Secret<RefreshToken>) -> Revocation {
        self.revoke(token.expose_str(), "refresh_token").await
    }

    /// Revokes an access token at the provider.
    pub async fn revoke_access_token(&self, token: &Secret<AccessToken>) -> Revocation {
        self.revoke(token.expose_str(), "access_token").await
    }

    /// By hand, since `oauth2` refuses plain http also on loopback.
    async fn revoke(&self, token: Option<&str>, hint: &str) -> Revocation {
        let endpoints = self.endpoints();
        let Some(address) = endpoints.as_deref().and_then(|endpoints| endpoints.revoke.as_ref()) else {
            return Revocation::NotOffered;
        };
        let (Some(token), Some(registration)) = (token, self.0.registration.as_ref()) else {
            return Revocation::Failed;
        };
        let body = {
            let mut form = url::form_urlencoded::Serializer::new(String::with_capacity(4096));
            form.append_pair("token", token).append_pair("token_type_hint", hint);
            form.append_pair("client_id", &registration.client_id);
            if let Some(secret) = registration.client_secret.as_ref().and_then(Secret::expose_str) {
                form.append_pair("client_secret", secret);
            }
            form.finish().into_bytes()
        };
        let request = http::Request::post(address.as_str())
            .header(http::header::ACCEPT, "application/json")
            .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        let Ok(request) = request else { return Revocation::Failed };
        match self.transport().send(request).await {
            Outcome::Answered(answer) if matches!(answer.status, 200..=204) => Revocation::Revoked,
            _ => Revocation::Failed,
        }
    }

    fn oauth(&self) -> Result<OAuth, NoRegistration> {
        let registration = self.0.registration.as_ref().ok_or(NoRegistration::NoClientId)?;
        let endpoints = self.endpoints().ok_or(NoRegistration::NoEndpoints)?;
        let mut client = BasicClient::new(ClientId::new(registration.client_id.clone()))
            .set_auth_type(AuthType::RequestBody)
            .set_auth_uri(AuthUrl::from_url(endpoints.authorize.clone()))
            .set_token_uri(TokenUrl::from_url(endpoints.token.clone()));
        if let Some(secret) = registration.client_secret.as_ref().and_then(Secret::expose_str) {
            client = client.set_client_secret(oauth2::ClientSecret::new(secret.to_owned()));
        }
        Ok(client)
    }
}

/// 256 random bits in base64url: 43 characters, as RFC 7636 wants them.
fn random<K: SecretKind>(entropy: &Entropy) -> Secret<K> {
    let bytes = Zeroizing::new(entropy.bytes::<32>());
    Secret::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()))
}

/// `oauth2` panics on a verifier of another length than RFC 7636 4.1 allows.
fn pkce(verifier: &Secret<CodeVerifier>) -> Result<PkceCodeVerifier, NoRegistration> {
    let text = verifier.expose_str().filter(|text| (43..=128).contains(&text.len()));
    Ok(PkceCodeVerifier::new(text.ok_or(NoRegistration::Malformed("code verifier"))?.to_owned()))
}

fn redirect(redirect_uri: &str) -> Result<RedirectUrl, NoRegistration> {
    RedirectUrl::new(redirect_uri.to_owned()).map_err(|_| NoRegistration::Malformed("redirect address"))
}

pub(super) struct Timing<'c> {
    clock: &'c Clock,
    sent_at: Timestamp,
    uncorrected: Timestamp,
    started: Duration,
}

impl<'c> Timing<'c> {
    pub(super) fn start(clock: &'c Clock) -> Self {
        Self { clock, sent_at: clock.now(), uncorrected: clock.uncorrected(), started: clock.elapsed() }
    }

    pub(super) fn reply(self, outcome: &Outcome) -> Reply {
        let took = self.clock.elapsed().saturating_sub(self.started);
        let (status, date) = match outcome {
            Outcome::Answered(answer) => (Some(answer.status), answer.date),
            _ => (None, None),
        };
        // The provider's time was some moment between sending and now: within that it is not ahead at all.
        let ended = self.uncorrected.plus(took);
        let clock_ahead = date.map(|date| {
            let (date, next) = (date.millis(), date.millis().saturating_add(999));
            if date > ended.millis() {
                date.saturating_sub(ended.millis())
            } else if next < self.uncorrected.millis() {
                next.saturating_sub(self.uncorrected.millis())
            } else {
                0
            }
        });
        Reply { outcome: error::judge(outcome), sent_at: self.sent_at, clock_ahead, status, took }
    }
}
