//! Sessions: tower-sessions over what the broker keeps. Ids are hashed at rest; nobody who is not signed in has a row.
//!
//! A session ends 12 hours after its last use and 30 days after sign-in, whatever happens; both are judged by our own clock.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use time::OffsetDateTime;
use tower_sessions::cookie::SameSite;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result, SessionStore};
use tower_sessions::{Expiry, Session, SessionManagerLayer};

use super::site::Site;
use crate::ambient::{Clock, Entropy};
use crate::broker::{Broker, KeptSession};
use crate::domain::app::KeyHash;
use crate::domain::id::UserId;
use crate::domain::time::Timestamp;

/// A session not used for so long is over.
pub(crate) const IDLE: Duration = Duration::from_secs(12 * 3_600);
/// A session is over so long after sign-in.
pub(crate) const ABSOLUTE: Duration = Duration::from_secs(30 * 86_400);
/// How long a proof of the password opens dangerous acts.
pub(crate) const PROOF: Duration = Duration::from_secs(15 * 60);
/// Use is noted at most so often.
const TOUCH: Duration = Duration::from_secs(5 * 60);

const USER: &str = "user";
const BEGUN: &str = "begun";
const PROVED: &str = "proved";
const SEEN: &str = "seen";

/// Gives tower-sessions its records.
#[derive(Clone)]
pub(crate) struct Sessions {
    broker: Broker,
    clock: Clock,
    entropy: Entropy,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

impl Sessions {
    pub(crate) const fn new(broker: Broker, clock: Clock, entropy: Entropy) -> Self {
        Self { broker, clock, entropy }
    }

    /// The layer that reads and writes the cookie. `Lax`, since `Strict` loses the session on the provider's redirect back.
    pub(crate) fn layer(self, site: &Site) -> SessionManagerLayer<Self> {
        SessionManagerLayer::new(self)
            .with_name(cookie_name(site))
            .with_same_site(SameSite::Lax)
            .with_http_only(true)
            .with_secure(site.secure())
            .with_path("/")
            .with_expiry(Expiry::OnInactivity(time::Duration::seconds_f64(IDLE.as_secs_f64())))
    }

    fn kept(&self, record: &Record) -> Result<Option<KeptSession>> {
        let Some(user) = record.data.get(USER).and_then(Value::as_str) else { return Ok(None) };
        let user = user.parse::<UserId>().map_err(|_| Error::Encode("a session without a user's id".to_owned()))?;
        let moment = |key| record.data.get(key).and_then(Value::as_i64).map(Timestamp::from_millis);
        let begun = moment(BEGUN).unwrap_or_else(|| self.clock.now());
        let seen = moment(SEEN).unwrap_or(begun);
        Ok(Some(KeptSession {
            id_hash: id_hash(record.id),
            user,
            data: serde_json::to_string(&record.data).map_err(|error| Error::Encode(error.to_string()))?,
            created_at: begun,
            expires_at: seen.plus(IDLE).min(begun.plus(ABSOLUTE)),
        }))
    }
}

/// The session cookie's name at this site.
pub(crate) fn cookie_name(site: &Site) -> String {
    site.cookie("keyfob_session")
}

/// What is kept of a session's id.
pub(crate) fn id_hash(id: Id) -> KeyHash {
    KeyHash::of(id.to_string().as_bytes())
}

#[async_trait]
impl SessionStore for Sessions {
    async fn create(&self, record: &mut Record) -> Result<()> {
        // The id is ours, from the same source as every other secret.
        record.id = Id(i128::from_le_bytes(self.entropy.bytes()));
        match self.kept(record)? {
            Some(kept) => self.broker.keep_session(&kept).await.map_err(backend),
            None => Ok(()),
        }
    }

    async fn save(&self, record: &Record) -> Result<()> {
        // Only over what is still there: a request that was under way at sign-out does not bring the session back.
        match self.kept(record)? {
            Some(kept) => self.broker.replace_session(&kept).await.map(drop).map_err(backend),
            None => Ok(()),
        }
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let Some(kept) = self.broker.find_session(id_hash(*id)).await.map_err(backend)? else { return Ok(None) };
        let data = serde_json::from_str(&kept.data).map_err(|error| Error::Decode(error.to_string()))?;
        let expiry_date =
            OffsetDateTime::from_unix_timestamp(kept.expires_at.secs()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Ok(Some(Record { id: *id, data, expiry_date }))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        self.broker.drop_session(id_hash(*id)).await.map_err(backend)
    }
}

fn backend(cause: impl fmt::Display) -> Error {
    Error::Backend(cause.to_string())
}

/// Who a session belongs to, and since when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) user: UserId,
    /// When the password was last shown.
    pub(crate) proved: Timestamp,
}

impl Member {
    /// Reads a session, and notes its use now and then.
    pub(crate) async fn of(
        session: &Session,
        now: Timestamp,
        by_person: bool,
    ) -> std::result::Result<Option<Self>, tower_sessions::session::Error> {
        let Some(user) = session.get::<String>(USER).await?.and_then(|id| id.parse().ok()) else { return Ok(None) };
        let moment = async |key| {
            Ok::<_, tower_sessions::session::Error>(
                session.get::<i64>(key).await?.map_or(Timestamp::from_millis(0), Timestamp::from_millis),
            )
        };
        let (begun, seen, proved) = (moment(BEGUN).await?, moment(SEEN).await?, moment(PROVED).await?);
        if now.since(seen) >= IDLE || now.since(begun) >= ABSOLUTE {
            session.flush().await?;
            return Ok(None);
        }
        if by_person && now.since(seen) >= TOUCH {
            session.insert(SEEN, now.millis()).await?;
        }
        Ok(Some(Self { user, proved }))
    }

    /// Begins a session under a new id; one that stood before is gone.
    pub(crate) async fn begin(
        session: &Session,
        user: UserId,
        now: Timestamp,
    ) -> std::result::Result<(), tower_sessions::session::Error> {
        for key in [BEGUN, SEEN, PROVED] {
            session.insert(key, now.millis()).await?;
        }
        session.insert(USER, user.to_string()).await?;
        session.cycle_id().await
    }

    /// Notes that the password was shown again, under a new id (the session can do more now).
    pub(crate) async fn prove(
        session: &Session,
        now: Timestamp,
    ) -> std::result::Result<(), tower_sessions::session::Error> {
        session.insert(PROVED, now.millis()).await?;
        session.cycle_id().await
    }

    /// Whether the password was shown lately enough for a dangerous act.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        now.since(self.proved) < PROOF
    }
}
