//! Where the endpoints are looked for, and who is believed.

use super::*;

async fn discovered(answer: impl Fn(&str) -> Say + Send + Sync + 'static) -> (Discovery, Fake) {
    let fake = Fake::start(answer).await;
    let found = unpinned(&fake.url, None, Duration::from_secs(1)).discover().await.unwrap();
    (found, fake)
}

const METADATA: &str = r#"{"issuer":"SELF/mcp","authorization_endpoint":"SELF/moved/authorize","token_endpoint":"SELF/moved/token","scopes_supported":["mcp:use"]}"#;

#[tokio::test]
async fn endpoints_come_from_the_metadata_that_the_mcp_server_names() {
    let (found, fake) = discovered(|line| match line {
        "GET /.well-known/oauth-protected-resource" => json(200, r#"{"authorization_servers":["SELF/mcp"]}"#),
        "GET /.well-known/oauth-authorization-server/mcp" => json(200, METADATA),
        _ => json(404, "{}"),
    })
    .await;
    assert_eq!((found.endpoints.source, found.complete), (EndpointSource::Metadata, true));
    assert_eq!(found.endpoints.token.path(), "/moved/token");
    assert_eq!(found.endpoints.revoke, None);
    assert!(found.refused.is_empty(), "a path in the issuer is forgiven");
    let asked: Vec<_> = fake.seen().iter().map(|seen| seen.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(
        asked,
        [
            "/.well-known/oauth-protected-resource/mcp",
            "/.well-known/oauth-protected-resource",
            "/.well-known/oauth-authorization-server/mcp",
        ]
    );
}

#[tokio::test]
async fn without_metadata_the_frameworks_paths_serve_and_an_outage_is_no_answer() {
    let (found, _) = discovered(|_| json(404, "{}")).await;
    assert_eq!((found.endpoints.source, found.complete), (EndpointSource::Fallback, true));
    assert_eq!((found.endpoints.authorize.path(), found.endpoints.token.path()), ("/oauth/authorize", "/oauth/token"));
    let (found, _) = discovered(|_| json(503, "{}")).await;
    assert_eq!((found.endpoints.source, found.complete), (EndpointSource::Fallback, false));
    let (found, _) = discovered(|_| headers(200, "Content-Type: text/html\r\n", "<html>{}</html>")).await;
    assert_eq!((found.endpoints.source, found.complete), (EndpointSource::Fallback, true));
}

#[tokio::test]
async fn metadata_that_names_another_host_is_not_believed_and_that_host_hears_nothing() {
    let foreign = |what: &str| METADATA.replace(what, "http://192.0.2.1");
    for (metadata, resource) in [
        (foreign("SELF/mcp"), "SELF"),
        (foreign("SELF/moved/token"), "SELF"),
        (foreign("SELF/moved/authorize"), "SELF"),
        (METADATA.replace("SELF/mcp", "nobody"), "SELF"),
        ("{}".to_owned(), "http://192.0.2.1"),
    ] {
        let text = metadata.clone();
        let (found, _) = discovered(move |line| match line {
            "GET /.well-known/oauth-protected-resource" => {
                json(200, &format!(r#"{{"authorization_servers":["{resource}"]}}"#))
            }
            "GET /.well-known/oauth-authorization-server" => json(200, &text),
            _ => json(404, "{}"),
        })
        .await;
        assert_eq!(found.endpoints.source, EndpointSource::Fallback, "{metadata}");
        assert!(!found.refused.is_empty(), "{metadata}");
    }
}

#[tokio::test]
async fn settings_come_before_metadata_and_must_be_the_providers_own() {
    let fake = Fake::start(|_| json(404, "{}")).await;
    let url = |path: &str| fake.url.join(path).unwrap();
    let mut places = Places {
        api: fake.url.clone(),
        mcp: url("/mcp"),
        authorize: Some(url("/a")),
        token: Some(url("/t")),
        revoke: Some(url("/r")),
    };
    let make = |places: Places| {
        let settings = ClientSettings {
            places,
            registration: None,
            timeout: Duration::from_secs(1),
            tls: tls_config(None, false).unwrap(),
        };
        Client::new(settings, Clock::system()).unwrap()
    };
    let found = make(places.clone()).discover().await.unwrap().endpoints;
    assert_eq!((found.source, found.token, found.revoke), (EndpointSource::Settings, url("/t"), Some(url("/r"))));
    assert!(fake.seen().is_empty());
    places.token = Some(Url::parse("https://192.0.2.1/token?x=SECRET").unwrap());
    let error = make(places).discover().await.unwrap_err();
    assert_eq!(error.setting, "KEYFOB_OAUTH_TOKEN_URL");
    assert!(!error.to_string().contains("SECRET"));
}
