//! Apps: made by their user, cut off by them or an admin.

use std::time::Duration;

use super::{Broker, Change};
use crate::domain::app::{APP_KEY_PREFIX, App, IssuedKey, Rate};
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::id::{AppId, GrantId, UserId};
use crate::domain::scope::ScopeSet;
use crate::domain::user::{BadLabel, Label};
use crate::store::{AppFilter, AppRecord, Made, NewApp, StoreError};

/// What an app is to be.
#[derive(Clone, Debug)]
pub struct AppWish {
    /// Whose.
    pub user: UserId,
    /// Its name.
    pub name: String,
    /// The most that it may do.
    pub scopes: ScopeSet,
    /// For how long, if not for ever.
    pub expires_in: Option<Duration>,
    /// Whether its key may come in the URL.
    pub query_key: bool,
    /// The one grant it is tied to.
    pub grant: Option<GrantId>,
    /// Its own limit of calls.
    pub rate: Option<Rate>,
}

/// An app that was just made or rolled, with its key: the one time that it can be seen.
#[derive(Debug)]
pub struct MadeApp {
    /// The app.
    pub app: App,
    /// Its key.
    pub key: IssuedKey,
}

/// Why an app was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// There is none, or it is another user's, or it is revoked.
    #[error("There is no such app, or it is revoked.")]
    NotFound,
    /// The name can't be one.
    #[error("The name {0}.")]
    BadName(#[from] BadLabel),
    /// An app without a scope can do nothing.
    #[error("Choose at least one scope.")]
    NoScope,
    /// The grant is none of its user's.
    #[error("There is no such grant of this user.")]
    NoSuchGrant,
    /// The grant holds less than the app should.
    #[error("The grant does not hold {0}.")]
    GrantTooNarrow(ScopeSet),
    /// It could not be kept.
    #[error("Keyfob could not save this. Try again in a moment.")]
    Storage(#[from] StoreError),
}

impl Broker {
    /// Makes an app and its key.
    ///
    /// # Errors
    /// [`AppError`]
    pub async fn make_app(&self, wish: AppWish) -> Result<MadeApp, AppError> {
        let name: Label = wish.name.parse()?;
        if wish.scopes.is_empty() {
            return Err(AppError::NoScope);
        }
        if let Some(id) = wish.grant {
            let grant = self.store.find_grant(id, Some(wish.user)).await?.ok_or(AppError::NoSuchGrant)?.grant;
            let lacking = wish.scopes.minus(grant.scopes_granted);
            if !lacking.is_empty() {
                return Err(AppError::GrantTooNarrow(lacking));
            }
        }
        let now = self.clock.now();
        let app = App {
            id: self.new_id(),
            user: wish.user,
            name,
            scopes: wish.scopes,
            grant: wish.grant,
            query_key: wish.query_key,
            rate: wish.rate,
            created_at: now,
            last_used_at: None,
            expires_at: wish.expires_in.map(|span| now.plus(span)),
            revoked_at: None,
        };
        let key = IssuedKey::new(APP_KEY_PREFIX, &self.entropy.bytes());
        match self.store.keep_app(&NewApp { app: app.clone(), key: key.hash() }).await? {
            Made::Done => {}
            Made::Refused | Made::NameTaken => return Err(AppError::NoSuchGrant),
        }
        self.see(Change::App(app.id)).await;
        self.trail
            .record(AuditEvent::change(now, kind::APP_MADE, Some(app.user)).of_app(app.id).about(app.name.as_str()));
        Ok(MadeApp { app, key })
    }

    /// Gives an app a new key; the old ones work for `overlap` more. Of this user, if one is named.
    ///
    /// # Errors
    /// [`AppError`]
    pub async fn roll_app(&self, id: AppId, of: Option<UserId>, overlap: Duration) -> Result<MadeApp, AppError> {
        let now = self.clock.now();
        let key = IssuedKey::new(APP_KEY_PREFIX, &self.entropy.bytes());
        if !self.store.replace_app_key(id, of, key.hash(), now.plus(overlap), now).await? {
            return Err(AppError::NotFound);
        }
        self.see(Change::App(id)).await;
        let app = self.find_app(id, of).await?.app;
        self.trail.record(AuditEvent::change(now, kind::APP_ROLLED, Some(app.user)).of_app(id));
        Ok(MadeApp { app, key })
    }

    /// Cuts an app off at once. Of this user, if one is named.
    ///
    /// # Errors
    /// [`AppError`]
    pub async fn revoke_app(&self, id: AppId, of: Option<UserId>) -> Result<(), AppError> {
        let now = self.clock.now();
        if !self.store.revoke_app(id, of, now).await? {
            return Err(AppError::NotFound);
        }
        self.see(Change::App(id)).await;
        let user = self.find_app(id, of).await?.app.user;
        self.trail.record(AuditEvent::change(now, kind::APP_REVOKED, Some(user)).of_app(id));
        Ok(())
    }

    /// Sets what an app may do. Of this user, if one is named.
    ///
    /// # Errors
    /// [`AppError`]
    pub async fn set_app_scopes(&self, id: AppId, of: Option<UserId>, scopes: ScopeSet) -> Result<(), AppError> {
        if scopes.is_empty() {
            return Err(AppError::NoScope);
        }
        let app = self.find_app(id, of).await?.app;
        if let Some(tied) = app.grant.filter(|_| !scopes.is_subset_of(app.scopes)) {
            let grant = self.store.find_grant(tied, Some(app.user)).await?.ok_or(AppError::NoSuchGrant)?.grant;
            let missing = scopes.minus(app.scopes).minus(grant.scopes_granted);
            if !missing.is_empty() {
                return Err(AppError::GrantTooNarrow(missing));
            }
        }
        if !self.store.replace_app_scopes(id, of, scopes).await? {
            return Err(AppError::NotFound);
        }
        self.see(Change::App(id)).await;
        let words = format!("scopes: {scopes}");
        self.trail
            .record(AuditEvent::change(self.clock.now(), kind::APP_CHANGED, Some(app.user)).of_app(id).about(&words));
        Ok(())
    }

    /// Finds an app, of this user if one is named.
    ///
    /// # Errors
    /// [`AppError`]
    pub async fn find_app(&self, id: AppId, of: Option<UserId>) -> Result<AppRecord, AppError> {
        self.store.find_app(id, of).await?.ok_or(AppError::NotFound)
    }

    /// These apps, without their keys; those that are gone are left out.
    ///
    /// # Errors
    /// [`AppError`]
    pub async fn find_apps(&self, ids: &[AppId]) -> Result<Vec<AppRecord>, AppError> {
        Ok(self.store.list_apps_of(ids).await?)
    }

    /// A page of apps.
    ///
    /// # Errors
    /// [`AppError`]
    pub async fn list_apps(&self, filter: &AppFilter) -> Result<Vec<AppRecord>, AppError> {
        Ok(self.store.list_apps(filter).await?)
    }
}
