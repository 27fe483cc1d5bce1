//! The settings of the provider and of our registration there, which must fit together.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use url::Url;
use zeroize::Zeroizing;

use super::address::{BaseUrl, is_loopback, parse_url};
use super::fault::{Bad, quoted};
use super::keys;
use super::reader::Reader;
use super::values;
use crate::domain::secret::{ClientSecret, Secret};

pub(super) struct Provider {
    pub(super) url: BaseUrl,
    pub(super) mcp_url: BaseUrl,
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<Secret<ClientSecret>>,
    pub(super) authorize_url: Option<Url>,
    pub(super) token_url: Option<Url>,
    pub(super) revoke_url: Option<Url>,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Provider {
    let url =
        reader.optional(&keys::TESLASCOPE_URL, origin).unwrap_or_else(|| BaseUrl::known("https://teslascope.com"));
    let mcp_url = reader
        .optional(&keys::TESLASCOPE_MCP_URL, guarded)
        .unwrap_or_else(|| BaseUrl::known("https://mcp.teslascope.com"));
    let client_id = reader.optional(&keys::OAUTH_CLIENT_ID, values::client_id);
    let client_secret = client_secret(reader);
    if client_secret.is_some() && !reader.is_set(&keys::OAUTH_CLIENT_ID) {
        reader.fault(
            &keys::OAUTH_CLIENT_ID,
            Bad::new("is missing, while a client secret is set", "set both, or neither"),
        );
    }
    let endpoint = |text: &str| endpoint(text, &url);
    let authorize_url = reader.optional(&keys::OAUTH_AUTHORIZE_URL, endpoint);
    let token_url = reader.optional(&keys::OAUTH_TOKEN_URL, endpoint);
    let revoke_url = reader.optional(&keys::OAUTH_REVOKE_URL, endpoint);
    Provider { url, mcp_url, client_id, client_secret, authorize_url, token_url, revoke_url }
}

/// Tokens go there: over TLS, or no further than this machine.
fn guarded(text: &str) -> Result<BaseUrl, Bad> {
    let url = BaseUrl::parse(text)?;
    if url.is_https() || url.is_loopback() {
        Ok(url)
    } else {
        Err(Bad::new("is http: and not on loopback", "use https:, since tokens are sent there"))
    }
}

fn origin(text: &str) -> Result<BaseUrl, Bad> {
    let url = guarded(text)?;
    if url.prefix().is_empty() { Ok(url) } else { Err(Bad::new("has a path", format!("write {}", url.origin()))) }
}

/// An endpoint gets codes, refresh tokens and the client secret: it must be the provider's own.
fn endpoint(text: &str, provider: &BaseUrl) -> Result<Url, Bad> {
    let url = parse_url(text)?;
    if url.fragment().is_some() {
        return Err(Bad::new("has a fragment", "leave out what begins with #"));
    }
    let host = url.host_str().unwrap_or_default();
    let ours = host == provider.host() || host.strip_suffix(provider.host()).is_some_and(|rest| rest.ends_with('.'));
    if provider.is_loopback() && is_loopback(&url) && matches!(url.scheme(), "http" | "https") {
        return Ok(url);
    }
    if !ours {
        let name = keys::TESLASCOPE_URL.env();
        return Err(Bad::new(
            format!("is not on the provider's host {} or below it", provider.host()),
            format!("use the provider's own endpoint, or set {name}"),
        ));
    }
    if url.scheme() != "https" {
        return Err(Bad::new("is not https:", "use https:, since secrets are sent there"));
    }
    Ok(url)
}

fn client_secret(reader: &mut Reader<'_>) -> Option<Secret<ClientSecret>> {
    let plain = reader.optional(&keys::OAUTH_CLIENT_SECRET, |text| well_formed(text.as_bytes()));
    let mut open_to_all = false;
    let from_file = reader.optional(&keys::OAUTH_CLIENT_SECRET_FILE, |path| {
        let (secret, mode) = read_secret(Path::new(path))?;
        open_to_all = mode & 0o004 != 0 && !path.starts_with("/run/secrets/");
        Ok(secret)
    });
    if reader.is_set(&keys::OAUTH_CLIENT_SECRET) && reader.is_set(&keys::OAUTH_CLIENT_SECRET_FILE) {
        let other = reader.name(&keys::OAUTH_CLIENT_SECRET);
        reader.fault(
            &keys::OAUTH_CLIENT_SECRET_FILE,
            Bad::new(format!("is set, and so is {other}"), "keep one of the two"),
        );
    }
    if open_to_all {
        let name = reader.name(&keys::OAUTH_CLIENT_SECRET_FILE);
        reader.notice(format!("every user of this machine can read the file of {name}; chmod 600 would mend that"));
    }
    plain.or(from_file)
}

fn read_secret(path: &Path) -> Result<(Secret<ClientSecret>, u32), Bad> {
    let unreadable = |e: std::io::Error| {
        Bad::new(
            format!("{} cannot be read ({})", quoted(&path.to_string_lossy()), e.kind()),
            "name a file that this user can read",
        )
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o002 != 0 {
        return Err(Bad::new(
            format!("{} can be written by everybody", quoted(&path.to_string_lossy())),
            "run chmod 600 on it, and make sure that it still holds your secret",
        ));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(4_097));
    file.take(4_097).read_to_end(&mut bytes).map_err(unreadable)?;
    let end = bytes.iter().rposition(|b| !matches!(b, b'\n' | b'\r')).map_or(0, |at| at + 1);
    well_formed(&bytes[..end]).map(|secret| (secret, mode))
}

/// A client secret (RFC 6749 A.2): printable ASCII.
fn well_formed(bytes: &[u8]) -> Result<Secret<ClientSecret>, Bad> {
    if bytes.is_empty() {
        return Err(Bad::new("is empty", "put the client secret there, or leave the setting out for a public client"));
    }
    if bytes.len() > 4_096 || !bytes.iter().all(|b| (0x20..=0x7e).contains(b)) {
        return Err(Bad::new(
            "is no client secret (it must be printable ASCII on one line)",
            "copy it from the OAuth application's page at Teslascope",
        ));
    }
    Ok(Secret::new(bytes))
}
