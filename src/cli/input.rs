//! Secrets come in by standard input: arguments can be read by every user of the machine.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::{Failure, Result};

/// No secret is longer.
const LONGEST: u64 = 64 * 1024;

/// The first line of standard input without its line break. At a terminal it is asked for, and not shown.
pub(super) fn first_line(what: &str) -> Result<Zeroizing<String>> {
    let stdin = std::io::stdin();
    let quiet = stdin.is_terminal().then(|| Quiet::new(what)).flatten();
    let mut line = Zeroizing::new(String::with_capacity(256));
    let read = stdin.lock().take(LONGEST).read_line(&mut line);
    drop(quiet);
    read.map_err(|error| Failure::refused(format!("The {what} on standard input can't be read ({}).", error.kind())))?;
    while line.ends_with(['\n', '\r']) {
        line.pop();
    }
    if line.is_empty() {
        return Err(Failure::refused(format!("There is no {what} on standard input. Write it as its first line.")));
    }
    Ok(line)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn new(what: &str) -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet).ok()?;
        let _ = write!(std::io::stderr(), "{what}: ");
        Some(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
        let _ = writeln!(std::io::stderr());
    }
}
