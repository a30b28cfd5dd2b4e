//! From options to a server that runs until it is told to stop.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jogi_net::serve::{ServeOptions, serve};
use jogi_net::tls::{ServerTls, SwappableServerTls, VerifyClient};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::api::{Api, router};
use crate::node::{Limits, Node, NodeError};
use crate::options::{Listen, Options};

/// A thousand watches and as many other clients.
const MAX_CONNECTIONS: usize = 4096;
/// For an idle connection; agents ask every few seconds.
const IDLE: Duration = Duration::from_secs(120);
/// A watch has no end; every other request has its limits in the API.
const WATCH: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// A certificate that was replaced on disk counts this soon.
const LOOK_AT_CERTIFICATE: Duration = Duration::from_secs(60);

/// `jogi store`.
pub fn main(options: &Options) -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ended = runtime.context("the runtime cannot be started").and_then(|runtime| runtime.block_on(run(options)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Every client is an open file, and shells give 1024.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        warn!(%error, "the limit of open files stays as it is: {:?}", limit.current);
    }
}

/// Serves until SIGTERM or SIGINT, or until the log cannot be written any more.
async fn run(options: &Options) -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut server = Server::start(options).await?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        result = &mut server.ended => return Err(early(result)),
    }
    info!("the store stops");
    server.stop().await
}

/// A store that runs.
pub struct Server {
    urls: Vec<String>,
    stop: watch::Sender<bool>,
    servers: JoinSet<()>,
    ended: oneshot::Receiver<Result<(), NodeError>>,
}

impl Server {
    /// Returns when clients can connect.
    pub async fn start(options: &Options) -> anyhow::Result<Server> {
        options.check()?;
        let listeners = listeners(options).await?;
        let tls = tls(options)?;
        let limits = Limits {
            quota_bytes: options.quota_backend_bytes,
            history: options.auto_compaction_retention,
            snapshot_bytes: options.snapshot_bytes,
        };
        let node = Node::start(options.data_dir.clone(), &options.name, limits)?;
        let (stop, stopped) = watch::channel(false);
        let bound = |(listener, listen): &(TcpListener, Listen)| Ok(listen.url(listener.local_addr()?));
        let urls: Vec<String> = listeners.iter().map(bound).collect::<std::io::Result<_>>()?;
        let advertised = if options.advertise_client.is_empty() { &urls } else { &options.advertise_client };
        let identity = node.handle.identity();
        info!(listen = urls.join(","), data = %options.data_dir.display(), name = identity.name,
            cluster = format!("{:x}", identity.cluster_id), term = node.handle.term(), "the store is ready");
        let router = router(Api { client_urls: advertised.clone(), node: node.handle, stop: stopped.clone() });
        let mut servers = JoinSet::new();
        for (listener, listen) in listeners {
            let mut stopped = stopped.clone();
            let stopped = async move { drop(stopped.wait_for(|stop| *stop).await) };
            let tls = tls.clone().filter(|_| listen.tls);
            servers.spawn(serve(listener, tls, router.clone(), bounds(), stopped));
        }
        Ok(Server { urls, stop, servers, ended: node.ended })
    }

    /// Where it listens.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Returns when what was accepted is on the disk.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        while self.servers.join_next().await.is_some() {}
        // The node's last handle went with the servers.
        Ok(self.ended.await.context("the store's thread ended without a word")??)
    }
}

fn early(result: Result<Result<(), NodeError>, oneshot::error::RecvError>) -> anyhow::Error {
    match result {
        Ok(Err(error)) => anyhow::Error::new(error).context("the store cannot go on"),
        Ok(Ok(())) | Err(_) => anyhow::anyhow!("the store's thread ended without a word"),
    }
}

async fn listeners(options: &Options) -> anyhow::Result<Vec<(TcpListener, Listen)>> {
    let mut listeners = Vec::new();
    for listen in options.listen()? {
        let listener = TcpListener::bind((listen.host.as_str(), listen.port)).await;
        let what = || format!("cannot listen on {}:{}", listen.host, listen.port);
        listeners.push((listener.with_context(what)?, listen));
    }
    Ok(listeners)
}

fn bounds() -> ServeOptions {
    ServeOptions {
        max_connections: MAX_CONNECTIONS,
        header_timeout: IDLE,
        request_timeout: WATCH,
        ..ServeOptions::default()
    }
}

fn tls(options: &Options) -> anyhow::Result<Option<Arc<SwappableServerTls>>> {
    let Some(cert) = options.cert_file.clone() else { return Ok(None) };
    let verify_client = if options.client_cert_auth { VerifyClient::Required } else { VerifyClient::None };
    let (key, ca) = (options.key_file.clone(), options.trusted_ca_file.clone());
    let server = ServerTls { cert, key, key_password: None, ca, verify_client, ciphers: None };
    let swappable = Arc::new(SwappableServerTls::new(server.clone()).context("the TLS options cannot be used")?);
    let watched = swappable.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK_AT_CERTIFICATE).await;
            match watched.reload(&server) {
                Ok(true) => info!("a new certificate is used"),
                Ok(false) => {}
                Err(error) => error!(%error, "the certificate cannot be read again; the old one stays"),
            }
        }
    });
    Ok(Some(swappable))
}
