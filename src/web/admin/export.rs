//! `/admin/grants.csv` and `.json`: the filtered listing as a file, read from the database a page at a time while it is sent. How
//! long the file gets is not known before; how many rows it begins with is, and stands in a header for the script that shows how far it is.

use axum::body::{Body, Bytes};
use axum::extract::RawQuery;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt as _};
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName};

use super::grants::filter_of;
use crate::broker::members::GrantMembers;
use crate::broker::{Broker, GrantFilter};
use crate::web::form::Fields;
use crate::web::problem::Problem;
use crate::web::visit::{Admin, SignedIn};

/// So many grants are read at once.
const PAGE: u32 = 100;

/// How many grants there were when the download began.
const ROWS: HeaderName = HeaderName::from_static("keyfob-rows");

/// The two forms of the file.
#[derive(Clone, Copy)]
enum Form {
    Csv,
    Json,
}

/// `GET /admin/grants.csv`
pub(crate) async fn csv(Admin(visit): Admin, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    download(&visit, query, Form::Csv).await
}

/// `GET /admin/grants.json`
pub(crate) async fn json(Admin(visit): Admin, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    download(&visit, query, Form::Json).await
}

async fn download(visit: &SignedIn, query: Option<String>, form: Form) -> Result<Response, Problem> {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let (filter, filtered) = filter_of(&visit.web.broker, &fields).await?;
    if let Some(fault) = filtered.fault() {
        let advice = format!("{fault} Change the filter on the page of all grants.");
        return Err(Problem::new(StatusCode::NOT_FOUND, "The filter fits nothing", advice)
            .way("/admin/grants", "To all grants"));
    }
    let (kind, name, head, tail) = match form {
        Form::Csv => ("text/csv; charset=utf-8", "keyfob-grants.csv", GrantMembers::CSV_HEAD, ""),
        Form::Json => ("application/json", "keyfob-grants.json", "[", "]\n"),
    };
    let count = visit.web.broker.count_grants(&filter).await.map_err(Problem::unavailable)?;
    let rows = pages(visit.web.broker.clone(), filter).map(move |page| page.map(|page| written(&page, form)));
    let head = stream::iter([Ok(Bytes::from_static(head.as_bytes()))]);
    let tail = stream::iter([Ok(Bytes::from_static(tail.as_bytes()))]);
    let disposition = format!("attachment; filename=\"{name}\"");
    let body = Body::from_stream(head.chain(rows).chain(tail));
    let headers = [(CONTENT_TYPE, kind.to_owned()), (CONTENT_DISPOSITION, disposition), (ROWS, count.to_string())];
    Ok((headers, body).into_response())
}

/// The pages of a listing, each with whether it is the first. An error ends the file in the middle, so that nobody takes
/// half a listing for the whole.
fn pages(
    broker: Broker,
    filter: GrantFilter,
) -> impl stream::Stream<Item = Result<(bool, Vec<GrantMembers>), std::io::Error>> {
    stream::unfold(Some(filter), move |filter| {
        let broker = broker.clone();
        async move {
            let mut filter = filter?;
            filter.limit = PAGE;
            match broker.list_grants(&filter).await {
                Ok(found) if found.is_empty() => None,
                Ok(found) => {
                    let first = filter.offset == 0;
                    let next = (found.len() == PAGE as usize)
                        .then(|| GrantFilter { offset: filter.offset.saturating_add(PAGE), ..filter });
                    let page = found.iter().map(|listed| GrantMembers::new(&listed.grant, &listed.user_name)).collect();
                    Some((Ok((first, page)), next))
                }
                Err(cause) => {
                    tracing::error!(error.cause = %cause, "A download of the grants broke off");
                    Some((Err(std::io::Error::other("the listing could not be read")), None))
                }
            }
        }
    })
}

fn written((first, page): &(bool, Vec<GrantMembers>), form: Form) -> Bytes {
    let mut text = String::new();
    for (n, grant) in page.iter().enumerate() {
        match form {
            Form::Csv => text.push_str(&grant.csv()),
            Form::Json => {
                text.push_str(if *first && n == 0 { "\n" } else { ",\n" });
                // Strings, numbers and null: there is nothing in it that JSON cannot hold.
                text.push_str(&serde_json::to_string(grant).unwrap_or_default());
            }
        }
    }
    Bytes::from(text)
}
