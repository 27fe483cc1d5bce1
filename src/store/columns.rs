//! Between columns and our own types. A column that does not hold what was written is damage, never a guess.

use std::str::FromStr;

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Result, StoreError};
use crate::domain::app::KeyHash;
use crate::domain::id::Id;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{Sealed, SecretKind};
use crate::domain::time::Timestamp;

/// One row, read by column name.
pub(super) struct Columns<'r>(pub(super) &'r SqliteRow);

impl Columns<'_> {
    pub(super) fn id<K>(&self, name: &str) -> Result<Id<K>> {
        self.id_or_none(name)?.ok_or_else(|| damaged(name))
    }

    pub(super) fn id_or_none<K>(&self, name: &str) -> Result<Option<Id<K>>> {
        let bytes: Option<&[u8]> = self.0.try_get(name)?;
        bytes.map(|bytes| bytes.try_into().map(Id::from_bytes).map_err(|_| damaged(name))).transpose()
    }

    pub(super) fn hash(&self, name: &str) -> Result<KeyHash> {
        let bytes: &[u8] = self.0.try_get(name)?;
        bytes.try_into().map(KeyHash::from_bytes).map_err(|_| damaged(name))
    }

    pub(super) fn time(&self, name: &str) -> Result<Timestamp> {
        Ok(Timestamp::from_millis(self.0.try_get(name)?))
    }

    pub(super) fn time_or_none(&self, name: &str) -> Result<Option<Timestamp>> {
        let millis: Option<i64> = self.0.try_get(name)?;
        Ok(millis.map(Timestamp::from_millis))
    }

    pub(super) fn int(&self, name: &str) -> Result<i64> {
        Ok(self.0.try_get(name)?)
    }

    pub(super) fn int_or_none(&self, name: &str) -> Result<Option<i64>> {
        Ok(self.0.try_get(name)?)
    }

    pub(super) fn scopes(&self, name: &str) -> Result<ScopeSet> {
        u8::try_from(self.int(name)?).map(ScopeSet::from_bits).map_err(|_| damaged(name))
    }

    pub(super) fn text(&self, name: &str) -> Result<String> {
        Ok(self.0.try_get(name)?)
    }

    pub(super) fn text_or_none(&self, name: &str) -> Result<Option<String>> {
        Ok(self.0.try_get(name)?)
    }

    pub(super) fn parsed<T: FromStr>(&self, name: &str) -> Result<T> {
        let text: &str = self.0.try_get(name)?;
        text.parse().map_err(|_| damaged(name))
    }

    pub(super) fn parsed_or_none<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        let text: Option<&str> = self.0.try_get(name)?;
        text.map(|text| text.parse().map_err(|_| damaged(name))).transpose()
    }

    pub(super) fn sealed<K: SecretKind>(&self, name: &str) -> Result<Option<Sealed<K>>> {
        let envelope: Option<Vec<u8>> = self.0.try_get(name)?;
        Ok(envelope.map(Sealed::from_envelope))
    }

    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        Ok(self.0.try_get(name)?)
    }
}

/// An id as it is bound to a statement.
pub(super) fn key<K>(id: &Id<K>) -> &[u8] {
    id.as_bytes().as_slice()
}

/// A set of scopes as it is bound to a statement.
pub(super) const fn bits(set: ScopeSet) -> i64 {
    set.bits() as i64
}

fn damaged(column: &str) -> StoreError {
    StoreError::Damaged(format!("column {column} holds something that was never written there"))
}
