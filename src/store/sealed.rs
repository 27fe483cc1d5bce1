//! What is sealed under a master key, counted by key and put under another: the store's part of a rotation.
//!
//! An envelope carries the id of its key in the bytes 2 to 5. They are what is counted and compared here, never a column
//! beside them that could say something else.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::columns::{Columns, key};
use super::{Result, Store};
use crate::domain::app::KeyHash;
use crate::domain::id::GrantId;
use crate::domain::secret::{Canary, CodeVerifier, DataKey, Sealed};
use crate::domain::time::Timestamp;

/// The id of a master key, as an envelope carries it.
pub type MasterKeyId = [u8; 4];

/// How much is sealed under one master key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SealedUnder {
    /// The key.
    pub key: MasterKeyId,
    /// Grants' own keys.
    pub data_keys: u64,
    /// Code verifiers of authorization requests that are open.
    pub verifiers: u64,
    /// Whether the canary is.
    pub canary: bool,
}

/// A sealed value with what it was before, so that it is put in place of that only.
pub struct Resealed<R, K> {
    /// The row that it stands in.
    pub row: R,
    /// What stood there when it was read.
    pub before: Sealed<K>,
    /// The same secret under another key.
    pub after: Sealed<K>,
}

/// The ids of all keys that anything in this database is sealed under.
pub(super) async fn keys_of(connection: &mut SqliteConnection) -> Result<Vec<MasterKeyId>> {
    let rows = sqlx::query(
        "SELECT substr(data_key, 2, 4) AS id FROM grants WHERE data_key IS NOT NULL \
         UNION SELECT substr(value, 2, 4) FROM meta WHERE name = 'canary'",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok(Columns(row).bytes("id")?.try_into().unwrap_or_default())).collect()
}

impl Store {
    /// How much is sealed under which master key, of everything that is.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn count_sealed(&self) -> Result<Vec<SealedUnder>> {
        let rows = sqlx::query(
            "SELECT id, sum(kind = 1) AS data_keys, sum(kind = 2) AS verifiers, sum(kind = 3) AS canaries FROM ( \
             SELECT substr(data_key, 2, 4) AS id, 1 AS kind FROM grants WHERE data_key IS NOT NULL \
             UNION ALL SELECT substr(verifier, 2, 4), 2 FROM authorization_requests \
             UNION ALL SELECT substr(value, 2, 4), 3 FROM meta WHERE name = 'canary') GROUP BY id",
        )
        .fetch_all(&self.read)
        .await?;
        rows.iter()
            .map(|row| {
                let row = Columns(row);
                let count = |name| row.int(name).map(|n| u64::try_from(n).unwrap_or(0));
                // An envelope that is too short for an id is damage, and is counted under no key that exists.
                let key = row.bytes("id")?.try_into().unwrap_or_default();
                Ok(SealedUnder {
                    key,
                    data_keys: count("data_keys")?,
                    verifiers: count("verifiers")?,
                    canary: count("canaries")? > 0,
                })
            })
            .collect()
    }

    /// Data keys that are not sealed under this key, in the order of their grants, from after one.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn list_data_keys_not_under(
        &self,
        master: MasterKeyId,
        after: Option<GrantId>,
        limit: u32,
    ) -> Result<Vec<(GrantId, Sealed<DataKey>)>> {
        let rows = sqlx::query(
            "SELECT id, data_key FROM grants WHERE id > $1 AND data_key IS NOT NULL AND substr(data_key, 2, 4) <> $2 ORDER BY id LIMIT $3",
        )
        .bind(after.as_ref().map_or(&[][..], key))
        .bind(master.as_slice())
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        rows.iter()
            .map(|row| {
                let row = Columns(row);
                Ok((row.id("id")?, Sealed::from_envelope(row.bytes("data_key")?)))
            })
            .collect()
    }

    /// Code verifiers of open requests that are not sealed under this key.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn list_verifiers_not_under(&self, master: MasterKeyId) -> Result<Vec<(KeyHash, Sealed<CodeVerifier>)>> {
        let rows =
            sqlx::query("SELECT state_hash, verifier FROM authorization_requests WHERE substr(verifier, 2, 4) <> $1")
                .bind(master.as_slice())
                .fetch_all(&self.read)
                .await?;
        rows.iter()
            .map(|row| {
                let row = Columns(row);
                Ok((row.hash("state_hash")?, Sealed::from_envelope(row.bytes("verifier")?)))
            })
            .collect()
    }

    /// Puts data keys in place of what they were made from, all in one step; one that was replaced or taken meanwhile is
    /// left alone. How many were put.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn replace_data_keys(&self, resealed: &[Resealed<GrantId, DataKey>]) -> Result<u64> {
        let mut tx = self.begin().await?;
        let mut done = 0;
        for one in resealed {
            done += sqlx::query(
                "UPDATE grants SET data_key = $3, master_key_id = lower(hex(substr($3, 2, 4))) WHERE id = $1 AND data_key = $2",
            )
                .bind(key(&one.row))
                .bind(one.before.envelope())
                .bind(one.after.envelope())
                .execute(&mut *tx)
                .await?
                .rows_affected();
        }
        tx.commit().await?;
        Ok(done)
    }

    /// The same for code verifiers.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn replace_verifiers(&self, resealed: &[Resealed<KeyHash, CodeVerifier>]) -> Result<u64> {
        let mut tx = self.begin().await?;
        let mut done = 0;
        for one in resealed {
            done +=
                sqlx::query("UPDATE authorization_requests SET verifier = $3 WHERE state_hash = $1 AND verifier = $2")
                    .bind(one.row.as_bytes().as_slice())
                    .bind(one.before.envelope())
                    .bind(one.after.envelope())
                    .execute(&mut *tx)
                    .await?
                    .rows_affected();
        }
        tx.commit().await?;
        Ok(done)
    }

    /// Puts a canary in place of the one that it was made from. False when another stands there.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn replace_canary(&self, before: &Sealed<Canary>, after: &Sealed<Canary>) -> Result<bool> {
        let mut tx = self.begin().await?;
        let done = sqlx::query("UPDATE meta SET value = $2 WHERE name = 'canary' AND value = $1")
            .bind(before.envelope())
            .bind(after.envelope())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Finds the canary.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn find_canary(&self) -> Result<Option<Sealed<Canary>>> {
        Ok(self.find_fact("canary").await?.map(Sealed::from_envelope))
    }

    /// Retires master keys: from now on nothing can be kept that is sealed under them, by any process. False when
    /// something still is; then nothing is retired.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn retire_master_keys(&self, keys: &[MasterKeyId], now: Timestamp) -> Result<bool> {
        let mut tx = self.begin().await?;
        for id in keys {
            let needed: i64 = sqlx::query(
                "SELECT EXISTS (SELECT 1 FROM grants WHERE substr(data_key, 2, 4) = $1) \
                 OR EXISTS (SELECT 1 FROM authorization_requests WHERE substr(verifier, 2, 4) = $1) \
                 OR EXISTS (SELECT 1 FROM meta WHERE name = 'canary' AND substr(value, 2, 4) = $1)",
            )
            .bind(id.as_slice())
            .fetch_one(&mut *tx)
            .await?
            .try_get(0)?;
            if needed != 0 {
                return Ok(false);
            }
            sqlx::query("INSERT INTO retired_keys (id, retired_at) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(id.as_slice())
                .bind(now.millis())
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Takes back that a master key was retired: its operator has put it first again.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn unretire_master_key(&self, id: MasterKeyId) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM retired_keys WHERE id = $1").bind(id.as_slice()).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }
}
