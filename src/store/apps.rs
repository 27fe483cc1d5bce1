//! Apps and the digests of their keys.

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};

use super::columns::{Columns, bits, key};
use super::live::intact;
use super::{Made, Result, Store, Tx};
use crate::domain::app::{App, KeyHash};
use crate::domain::id::{AppId, GrantId, UserId};
use crate::domain::scope::ScopeSet;
use crate::domain::time::Timestamp;

/// An app on its way to being kept.
#[derive(Clone, Debug)]
pub struct NewApp {
    /// The app.
    pub app: App,
    /// The digest of its first key.
    pub key: KeyHash,
}

/// A key as it is kept.
#[derive(Clone, Copy, Debug)]
pub struct KeptKey {
    /// Its digest.
    pub hash: KeyHash,
    /// Until when it works, once it was rolled.
    pub valid_until: Option<Timestamp>,
}

/// An app with what else is kept of it.
#[derive(Clone, Debug)]
pub struct AppRecord {
    /// The app.
    pub app: App,
    /// Its user's name.
    pub user_name: String,
    /// The scopes that its calls really needed.
    pub scopes_used: ScopeSet,
    /// The digests of its keys.
    pub keys: Vec<KeptKey>,
}

/// Which apps a listing shows.
#[derive(Clone, Debug, Default)]
pub struct AppFilter {
    /// Of this user.
    pub user: Option<UserId>,
    /// That can reach this grant.
    pub grant: Option<GrantId>,
    /// Whose name or user's name contains this.
    pub search: Option<String>,
    /// Live ones that have not called since, or were made before and never did; the longest idle first.
    pub idle_since: Option<Timestamp>,
    /// Not revoked.
    pub live: bool,
    /// Those that are not revoked first, and of either the newest, instead of in the order of their making.
    pub newest_first: bool,
    /// From after this one, in that order.
    pub after: Option<AppId>,
    /// From after this many, where they come by their last call.
    pub offset: u32,
    /// At most so many.
    pub limit: u32,
}

pub(super) fn app(row: &SqliteRow) -> Result<App> {
    let row = Columns(row);
    Ok(App {
        id: row.id("id")?,
        user: row.id("user")?,
        name: row.parsed("name")?,
        scopes: row.scopes("scopes")?,
        grant: row.id_or_none("grant_id")?,
        query_key: row.int("query_key")? != 0,
        rate: row.parsed_or_none("rate")?,
        created_at: row.time("created_at")?,
        last_used_at: row.time_or_none("last_used_at")?,
        expires_at: row.time_or_none("expires_at")?,
        revoked_at: row.time_or_none("revoked_at")?,
    })
}

fn record(row: &SqliteRow) -> Result<AppRecord> {
    let columns = Columns(row);
    Ok(AppRecord {
        app: app(row)?,
        user_name: columns.text("user_name")?,
        scopes_used: columns.scopes("scopes_used")?,
        keys: Vec::new(),
    })
}

pub(super) fn kept_key(row: &SqliteRow) -> Result<(AppId, KeptKey)> {
    let row = Columns(row);
    Ok((row.id("app")?, KeptKey { hash: row.hash("hash")?, valid_until: row.time_or_none("valid_until")? }))
}

async fn insert_key(tx: &mut Tx, app: AppId, hash: KeyHash, now: Timestamp) -> Result<()> {
    sqlx::query("INSERT INTO app_keys (hash, app, created_at) VALUES ($1, $2, $3)")
        .bind(hash.as_bytes().as_slice())
        .bind(key(&app))
        .bind(now.millis())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

impl Store {
    /// Keeps a new app with its first key. `Refused` when its grant is none of its user's.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn keep_app(&self, new: &NewApp) -> Result<Made> {
        let mut tx = self.begin().await?;
        let app = &new.app;
        let done = sqlx::query(
            "INSERT INTO apps (id, user, name, scopes, grant_id, query_key, rate, created_at, expires_at) \
             SELECT $1, u.id, $3, $4, $5, $6, $7, $8, $9 FROM users u WHERE u.id = $2 \
             AND ($5 IS NULL OR EXISTS (SELECT 1 FROM grants g WHERE g.id = $5 AND g.user = $2 AND g.status <> 'disconnected'))",
        )
        .bind(key(&app.id))
        .bind(key(&app.user))
        .bind(app.name.as_str())
        .bind(bits(app.scopes))
        .bind(app.grant.as_ref().map(key))
        .bind(i64::from(app.query_key))
        .bind(app.rate.map(|rate| rate.to_string()))
        .bind(app.created_at.millis())
        .bind(app.expires_at.map(Timestamp::millis))
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(Made::Refused);
        }
        insert_key(&mut tx, app.id, new.key, app.created_at).await?;
        tx.commit().await?;
        Ok(Made::Done)
    }

    /// Gives an app a new key; the old ones work until `old_until`, or not at all. False when the app is gone, revoked, or another user's.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn replace_app_key(
        &self,
        id: AppId,
        of: Option<UserId>,
        new: KeyHash,
        old_until: Timestamp,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        let live: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM apps WHERE id = $1 AND revoked_at IS NULL AND ($2 IS NULL OR user = $2)",
        )
        .bind(key(&id))
        .bind(of.as_ref().map(key))
        .fetch_one(&mut *tx)
        .await?;
        if live == 0 {
            return Ok(false);
        }
        sqlx::query("DELETE FROM app_keys WHERE app = $1 AND $2 <= $3")
            .bind(key(&id))
            .bind(old_until.millis())
            .bind(now.millis())
            .execute(&mut *tx)
            .await?;
        sqlx::query("UPDATE app_keys SET valid_until = min(coalesce(valid_until, $2), $2) WHERE app = $1")
            .bind(key(&id))
            .bind(old_until.millis())
            .execute(&mut *tx)
            .await?;
        insert_key(&mut tx, id, new, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Cuts an app off. False when it is gone, already revoked, or another user's.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn revoke_app(&self, id: AppId, of: Option<UserId>, now: Timestamp) -> Result<bool> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(
            "UPDATE apps SET revoked_at = $3 WHERE id = $1 AND revoked_at IS NULL AND ($2 IS NULL OR user = $2)",
        )
        .bind(key(&id))
        .bind(of.as_ref().map(key))
        .bind(now.millis())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Sets an app's scopes. False when it is gone, revoked, or another user's.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn replace_app_scopes(&self, id: AppId, of: Option<UserId>, scopes: ScopeSet) -> Result<bool> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(
            "UPDATE apps SET scopes = $3 WHERE id = $1 AND revoked_at IS NULL AND ($2 IS NULL OR user = $2)",
        )
        .bind(key(&id))
        .bind(of.as_ref().map(key))
        .bind(bits(scopes))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Finds an app with its keys, of this user if one is named.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn find_app(&self, id: AppId, of: Option<UserId>) -> Result<Option<AppRecord>> {
        let row = sqlx::query("SELECT a.*, u.name AS user_name FROM apps a JOIN users u ON u.id = a.user WHERE a.id = $1 AND ($2 IS NULL OR a.user = $2)")
            .bind(key(&id))
            .bind(of.as_ref().map(key))
            .fetch_optional(&self.read)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let mut record = record(&row)?;
        let keys = sqlx::query("SELECT app, hash, valid_until FROM app_keys WHERE app = $1")
            .bind(key(&id))
            .fetch_all(&self.read)
            .await?;
        record.keys = keys.iter().map(|row| kept_key(row).map(|(_, key)| key)).collect::<Result<_>>()?;
        Ok(Some(record))
    }

    /// These apps, in the order of their making; their keys are not read, and those that are gone are left out.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn list_apps_of(&self, ids: &[AppId]) -> Result<Vec<AppRecord>> {
        let mut found = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(500) {
            let mut query = QueryBuilder::<Sqlite>::new(
                "SELECT a.*, u.name AS user_name FROM apps a JOIN users u ON u.id = a.user WHERE a.id IN (",
            );
            let mut list = query.separated(", ");
            for id in chunk {
                list.push_bind(id.as_bytes().to_vec());
            }
            query.push(") ORDER BY a.id");
            let rows = query.build().fetch_all(&self.read).await?;
            found.extend(rows.iter().filter_map(|row| intact("apps", record(row))));
        }
        Ok(found)
    }

    /// A page of apps; their keys are not read.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn list_apps(&self, filter: &AppFilter) -> Result<Vec<AppRecord>> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT a.*, u.name AS user_name FROM apps a JOIN users u ON u.id = a.user WHERE true",
        );
        if let Some(user) = &filter.user {
            query.push(" AND a.user = ").push_bind(user.as_bytes().to_vec());
        }
        if let Some(grant) = &filter.grant {
            query.push(" AND EXISTS (SELECT 1 FROM grants g WHERE g.id = ").push_bind(grant.as_bytes().to_vec());
            query.push(" AND g.user = a.user AND (a.grant_id IS NULL OR a.grant_id = g.id) AND a.scopes & g.scopes_granted <> 0)");
        }
        if let Some(search) = filter.search.as_deref().filter(|text| !text.is_empty()) {
            query.push(" AND (instr(lower(a.name), ").push_bind(search.to_lowercase());
            query
                .push(") > 0 OR a.user IN (SELECT id FROM users WHERE instr(name_folded, ")
                .push_bind(search.to_lowercase());
            query.push(") > 0))");
        }
        if let Some(after) = filter.after.as_ref().map(|id| id.as_bytes().to_vec()) {
            if filter.newest_first {
                query.push(" AND (a.revoked_at IS NULL, a.id) < (SELECT revoked_at IS NULL, id FROM apps WHERE id = ");
                query.push_bind(after).push(")");
            } else {
                query.push(" AND a.id > ").push_bind(after);
            }
        }
        if filter.live {
            query.push(" AND a.revoked_at IS NULL");
        }
        if let Some(since) = filter.idle_since {
            query
                .push(" AND a.revoked_at IS NULL AND coalesce(a.last_used_at, a.created_at) < ")
                .push_bind(since.millis());
            query.push(" ORDER BY coalesce(a.last_used_at, a.created_at), a.id LIMIT ");
        } else {
            let newest = " ORDER BY a.revoked_at IS NULL DESC, a.id DESC LIMIT ";
            query.push(if filter.newest_first { newest } else { " ORDER BY a.id LIMIT " });
        }
        query.push_bind(i64::from(filter.limit)).push(" OFFSET ").push_bind(i64::from(filter.offset));
        let rows = query.build().fetch_all(&self.read).await?;
        rows.iter().map(record).collect()
    }
}
