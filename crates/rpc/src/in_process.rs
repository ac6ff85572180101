//! Services of one process, joined without a port. The bytes are the same as on the network.

use std::io;

use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Endpoint, Uri};

use crate::client::Connection;
use crate::security::Credentials;

/// Bytes that one direction holds before the writer waits.
const BUFFER: usize = 256 * 1024;
/// Connections waiting to be accepted.
const BACKLOG: usize = 16;

/// The client's end: makes connections to one server.
#[derive(Clone, Debug)]
pub struct InProcess {
    connections: mpsc::Sender<DuplexStream>,
}

/// The server's end, for [`crate::Server::serve_in_process`].
#[derive(Debug)]
pub struct InProcessListener(mpsc::Receiver<DuplexStream>);

impl InProcess {
    /// Both ends of a new seam.
    pub fn new() -> (Self, InProcessListener) {
        let (connections, accept) = mpsc::channel(BACKLOG);
        (Self { connections }, InProcessListener(accept))
    }

    /// A connection that is made with the first call, and again after each loss. Needs a tokio runtime.
    pub fn connect(&self) -> Connection {
        let connections = self.connections.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let connections = connections.clone();
            async move {
                let (client, server) = tokio::io::duplex(BUFFER);
                connections.send(server).await.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
                Ok::<_, io::Error>(TokioIo::new(client))
            }
        });
        // The name is never resolved: the connector ignores it.
        let channel = Endpoint::from_static("http://in-process").connect_with_connector_lazy(connector);
        InterceptedService::new(channel, Credentials::default())
    }
}

impl InProcessListener {
    pub(crate) fn into_stream(self) -> ReceiverStream<DuplexStream> {
        ReceiverStream::new(self.0)
    }
}
