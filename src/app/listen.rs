//! Listeners: one address each, and a clear word when it can't be had.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::StartError;
use super::handed::Handed;
use crate::config::keys::{self, Key};
use crate::config::{Settings, Source};

/// The service's listeners.
#[derive(Debug)]
pub struct Listeners {
    pub(super) web: TcpListener,
    pub(super) proxy: TcpListener,
    pub(super) ops: TcpListener,
}

impl Listeners {
    pub(super) async fn bind(settings: &mut Settings) -> Result<Self, StartError> {
        let mut handed = Handed::from_service_manager(settings.allow_remote)?;
        let web = take_or_bind(&mut handed, "web", &keys::WEB_LISTEN, &mut settings.web_listen).await?;
        let proxy = take_or_bind(&mut handed, "proxy", &keys::PROXY_LISTEN, &mut settings.proxy_listen).await?;
        let ops = take_or_bind(&mut handed, "ops", &keys::OPS_LISTEN, &mut settings.ops_listen).await?;
        if settings.source(&keys::PUBLIC_URL) == Source::Default {
            settings.public_url = settings.public_url.with_port(settings.web_listen.port());
        }
        if settings.source(&keys::PROXY_PUBLIC_URL) == Source::Default {
            settings.proxy_public_url = settings.proxy_public_url.with_port(settings.proxy_listen.port());
        }
        Ok(Self { web, proxy, ops })
    }
}

/// The socket that the service manager opened under this name, else one of our own.
async fn take_or_bind(
    handed: &mut Handed,
    name: &'static str,
    key: &Key,
    address: &mut SocketAddr,
) -> Result<TcpListener, StartError> {
    let Some(listener) = handed.take(name)? else { return bind(name, key, address).await };
    if let Ok(had) = listener.local_addr() {
        *address = had;
    }
    Ok(listener)
}

/// Binds one listener, and writes down the port that it has where the port was left to the system.
///
/// # Errors
/// [`StartError::Listener`]
pub async fn bind(name: &'static str, key: &Key, address: &mut SocketAddr) -> Result<TcpListener, StartError> {
    let wanted = *address;
    let listener = TcpListener::bind(wanted).await;
    let bound = listener.and_then(|listener| listener.local_addr().map(|bound| (listener, bound)));
    match bound {
        Ok((listener, bound)) => {
            *address = bound;
            Ok(listener)
        }
        Err(error) => Err(StartError::Listener {
            name,
            address: wanted,
            cause: match error.kind() {
                std::io::ErrorKind::AddrInUse => "another program listens there".to_owned(),
                std::io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
                std::io::ErrorKind::PermissionDenied => "this user may not listen there".to_owned(),
                other => other.to_string(),
            },
            setting: key.env(),
        }),
    }
}
