use std::fs;

use crate::program::{Place, snapshot, taken, used};

#[test]
fn a_clean_stop_is_0_for_both_signals() {
    for signal in ["TERM", "INT"] {
        let place = Place::new();
        let running = place.serve(&[]);
        running.signal(signal);
        let (code, log) = running.wait();
        assert_eq!(code, Some(0), "{log:#?}");
        assert!(log.last().unwrap().contains("Keyfob has stopped"), "{log:#?}");
    }
}

#[test]
fn an_unknown_command_or_option_is_2_with_a_hint() {
    let place = Place::new();
    for (arguments, hint) in [
        (["sevre"].as_slice(), "'serve'"),
        (&["--data-dri", "x"], "'--data-dir'"),
        (&["serve", "--web-lisen=x"], "'--web-listen'"),
    ] {
        let ended = place.run(arguments);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.err.contains(hint) && ended.out.is_empty(), "{ended:?}");
    }
    assert!(!place.data().exists());
}

#[test]
fn a_bad_setting_is_2_before_anything_is_made() {
    let place = Place::new().with("KEYFOB_DRAIN", "soon");
    let ended = place.run(&[]);
    assert_eq!(ended.code, Some(2));
    assert_eq!(ended.err.lines().count(), 1, "{ended:?}");
    assert!(ended.err.starts_with("keyfob: KEYFOB_DRAIN: "), "{ended:?}");
    assert!(!place.data().exists());
}

#[test]
fn another_database_is_2_and_not_supported_yet() {
    let ended = Place::new().with("KEYFOB_DATABASE_URL", "postgres://keyfob:CANARY@db/keyfob").run(&["serve"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("KEYFOB_DATABASE_URL") && ended.err.contains("not supported yet"), "{ended:?}");
    assert!(!ended.err.contains("CANARY"));
}

#[test]
fn a_database_that_cannot_be_opened_is_3_and_stays_as_it_is() {
    let place = used();
    let database = place.data().join("keyfob.db");
    for broken in [b"this is no database, whatever its name says".repeat(10), vec![0; 4096], Vec::new()] {
        fs::write(&database, &broken).unwrap();
        let before = snapshot(&place);
        let ended = place.run(&["serve"]);
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(ended.err.contains("keyfob.db") && ended.err.lines().count() == 1, "{ended:?}");
        assert_eq!(snapshot(&place), before);
    }
}

#[test]
fn a_wrong_or_missing_master_key_is_4_and_nothing_is_touched() {
    let (place, other) = (used(), used());
    let key = place.data().join("master.keys");
    fs::copy(other.data().join("master.keys"), &key).unwrap();
    let before = snapshot(&place);
    let ended = place.run(&["serve"]);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert_eq!(ended.err.lines().count(), 1, "{ended:?}");
    assert_eq!(snapshot(&place), before);

    fs::remove_file(&key).unwrap();
    let before = snapshot(&place);
    let ended = place.run(&["serve"]);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert_eq!(snapshot(&place), before, "no new key is written for an existing database");
}

#[test]
fn a_taken_address_is_5_and_named_with_its_listener() {
    for name in ["web", "proxy", "ops"] {
        let (_held, address) = taken();
        let setting = format!("KEYFOB_{}_LISTEN", name.to_uppercase());
        let ended = Place::new().with(&setting, &address).run(&["serve"]);
        assert_eq!(ended.code, Some(5), "{ended:?}");
        assert_eq!(ended.err.lines().filter(|line| !line.starts_with('{')).count(), 1, "{ended:?}");
        for word in [&format!("the {name} listener"), &address, &setting] {
            assert!(ended.err.contains(word), "{word}: {ended:?}");
        }
    }
}
