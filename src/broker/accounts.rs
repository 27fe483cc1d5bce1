//! Accounts: signing in, and who may have one.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::passwords::{BadPassword, check_new};
use super::{Broker, Change};
use crate::domain::app::KeyHash;
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::id::UserId;
use crate::domain::secret::{Password, Secret, SetupToken};
use crate::domain::user::{BadUserName, Role, User, UserName};
use crate::store::{Made, Removal, StoreError};

/// How long an invitation holds.
const INVITATION: Duration = Duration::from_secs(7 * 86_400);

/// How long removing a user waits for the provider to revoke their tokens.
const REVOCATION: Duration = Duration::from_secs(10);

/// Why somebody is not signed in. Never tells whether the account exists.
#[derive(Debug, thiserror::Error)]
pub enum SignInRefusal {
    /// The name or the password is wrong, or the account is shut.
    #[error("The user name or the password is wrong.")]
    Wrong,
    /// Too many failures.
    #[error("Too many failed sign-ins. Try again in {} seconds.", .retry_after.as_secs().max(1))]
    Throttled {
        /// When to try again.
        retry_after: Duration,
    },
    /// The database could not be read.
    #[error("Keyfob can't look up accounts at the moment. Try again in a moment.")]
    Storage(#[from] StoreError),
}

/// Why an account was not changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// There is none.
    #[error("There is no such user.")]
    NotFound,
    /// The name can't be one.
    #[error("The user name {0}.")]
    BadName(#[from] BadUserName),
    /// The name is taken.
    #[error("The user name is taken.")]
    NameTaken,
    /// The password is not taken.
    #[error("The password {0}.")]
    BadPassword(#[from] BadPassword),
    /// At least one admin must remain.
    #[error("This is the last admin. Make another user an admin first.")]
    LastAdmin,
    /// The old password is wrong.
    #[error("The current password is wrong.")]
    WrongPassword,
    /// It could not be kept.
    #[error("Keyfob could not save this. Try again in a moment.")]
    Storage(#[from] StoreError),
}

impl Broker {
    /// Signs a person in: the account behind a name and a password. `source` is the address that they come from.
    ///
    /// # Errors
    /// [`SignInRefusal`]
    pub async fn authenticate(
        &self,
        name: &str,
        password: Secret<Password>,
        source: &str,
    ) -> Result<User, SignInRefusal> {
        let retry_after = self.throttle.attempt(name, source, self.clock.elapsed());
        if !retry_after.is_zero() {
            return Err(SignInRefusal::Throttled { retry_after });
        }
        let user = self.check_password(name, password).await?;
        self.throttle.succeeded(name, source, self.clock.elapsed());
        Ok(user)
    }

    /// Whether this is the user's password, for the acts that ask again. `session` is the one that they have: nobody else's
    /// failures make them wait.
    ///
    /// # Errors
    /// [`SignInRefusal`]
    pub async fn confirm_password(
        &self,
        user: &User,
        password: Secret<Password>,
        session: KeyHash,
        source: &str,
    ) -> Result<(), SignInRefusal> {
        let name = user.name.as_str();
        let retry_after = self.throttle.attempt_in(session, self.clock.elapsed());
        if !retry_after.is_zero() {
            return Err(SignInRefusal::Throttled { retry_after });
        }
        if self.check_password(name, password).await?.id != user.id {
            return Err(SignInRefusal::Wrong);
        }
        self.throttle.succeeded_in(session, name, source, self.clock.elapsed());
        Ok(())
    }

    async fn check_password(&self, name: &str, password: Secret<Password>) -> Result<User, SignInRefusal> {
        let found = self.store.find_password(name).await?;
        let (user, hash) = found.map_or((None, None), |found| (Some(found.user), found.hash));
        let right = self.hasher.matches(password, hash).await;
        match user {
            Some(user) if right && user.disabled_at.is_none() => {
                self.trail.record(AuditEvent::change(self.clock.now(), kind::SIGNED_IN, Some(user.id)));
                Ok(user)
            }
            user => {
                let user = user.map(|user| user.id);
                match user {
                    Some(_) => self
                        .trail
                        .record(AuditEvent::change(self.clock.now(), kind::SIGN_IN_FAILED, user).decided("refused")),
                    None => self.trail.count_unknown("sign_in"),
                }
                Err(SignInRefusal::Wrong)
            }
        }
    }

    /// Notes that somebody signed out.
    pub fn note_signed_out(&self, user: UserId) {
        self.trail.record(AuditEvent::change(self.clock.now(), kind::SIGNED_OUT, Some(user)));
    }

    /// Makes an account. Without a password its user can't sign in until they have one.
    ///
    /// # Errors
    /// [`AccountError`]
    pub async fn add_user(
        &self,
        name: &str,
        role: Role,
        password: Option<Secret<Password>>,
    ) -> Result<User, AccountError> {
        let name: UserName = name.parse()?;
        let hash = match password {
            Some(password) => {
                check_new(&password, name.as_str())?;
                Some(self.hasher.hash(password).await)
            }
            None => None,
        };
        let user = User { id: self.new_id(), name, role, created_at: self.clock.now(), disabled_at: None };
        match self.store.keep_user(&user, hash.as_deref()).await? {
            Made::Done => {}
            Made::NameTaken | Made::Refused => return Err(AccountError::NameTaken),
        }
        self.see(Change::User(user.id)).await;
        self.trail.record(AuditEvent::change(user.created_at, kind::USER_MADE, Some(user.id)).about(role.as_str()));
        Ok(user)
    }

    /// A one-time link's token by which an account's user sets their password.
    ///
    /// # Errors
    /// [`AccountError`]
    pub async fn invite(&self, user: UserId) -> Result<Secret<SetupToken>, AccountError> {
        let token = Secret::<SetupToken>::new(URL_SAFE_NO_PAD.encode(self.entropy.bytes::<32>()));
        self.store.keep_invitation(KeyHash::of(token.expose()), user, self.clock.now().plus(INVITATION)).await?;
        self.trail.record(AuditEvent::change(self.clock.now(), kind::USER_CHANGED, Some(user)).about("invited"));
        Ok(token)
    }

    /// Whose invitation this is.
    ///
    /// # Errors
    /// [`AccountError`]
    pub async fn invited(&self, token: &Secret<SetupToken>) -> Result<User, AccountError> {
        let user = self
            .store
            .find_invitation(KeyHash::of(token.expose()), self.clock.now())
            .await?
            .ok_or(AccountError::NotFound)?;
        self.store.find_user(user).await?.ok_or(AccountError::NotFound)
    }

    /// Spends an invitation on a first password. Of those who use one link at once, one is let in.
    ///
    /// # Errors
    /// [`AccountError`]
    pub async fn accept_invitation(
        &self,
        token: &Secret<SetupToken>,
        password: Secret<Password>,
    ) -> Result<UserId, AccountError> {
        let user = self.invited(token).await?;
        check_new(&password, user.name.as_str())?;
        let hash = self.hasher.hash(password).await;
        let spent = self.store.take_invitation(KeyHash::of(token.expose()), self.clock.now(), &hash).await?;
        let id = spent.ok_or(AccountError::NotFound)?;
        self.trail.record(AuditEvent::change(self.clock.now(), kind::USER_CHANGED, Some(id)).about("password"));
        Ok(id)
    }

    /// Sets a password and ends the account's sessions but `keep_session`.
    ///
    /// # Errors
    /// [`AccountError`]
    pub async fn reset_password(
        &self,
        id: UserId,
        password: Secret<Password>,
        keep_session: Option<KeyHash>,
    ) -> Result<(), AccountError> {
        let user = self.store.find_user(id).await?.ok_or(AccountError::NotFound)?;
        check_new(&password, user.name.as_str())?;
        let hash = self.hasher.hash(password).await;
        if !self.store.replace_password(id, &hash, keep_session).await? {
            return Err(AccountError::NotFound);
        }
        self.trail.record(AuditEvent::change(self.clock.now(), kind::USER_CHANGED, Some(id)).about("password"));
        Ok(())
    }

    /// Gives an account a role.
    ///
    /// # Errors
    /// [`AccountError`]
    pub async fn set_role(&self, id: UserId, role: Role) -> Result<(), AccountError> {
        removed(self.store.replace_role(id, role).await?)?;
        self.see(Change::User(id)).await;
        self.trail.record(AuditEvent::change(self.clock.now(), kind::USER_CHANGED, Some(id)).about(role.as_str()));
        Ok(())
    }

    /// Shuts an account out everywhere at once, its apps too; or lets it in again.
    ///
    /// # Errors
    /// [`AccountError`]
    pub async fn set_disabled(&self, id: UserId, disabled: bool) -> Result<(), AccountError> {
        let now = self.clock.now();
        removed(self.store.replace_disabled(id, disabled.then_some(now)).await?)?;
        self.see(Change::User(id)).await;
        let words = if disabled { "disabled" } else { "enabled" };
        self.trail.record(AuditEvent::change(now, kind::USER_CHANGED, Some(id)).about(words));
        Ok(())
    }

    /// Removes an account with everything that is its.
    ///
    /// # Errors
    /// [`AccountError`]
    pub async fn remove_user(&self, id: UserId) -> Result<(), AccountError> {
        // Whoever hangs up now must not keep the tokens alive at the provider.
        let broker = self.clone();
        super::to_its_end(async move { broker.remove(id).await }).await
    }

    async fn remove(&self, id: UserId) -> Result<(), AccountError> {
        // As the removal found them: a refresh that was kept a moment ago is among them.
        let grants = removed(self.store.take_user(id).await?)?;
        self.see(Change::User(id)).await;
        self.trail.record(AuditEvent::change(self.clock.now(), kind::USER_REMOVED, None).about(&id.to_string()));
        // What was theirs is gone here; at the provider it ends where that is offered. Nobody waits long for it, and it goes on.
        let broker = self.clone();
        let revoke = tokio::spawn(async move {
            for record in &grants {
                broker.revoke_at_provider(record).await;
            }
        });
        if tokio::time::timeout(REVOCATION, revoke).await.is_err() {
            tracing::warn!(user.id = %id, "the provider did not confirm in time that a removed user's tokens are revoked");
        }
        Ok(())
    }

    /// Finds an account by name, whatever its case, or by id.
    ///
    /// # Errors
    /// [`AccountError`]
    pub async fn find_user(&self, name_or_id: &str) -> Result<User, AccountError> {
        let found = match name_or_id.parse::<UserId>() {
            Ok(id) => self.store.find_user(id).await?,
            Err(_) => self.store.find_user_named(name_or_id).await?,
        };
        found.ok_or(AccountError::NotFound)
    }
}

fn removed<T>(removal: Removal<T>) -> Result<T, AccountError> {
    match removal {
        Removal::Done(what) => Ok(what),
        Removal::Gone => Err(AccountError::NotFound),
        Removal::LastAdmin => Err(AccountError::LastAdmin),
    }
}
