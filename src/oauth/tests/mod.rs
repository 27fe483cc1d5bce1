//! The client against raw sockets: what it sends, byte for byte, and what it makes of what comes.

mod discovery;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::*;
use crate::ambient::{Clock, Entropy};
use crate::domain::grant::GrantKind;
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::secret::{AccessToken, RefreshToken, Secret};
use crate::domain::time::Timestamp;

/// A server that says what it is told to, by the request's first line.
struct Fake {
    url: Url,
    seen: Arc<Mutex<Vec<String>>>,
}

enum Say {
    /// Status, header lines and a body; `SELF` in the body stands for the fake's own address.
    Reply(u16, String, String),
    Bytes(String),
    /// Reads the request, then ends the connection.
    Cut,
    /// Reads the request, then says nothing.
    Hang,
}

fn json(status: u16, body: &str) -> Say {
    headers(status, "Content-Type: application/json\r\n", body)
}

fn headers(status: u16, headers: &str, body: &str) -> Say {
    Say::Reply(status, headers.to_owned(), body.to_owned())
}

impl Fake {
    async fn start(answer: impl Fn(&str) -> Say + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&seen), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&log), Arc::clone(&answer)));
            }
        });
        Self { url, seen }
    }

    fn client(&self) -> Client {
        client(&self.url, Some("s3cret"), Duration::from_millis(300))
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(mut socket: TcpStream, seen: Arc<Mutex<Vec<String>>>, answer: Arc<impl Fn(&str) -> Say>) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_ascii_lowercase()
                .split("content-length: ")
                .nth(1)
                .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
            if body.len() >= length {
                seen.lock().unwrap().push(text.clone());
                let line = text.split(" HTTP").next().unwrap();
                match answer(line) {
                    Say::Reply(status, headers, body) => {
                        let body = body.replace("SELF", &format!("http://{}", socket.local_addr().unwrap()));
                        let length = body.len();
                        let reply = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
                        drop(socket.write_all(reply.as_bytes()).await);
                    }
                    Say::Bytes(bytes) => drop(socket.write_all(bytes.as_bytes()).await),
                    Say::Cut => {}
                    Say::Hang => tokio::time::sleep(Duration::from_secs(5)).await,
                }
                return;
            }
        }
        match socket.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&buffer[..read]),
        }
    }
}

fn client(url: &Url, secret: Option<&str>, timeout: Duration) -> Client {
    let client = unpinned(url, secret, timeout);
    client.pin(Endpoints {
        authorize: url.join("/oauth/authorize").unwrap(),
        token: url.join("/oauth/token").unwrap(),
        revoke: Some(url.join("/oauth/revoke").unwrap()),
        issuer: None,
        source: EndpointSource::Fallback,
    });
    client
}

fn unpinned(url: &Url, secret: Option<&str>, timeout: Duration) -> Client {
    let settings = ClientSettings {
        places: Places { api: url.clone(), mcp: url.join("/mcp").unwrap(), authorize: None, token: None, revoke: None },
        registration: Some(Registration { client_id: "kf & co".to_owned(), client_secret: secret.map(Secret::new) }),
        timeout,
        tls: tls_config(None, false).unwrap(),
    };
    Client::new(settings, Clock::test(Timestamp::from_secs(1_795_399_382))).unwrap()
}

fn refresh_token() -> Secret<RefreshToken> {
    Secret::new("R+/=")
}

fn access_token() -> Secret<AccessToken> {
    Secret::new("T")
}

#[tokio::test]
async fn a_refresh_sends_the_token_and_who_asks_and_never_a_scope() {
    let fake =
        Fake::start(|_| json(200, r#"{"token_type":"Bearer","access_token":"A","refresh_token":"N","expires_in":60}"#))
            .await;
    let reply = fake.client().refresh(&refresh_token()).await.unwrap();
    let answer = reply.outcome.unwrap();
    assert_eq!(answer.refresh_token.unwrap().expose(), b"N");
    assert_eq!((reply.status, answer.lifetime), (Some(200), Some(Duration::from_mins(1))));
    let seen = fake.seen();
    let (head, body) = seen[0].split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /oauth/token HTTP/1.1\r\n"), "{head}");
    let head = head.to_ascii_lowercase();
    assert!(head.contains("accept: application/json") && head.contains("user-agent: keyfob/"), "{head}");
    assert!(!head.contains("authorization:") && !head.contains("referer:"), "{head}");
    assert_eq!(body, "grant_type=refresh_token&refresh_token=R%2B%2F%3D&client_id=kf+%26+co&client_secret=s3cret");
}

#[tokio::test]
async fn a_public_client_sends_its_id_alone() {
    let fake = Fake::start(|_| json(200, r#"{"access_token":"A"}"#)).await;
    let public = client(&fake.url, None, Duration::from_secs(1));
    public.refresh(&refresh_token()).await.unwrap().outcome.unwrap();
    assert!(fake.seen()[0].ends_with("refresh_token=R%2B%2F%3D&client_id=kf+%26+co"));
}

#[tokio::test]
async fn a_code_is_exchanged_with_its_verifier_and_the_same_redirect_address() {
    let fake = Fake::start(|_| json(200, r#"{"access_token":"A"}"#)).await;
    let verifier = Client::new_verifier(&Entropy::seeded(1));
    let redirect = "http://localhost:8700/oauth/callback";
    let reply = fake.client().exchange(&Secret::new("c o"), &verifier, redirect).await.unwrap();
    assert!(reply.outcome.is_ok());
    let body = fake.seen()[0].split_once("\r\n\r\n").unwrap().1.to_owned();
    let expected = format!(
        "grant_type=authorization_code&code=c+o&code_verifier={}&client_id=kf+%26+co&client_secret=s3cret&redirect_uri=http%3A%2F%2Flocalhost%3A8700%2Foauth%2Fcallback",
        verifier.expose_str().unwrap()
    );
    assert_eq!(body, expected);
}

#[test]
fn the_authorization_url_holds_exactly_what_it_should() {
    let client = client(&Url::parse("https://teslascope.com").unwrap(), Some("s3cret"), Duration::from_secs(1));
    let (state, verifier) = (Secret::new("st"), Secret::new("v".repeat(43)));
    let scopes = ScopeSet::of(Scope::Vehicles).with(Scope::McpUse);
    let redirect = "http://localhost:8700/oauth/callback";
    let url = client.authorization_url(&state, &verifier, scopes, redirect, Some(Prompt::Consent)).unwrap();
    let mut pairs: Vec<_> = url.query_pairs().map(|(k, v)| format!("{k}={v}")).collect();
    pairs.sort();
    assert_eq!(
        pairs,
        [
            "client_id=kf & co",
            "code_challenge=7w_YNF9DSfIdPf_pRjSq646_kPr-2-o9NAl16JGghdM",
            "code_challenge_method=S256",
            "prompt=consent",
            "redirect_uri=http://localhost:8700/oauth/callback",
            "response_type=code",
            "scope=vehicles mcp:use",
            "state=st",
        ]
    );
    assert!(!url.as_str().contains("s3cret"));
    assert_eq!(Client::new_state(&Entropy::seeded(1)).len(), 43);
    let short = client.authorization_url(&state, &Secret::new("v"), scopes, redirect, None);
    assert_eq!(short.unwrap_err(), NoRegistration::Malformed("code verifier"));
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let elsewhere = Fake::start(|_| json(200, "{}")).await;
    let to = elsewhere.url.join("/steal").unwrap();
    for status in [301, 302, 303, 307, 308] {
        let to = to.clone();
        let fake = Fake::start(move |_| headers(status, &format!("Location: {to}\r\n"), "")).await;
        let reply = fake.client().refresh(&refresh_token()).await.unwrap();
        let kind = TransientFault::Redirect;
        assert_eq!(reply.outcome.unwrap_err(), TokenError::Transient { kind, retry_after: None });
        assert_eq!(fake.client().probe(GrantKind::PersonalAccessToken, &access_token()).await, Probe::Unknown);
    }
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn what_may_have_arrived_is_told_from_what_was_never_sent() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Url::parse(&format!("http://{}", nobody.local_addr().unwrap())).unwrap();
    drop(nobody);
    let reply = client(&address, None, Duration::from_secs(1)).refresh(&refresh_token()).await.unwrap();
    let kind = TransientFault::NotReached(NotSent::Connection);
    assert_eq!(reply.outcome.unwrap_err(), TokenError::Transient { kind, retry_after: None });

    let cut = Fake::start(|_| Say::Cut).await;
    let reply = cut.client().refresh(&refresh_token()).await.unwrap();
    assert_eq!(reply.outcome.unwrap_err(), TokenError::Uncertain(Doubt::Cut));
    assert_eq!(cut.seen().len(), 1, "it is not sent again");

    let hang = Fake::start(|_| Say::Hang).await;
    let reply = hang.client().refresh(&refresh_token()).await.unwrap();
    assert_eq!(reply.outcome.unwrap_err(), TokenError::Uncertain(Doubt::TimedOut));

    let half =
        Fake::start(|_| Say::Bytes("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"access_token\":\"A".to_owned()))
            .await;
    let reply = half.client().refresh(&refresh_token()).await.unwrap();
    assert_eq!(reply.outcome.unwrap_err(), TokenError::Uncertain(Doubt::Unreadable));

    let whole = r#"{"access_token":"A","refresh_token":"N","#;
    let nearly =
        Fake::start(move |_| Say::Bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{whole}"))).await;
    let reply = nearly.client().refresh(&refresh_token()).await.unwrap();
    assert_eq!(reply.outcome.unwrap().refresh_token.unwrap().expose(), b"N");

    let flood =
        Fake::start(|_| json(200, &format!(r#"{{"access_token":"A","x":"{}"}}"#, "x".repeat(300 * 1024)))).await;
    let reply = flood.client().refresh(&refresh_token()).await.unwrap();
    assert_eq!(reply.outcome.unwrap_err(), TokenError::Uncertain(Doubt::Unreadable));
}

#[tokio::test]
async fn the_wait_and_the_clock_of_the_provider_are_read() {
    // The client's clock stands at 2026-11-23T02:03:02Z.
    for (lines, wait, ahead) in [
        ("Retry-After: 61\r\nDate: Mon, 23 Nov 2026 02:03:02 GMT\r\n", Some(61), Some(0)),
        ("Retry-After: Mon, 23 Nov 2026 02:04:02 GMT\r\nDate: Mon, 23 Nov 2026 02:03:02 GMT\r\n", Some(60), Some(0)),
        ("Retry-After: 999999999\r\nDate: Mon, 23 Nov 2026 04:03:02 GMT\r\n", Some(86_400), Some(7_200_000)),
        ("Retry-After: soon\r\nDate: Mon, 23 Nov 2026 02:02:02 GMT\r\n", None, Some(-59_001)),
        ("", None, None),
    ] {
        let fake = Fake::start(move |_| headers(429, lines, r#"{"message":"Too Many Attempts."}"#)).await;
        let reply = fake.client().refresh(&refresh_token()).await.unwrap();
        let retry_after = wait.map(Duration::from_secs);
        assert_eq!(reply.outcome.unwrap_err(), TokenError::Transient { kind: TransientFault::Throttled, retry_after });
        assert_eq!(reply.clock_ahead, ahead, "{lines}");
    }
}

#[tokio::test]
async fn a_probe_asks_where_the_kind_of_token_may_go() {
    for (status, lines, expected) in [
        (200, "", Probe::Accepted),
        (403, "", Probe::Accepted),
        (401, "", Probe::Refused),
        (302, "Location: http://127.0.0.1:1/login\r\n", Probe::Refused),
        (302, "Location: /login?next=%2Fapi\r\n", Probe::Refused),
        (302, "Location: /elsewhere\r\n", Probe::Unknown),
        (404, "", Probe::Unknown),
        (429, "", Probe::Unknown),
        (500, "", Probe::Unknown),
    ] {
        let fake = Fake::start(move |_| headers(status, lines, "{}")).await;
        assert_eq!(fake.client().probe(GrantKind::OAuth, &access_token()).await, expected, "{status} {lines}");
        assert_eq!(fake.client().probe(GrantKind::ApiKey, &Secret::new("a&b")).await, expected, "{status} {lines}");
        let seen = fake.seen();
        assert!(
            seen[0].starts_with("GET /api/account HTTP") && seen[0].contains("authorization: Bearer T\r\n"),
            "{seen:?}"
        );
        assert!(seen[1].starts_with("GET /api/vehicles?api_key=a%26b HTTP") && !seen[1].contains("authorization"));
    }
    let cut = Fake::start(|_| Say::Cut).await;
    assert_eq!(cut.client().probe(GrantKind::OAuth, &access_token()).await, Probe::Unknown);
}

#[tokio::test]
async fn a_pasted_token_is_tried_where_its_scopes_say() {
    let pat = GrantKind::PersonalAccessToken;
    let fake = Fake::start(|line| match line {
        "GET /api/account" => json(403, "{}"),
        "GET /api/vehicles" => json(200, "[]"),
        _ => json(401, "{}"),
    })
    .await;
    let client = fake.client();
    let vehicles = ScopeSet::of(Scope::Vehicles);
    let check = async |kind, scopes, token: &str| client.check_pasted(kind, scopes, &Secret::new(token)).await;
    assert_eq!(check(pat, vehicles, "T").await, PastedCheck::Accepted);
    assert_eq!(check(pat, vehicles, "12|T").await, PastedCheck::Accepted);
    assert_eq!(check(pat, vehicles.with(Scope::Account), "T").await, PastedCheck::MissingScope(Scope::Account));
    assert_eq!(check(GrantKind::ApiKey, vehicles, "T").await, PastedCheck::Refused);
    let before = fake.seen().len();
    assert_eq!(check(pat, ScopeSet::of(Scope::Controls), "T").await, PastedCheck::NotChecked);
    assert_eq!(check(pat, vehicles, "T\r\nX-Evil: 1").await, PastedCheck::Refused);
    assert_eq!(fake.seen().len(), before, "nothing is sent");
    let down = Fake::start(|_| json(503, "{}")).await;
    assert_eq!(down.client().check_pasted(pat, vehicles, &access_token()).await, PastedCheck::NotChecked);
}

#[tokio::test]
async fn the_account_is_the_tokens_own_subject_or_what_the_provider_says() {
    let fake = Fake::start(|_| json(200, r#"{"code":200,"response":{"id":42}}"#)).await;
    let client = fake.client();
    assert_eq!(client.account_subject(ScopeSet::of(Scope::Vehicles), &access_token()).await, None);
    assert!(fake.seen().is_empty());
    assert_eq!(client.account_subject(ScopeSet::ALL, &access_token()).await.as_deref(), Some("42"));
    let jwt = Secret::new("e30.eyJzdWIiOiI3In0.c");
    assert_eq!(client.account_subject(ScopeSet::ALL, &jwt).await.as_deref(), Some("7"));
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn a_revocation_says_what_came_of_it() {
    let fake = Fake::start(|_| json(200, "")).await;
    assert_eq!(fake.client().revoke_refresh_token(&refresh_token()).await, Revocation::Revoked);
    assert!(
        fake.seen()[0]
            .contains("token=R%2B%2F%3D&token_type_hint=refresh_token&client_id=kf+%26+co&client_secret=s3cret")
    );
    let down = Fake::start(|_| json(503, "")).await;
    assert_eq!(down.client().revoke_access_token(&access_token()).await, Revocation::Failed);
    let none = unpinned(&down.url, None, Duration::from_secs(1));
    assert_eq!(none.revoke_access_token(&access_token()).await, Revocation::NotOffered);
}

#[test]
fn a_file_that_holds_no_certificates_is_refused_by_its_name() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for content in ["", "no certificate"] {
        std::fs::write(file.path(), content).unwrap();
        let error = tls_config(Some(file.path()), true).unwrap_err();
        assert!(error.to_string().contains("KEYFOB_TESLASCOPE_CA_FILE"), "{error}");
    }
}
