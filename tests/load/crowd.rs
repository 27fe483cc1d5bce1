//! Others do not suffer: neither from slow and silent clients nor from an app that floods (SECURITY PX-26, 63).

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;

use super::driver::{App, flood};
use super::figures::{alone, at_most, limit, of, percentile};
use super::house::House;

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_silent_clients_do_not_slow_down_a_normal_call() {
    let _alone = alone().await;
    let house = House::new().await;
    let key = house.app("vehicles,account", &[]);
    let running = house.serve().await;
    let mut app = App::connect(running.proxy, &key).await;
    assert_eq!(app.call("GET", "/api/vehicle/corsair").await, 200);
    let count = of(2_000, 400);
    let (mut silent, mut trickling) = (Vec::new(), Vec::new());
    for n in 0..count {
        // A small buffer, so that an answer that is not read soon stands still.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 * 1024).unwrap();
        let mut stream = socket.connect(running.proxy).await.unwrap();
        match n % 4 {
            0 => silent.push(stream),
            1 => {
                // A body of which nothing comes.
                let head = app.head("POST", "/api/account", "Content-Length: 1000\r\n");
                stream.write_all(&head).await.unwrap();
                trickling.push(stream);
            }
            2 => {
                // A large answer that is not read.
                let target = format!("/api/vehicle/corsair?bytes={}", of(4_000_000, 400_000));
                stream.write_all(&app.head("GET", &target, "")).await.unwrap();
                silent.push(stream);
            }
            _ => {
                stream.write_all(b"GET /api/vehicles HTTP/1.1\r\nX-Slow: ").await.unwrap();
                trickling.push(stream);
            }
        }
    }
    // The head's time is eight seconds: all of this happens while they are there.
    let until = Instant::now() + Duration::from_secs(of(6, 2));
    let trickle = async {
        while Instant::now() < until {
            for stream in &mut trickling {
                let _ = stream.write_all(b"x").await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let (took, ()) =
        tokio::join!(app.keep_calling("/api/vehicle/corsair", 200, until, Duration::from_millis(10)), trickle);
    at_most(&format!("p50 of a call beside {count} slow clients"), percentile(&took, 50.0), limit(50.0, 500.0), "ms");
    at_most(&format!("p99 of a call beside {count} slow clients"), percentile(&took, 99.0), limit(50.0, 500.0), "ms");
}

/// With a limit for the app that floods; without one it takes what the machine has, which is told as a figure.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_floods_hardly_moves_anothers_p99() {
    let _alone = alone().await;
    let house = House::new().await;
    let key = house.app("vehicles", &[]);
    let limited = house.app("vehicles", &["--rate", "100/s"]);
    let unlimited = house.app("vehicles", &[]);
    let running = house.serve().await;
    let mut app = App::connect(running.proxy, &key).await;
    let each = Duration::from_secs(of(4, 1));
    let pause = Duration::from_millis(2);
    // The upstream takes twenty milliseconds for this one, as a provider's does: what the flood adds is told beside that.
    let target = "/api/vehicle/slow";
    let (mut quiet, mut beside) = (Vec::new(), [Vec::new(), Vec::new()]);
    for _ in 0..of(3, 1) {
        quiet.extend(app.keep_calling(target, 200, Instant::now() + each, pause).await);
        for ((name, flooding), took) in [("limited", &limited), ("unlimited", &unlimited)].into_iter().zip(&mut beside)
        {
            let calls = flood(running.proxy, flooding, 64, target, each);
            let (mine, statuses) = tokio::join!(app.keep_calling(target, 200, Instant::now() + each, pause), calls);
            took.extend(mine);
            let let_in = statuses.iter().filter(|status| **status == 200).count();
            let rate = statuses.len() as f64 / each.as_secs_f64();
            eprintln!("figure: the {name} flood made {rate:.0} calls a second, {let_in} were let in");
            assert!(statuses.iter().all(|status| [200, 429].contains(status)));
        }
    }
    let [quiet, limited, unlimited] = [&quiet, &beside[0], &beside[1]].map(|took| percentile(took, 99.0));
    eprintln!("figure: p99 of another app: {quiet:.2} ms alone, {unlimited:.2} ms beside a flood without a limit");
    at_most("p99 of another app beside a flood, over that alone", limited / quiet, limit(1.5, 20.0), "times");
}
