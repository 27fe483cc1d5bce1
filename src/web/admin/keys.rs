//! `/admin/keys`: master keys and the progress of a rotation; admin keys of the management API.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;

use super::{Tab, tabs};
use crate::broker::AppError;
use crate::domain::app::AdminKey;
use crate::domain::id::AdminKeyId;
use crate::domain::time::Timestamp;
use crate::web::form::Field;
use crate::web::frame::{Frame, Notice, Pill, Section, Tone, page, page_with};
use crate::web::moment::Moment;
use crate::web::problem::Problem;
use crate::web::stream;
use crate::web::visit::{Admin, Posted, Refused, SignedIn};

#[derive(Template)]
#[template(path = "admin/keys.html")]
struct KeysPage {
    frame: Frame,
    tabs: Vec<Tab>,
    master: Vec<MasterRow>,
    /// How much is sealed under the first key.
    done: u64,
    /// How much is sealed in all.
    all: u64,
    keys: Vec<KeyRow>,
    name: Field,
    api: String,
}

struct MasterRow {
    id: String,
    words: &'static str,
    grants: u64,
}

struct KeyRow {
    id: String,
    name: String,
    pill: Pill,
    made: Moment,
    last_used: Option<Moment>,
    live: bool,
}

impl KeyRow {
    fn of(key: &AdminKey, now: Timestamp) -> Self {
        let live = key.revoked_at.is_none();
        let (tone, words) = if live { (Tone::Good, "active") } else { (Tone::Off, "revoked") };
        Self {
            id: key.id.to_string(),
            name: key.name.to_string(),
            pill: Pill { tone, words },
            made: Moment::of(key.created_at, now),
            last_used: Moment::maybe(key.last_used_at, now),
            live,
        }
    }
}

async fn page_of(visit: &SignedIn, name: Field) -> Result<KeysPage, Problem> {
    let broker = &visit.web.broker;
    let progress = broker.key_progress().await.map_err(Problem::unavailable)?;
    let keys = broker.list_admin_keys().await.map_err(Problem::unavailable)?;
    let master = progress.keys.iter().map(|used| MasterRow {
        id: used.id.to_string(),
        words: match (used.seals, used.in_file) {
            (true, _) => "Seals what is new",
            (false, true) => "Opens what is old",
            (false, false) => "Not in the key file: what is sealed under it cannot be opened",
        },
        grants: used.data_keys,
    });
    Ok(KeysPage {
        frame: visit.frame(Section::Admin),
        tabs: tabs("/admin/keys"),
        master: master.collect(),
        done: progress.all.saturating_sub(progress.left),
        all: progress.all,
        keys: keys.iter().map(|key| KeyRow::of(key, visit.now)).collect(),
        name,
        api: visit.web.site.address("/api/v1"),
    })
}

/// `GET /admin/keys`
pub(crate) async fn show(Admin(visit): Admin) -> Result<Response, Problem> {
    Ok(page(&page_of(&visit, Field::empty("name")).await?))
}

/// `GET /admin/rotation/events`: how far a rotation is.
pub(crate) async fn events(Admin(visit): Admin) -> Result<Response, Refused> {
    Ok(stream::keys(&visit)?)
}

#[derive(Template)]
#[template(path = "admin/key_made.html")]
struct KeyMadePage {
    frame: Frame,
    tabs: Vec<Tab>,
    name: String,
    key: String,
    line: String,
}

/// `POST /admin/keys`: makes an admin key, shown once.
pub(crate) async fn make(Posted { visit: Admin(visit), fields }: Posted<Admin>) -> Result<Response, Refused> {
    visit.fresh_or("/admin/keys")?;
    match visit.web.broker.make_admin_key(fields.one("name")).await {
        Ok((made, key)) => {
            let address = visit.web.site.address("/api/v1/grants");
            Ok(page(&KeyMadePage {
                frame: visit.frame(Section::Admin),
                tabs: tabs("/admin/keys"),
                name: made.name.to_string(),
                key: key.expose().to_owned(),
                line: format!("curl -H \"Authorization: Bearer {}\" {address}", key.expose()),
            }))
        }
        Err(refusal @ AppError::BadName(_)) => {
            let name = Field::with("name", fields.one("name")).wrong(refusal);
            Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &page_of(&visit, name).await?))
        }
        Err(other) => Err(other.into()),
    }
}

/// `POST /admin/keys/{id}/revoke`
pub(crate) async fn revoke(
    Path(id): Path<String>,
    Posted { visit: Admin(visit), .. }: Posted<Admin>,
) -> Result<Response, Refused> {
    visit.fresh_or("/admin/keys")?;
    let id: AdminKeyId = id.parse().map_err(|_| Problem::not_found())?;
    visit.web.broker.revoke_admin_key(id).await?;
    visit.tell(Notice::new(Tone::Good, "The admin key is dead.")).await?;
    Ok(visit.to("/admin/keys"))
}
