//! Makes [`Settings`] of what was written, setting by setting, in the order of the help.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::address::{BaseUrl, Network, parse_listen, parse_origin, parse_url};
use super::fault::{Bad, Faults};
use super::keys::{self, Key};
use super::layers::Given;
use super::reader::{Read, Reader};
use super::values::{self, LogFormat};
use super::{Settings, provider, routes};
use crate::domain::route::RouteTable;

pub(super) fn load(given: &Given) -> Result<Settings, Faults> {
    let mut reader = Reader::open(given);
    let places = places(&mut reader, given);
    let allow_remote = reader.or(&keys::ALLOW_REMOTE, false, values::boolean);
    let web_listen = listen(&mut reader, &keys::WEB_LISTEN, 8700, allow_remote);
    let proxy_listen = listen(&mut reader, &keys::PROXY_LISTEN, 8701, allow_remote);
    let ops_listen = listen(&mut reader, &keys::OPS_LISTEN, 8702, allow_remote);
    let sandbox_listen = listen(&mut reader, &keys::SANDBOX_LISTEN, 8799, allow_remote);
    let public_url = public_url(&mut reader, web_listen.port(), allow_remote);
    let proxy_public_url = reader.optional(&keys::PROXY_PUBLIC_URL, BaseUrl::parse);
    let trusted_proxies = reader.list(&keys::TRUSTED_PROXIES, Network::parse);
    let allowed_origins = reader.list(&keys::ALLOWED_ORIGINS, parse_origin);
    let provider = provider::read(&mut reader);
    let routes = Arc::new(route_table(&mut reader));
    let most = 1 << 40;
    let counted = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let seconds = Duration::from_secs;

    let mut settings = Settings {
        data_dir: places.data_dir,
        database: places.database,
        master_keys_file: places.master_keys_file,
        credentials_directory: given.environment.get(OsStr::new("CREDENTIALS_DIRECTORY")).map(PathBuf::from),
        web_listen,
        proxy_listen,
        ops_listen,
        sandbox_listen,
        allow_remote,
        public_url: public_url.unwrap_or_else(|| BaseUrl::known(&format!("http://localhost:{}", web_listen.port()))),
        proxy_public_url: proxy_public_url
            .unwrap_or_else(|| BaseUrl::known(&format!("http://127.0.0.1:{}", proxy_listen.port()))),
        trusted_proxies,
        allowed_origins,
        teslascope_url: provider.url,
        teslascope_mcp_url: provider.mcp_url,
        teslascope_ca_file: reader.optional(&keys::TESLASCOPE_CA_FILE, readable),
        oauth_client_id: provider.client_id,
        oauth_client_secret: provider.client_secret,
        oauth_authorize_url: provider.authorize_url,
        oauth_token_url: provider.token_url,
        oauth_revoke_url: provider.revoke_url,
        token_timeout: reader.or(&keys::TOKEN_TIMEOUT, seconds(30), values::span),
        refresh_rate_per_minute: counted(reader.or(&keys::REFRESH_RATE_PER_MINUTE, 30, values::count(60_000))),
        max_request_body: reader.or(&keys::MAX_REQUEST_BODY, 64 << 20, values::size),
        upstream_timeout: reader.or(&keys::UPSTREAM_TIMEOUT, seconds(30), values::span),
        max_connections: counted(reader.or(&keys::MAX_CONNECTIONS, 16_384, values::count(1_000_000))) as usize,
        app_rate: reader.optional(&keys::APP_RATE, values::rate),
        drain: reader.or(&keys::DRAIN, seconds(10), values::span),
        audit_keep: reader.or(&keys::AUDIT_KEEP, seconds(90 * 86_400), values::span),
        audit_rows: reader.or(&keys::AUDIT_ROWS, 1_000_000, values::count(most)),
        notify_url: reader.optional(&keys::NOTIFY_URL, notify_url),
        notify_command: reader.command(&keys::NOTIFY_COMMAND),
        routes,
        log: reader.or(&keys::LOG, "info".to_owned(), values::levels),
        log_format: reader.or(
            &keys::LOG_FORMAT,
            if given.terminal { LogFormat::Pretty } else { LogFormat::Json },
            LogFormat::parse,
        ),
        in_effect: Vec::new(),
        notices: Vec::new(),
    };
    let Read { in_effect, notices } = reader.finish(&keys::CONFIG).map_err(Faults)?;
    settings.in_effect = in_effect;
    settings.notices = notices;
    Ok(settings)
}

struct Places {
    data_dir: PathBuf,
    database: PathBuf,
    master_keys_file: PathBuf,
}

fn places(reader: &mut Reader<'_>, given: &Given) -> Places {
    let usual = given.data_dir.clone().unwrap_or_else(|| PathBuf::from("./keyfob-data"));
    let data_dir = reader.path(&keys::DATA_DIR).unwrap_or(usual);
    let database = reader.optional(&keys::DATABASE_URL, database).unwrap_or_else(|| data_dir.join("keyfob.db"));
    let master_keys_file = reader.path(&keys::MASTER_KEYS_FILE).unwrap_or_else(|| data_dir.join("master.keys"));
    Places { data_dir, database, master_keys_file }
}

/// The path in `sqlite://path` or `sqlite:path`, taken as it stands.
fn database(text: &str) -> Result<PathBuf, Bad> {
    let mend = "write sqlite:// and the path of a file, like sqlite:///var/lib/keyfob/keyfob.db";
    let Some(rest) = text.strip_prefix("sqlite:") else {
        return Err(Bad::new("names a database that is not supported yet", mend));
    };
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() || path.contains([':', '?', '#']) {
        return Err(Bad::new("is no path of a SQLite file", mend));
    }
    Ok(PathBuf::from(path))
}

fn listen(reader: &mut Reader<'_>, key: &'static Key, port: u16, allow_remote: bool) -> SocketAddr {
    let address = reader.or(key, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), parse_listen);
    if !address.ip().to_canonical().is_loopback() && !allow_remote {
        reader.fault(
            key,
            Bad::new(
                format!("{address} is not a loopback address"),
                format!("listen on 127.0.0.1:{}, or set {}=true", address.port(), keys::ALLOW_REMOTE.env()),
            ),
        );
    }
    address
}

/// Sessions and codes pass here: over plain http only on loopback, or where the operator allows remote addresses.
fn public_url(reader: &mut Reader<'_>, web_port: u16, allow_remote: bool) -> Option<BaseUrl> {
    let url = reader.optional(&keys::PUBLIC_URL, BaseUrl::parse)?;
    if !url.is_https() && !url.is_loopback() && !allow_remote {
        let mend = format!(
            "use https:, or http://localhost:{web_port}, or set {}=true for a network that you trust",
            keys::ALLOW_REMOTE.env()
        );
        reader.fault(&keys::PUBLIC_URL, Bad::new("is http: and not on loopback", mend));
    }
    Some(url)
}

fn readable(text: &str) -> Result<PathBuf, Bad> {
    let path = Path::new(text);
    match std::fs::File::open(path) {
        Ok(_) => Ok(path.to_owned()),
        Err(e) => Err(Bad::new(
            format!("{} cannot be read ({})", super::fault::quoted(text), e.kind()),
            "name a file that this user can read",
        )),
    }
}

fn notify_url(text: &str) -> Result<url::Url, Bad> {
    let url = parse_url(text)?;
    if matches!(url.scheme(), "http" | "https") {
        Ok(url)
    } else {
        Err(Bad::new("is not an http: or https: URL", "write it as https://host/path"))
    }
}

fn route_table(reader: &mut Reader<'_>) -> RouteTable {
    let Some(path) = reader.path(&keys::ROUTES_FILE) else { return RouteTable::built_in() };
    routes::read(&path).unwrap_or_else(|faults| {
        for bad in faults {
            reader.fault(&keys::ROUTES_FILE, bad);
        }
        RouteTable::built_in()
    })
}
