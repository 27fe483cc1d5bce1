//! Every setting by name, once: what its flag, its environment variable and its line in the file are called.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in the file, in lower case with underscores.
    pub name: &'static str,
    /// Under which heading the help shows it.
    pub heading: &'static str,
    /// What stands for its value in the help.
    pub value: &'static str,
    /// What holds when nothing is set, in words for the help.
    pub default: &'static str,
    /// What it does, in one or two sentences.
    pub help: &'static str,
    /// Whether it has a flag; a secret has none, because every user of the machine can read a command line.
    pub flag: bool,
    /// Whether its value may be shown, in messages and in listings.
    pub shown: bool,
}

impl Key {
    /// The environment variable, like `KEYFOB_DATA_DIR`.
    #[must_use]
    pub fn env(&self) -> String {
        format!("KEYFOB_{}", self.name.to_ascii_uppercase())
    }

    /// Whether it says where the provider is, or who we are there.
    #[must_use]
    pub fn is_of_provider(&self) -> bool {
        self.name.starts_with("teslascope_") || self.name.starts_with("oauth_")
    }

    /// The flag without its dashes, like `data-dir`.
    #[must_use]
    pub fn long(&self) -> String {
        self.name.replace('_', "-")
    }
}

macro_rules! keys {
    ($($heading:literal { $($(#[$mark:ident])* $konst:ident = $name:literal <$value:literal> [$default:literal] $help:literal;)* })*) => {
        $($(
            #[doc = concat!("The setting `", $name, "`.")]
            pub const $konst: Key = keys!(@mark $($mark)* => Key {
                name: $name, heading: $heading, value: $value, default: $default, help: $help, flag: true, shown: true,
            });
        )*)*
        /// Every setting, in the order in which the help shows them.
        pub const ALL: &[Key] = &[$($($konst,)*)*];
    };
    (@mark => $key:expr) => { $key };
    (@mark hidden => $key:expr) => { Key { shown: false, ..$key } };
    (@mark secret => $key:expr) => { Key { shown: false, flag: false, ..$key } };
}

keys! {
    "Where things are" {
        DATA_DIR = "data_dir" <"DIR"> ["./keyfob-data"] "Holds the database, the master keys and spill files; made with mode 0700.";
        #[hidden]
        DATABASE_URL = "database_url" <"URL"> ["sqlite://<data dir>/keyfob.db"] "The database: sqlite: and a path.";
        MASTER_KEYS_FILE = "master_keys_file" <"FILE"> ["<data dir>/master.keys"] "The master keys, for their owner only; made at the first start.";
        CONFIG = "config" <"FILE"> ["./keyfob.toml"] "The settings file; every other setting can stand in it under its name with underscores (data_dir).";
        ROUTES_FILE = "routes_file" <"FILE"> ["none"] "Rows added to the path and scope table of the proxy (TOML, [[route]] with methods, path, scope).";
    }
    "Listeners" {
        WEB_LISTEN = "web_listen" <"ADDRESS"> ["127.0.0.1:8700"] "Where pages and the management API are served.";
        PROXY_LISTEN = "proxy_listen" <"ADDRESS"> ["127.0.0.1:8701"] "Where apps call.";
        OPS_LISTEN = "ops_listen" <"ADDRESS"> ["127.0.0.1:8702"] "Where /healthz, /readyz and /metrics are served.";
        SANDBOX_LISTEN = "sandbox_listen" <"ADDRESS"> ["127.0.0.1:8799"] "Where the sandbox listens (commands demo and sandbox).";
        ALLOW_REMOTE = "allow_remote" <"true|false"> ["false"] "Allows listening on addresses that are not loopback.";
        PUBLIC_URL = "public_url" <"URL"> ["http://localhost:<web port>"] "What the browser sees; may carry a path prefix, which a reverse proxy must not strip.";
        PROXY_PUBLIC_URL = "proxy_public_url" <"URL"> ["http://127.0.0.1:<proxy port>"] "The proxy's address as apps are told it.";
        TRUSTED_PROXIES = "trusted_proxies" <"LIST"> ["none"] "Addresses or networks (10.0.0.0/8) of reverse proxies whose X-Forwarded-For is believed.";
        ALLOWED_ORIGINS = "allowed_origins" <"LIST"> ["none"] "Origins of web pages that may call the proxy, like https://dash.example.";
    }
    "Teslascope" {
        TESLASCOPE_URL = "teslascope_url" <"URL"> ["https://teslascope.com"] "The provider's origin; http: only on loopback.";
        TESLASCOPE_MCP_URL = "teslascope_mcp_url" <"URL"> ["https://mcp.teslascope.com"] "The provider's MCP server.";
        TESLASCOPE_CA_FILE = "teslascope_ca_file" <"FILE"> ["none"] "PEM roots trusted beside the platform's, for the provider only.";
        OAUTH_CLIENT_ID = "oauth_client_id" <"ID"> ["none"] "The client id of your OAuth application at Teslascope.";
        #[secret]
        OAUTH_CLIENT_SECRET = "oauth_client_secret" <"SECRET"> ["none"] "Its secret. Better kept in a file, see below.";
        OAUTH_CLIENT_SECRET_FILE = "oauth_client_secret_file" <"FILE"> ["none"] "A file that holds its secret; without a secret it is a public client.";
        OAUTH_AUTHORIZE_URL = "oauth_authorize_url" <"URL"> ["discovered"] "The authorization endpoint.";
        OAUTH_TOKEN_URL = "oauth_token_url" <"URL"> ["discovered"] "The token endpoint.";
        OAUTH_REVOKE_URL = "oauth_revoke_url" <"URL"> ["discovered"] "The revocation endpoint.";
        TOKEN_TIMEOUT = "token_timeout" <"TIME"> ["30s"] "How long a call to the token endpoint may take.";
        REFRESH_RATE_PER_MINUTE = "refresh_rate_per_minute" <"NUMBER"> ["30"] "At most so many calls to the token endpoint a minute.";
    }
    "Limits" {
        MAX_REQUEST_BODY = "max_request_body" <"SIZE"> ["64MiB"] "The largest body that an app may send.";
        UPSTREAM_TIMEOUT = "upstream_timeout" <"TIME"> ["30s"] "How long the provider may take to its first byte.";
        MAX_CONNECTIONS = "max_connections" <"NUMBER"> ["16384"] "Connections that the proxy holds at once; lower where the file limit is.";
        APP_RATE = "app_rate" <"RATE"> ["none"] "Calls of one app, like 10/s, 600/m or 5000/h.";
        DRAIN = "drain" <"TIME"> ["10s"] "How long running calls may take to end after SIGTERM.";
    }
    "Audit and notices" {
        AUDIT_KEEP = "audit_keep" <"TIME"> ["90d"] "How long audit rows are kept.";
        AUDIT_ROWS = "audit_rows" <"NUMBER"> ["1000000"] "How many audit rows are kept at most.";
        #[hidden]
        NOTIFY_URL = "notify_url" <"URL"> ["none"] "Told once, by POST, when a grant needs its user.";
        #[hidden]
        NOTIFY_COMMAND = "notify_command" <"COMMAND"> ["none"] "Run once when a grant needs its user; a program and its arguments, no shell.";
        LOG = "log" <"LEVELS"> ["info"] "error, warn, info, debug, trace or off, or a list like info,keyfob::proxy=debug. Each call is one line: at debug if it went through, at info if it was refused or failed.";
        LOG_FORMAT = "log_format" <"FORMAT"> ["pretty on a terminal, else json"] "pretty or json.";
    }
}

/// The key with this name in the file.
#[must_use]
pub fn named(name: &str) -> Option<&'static Key> {
    ALL.iter().find(|key| key.name == name)
}

/// The name nearest to a mistyped one, when one is near enough to be meant.
#[must_use]
pub fn nearest(typed: &str) -> Option<&'static Key> {
    let far = (typed.len() / 3).clamp(1, 3);
    let distance = |key: &Key| strsim::damerau_levenshtein(key.name, typed);
    ALL.iter().filter(|key| distance(key) <= far).min_by_key(|key| distance(key))
}
