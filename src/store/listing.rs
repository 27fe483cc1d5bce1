//! Listings page by page, each page read by the place of the last item of the page before, so that the cost of a page does
//! not grow with its number.

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};

use super::columns::{Columns, bits};
use super::grants::grant;
use super::live::intact;
use super::{Result, Store};
use crate::domain::grant::{Grant, GrantStatus};
use crate::domain::id::{GrantId, UserId};
use crate::domain::scope::{Scope, ScopeSet};

/// Which grants a page holds, in the order of their making or the newest first.
#[derive(Clone, Debug, Default)]
pub struct GrantsAfter {
    /// Of this user.
    pub user: Option<UserId>,
    /// Whose granted scopes hold this one.
    pub scope: Option<Scope>,
    /// With this status.
    pub status: Option<GrantStatus>,
    /// Not disconnected.
    pub live: bool,
    /// The newest first.
    pub newest_first: bool,
    /// From after this one.
    pub after: Option<GrantId>,
    /// At most so many.
    pub limit: u32,
}

/// Which grants a listing shows.
#[derive(Clone, Debug, Default)]
pub struct GrantFilter {
    /// Of this user.
    pub user: Option<UserId>,
    /// Whose granted scopes hold this one.
    pub scope: Option<Scope>,
    /// With this status.
    pub status: Option<GrantStatus>,
    /// The grants that need their user, where memory knows that better than what is kept; else the kept status tells.
    pub needing: Option<Vec<GrantId>>,
    /// Not disconnected.
    pub live: bool,
    /// Whose label or user's name contains this.
    pub search: Option<String>,
    /// In this order.
    pub sort: GrantSort,
    /// From after this many rows.
    pub offset: u32,
    /// At most so many.
    pub limit: u32,
}

/// The orders of a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GrantSort {
    /// Those that need their user first, then newest first.
    #[default]
    Attention,
    /// By user, then label.
    User,
    /// Newest first.
    Created,
    /// Last used first.
    LastUsed,
    /// First to expire first.
    Expires,
    /// Those with scopes that were never used first.
    Unused,
}

/// A grant in a listing.
#[derive(Clone, Debug)]
pub struct ListedGrant {
    /// The grant.
    pub grant: Grant,
    /// Its user's name.
    pub user_name: String,
    /// How many live apps can reach it.
    pub apps: i64,
}

const GRANTS: &str = "SELECT g.*, u.name AS user_name FROM grants g JOIN users u ON u.id = g.user";

fn with_user_name(row: &SqliteRow) -> Result<(Grant, String)> {
    Ok((grant(row)?, Columns(row).text("user_name")?))
}

impl Store {
    /// A page of grants with their users' names; the status is the kept one.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn list_grants_after(&self, page: &GrantsAfter) -> Result<Vec<(Grant, String)>> {
        let mut query = QueryBuilder::<Sqlite>::new(GRANTS);
        query.push(" WHERE true");
        if let Some(after) = &page.after {
            query.push(if page.newest_first { " AND g.id < " } else { " AND g.id > " });
            query.push_bind(after.as_bytes().to_vec());
        }
        if let Some(user) = &page.user {
            query.push(" AND g.user = ").push_bind(user.as_bytes().to_vec());
        }
        if let Some(scope) = page.scope {
            query.push(" AND g.scopes_granted & ").push_bind(bits(ScopeSet::of(scope))).push(" <> 0");
        }
        if let Some(status) = page.status {
            query.push(" AND g.status = ").push_bind(status.as_str());
        }
        if page.live {
            query.push(" AND g.status <> 'disconnected'");
        }
        query.push(if page.newest_first { " ORDER BY g.id DESC LIMIT " } else { " ORDER BY g.id LIMIT " });
        query.push_bind(i64::from(page.limit));
        let rows = query.build().fetch_all(&self.read).await?;
        rows.iter().map(with_user_name).collect()
    }

    /// These grants with their users' names, in the order of their making; those that are gone are left out.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn list_grants_of(&self, ids: &[GrantId]) -> Result<Vec<(Grant, String)>> {
        let mut found = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(500) {
            let mut query = QueryBuilder::<Sqlite>::new(GRANTS);
            query.push(" WHERE g.id IN (");
            let mut list = query.separated(", ");
            for id in chunk {
                list.push_bind(id.as_bytes().to_vec());
            }
            query.push(") ORDER BY g.id");
            let rows = query.build().fetch_all(&self.read).await?;
            found.extend(rows.iter().filter_map(|row| intact("grants", with_user_name(row))));
        }
        Ok(found)
    }

    /// A page of the listing. The rows are found first, so that apps are counted for those that are shown only.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn list_grants(&self, filter: &GrantFilter) -> Result<Vec<ListedGrant>> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT g.*, u.name AS user_name, (SELECT count(*) FROM apps a WHERE g.status <> 'disconnected' AND a.user = g.user AND a.revoked_at IS NULL \
             AND (a.grant_id IS NULL OR a.grant_id = g.id) AND a.scopes & g.scopes_granted <> 0) AS apps FROM (",
        );
        find(&mut query, filter);
        query.push(" LIMIT ").push_bind(i64::from(filter.limit)).push(" OFFSET ").push_bind(i64::from(filter.offset));
        query.push(") JOIN grants g ON g.id = found JOIN users u ON u.id = g.user ORDER BY ");
        query.push(order(filter.sort));
        let rows = query.build().fetch_all(&self.read).await?;
        rows.iter()
            .map(|row| {
                let (grant, user_name) = with_user_name(row)?;
                Ok(ListedGrant { grant, user_name, apps: Columns(row).int("apps")? })
            })
            .collect()
    }

    /// How many grants a filter lets through.
    ///
    /// # Errors
    /// [`super::StoreError`]
    pub async fn count_grants(&self, filter: &GrantFilter) -> Result<i64> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT count(*) FROM grants g");
        narrow(&mut query, filter);
        Ok(query.build_query_scalar().fetch_one(&self.read).await?)
    }
}

/// The ids of a listing, in its order.
fn find(query: &mut QueryBuilder<Sqlite>, filter: &GrantFilter) {
    match filter.sort {
        GrantSort::Attention => {
            // The few that need their user, and then the others, of which an index has all that sorting them takes.
            query.push("SELECT g.id AS found, 0 AS later, g.status = 'disconnected' AS ended FROM grants g");
            narrow(query, filter);
            query.push(" AND ");
            needs_user(query, filter);
            query.push(" UNION ALL SELECT g.id, 1, g.status = 'disconnected' FROM grants g");
            narrow(query, filter);
            query.push(" AND NOT ");
            needs_user(query, filter);
        }
        // In the order of the names, so that nothing needs sorting.
        GrantSort::User => {
            query.push("SELECT g.id AS found FROM users u CROSS JOIN grants g ON g.user = u.id");
            narrow(query, filter);
        }
        _ => {
            query.push("SELECT g.id AS found FROM grants g");
            narrow(query, filter);
        }
    }
    query.push(" ORDER BY ").push(order(filter.sort));
}

const fn order(sort: GrantSort) -> &'static str {
    match sort {
        GrantSort::Attention => "later, ended, found DESC",
        GrantSort::User => "u.name_folded, g.label, g.id",
        GrantSort::Created => "g.id DESC",
        GrantSort::LastUsed => "g.last_used_at DESC NULLS LAST, g.id",
        GrantSort::Expires => "g.expires_at NULLS LAST, g.id",
        GrantSort::Unused => "g.scopes_granted & ~g.scopes_used & 31 = 0, g.id",
    }
}

fn needs_user(query: &mut QueryBuilder<Sqlite>, filter: &GrantFilter) {
    match &filter.needing {
        None => query.push("(g.status = 'needs_consent')"),
        Some(ids) => {
            let ids: Vec<_> =
                ids.iter().map(|id| format!("\"{:032x}\"", u128::from_be_bytes(*id.as_bytes()))).collect();
            query.push("(g.id IN (SELECT unhex(value) FROM json_each(");
            query.push_bind(format!("[{}]", ids.join(","))).push(")))")
        }
    };
}

fn narrow(query: &mut QueryBuilder<Sqlite>, filter: &GrantFilter) {
    query.push(" WHERE true");
    if let Some(user) = &filter.user {
        query.push(" AND g.user = ").push_bind(user.as_bytes().to_vec());
    }
    if let Some(scope) = filter.scope {
        query.push(" AND g.scopes_granted & ").push_bind(bits(ScopeSet::of(scope))).push(" <> 0");
    }
    match filter.status {
        Some(GrantStatus::NeedsConsent) => {
            query.push(" AND ");
            needs_user(query, filter);
        }
        Some(status) => {
            query.push(" AND g.status = ").push_bind(status.as_str());
            if filter.needing.is_some() {
                query.push(" AND NOT ");
                needs_user(query, filter);
            }
        }
        None => {}
    }
    if filter.live {
        query.push(" AND g.status <> 'disconnected'");
    }
    if let Some(search) = filter.search.as_deref().filter(|text| !text.is_empty()) {
        query.push(" AND (instr(lower(g.label), ").push_bind(search.to_lowercase());
        query
            .push(") > 0 OR g.user IN (SELECT id FROM users WHERE instr(name_folded, ")
            .push_bind(search.to_lowercase());
        query.push(") > 0))");
    }
}
