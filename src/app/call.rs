//! One call by way of a proxy of this process's own: it passes every check and leaves its row in the audit trail, whether
//! the service runs or not.

use std::net::Ipv4Addr;

use bytes::Bytes;
use http::{Method, Response, Uri};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{App, StartError, parts};
use crate::broker::{Door, NoAnswer};
use crate::proxy;

/// A proxy that serves this process alone.
pub struct OwnProxy {
    door: Door,
    stop: watch::Sender<bool>,
    served: JoinHandle<()>,
}

impl App {
    /// Starts a proxy on a port that nobody else is told.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn own_proxy(&self) -> Result<OwnProxy, StartError> {
        let settings = parts::proxy(&self.settings, self.files.connections())?;
        let failed = |error: std::io::Error| StartError::Runtime(error.to_string());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let door = Door::new(address, &address.to_string());
        let (stop, stopping) = watch::channel(false);
        let (broker, metrics) = (self.broker.clone(), self.broker.metrics.clone());
        let served = tokio::spawn(proxy::serve(listener, broker, settings, metrics, stopping).map_err(failed)?);
        Ok(OwnProxy { door, stop, served })
    }
}

impl OwnProxy {
    /// Makes one call and gives its answer, whose body is still to come.
    ///
    /// # Errors
    /// [`NoAnswer`]
    pub async fn call(
        &self,
        method: Method,
        path: &Uri,
        key: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, NoAnswer> {
        Ok(self.door.call(method, path, key, body).await?.response)
    }

    /// Stops it, once its call has ended.
    pub async fn stop(self) {
        // It listens as long as this is not dropped.
        let _ = self.stop.send(true);
        let _ = self.served.await;
    }
}
