//! An accept loop for axum over TCP or TLS in which no client can occupy anything for ever.
//!
//! Every connection is in one of three states, each with an end: handshake and request head have
//! time limits (the second also ends idle keep-alive connections), and a request with its answer has one
//! more. The number of connections is bounded; at the bound the one that has idled longest makes room, so
//! idle clients cannot lock out a load balancer's health check.

mod body;
mod connections;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower_service::Service;
use tracing::{debug, warn};

use self::body::BusyBody;
use self::connections::{Connections, Slot};
use crate::tls::SwappableServerTls;

/// The bounds of a server.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    pub max_connections: usize,
    pub handshake_timeout: Duration,
    /// From the opening of a connection, or the end of its last answer, to the end of the next request's head.
    pub header_timeout: Duration,
    /// A request from its head to the last byte of its answer.
    pub request_timeout: Duration,
    /// After the stop: what requests under way have left.
    pub grace: Duration,
}

impl Default for ServeOptions {
    fn default() -> ServeOptions {
        ServeOptions {
            max_connections: 256,
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(300),
            grace: Duration::from_secs(2),
        }
    }
}

/// Who sent a request; an extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: SocketAddr,
    /// The client sent a certificate, which then has been verified.
    pub certified: bool,
    pub encrypted: bool,
}

/// Accepting failed (no file descriptors, most likely): the pause until the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For the answer to a request whose time is over.
const ANSWER_GRACE: Duration = Duration::from_secs(1);
/// A connection told to close that has not after this long is dropped.
const EVICTION_GRACE: Duration = Duration::from_millis(100);

/// Serves `router` until `stop`, then ends connections within the grace and returns.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<SwappableServerTls>>,
    router: axum::Router,
    options: ServeOptions,
    stop: impl Future<Output = ()>,
) {
    let server = Arc::new(Server { tls, router, connections: Connections::new(options.max_connections), options });
    let mut stop = std::pin::pin!(stop);
    loop {
        let slot = tokio::select! {
            slot = server.connections.slot() => slot,
            () = &mut stop => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, address)) => {
                tokio::spawn(server.clone().connection(stream, address, slot));
                server.connections.make_room();
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection; trying again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    server.connections.stop(server.options.grace).await;
}

struct Server {
    tls: Option<Arc<SwappableServerTls>>,
    router: axum::Router,
    connections: Connections,
    options: ServeOptions,
}

impl Server {
    async fn connection(self: Arc<Self>, stream: TcpStream, address: SocketAddr, slot: Slot) {
        let served = async {
            let _ = stream.set_nodelay(true);
            let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, millis(self.options.header_timeout));
            let Some(tls) = &self.tls else {
                let peer = Peer { address, certified: false, encrypted: false };
                return self.requests(stream, peer, &slot, std::future::pending()).await;
            };
            let replacements = tls.replacements();
            let acceptor = TlsAcceptor::from(tls.current());
            match timeout(self.options.handshake_timeout, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let certified = stream.get_ref().1.peer_certificates().is_some();
                    let peer = Peer { address, certified, encrypted: true };
                    self.requests(stream, peer, &slot, replaced(replacements, &slot)).await;
                }
                Ok(Err(error)) => debug!(%address, %error, "TLS handshake failed"),
                Err(_) => debug!(%address, "no TLS handshake in time"),
            }
        };
        tokio::select! {
            () = served => {}
            () = slot.dropped(EVICTION_GRACE) => debug!(%address, "connection closed to make room or to stop"),
        }
    }

    /// Answers requests until the client or the server has enough, or the connection is `outdated`.
    async fn requests<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        peer: Peer,
        slot: &Slot,
        outdated: impl Future<Output = ()>,
    ) {
        let service = service_fn(|request| self.request(request, peer, slot));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.options.header_timeout)
            .half_close(true)
            // Whoever answers says when, where Patroni does; bare answers have no headers.
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = either(slot.told_to_close(), outdated) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(address = %peer.address, %error, "connection ended");
        }
    }

    async fn request(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        slot: &Slot,
    ) -> Result<Response<BusyBody>, Infallible> {
        let busy = slot.busy(self.options.request_timeout + ANSWER_GRACE);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        let answer = timeout(self.options.request_timeout, self.router.clone().call(request)).await;
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(never)) => match never {},
            Err(_) => {
                let mut answer = Response::new(Body::from("the request took too long"));
                *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                answer
            }
        };
        Ok(answer.map(|body| BusyBody::new(body, busy)))
    }
}

/// Ends when other TLS options count than those under which the connection came. Who has just come is answered first.
async fn replaced(mut replacements: watch::Receiver<()>, slot: &Slot) {
    match replacements.changed().await {
        Ok(()) => slot.used().await,
        // The options live as long as the server.
        Err(_) => std::future::pending().await,
    }
}

async fn either(a: impl Future<Output = ()>, b: impl Future<Output = ()>) {
    tokio::select! {
        () = a => {}
        () = b => {}
    }
}

fn millis(d: Duration) -> u32 {
    u32::try_from(d.as_millis()).unwrap_or(u32::MAX)
}
