use crate::program::Place;

#[test]
fn the_version_is_one_line() {
    let ended = Place::new().run(&["--version"]);
    assert_eq!((ended.code, ended.out), (Some(0), format!("keyfob {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn the_help_names_every_setting_three_times_with_its_default() {
    let ended = Place::new().run(&["--help"]);
    assert_eq!(ended.code, Some(0));
    for key in keyfob::config::keys::ALL {
        assert!(ended.out.contains(&key.env()), "{}", key.name);
        assert_eq!(ended.out.contains(&format!("--{} ", key.long())), key.flag, "{}", key.name);
        assert!(!key.flag || ended.out.contains(&format!("[default: {}]", key.default)), "{}", key.name);
    }
    for line in ["127.0.0.1:8700", "Exit codes:", "Listeners:"] {
        assert!(ended.out.contains(line), "{line}");
    }
}

#[test]
fn completions_and_the_manual_are_made_by_one_command() {
    let place = Place::new();
    for (arguments, part) in [
        (["completions", "bash"].as_slice(), "complete -F"),
        (&["completions", "fish"], "complete -c keyfob"),
        (&["man"], ".TH keyfob"),
        (&["man"], ".SH KEYFOB GRANT CONNECT"),
    ] {
        let ended = place.run(arguments);
        assert_eq!(ended.code, Some(0));
        assert!(ended.out.contains(part) && ended.err.is_empty(), "{arguments:?}");
    }
}
