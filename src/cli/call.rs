//! `keyfob call`: one call to Teslascope, as an app or as a user.

use std::io::{IsTerminal as _, Read as _, Write as _};

use bytes::{Bytes, BytesMut};
use clap::Args;
use http::{Method, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use zeroize::Zeroizing;

use super::input::first_line;
use super::{Failure, Result, output, values};
use crate::app::App;
use crate::broker::NoAnswer;
use crate::domain::user::{BadLabel, Label};

/// What to call.
#[derive(Args, Debug)]
pub struct CallArgs {
    #[command(flatten)]
    caller: WhoCalls,
    /// The request's method.
    #[arg(value_parser = values::method(), ignore_case = true)]
    method: Method,
    /// The path as the provider has it, like /api/vehicles.
    #[arg(value_parser = path)]
    path: Uri,
    /// Send standard input as the body.
    #[arg(long)]
    body_stdin: bool,
    /// Print one JSON document: status, headers, body.
    #[arg(long)]
    json: bool,
}

/// Who calls.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct WhoCalls {
    /// Call as the app with this key; - reads the key from standard input, where no other user of this machine can see it.
    #[arg(long, value_name = "KEY")]
    app: Option<String>,
    /// Call as this user (name or id), with all scopes of their grants.
    #[arg(long)]
    user: Option<String>,
}

/// A path with its query, as it stands.
fn path(text: &str) -> std::result::Result<Uri, &'static str> {
    match text.parse::<Uri>() {
        Ok(uri) if uri.host().is_none() && text.starts_with('/') => Ok(uri),
        _ => Err("write a path like /api/vehicles"),
    }
}

pub(super) async fn run(app: &App, args: CallArgs) -> Result<()> {
    let key = key(app, &args.caller).await?;
    let mut body = Vec::new();
    if args.body_stdin {
        std::io::stdin().lock().read_to_end(&mut body)?;
    }
    let proxy = app.own_proxy().await?;
    let answered = async {
        let answer = proxy.call(args.method, &args.path, &key, Bytes::from(body)).await?;
        if args.json { print_json(answer).await } else { print(answer).await }
    };
    let result = answered.await;
    proxy.stop().await;
    result
}

async fn key(app: &App, caller: &WhoCalls) -> Result<Zeroizing<String>> {
    match (&caller.app, &caller.user) {
        (Some(key), _) if key == "-" => first_line("app key"),
        (Some(key), _) => Ok(Zeroizing::new(key.clone())),
        (None, user) => {
            let user = app.broker.find_user(user.as_deref().unwrap_or_default()).await?;
            let name: Label = "keyfob call".parse().map_err(|error: BadLabel| Failure::refused(error.to_string()))?;
            let key = app.broker.lend_key(user.id, name);
            let key = key.ok_or_else(|| Failure::refused("There is no such user."))?;
            Ok(Zeroizing::new(key.expose().to_owned()))
        }
    }
}

/// The body as it comes, and the status beside it.
async fn print(answer: Response<Incoming>) -> Result<()> {
    let status = answer.status();
    output::note(&format!("HTTP {status}"));
    let terminal = std::io::stdout().is_terminal();
    let mut body = answer.into_body();
    let mut ended_line = true;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::refused(format!("The answer broke off ({error}).")))?;
        let Ok(data) = frame.into_data() else { continue };
        ended_line = data.ends_with(b"\n");
        let mut out = std::io::stdout().lock();
        if terminal {
            let text = String::from_utf8_lossy(&data);
            for (n, line) in text.split('\n').enumerate() {
                write!(out, "{}{}", if n > 0 { "\n" } else { "" }, output::printable(line))?;
            }
        } else {
            out.write_all(&data)?;
        }
        out.flush()?;
    }
    if terminal && !ended_line {
        writeln!(std::io::stdout())?;
    }
    judged(status)
}

async fn print_json(answer: Response<Incoming>) -> Result<()> {
    let (head, mut body) = answer.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::refused(format!("The answer broke off ({error}).")))?;
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    let body = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| serde_json::Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    let headers: serde_json::Map<_, _> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned().into()))
        .collect();
    output::json(&serde_json::json!({ "status": head.status.as_u16(), "headers": headers, "body": body }))?;
    judged(head.status)
}

fn judged(status: http::StatusCode) -> Result<()> {
    if status.is_success() { Ok(()) } else { Err(Failure::refused(format!("The call was answered with {status}."))) }
}

impl From<NoAnswer> for Failure {
    fn from(error: NoAnswer) -> Self {
        Self::refused(error.to_string())
    }
}
