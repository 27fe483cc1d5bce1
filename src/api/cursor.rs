//! Paging: a cursor says from where a listing goes on. It names the last item of the page before, so that what is made or
//! ended meanwhile moves nothing, and it holds for the same listing with the same filters only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::given::{Given, Unread, text};

/// The most items of a page.
const LARGEST: u32 = 500;
/// The items of a page when none are asked for.
const USUAL: u32 = 100;

/// One page of a listing.
#[derive(Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// The items.
    pub(super) items: Vec<T>,
    /// Where the next page begins: send it as `cursor`. Null on the last page.
    pub(super) next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// The page of a listing that has nothing.
    pub(super) const fn empty() -> Self {
        Self { items: Vec::new(), next_cursor: None }
    }
}

/// Which page of which listing is asked for.
pub(super) struct Wanted<const N: usize> {
    listing: [u8; 32],
    /// The place of the last item of the page before.
    pub(super) after: Option<[u8; N]>,
    /// At most so many items.
    pub(super) limit: u32,
}

impl<const N: usize> Wanted<N> {
    /// Reads `cursor` and `limit`. `listing` names the listing and its filters.
    pub(super) fn read(given: &mut Given, listing: &[&str]) -> Self {
        let listing = digest(listing);
        let after = given.maybe("cursor", |value| place(&listing, value));
        let limit = given.maybe("limit", |value| {
            let limit = text(value)?.parse().ok().filter(|limit| (1..=LARGEST).contains(limit));
            limit.ok_or_else(|| format!("must be a number from 1 to {LARGEST}"))
        });
        Self { listing, after, limit: limit.unwrap_or(USUAL) }
    }

    /// How many to read: one more than wanted tells whether there is a next page.
    pub(super) const fn read_ahead(&self) -> u32 {
        self.limit + 1
    }

    /// Makes the page of what was read.
    pub(super) fn page<R, T>(
        &self,
        mut read: Vec<R>,
        place: impl Fn(&R) -> [u8; N],
        item: impl FnMut(R) -> T,
    ) -> Page<T> {
        let limit = self.limit as usize;
        let more = read.len() > limit;
        read.truncate(limit);
        let next_cursor = read.last().filter(|_| more).map(|last| cursor(&self.listing, &place(last)));
        Page { items: read.into_iter().map(item).collect(), next_cursor }
    }
}

fn digest(parts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Tells a cursor that was changed or made for another listing. It needs no key: whoever may list may list from anywhere.
fn check(listing: &[u8; 32], place: &[u8]) -> [u8; 8] {
    let mut hasher = Sha256::new();
    hasher.update(b"keyfob cursor 1");
    hasher.update(listing);
    hasher.update(place);
    let whole: [u8; 32] = hasher.finalize().into();
    let mut check = [0; 8];
    check.copy_from_slice(&whole[..8]);
    check
}

fn cursor(listing: &[u8; 32], place: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode([place, &check(listing, place)].concat())
}

fn place<const N: usize>(listing: &[u8; 32], value: Value) -> Result<[u8; N], Unread> {
    let bad = || "must be the next_cursor of a page with the same filters".to_owned();
    let bytes = URL_SAFE_NO_PAD.decode(text(value)?).map_err(|_| bad())?;
    let (place, found) = bytes.split_last_chunk::<8>().ok_or_else(bad)?;
    let place: [u8; N] = place.try_into().map_err(|_| bad())?;
    if *found == check(listing, &place) { Ok(place) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(query: &str, listing: &[&str]) -> Option<Wanted<8>> {
        let mut given = Given::of_query(Some(query));
        let wanted = Wanted::read(&mut given, listing);
        given.finish(Some(wanted)).ok()
    }

    #[test]
    fn a_cursor_leads_on_in_its_own_listing_only() {
        let first = wanted("limit=2", &["apps", ""]).unwrap();
        assert_eq!((first.after, first.read_ahead()), (None, 3));
        let page = first.page(vec![3_u64, 5, 9], |n| n.to_be_bytes(), |n| n);
        assert_eq!(page.items, [3, 5]);
        let cursor = page.next_cursor.unwrap();
        let next = wanted(&format!("cursor={cursor}"), &["apps", ""]).unwrap();
        assert_eq!(next.after, Some(5_u64.to_be_bytes()));
        assert_eq!(next.limit, 100);
        assert!(wanted(&format!("cursor={cursor}"), &["apps", "x"]).is_none());
        assert!(wanted(&format!("cursor={cursor}"), &["users", ""]).is_none());
        assert!(next.page(vec![9_u64], |n| n.to_be_bytes(), |n| n).next_cursor.is_none());
    }

    #[test]
    fn a_changed_cursor_is_told() {
        let page = wanted("limit=1", &["apps"]).unwrap().page(vec![1_u64, 2], |n| n.to_be_bytes(), |n| n);
        let cursor = page.next_cursor.unwrap();
        for at in 0..cursor.len() {
            let mut other = cursor.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert!(wanted(&format!("cursor={other}"), &["apps"]).is_none(), "{other}");
        }
        for bad in ["x", "AAAA", "%00", "äö"] {
            assert!(wanted(&format!("cursor={bad}"), &["apps"]).is_none(), "{bad}");
        }
        for bad in ["0", "501", "-1", "1.5", "ten", "99999999999999999999"] {
            assert!(wanted(&format!("limit={bad}"), &["apps"]).is_none(), "{bad}");
        }
    }
}
