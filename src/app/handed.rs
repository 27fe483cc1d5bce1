//! Sockets that the service manager opened before it started us (`LISTEN_FDS`, systemd's protocol), by name.

use listenfd::ListenFd;
use tokio::net::TcpListener;

use super::StartError;

/// The names of the listeners; a socket unit says `FileDescriptorName=` with one of them.
const NAMES: [&str; 3] = ["web", "proxy", "ops"];

/// What was handed over and is not taken yet.
pub(super) struct Handed {
    sockets: ListenFd,
    names: Vec<String>,
    allow_remote: bool,
}

impl Handed {
    /// Looks at what this process was started with.
    ///
    /// # Errors
    /// A socket whose name is no listener's: it would take connections that nobody answers.
    pub(super) fn from_service_manager(allow_remote: bool) -> Result<Self, StartError> {
        let names: Vec<String> = match sd_notify::listen_fds_with_names() {
            Ok(named) => named.map(|(_, name)| name).collect(),
            Err(_) => Vec::new(),
        };
        if let Some(name) = names.iter().find(|name| !NAMES.contains(&name.as_str())) {
            return Err(StartError::Settings(format!(
                "LISTEN_FDNAMES: a socket named {name:?} was handed over; name it web, proxy or ops with FileDescriptorName= \
                 in its socket unit"
            )));
        }
        let sockets = if names.is_empty() { ListenFd::empty() } else { ListenFd::from_env() };
        Ok(Self { sockets, names, allow_remote })
    }

    /// The socket of this name, if one was handed over.
    ///
    /// # Errors
    /// It is no listening TCP socket, or listens on an address that the settings do not allow.
    pub(super) fn take(&mut self, name: &'static str) -> Result<Option<TcpListener>, StartError> {
        let Some(index) = self.names.iter().position(|handed| handed == name) else { return Ok(None) };
        let fault = |what: &dyn std::fmt::Display| {
            StartError::Settings(format!(
                "LISTEN_FDNAMES: the socket {name} can't be used ({what}); give it ListenStream="
            ))
        };
        let Some(socket) = self.sockets.take_tcp_listener(index).map_err(|error| fault(&error))? else {
            return Ok(None);
        };
        socket.set_nonblocking(true).map_err(|error| fault(&error.kind()))?;
        let listener = TcpListener::from_std(socket).map_err(|error| fault(&error.kind()))?;
        let address = listener.local_addr().map_err(|error| fault(&error.kind()))?;
        if !address.ip().to_canonical().is_loopback() && !self.allow_remote {
            return Err(StartError::Settings(format!(
                "LISTEN_FDNAMES: the socket {name} listens on {address}, which is not loopback; listen on 127.0.0.1, or set \
                 KEYFOB_ALLOW_REMOTE=true"
            )));
        }
        Ok(Some(listener))
    }
}
