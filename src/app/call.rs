//! One call by way of a proxy of this process's own: it passes every check and leaves its row in the audit trail, whether
//! the service runs or not.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{App, StartError, parts};
use crate::proxy;

/// A proxy that serves this process alone.
pub struct OwnProxy {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    served: JoinHandle<()>,
}

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
#[error("The call got no answer ({0}).")]
pub struct NoAnswer(String);

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
        let (stop, stopping) = watch::channel(false);
        let (broker, metrics) = (self.broker.clone(), self.broker.metrics.clone());
        let served = tokio::spawn(proxy::serve(listener, broker, settings, metrics, stopping));
        Ok(OwnProxy { address, stop, served })
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
        let failed = |error: &dyn std::error::Error| NoAnswer(error.to_string());
        let stream = TcpStream::connect(self.address).await.map_err(|e| failed(&e))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path.clone())
            .header("host", self.address.to_string())
            .header("authorization", format!("Bearer {key}"))
            .body(Full::new(body))
            .map_err(|e| failed(&e))?;
        sender.send_request(request).await.map_err(|e| failed(&e))
    }

    /// Stops it, once its call has ended.
    pub async fn stop(self) {
        // It listens as long as this is not dropped.
        let _ = self.stop.send(true);
        let _ = self.served.await;
    }
}
