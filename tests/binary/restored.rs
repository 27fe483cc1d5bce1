use keyfob::sandbox::{Sandbox, SandboxConfig};

use crate::program::Place;
use crate::visitor::Visitor;

#[test]
fn a_restored_grant_whose_tokens_are_spent_asks_for_its_user_once_and_then_is_quiet() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let provider = runtime.block_on(Sandbox::start(SandboxConfig::default())).unwrap();
    let faults = provider.faults();
    let place = Place::new()
        .with("KEYFOB_TESLASCOPE_URL", provider.url())
        .with("KEYFOB_TESLASCOPE_MCP_URL", provider.mcp_url())
        .with("KEYFOB_OAUTH_CLIENT_ID", "keyfob-sandbox");
    let mut running = place.serve(&[]);
    let (mut visitor, setup) = (Visitor::new(&running), running.setup_token());
    let (grant, key) = runtime.block_on(async {
        visitor.set_up(&setup, "correct horse battery").await;
        let (_, to, _) = visitor.fill("/connect", "/connect", &[("scope", "vehicles")]).await;
        let (_, grant) = visitor.consent(&provider, &to).await;
        let key = visitor.make_app(&[("name", "dashboard"), ("scope", "vehicles")]).await;
        assert_eq!(visitor.call("GET", "/api/vehicles", Some(&key)).await, 200);
        (grant, key)
    });
    assert_eq!(place.run(&["backup", "copy.db"]).code, Some(0));
    // After the backup the provider rotates: both tokens in it are dead.
    runtime.block_on(async {
        assert_eq!(visitor.fill(&grant, &format!("{grant}/refresh"), &[]).await.0, 303);
        assert_eq!(visitor.call("GET", "/api/vehicles", Some(&key)).await, 200);
    });
    running.signal("TERM");
    running.wait();
    assert_eq!(place.run(&["restore", "copy.db"]).code, Some(0));

    let running = place.serve(&[]);
    let mut visitor = Visitor::new(&running);
    let asked = || faults.token_requests_of("refresh_token");
    let before = asked();
    runtime.block_on(async {
        // The provider's refusal of the old access token is passed on to the one call that met it.
        let first = visitor.call("GET", "/api/vehicles", Some(&key)).await;
        assert!(first == 401 || first == 409, "{first}");
        for _ in 0..10 {
            assert_eq!(visitor.call("GET", "/api/vehicles", Some(&key)).await, 409, "{:?}", visitor.answers.last());
        }
    });
    let (_, said) = visitor.answers.last().unwrap();
    assert!(said.contains("keyfob-error: needs_consent") && said.contains(&grant), "{said}");
    assert_eq!(asked(), before + 1, "one token request, then quiet");
    let listed = place.run(&["grant", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    assert!(listed[0]["status"] == "needs_consent" && listed[0]["reason"] == "refresh_rejected", "{listed}");

    // One click renews it; the app and its key are as they were.
    runtime.block_on(async {
        visitor.fill("/sign-in", "/sign-in", &[("username", "ada"), ("password", "correct horse battery")]).await;
        let (_, to, _) = visitor.fill(&grant, &format!("{grant}/renew"), &[]).await;
        let (_, back) = visitor.consent(&provider, &to).await;
        assert_eq!(back, grant);
        assert_eq!(visitor.call("GET", "/api/vehicles", Some(&key)).await, 200);
    });
}
