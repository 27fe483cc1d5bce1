//! `/oauth/authorize`: who may ask, and what the person says to it (RFC 6749 4.1.1, RFC 7636).

use super::Consent;
use super::answer::{Answer, Content, OAuthError, Outcome, with_query};
use super::call::Call;
use super::config::Client;
use super::mint::{Digest, form_token};
use super::pages;
use super::serve::Shared;
use super::session;
use super::tokens::{Challenge, Code};
use crate::domain::scope::{Scope, ScopeSet};

/// An authorization request that passed all checks.
#[derive(Clone)]
pub(super) struct Asked {
    pub client: String,
    pub client_name: String,
    /// Where the answer goes.
    redirect_uri: String,
    /// Whether the request named it; the token request must then name it too.
    redirect_named: bool,
    state: Option<String>,
    pub scopes: ScopeSet,
    challenge: Option<Challenge>,
    /// The request's own path and query.
    pub target: String,
}

/// An error, and where it goes: to the client where its redirect URI is proven, else to the browser.
enum Refusal {
    Here(OAuthError),
    Redirect(OAuthError, String),
}

/// Checks in league's order, so that the same fault is named first.
fn check(shared: &Shared, call: &Call) -> Result<Asked, Refusal> {
    use Refusal::{Here, Redirect};
    if call.query("response_type").as_deref() != Some("code") {
        return Err(Here(OAuthError::unsupported_grant_type()));
    }
    let id = call.query("client_id").ok_or_else(|| Here(OAuthError::missing("client_id")))?;
    let client = shared.client(&id).ok_or_else(|| Here(OAuthError::invalid_client()))?;
    let named = call.query("redirect_uri");
    let redirect_uri = match &named {
        Some(uri) => Some(uri.as_str()).filter(|uri| client.redirects.accepts(uri)),
        None => client.redirects.only(),
    };
    let redirect_uri = redirect_uri.ok_or_else(|| Here(OAuthError::invalid_client()))?.to_owned();
    let scopes = scopes_of(&call.query("scope").unwrap_or_default())
        .map_err(|unknown| Redirect(OAuthError::invalid_scope(&unknown), redirect_uri.clone()))?;
    let challenge = challenge(call, &client).map_err(Here)?;
    Ok(Asked {
        client: client.id.clone(),
        client_name: client.name.clone(),
        redirect_uri,
        redirect_named: named.is_some(),
        state: call.query("state"),
        scopes,
        challenge,
        target: call.target.clone(),
    })
}

/// Scopes as league reads them: separated by a space, and nothing else.
pub(super) fn scopes_of(text: &str) -> Result<ScopeSet, String> {
    let names = text.trim().split(' ').filter(|name| !name.is_empty());
    names.map(|name| name.parse::<Scope>().map_err(|_| name.to_owned())).collect()
}

fn challenge(call: &Call, client: &Client) -> Result<Option<Challenge>, OAuthError> {
    let Some(challenge) = call.query("code_challenge") else {
        if client.secret.is_none() {
            return Err(OAuthError::invalid_request("Code challenge must be provided for public clients"));
        }
        return Ok(None);
    };
    let method = call.query("code_challenge_method").unwrap_or_else(|| "plain".to_owned());
    let make = match method.as_str() {
        "S256" => Challenge::S256,
        "plain" => Challenge::Plain,
        _ => return Err(OAuthError::invalid_request("Code challenge method must be one of `S256`, `plain`")),
    };
    if !follows_rfc_7636(&challenge) {
        return Err(OAuthError::invalid_request("Code challenge must follow the specifications of RFC-7636."));
    }
    Ok(Some(make(challenge)))
}

/// `[A-Za-z0-9-._~]{43,128}`
pub(super) fn follows_rfc_7636(text: &str) -> bool {
    (43..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
}

/// `GET /oauth/authorize`
pub(super) fn ask(shared: &Shared, call: &Call) -> Outcome {
    let asked = match check(shared, call) {
        Ok(asked) => asked,
        Err(Refusal::Here(error)) => return error.into_answer(call.header("authorization").is_some()).into(),
        Err(Refusal::Redirect(error, uri)) => {
            return error.into_redirect(&uri, call.query("state").as_deref()).into();
        }
    };
    let prompt = call.query("prompt");
    let refuse = |error: OAuthError| error.into_redirect(&asked.redirect_uri, asked.state.as_deref()).into();
    let Some(account) = session::signed_in(shared, call) else {
        if prompt.as_deref() == Some("none") {
            return refuse(OAuthError::login_required());
        }
        return session::sign_in_first(shared, call, prompt.as_deref() == Some("login")).into();
    };
    let secret = call.session().unwrap_or_default();
    let prompted = {
        let mut state = shared.memory.lock();
        state.sessions.find_mut(secret).is_some_and(|session| std::mem::take(&mut session.prompted))
    };
    if prompt.as_deref() == Some("login") && !prompted {
        return session::sign_in_first(shared, call, true).into();
    }
    let granted = shared.memory.lock().tokens.granted(account, &asked.client, shared.now());
    // As Passport does: no question where the person granted all of it already, with tokens that still work.
    if prompt.as_deref() != Some("consent") && asked.scopes.is_subset_of(granted) && !granted.is_empty() {
        let scopes = asked.scopes;
        return approve(shared, asked, account, scopes).into();
    }
    if prompt.as_deref() == Some("none") {
        return refuse(OAuthError::consent_required());
    }
    let id = shared.mint.id();
    let page = pages::consent(shared, account, &asked, &id, &form_token(secret), None);
    if let Some(session) = shared.memory.lock().sessions.find_mut(secret) {
        if session.asked.len() >= 20 {
            session.asked.pop_first();
        }
        session.asked.insert(id, asked);
    }
    page.into()
}

/// `POST /oauth/authorize`: what the person said on the consent page.
pub(super) fn decide(shared: &Shared, call: &Call) -> Outcome {
    if !session::form_is_ours(shared, call) {
        return pages::expired_form().into();
    }
    let Some(account) = session::signed_in(shared, call) else { return pages::expired_form().into() };
    let secret = call.session().unwrap_or_default();
    let id = call.field("auth_token").unwrap_or_default();
    let take = |state: &mut super::state::State| state.sessions.find_mut(secret)?.asked.remove(&id);
    let Some(asked) = take(&mut shared.memory.lock()) else { return pages::expired_form().into() };
    match call.field("decision").as_deref() {
        Some("cancel") => OAuthError::access_denied().into_redirect(&asked.redirect_uri, asked.state.as_deref()).into(),
        Some("authorize") => {
            let ticked = call.fields("scope").iter().filter_map(|name| name.parse().ok()).collect::<ScopeSet>();
            let scopes = ticked.intersection(asked.scopes);
            if scopes.is_empty() && !asked.scopes.is_empty() {
                let advice = "Tick at least one scope, or press Cancel.";
                let page = pages::consent(shared, account, &asked, &id, &form_token(secret), Some(advice));
                if let Some(session) = shared.memory.lock().sessions.find_mut(secret) {
                    session.asked.insert(id, asked);
                }
                return page.into();
            }
            approve(shared, asked, account, scopes).into()
        }
        _ => pages::notice(422, "Nothing was chosen", "Go back and press Authorize or Cancel.").into(),
    }
}

/// The same without a browser: the request is given by its URL, and the answer is where the browser would go.
pub(super) fn decide_without_browser(
    shared: &Shared,
    url: &str,
    account: u32,
    consent: Consent,
) -> Result<String, String> {
    let target = url.split_once("/oauth/authorize").map_or("", |(_, query)| query);
    let call = Call::to(&format!("/oauth/authorize{target}"), shared.local);
    let answer = match (check(shared, &call), consent) {
        (Err(Refusal::Here(error)), _) => error.into_answer(false),
        (Err(Refusal::Redirect(error, uri)), _) => error.into_redirect(&uri, call.query("state").as_deref()),
        (Ok(asked), Consent::Cancel) => {
            OAuthError::access_denied().into_redirect(&asked.redirect_uri, asked.state.as_deref())
        }
        (Ok(asked), Consent::Authorize(scopes)) => {
            let scopes = scopes.intersection(asked.scopes);
            approve(shared, asked, account, scopes)
        }
    };
    let location = answer.headers.iter().find(|(name, _)| name == "Location").map(|(_, value)| value.clone());
    location.ok_or_else(|| match answer.content {
        Content::Whole(body) => String::from_utf8_lossy(&body).into_owned(),
        Content::Cut(_) | Content::Stream(_) => String::new(),
    })
}

/// Issues a code and sends the browser back with it.
fn approve(shared: &Shared, asked: Asked, account: u32, scopes: ScopeSet) -> Answer {
    let code = shared.mint.code();
    let kept = Code {
        client: asked.client,
        account,
        scopes,
        redirect_uri: asked.redirect_named.then(|| asked.redirect_uri.clone()),
        challenge: asked.challenge,
        expires: shared.after(shared.config.code_lifetime),
        spent: false,
    };
    shared.memory.lock().tokens.codes.insert(Digest::of(&code), kept);
    let pairs = [("code", code.as_str())].into_iter().chain(asked.state.as_deref().map(|state| ("state", state)));
    Answer::redirect(&with_query(&asked.redirect_uri, pairs))
}
