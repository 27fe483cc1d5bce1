//! The MCP server over streamable HTTP, as far as Teslascope's page and the capture show it.

mod tools;

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::answer::{Answer, Content, Outcome};
use super::api::{self, Caller};
use super::call::Call;
use super::serve::Shared;
use crate::domain::scope::Scope;

/// The protocol version in which results say more of themselves.
const NEWEST: &str = "2026-07-28";
/// Versions that begin with `initialize`.
const OLDER: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];
/// How often an idle stream says that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Between two messages of progress.
const STEP: Duration = Duration::from_millis(100);

/// Answers a call to `/mcp`, with whatever a test has planned for it.
pub(super) async fn answer(shared: &Shared, call: &Call) -> Outcome {
    let fault = shared.faults.take_mcp();
    api::faulty(shared, call, fault, async { honest(shared, call) }).await
}

fn honest(shared: &Shared, call: &Call) -> Answer {
    let Some(caller) = api::authenticate(shared, call, false) else {
        let metadata = format!("{}/.well-known/oauth-protected-resource/mcp", call.origin);
        return Answer::message(401, "Unauthenticated.")
            .with("WWW-Authenticate", format!("Bearer realm=\"mcp\", resource_metadata=\"{metadata}\""));
    };
    if !caller.scopes.contains(Scope::McpUse) {
        return Answer::message(403, "Invalid scope(s) provided.");
    }
    if call.method != http::Method::POST {
        return Answer::wrong_method(true, call.method.as_str(), call.path(), "POST");
    }
    let Ok(message) = serde_json::from_slice::<Value>(&call.body) else {
        return json_rpc(400, &error(&Value::Null, -32700, "Parse error"));
    };
    if message["jsonrpc"] != "2.0" || !message["method"].is_string() {
        return json_rpc(400, &error(&Value::Null, -32600, "Invalid Request"));
    }
    match message.get("id") {
        None => Answer::new(202, "application/json", ""),
        Some(_) => reply(shared, call, &caller, &message),
    }
}

fn json_rpc(status: u16, message: &Value) -> Answer {
    Answer::new(status, "application/json", message.to_string())
}

fn error(id: &Value, code: i32, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

fn reply(shared: &Shared, call: &Call, caller: &Caller, message: &Value) -> Answer {
    let (id, params) = (&message["id"], &message["params"]);
    let named = params["_meta"]["io.modelcontextprotocol/protocolVersion"].as_str();
    let newest = call.header("mcp-protocol-version").or(named) == Some(NEWEST);
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => {
            return json_rpc(200, &finished(id, initialized(params), false)).with("MCP-Session-Id", shared.mint.id());
        }
        "ping" => json!({}),
        "server/discover" => json!({
            "cacheScope": "private",
            "capabilities": { "tools": { "listChanged": true } },
            "supportedVersions": [NEWEST],
            "ttlMs": 0,
        }),
        "tools/list" if newest => json!({ "cacheScope": "private", "ttlMs": 0, "tools": tools::list() }),
        "tools/list" => json!({ "tools": tools::list() }),
        "tools/call" => match tools::call(shared, caller, params) {
            Ok(result) => result,
            Err(reason) => return json_rpc(200, &error(id, -32602, &reason)),
        },
        "subscriptions/listen" => return listen(shared, id, params),
        other => return json_rpc(200, &error(id, -32601, &format!("The method [{other}] was not found."))),
    };
    let whole = finished(id, result, newest || message["method"] == "server/discover");
    let wants_progress = &params["_meta"]["progressToken"];
    let takes_stream = call.header("accept").is_some_and(|accept| accept.contains("text/event-stream"));
    if message["method"] == "tools/call" && !wants_progress.is_null() && takes_stream {
        return progress(wants_progress, whole);
    }
    json_rpc(200, &whole)
}

fn finished(id: &Value, mut result: Value, newest: bool) -> Value {
    if newest {
        result["resultType"] = json!("complete");
        result["_meta"] = json!({ "io.modelcontextprotocol/serverInfo": server_info() });
    }
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

fn server_info() -> Value {
    json!({ "name": "Keyfob sandbox (not Teslascope)", "version": env!("CARGO_PKG_VERSION") })
}

fn initialized(params: &Value) -> Value {
    let asked = params["protocolVersion"].as_str().unwrap_or_default();
    let version = OLDER.into_iter().find(|known| *known == asked).unwrap_or(OLDER[0]);
    json!({
        "protocolVersion": version,
        "capabilities": { "tools": { "listChanged": true } },
        "serverInfo": server_info(),
        "instructions": "Made-up cars for trying things out.",
    })
}

/// One server-sent event.
fn event(message: &Value) -> Bytes {
    Bytes::from(format!("event: message\ndata: {message}\n\n"))
}

fn stream(pieces: mpsc::Receiver<Bytes>) -> Answer {
    let answer = Answer::new(200, "text/event-stream", "")
        .replacing("Cache-Control", "no-cache, no-transform")
        .with("X-Accel-Buffering", "no");
    Answer { content: Content::Stream(pieces), ..answer }
}

/// `subscriptions/listen`: a stream that acknowledges, and stays open.
fn listen(shared: &Shared, id: &Value, params: &Value) -> Answer {
    let (send, pieces) = mpsc::channel(8);
    let acknowledged = json!({
        "jsonrpc": "2.0",
        "method": "notifications/subscriptions/acknowledged",
        "params": {
            "_meta": { "io.modelcontextprotocol/subscriptionId": id },
            "notifications": { "toolsListChanged": params["notifications"]["toolsListChanged"] == true },
        },
    });
    let stopped = shared.stopped();
    tokio::spawn(async move {
        let mut stopped = std::pin::pin!(stopped);
        let mut next = event(&acknowledged);
        loop {
            if send.send(next).await.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(KEEP_ALIVE) => next = Bytes::from_static(b": still here\n\n"),
                () = send.closed() => return,
                () = stopped.as_mut() => return,
            }
        }
    });
    stream(pieces)
}

/// A slow tool call: messages of progress, then the result.
fn progress(token: &Value, result: Value) -> Answer {
    let (send, pieces) = mpsc::channel(8);
    let token = token.clone();
    tokio::spawn(async move {
        for step in 1..=3 {
            let params = json!({ "progressToken": token, "progress": step, "total": 3 });
            let message = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params });
            if send.send(event(&message)).await.is_err() {
                return;
            }
            tokio::time::sleep(STEP).await;
        }
        let _ = send.send(event(&result)).await;
    });
    stream(pieces)
}
