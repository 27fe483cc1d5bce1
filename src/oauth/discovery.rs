//! Where the provider's OAuth endpoints are, and which addresses are believed (RFC 9728, RFC 8414).
//!
//! Settings first, then what the MCP server's metadata names, then the framework's own paths. An address counts only on
//! the provider's host or below it, over https; on loopback, where a stand-in runs, any port and plain http.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::{Host, Url};

use super::response;
use super::transport::{Outcome, Transport};

/// How the endpoints were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointSource {
    /// The settings name both.
    Settings,
    /// The provider's metadata names them.
    Metadata,
    /// Nothing names them: the paths of the framework that the provider runs on.
    Fallback,
}

/// The provider's OAuth endpoints: kept once found, and changed by the operator only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// Where the person authorizes.
    pub authorize: Url,
    /// Where codes and refresh tokens are exchanged.
    pub token: Url,
    /// Where tokens are revoked (RFC 7009), if anywhere.
    pub revoke: Option<Url>,
    /// Who the authorization server says it is.
    pub issuer: Option<String>,
    /// How they were found.
    pub source: EndpointSource,
}

/// What a search for the endpoints came to.
#[derive(Debug)]
pub struct Discovery {
    /// What to use.
    pub endpoints: Endpoints,
    /// Whether every place that might name them gave an answer. If not, look again before keeping a fallback for good.
    pub complete: bool,
    /// What was found and not believed, as sentences for the operator.
    pub refused: Vec<String>,
}

/// Where to look, and what the settings say already.
#[derive(Clone, Debug)]
pub struct Places {
    /// The provider's origin.
    pub api: Url,
    /// The provider's MCP server.
    pub mcp: Url,
    /// `KEYFOB_OAUTH_AUTHORIZE_URL`.
    pub authorize: Option<Url>,
    /// `KEYFOB_OAUTH_TOKEN_URL`.
    pub token: Option<Url>,
    /// `KEYFOB_OAUTH_REVOKE_URL`.
    pub revoke: Option<Url>,
}

/// An address of the settings is not the provider's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {address} is not an https address on the host of KEYFOB_TESLASCOPE_URL or below it")]
pub struct ForeignAddress {
    /// The setting.
    pub setting: &'static str,
    /// What it says, without query or credentials.
    pub address: String,
}

impl Places {
    /// Whether secrets may go to an address: https on the provider's host or a subdomain of it; where the provider is
    /// on loopback, anything on loopback.
    #[must_use]
    pub fn allows(&self, address: &Url) -> bool {
        if !address.username().is_empty() || address.password().is_some() || address.fragment().is_some() {
            return false;
        }
        if is_loopback(&self.api) {
            return is_loopback(address) && matches!(address.scheme(), "http" | "https");
        }
        let (Some(host), Some(own)) = (address.host_str(), self.api.host_str()) else { return false };
        let below = host.strip_suffix(own).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let named = matches!(self.api.host(), Some(Host::Domain(_)));
        address.scheme() == "https" && (host == own || (named && below)) && address.port() == self.api.port()
    }

    /// Whether the settings' own addresses are the provider's.
    ///
    /// # Errors
    /// One is not.
    pub fn check(&self) -> Result<(), ForeignAddress> {
        for (setting, address) in [
            ("KEYFOB_OAUTH_AUTHORIZE_URL", &self.authorize),
            ("KEYFOB_OAUTH_TOKEN_URL", &self.token),
            ("KEYFOB_OAUTH_REVOKE_URL", &self.revoke),
        ] {
            if let Some(address) = address
                && !self.allows(address)
            {
                return Err(ForeignAddress { setting, address: origin_and_path(address) });
            }
        }
        Ok(())
    }

    fn fallback(&self) -> Option<Endpoints> {
        let at = |path: &str| self.api.join(path).ok();
        Some(Endpoints {
            authorize: at("/oauth/authorize")?,
            token: at("/oauth/token")?,
            revoke: None,
            issuer: None,
            source: EndpointSource::Fallback,
        })
    }
}

impl Endpoints {
    /// Which endpoints differ from those that were kept, as names for the operator; empty when none does.
    #[must_use]
    pub fn differences(&self, found: &Self) -> Vec<&'static str> {
        let mut differ = Vec::new();
        for (name, differs) in [
            ("authorize", self.authorize != found.authorize),
            ("token", self.token != found.token),
            ("revoke", self.revoke != found.revoke),
            ("issuer", self.issuer.as_deref().map(origin_of) != found.issuer.as_deref().map(origin_of)),
        ] {
            if differs {
                differ.push(name);
            }
        }
        differ
    }

    /// Whether the issuer that an authorization response names is the one asked (RFC 9207 2.4). A response that names
    /// none passes; a path in the name is forgiven, a fault of the provider's framework.
    #[must_use]
    pub fn is_issuer(&self, named: Option<&str>) -> bool {
        let Some(named) = named else { return true };
        let own =
            self.issuer.as_deref().and_then(origin_of).unwrap_or_else(|| self.authorize.origin().ascii_serialization());
        origin_of(named).is_some_and(|origin| origin == own)
    }

    /// The token endpoint's origin, as a grant's binding names it.
    #[must_use]
    pub fn token_origin(&self) -> String {
        self.token.origin().ascii_serialization()
    }
}

fn origin_of(address: &str) -> Option<String> {
    Url::parse(address).ok().filter(Url::has_host).map(|url| url.origin().ascii_serialization())
}

fn origin_and_path(address: &Url) -> String {
    format!("{}{}", address.origin().ascii_serialization(), address.path())
}

fn is_loopback(address: &Url) -> bool {
    match address.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Looks for the endpoints in the order of the module's description.
pub(super) async fn discover(transport: &Transport, places: &Places) -> Result<Discovery, ForeignAddress> {
    places.check()?;
    let mut search = Search { transport, places, complete: true, refused: Vec::new() };
    let mut endpoints = match (&places.authorize, &places.token) {
        (Some(authorize), Some(token)) => Endpoints {
            authorize: authorize.clone(),
            token: token.clone(),
            revoke: None,
            issuer: None,
            source: EndpointSource::Settings,
        },
        _ => match search.metadata().await.or_else(|| places.fallback()) {
            Some(found) => found,
            None => {
                return Err(ForeignAddress { setting: "KEYFOB_TESLASCOPE_URL", address: origin_and_path(&places.api) });
            }
        },
    };
    if let Some(authorize) = &places.authorize {
        endpoints.authorize = authorize.clone();
    }
    if let Some(token) = &places.token {
        endpoints.token = token.clone();
    }
    if let Some(revoke) = &places.revoke {
        endpoints.revoke = Some(revoke.clone());
    }
    Ok(Discovery { endpoints, complete: search.complete, refused: search.refused })
}

struct Search<'a> {
    transport: &'a Transport,
    places: &'a Places,
    complete: bool,
    refused: Vec<String>,
}

impl Search<'_> {
    async fn metadata(&mut self) -> Option<Endpoints> {
        let mut servers = Vec::new();
        for address in well_known(&self.places.mcp, "oauth-protected-resource") {
            if let Some(document) = self.document(&address).await {
                servers.extend(self.authorization_server(&document));
                break;
            }
        }
        if servers.first().is_none_or(|server| server.origin() != self.places.api.origin()) {
            servers.push(self.places.api.clone());
        }
        for server in servers {
            for address in well_known(&server, "oauth-authorization-server") {
                if let Some(document) = self.document(&address).await
                    && let Some(found) = self.endpoints(&server, &document)
                {
                    return Some(found);
                }
            }
        }
        None
    }

    /// RFC 9728 3.2: who gives tokens for the resource; the first counts.
    fn authorization_server(&mut self, document: &Map<String, Value>) -> Option<Url> {
        let named = document.get("authorization_servers")?.as_array()?.first()?.as_str()?;
        match Url::parse(named) {
            Ok(server) if self.places.allows(&server) => Some(server),
            _ => {
                self.refused.push(
                    "The MCP server's metadata names an authorization server that is not on the provider's host."
                        .to_owned(),
                );
                None
            }
        }
    }

    /// RFC 8414 3.2 and 3.3.
    fn endpoints(&mut self, server: &Url, document: &Map<String, Value>) -> Option<Endpoints> {
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        let issuer = text("issuer").map(str::to_owned);
        if issuer.as_deref().and_then(origin_of) != Some(server.origin().ascii_serialization()) {
            self.refused.push(
                "The authorization server's metadata names another issuer than the host that was asked.".to_owned(),
            );
            return None;
        }
        let mut foreign = false;
        let mut address = |name: &str| {
            let found = Url::parse(text(name)?).ok()?;
            let allowed = self.places.allows(&found);
            foreign |= !allowed;
            allowed.then_some(found)
        };
        let (authorize, token, revoke) =
            (address("authorization_endpoint"), address("token_endpoint"), address("revocation_endpoint"));
        if foreign {
            self.refused.push(
                "The authorization server's metadata names an endpoint that is not on the provider's host.".to_owned(),
            );
            return None;
        }
        Some(Endpoints { authorize: authorize?, token: token?, revoke, issuer, source: EndpointSource::Metadata })
    }

    async fn document(&mut self, address: &Url) -> Option<Map<String, Value>> {
        let request =
            http::Request::get(address.as_str()).header(http::header::ACCEPT, "application/json").body(Vec::new());
        match self.transport.send(request.ok()?).await {
            Outcome::Answered(answer) if answer.status == 200 && !answer.is_page() => {
                answer.body.as_deref().and_then(|body| response::object(body))
            }
            Outcome::Answered(answer) => {
                self.complete &= !matches!(answer.status, 408 | 425 | 429 | 500..);
                None
            }
            Outcome::NotSent(_) | Outcome::TimedOut | Outcome::Cut => {
                self.complete = false;
                None
            }
        }
    }
}

/// The well-known address of a document: with the path after it (RFC 8414 3.1, RFC 9728 3.1), then without.
fn well_known(at: &Url, document: &str) -> Vec<Url> {
    let path = at.path().trim_end_matches('/');
    let mut out = Vec::new();
    for suffix in [path, ""] {
        let mut address = at.clone();
        address.set_path(&format!("/.well-known/{document}{suffix}"));
        address.set_query(None);
        address.set_fragment(None);
        if !out.contains(&address) {
            out.push(address);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(api: &str) -> Places {
        let api = Url::parse(api).unwrap();
        Places { mcp: api.clone(), api, authorize: None, token: None, revoke: None }
    }

    #[test]
    fn secrets_go_to_the_providers_host_over_https_only() {
        let places = places("https://teslascope.com");
        for (address, allowed) in [
            ("https://teslascope.com/oauth/token", true),
            ("https://auth.teslascope.com/token", true),
            ("http://teslascope.com/oauth/token", false),
            ("https://evilteslascope.com/token", false),
            ("https://teslascope.com.evil.example/token", false),
            ("https://teslascope.com:8443/token", false),
            ("https://user@teslascope.com/token", false),
            ("http://127.0.0.1/token", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(places.allows(&Url::parse(address).unwrap()), allowed, "{address}");
        }
    }

    #[test]
    fn on_loopback_any_port_goes_and_nothing_else() {
        let places = places("http://127.0.0.1:8799");
        for (address, allowed) in [
            ("http://127.0.0.1:1/token", true),
            ("http://localhost:2/token", true),
            ("http://[::1]:3/token", true),
            ("http://10.0.0.1/token", false),
            ("http://localhost.evil.example/token", false),
            ("https://teslascope.com/token", false),
        ] {
            assert_eq!(places.allows(&Url::parse(address).unwrap()), allowed, "{address}");
        }
    }

    #[test]
    fn an_issuer_is_its_origin_and_none_named_passes() {
        let mut endpoints = places("https://teslascope.com").fallback().unwrap();
        assert!(endpoints.is_issuer(None) && endpoints.is_issuer(Some("https://teslascope.com")));
        assert!(!endpoints.is_issuer(Some("https://evil.example")) && !endpoints.is_issuer(Some("")));
        endpoints.issuer = Some("https://mcp.teslascope.com/mcp".to_owned());
        assert!(endpoints.is_issuer(Some("https://mcp.teslascope.com")));
        assert!(!endpoints.is_issuer(Some("https://teslascope.com")));
    }

    #[test]
    fn kept_endpoints_survive_their_text_and_tell_what_changed() {
        let kept = places("https://teslascope.com").fallback().unwrap();
        let text = serde_json::to_string(&kept).unwrap();
        let mut found: Endpoints = serde_json::from_str(&text).unwrap();
        assert_eq!(kept, found);
        found.token = Url::parse("https://auth.teslascope.com/token").unwrap();
        assert_eq!(kept.differences(&found), ["token"]);
    }

    #[test]
    fn a_well_known_document_is_looked_for_with_the_path_and_without() {
        let at = Url::parse("https://mcp.teslascope.com/mcp/").unwrap();
        let found: Vec<_> = well_known(&at, "oauth-protected-resource").iter().map(Url::to_string).collect();
        assert_eq!(
            found,
            [
                "https://mcp.teslascope.com/.well-known/oauth-protected-resource/mcp",
                "https://mcp.teslascope.com/.well-known/oauth-protected-resource",
            ]
        );
    }
}
