//! What can be wrong with a Keyfob, looked at one by one, each with what to do. Nothing is made, and nothing that is kept is
//! changed.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{statfs, statvfs};

use super::parts::{self, Opened};
use super::{Files, open};
use crate::ambient::Clock;
use crate::config::{Settings, Source};
use crate::oauth::{Client, EndpointSource, Reach};
use crate::store::{self, inspect};
use crate::vault::Vault;

/// One thing that was looked at.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Check {
    /// Its name, always the same.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found, and what to do where it is not.
    pub detail: String,
}

impl Check {
    /// It is as it should be.
    #[must_use]
    pub fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, ok: true, detail: detail.into() }
    }

    /// It is not.
    #[must_use]
    pub fn bad(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, ok: false, detail: detail.into() }
    }
}

/// File systems on which locks do not hold between processes, or not surely, by the number that Linux gives them.
const REMOTE: [(u32, &str); 9] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0x0102_1997, "9P"),
    (0x6573_5546, "FUSE"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x5346_414f, "AFS"),
];
/// Less free space than this is too little for tokens to be saved in, in bytes.
const LEAST_SPACE: u64 = 64 << 20;
/// How far the clocks may be apart, in milliseconds, before expiries are misjudged without the correction.
const MOST_AHEAD: i64 = 60_000;

/// Looks at the data directory, the keys and the database.
pub async fn examine_kept(settings: &mut Settings, files: Files) -> Vec<Check> {
    let mut checks = vec![directory(&settings.data_dir), file_system(&settings.data_dir), file_limit(settings, files)];
    let database = &settings.database;
    let found = match inspect(database).await {
        Ok(None) => {
            checks.push(master_keys(settings, false));
            checks.push(Check::good("database", "there is none yet; the first start makes it"));
            return checks;
        }
        Ok(Some(found)) => found,
        Err(error) => {
            checks.push(master_keys(settings, true));
            checks.push(Check::bad("database", open::unopened(database, &error).to_string()));
            return checks;
        }
    };
    let keys = master_keys(settings, true);
    let keys_fit = keys.ok;
    checks.push(keys);
    checks.push(modes(database));
    if !keys_fit {
        return checks;
    }
    let fits = open::ring(settings).ok().zip(found.canary).is_some_and(|(ring, canary)| {
        Vault::new(ring, crate::ambient::Entropy::system()).check_canary(&canary).is_ok()
    });
    if !fits {
        checks.push(Check::bad("database", open::foreign(settings, database).to_string()));
        return checks;
    }
    match Opened::open(settings).await {
        Err(error) => checks.push(Check::bad("database", error.to_string())),
        Ok(opened) => {
            checks.push(writable(&opened.store).await);
            opened.follow_demo(settings).await;
            opened.store.close().await;
        }
    }
    checks
}

/// Looks at the provider, and at what we are there.
pub async fn examine_provider(settings: &Settings) -> Vec<Check> {
    let client = match parts::oauth(settings, &Clock::system()) {
        Ok(client) => client,
        Err(error) => return vec![Check::bad("provider", error.to_string())],
    };
    let [api, mcp] = client.reach().await;
    let mut checks = vec![reached("provider", &api), reached("mcp_server", &mcp), clock(&api)];
    if api.answer.is_ok() {
        checks.push(discovery(&client).await);
    }
    checks.push(match &settings.oauth_client_id {
        Some(_) => Check::good("registration", "an OAuth application is set"),
        None => Check::good(
            "registration",
            "no OAuth application is set, so only pasted tokens can be used; KEYFOB_OAUTH_CLIENT_ID sets one",
        ),
    });
    checks
}

fn directory(path: &Path) -> Check {
    let name = "data_directory";
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Check::good(name, format!("{} is not there yet; the first start makes it", path.display()))
        }
        Err(error) => Check::bad(name, format!("{} can't be looked at ({})", path.display(), error.kind())),
        Ok(meta) if !meta.is_dir() => Check::bad(name, format!("{} is no directory", path.display())),
        Ok(meta) if meta.mode() & 0o077 != 0 => Check::bad(
            name,
            format!(
                "{} can be used by others (mode {:04o}); run chmod 700 on it",
                path.display(),
                meta.mode() & 0o7777
            ),
        ),
        Ok(meta) if meta.uid() != rustix::process::geteuid().as_raw() => {
            Check::bad(name, format!("{} belongs to another user; run keyfob as its owner", path.display()))
        }
        Ok(_) => Check::good(name, format!("{}, for its owner only", path.display())),
    }
}

/// The directory, or the nearest above it that exists.
fn existing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/")).to_owned()
}

fn file_system(path: &Path) -> Check {
    let (name, place) = ("file_system", existing(path));
    let (Ok(kind), Ok(space)) = (statfs(&place), statvfs(&place)) else {
        return Check::bad(name, format!("the file system of {} can't be looked at", place.display()));
    };
    // The kernel's numbers are 32 bits wide, whatever the width of the field is here.
    let number = u32::try_from(i128::from(kind.f_type) & 0xffff_ffff).unwrap_or_default();
    if let Some((_, remote)) = REMOTE.iter().find(|(known, _)| *known == number) {
        return Check::bad(
            name,
            format!("the data directory is on {remote}, where locks may not hold; put it on a local file system"),
        );
    }
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if free < LEAST_SPACE {
        return Check::bad(name, format!("only {} MiB are free; new tokens may not be saved: make room", free >> 20));
    }
    Check::good(name, format!("local, {} MiB free", free >> 20))
}

fn file_limit(settings: &Settings, files: Files) -> Check {
    let (name, held) = ("file_limit", files.connections());
    if held >= settings.max_connections {
        return Check::good(name, format!("leaves room for {} connections", settings.max_connections));
    }
    let detail = format!(
        "leaves room for {held} connections instead of {}; raise the limit of open files (LimitNOFILE, ulimit -n) or set \
         KEYFOB_MAX_CONNECTIONS={held}",
        settings.max_connections
    );
    if held >= 1_024 { Check::good(name, detail) } else { Check::bad(name, detail) }
}

fn master_keys(settings: &Settings, needed: bool) -> Check {
    let name = "master_keys";
    let file = open::key_file(settings);
    if !needed && !file.exists() {
        return Check::good(name, "there are none yet; the first start makes one");
    }
    match open::ring(settings) {
        Ok(_) => Check::good(name, format!("{}, for its owner only", file.path().display())),
        Err(error) => Check::bad(name, error.to_string()),
    }
}

/// The database file and what SQLite keeps beside it hold sealed tokens and names: nobody else's business.
fn modes(database: &Path) -> Check {
    let name = "file_modes";
    for suffix in ["", "-wal", "-shm"] {
        let path = open::beside(database, suffix);
        if let Ok(meta) = std::fs::metadata(&path)
            && meta.mode() & 0o077 != 0
        {
            let mode = meta.mode() & 0o7777;
            let fault = format!("{} can be used by others (mode {mode:04o}); run chmod 600 on it", path.display());
            return Check::bad(name, fault);
        }
    }
    Check::good(name, "the database is for its owner only")
}

async fn writable(store: &store::Store) -> Check {
    match store.check_writable().await {
        Ok(()) => Check::good("database", format!("{} opens, and can be written", store.path().display())),
        Err(error) => Check::bad("database", format!("{error}; look at its owner, its mode and its disk")),
    }
}

fn reached(name: &'static str, server: &Reach) -> Check {
    match &server.answer {
        Ok(status @ 0..500) => Check::good(name, format!("{} answers ({status})", server.origin)),
        Ok(status) => {
            Check::bad(name, format!("{} answers with an error of its own ({status}); try again later", server.origin))
        }
        Err(why) => Check::bad(
            name,
            format!("{} can't be reached: {why}; look at the network, the firewall and the address", server.origin),
        ),
    }
}

fn clock(server: &Reach) -> Check {
    match server.clock_ahead {
        None => Check::good("clock", "the provider did not tell its time"),
        Some(ahead) if ahead.abs() > MOST_AHEAD => {
            let (by, way) = (ahead.abs() / 1000, if ahead > 0 { "behind" } else { "ahead of" });
            Check::bad("clock", format!("this machine's clock is {by} s {way} the provider's; set it, best by NTP"))
        }
        Some(_) => Check::good("clock", "agrees with the provider's"),
    }
}

async fn discovery(client: &Client) -> Check {
    let name = "discovery";
    match client.discover().await {
        Err(error) => Check::bad(name, error.to_string()),
        Ok(found) if !found.refused.is_empty() => Check::bad(
            name,
            format!(
                "{} Set the endpoints with KEYFOB_OAUTH_AUTHORIZE_URL and KEYFOB_OAUTH_TOKEN_URL.",
                found.refused.join(" ")
            ),
        ),
        Ok(found) => {
            let how = match found.endpoints.source {
                EndpointSource::Settings => "set",
                EndpointSource::Metadata => "named by the provider",
                EndpointSource::Fallback => "not named by the provider; the usual paths are assumed",
            };
            let (authorize, token) = (&found.endpoints.authorize, &found.endpoints.token);
            Check::good(name, format!("{authorize} and {token}: {how}"))
        }
    }
}

/// What the settings say of themselves: they were read, or there would be no doctor.
#[must_use]
pub fn examine_settings(settings: &Settings) -> Check {
    let set = settings.in_effect.iter().filter(|set| !matches!(set.source, Source::Default | Source::Sandbox)).count();
    let notices =
        if settings.notices.is_empty() { String::new() } else { format!("; {}", settings.notices.join("; ")) };
    Check::good("settings", format!("{set} set, none at fault{notices}"))
}
