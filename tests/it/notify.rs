//! A grant that needs its user is told of, once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use http::StatusCode;
use keyfob::ambient::Clock;
use keyfob::broker::{Notifier, Told};
use keyfob::domain::grant::ConsentReason;
use keyfob::domain::id::GrantId;
use keyfob::oauth::{Webhook, tls_config};
use keyfob::store::Change;
use serde_json::Value;

use crate::browser::House;
use crate::grants::put_grant;

/// An address that is told, and what it answers.
struct Ear {
    heard: Arc<Mutex<Vec<Value>>>,
    answer: Arc<Mutex<Duration>>,
    status: Arc<Mutex<StatusCode>>,
    notifier: Notifier,
}

type Shared = (Arc<Mutex<Vec<Value>>>, Arc<Mutex<Duration>>, Arc<Mutex<StatusCode>>);

impl Ear {
    async fn new() -> Self {
        Self::with(Duration::from_secs(10)).await
    }

    /// Who tells it waits for its answer so long.
    async fn with(patience: Duration) -> Self {
        let shared: Shared = Default::default();
        let router = Router::new().route("/hook/CANARY", post(hear)).with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/hook/CANARY", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let tls = tls_config(None, false).unwrap();
        let webhook = Webhook::new(address.parse().unwrap(), tls, patience, Clock::system()).unwrap();
        let notifier = Notifier { webhook: Some(webhook), command: Vec::new(), patience };
        Self { heard: shared.0, answer: shared.1, status: shared.2, notifier }
    }

    fn heard(&self) -> Vec<Value> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }
}

async fn hear(State((heard, pause, status)): State<Shared>, body: String) -> StatusCode {
    heard.lock().unwrap().push(serde_json::from_str(&body).unwrap());
    let pause = *pause.lock().unwrap();
    tokio::time::sleep(pause).await;
    *status.lock().unwrap()
}

async fn fail(house: &House, grant: GrantId, version: i64, reason: ConsentReason) {
    house.broker.store.replace_with_needs_consent(grant, version, reason).await.unwrap();
    house.broker.directory().reload(Change::Grant(grant)).await.unwrap();
}

async fn round(house: &House, notifier: &Notifier, told: &mut Told) -> usize {
    house.broker.tell_what_is_new(notifier, told).await.unwrap()
}

#[tokio::test]
async fn an_address_is_told_once_of_a_grant_that_needs_its_user() {
    let (house, ear) = (House::with_admin().await, Ear::new().await);
    let (grant, _sound) = (put_grant(&house, "my <car>").await, put_grant(&house, "other").await);
    let mut told = Told::default();
    assert_eq!(round(&house, &ear.notifier, &mut told).await, 0, "none needs its user yet");
    fail(&house, grant, 1, ConsentReason::RotationLost).await;
    round(&house, &ear.notifier, &mut told).await;
    let heard = ear.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    let event = &heard[0];
    assert_eq!(event["event"], "grant.needs_consent");
    assert_eq!(event["grant"], grant.to_string());
    assert_eq!((&event["user"], &event["label"]), (&"ada".into(), &"my <car>".into()));
    assert_eq!(event["reason"], "rotation_lost");
    assert_eq!(event["advice"], ConsentReason::RotationLost.advice());
    assert_eq!(event["renew"], format!("http://localhost:8700/grants/{grant}"));
    assert!(!event.to_string().contains("CANARY"), "{event}");

    // Neither this process, nor another, nor the next start tells again.
    round(&house, &ear.notifier, &mut told).await;
    round(&house, &ear.notifier, &mut Told::default()).await;
    house.clock.advance(Duration::from_secs(86_400));
    round(&house, &ear.notifier, &mut Told::default()).await;
    assert!(ear.heard().is_empty());
    // Another reason is another event.
    fail(&house, grant, 1, ConsentReason::Revoked).await;
    round(&house, &ear.notifier, &mut told).await;
    assert_eq!(ear.heard().len(), 1);
}

#[tokio::test]
async fn fifty_processes_at_once_tell_once_between_them() {
    let (house, ear) = (Arc::new(House::with_admin().await), Ear::new().await);
    let grant = put_grant(&house, "car").await;
    fail(&house, grant, 1, ConsentReason::Revoked).await;
    let rounds: Vec<_> = (0..50)
        .map(|_| {
            let (broker, notifier) = (house.broker.clone(), ear.notifier.clone());
            tokio::spawn(async move { broker.tell_what_is_new(&notifier, &mut Told::default()).await.unwrap() })
        })
        .collect();
    for round in rounds {
        round.await.unwrap();
    }
    assert_eq!(ear.heard().len(), 1);
}

#[tokio::test]
async fn an_address_that_fails_is_tried_again_with_pauses_and_then_left_alone() {
    let (house, ear) = (House::with_admin().await, Ear::new().await);
    let grant = put_grant(&house, "car").await;
    fail(&house, grant, 1, ConsentReason::Revoked).await;
    *ear.status.lock().unwrap() = StatusCode::INTERNAL_SERVER_ERROR;
    let mut told = Told::default();
    for pause in [5, 30, 300, 1_800] {
        round(&house, &ear.notifier, &mut told).await;
        assert_eq!(ear.heard().len(), 1);
        house.clock.advance(Duration::from_secs(pause - 1));
        round(&house, &ear.notifier, &mut told).await;
        assert!(ear.heard().is_empty(), "not before {pause} s are over");
        house.clock.advance(Duration::from_secs(1));
    }
    round(&house, &ear.notifier, &mut told).await;
    assert_eq!(ear.heard().len(), 1, "the fifth and last");
    house.clock.advance(Duration::from_secs(86_400));
    round(&house, &ear.notifier, &mut Told::default()).await;
    assert!(ear.heard().is_empty());
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_given_up_in_time() {
    let (house, ear) = (House::with_admin().await, Ear::with(Duration::from_millis(500)).await);
    let grant = put_grant(&house, "car").await;
    fail(&house, grant, 1, ConsentReason::Revoked).await;
    *ear.answer.lock().unwrap() = Duration::from_secs(60);
    let mut told = Told::default();
    let rounds = tokio::time::timeout(Duration::from_secs(20), round(&house, &ear.notifier, &mut told));
    assert_eq!(rounds.await.unwrap(), 1);
}

#[tokio::test]
async fn a_program_gets_the_event_without_a_shell_and_without_keyfobs_settings() {
    let house = House::with_admin().await;
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let script = directory.path().join("tell");
    std::fs::write(&script, "{ cat; echo; echo \"$1\"; env; } > \"$2\"\n").unwrap();
    // Read by a shell, not run itself: a process that another test starts at this moment may hold it open for writing.
    let [shell, script, out_name] = ["/bin/sh".to_owned(), script.display().to_string(), out.display().to_string()];
    let command = vec![shell, script, "$(id); 'x".to_owned(), out_name];
    let notifier = Notifier { webhook: None, command, patience: Duration::from_secs(5) };
    let grant = put_grant(&house, "car").await;
    fail(&house, grant, 1, ConsentReason::Expired).await;
    round(&house, &notifier, &mut Told::default()).await;
    let written = std::fs::read_to_string(&out).unwrap();
    let mut lines = written.lines();
    let event: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!((&event["reason"], &event["grant"]), (&"expired".into(), &grant.to_string().into()));
    assert_eq!(lines.next(), Some("$(id); 'x"), "arguments are passed as they stand");
    assert!(written.contains(&format!("KEYFOB_EVENT_GRANT={grant}")) && written.contains("KEYFOB_EVENT_USER=ada"));
    let ours = written.lines().filter(|line| line.starts_with("KEYFOB_"));
    assert!(ours.clone().count() >= 7 && ours.clone().all(|line| line.starts_with("KEYFOB_EVENT")), "{written}");
}

#[tokio::test]
async fn a_program_that_hangs_or_is_not_there_blocks_nothing_and_what_was_told_is_not_told_again() {
    let (house, ear) = (House::with_admin().await, Ear::new().await);
    let grant = put_grant(&house, "car").await;
    fail(&house, grant, 1, ConsentReason::Expired).await;
    let mut told = Told::default();
    for command in [vec!["/no/such/program".to_owned()], vec!["sleep".to_owned(), "60".to_owned()]] {
        let patience = Duration::from_millis(500);
        let notifier = Notifier { command, patience, ..ear.notifier.clone() };
        let tried = tokio::time::timeout(Duration::from_secs(20), round(&house, &notifier, &mut told));
        assert_eq!(tried.await.unwrap(), 1);
        house.clock.advance(Duration::from_secs(30));
    }
    assert_eq!(ear.heard().len(), 1, "the address was told at the first attempt");
}
