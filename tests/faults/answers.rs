//! What the running program makes of each answer that a token endpoint can give, and of none.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::sandbox::{Moment, RawAnswer, SandboxConfig, Times, TokenFault};
use serde_json::Value;

use crate::town::{Connected, Running, Town, within};

/// An answer of the management API.
#[derive(Debug)]
struct Told {
    status: u16,
    body: Value,
    retry_after: u64,
}

/// A running program, a grant, and an app that may use it.
struct Story {
    town: Town,
    ada: Connected,
    running: Running,
}

impl Story {
    async fn new() -> Arc<Self> {
        Self::with("2s").await
    }

    /// The program waits for the token endpoint so long.
    async fn with(timeout: &str) -> Arc<Self> {
        let town = Town::new(SandboxConfig::default()).await;
        let ada = town.connect().await;
        let mut command = town.script(&[], "exec \"$0\" serve");
        command.env("KEYFOB_TOKEN_TIMEOUT", timeout);
        let running = town.serve_by(command).await;
        town.faults.forget_received();
        Arc::new(Self { town, ada, running })
    }

    async fn api(&self, method: Method, path: &str) -> Told {
        let url = format!("http://{}/api/v1/grants/{}{path}", self.running.web, self.ada.grant);
        let answer = self.town.http.request(method, url).bearer_auth(&self.ada.admin_key).send().await.unwrap();
        let retry_after = answer.headers().get("retry-after").map_or(0, |wait| wait.to_str().unwrap().parse().unwrap());
        let status = answer.status().as_u16();
        Told { status, body: answer.json().await.unwrap_or_default(), retry_after }
    }

    async fn refresh(&self) -> Told {
        self.api(Method::POST, "/refresh").await
    }

    /// The grant's status and reason.
    async fn status(&self) -> (String, Option<String>) {
        let grant = self.api(Method::GET, "").await.body;
        (grant["status"].as_str().unwrap().to_owned(), grant["reason"].as_str().map(str::to_owned))
    }

    /// An app's call.
    async fn call(&self) -> (u16, String) {
        let got = self.town.vehicles(&self.running, &self.ada.key).await.unwrap();
        (got.status, got.code)
    }

    async fn renew(&self) {
        let broker = self.town.broker().await;
        let again =
            self.town.consent(&broker, self.ada.user, Some(self.ada.grant), ScopeSet::of(Scope::Vehicles)).await;
        assert_eq!(again, self.ada.grant);
        broker.store.close().await;
        within(Duration::from_secs(5), "it works again", async || self.call().await.0 == 200).await;
    }

    async fn attempts(&self, result: &str) -> u64 {
        self.town.metric(&self.running, &format!("keyfob_refresh_attempts_total{{result=\"{result}\"}}")).await
    }
}

const ACTIVE: (&str, Option<&str>) = ("active", None);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_or_a_fault_of_the_registration_costs_neither_the_grant_nor_its_token() {
    let (story, elsewhere) = (Story::new().await, Town::new(SandboxConfig::default()).await);
    let faults = &story.town.faults;
    let client = RawAnswer::new(401, "application/json", r#"{"error":"invalid_client"}"#);
    let told = [
        (TokenFault::status(500), 503, "refresh_unavailable"),
        (TokenFault::status(503), 503, "refresh_unavailable"),
        (TokenFault::too_many(61), 503, "refresh_unavailable"),
        (TokenFault::html(200), 503, "refresh_unavailable"),
        (TokenFault::html(403), 503, "refresh_unavailable"),
        (TokenFault::redirect(307, &format!("{}/oauth/token", elsewhere.sandbox.url())), 503, "refresh_unavailable"),
        (TokenFault::Instead(client), 409, "configuration"),
    ];
    let count = told.len() as u64;
    for (fault, status, code) in told {
        faults.refresh(Times::Next(1), fault.clone());
        let told = story.refresh().await;
        assert_eq!((told.status, told.body["code"].as_str()), (status, Some(code)), "{fault:?}: {told:?}");
        if fault == TokenFault::too_many(61) {
            assert!(told.retry_after >= 61, "{told:?}");
        }
        let (status, reason) = story.status().await;
        assert_eq!((&*status, reason.as_deref()), ACTIVE, "{fault:?}");
        assert_eq!(story.call().await.0, 200, "{fault:?}: the valid token is in use");
    }
    assert_eq!(faults.token_requests(), count, "each was sent once");
    assert_eq!(elsewhere.faults.token_requests(), 0, "no redirect is followed");
    assert_eq!((story.attempts("transient").await, story.attempts("configuration").await), (count - 1, 1));
    assert_eq!(story.refresh().await.status, 200, "it recovers by itself");
    // One line for each attempt, with the grant's id and no secret.
    let said = story.town.said();
    let lines = said.lines().filter(|line| line.contains("refresh.result")).collect::<Vec<_>>();
    assert_eq!(lines.len() as u64, count + 1, "{said}");
    assert!(lines.iter().all(|line| line.contains(&story.ada.grant.to_string())));
    for sign in ["eyJ0eXAi", "def502", "CANARY", &story.ada.key] {
        assert!(!said.contains(sign), "{sign}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_answers_are_kept_and_the_next_refresh_spends_what_came_with_them() {
    let story = Story::new().await;
    for fault in [
        TokenFault::with("expires_in", "3600"),
        TokenFault::with("expires_in", -1),
        TokenFault::with("expires_in", 1_u64 << 63),
        TokenFault::without("expires_in"),
        TokenFault::without("token_type"),
        TokenFault::with("scope", Value::Null),
    ] {
        story.town.faults.refresh(Times::Next(1), fault.clone());
        let told = story.refresh().await;
        assert_eq!(told.status, 200, "{fault:?}: {told:?}");
        assert_eq!(story.call().await.0, 200, "{fault:?}");
    }
    assert_eq!(story.town.faults.refreshes(), 6, "each with the token of the one before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_or_a_lost_rotation_is_named_once_and_one_consent_ends_it() {
    let story = Story::new().await;
    for (fault, reason, requests) in [
        (TokenFault::rejected(), "refresh_rejected", 1),
        (TokenFault::rejected_by_league_8(), "refresh_rejected", 1),
        (TokenFault::DropAfter, "rotation_lost", 2),
        (TokenFault::TruncatedJson, "rotation_lost", 2),
        (TokenFault::CutBody, "rotation_lost", 2),
    ] {
        story.town.faults.forget_received();
        story.town.faults.refresh(Times::Next(1), fault.clone());
        let told = story.refresh().await;
        assert_eq!((told.status, told.body["code"].as_str()), (409, Some("needs_consent")), "{fault:?}: {told:?}");
        assert_eq!(story.status().await, ("needs_consent".to_owned(), Some(reason.to_owned())), "{fault:?}");
        for _ in 0..5 {
            assert_eq!(story.call().await, (409, "needs_consent".to_owned()), "{fault:?}");
        }
        assert_eq!(story.refresh().await.status, 409);
        assert_eq!(story.town.faults.token_requests(), requests, "{fault:?}: then quiet");
        story.renew().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_never_came_is_found_out_about_while_calls_go_on() {
    let story = Story::new().await;
    story.town.faults.refresh(Times::Next(1), TokenFault::DropBefore);
    let told = story.refresh().await;
    assert_eq!((told.status, told.body["code"].as_str()), (503, Some("refresh_unavailable")), "{told:?}");
    assert_eq!(story.status().await.0, "uncertain");
    assert_eq!(story.call().await.0, 200, "the old token is taken, so calls go on with it");
    assert_eq!(story.town.faults.token_requests(), 1, "nothing is replayed at once");
    within(Duration::from_secs(20), "it is decided", async || story.status().await.0 == "active").await;
    assert_eq!((story.town.faults.token_requests(), story.town.faults.refreshes()), (2, 1));
    assert_eq!(story.call().await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_endpoint_that_hangs_holds_calls_up_for_a_moment_only() {
    let story = Story::with("60s").await;
    let (sent, hold) = (story.town.faults.reached(Moment::BeforeRotate), story.town.faults.hold(Moment::BeforeRotate));
    let refresher = Arc::clone(&story);
    let refresh = tokio::spawn(async move { refresher.refresh().await });
    sent.await;
    let called = tokio::time::timeout(Duration::from_secs(15), story.call()).await.expect("it waits three seconds");
    assert_eq!(called.0, 200, "with the old token, which is not past its expiry");
    assert!(!refresh.is_finished());
    hold.release();
    assert_eq!(refresh.await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_that_is_disconnected_during_its_refresh_does_not_come_back() {
    let story = Story::new().await;
    let (rotated, hold) =
        (story.town.faults.reached(Moment::AfterRotate), story.town.faults.hold(Moment::BeforeAnswer));
    let refresher = Arc::clone(&story);
    let refresh = tokio::spawn(async move { refresher.refresh().await });
    rotated.await;
    assert_eq!(story.api(Method::DELETE, "").await.status, 204);
    hold.release();
    let told = refresh.await.unwrap();
    assert_eq!((told.status, told.body["code"].as_str()), (409, Some("not_refreshable")), "{told:?}");
    assert_eq!(story.status().await.0, "disconnected");
    assert_eq!(story.call().await, (409, "no_grant".to_owned()));
    assert!(story.town.said().contains("a late answer was not kept"), "{}", story.town.said());
}
