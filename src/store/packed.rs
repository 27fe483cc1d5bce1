//! Calls that share a row of the audit trail: what each has of its own, as one JSON text that sqlite3 can read as well.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::{Result, StoreError};
use crate::domain::audit::{AuditEvent, kind};
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::time::Timestamp;

/// No row holds more calls. Readers rely on it: a row that reaches below a number is no further above it than this.
pub(super) const MOST: u8 = 128;
/// How far apart in time the calls of one row may be: where calls are counted by time, they count as their newest.
const APART_MS: u64 = 1_000;

/// What is read: calls by the places of their words.
#[derive(Deserialize)]
struct Text {
    calls: Vec<Call>,
    words: Vec<String>,
}

/// Milliseconds before the newest; method, template, path and scope; status, duration, bytes up and down.
#[derive(Deserialize)]
struct Call(i64, Option<usize>, Option<usize>, Option<usize>, Option<usize>, Option<u16>, Option<i64>, i64, i64);

/// Calls as one row holds them.
pub(super) struct Packed {
    /// When the newest was.
    pub(super) at: Timestamp,
    /// How many.
    pub(super) count: i64,
    /// Bytes of their requests' bodies.
    pub(super) bytes_up: i64,
    /// Bytes of their responses' bodies.
    pub(super) bytes_down: i64,
    /// What each has of its own.
    pub(super) calls: String,
    /// What they needed.
    pub(super) scopes: ScopeSet,
}

/// Whether two events can share a row: all that is not in [`Call`] is equal, and they are near in time.
pub(super) fn are_alike(one: &AuditEvent, other: &AuditEvent) -> bool {
    one.app == other.app
        && one.grant == other.grant
        && one.user == other.user
        && one.decision == other.decision
        && [one, other].iter().all(|event| event.kind == kind::CALL && event.count == 1)
        && one.at.millis().abs_diff(other.at.millis()) <= APART_MS
}

/// A word and its place.
type Placed<'e> = Option<(&'e str, i64)>;

/// Words in the order in which they came, each once.
#[derive(Default)]
struct Words<'e> {
    words: Vec<&'e str>,
    places: HashMap<&'e str, i64>,
}

impl<'e> Words<'e> {
    /// A word's place; looked up only where it is not the word that the call before had.
    fn place(&mut self, word: Option<&'e str>, before: &mut Placed<'e>) -> Option<i64> {
        let word = word?;
        if let Some((same, place)) = *before
            && (std::ptr::eq(same, word) || same == word)
        {
            return Some(place);
        }
        let next = i64::try_from(self.words.len()).ok()?;
        let place = *self.places.entry(word).or_insert_with(|| {
            self.words.push(word);
            next
        });
        *before = Some((word, place));
        Some(place)
    }
}

/// Writes one call. By hand: most of its numbers have one digit, and through a serializer they cost half of a call's row.
fn write(text: &mut String, members: [Option<i64>; 9]) {
    let mut between = '[';
    for member in members {
        text.push(between);
        between = ',';
        let Some(number) = member else {
            text.push_str("null");
            continue;
        };
        match usize::try_from(number).ok().and_then(|digit| b"0123456789".get(digit)) {
            Some(digit) => text.push(char::from(*digit)),
            None => write_digits(text, number),
        }
    }
    text.push(']');
}

/// Writes a number that is not a digit.
fn write_digits(text: &mut String, number: i64) {
    if number < 0 {
        text.push('-');
    }
    let (mut left, mut digits, mut first) = (number.unsigned_abs(), [b'0'; 20], 20);
    while left > 0 {
        first -= 1;
        digits[first] += (left % 10) as u8;
        left /= 10;
    }
    text.extend(digits[first..].iter().map(|digit| char::from(*digit)));
}

/// Packs calls that are alike, the oldest first.
pub(super) fn pack(events: &[&AuditEvent]) -> Packed {
    let at = events.iter().map(|event| event.at).max().unwrap_or(Timestamp::from_millis(0));
    let mut words = Words::default();
    let [mut method, mut template, mut path, mut scope] = [None; 4];
    let (mut bytes_up, mut bytes_down, mut scopes) = (0_i64, 0_i64, ScopeSet::EMPTY);
    let mut text = String::with_capacity(256 + 40 * events.len());
    let mut between = r#"{"calls":["#;
    for event in events {
        bytes_up = bytes_up.saturating_add(event.bytes_up);
        bytes_down = bytes_down.saturating_add(event.bytes_down);
        scopes = event.scope.map_or(scopes, |scope| scopes.with(scope));
        text.push_str(between);
        between = ",";
        let members = [
            Some(at.millis().saturating_sub(event.at.millis())),
            words.place(event.method.as_deref(), &mut method),
            words.place(event.template.as_deref(), &mut template),
            words.place(event.path.as_deref(), &mut path),
            words.place(event.scope.map(Scope::as_str), &mut scope),
            event.status.map(i64::from),
            event.duration_ms,
            Some(event.bytes_up),
            Some(event.bytes_down),
        ];
        write(&mut text, members);
    }
    text.push_str(r#"],"words":"#);
    text.push_str(&Value::from(words.words).to_string());
    text.push('}');
    Packed { at, count: i64::try_from(events.len()).unwrap_or(i64::MAX), bytes_up, bytes_down, calls: text, scopes }
}

/// The calls of a row whose numbers begin at `first`, the oldest first; the row itself says what they share.
///
/// # Errors
/// [`StoreError::Damaged`] when that is not what [`pack`] wrote of so many calls.
pub(super) fn unpack(row: &AuditEvent, first: i64, calls: &str) -> Result<Vec<AuditEvent>> {
    let text: Text = serde_json::from_str(calls).map_err(|cause| StoreError::Damaged(cause.to_string()))?;
    if i64::try_from(text.calls.len()) != Ok(row.count) || row.id.saturating_sub(first).saturating_add(1) != row.count {
        return Err(StoreError::Damaged("it does not hold as many calls as it has numbers".to_owned()));
    }
    let words: Vec<Arc<str>> = text.words.into_iter().map(Into::into).collect();
    let word = |place: Option<usize>| match place.map(|place| words.get(place)) {
        None => Ok(None),
        Some(Some(word)) => Ok(Some(Arc::clone(word))),
        Some(None) => Err(StoreError::Damaged("a call names a word that is not there".to_owned())),
    };
    let calls = text.calls.into_iter().zip(first..);
    let calls = calls.map(|(Call(ago, method, template, path, scope, status, duration_ms, up, down), id)| {
        Ok(AuditEvent {
            id,
            at: row.at.plus_millis(ago.saturating_neg()),
            method: word(method)?,
            template: word(template)?,
            path: word(path)?,
            // One that is not known, of another version, does not lose the call.
            scope: word(scope)?.and_then(|scope| scope.parse().ok()),
            status,
            duration_ms,
            count: 1,
            bytes_up: up,
            bytes_down: down,
            ..row.clone()
        })
    });
    calls.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::id::Id;

    fn shared(at: i64) -> AuditEvent {
        let event = AuditEvent::change(Timestamp::from_millis(at), kind::CALL, Some(Id::from_bytes([1; 16])));
        event.of_app(Id::from_bytes([2; 16])).decided("allowed")
    }

    prop_compose! {
        fn one()(
            at in prop_oneof![1_000..2_000_i64, any::<i64>()],
            words in any::<[Option<(bool, u8)>; 3]>(),
            strange in ".*",
            scope in proptest::option::of(0..5_usize),
            status in any::<Option<u16>>(),
            duration_ms in any::<Option<i64>>(),
            bytes_up in any::<i64>(),
            bytes_down in any::<i64>(),
        ) -> AuditEvent {
            // Mostly one of a few, in one column or another.
            let [method, template, path] = words.map(|word| word.map(|(few, word)| {
                Arc::from(if few { format!("/{}", word % 3) } else { strange.clone() })
            }));
            let scope = scope.map(|scope| Scope::ALL[scope]);
            AuditEvent { method, template, path, scope, status, duration_ms, bytes_up, bytes_down, ..shared(at) }
        }
    }

    /// Also where the span of time is more than a number holds: that is kept as long as it can be.
    fn near(event: &AuditEvent, at: Timestamp) -> AuditEvent {
        let ago = at.millis().saturating_sub(event.at.millis());
        AuditEvent { at: at.plus_millis(ago.saturating_neg()), ..event.clone() }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(events in proptest::collection::vec(one(), 1..usize::from(MOST)), first in 1..i64::MAX / 2) {
            let packed = pack(&events.iter().collect::<Vec<_>>());
            prop_assert_eq!(packed.at, events.iter().map(|event| event.at).max().unwrap());
            prop_assert_eq!(packed.count, i64::try_from(events.len()).unwrap());
            let row = AuditEvent { id: first + packed.count - 1, at: packed.at, count: packed.count, ..shared(0) };
            let found = unpack(&row, first, &packed.calls).unwrap();
            let expected: Vec<_> =
                (first..).zip(&events).map(|(id, event)| AuditEvent { id, ..near(event, packed.at) }).collect();
            prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        }
    }

    #[test]
    fn words_are_kept_once_and_a_call_is_short() {
        let call = AuditEvent {
            method: Some("GET".into()),
            template: Some("/api/vehicle/{id}".into()),
            path: Some("/api/vehicle/corsair".into()),
            scope: Some(Scope::Vehicles),
            status: Some(200),
            duration_ms: Some(3),
            bytes_down: 1_000,
            ..shared(5)
        };
        let packed = pack(&[&call, &AuditEvent { template: call.path.clone(), path: None, ..call.clone() }]);
        assert_eq!(
            packed.calls,
            r#"{"calls":[[0,0,1,2,3,200,3,0,1000],[0,0,2,null,3,200,3,0,1000]],"words":["GET","/api/vehicle/{id}","/api/vehicle/corsair","vehicles"]}"#
        );
    }

    #[test]
    fn what_was_never_written_is_damage_and_a_scope_that_is_not_known_is_none() {
        let row = AuditEvent { id: 2, count: 2, ..shared(9) };
        let read = |calls: &str| unpack(&row, 1, calls);
        let good = r#"{"words":["a","b"],"calls":[[1,0,1,null,1,200,3,4,5],[0,null,null,null,null,null,null,0,0]]}"#;
        let found = read(good).unwrap();
        assert_eq!(found.iter().map(|call| (call.id, call.at.millis())).collect::<Vec<_>>(), [(1, 8), (2, 9)]);
        assert_eq!((found[0].template.as_deref(), found[0].scope), (Some("b"), None));
        for bad in [
            "",
            "{",
            "[]",
            "{}",
            &good.replace("[1,0,1", "[1,0,2"),
            &good.replace("[1,0,1", "[1,0,-1"),
            &good.replace("200", "70000"),
            &good.replace(",4,5]", ",4]"),
            r#"{"words":["a","b"],"calls":[[1,0,1,null,1,200,3,4,5]]}"#,
        ] {
            assert!(matches!(read(bad), Err(StoreError::Damaged(_))), "{bad}");
        }
        assert!(unpack(&row, 2, good).is_err() && unpack(&AuditEvent { count: 3, ..row }, 1, good).is_err());
    }
}
