//! Accounts. At least one admin always exists once one was made.

use sqlx::sqlite::SqliteRow;

use super::columns::{Columns, key};
use super::grants::{GrantRecord, record};
use super::live::intact;
use super::{Result, Store, Tx};
use crate::domain::app::KeyHash;
use crate::domain::grant::GrantStatus;
use crate::domain::id::UserId;
use crate::domain::time::Timestamp;
use crate::domain::user::{Role, User};

/// Whether a thing with a name of its own could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was.
    Done,
    /// The name is taken.
    NameTaken,
    /// What it depends on is gone, or the right to make it.
    Refused,
}

/// Whether something could be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal<T = ()> {
    /// It was, and this is what it was.
    Done(T),
    /// It was not there.
    Gone,
    /// It is the last admin.
    LastAdmin,
}

/// An account with the hash of its password.
#[derive(Clone, Debug)]
pub struct PasswordRecord {
    /// The account.
    pub user: User,
    /// The PHC string, when a password was set.
    pub hash: Option<String>,
}

pub(super) fn user(row: &SqliteRow) -> Result<User> {
    let row = Columns(row);
    Ok(User {
        id: row.id("id")?,
        name: row.parsed("name")?,
        role: row.parsed("role")?,
        created_at: row.time("created_at")?,
        disabled_at: row.time_or_none("disabled_at")?,
    })
}

async fn insert(tx: &mut Tx, user: &User, password_hash: Option<&str>) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO users (id, name, name_folded, role, password_hash, created_at) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name_folded) DO NOTHING",
    )
    .bind(key(&user.id))
    .bind(user.name.as_str())
    .bind(user.name.as_str().to_lowercase())
    .bind(user.role.as_str())
    .bind(password_hash)
    .bind(user.created_at.millis())
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

async fn is_last_admin(tx: &mut Tx, id: UserId) -> Result<bool> {
    let others: i64 =
        sqlx::query_scalar("SELECT count(*) FROM users WHERE role = 'admin' AND disabled_at IS NULL AND id <> $1")
            .bind(key(&id))
            .fetch_one(&mut **tx)
            .await?;
    let admin: i64 = sqlx::query_scalar("SELECT count(*) FROM users WHERE role = 'admin' AND id = $1")
        .bind(key(&id))
        .fetch_one(&mut **tx)
        .await?;
    Ok(admin > 0 && others == 0)
}

impl Store {
    /// Keeps a new account.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn keep_user(&self, user: &User, password_hash: Option<&str>) -> Result<Made> {
        let mut tx = self.begin().await?;
        if !insert(&mut tx, user, password_hash).await? {
            return Ok(Made::NameTaken);
        }
        tx.commit().await?;
        Ok(Made::Done)
    }

    /// Makes the first admin and spends the setup token, and with it every other one. `Refused` when the token is none or an admin exists.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn take_setup_token(&self, token: KeyHash, admin: &User, password_hash: &str) -> Result<Made> {
        let mut tx = self.begin().await?;
        let good: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM setup_tokens WHERE hash = $1 AND NOT EXISTS (SELECT 1 FROM users WHERE role = 'admin')",
        )
        .bind(token.as_bytes().as_slice())
        .fetch_one(&mut *tx)
        .await?;
        if good == 0 {
            return Ok(Made::Refused);
        }
        if !insert(&mut tx, admin, Some(password_hash)).await? {
            return Ok(Made::NameTaken);
        }
        sqlx::query("DELETE FROM setup_tokens").execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(Made::Done)
    }

    /// Whether an admin exists.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn has_admin(&self) -> Result<bool> {
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM users WHERE role = 'admin'").fetch_one(&self.read).await?;
        Ok(count > 0)
    }

    /// Finds an account and its password's hash by name, whatever its case.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn find_password(&self, name: &str) -> Result<Option<PasswordRecord>> {
        let row = sqlx::query("SELECT * FROM users WHERE name_folded = $1")
            .bind(name.to_lowercase())
            .fetch_optional(&self.read)
            .await?;
        row.map(|row| Ok(PasswordRecord { user: user(&row)?, hash: Columns(&row).text_or_none("password_hash")? }))
            .transpose()
    }

    /// Finds an account by id.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn find_user(&self, id: UserId) -> Result<Option<User>> {
        let row = sqlx::query("SELECT * FROM users WHERE id = $1").bind(key(&id)).fetch_optional(&self.read).await?;
        row.as_ref().map(user).transpose()
    }

    /// Finds an account by name, whatever its case.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn find_user_named(&self, name: &str) -> Result<Option<User>> {
        Ok(self.find_password(name).await?.map(|found| found.user))
    }

    /// Accounts in the order of their making, from after `cursor`.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn list_users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>> {
        let rows = sqlx::query("SELECT * FROM users WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(after.map_or_else(Vec::new, |id| id.as_bytes().to_vec()))
            .bind(i64::from(limit))
            .fetch_all(&self.read)
            .await?;
        rows.iter().map(user).collect()
    }

    /// Sets a password's hash and ends every session of the account but the one that is kept. False when it is gone.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn replace_password(
        &self,
        id: UserId,
        password_hash: &str,
        keep_session: Option<KeyHash>,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        let done = sqlx::query("UPDATE users SET password_hash = $2 WHERE id = $1")
            .bind(key(&id))
            .bind(password_hash)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM sessions WHERE user = $1 AND id_hash IS NOT $2")
            .bind(key(&id))
            .bind(keep_session.map(|hash| hash.as_bytes().to_vec()))
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM invitations WHERE user = $1").bind(key(&id)).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Sets a role, but never takes it from the last admin; ends the account's sessions.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn replace_role(&self, id: UserId, role: Role) -> Result<Removal> {
        let mut tx = self.begin().await?;
        if role != Role::Admin && is_last_admin(&mut tx, id).await? {
            return Ok(Removal::LastAdmin);
        }
        let done = sqlx::query("UPDATE users SET role = $2 WHERE id = $1")
            .bind(key(&id))
            .bind(role.as_str())
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM sessions WHERE user = $1").bind(key(&id)).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(if done.rows_affected() > 0 { Removal::Done(()) } else { Removal::Gone })
    }

    /// Shuts an account out, or lets it in again; shutting out ends its sessions. Never the last admin.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn replace_disabled(&self, id: UserId, disabled_at: Option<Timestamp>) -> Result<Removal> {
        let mut tx = self.begin().await?;
        if disabled_at.is_some() && is_last_admin(&mut tx, id).await? {
            return Ok(Removal::LastAdmin);
        }
        let done = sqlx::query("UPDATE users SET disabled_at = $2 WHERE id = $1")
            .bind(key(&id))
            .bind(disabled_at.map(Timestamp::millis))
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM sessions WHERE user = $1").bind(key(&id)).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(if done.rows_affected() > 0 { Removal::Done(()) } else { Removal::Gone })
    }

    /// Removes an account with everything that is its: sessions, grants, apps, keys; its audit rows lose its name. Never the
    /// last admin. Gives those of its grants that still had secrets, as they were in this moment, so that they can be revoked
    /// at the provider too; one whose row is damaged is logged and left out, and goes like the others.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn take_user(&self, id: UserId) -> Result<Removal<Vec<GrantRecord>>> {
        let mut tx = self.begin().await?;
        if is_last_admin(&mut tx, id).await? {
            return Ok(Removal::LastAdmin);
        }
        sqlx::query("DELETE FROM apps WHERE user = $1").bind(key(&id)).execute(&mut *tx).await?;
        let grants =
            sqlx::query("DELETE FROM grants WHERE user = $1 RETURNING *").bind(key(&id)).fetch_all(&mut *tx).await?;
        sqlx::query("UPDATE audit SET user = NULL, app = NULL, grant_id = NULL WHERE user = $1")
            .bind(key(&id))
            .execute(&mut *tx)
            .await?;
        let done = sqlx::query("DELETE FROM users WHERE id = $1").bind(key(&id)).execute(&mut *tx).await?;
        tx.commit().await?;
        if done.rows_affected() == 0 {
            return Ok(Removal::Gone);
        }
        let mut live: Vec<_> = grants.iter().filter_map(|row| intact("grants", record(row))).collect();
        live.retain(|record| record.grant.status != GrantStatus::Disconnected);
        Ok(Removal::Done(live))
    }

    /// Keeps an invitation by which its user sets their first password.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn keep_invitation(&self, hash: KeyHash, user: UserId, expires_at: Timestamp) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM invitations WHERE user = $1").bind(key(&user)).execute(&mut *tx).await?;
        sqlx::query("INSERT INTO invitations (hash, user, expires_at) VALUES ($1, $2, $3)")
            .bind(hash.as_bytes().as_slice())
            .bind(key(&user))
            .bind(expires_at.millis())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Spends an invitation on a first password, ends the account's sessions, and gives whose it is. Whoever comes second
    /// finds none.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn take_invitation(&self, hash: KeyHash, now: Timestamp, password_hash: &str) -> Result<Option<UserId>> {
        let mut tx = self.begin().await?;
        let row = sqlx::query("DELETE FROM invitations WHERE hash = $1 AND expires_at > $2 RETURNING user")
            .bind(hash.as_bytes().as_slice())
            .bind(now.millis())
            .fetch_optional(&mut *tx)
            .await?;
        let Some(user) = row.map(|row| Columns(&row).id("user")).transpose()? else { return Ok(None) };
        sqlx::query("UPDATE users SET password_hash = $2 WHERE id = $1")
            .bind(key(&user))
            .bind(password_hash)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM sessions WHERE user = $1").bind(key(&user)).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(Some(user))
    }

    /// Finds whose invitation this is, while it holds.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn find_invitation(&self, hash: KeyHash, now: Timestamp) -> Result<Option<UserId>> {
        let row = sqlx::query("SELECT user FROM invitations WHERE hash = $1 AND expires_at > $2")
            .bind(hash.as_bytes().as_slice())
            .bind(now.millis())
            .fetch_optional(&self.read)
            .await?;
        row.map(|row| Columns(&row).id("user")).transpose()
    }
}
