use std::path::Path;
use std::process::Command;

use crate::program::Ended;

#[test]
fn a_script_of_curl_and_one_of_commands_do_everything_that_an_administrator_can() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/scripts.sh");
    let mut command = Command::new("bash");
    command.arg(script).env("KEYFOB_PROGRAM", env!("CARGO_BIN_EXE_keyfob"));
    let ended = Ended::of(command.output().unwrap());
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.out, ended.err);
}

#[test]
fn the_curl_script_stays_as_short_as_it_is_promised() {
    let script = include_str!("../api/admin.sh");
    let lines = script.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count();
    assert!(lines <= 22, "{lines} lines");
}
