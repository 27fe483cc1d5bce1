//! The first run: whoever can read this process's standard output makes the first admin.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::passwords::{BadPassword, check_new};
use super::{Broker, Change};
use crate::domain::app::KeyHash;
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::secret::{Password, Secret, SetupToken};
use crate::domain::user::{Role, User, UserName};
use crate::store::{Made, StoreError};

/// Why the first admin was not made.
#[derive(Debug, thiserror::Error)]
pub enum SetupRefusal {
    /// The token is none, was used, or an admin exists.
    #[error(
        "This setup link is not valid any more. Start Keyfob again to get a new one, or sign in if the setup was done already."
    )]
    BadToken,
    /// The name can't be one.
    #[error("The user name {0}.")]
    BadName(#[from] crate::domain::user::BadUserName),
    /// The name is taken by a member's account.
    #[error("The user name is taken.")]
    NameTaken,
    /// The password is not taken.
    #[error("The password {0}.")]
    BadPassword(#[from] BadPassword),
    /// It could not be kept.
    #[error("Keyfob could not save this. Try again in a moment.")]
    Storage(#[from] StoreError),
}

impl Broker {
    /// A new one-time token for the first setup; nothing when an admin exists.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn issue_setup_token(&self) -> Result<Option<Secret<SetupToken>>, StoreError> {
        let token = Secret::<SetupToken>::new(URL_SAFE_NO_PAD.encode(self.entropy.bytes::<32>()));
        let kept = self.store.keep_setup_token(KeyHash::of(token.expose()), self.clock.now()).await?;
        Ok(kept.then_some(token))
    }

    /// Whether the first admin is still to be made.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn setup_is_open(&self) -> Result<bool, StoreError> {
        Ok(!self.store.has_admin().await?)
    }

    /// Whether this token opens the setup.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn setup_token_is_good(&self, token: &Secret<SetupToken>) -> Result<bool, StoreError> {
        self.store.find_setup_token(KeyHash::of(token.expose())).await
    }

    /// Makes the first admin and spends the token.
    ///
    /// # Errors
    /// [`SetupRefusal`]
    pub async fn finish_setup(
        &self,
        token: &Secret<SetupToken>,
        name: &str,
        password: Secret<Password>,
    ) -> Result<User, SetupRefusal> {
        if !self.setup_token_is_good(token).await? {
            return Err(SetupRefusal::BadToken);
        }
        let name: UserName = name.parse()?;
        check_new(&password, name.as_str())?;
        let hash = self.hasher.hash(password).await;
        let admin =
            User { id: self.new_id(), name, role: Role::Admin, created_at: self.clock.now(), disabled_at: None };
        match self.store.take_setup_token(KeyHash::of(token.expose()), &admin, &hash).await? {
            Made::Done => {}
            Made::NameTaken => return Err(SetupRefusal::NameTaken),
            Made::Refused => return Err(SetupRefusal::BadToken),
        }
        self.see(Change::User(admin.id)).await;
        self.trail.record(AuditEvent::change(admin.created_at, kind::USER_MADE, Some(admin.id)).about("first admin"));
        Ok(admin)
    }
}
