use super::*;
use crate::domain::id::Id;
use crate::store::AuditFilter;

/// Keeps events.
pub(in crate::store) async fn record(store: &Store, events: &[AuditEvent]) {
    store.record(&AuditRow::of(events)).await.unwrap();
}

pub(in crate::store) async fn filled(times: impl Iterator<Item = i64>) -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("k.db")).await.unwrap();
    let events: Vec<AuditEvent> =
        times.map(|secs| AuditEvent::change(Timestamp::from_secs(secs), kind::CALL, None)).collect();
    record(&store, &events).await;
    (directory, store)
}

/// A call in which everything is told by its number: a millisecond after the one before, now and then without this or that.
pub(in crate::store) fn call(n: i64, app: u8) -> AuditEvent {
    let text = |name: &str| (n % 11 != 7).then(|| format!("/{name}/{}\"\\\u{1}\u{fc}\u{1f697}", n % 5).into());
    let event = AuditEvent::change(Timestamp::from_millis(n), kind::CALL, Some(Id::from_bytes([1; 16])));
    AuditEvent {
        grant: app.is_multiple_of(2).then(|| Id::from_bytes([2; 16])),
        method: (n % 13 != 5).then(|| "GET".into()),
        template: text("template"),
        path: text("path"),
        scope: (n % 3 > 0).then_some(if n % 3 == 1 { Scope::Vehicles } else { Scope::McpUse }),
        status: (n % 7 > 0).then_some(200 + u16::try_from(n % 9).unwrap()),
        duration_ms: (n % 6 > 0).then_some(n),
        bytes_up: n + 3,
        bytes_down: n << 20,
        ..event.of_app(Id::from_bytes([app; 16])).decided(if n % 17 == 3 { "no_grant" } else { "allowed" })
    }
}

/// How many rows there are, and how many of them are packed.
pub(in crate::store) async fn rows(store: &Store) -> (i64, i64) {
    sqlx::query_as("SELECT count(*), count(first_id) FROM audit").fetch_one(&store.read).await.unwrap()
}

/// All events, the oldest first.
pub(in crate::store) async fn all(store: &Store) -> Vec<AuditEvent> {
    let mut found = store.list_audit(&AuditFilter { limit: 10_000, ..AuditFilter::default() }).await.unwrap();
    found.reverse();
    found
}

/// An event in words, but for its number.
fn told(event: &AuditEvent) -> String {
    format!("{:?}", AuditEvent { id: 0, ..event.clone() })
}

/// What the packed ones of these rows hold.
fn packed_of(rows: &[AuditRow]) -> Vec<Vec<AuditEvent>> {
    let packed = rows.iter().filter_map(|row| Some((&row.event, row.packed.as_ref()?)));
    let unpacked = packed.map(|(event, packed)| {
        let row = AuditEvent { id: packed.count, count: packed.count, at: packed.at, ..event.clone() };
        packed::unpack(&row, 1, &packed.calls).unwrap()
    });
    unpacked.collect()
}

#[test]
fn a_full_chunks_calls_are_packed_with_those_that_are_like_them_in_everything_that_is_kept_once() {
    let alike = || -> Vec<AuditEvent> { (0..128).map(|n| call(17 * n, 3)).collect() };
    let mut near = alike();
    for event in &mut near {
        event.at = Timestamp::from_millis(event.at.millis() / 17);
    }
    assert_eq!(packed_of(&rows_of(&near)).iter().map(Vec::len).collect::<Vec<_>>(), [128]);
    let far = alike();
    assert_eq!(packed_of(&rows_of(&far)).len(), 3, "a second at most, of 2.2");
    let odd: [fn(&mut AuditEvent); 7] = [
        |event| event.kind = kind::APP_CHANGED,
        |event| event.user = None,
        |event| event.app = None,
        |event| event.grant = Some(Id::from_bytes([9; 16])),
        |event| event.decision = "rate_limited".into(),
        |event| event.count = 2,
        |event| event.at = Timestamp::from_secs(3),
    ];
    for (which, make_odd) in odd.into_iter().enumerate() {
        for place in [0, 1, 127] {
            let mut events = near.clone();
            make_odd(&mut events[place]);
            let rows = rows_of(&events);
            let packed = packed_of(&rows);
            assert_eq!(packed.iter().map(Vec::len).collect::<Vec<_>>(), [127], "{which} at {place}");
            assert!(packed[0].iter().all(|event| told(event) != told(&events[place])), "{which} at {place}");
        }
    }
}

#[tokio::test]
async fn events_come_back_as_they_went_in_whether_packed_or_not_and_as_sqlite_reads_them() {
    let (_directory, store) = filled(std::iter::empty()).await;
    let mut events: Vec<_> = (0..128).map(|n| call(n, 3)).collect();
    // Of many apps, a busy one and a few that are none's, and what is no call among them.
    events.extend((128..256).map(|n| match n {
        _ if n % 3 == 0 => call(n, 4),
        _ if n % 31 == 0 => AuditEvent::change(Timestamp::from_millis(n), kind::APP_MADE, None).about("x; by y"),
        _ if n % 5 == 0 => AuditEvent { app: None, user: None, count: n, ..call(n, 5) },
        _ => call(n, u8::try_from(n % 20).unwrap() + 10),
    }));
    events.extend((256..300).map(|n| call(n, 3)));
    record(&store, &events).await;
    let (rows, packed) = rows(&store).await;
    assert!(rows < 160 && packed > 3, "{rows} {packed}");
    let found = all(&store).await;
    assert!(found.iter().map(|event| event.id).eq(1..=300));
    for chunk in [0..128, 128..256, 256..300] {
        let (mut found, mut given): (Vec<_>, Vec<_>) =
            (found[chunk.clone()].iter().map(told).collect(), events[chunk].iter().map(told).collect());
        found.sort_unstable();
        given.sort_unstable();
        assert_eq!(found, given);
    }
    // Those of one app are in order.
    for app in [3, 4, 11, 12] {
        let of_app = |event: &&AuditEvent| event.app == Some(Id::from_bytes([app; 16])) && event.decision == "allowed";
        assert!(found.iter().filter(of_app).map(told).eq(events.iter().filter(of_app).map(told)), "{app}");
    }
    // Rows stand in the order of their newest, by which a moment is found among them.
    let times: Vec<i64> = sqlx::query_scalar("SELECT at FROM audit ORDER BY id").fetch_all(&store.read).await.unwrap();
    assert!(times.is_sorted());
    // What an operator sees with sqlite3.
    let seen = sqlx::query("SELECT * FROM audit_events ORDER BY id").fetch_all(&store.read).await.unwrap();
    let seen: Vec<_> = seen.iter().map(|row| crate::store::trail::event(row).unwrap()).collect();
    assert_eq!(format!("{seen:?}"), format!("{found:?}"));
}

#[tokio::test]
async fn where_little_happens_events_stand_in_the_order_in_which_they_happened() {
    let (_directory, store) = filled(std::iter::empty()).await;
    let apps = [3, 3, 4, 3, 5, 5, 5, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 3, 4];
    let events: Vec<_> = (0..100_i64)
        .map(|n| AuditEvent { at: Timestamp::from_millis(n), ..call(17 * n, apps[usize::try_from(n % 21).unwrap()]) })
        .collect();
    record(&store, &events).await;
    assert!(rows(&store).await.1 > 3, "runs are packed");
    assert_eq!(all(&store).await.iter().map(told).collect::<Vec<_>>(), events.iter().map(told).collect::<Vec<_>>());
}

#[tokio::test]
async fn two_processes_that_write_in_turns_never_give_a_number_twice_also_when_all_was_swept() {
    let (directory, store) = filled(std::iter::empty()).await;
    let other = Store::open(&directory.path().join("k.db")).await.unwrap();
    let mut expected = 0;
    for round in 0..6_i64 {
        let events: Vec<_> = (0..150).map(|n| call(n, u8::try_from(n % 3).unwrap() + 3)).collect();
        record(&store, &events).await;
        let command = other.record_command(&AuditEvent { status: None, duration_ms: None, ..call(150, 3) }).await;
        record(&other, &events).await;
        expected += 301;
        assert_eq!(command.unwrap(), expected - 150);
        let found = all(&store).await;
        assert!(found.iter().map(|event| event.id).eq(expected + 1 - i64::try_from(found.len()).unwrap()..=expected));
        assert!(found.len() >= 301);
        if round % 2 == 1 {
            let swept = other.sweep_audit(Timestamp::from_secs(900), 1_000_000).await.unwrap();
            assert_eq!((swept, all(&store).await.len()), (602, 0));
            let left: i64 =
                sqlx::query_scalar("SELECT count(*) FROM audit_calls").fetch_one(&store.read).await.unwrap();
            assert_eq!(left, 0, "no path outlives its call");
        }
    }
}

#[tokio::test]
async fn a_row_of_calls_is_never_taken_for_a_command_without_an_outcome() {
    let (_directory, store) = filled(std::iter::empty()).await;
    record(&store, &(0..128).map(|n| call(n % 3, 3)).collect::<Vec<_>>()).await;
    let before = all(&store).await;
    store.complete_commands(&[AuditEvent { id: 128, ..call(9, 3).decided("aborted") }]).await.unwrap();
    assert_eq!(format!("{:?}", all(&store).await), format!("{before:?}"));
}

#[tokio::test]
async fn calls_do_not_wait_for_the_disk_and_what_changed_does() {
    let (_directory, store) = filled(std::iter::empty()).await;
    let change = AuditEvent::change(Timestamp::from_millis(9), kind::APP_MADE, None);
    // Whoever used the other connection would wait here for ever.
    let held = store.write.acquire().await.unwrap();
    record(&store, &(0..200).map(|n| call(n, 3)).collect::<Vec<_>>()).await;
    drop(held);
    let held = store.trail.acquire().await.unwrap();
    record(&store, &[call(200, 3), change.clone()]).await;
    record(&store, &[change]).await;
    store.record_command(&call(201, 3)).await.unwrap();
    drop(held);
    assert_eq!(all(&store).await.len(), 204);
}
