//! Ready lines for an app's key: what to paste where, with the address and the key filled in.

use crate::domain::scope::{Scope, ScopeSet};

/// Lines for one program.
pub(crate) struct Snippet {
    pub(crate) name: &'static str,
    pub(crate) text: String,
}

/// The lines that make sense for an app with these scopes; `proxy` is the proxy's public address.
pub(crate) fn for_app(proxy: &str, key: &str, scopes: ScopeSet) -> Vec<Snippet> {
    let path = first_path(scopes);
    let address = format!("{proxy}{path}");
    let filled = |template: &str| {
        template.replace("{address}", &address).replace("{proxy}", proxy).replace("{key}", key).replace("{path}", path)
    };
    let mut snippets: Vec<Snippet> =
        TEMPLATES.iter().map(|(name, template)| Snippet { name, text: filled(template) }).collect();
    if proxy.contains("//127.0.0.1") || proxy.contains("//localhost") {
        for elsewhere in snippets.iter_mut().filter(|one| one.name.starts_with("ESP8266")) {
            elsewhere.text.insert_str(0, ON_ANOTHER_MACHINE);
        }
    }
    let mcp = if scopes.contains(Scope::McpUse) { MCP } else { NO_MCP };
    snippets.push(Snippet { name: "MCP client", text: filled(mcp) });
    snippets
}

/// What an app with these scopes can read at once.
pub(crate) const fn first_path(scopes: ScopeSet) -> &'static str {
    if scopes.contains(Scope::Vehicles) {
        "/api/vehicles"
    } else if scopes.contains(Scope::Account) {
        "/api/account"
    } else {
        "/api/software/latest"
    }
}

const TEMPLATES: [(&str, &str); 7] = [
    ("curl", r#"curl -H "Authorization: Bearer {key}" {address}"#),
    (
        "Home Assistant (configuration.yaml)",
        r#"rest:
  - resource: {address}
    scan_interval: 60
    headers:
      Authorization: Bearer {key}
      Accept: application/json
    sensor:
      - name: Teslascope
        unique_id: teslascope_first_car
        value_template: "{{ value_json[0].name }}"
        json_attributes_path: "$[0]"
        json_attributes:
          - public_id
          - vin"#,
    ),
    (
        "openHAB (HTTP binding)",
        r#"Thing http:url:teslascope "Teslascope" [
  baseURL="{address}",
  headers="Authorization=Bearer {key}", "Accept=application/json",
  refresh=60
] {
  Channels:
    Type string : car "Car" [ stateTransformation="JSONPATH:$[0].name" ]
}"#,
    ),
    (
        "ESP8266 (Arduino)",
        r#"#include <ESP8266WiFi.h>
#include <ESP8266HTTPClient.h>

WiFiClient wifi;
HTTPClient http;
http.begin(wifi, "{address}");
http.addHeader("Authorization", "Bearer {key}");
int status = http.GET();
String body = http.getString();
http.end();"#,
    ),
    (
        "Node",
        r#"const answer = await fetch("{address}", {
  headers: { Authorization: "Bearer {key}" },
});
console.log(answer.status, await answer.json());"#,
    ),
    (
        "Python",
        r#"import json, urllib.request

request = urllib.request.Request("{address}", headers={"Authorization": "Bearer {key}"})
with urllib.request.urlopen(request) as answer:
    print(json.load(answer))"#,
    ),
    (
        "Grafana (Infinity data source)",
        r"URL: {address}
Type: JSON, Parser: Backend, Method: GET
Authentication: Bearer token, {key}
Allowed hosts: {proxy}",
    ),
];

/// What must be changed where the program does not run beside Keyfob.
const ON_ANOTHER_MACHINE: &str = "// Put this computer's address on your network in the place of the address below, which\n\
    // means the chip itself, and let Keyfob listen there (KEYFOB_PROXY_LISTEN).\n";

const MCP: &str = r#"{
  "mcpServers": {
    "teslascope": {
      "type": "http",
      "url": "{proxy}/mcp",
      "headers": { "Authorization": "Bearer {key}" }
    }
  }
}"#;

const NO_MCP: &str =
    "{proxy}/mcp serves apps that hold the scope mcp:use, which this one lacks: make an app that has it.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_holds_the_address_and_the_key_and_nothing_is_left_open() {
        let all = for_app("http://127.0.0.1:8701", "kf_KEY", ScopeSet::ALL);
        assert_eq!(all.len(), 8);
        for one in &all {
            assert!(one.text.contains("kf_KEY") && one.text.contains("http://127.0.0.1:8701"), "{}", one.name);
            for open in ["{key}", "{proxy}", "{address}", "{path}"] {
                assert!(!one.text.contains(open), "{}", one.name);
            }
        }
        let chip = |all: &[Snippet]| all.iter().find(|one| one.name.starts_with("ESP8266")).unwrap().text.clone();
        assert!(chip(&all).starts_with("// Put this computer's address"));
        assert!(chip(&for_app("https://home.example/x", "kf_KEY", ScopeSet::ALL)).starts_with("#include"));
        let narrow = for_app("http://p", "kf_KEY", ScopeSet::of(Scope::Controls));
        assert!(
            narrow.iter().any(|one| one.name == "MCP client" && one.text.contains("mcp:use, which this one lacks"))
        );
        assert!(narrow.iter().all(|one| !one.text.contains("mcpServers") && !one.text.contains("/api/vehicles")));
    }
}
