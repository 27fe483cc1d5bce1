//! `POST /oauth/token`: codes and refresh tokens become tokens (RFC 6749 4.1.3 and 6), and `POST /oauth/revoke`.

use serde_json::Value;

use super::answer::{Answer, Content, OAuthError, Outcome};
use super::authorize::{follows_rfc_7636, scopes_of};
use super::call::Call;
use super::config::{Client, RefreshErrors};
use super::fault::TokenFault;
use super::json::{Json, object};
use super::mint::{Digest, s256};
use super::moments::Moment;
use super::serve::Shared;
use super::tokens::{Challenge, Code, Holder, Pair};
use crate::domain::scope::ScopeSet;

/// `POST /oauth/token`, with whatever a test has planned for it.
pub(super) async fn token(shared: &Shared, call: &Call) -> Outcome {
    let grant_type = call.field("grant_type").unwrap_or_default();
    let faults = &shared.faults;
    faults.counts.add(|counted| *counted.token_requests.entry(grant_type.clone()).or_default() += 1);
    let fault = faults.take_token(&grant_type);
    faults.moments.pass(Moment::BeforeRotate).await;
    if let Some(TokenFault::DelayBefore(delay)) = fault {
        tokio::time::sleep(delay).await;
    }
    let outcome = match fault {
        Some(TokenFault::DropBefore) => Outcome::HangUp,
        Some(TokenFault::Instead(raw)) => Answer::from(raw).into(),
        Some(TokenFault::Echo(status)) => echo(status, call).into(),
        fault => honest(shared, call, &grant_type, fault).await,
    };
    faults.moments.pass(Moment::BeforeAnswer).await;
    outcome
}

/// Does the endpoint's duty; what a fault changes comes after that.
async fn honest(shared: &Shared, call: &Call, grant_type: &str, fault: Option<TokenFault>) -> Outcome {
    let (left, limit) = match shared.limits.admit_token(shared, call) {
        Ok(room) => room,
        Err(refusal) => return refusal.into(),
    };
    let narrow = if let Some(TokenFault::Narrow(scopes)) = &fault { Some(*scopes) } else { None };
    let issued = match grant_type {
        "authorization_code" => exchange(shared, call, narrow),
        "refresh_token" => refresh(shared, call, narrow),
        _ => Err(OAuthError::unsupported_grant_type()),
    };
    let (answer, rotated) = match issued {
        Ok(members) => (granted(members, fault.as_ref()), true),
        Err(error) => (error.into_answer(call.header("authorization").is_some()), false),
    };
    let answer = match limit {
        Some(limit) => {
            answer.with("X-RateLimit-Limit", limit.to_string()).with("X-RateLimit-Remaining", left.to_string())
        }
        None => answer,
    };
    if !rotated {
        return answer.into();
    }
    shared.faults.moments.pass(Moment::AfterRotate).await;
    match fault {
        Some(TokenFault::DelayAfter(delay)) => tokio::time::sleep(delay).await,
        Some(TokenFault::DropAfter) => return Outcome::HangUp,
        Some(TokenFault::After(raw)) => return Answer::from(raw).into(),
        _ => {}
    }
    answer.into()
}

type Members = Vec<(String, Value)>;

/// The 200 of league's `BearerTokenResponse`.
fn granted(mut members: Members, fault: Option<&TokenFault>) -> Answer {
    if let Some(TokenFault::Edit(edits)) = fault {
        for (name, value) in edits {
            match (members.iter().position(|(known, _)| known == name), value) {
                (Some(at), Some(value)) => members[at].1 = value.clone(),
                (Some(at), None) => drop(members.remove(at)),
                (None, Some(value)) => members.push((name.clone(), value.clone())),
                (None, None) => {}
            }
        }
    }
    let mut body = Json::object_of(members.iter().map(|(name, value)| (name.as_str(), Json::from(value)))).to_string();
    if matches!(fault, Some(TokenFault::TruncatedJson)) {
        body.truncate(body.len() / 2);
    }
    let answer = Answer::new(200, "application/json; charset=UTF-8", body)
        .replacing("Cache-Control", "no-store, private")
        .with("Pragma", "no-cache");
    match (fault, answer.content) {
        (Some(TokenFault::CutBody), Content::Whole(bytes)) => Answer { content: Content::Cut(bytes), ..answer },
        (_, content) => Answer { content, ..answer },
    }
}

/// What was sent, thrown back: a body and headers that must not end up in any log.
fn echo(status: u16, call: &Call) -> Answer {
    let authorization = call.header("authorization").unwrap_or_default();
    let body = String::from_utf8_lossy(&call.body);
    let text = object! { "error": "server_error", "error_description": body, "authorization": authorization };
    Answer::json(status, text).with("X-Echo-Authorization", authorization)
}

/// The client, if it is who it says (RFC 6749 2.3): in the body or by HTTP Basic, as league reads them.
fn authenticate(shared: &Shared, call: &Call) -> Result<Client, OAuthError> {
    let basic = call.basic();
    let id = call.field("client_id").or_else(|| basic.as_ref().map(|(id, _)| id.clone()));
    let id = id.ok_or_else(|| OAuthError::missing("client_id"))?;
    let secret = call.field("client_secret").or_else(|| basic.map(|(_, secret)| secret));
    let client = shared.client(&id).ok_or_else(OAuthError::invalid_client)?;
    if client.secret.is_some() && client.secret != secret {
        return Err(OAuthError::invalid_client());
    }
    Ok(client)
}

fn exchange(shared: &Shared, call: &Call, narrow: Option<ScopeSet>) -> Result<Members, OAuthError> {
    let client = authenticate(shared, call)?;
    let code = call.field("code").ok_or_else(|| OAuthError::missing("code"))?;
    shared.memory.change(|state| {
        let digest = Digest::of(&code);
        let known = state.tokens.codes.get(&digest).cloned();
        let known =
            known.ok_or_else(|| OAuthError::invalid_grant("Cannot validate the provided authorization code"))?;
        check_code(shared, call, &client, &known)?;
        if let Some(known) = state.tokens.codes.get_mut(&digest) {
            known.spent = true;
        }
        let scopes = narrow.unwrap_or(known.scopes);
        let holder = Holder { client: &client.id, account: known.account, scopes };
        let pair = state.tokens.issue(&shared.mint, &holder, shared.span());
        Ok(members(shared, pair, scopes))
    })
}

/// In league's order.
fn check_code(shared: &Shared, call: &Call, client: &Client, code: &Code) -> Result<(), OAuthError> {
    if code.expires < shared.now() {
        return Err(OAuthError::invalid_grant("Authorization code has expired"));
    }
    if code.spent {
        return Err(OAuthError::invalid_grant("Authorization code has been revoked"));
    }
    if code.client != client.id {
        return Err(OAuthError::invalid_request("Authorization code was not issued to this client"));
    }
    let redirect_uri = call.field("redirect_uri");
    if redirect_uri.is_none() && code.redirect_uri.is_some() {
        return Err(OAuthError::missing("redirect_uri"));
    }
    if redirect_uri != code.redirect_uri {
        return Err(OAuthError::invalid_request("Invalid redirect URI"));
    }
    let verifier = call.field("code_verifier");
    let Some(challenge) = &code.challenge else {
        if verifier.is_some() {
            let hint = "code_verifier received when no code_challenge is present";
            return Err(OAuthError::invalid_request(hint));
        }
        return Ok(());
    };
    let verifier = verifier.ok_or_else(|| OAuthError::missing("code_verifier"))?;
    if !follows_rfc_7636(&verifier) {
        return Err(OAuthError::invalid_request("Code Verifier must follow the specifications of RFC-7636."));
    }
    let proven = match challenge {
        Challenge::Plain(challenge) => *challenge == verifier,
        Challenge::S256(challenge) => *challenge == s256(&verifier),
    };
    if proven { Ok(()) } else { Err(OAuthError::invalid_grant("Failed to verify `code_verifier`.")) }
}

fn refresh(shared: &Shared, call: &Call, narrow: Option<ScopeSet>) -> Result<Members, OAuthError> {
    let client = authenticate(shared, call)?;
    let token = call.field("refresh_token").ok_or_else(|| OAuthError::missing("refresh_token"))?;
    let dead = |hint: &str| match shared.config.refresh_errors {
        RefreshErrors::League9 => OAuthError::invalid_refresh_token(hint),
        RefreshErrors::League8 => OAuthError::invalid_refresh_token_league8(hint),
    };
    let rotated = shared.memory.change(|state| {
        let digest = Digest::of(&token);
        let known = state.tokens.refresh.get(&digest).cloned();
        let known = known.ok_or_else(|| dead("Cannot decrypt the refresh token"))?;
        if known.client != client.id {
            return Err(dead("Token is not linked to client"));
        }
        if known.expires < shared.now() {
            return Err(dead("Token has expired"));
        }
        if known.revoked {
            return Err(dead("Token has been revoked"));
        }
        let scopes = match call.field("scope") {
            None => known.scopes,
            Some(text) => {
                let asked = scopes_of(&text).map_err(|unknown| OAuthError::invalid_scope(&unknown))?;
                if let Some(wider) = asked.minus(known.scopes).iter().next() {
                    return Err(OAuthError::invalid_scope(wider.as_str()));
                }
                asked
            }
        };
        let scopes = narrow.unwrap_or(scopes);
        // Both old tokens die at once; this is what makes a lost answer a dead end.
        state.tokens.kill_pair(&digest);
        let holder = Holder { client: &client.id, account: known.account, scopes };
        let pair = state.tokens.issue(&shared.mint, &holder, shared.span());
        Ok(members(shared, pair, scopes))
    })?;
    shared.faults.counts.add(|counted| counted.refreshes += 1);
    Ok(rotated)
}

fn members(shared: &Shared, pair: Pair, scopes: ScopeSet) -> Members {
    let mut members = vec![
        ("token_type".to_owned(), Value::from("Bearer")),
        ("expires_in".to_owned(), Value::from(shared.config.access_lifetime.as_secs())),
        ("access_token".to_owned(), Value::from(pair.access)),
        ("refresh_token".to_owned(), Value::from(pair.refresh)),
    ];
    if shared.config.answer_scope {
        members.push(("scope".to_owned(), Value::from(scopes.to_string())));
    }
    members
}

/// `POST /oauth/revoke` (RFC 7009): 200 whether or not there was something to revoke.
pub(super) async fn revoke(shared: &Shared, call: &Call) -> Outcome {
    shared.faults.moments.pass(Moment::BeforeRevoke).await;
    let client = match authenticate(shared, call) {
        Ok(client) => client,
        Err(error) => return error.into_answer(call.header("authorization").is_some()).into(),
    };
    let Some(token) = call.field("token") else {
        return OAuthError::missing("token").into_answer(false).into();
    };
    shared.memory.change(|state| state.tokens.revoke(&token, &client.id));
    Answer::new(200, "application/json", "").into()
}
