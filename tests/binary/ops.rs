use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::program::{Place, ask, get};

#[test]
fn the_operators_listener_answers_three_paths_and_nothing_else() {
    let place = Place::new();
    let running = place.serve(&[]);
    let ops = running.address("ops");
    assert_eq!(get(ops, "/healthz").0, 200);
    let (status, ready) = get(ops, "/readyz");
    assert!(status == 200 && ready.ends_with(r#"{"ready":true,"reasons":[]}"#), "{ready}");
    let (status, metrics) = get(ops, "/metrics");
    assert!(status == 200 && metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    for name in [
        "keyfob_proxy_requests_total",
        "keyfob_proxy_request_duration_seconds",
        "keyfob_refresh_attempts_total",
        "keyfob_grants",
    ] {
        assert!(metrics.contains(&format!("# TYPE {name} ")), "{name}");
    }
    for path in ["/", "/sign-in", "/api/vehicles", "/metrics/x", "/healthz?x=1/../metrics/"] {
        let expected = if path.starts_with("/healthz") { 200 } else { 404 };
        assert_eq!(get(ops, path).0, expected, "{path}");
    }
    let host = format!("Host: {ops}");
    assert_eq!(ask(ops, &format!("POST /metrics HTTP/1.1\r\n{host}\r\nContent-Length: 0")).0, 405);
    assert_eq!(ask(ops, "GET /metrics HTTP/1.1\r\nHost: evil.example").0, 421);
    assert_eq!(ask(ops, &format!("GET /metrics HTTP/1.1\r\n{host}\r\nHost: evil.example")).0, 421);
}

#[test]
fn a_request_in_the_making_does_not_hold_up_the_stop() {
    let place = Place::new().with("KEYFOB_DRAIN", "1s");
    let running = place.serve(&[]);
    let mut idle = TcpStream::connect(running.address("ops")).unwrap();
    let mut half = TcpStream::connect(running.address("ops")).unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").unwrap();
    idle.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    running.signal("TERM");
    assert_eq!(idle.read(&mut [0; 1]).unwrap_or(0), 0, "an idle connection is closed");
    assert_eq!(running.wait().0, Some(0));
}

#[test]
fn the_process_keeps_its_memory_and_files_to_itself() {
    let place = Place::new();
    let running = place.serve(&[]);
    let limits = running.proc("limits");
    let line =
        |name: &str| limits.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(line("Max core file size")[4..6], ["0", "0"]);
    let files = line("Max open files");
    assert_eq!(files[3], files[4], "the soft limit is raised to the hard one");
    let mode = |path: std::path::PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.data()), 0o700);
    for entry in std::fs::read_dir(place.data()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(path.clone()), 0o600, "{}", path.display());
    }
}
