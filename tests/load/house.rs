//! The real program on a data directory of its own, before the upstream.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::figures;
use super::upstream;

pub(crate) struct House {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) upstream: SocketAddr,
}

/// The program, serving. Killed when it is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) web: SocketAddr,
    pub(crate) proxy: SocketAddr,
    ops: SocketAddr,
    /// How long it took to be ready.
    pub(crate) ready_after: Duration,
}

impl House {
    /// With a user `ada` who has a grant for everything.
    pub(crate) async fn new() -> Self {
        let house = Self::bare().await;
        house.run(&["user", "add", "ada", "--admin", "--password-stdin"], "correct-horse-battery");
        let scopes = "account,tesla-accounts,vehicles,controls,mcp:use";
        let add = ["grant", "add-token", "--user", "ada", "--kind", "personal_access_token", "--scope", scopes];
        house.run(&add, "up-secret-token");
        house
    }

    /// With nothing in it.
    pub(crate) async fn bare() -> Self {
        more_files();
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { dir: tempfile::tempdir().unwrap(), upstream: upstream::start().await }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(figures::program());
        command.args(arguments).env_clear().current_dir(self.dir.path()).env("KEYFOB_DATA_DIR", self.data());
        command.env("KEYFOB_TESLASCOPE_URL", format!("http://{}", self.upstream));
        command.env("KEYFOB_TESLASCOPE_MCP_URL", format!("http://{}/mcp", self.upstream));
        command.env("KEYFOB_MAX_REQUEST_BODY", "4GiB").env("KEYFOB_LOG", "error");
        command
    }

    /// Runs a command to its end and gives what it printed.
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> String {
        use std::io::Write as _;
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let ended = tokio::task::block_in_place(|| child.wait_with_output()).unwrap();
        assert!(ended.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8(ended.stdout).unwrap()
    }

    /// A new app's key.
    pub(crate) fn app(&self, scopes: &str, more: &[&str]) -> String {
        let arguments = [&["app", "add", "load", "--user", "ada", "--scope", scopes, "--json"], more].concat();
        let made: Value = serde_json::from_str(&self.run(&arguments, "")).unwrap();
        made["key"].as_str().unwrap().to_owned()
    }

    /// Starts the program and waits until it is ready.
    pub(crate) async fn serve(&self) -> Running {
        let [web, proxy, ops] = free_addresses();
        let mut command = self.command(&["serve"]);
        command.env("KEYFOB_PROXY_LISTEN", proxy.to_string()).env("KEYFOB_OPS_LISTEN", ops.to_string());
        command.env("KEYFOB_WEB_LISTEN", web.to_string()).stdin(Stdio::null()).stdout(Stdio::null());
        let begun = Instant::now();
        let child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let mut running = Running { child, web, proxy, ops, ready_after: Duration::ZERO };
        while !running.is_ready().await {
            assert_eq!(running.child.try_wait().unwrap(), None, "it ended");
            assert!(begun.elapsed() < Duration::from_secs(60), "never ready");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        running.ready_after = begun.elapsed();
        running
    }

    /// How many calls the database holds, as another process sees it.
    pub(crate) async fn rows(&self) -> i64 {
        use sqlx::Connection as _;
        let path = self.data().join("keyfob.db");
        let mut database = sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
        sqlx::query_scalar("SELECT coalesce(sum(count), 0) FROM audit WHERE kind = 'call'")
            .fetch_one(&mut database)
            .await
            .unwrap()
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    async fn is_ready(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.ops).await else { return false };
        let ask = format!("GET /readyz HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.ops);
        let mut answer = String::new();
        stream.write_all(ask.as_bytes()).await.is_ok()
            && stream.read_to_string(&mut answer).await.is_ok()
            && answer.starts_with("HTTP/1.1 200 ")
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = tokio::task::block_in_place(|| self.child.wait()).unwrap();
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_addresses() -> [SocketAddr; 3] {
    let held = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap())
}

/// As many open files as the system lets this process have; the program raises its own.
fn more_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}
