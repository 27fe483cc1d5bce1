use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::domain::secret::{DataKey, Sealed};
use keyfob::sandbox::{Sandbox, SandboxConfig};
use keyfob::store::{Resealed, SealedUnder};
use keyfob::vault::KeyId;

use crate::kept::Kept;
use crate::program::{Place, ask, used};

/// A data directory as a first run leaves it, and a look inside.
fn opened() -> (Place, Kept) {
    let place = used();
    let kept = Kept::open(&place);
    (place, kept)
}

fn data_keys(kept: &Kept, id: KeyId) -> usize {
    usize::try_from(kept.sealed_under(id).data_keys).unwrap()
}

/// Calls through the proxy, one after the other on several threads, until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<Vec<u16>>>,
}

impl Load {
    fn start(proxy: SocketAddr, key: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let head = format!("GET /api/vehicles HTTP/1.1\r\nHost: {proxy}\r\nAuthorization: Bearer {key}");
        let threads = (0..3)
            .map(|_| {
                let (stop, head) = (Arc::clone(&stop), head.clone());
                std::thread::spawn(move || {
                    let mut statuses = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        statuses.push(ask(proxy, &head).0);
                    }
                    statuses
                })
            })
            .collect();
        Self { stop, threads }
    }

    /// The status of every call.
    fn stop(self) -> Vec<u16> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

#[test]
fn a_rotation_that_is_killed_five_times_ends_on_the_new_key_and_the_old_one_can_go() {
    let count: usize = if std::env::var_os("KEYFOB_TEST_MANY").is_some() { 10_000 } else { 1_000 };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let provider = runtime.block_on(Sandbox::start(SandboxConfig::default())).unwrap();
    let (place, kept) = opened();
    kept.put_grants(count);
    let place = place.with("KEYFOB_TESLASCOPE_URL", provider.url());
    let token = provider.issue_personal_access_token(1, ScopeSet::of(Scope::Vehicles));
    let add = ["grant", "add-token", "--user", "ada", "--kind", "personal_access_token", "--scope", "vehicles"];
    assert_eq!(place.run_with_input(&add, &token).code, Some(0));
    let made = place.run(&["app", "add", "load", "--user", "ada", "--scope", "vehicles", "--json"]);
    let made: serde_json::Value = serde_json::from_str(&made.out).unwrap();
    let count = count + 1;
    let old = kept.key_ids()[0];
    let running = place.serve(&[]);
    let load = Load::start(running.address("proxy"), made["key"].as_str().unwrap());
    #[expect(clippy::disallowed_methods, reason = "what it takes is told")]
    let begun = std::time::Instant::now();
    for kill in 1..=5 {
        let mut rotation = place.start(&["keys", "rotate"]);
        let far = |kept: &Kept| data_keys(kept, old) <= count - kill * count / 7;
        while !far(&kept) {
            assert_eq!(rotation.try_wait().unwrap(), None, "it ended before it was killed");
            std::thread::yield_now();
        }
        rotation.kill().unwrap();
        rotation.wait().unwrap();
    }
    let left = kept.sealed_under(old);
    assert!(left.data_keys > 0 && left.canary, "{left:?}");
    assert_eq!(kept.key_ids().len(), 2, "one new key, however often it was begun anew");

    let ended = place.run(&["keys", "rotate"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let new = kept.key_ids()[0];
    assert_eq!(kept.sealed_under(old), SealedUnder::default());
    let under = kept.sealed_under(new);
    assert!(data_keys(&kept, new) == count && under.canary, "{under:?}");

    let ended = place.run(&["keys", "rotate", "--retire"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(kept.key_ids(), [new]);
    let statuses = load.stop();
    assert!(statuses.len() >= 20 && statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let (calls, took) = (statuses.len(), begun.elapsed().as_secs_f64());
    println!(
        "rotation of {count} grants, killed 5 times, then retired: {took:.1} s, calls meanwhile: {calls} x 200, failed: 0"
    );
    let ended = place.run(&["keys", "verify", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let found: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert!(found["ok"] == true && found["access_tokens"] == count, "{found}");
    running.signal("TERM");
    assert_eq!(running.wait().0, Some(0));
}

#[test]
fn a_key_that_something_still_needs_is_not_dropped_and_the_grant_is_named() {
    let (place, kept) = opened();
    let ids = kept.put_grants(3);
    assert_eq!(place.run(&["keys", "rotate"]).code, Some(0));
    let (new, old) = (kept.key_ids()[0], kept.key_ids()[1]);
    // A data key whose seal was damaged under the old key.
    let sealed = kept.wait(kept.store.find_grant(ids[1], None)).unwrap().unwrap().data_key.unwrap();
    let mut damaged = sealed.envelope().to_vec();
    damaged[1..5].copy_from_slice(old.as_bytes());
    let after = Sealed::<DataKey>::from_envelope(damaged);
    assert_eq!(kept.wait(kept.store.replace_data_keys(&[Resealed { row: ids[1], before: sealed, after }])).unwrap(), 1);

    let key_file = fs::read(place.data().join("master.keys")).unwrap();
    for command in [["keys", "rotate", "--retire"].as_slice(), &["keys", "verify"]] {
        let ended = place.run(command);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains(&ids[1].to_string()) && !ended.err.contains(&ids[0].to_string()), "{ended:?}");
    }
    assert_eq!(fs::read(place.data().join("master.keys")).unwrap(), key_file, "the key file is as it was");
    let listed: serde_json::Value = serde_json::from_str(&place.run(&["keys", "list", "--json"]).out).unwrap();
    assert_eq!(listed[0]["id"], new.to_string());
    assert!(listed[0]["seals"] == true && listed[0]["data_keys"] == 2 && listed[0]["others"] == 1, "{listed}");
    assert!(listed[1]["seals"] == false && listed[1]["data_keys"] == 1 && listed[1]["in_file"] == true, "{listed}");
}

#[test]
fn an_old_key_that_is_taken_out_by_hand_too_early_is_missed_at_once() {
    let (place, kept) = opened();
    kept.put_grants(1);
    let made = place.run(&["keys", "new"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let file = place.data().join("master.keys");
    fs::write(&file, &made.out).unwrap();
    let ended = place.run(&["serve"]);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(!ended.err.contains(made.out.split_whitespace().nth(1).unwrap()), "no key material: {ended:?}");
}

#[test]
fn where_the_key_file_cannot_be_written_a_key_is_put_first_by_hand() {
    let (place, kept) = opened();
    kept.put_grants(5);
    let secrets = place.path().join("credentials");
    fs::create_dir(&secrets).unwrap();
    let file = secrets.join("keys");
    fs::copy(place.data().join("master.keys"), &file).unwrap();
    let place = place
        .with("KEYFOB_MASTER_KEYS_FILE", file.to_str().unwrap())
        .with("CREDENTIALS_DIRECTORY", secrets.to_str().unwrap());
    let before = fs::read(&file).unwrap();
    let ended = place.run(&["keys", "rotate"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("keyfob keys new"), "{ended:?}");
    assert_eq!(fs::read(&file).unwrap(), before);

    let made = place.run(&["keys", "new"]);
    assert_eq!(made.out.lines().count(), 1, "{made:?}");
    fs::write(&file, [made.out.as_bytes(), &before].concat()).unwrap();
    let ended = place.run(&["keys", "rotate"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let id = made.out.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(kept.sealed_under(id).data_keys, 5);
    assert_eq!(place.run(&["keys", "rotate", "--retire"]).code, Some(1), "dropped by hand as well");
}
