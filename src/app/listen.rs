//! Listeners: one address each, and a clear word when it can't be had.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::StartError;
use crate::config::keys::Key;

/// Binds one listener: it, and the address that it has (the port may have been left to the system). The name is also the
/// one under which a socket would be handed over by the service manager.
pub(super) async fn bind(
    name: &'static str,
    key: &Key,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let listener = TcpListener::bind(address).await;
    let bound = listener.and_then(|listener| listener.local_addr().map(|address| (listener, address)));
    bound.map_err(|error| StartError::Listener {
        name,
        address,
        cause: match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program listens there".to_owned(),
            std::io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
            std::io::ErrorKind::PermissionDenied => "this user may not listen there".to_owned(),
            other => other.to_string(),
        },
        setting: key.env(),
    })
}
