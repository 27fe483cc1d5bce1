//! The MCP server over streamable HTTP, compared with the capture.

use keyfob::domain::scope::{Scope, ScopeSet};
use keyfob::sandbox::Sandbox;
use reqwest::Response;
use serde_json::{Value, json};

use crate::browser::{Browser, header, sandbox};

struct Mcp {
    sandbox: Sandbox,
    http: reqwest::Client,
}

impl Mcp {
    async fn start() -> Self {
        let sandbox = sandbox().await;
        let _ = Browser::new(&sandbox);
        Self { sandbox, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    async fn post(&self, token: &str, message: &Value) -> Response {
        self.http
            .post(self.sandbox.mcp_url())
            .bearer_auth(token)
            .header("Accept", "application/json, text/event-stream")
            .header("Content-Type", "application/json")
            .header("MCP-Protocol-Version", "2026-07-28")
            .body(message.to_string())
            .send()
            .await
            .unwrap()
    }

    async fn call(&self, token: &str, tool: &str, arguments: Value) -> Value {
        let params = json!({ "name": tool, "arguments": arguments });
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        self.post(token, &message).await.json().await.unwrap()
    }
}

fn message(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": "m:0", "method": method, "params": params })
}

#[tokio::test]
async fn without_a_token_every_method_is_challenged() {
    let mcp = Mcp::start().await;
    let metadata = format!("{}/.well-known/oauth-protected-resource/mcp", mcp.sandbox.url());
    for method in [reqwest::Method::GET, reqwest::Method::POST, reqwest::Method::DELETE] {
        let response = mcp.http.request(method, mcp.sandbox.mcp_url()).send().await.unwrap();
        assert_eq!(response.status(), 401);
        let challenge = format!("Bearer realm=\"mcp\", resource_metadata=\"{metadata}\"");
        assert_eq!(header(&response, "www-authenticate"), challenge);
    }
    let narrow = mcp.sandbox.issue_personal_access_token(1, ScopeSet::of(Scope::Vehicles));
    assert_eq!(mcp.post(&narrow, &message("ping", &json!({}))).await.status(), 403);
    let token = mcp.sandbox.issue_personal_access_token(1, ScopeSet::of(Scope::McpUse));
    let response = mcp.http.get(mcp.sandbox.mcp_url()).bearer_auth(&token).send().await.unwrap();
    assert_eq!((response.status().as_u16(), header(&response, "allow")), (405, "POST"));
}

#[tokio::test]
async fn both_ways_to_begin_are_answered() {
    let mcp = Mcp::start().await;
    let token = mcp.sandbox.issue_personal_access_token(1, ScopeSet::ALL);
    let discovered: Value = mcp.post(&token, &message("server/discover", &json!({}))).await.json().await.unwrap();
    let result = &discovered["result"];
    assert_eq!(discovered["id"], "m:0");
    assert_eq!((&result["cacheScope"], &result["ttlMs"]), (&json!("private"), &json!(0)));
    assert_eq!((&result["resultType"], &result["supportedVersions"]), (&json!("complete"), &json!(["2026-07-28"])));
    assert!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"].is_string());
    let response = mcp.post(&token, &message("initialize", &json!({ "protocolVersion": "2025-06-18" }))).await;
    assert!(!header(&response, "mcp-session-id").is_empty());
    let initialized: Value = response.json().await.unwrap();
    assert_eq!(initialized["result"]["protocolVersion"], "2025-06-18");
    let notified = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(mcp.post(&token, &notified).await.status(), 202);
    let unknown: Value = mcp.post(&token, &message("tools/eat", &json!({}))).await.json().await.unwrap();
    assert_eq!(unknown["error"]["code"], -32601);
}

#[tokio::test]
async fn the_seven_tools_need_their_scopes() {
    let mcp = Mcp::start().await;
    let token = mcp.sandbox.issue_personal_access_token(1, ScopeSet::ALL);
    let listed: Value = mcp.post(&token, &message("tools/list", &json!({}))).await.json().await.unwrap();
    let names: Vec<&str> =
        listed["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    let expected = [
        "list_vehicles",
        "get_vehicle",
        "get_drives",
        "get_drive",
        "get_charges",
        "get_charge",
        "send_vehicle_command",
    ];
    assert_eq!(names, expected);
    let read_only = mcp.sandbox.issue_personal_access_token(1, ScopeSet::of(Scope::McpUse).with(Scope::Vehicles));
    let car = |more: Value| {
        let mut arguments = json!({ "vehicle_id": "corsair" });
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        arguments
    };
    for (tool, arguments) in [
        ("list_vehicles", json!({})),
        ("get_vehicle", car(json!({}))),
        ("get_drives", car(json!({ "limit": 3 }))),
        ("get_drive", car(json!({ "drive_id": 43_001 }))),
        ("get_charges", car(json!({}))),
        ("get_charge", car(json!({ "charge_id": "411001" }))),
    ] {
        let answer = mcp.call(&read_only, tool, arguments).await;
        assert_eq!(answer["result"]["isError"], false, "{tool}: {answer}");
        let text = answer["result"]["content"][0]["text"].as_str().unwrap();
        assert!(serde_json::from_str::<Value>(text).is_ok(), "{tool}");
    }
    let faults = mcp.sandbox.faults();
    let command = car(json!({ "command": "lock" }));
    assert_eq!(mcp.call(&read_only, "send_vehicle_command", command.clone()).await["result"]["isError"], true);
    assert_eq!(faults.commands("corsair", "lock"), 0);
    assert_eq!(mcp.call(&token, "send_vehicle_command", command).await["result"]["isError"], false);
    assert_eq!(faults.commands("corsair", "lock"), 1);
    assert_eq!(mcp.call(&token, "fly", json!({})).await["error"]["code"], -32602);
}

#[tokio::test]
async fn a_subscription_acknowledges_at_once_and_stays_open_until_the_sandbox_stops() {
    let mcp = Mcp::start().await;
    let token = mcp.sandbox.issue_personal_access_token(1, ScopeSet::ALL);
    let listen = message("subscriptions/listen", &json!({ "notifications": { "toolsListChanged": true } }));
    let mut response = mcp.post(&token, &listen).await;
    assert_eq!(header(&response, "content-type"), "text/event-stream");
    assert_eq!(header(&response, "cache-control"), "no-cache, no-transform");
    assert_eq!(header(&response, "x-accel-buffering"), "no");
    let first = response.chunk().await.unwrap().unwrap();
    let text = String::from_utf8(first.to_vec()).unwrap();
    assert!(text.starts_with("event: message\ndata: {") && text.ends_with("}\n\n"), "{text}");
    assert!(text.contains("notifications/subscriptions/acknowledged") && text.contains("\"m:0\""));
    mcp.sandbox.stop().await;
    assert!(response.chunk().await.unwrap().is_none());
}

#[tokio::test]
async fn a_slow_call_tells_its_progress_before_the_result() {
    let mcp = Mcp::start().await;
    let token = mcp.sandbox.issue_personal_access_token(1, ScopeSet::ALL);
    let params = json!({ "name": "list_vehicles", "arguments": {}, "_meta": { "progressToken": "p1" } });
    let response = mcp.post(&token, &message("tools/call", &params)).await;
    assert_eq!(header(&response, "content-type"), "text/event-stream");
    let text = response.text().await.unwrap();
    assert_eq!(text.matches("notifications/progress").count(), 3);
    assert!(text.rfind("\"result\"").unwrap() > text.rfind("notifications/progress").unwrap());
}
