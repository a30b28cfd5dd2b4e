//! The server: binds, accepts, and follows the configuration while it runs.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jogi_config::HostPort;
use jogi_config::local::{RestApi, VerifyClient};
use jogi_net::serve::{ServeOptions, serve as accept};
use jogi_net::tls::{self, ServerTls, SwappableServerTls, TlsError};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::access::Access;
use super::answer::Headers;
use super::api::{Api, OPERATION_PATIENCE};
use super::{Options, dispatch, listen};
use crate::glue::Configuration;

/// Load balancers, monitors and members together keep a few dozen; more than this is a client that forgets to close,
/// and costs the member's memory (some 20 kB each). The one idle for longest then makes room.
const MAX_CONNECTIONS: usize = 256;

/// Checks come every few seconds; who asks less often than this may as well connect anew, and a client that vanished
/// without a word (its host lost power) holds its place no longer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// An operation's own patience ends before the connection's.
const REQUEST_TIMEOUT: Duration = OPERATION_PATIENCE.saturating_add(Duration::from_secs(60));

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    #[error(
        "the REST API cannot listen on {address}: {cause}; see restapi.listen in the configuration, and whether another \
         program (an agent of the same host?) uses the port"
    )]
    Listen { address: HostPort, cause: io::Error },
    #[error(
        "the REST API's TLS cannot be set up: {0}; see certfile, keyfile and cafile of restapi in the configuration"
    )]
    Tls(#[from] TlsError),
}

/// Binds and serves from then on, for as long as the runtime lives. A later configuration counts at once: access and
/// headers without closing anything, certificates and TLS options by closing the connections that were kept, another
/// address or the change between http and https by a new listener; what cannot be used leaves everything as it was.
pub async fn serve(options: Options) -> Result<(), RestError> {
    let mut configuration = options.configuration.clone();
    let local = Arc::clone(&configuration.borrow_and_update());
    let restapi = &local.restapi;
    let access = Access::new(restapi).await;
    let headers = Headers::new(restapi);
    let api = Arc::new(Api::new(options, access, headers));
    let server = Server::start(&api, restapi).await?;
    tokio::spawn(follow(api, server, configuration));
    Ok(())
}

/// One listener and its connections.
struct Server {
    restapi: RestApi,
    tls: Option<Arc<SwappableServerTls>>,
    stop: oneshot::Sender<()>,
    accepting: JoinHandle<()>,
}

impl Server {
    async fn start(api: &Arc<Api>, restapi: &RestApi) -> Result<Server, RestError> {
        let tls = tls_options(restapi).map(SwappableServerTls::new).transpose()?.map(Arc::new);
        let listener = listen::bind(&restapi.listen, restapi.request_queue_size).await;
        let listener = listener.map_err(|cause| RestError::Listen { address: restapi.listen.clone(), cause })?;
        Ok(Server::run(api, restapi, tls, listener))
    }

    fn run(api: &Arc<Api>, restapi: &RestApi, tls: Option<Arc<SwappableServerTls>>, listener: TcpListener) -> Server {
        let api = Arc::clone(api);
        let router = axum::Router::new().fallback(move |request| dispatch::handle(Arc::clone(&api), request));
        let options = ServeOptions {
            max_connections: MAX_CONNECTIONS,
            header_timeout: IDLE_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            ..ServeOptions::default()
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        let accepting = tokio::spawn(accept(listener, tls.clone(), router, options, stopped));
        tracing::info!("the REST API listens on {}{}", restapi.listen, if tls.is_some() { " (https)" } else { "" });
        Server { restapi: restapi.clone(), tls, stop, accepting }
    }

    /// Follows to another configuration; with what it cannot use it goes on as before.
    async fn reconfigure(self, api: &Arc<Api>, restapi: &RestApi) -> Server {
        let moved = self.restapi.listen != restapi.listen || self.tls.is_some() != restapi.certfile.is_some();
        match moved {
            true => self.relocate(api, restapi).await,
            false => self.reload_tls(restapi),
        }
    }

    fn reload_tls(mut self, restapi: &RestApi) -> Server {
        if let (Some(tls), Some(options)) = (&self.tls, tls_options(restapi)) {
            match tls.reload(&options) {
                Ok(true) => tracing::info!("the REST API has a new certificate or new TLS options"),
                Ok(false) => {}
                Err(error) => tracing::error!("the REST API keeps its TLS options: {error}"),
            }
        }
        self.restapi = restapi.clone();
        self
    }

    /// On the same port the old listener has to go first; should the new one fail then, the old place is taken again.
    async fn relocate(self, api: &Arc<Api>, restapi: &RestApi) -> Server {
        let same_port = self.restapi.listen.port == restapi.listen.port;
        if !same_port {
            return match Server::start(api, restapi).await {
                Ok(new) => {
                    self.stop().await;
                    new
                }
                Err(error) => {
                    tracing::error!("the REST API stays where it is: {error}");
                    self
                }
            };
        }
        let (old, tls) = (self.restapi.clone(), self.tls.clone());
        self.stop().await;
        match Server::start(api, restapi).await {
            Ok(new) => new,
            Err(error) => {
                tracing::error!("the REST API goes back to where it was: {error}");
                Server::back(api, &old, tls).await
            }
        }
    }

    /// Binds the old address again, until it works: a member without its API cannot take part in a race.
    async fn back(api: &Arc<Api>, old: &RestApi, tls: Option<Arc<SwappableServerTls>>) -> Server {
        const AGAIN: Duration = Duration::from_secs(1);
        loop {
            match listen::bind(&old.listen, old.request_queue_size).await {
                Ok(listener) => return Server::run(api, old, tls, listener),
                Err(error) => tracing::error!("the REST API cannot listen on {}: {error}; trying again", old.listen),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.accepting.await;
    }
}

async fn follow(api: Arc<Api>, mut server: Server, mut configuration: Configuration) {
    while configuration.changed().await.is_ok() {
        let local = Arc::clone(&configuration.borrow_and_update());
        api.access.store(Arc::new(Access::new(&local.restapi).await));
        api.headers.store(Arc::new(Headers::new(&local.restapi)));
        server = server.reconfigure(&api, &local.restapi).await;
    }
    // The agent ends; connections under way are let finish by the end of the process.
    std::future::pending::<()>().await;
}

fn tls_options(restapi: &RestApi) -> Option<ServerTls> {
    let verify_client = match restapi.verify_client {
        VerifyClient::None => tls::VerifyClient::None,
        VerifyClient::Optional => tls::VerifyClient::Optional,
        VerifyClient::Required => tls::VerifyClient::Required,
    };
    Some(ServerTls {
        cert: restapi.certfile.clone()?,
        key: restapi.keyfile.clone(),
        key_password: restapi.keyfile_password.as_ref().map(|password| password.expose().to_owned()),
        ca: restapi.cafile.clone(),
        verify_client,
        ciphers: restapi.ciphers.clone(),
    })
}
