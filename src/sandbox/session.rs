//! Browser sessions at the sandbox: in memory only, so a restart signs everybody out, which costs one click.

use std::collections::BTreeMap;

use super::answer::{Answer, Outcome};
use super::authorize::Asked;
use super::call::{Call, SESSION_COOKIE};
use super::mint::{Digest, form_token};
use super::pages;
use super::serve::Shared;

/// More than any person has; the oldest go first.
const KEPT: usize = 1_000;

/// What is known of a browser.
#[derive(Clone, Default)]
pub(super) struct Session {
    /// Who signed in.
    pub account: Option<u32>,
    /// Where the browser wanted to go before it had to sign in.
    pub intended: Option<String>,
    /// The authorization requests whose consent page it was shown.
    pub asked: BTreeMap<String, Asked>,
    /// Whether `prompt=login` has made it sign in anew.
    pub prompted: bool,
    made: i64,
}

/// All sessions, by the digest of their secret.
#[derive(Default)]
pub(super) struct Sessions(BTreeMap<Digest, Session>);

impl Sessions {
    pub(super) fn find(&self, secret: &str) -> Option<&Session> {
        self.0.get(&Digest::of(secret))
    }

    pub(super) fn find_mut(&mut self, secret: &str) -> Option<&mut Session> {
        self.0.get_mut(&Digest::of(secret))
    }

    pub(super) fn take(&mut self, secret: &str) -> Option<Session> {
        self.0.remove(&Digest::of(secret))
    }

    pub(super) fn keep(&mut self, secret: &str, session: Session) {
        if self.0.len() >= KEPT
            && let Some(oldest) = self.0.iter().min_by_key(|(_, session)| session.made).map(|(id, _)| id.clone())
        {
            self.0.remove(&oldest);
        }
        self.0.insert(Digest::of(secret), session);
    }
}

/// The answer, and the cookie of this session with it.
fn with_cookie(answer: Answer, secret: &str) -> Answer {
    answer.with("Set-Cookie", format!("{SESSION_COOKIE}={secret}; Max-Age=7200; Path=/; HttpOnly; SameSite=Lax"))
}

/// Who is signed in in this browser.
pub(super) fn signed_in(shared: &Shared, call: &Call) -> Option<u32> {
    let secret = call.session()?;
    shared.memory.lock().sessions.find(secret)?.account
}

/// Whether a form came from a page of this session.
pub(super) fn form_is_ours(shared: &Shared, call: &Call) -> bool {
    let Some(secret) = call.session() else { return false };
    let known = shared.memory.lock().sessions.find(secret).is_some();
    known && call.field("_token").is_some_and(|token| token == form_token(secret))
}

/// Sends the browser to the login page, and remembers where it wanted to go.
pub(super) fn sign_in_first(shared: &Shared, call: &Call, prompted: bool) -> Answer {
    let secret = shared.mint.session();
    let mut state = shared.memory.lock();
    if let Some(old) = call.session() {
        state.sessions.take(old);
    }
    let made = shared.now();
    let session = Session { intended: Some(call.target.clone()), prompted, made, ..Session::default() };
    state.sessions.keep(&secret, session);
    with_cookie(Answer::redirect(&format!("{}/login", call.origin)), &secret)
}

/// `GET /login`
pub(super) fn login_page(shared: &Shared, call: &Call) -> Outcome {
    let known = call.session().filter(|secret| shared.memory.lock().sessions.find(secret).is_some());
    if let Some(secret) = known {
        return pages::login(shared, &form_token(secret)).into();
    }
    let secret = shared.mint.session();
    let session = Session { made: shared.now(), ..Session::default() };
    shared.memory.lock().sessions.keep(&secret, session);
    with_cookie(pages::login(shared, &form_token(&secret)), &secret).into()
}

/// `POST /login`: the session gets a new secret, so that nobody can sign a browser in to a session that they know.
pub(super) fn login(shared: &Shared, call: &Call) -> Outcome {
    if !form_is_ours(shared, call) {
        return pages::expired_form().into();
    }
    let wanted = call.field("account").and_then(|id| id.parse().ok());
    let Some(account) = wanted.filter(|id| shared.account(*id).is_some()) else {
        return pages::notice(422, "Choose an account", "Go back and choose one of the accounts on the page.").into();
    };
    let secret = shared.mint.session();
    let mut state = shared.memory.lock();
    let mut session = call.session().and_then(|old| state.sessions.take(old)).unwrap_or_default();
    session.account = Some(account);
    session.made = shared.now();
    let intended = session.intended.take().unwrap_or_else(|| "/".to_owned());
    state.sessions.keep(&secret, session);
    with_cookie(Answer::redirect(&format!("{}{intended}", call.origin)), &secret).into()
}

/// `POST /logout`: from a consent page it leads back there, so that a person can take another account.
pub(super) fn logout(shared: &Shared, call: &Call) -> Outcome {
    if !form_is_ours(shared, call) {
        return pages::expired_form().into();
    }
    let mut state = shared.memory.lock();
    let old = call.session().and_then(|secret| state.sessions.take(secret)).unwrap_or_default();
    let asked = call.field("auth_token").and_then(|id| old.asked.get(&id).map(|asked| asked.target.clone()));
    let secret = shared.mint.session();
    let session = Session { intended: asked, made: shared.now(), ..Session::default() };
    state.sessions.keep(&secret, session);
    with_cookie(Answer::redirect(&format!("{}/login", call.origin)), &secret).into()
}
