use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::program::{Ended, Place, get};

#[test]
fn a_socket_of_the_service_manager_is_used_under_its_name() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let place = Place::new();
    let running = Place::until_ready(place.with_socket(socket, "ops"));
    assert_eq!(running.address("ops"), address);
    assert_ne!(running.address("web"), address);
    assert_eq!(get(address, "/readyz").0, 200);
    running.signal("TERM");
    assert_eq!(running.wait().0, Some(0));
}

#[test]
fn a_socket_with_a_name_that_is_no_listeners_is_refused() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let ended = Ended::of(Place::new().with_socket(socket, "keyfob.socket").output().unwrap());
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(ended.err.contains("FileDescriptorName="), "{}", ended.err);
}

#[test]
fn a_socket_that_is_open_to_the_network_needs_the_settings_word() {
    let open = || TcpListener::bind("0.0.0.0:0").unwrap();
    let ended = Ended::of(Place::new().with_socket(open(), "proxy").output().unwrap());
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(ended.err.contains("KEYFOB_ALLOW_REMOTE=true"), "{}", ended.err);
    let place = Place::new().with("KEYFOB_ALLOW_REMOTE", "true");
    let running = Place::until_ready(place.with_socket(open(), "proxy"));
    assert!(running.address("proxy").ip().is_unspecified());
}

#[test]
fn the_service_manager_is_told_of_the_start_and_of_the_stop() {
    let place = Place::new();
    let path = place.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let told = || {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let place = place.with("NOTIFY_SOCKET", path.to_str().unwrap());
    let running = place.serve(&[]);
    assert_eq!(told().trim(), "READY=1");
    assert_eq!(get(running.address("ops"), "/readyz").0, 200);
    running.signal("TERM");
    assert_eq!(told().trim(), "STOPPING=1");
    assert_eq!(running.wait().0, Some(0));
}

#[test]
fn a_health_check_needs_no_other_program() {
    let place = Place::new();
    let running = place.serve(&[]);
    let ops = running.address("ops").to_string();
    let ended = place.run(&["ready", "--ops-listen", &ops]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    running.signal("TERM");
    running.wait();
    let ended = place.run(&["ready", "--ops-listen", &ops]);
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains("Is the service running?"), "{}", ended.err);
}
