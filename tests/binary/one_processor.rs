//! A machine with one processor, which calls, pages and the audit trail share.

use std::fs;

use crate::hang_up::provider;
use crate::program::Place;
use crate::visitor::Visitor;

fn processors(status: &str) -> &str {
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim()
}

#[test]
fn with_one_processor_pages_and_calls_are_served_beside_each_other_until_it_stops() {
    let place = Place::new().with("KEYFOB_TESLASCOPE_URL", provider(|| {}));
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let one = processors(&own).split([',', '-']).next().unwrap();
    let mut running = Place::until_ready(place.command_on(one, &["serve"]));
    assert_eq!(processors(&running.proc("status")), one);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let token = running.setup_token();
        let mut ada = Visitor::new(&running);
        ada.set_up(&token, "a long enough password").await;
        let fields = [("token", "a-pasted-token-1234567890"), ("kind", "personal_access_token"), ("scope", "vehicles")];
        assert_eq!(ada.fill("/connect/token", "/connect/token", &fields).await.0, 303);
        let key = ada.make_app(&[("name", "app"), ("scope", "vehicles")]).await;
        // Each of these pages hashes a password.
        let mut grace = Visitor::new(&running);
        let guess = [("username", "ada"), ("password", "not this one")];
        let (calls, guesses) = tokio::join!(
            async {
                let mut told = Vec::new();
                for _ in 0..50 {
                    told.push(ada.call("GET", "/api/vehicles", Some(&key)).await);
                }
                told
            },
            async {
                [grace.fill("/sign-in", "/sign-in", &guess).await.0, grace.fill("/sign-in", "/sign-in", &guess).await.0]
            },
        );
        assert!(calls.iter().all(|status| *status == 200), "{calls:?}");
        assert!(guesses.iter().all(|status| (400..500).contains(status)), "{guesses:?}");
    });
    running.signal("TERM");
    assert_eq!(running.wait().0, Some(0));
}
