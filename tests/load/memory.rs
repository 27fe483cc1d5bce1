//! What stays in memory while nothing, much, or something large is under way (SECURITY PX-60, 61).

use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::driver::App;
use super::figures::{MB, alone, at_most, is_full, limit, median, of, resident, settled};
use super::house::House;

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_program_is_small() {
    let _alone = alone().await;
    let house = House::new().await;
    let key = house.app("vehicles", &[]);
    let running = house.serve().await;
    let mut app = App::connect(running.proxy, &key).await;
    assert_eq!(app.call("GET", "/api/vehicle/corsair").await, 200);
    at_most("idle memory", settled(running.pid()).await / MB, limit(25.0, 80.0), "MB");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_event_streams_cost_little_memory() {
    let _alone = alone().await;
    let house = House::new().await;
    let key = house.app("account,tesla-accounts,vehicles,controls,mcp:use", &[]);
    let running = house.serve().await;
    let mut app = App::connect(running.proxy, &key).await;
    assert_eq!(app.call("GET", "/api/vehicle/corsair").await, 200);
    let before = settled(running.pid()).await;
    let count = of(1_000, 200);
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut app = App::connect(running.proxy, &key).await;
        let head = app.head("GET", "/mcp", "Accept: text/event-stream\r\n");
        app.stream.write_all(&head).await.unwrap();
        assert_eq!(app.begun().await.0, 200);
        streams.push(app);
    }
    let more = (settled(running.pid()).await - before) / MB;
    at_most(&format!("memory of {count} open event streams"), more, limit(40.0, 80.0) * f64::from(count) / 1e3, "MB");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_cost_little_memory() {
    let _alone = alone().await;
    let house = House::new().await;
    let key = house.app("vehicles", &[]);
    let running = house.serve().await;
    let mut app = App::connect(running.proxy, &key).await;
    assert_eq!(app.call("GET", "/api/vehicle/corsair").await, 200);
    let before = settled(running.pid()).await;
    // Both ends' files are counted: the limit of a test and of the program may be 20,000 each.
    let count = of(10_000, 500);
    let mut idle = Vec::new();
    for _ in 0..count {
        // A connection that has served is larger than a new one.
        let mut app = App::connect(running.proxy, &key).await;
        assert_eq!(app.call("GET", "/api/vehicle/corsair").await, 200);
        idle.push(app.stream);
    }
    let each = (settled(running.pid()).await - before) / 1024.0 / f64::from(count);
    at_most(&format!("memory of each of {count} idle connections"), each, limit(20.0, 60.0), "KB");
    // The first has idled for long by now.
    let mut app = App::connect(running.proxy, &key).await;
    assert_eq!(app.call("GET", "/api/vehicle/corsair").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_pass_in_flat_memory_both_ways() {
    let _alone = alone().await;
    let house = House::new().await;
    let key = house.app("account,vehicles", &[]);
    let running = house.serve().await;
    let size: usize = of(1024, 64) * 1024 * 1024;
    let mut app = App::connect(running.proxy, &key).await;
    // Once in small, so that what is allocated for any body is there.
    for bytes in [1024 * 1024, size] {
        let before = settled(running.pid()).await;
        let mut most = before;
        let head = app.head("GET", &format!("/api/vehicle/corsair?bytes={bytes}"), "");
        app.stream.write_all(&head).await.unwrap();
        let (status, length, mut read) = app.begun().await;
        assert_eq!((status, length), (200, bytes));
        let mut space = vec![0; 64 * 1024];
        let mut look = 0;
        while read < length {
            let more = app.stream.read(&mut space).await.unwrap();
            assert!(more > 0, "the body ended early");
            read += more;
            if read >= look {
                most = most.max(resident(running.pid()));
                look = read + 1024 * 1024;
            }
        }
        let down = most - before;

        let head = app.head("POST", "/api/account", &format!("Content-Length: {bytes}\r\n"));
        app.stream.write_all(&head).await.unwrap();
        for _ in 0..bytes / space.len() {
            app.stream.write_all(&space).await.unwrap();
            most = most.max(resident(running.pid()));
        }
        let (status, length, read) = app.begun().await;
        assert_eq!(status, 200);
        app.stream.read_exact(&mut space[..length - read]).await.unwrap();
        if bytes == size {
            let megabytes = size / 1024 / 1024;
            at_most(&format!("memory added by {megabytes} MiB down"), down / MB, 8.0, "MB");
            at_most(&format!("memory added by {megabytes} MiB down and up"), (most - before) / MB, 8.0, "MB");
        }
    }
}

/// What a small body decodes to is looked at, and not kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_of_compressed_zeros_passes_in_flat_memory_while_others_are_served() {
    let _alone = alone().await;
    let house = House::new().await;
    let key = house.app("vehicles", &[]);
    let running = house.serve().await;
    let (mut app, mut other) = (App::connect(running.proxy, &key).await, App::connect(running.proxy, &key).await);
    assert_eq!(other.call("GET", "/api/vehicle/corsair").await, 200);
    let before = settled(running.pid()).await;
    let megabytes: usize = of(1_024, 64);
    let begun = Instant::now();
    let head = app.head("GET", &format!("/api/vehicle/corsair?zeros={megabytes}"), "");
    app.stream.write_all(&head).await.unwrap();
    let passing = tokio::spawn(async move {
        let (status, length, mut read) = app.begun().await;
        let mut space = vec![0; 64 * 1024];
        while read < length {
            let more = app.stream.read(&mut space).await.unwrap();
            assert!(more > 0, "the body ended early");
            read += more;
        }
        (status, length)
    });
    let (mut most, mut took) = (before, Vec::new());
    while !passing.is_finished() {
        let begun = Instant::now();
        assert_eq!(other.call("GET", "/api/vehicle/corsair").await, 200);
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        most = most.max(resident(running.pid()));
    }
    let length = super::upstream::megabyte_of_zeros().len() * megabytes;
    assert_eq!(passing.await.unwrap(), (200, length));
    eprintln!("figure: {megabytes} MB of compressed zeros: {:.2} s", begun.elapsed().as_secs_f64());
    eprintln!("figure: calls beside them: {}, each {:.2} ms", took.len(), median(took));
    at_most(&format!("memory added by {megabytes} MB of compressed zeros"), (most - before) / MB, 8.0, "MB");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_cost_little_memory() {
    let _alone = alone().await;
    let house = House::new().await;
    let key = house.app("vehicles", &[]);
    let running = house.serve().await;
    let mut app = App::connect(running.proxy, &key).await;
    assert_eq!(app.call("GET", "/api/vehicle/corsair").await, 200);
    let before = settled(running.pid()).await;
    let count = of(500, 60);
    let mut unread = Vec::new();
    for _ in 0..count {
        let mut app = App::connect(running.proxy, &key).await;
        // More than all sockets on the way hold.
        let head = app.head("GET", "/api/vehicle/corsair?bytes=30000000", "");
        app.stream.write_all(&head).await.unwrap();
        assert_eq!(app.begun().await.0, 200);
        unread.push(app.stream);
    }
    let each = (settled(running.pid()).await - before) / 1024.0 / f64::from(count);
    at_most(&format!("memory of each of {count} answers that nobody reads"), each, 256.0, "KB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_event_comes_through_as_quickly_as_it_would_directly() {
    let _alone = alone().await;
    let house = House::new().await;
    let key = house.app("account,tesla-accounts,vehicles,controls,mcp:use", &[]);
    let running = house.serve().await;
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..of(200, 40) {
        for (address, took) in [house.upstream, running.proxy].into_iter().zip(&mut took) {
            let mut app = App::connect(address, &key).await;
            let head = app.head("GET", "/mcp", "Accept: text/event-stream\r\n");
            let begun = Instant::now();
            app.stream.write_all(&head).await.unwrap();
            let (_, _, body) = app.begun().await;
            if body == 0 {
                app.stream.read_exact(&mut [0; 13]).await.unwrap();
            }
            took.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    let [direct, proxied] = took.map(median);
    at_most("first event later than directly", proxied - direct, limit(5.0, 20.0), "ms");
}

/// The download of all grants is streamed: its memory does not grow with what a slow reader has not taken. Only in full are
/// there so many that holding them all would show beside what a password's hash leaves with the allocator (19 MB).
#[tokio::test(flavor = "multi_thread")]
async fn all_grants_are_downloaded_in_flat_memory() {
    let _alone = alone().await;
    let house = House::bare().await;
    let grown = super::grown::fill(&house, of(30_000, 1_500), 10).await;
    let running = house.serve().await;
    let before = settled(running.pid()).await;
    let cookie = sign_in(&running).await;
    for path in ["/admin/grants.csv", "/admin/grants.json"] {
        let mut app = App::connect(running.web, "").await;
        let port = running.web.port();
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
        app.stream.write_all(head.as_bytes()).await.unwrap();
        // Until nothing more is made for a reader that takes nothing.
        let most = settled(running.pid()).await;
        let mut answer = Vec::new();
        app.stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{path}");
        let told = memchr::memmem::find_iter(&answer, b"personal_access_token").count();
        assert_eq!(told, grown.grants, "{path}");
        let most = (most.max(resident(running.pid())) - before) / MB;
        eprintln!("figure: {path} of {} grants: {:.1} MB", grown.grants, answer.len() as f64 / MB);
        if is_full() {
            // Of it 19 MB for the password, which the allocator lets go of a little later.
            at_most(&format!("memory added by a sign-in and {path}"), most, 30.0, "MB");
        }
    }
    // Page by page, as a program reads it.
    let admin = house.run(&["admin-key", "add", "load", "--json"], "");
    let admin: serde_json::Value = serde_json::from_str(&admin).unwrap();
    let (http, mut seen, mut cursor) = (reqwest::Client::builder().no_proxy().build().unwrap(), 0, String::new());
    loop {
        let url = format!("http://localhost:{}/api/v1/grants?limit=500{cursor}", running.web.port());
        let text =
            http.get(url).bearer_auth(admin["key"].as_str().unwrap()).send().await.unwrap().text().await.unwrap();
        let page: serde_json::Value = serde_json::from_str(&text).unwrap();
        seen += page["items"].as_array().unwrap_or_else(|| panic!("{page}")).len();
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, grown.grants);
    if is_full() {
        let more = resident(running.pid()) - before;
        at_most("memory added by all of it and all pages of the API's grants", more / MB, 32.0, "MB");
    }
}

async fn sign_in(running: &super::house::Running) -> String {
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
    let url = format!("http://localhost:{}/sign-in", running.web.port());
    let page = http.get(&url).send().await.unwrap();
    let cookies = |answer: &reqwest::Response| {
        let set = answer.headers().get_all("set-cookie").iter();
        set.map(|set| set.to_str().unwrap().split(';').next().unwrap().to_owned()).collect::<Vec<_>>().join("; ")
    };
    let cookie = cookies(&page);
    let page = page.text().await.unwrap();
    let token = page.split_once("name=\"csrf_token\" value=\"").unwrap().1.split('"').next().unwrap();
    let fields = [("csrf_token", token), ("username", "ada"), ("password", "correct-horse-battery")];
    let origin = url.trim_end_matches("/sign-in").to_owned();
    let answer = http.post(&url).header("cookie", &cookie).header("origin", origin).form(&fields).send().await.unwrap();
    let fresh = cookies(&answer);
    assert!(answer.status().is_redirection(), "{}", answer.text().await.unwrap());
    fresh
}
