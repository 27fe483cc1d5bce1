use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::kept::Kept;
use crate::program::{Place, used};

/// A service whose command writes down what it is told.
fn telling() -> Place {
    let place = used();
    let script = place.path().join("tell");
    fs::write(&script, "#!/bin/sh\nset -e\n{ cat; echo; env; } > told.part\ncat told.part >> told\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    let command = script.display().to_string();
    let place = place.with("KEYFOB_NOTIFY_COMMAND", command).with("KEYFOB_OAUTH_CLIENT_ID", "keyfob-sandbox");
    place.with("KEYFOB_OAUTH_CLIENT_SECRET", "CANARY-client-secret")
}

/// What was told once this text is in it.
fn told(place: &Place, text: &str) -> String {
    for _ in 0..500 {
        let told = fs::read_to_string(place.path().join("told")).unwrap_or_default();
        if told.contains(text) {
            return told;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("never told of {text}")
}

#[test]
fn a_service_tells_of_a_grant_once_also_after_a_restart() {
    let place = telling();
    // Made with another provider than the settings name: its user is needed.
    let first = Kept::open(&place).put_grant("first", "https://another.example");
    let running = place.serve(&[]);
    let text = told(&place, &format!("KEYFOB_EVENT_GRANT={first}\n"));
    assert!(text.contains("KEYFOB_EVENT_REASON=provider_changed\n") && text.contains("\"label\":\"first\""), "{text}");
    assert!(!text.contains("CANARY") && !text.contains("KEYFOB_OAUTH"), "{text}");
    running.signal("TERM");
    running.wait();

    // Two that share the database, and one more grant: told once, and the first not again.
    let second = Kept::open(&place).put_grant("second", "https://another.example");
    let _running = [place.serve(&[]), place.serve(&[])];
    let text = told(&place, &format!("KEYFOB_EVENT_GRANT={second}\n"));
    for grant in [first, second] {
        assert_eq!(text.matches(&format!("KEYFOB_EVENT_GRANT={grant}\n")).count(), 1, "{text}");
    }
}
