//! Starts the program in a directory of its own, with nothing of the caller's environment.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A directory to run the program in, and the settings that it gets.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Place {
    /// An empty directory; every listener takes a free port.
    pub(crate) fn new() -> Self {
        let listeners = ["WEB", "PROXY", "OPS", "SANDBOX"];
        let variables =
            listeners.map(|name| (format!("KEYFOB_{name}_LISTEN"), "127.0.0.1:0".to_owned())).into_iter().collect();
        Self { dir: tempfile::tempdir().unwrap(), variables }
    }

    /// Sets a variable.
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.variables.retain(|(set, _)| set != name);
        self.variables.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Writes a file.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.path().join(name), text).unwrap();
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.path().join("keyfob-data")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_by(Command::new(env!("CARGO_BIN_EXE_keyfob")), arguments)
    }

    /// The program on this processor alone.
    pub(crate) fn command_on(&self, processor: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", processor, env!("CARGO_BIN_EXE_keyfob")]);
        self.command_by(command, arguments)
    }

    fn command_by(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.args(arguments).current_dir(self.path()).env_clear().envs(self.variables.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments).output().unwrap())
    }

    /// Runs the program to its end with something on its standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Ended {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Ended::of(child.wait_with_output().unwrap())
    }

    /// Runs the program to its end as another user.
    pub(crate) fn run_as(&self, uid: u32, arguments: &[&str]) -> Ended {
        use std::os::unix::process::CommandExt as _;
        Ended::of(self.command(arguments).uid(uid).gid(uid).output().unwrap())
    }

    /// Starts the program and does not wait for anything.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Starts the demo and waits for its line.
    pub(crate) fn demo(&self) -> (Running, serde_json::Value) {
        let mut running = Running::of(self.command(&["demo", "--json"]).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(running.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let shown =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{:#?}", running.lines.iter().collect::<Vec<_>>()));
        (running, shown)
    }

    /// Starts the service and waits until it says that it is ready.
    pub(crate) fn serve(&self, arguments: &[&str]) -> Running {
        Self::until_ready(self.command(arguments))
    }

    /// The program as a service manager starts it: with a socket that was opened before, under a name.
    pub(crate) fn with_socket(&self, socket: TcpListener, name: &str) -> Command {
        // The protocol wants the socket as file 3 and the process's own number in a variable.
        let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ exec \"$0\" serve";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_keyfob")]).current_dir(self.path()).env_clear();
        command.envs(self.variables.iter().cloned()).env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name);
        command.stdin(std::os::fd::OwnedFd::from(socket)).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts a service and waits until it says that it is ready.
    pub(crate) fn until_ready(mut command: Command) -> Running {
        let mut running = Running::of(command.spawn().unwrap());
        let mut log = Vec::new();
        while running.ready.is_null() {
            let line = running.lines.recv_timeout(Duration::from_secs(20));
            let line = line.unwrap_or_else(|_| panic!("never ready: {log:#?}"));
            if let Ok(line) = serde_json::from_str::<serde_json::Value>(&line)
                && line["message"] == "Keyfob is ready"
            {
                running.ready = line;
            }
            log.push(line);
        }
        running.before = log;
        running
    }
}

/// A data directory as a first run leaves it.
pub(crate) fn used() -> Place {
    let place = Place::new();
    let running = place.serve(&[]);
    running.signal("TERM");
    assert_eq!(running.wait().0, Some(0));
    place
}

/// Every file in the data directory with its content; what is no plain file, without.
pub(crate) fn snapshot(place: &Place) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(place.data())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let plain = std::fs::metadata(&path).is_ok_and(|meta| meta.is_file());
            let content = if plain { std::fs::read(&path).unwrap() } else { Vec::new() };
            (path.file_name().unwrap().to_string_lossy().into_owned(), content)
        })
        .collect();
    files.sort();
    files
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// A service that runs; ended when dropped.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    ready: serde_json::Value,
    before: Vec<String>,
}

impl Running {
    fn of(mut child: Child) -> Self {
        let (said, lines) = mpsc::channel();
        let errors = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || errors.lines().map_while(Result::ok).for_each(|line| drop(said.send(line))));
        Self { child, lines, ready: serde_json::Value::Null, before: Vec::new() }
    }

    /// The token of the setup link, which a first start prints.
    pub(crate) fn setup_token(&mut self) -> String {
        let lines = BufReader::new(self.child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let line = lines.into_iter().find(|line| line.starts_with("setup: ")).unwrap();
        line.split_once("/setup?token=").unwrap().1.to_owned()
    }

    /// Waits for its end: everything that it logged.
    pub(crate) fn whole_log(mut self) -> String {
        let before = std::mem::take(&mut self.before);
        [before, self.wait().1].concat().join("\n")
    }

    /// Where a listener listens.
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        self.ready[format!("{name}.address")].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end: the exit code and what it logged since it was ready.
    pub(crate) fn wait(mut self) -> (Option<i32>, Vec<String>) {
        let code = self.child.wait().unwrap().code();
        (code, self.lines.iter().collect())
    }

    /// What `/proc` says of it.
    pub(crate) fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends one request and reads the whole answer.
pub(crate) fn ask(address: SocketAddr, head: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "{head}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

/// `GET` with the address itself as host.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}"))
}

/// A listener that is taken for as long as the answer lives.
pub(crate) fn taken() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}
