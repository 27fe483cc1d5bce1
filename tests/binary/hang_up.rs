//! Somebody who hangs up while the service is told to stop.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use crate::program::Place;
use crate::visitor::Visitor;

/// A provider that knows nothing but vehicles; what is done before it answers for these.
pub(crate) fn provider(mut before: impl FnMut() + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream: TcpStream = stream;
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                head.push(byte[0]);
            }
            let answer = if head.starts_with(b"GET /api/vehicles ") {
                before();
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]"
            } else {
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

#[test]
fn what_a_browser_began_before_it_hung_up_is_done_before_the_service_stops() {
    let (tell, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let (answer, may_answer) = mpsc::channel();
    let place = Place::new().with(
        "KEYFOB_TESLASCOPE_URL",
        provider(move || {
            let _ = tell.send(());
            let _ = may_answer.recv();
        }),
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut running = place.serve(&[]);
    let web = running.address("web");
    runtime.block_on(async {
        let token = running.setup_token();
        let mut ada = Visitor::new(&running);
        ada.set_up(&token, "a long enough password").await;
        let fields = [
            ("token", "a-pasted-token-1234567890"),
            ("kind", "personal_access_token"),
            ("scope", "vehicles"),
            ("label", "Pasted"),
        ];
        tokio::select! {
            done = ada.fill("/connect/token", "/connect/token", &fields) => panic!("{done:?}"),
            _ = asked.recv() => {}
        }
    });
    // With it the browser goes, and its connection.
    drop(runtime);
    running.signal("TERM");
    let pause = || std::thread::sleep(Duration::from_millis(20));
    assert!(
        (0..500).any(|_| TcpStream::connect(web).is_err() || {
            pause();
            false
        }),
        "it still listens"
    );
    // Time to stop in, if it did not wait for what was begun.
    std::thread::sleep(Duration::from_millis(500));
    answer.send(()).unwrap();
    assert_eq!(running.wait().0, Some(0));
    let grants: serde_json::Value = serde_json::from_str(&place.run(&["grant", "list", "--json"]).out).unwrap();
    assert_eq!(grants[0]["label"], "Pasted", "{grants}");
    let trail = place.run(&["audit", "--json", "--kind", "grant.made"]).out;
    assert!(trail.contains("grant.made"), "{trail}");
}
